"""What ResourceStatus clients ask of the states of sites and resources, and how they are told.

Conditions are ``{column: value or list}``; the key ``Meta`` says which columns, in which order, how many,
and newer or older than when.  Names of columns are read without regard to case.  All of it was seen on DIRAC
9.1.22.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared_db.rules.dates import mysql_datetime
from shared_db.rules.refusals import Refusal, UnfitArgument

# In the order in which DIRAC answers them.
COLUMNS = (
    "Name",
    "StatusType",
    "Status",
    "Reason",
    "DateEffective",
    "TokenExpiration",
    "ElementType",
    "LastCheckTime",
    "TokenOwner",
    "VO",
)
KEY = ("Name", "StatusType", "VO")
ALL = "all"
SITE, STORAGE_ELEMENT, COMPUTING_ELEMENT = "Site", "StorageElement", "ComputingElement"
STORAGE_USES = ("ReadAccess", "WriteAccess", "CheckAccess", "RemoveAccess")
NEVER_CHECKED = datetime(1000, 1, 1)  # noqa: DTZ001 - columns are naive
NEVER_EXPIRES = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001
DEFAULTS: Mapping[str, Any] = {
    "StatusType": ALL,
    "VO": ALL,
    "Status": "",
    "Reason": "Unspecified",
    "TokenExpiration": NEVER_EXPIRES,
    "ElementType": "",
    "LastCheckTime": NEVER_CHECKED,
    "TokenOwner": "rs_svc",
}
_BY_LOWER = {name.lower(): name for name in COLUMNS}

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a caller wants to see: ``shown`` None is every column, ``limit`` None every row."""

    table: str
    conditions: Mapping[str, Sequence[Any]]
    shown: tuple[str, ...] | None = None
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    newer: tuple[str, datetime] | None = None
    older: tuple[str, datetime] | None = None
    distinct: bool = False

    def of(self, states: Iterable[State]) -> list[list[Any]]:
        """The rows that are wanted, as they are told."""
        found = [state for state in states if self._wants(state)]
        for column, descending in reversed(self.order):
            found.sort(key=lambda state: str(state[column]).lower(), reverse=descending)
        rows = [[state[name] for name in self.shown or COLUMNS] for state in found]
        if self.distinct:
            rows = list({tuple(row): row for row in rows}.values())
        return rows[: self.limit]

    @property
    def told_columns(self) -> list[str]:
        """The names that go with the rows: chosen ones are told in lower case."""
        return list(COLUMNS) if self.shown is None else [name.lower() for name in self.shown]

    def _wants(self, state: State) -> bool:
        if any(state[name] not in wanted for name, wanted in self.conditions.items()):
            return False
        if self.newer is not None and state[self.newer[0]] < self.newer[1]:
            return False
        return self.older is None or state[self.older[0]] < self.older[1]


def selection(table: str, params: Mapping[str, Any]) -> Selection:
    """What is asked for.  Raises UnfitArgument for an unknown column, and for what cannot be read."""
    meta: Any = next((each for key, each in params.items() if str(key).lower() == "meta"), None) or {}
    if not isinstance(meta, dict):
        raise UnfitArgument(f"Meta is no dictionary: {meta!r}")
    conditions = {
        _column(table, key): _values(value)
        for key, value in params.items()
        if str(key).lower() != "meta" and value is not None
    }
    shown, limit, order = meta.get("columns"), meta.get("limit"), meta.get("order")
    if limit is not None and not isinstance(limit, int):
        raise UnfitArgument(f"limit is no number: {limit!r}")
    return Selection(
        table,
        conditions,
        tuple(_column(table, each) for each in shown) if shown else None,
        _order(table, order) if order else (),
        limit,
        _bound(table, meta.get("newer")),
        _bound(table, meta.get("older")),
        bool(meta.get("distinct")),
    )


def _column(table: str, name: Any) -> str:
    found = _BY_LOWER.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise UnfitArgument(f"type object '{table}' has no attribute '{str(name).lower()}'")
    return found


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _order(table: str, order: Any) -> tuple[tuple[str, bool], ...]:
    if isinstance(order, str):
        return ((_column(table, order), False),)
    names = [each for each in order if str(each).lower() not in ("asc", "desc")]
    descending = any(str(each).lower() == "desc" for each in order)
    return tuple((_column(table, each), descending) for each in names)


def _bound(table: str, bound: Any) -> tuple[str, datetime] | None:
    if not bound:
        return None
    if not isinstance(bound, list | tuple) or len(bound) != 2:
        raise UnfitArgument(f"a column and a time are needed: {bound!r}")
    moment = bound[1] if isinstance(bound[1], datetime) else mysql_datetime(bound[1])
    if moment is None:
        raise UnfitArgument(f"no time can be read: {bound[1]!r}")
    return _column(table, bound[0]), moment


def given_state(params: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a change names; others are not heeded, as by DIRAC.  Raises Refusal without a name."""
    state = {_BY_LOWER[key]: each for key, each in _lowered(params) if key in _BY_LOWER and each is not None}
    if not isinstance(state.get("Name"), str) or not state["Name"]:
        raise Refusal("A state is of something: give its Name")
    for name in ("DateEffective", "TokenExpiration", "LastCheckTime"):
        if name in state and not isinstance(state[name], datetime):
            state[name] = _time(name, state[name])
    return state


def _lowered(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(key).lower(), value) for key, value in params.items()]


def _time(name: str, value: Any) -> datetime:
    moment = mysql_datetime(value) if isinstance(value, str) else None
    if moment is None:
        raise Refusal(f"{name} is no time: {value!r}")
    return moment


def key_of(state: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which state it is."""
    return tuple(state.get(name, DEFAULTS.get(name)) for name in KEY)


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What holds of what no row speaks of: ``states`` are complete."""

    states: Sequence[State] = field(default_factory=tuple)

    def added_to(self, rows: Iterable[State]) -> list[State]:
        """The rows, and what they leave out."""
        said = list(rows)
        known = {key_of(row) for row in said}
        return [*said, *(state for state in self.states if key_of(state) not in known)]


def sites_said(statuses: Mapping[str, str], now: datetime) -> Unsaid:
    """The states of sites by name."""
    return Unsaid([_said(site, ALL, SITE, status, now) for site, status in sorted(statuses.items())])


def resources_said(storage: str, computing: Iterable[str], now: datetime) -> Unsaid:
    """Our own storage element of sandboxes (empty: there is none), and computing elements: all Active."""
    uses = STORAGE_USES if storage else ()
    return Unsaid(
        [
            *(_said(storage, use, STORAGE_ELEMENT, "Active", now) for use in uses),
            *(_said(name, ALL, COMPUTING_ELEMENT, "Active", now) for name in sorted(computing)),
        ]
    )


def _said(name: str, status_type: str, element_type: str, status: str, now: datetime) -> dict[str, Any]:
    return {
        **DEFAULTS,
        "Name": name,
        "StatusType": status_type,
        "Status": status,
        "Reason": "Wherry says so",
        "DateEffective": now,
        "ElementType": element_type,
        "LastCheckTime": now,
    }
