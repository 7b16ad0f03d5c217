"""What a rehearsal would have done to the rows: found where statements are run, since nothing is kept.

Rows that are changed or removed are read before, and once more at the end.  A row that is added is known by
the values it was given: what the database would add of its own (numbers, defaults) is another one each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Delete, Executable, Insert, Select, Table, Update, and_, or_, select

from shared_db.engines.base import AnyRow, Parameters

Key = tuple[tuple[str, Any], ...]
Row = Mapping[str, Any]
# (database, statement, parameters) -> rows
Read = Callable[[str, Executable, Parameters | None], Awaitable[Sequence[AnyRow]]]

# So many rows are read again at a time: each is a condition of the statement.
ROWS_PER_READ = 200


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of one row: column -> value before and after, only of columns that changed.

    ``before`` is None for a row that is new, ``after`` for one that is gone.  ``key``: the primary key's
    columns as far as they are known; all columns of a table without one.
    """

    database: str
    table: str
    key: Key
    before: Row | None
    after: Row | None


class Noted:
    """What the statements of one unit of work are about to do."""

    def __init__(self) -> None:
        self.before: dict[Table, dict[Key, Row]] = {}
        self.added: list[Effect] = []

    async def note(self, statement: Executable, parameters: Parameters | None, read: Read) -> None:
        """Look at the rows that a statement will change; called before it is run."""
        if isinstance(statement, Insert):
            self.note_added(_table_of(statement), _inserted(statement, parameters))
        elif isinstance(statement, Update | Delete):
            table = _table_of(statement)
            found = select(*table.columns)
            if statement.whereclause is not None:
                found = found.where(statement.whereclause)
            for given in _each(parameters):
                rows = await read(_database_of(table), found, given)
                self._keep(table, rows)

    def note_added(self, table: Table, rows: Sequence[Row], ids: Sequence[int] | None = None) -> None:
        """Rows that are inserted, with the ids that the database gave them where they are known."""
        [*keys] = table.primary_key.columns.keys()
        for position, row in enumerate(rows):
            values = row if ids is None else {keys[0]: ids[position], **row}
            key = tuple((name, values[name]) for name in keys if name in values)
            self.added.append(Effect(_database_of(table), table.name, key, None, dict(values)))

    def _keep(self, table: Table, rows: Sequence[AnyRow]) -> None:
        known = self.before.setdefault(table, {})
        for row in rows:
            values = dict(zip(table.columns.keys(), row, strict=True))
            known.setdefault(_key(table, values), values)

    def join(self, later: Noted) -> None:
        """Take over what a later unit of work has noted; what a row was first stays."""
        for table, rows in later.before.items():
            self.before[table] = rows | self.before.get(table, {})
        self.added += later.added

    async def effects(self, read: Read) -> list[Effect]:
        """What has become of the rows by now, one effect for each row."""
        changes: dict[tuple[str, Key], Effect] = {}
        for table, rows in self.before.items():
            now = await _present(table, rows, read)
            for key, before in rows.items():
                effect = _effect(table, key, before, now.get(key))
                if effect is not None:
                    changes[table.name, key] = effect
        added = [_added(effect, changes.pop((effect.table, effect.key), None)) for effect in self.added]
        return [effect for effect in added if effect is not None] + list(changes.values())


def _added(effect: Effect, later: Effect | None) -> Effect | None:
    """A row that was added, and what became of it then; None when it went again."""
    if later is None:
        return effect
    if effect.after is None or later.after is None:
        return None
    return replace(effect, after={**effect.after, **later.after})


def _effect(table: Table, key: Key, before: Row, after: Row | None) -> Effect | None:
    """None for a row that is as it was."""
    if after is None:
        return Effect(_database_of(table), table.name, key, before, None)
    changed = [name for name, value in before.items() if after[name] != value]
    if not changed:
        return None
    was, has = ({name: row[name] for name in changed} for row in (before, after))
    return Effect(_database_of(table), table.name, key, was, has)


async def _present(table: Table, rows: Mapping[Key, Row], read: Read) -> dict[Key, Row]:
    """The rows with these keys as they are now."""
    keys = list(rows)
    found: dict[Key, Row] = {}
    for start in range(0, len(keys), ROWS_PER_READ):
        statement = _with_keys(table, keys[start : start + ROWS_PER_READ])
        for row in await read(_database_of(table), statement, None):
            values = dict(zip(table.columns.keys(), row, strict=True))
            found[_key(table, values)] = values
    return found


def _with_keys(table: Table, keys: Sequence[Key]) -> Select[Any]:
    return select(*table.columns).where(
        or_(*(and_(*(table.c[name].is_not_distinct_from(value) for name, value in key)) for key in keys))
    )


def _key(table: Table, values: Row) -> Key:
    names = table.primary_key.columns.keys() or list(values)
    return tuple((name, values[name]) for name in names)


def _table_of(statement: Insert | Update | Delete) -> Table:
    table = statement.table
    assert isinstance(table, Table)
    return table


def _database_of(table: Table) -> str:
    database: str = table.metadata.info["database"]
    return database


def _each(parameters: Parameters | None) -> Sequence[Mapping[str, Any] | None]:
    """The parameters of each time that a statement is run."""
    if parameters is None or isinstance(parameters, Mapping):
        return [parameters]
    return parameters


def _inserted(statement: Insert, parameters: Parameters | None) -> list[Row]:
    """The rows that an INSERT is given, as parameters or in itself."""
    return [dict(statement.compile().params if given is None else given) for given in _each(parameters)]
