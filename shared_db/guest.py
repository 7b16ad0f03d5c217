"""A guest on tables of another DIRAC release: statements are for 9.1's, and adapted here to what is there.

A column that the tables have not is read through what stands in its place, and left out when rows are
inserted; columns that only they have are filled as their own release fills them (legacy-schema.md, 1 to 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Insert,
    MetaData,
    Select,
    String,
    Table,
    case,
    column,
)
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse

from shared_db.engines.base import Parameters
from shared_db.errors import Foreign
from shared_db.inspection import TableShape
from shared_db.registry import Registry
from shared_db.schema import SCHEMAS

Row = Mapping[str, Any]

# Statements are kept with what they became.  A caller chooses forms of searches, so their number is bounded.
KEPT_STATEMENTS = 512
NOBODY = "Unknown"


def differ(shapes: Mapping[str, Mapping[str, TableShape]]) -> bool:
    """Whether statements for our tables would not do on the real ones."""
    return any(
        _differs(table, real.get(table.name))
        for database, real in shapes.items()
        for table in SCHEMAS[database].tables.values()
    )


def _differs(table: Table, shape: TableShape | None) -> bool:
    if shape is None or not shape.transactional or shape.required:
        return True
    return not shape.columns >= set(table.c.keys()) or any(
        of == table.name and name in shape.columns for of, name in _FILLS
    )


class Guest:
    """Adapts statements to the shapes of real tables; by logical database, then by table."""

    def __init__(
        self, shapes: Mapping[str, Mapping[str, TableShape]], registry: Callable[[], Registry]
    ) -> None:
        self._shapes = shapes
        self._registry = registry
        self._adapted_for: Registry | None = None
        self._adapted: dict[Executable, Executable] = {}
        self._real_tables: dict[str, Table] = {}

    def has(self, table: Table) -> bool:
        """Whether a table is there; where nothing was looked at, the tables are ours and all there."""
        shapes = self._shapes.get(table.metadata.info["database"])
        return shapes is None or table.name in shapes

    @property
    def has_setups(self) -> bool:
        """Whether jobs belong to setups here, as before DIRAC 9."""
        jobs = self._shapes.get("JobDB", {}).get("Jobs")
        return jobs is not None and "DIRACSetup" in jobs.columns

    @property
    def transactional(self) -> bool:
        """Whether all that a transaction changed can be taken back."""
        return all(shape.transactional for tables in self._shapes.values() for shape in tables.values())

    def adapt(
        self, statement: Executable, parameters: Parameters | None
    ) -> tuple[Executable, Parameters | None]:
        """The statement and its parameters as the real tables take them."""
        if isinstance(statement, Insert):
            return self._insert(statement, parameters)
        return self._read(statement), parameters

    def _insert(
        self, statement: Insert, parameters: Parameters | None
    ) -> tuple[Executable, Parameters | None]:
        ours = statement.table
        if not isinstance(ours, Table) or self._real_table(ours) is ours:
            return statement, parameters
        if statement.returning_column_descriptions:
            raise TypeError("rows for a table of another release give back their ids through insert_ids only")
        if parameters is None:
            parameters = statement.compile().params  # those of its one row of values
        table, rows = self.rows(ours, [parameters] if isinstance(parameters, Mapping) else parameters)
        return table.insert(), rows

    def rows(self, table: Table, rows: Sequence[Row]) -> tuple[Table, Sequence[Row]]:
        """Rows to insert as the real table wants them, and that table.

        Raises Foreign for a column that it wants and that nothing here can fill.
        """
        real = self._real_table(table)
        if real is table:
            return table, rows
        registry = self._registry()
        return real, [
            {name: value for name, value in row.items() if name in real.c}
            | {
                name: _FILLS[table.name, name](row, registry)
                for name in set(real.c.keys()) - set(table.c.keys())
            }
            for row in rows
        ]

    def _real_table(self, table: Table) -> Table:
        """The table with those of its real columns that can be written; itself if they are ours."""
        if table.name not in self._real_tables:
            self._real_tables[table.name] = self._make_real(table)
        return self._real_tables[table.name]

    def _make_real(self, table: Table) -> Table:
        shape = self._shapes.get(table.metadata.info["database"], {}).get(table.name)
        if shape is None:
            return table
        fills = [name for of, name in _FILLS if of == table.name and name in shape.columns]
        if unknown := shape.required - set(fills):
            raise Foreign(f"{table.name} wants a value for {', '.join(sorted(unknown))}", "give it a default")
        if not fills and shape.columns >= set(table.c.keys()):
            return table
        kept = [
            Column(each.name, each.type, primary_key=each.primary_key, autoincrement=each.autoincrement)
            for each in table.c
            if each.name in shape.columns
        ]
        return Table(table.name, MetaData(), *kept, *[Column(name, String) for name in fills])

    def _read(self, statement: Executable) -> Executable:
        if not isinstance(statement, Select):
            # Built for one call and holding its values: to keep it would keep those too.
            return self._replace(statement)
        registry = self._registry()
        if registry is not self._adapted_for or len(self._adapted) >= KEPT_STATEMENTS:
            self._adapted_for, self._adapted = registry, {}
        if statement not in self._adapted:
            # Column by column, also where a whole table was asked for.
            columns = statement.selected_columns
            named = statement.with_only_columns(*columns, maintain_column_froms=True)
            self._adapted[statement] = self._replace(named)
        return self._adapted[statement]

    def _replace(self, statement: Executable) -> Executable:
        traversible = cast(ExternallyTraversible, statement)
        return cast(Executable, replacement_traverse(traversible, {}, self._replaced))

    def _replaced(self, element: Any, **_: Any) -> ColumnElement[Any] | None:
        """What is read in place of a column that is not there."""
        if not isinstance(element, Column) or not isinstance(element.table, Table):
            return None
        shape = self._shapes.get(element.table.metadata.info["database"], {}).get(element.table.name)
        if shape is None or element.name in shape.columns:
            return None
        stand_in = _STAND_INS.get((element.table.name, element.name))
        if stand_in is None:
            raise Foreign(f"{element.table.name}.{element.name} is not there")
        return stand_in(self._registry()).label(element.name)


def _vo_of_group(registry: Registry) -> ColumnElement[Any]:
    return _looked_up("OwnerGroup", {name: registry.vo_of(name) or NOBODY for name in registry.groups})


def _owner_of_dn(registry: Registry) -> ColumnElement[Any]:
    return _looked_up("OwnerDN", {dn: user.name for user in registry.users.values() for dn in user.dns})


def _looked_up(name: str, values: Mapping[str, str]) -> ColumnElement[Any]:
    return case(dict(values) or {"": NOBODY}, value=column(name), else_=NOBODY)


_STAND_INS: Mapping[tuple[str, str], Callable[[Registry], ColumnElement[Any]]] = {
    ("Jobs", "VO"): _vo_of_group,
    ("PilotAgents", "VO"): _vo_of_group,
    ("sb_Owners", "VO"): _vo_of_group,
    ("tq_TaskQueues", "VO"): _vo_of_group,
    ("tq_TaskQueues", "Owner"): _owner_of_dn,
}


def _dn_of_owner(row: Row, registry: Registry) -> str:
    return next(iter(registry.dns_of(row.get("Owner", ""))), NOBODY)


def _group_of_vo(row: Row, registry: Registry) -> str:
    """A pilot belongs to a group in 8.0: that of its VO which stands for all."""
    vo = registry.vos.get(row["VO"])
    if vo is None:
        return NOBODY
    return vo.default_group or next(iter(vo.groups), NOBODY)


def _setup(_row: Row, registry: Registry) -> str:
    if registry.setup is None:
        raise Foreign(
            "These tables are of DIRAC 8.0 or older", "name the setup in the registry, as DIRAC/Setup"
        )
    return registry.setup


_FILLS: Mapping[tuple[str, str], Callable[[Row, Registry], str]] = {
    ("Jobs", "OwnerDN"): _dn_of_owner,
    ("Jobs", "DIRACSetup"): _setup,
    # As 8.0's own addPilotReferences has it.
    ("PilotAgents", "OwnerDN"): lambda _row, _registry: NOBODY,
    ("PilotAgents", "OwnerGroup"): _group_of_vo,
    ("tq_TaskQueues", "OwnerDN"): _dn_of_owner,
    ("tq_TaskQueues", "Setup"): _setup,
    ("sb_Owners", "OwnerDN"): _dn_of_owner,
    ("sb_EntityMapping", "EntitySetup"): _setup,
}
