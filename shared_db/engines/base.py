"""The smallest interface that every engine honours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Executable, Row, Table

T = TypeVar("T")
AnyRow = Row[*tuple[Any, ...]]
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a database may cost its callers; times in seconds."""

    # A lock that somebody else holds longer than this gives an error in the reply, not a hanging caller.
    busy_seconds: float = 5.0
    # One statement; a search that no key serves ends here.
    statement_seconds: float = 30.0
    # Of servers; each takes one of those that the server grants to all its clients.
    connections: int = 10


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gave: its rows, all read, or how many rows it touched."""

    rows: Sequence[AnyRow] = ()
    rowcount: int = 0


class Savepoint(Protocol):
    """A mark inside a transaction to which it can be taken back."""

    async def release(self) -> None:
        """Keep what was done since the mark."""

    async def rollback(self) -> None:
        """Undo what was done since the mark."""


class Connection(Protocol):
    """One transaction on one engine; it begins with the first statement.

    Methods raise the errors of ``shared_db.errors``.
    """

    async def execute(
        self, database: str, statement: Executable, parameters: Parameters | None = None
    ) -> Result:
        """Run one statement on the tables of a logical database."""

    async def insert_ids(self, database: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Insert rows; returns the ids that the database gave them, in the order of the rows."""

    async def savepoint(self) -> Savepoint:
        """Set a mark at the present point of the transaction."""

    async def finish(self, *, commit: bool) -> None:
        """End the transaction and give the connection back."""


class Engine(Protocol):
    """One physical database, or one server of them, holding one or more of DIRAC's logical ones."""

    url: str
    """Without its password; engines are put in order by it."""
    one_writer: bool
    """Whether a writing transaction keeps all others out until it ends."""
    may_be_diracs: bool
    """Whether a DIRAC of any release may have made the tables; elsewhere they are ours."""

    async def connect(self, *, write: bool) -> Connection:
        """A transaction of its own.  ``write``: it may change rows."""

    async def make(self, database: str) -> None:
        """Make the place of a logical database's tables where it is missing and can be made from here."""

    async def sync_run(self, database: str, function: Callable[[SyncConnection], T]) -> T:
        """Run a function on a plain connection to a logical database, and commit: tables, not rows."""

    async def refresh_statistics(self) -> None:
        """Let the database count what its choice of keys rests on, where it does not do so by itself."""

    async def dispose(self) -> None:
        """Close every connection."""
