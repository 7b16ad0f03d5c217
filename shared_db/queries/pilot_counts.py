"""Numbers and references of pilots that a legacy caller selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, func, select

from shared_db.connection import UnitOfWork
from shared_db.queries.conditions import Bound, Condition, Form, bind, expressions
from shared_db.queries.search import KEPT_STATEMENTS, Search, Sort, find_by_ids, find_page
from shared_db.rules.pilot_counts import Count, Group
from shared_db.rules.pilot_monitor import Order, Pages
from shared_db.rules.pilot_selections import Comparison
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents


def conditions_of(search: Iterable[Comparison]) -> list[Condition]:
    """Conditions in the words of searches."""
    return [Condition(each.column, each.operator, each.value) for each in search]


def _bound(search: Iterable[Comparison]) -> Bound:
    return bind(PilotAgents, conditions_of(search))


async def count_groups(work: UnitOfWork, count: Count) -> list[Group]:
    """The groups of a count, in no order.  Raises InvalidQuery."""
    forms, values = _bound(count.search)
    rows = await work.rows(PILOT_AGENTS_DB, _counting(count.grouping, forms), values)
    return [Group(tuple(row[:-1]), row[-1]) for row in rows]


@lru_cache(KEPT_STATEMENTS)
def _counting(grouping: tuple[str, ...], forms: tuple[Form, ...]) -> Select[Any]:
    columns = [PilotAgents.c[name] for name in grouping]
    return select(*columns, func.count()).where(*expressions(PilotAgents, forms)).group_by(*columns)


async def selected_references(work: UnitOfWork, search: Sequence[Comparison]) -> list[str]:
    """The references of pilots, by ascending PilotID.  Raises InvalidQuery."""
    forms, values = _bound(search)
    return [row[0] for row in await work.rows(PILOT_AGENTS_DB, _selecting(forms), values)]


@lru_cache(KEPT_STATEMENTS)
def _selecting(forms: tuple[Form, ...]) -> Select[Any]:
    c = PilotAgents.c
    return select(c.PilotJobReference).where(*expressions(PilotAgents, forms)).order_by(c.PilotID)


async def references_on(
    work: UnitOfWork, search: Sequence[Comparison], order: Sequence[Order], pages: Pages
) -> list[str]:
    """The references of pilots on some pages of a selection.  Raises InvalidQuery."""
    found: list[str] = []
    for number in pages.numbers:
        asked = Search(
            ["PilotJobReference"],
            conditions_of(search),
            [Sort(each.column, each.descending) for each in order],
            page=number,
            per_page=pages.size,
        )
        page = await find_page(work, PilotAgents, asked)
        found += [row["PilotJobReference"] for row in page.rows]
    return found[pages.rows]


async def youngest_pilots(
    work: UnitOfWork, references: Iterable[str], columns: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By reference, the columns (PilotID and PilotJobReference among them) of the youngest pilot with it."""
    c = PilotAgents.c
    rows = await find_by_ids(work, [c[name] for name in columns], c.PilotJobReference, references)
    pilots = [dict(zip(columns, row, strict=True)) for row in rows]
    return {pilot["PilotJobReference"]: pilot for pilot in pilots}
