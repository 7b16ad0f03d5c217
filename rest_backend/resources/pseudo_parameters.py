"""Conditions on what is no column: DiracX's pseudo-parameters (rest-diracx.md, 6.3 and 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from shared_db.errors import InvalidQuery
from shared_db.queries.conditions import Condition
from shared_db.queries.search import Search


async def resolved(
    search: Search, pseudo: str, real: str, ids_of: Callable[[list[Any]], Awaitable[Sequence[Any]]]
) -> Search:
    """The search with its conditions on ``pseudo`` turned into conditions on the column ``real``.

    ``ids_of`` gives the values of ``real`` for some of ``pseudo``.  Raises InvalidQuery.
    """
    asked = [condition for condition in search.conditions if condition.column == pseudo]
    if not asked:
        return search
    conditions = [condition for condition in search.conditions if condition.column != pseudo]
    if any(condition.column == real for condition in conditions):
        raise InvalidQuery(
            f"Cannot combine '{pseudo}' pseudo-parameter with a real '{real}' filter in the same request."
        )
    for condition in asked:
        if condition.operator not in ("eq", "in"):
            raise InvalidQuery(
                f"Operator {condition.operator} is not supported on the '{pseudo}' pseudo-parameter;"
                " use 'eq' or 'in'."
            )
        values = condition.value if isinstance(condition.value, list) else [condition.value]
        conditions.append(Condition(real, "in", list(await ids_of(values))))
    return replace(search, conditions=conditions)
