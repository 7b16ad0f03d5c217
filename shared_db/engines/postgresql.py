"""PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, exc
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared_db.engines.base import Limits
from shared_db.engines.server import (
    Execute,
    Meaning,
    conflict,
    denied,
    forbidden,
    foreign,
    invalid_query,
    no_database,
    too_slow,
    unavailable,
)
from shared_db.errors import InvalidValue


class PostgreSql:
    """PostgreSQL."""

    may_be_diracs = False

    def engine(self, url: URL, limits: Limits, **options: Any) -> AsyncEngine:
        """An engine whose sessions wait for locks and work on statements within limits."""
        settings = {
            "application_name": "wherry",
            "timezone": "UTC",
            "jit": "off",  # it takes longer than any statement here
            "lock_timeout": str(round(limits.busy_seconds * 1000)),
            "statement_timeout": str(round(limits.statement_seconds * 1000)),
        }
        return create_async_engine(
            url,
            isolation_level="READ COMMITTED",
            connect_args={"server_settings": settings, "timeout": limits.busy_seconds},
            **options,
        )

    def translated(self, error: exc.DBAPIError, limits: Limits) -> Exception:
        """By SQLSTATE; the driver gives one too where it refuses a value itself."""
        state = getattr(error.orig, "sqlstate", None) or ""
        message = str(error.orig).rpartition(">: ")[2]
        if state in _UNFIT:
            return InvalidValue(_column(error), _UNFIT[state])
        if state in _MEANINGS:
            return _MEANINGS[state](message, limits)
        if isinstance(error, exc.ProgrammingError) and not error.connection_invalidated:
            return error
        return unavailable(error, interrupted=state in _KEPT_NOTHING)

    async def insert_ids(
        self,
        execute: Execute,  # noqa: ARG002
        table: Table,  # noqa: ARG002
        rows: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> list[int] | None:
        """PostgreSQL has RETURNING."""
        return None


def _column(error: exc.DBAPIError) -> str:
    """The column that a value does not fit, where the server names it."""
    cause = getattr(error.orig, "__cause__", None)
    return getattr(cause, "column_name", None) or ""


_UNFIT = {
    "22001": "too long",
    "22003": "out of range",
    "23502": "null",
    "22021": "no text that can be stored",
    "22P05": "no text that can be stored",
}
_MEANINGS: Mapping[str, Meaning] = {
    "57014": too_slow,
    **dict.fromkeys(("23505", "23503"), conflict),
    # A value that the driver cannot carry, a regular expression, an escape, a date: what a caller writes.
    **dict.fromkeys(("22000", "2201B", "22019", "22025", "22007", "22008", "22P02"), invalid_query),
    **dict.fromkeys(("42P01", "42703"), foreign),
    "3D000": no_database,
    "42501": forbidden,
    **dict.fromkeys(("28P01", "28000"), denied),
}
# Deadlock, serialisation, lock wait, the server going down.
_KEPT_NOTHING = frozenset({"40P01", "40001", "55P03", "57P01", "57P02", "57P03"})
