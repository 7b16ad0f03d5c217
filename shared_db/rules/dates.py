"""Date texts as MySQL reads them where a legacy caller writes one freely."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

_DELIMITED = re.compile(
    r"(?P<year>\d{4})\D(?P<month>\d{1,2})\D(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.\d*)?)?)?)?"
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?:(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d))?"
)


def mysql_datetime(text: Any) -> datetime | None:
    """The naive UTC time that MySQL sees, cut to the second; None where it sees the zero date.

    ``2026-11-21``, ``2026-1-1``, ``2026/01/01``, ``20261121``, ``2026-11-21 22``, ``2026-11-21T10:00:00``
    are read; ``abc``, ``2026-11``, ``2026-13-45`` and numbers are the zero date, which is before every
    other (seen on DIRAC 9.1.22's getPilotSummary).
    """
    match = _DELIMITED.fullmatch(str(text).strip()) or _COMPACT.fullmatch(str(text).strip())
    if match is None:
        return None
    try:
        return datetime(*[int(number) for number in match.groups("0")])  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None
