"""Who makes a REST request, after their token (or the in-process caller) has been verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller; ``subject`` is the bare one, tokens carry ``vo:subject`` (rest-diracx.md, section 3).

    ``pilot_stamp``: of a pilot that calls with a token of its own; it has no properties, group or user name.
    ``by_certificate``: known by a certificate, which says the same in every VO; a token says what the
    identity provider of its VO says.
    """

    subject: str
    vo: str
    group: str
    username: str
    properties: tuple[str, ...]
    policies: Mapping[str, Any] = field(default_factory=dict)
    pilot_stamp: str = ""
    by_certificate: bool = False

    def has(self, *properties: str) -> bool:
        """True when the caller holds at least one of the properties."""
        return any(name in self.properties for name in properties)
