"""The smallest interface that every engine honours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Executable, MetaData, Row

AnyRow = Row[*tuple[Any, ...]]
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


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
    """One transaction on one engine; it begins with the first statement."""

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Result:
        """Run one statement.  Raises Unavailable or Conflict."""

    async def savepoint(self) -> Savepoint:
        """Set a mark at the present point of the transaction."""

    async def finish(self, *, commit: bool) -> None:
        """End the transaction and give the connection back.  Raises Unavailable when a commit fails."""


class Engine(Protocol):
    """One physical database, holding one or more of DIRAC's logical ones."""

    url: str
    one_writer: bool
    """Whether a writing transaction keeps all others out until it ends."""

    async def connect(self, *, write: bool) -> Connection:
        """A transaction of its own.  ``write``: it may change rows."""

    async def create(self, schema: MetaData) -> None:
        """Create the tables of a logical database that are not there yet."""

    async def dispose(self) -> None:
        """Close every connection."""
