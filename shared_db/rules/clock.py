"""Time: aware UTC inside, DIRAC's naive forms only in the legacy columns and on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

# LoggingInfo.StatusTimeOrder counts seconds from here (legacy-schema.md, 0.5).
STATUS_TIME_EPOCH = 1270000000


def utc_now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


def to_column(moment: datetime) -> datetime:
    """An aware time as a legacy DATETIME column holds it: naive UTC, cut to the second."""
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def from_column(value: datetime | None) -> datetime | None:
    """What a legacy DATETIME column means: aware UTC."""
    return None if value is None else value.replace(tzinfo=UTC)


def status_time_order(moment: datetime) -> float:
    """LoggingInfo.StatusTimeOrder of an aware time: seconds with milliseconds."""
    return round(moment.timestamp() - STATUS_TIME_EPOCH, 3)
