"""Jobs that legacy callers select: their ids, pages of them, numbers by some columns, and distinct values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.conditions import Condition, Form, bind, expressions
from shared_db.queries.search import KEPT_STATEMENTS, in_key_order, sorted_by
from shared_db.rules.job_counts import Count
from shared_db.rules.job_selections import NO_VALUE
from shared_db.rules.pilot_selections import Comparison
from shared_db.schema.job_db import JOB_DB, Jobs

Forms = tuple[Form, ...]
# A column, and whether it is descending.
SortKey = tuple[str, bool]


async def selected_ids(work: UnitOfWork, comparisons: Sequence[Comparison]) -> list[int]:
    """The ids of the jobs that meet all comparisons, ascending.  Raises InvalidQuery."""
    forms, empty, bound = _bound(comparisons)
    return [row[0] for row in await work.rows(JOB_DB, _ids(forms, empty), bound)]


async def ids_of_jobs(work: UnitOfWork, conditions: Sequence[Condition]) -> list[int]:
    """The same of conditions of searches.  Raises InvalidQuery."""
    forms, bound = bind(Jobs, conditions)
    return [row[0] for row in await work.rows(JOB_DB, _ids(forms, ()), bound)]


async def selected_jobs(
    work: UnitOfWork, comparisons: Sequence[Comparison], sort: SortKey | None, start: int, most: int
) -> list[AnyRow]:
    """All attributes of ``most`` of these jobs from ``start`` on, sorted by a column and by id.

    Raises InvalidQuery.
    """
    forms, empty, bound = _bound(comparisons)
    window = {"page_limit": most, "page_offset": start}
    return await work.rows(JOB_DB, _window(forms, empty, sort), bound | window)


async def counts_by(
    work: UnitOfWork, columns: Sequence[str], comparisons: Sequence[Comparison]
) -> list[Count]:
    """Numbers of jobs by columns (each named once), in no order.  Raises InvalidQuery."""
    forms, empty, bound = _bound(comparisons)
    rows = await work.rows(JOB_DB, _counting(tuple(columns), forms, empty), bound)
    return [(tuple(row[:-1]), row[-1]) for row in rows]


async def distinct(work: UnitOfWork, column: str, comparisons: Sequence[Comparison]) -> list[Any]:
    """The values of a column, each once, in no order.  Raises InvalidQuery."""
    forms, empty, bound = _bound(comparisons)
    return [row[0] for row in await work.rows(JOB_DB, _distinct(column, forms, empty), bound)]


def _bound(comparisons: Sequence[Comparison]) -> tuple[Forms, tuple[str, ...], dict[str, Any]]:
    """Forms of comparisons, columns that must be without a value, and what is bound."""
    with_values = [each for each in comparisons if each.operator != NO_VALUE]
    forms, bound = bind(Jobs, [Condition(each.column, each.operator, each.value) for each in with_values])
    return forms, tuple(each.column for each in comparisons if each.operator == NO_VALUE), bound


def _met(statement: Select[Any], forms: Forms, empty: tuple[str, ...]) -> Select[Any]:
    return statement.where(*expressions(Jobs, forms), *[Jobs.c[name].is_(None) for name in empty])


@lru_cache(KEPT_STATEMENTS)
def _ids(forms: Forms, empty: tuple[str, ...]) -> Select[Any]:
    return _met(select(Jobs.c.JobID), forms, empty).order_by(Jobs.c.JobID)


@lru_cache(KEPT_STATEMENTS)
def _window(forms: Forms, empty: tuple[str, ...], sort: SortKey | None) -> Select[Any]:
    statement = _met(select(Jobs), forms, empty)
    if sort is not None:
        statement = statement.order_by(sorted_by(Jobs.c[sort[0]], descending=sort[1]))
    return statement.order_by(Jobs.c.JobID).limit(bindparam("page_limit")).offset(bindparam("page_offset"))


@lru_cache(KEPT_STATEMENTS)
def _counting(columns: tuple[str, ...], forms: Forms, empty: tuple[str, ...]) -> Select[Any]:
    named = [Jobs.c[name] for name in columns]
    counted = _met(select(*named, func.count().label("count")), forms, empty)
    return counted.group_by(*in_key_order(named))


@lru_cache(KEPT_STATEMENTS)
def _distinct(column: str, forms: Forms, empty: tuple[str, ...]) -> Select[Any]:
    return _met(select(Jobs.c[column]).distinct(), forms, empty)
