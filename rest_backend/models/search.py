"""What searches and summaries ask for, of any resource (rest-diracx.md, 6.3)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, FailFast, Field

from shared_db.queries.conditions import LARGEST_NUMBER, Condition
from shared_db.queries.search import Search, Sort

T = TypeVar("T")


class _First(FailFast):
    """As pydantic's, and it may stand in unions."""

    __hash__ = object.__hash__


# Of a list the first wrong item is named: to remember a million of them takes half a gigabyte.
Items = Annotated[list[T], _First()]


class ScalarSearchSpec(BaseModel):
    """One comparison with one value."""

    parameter: str
    operator: Literal["eq", "neq", "gt", "lt", "like", "not like", "regex"]
    value: str | int

    def condition(self) -> Condition:
        """The comparison in the database's words."""
        return Condition(self.parameter, self.operator, self.value)


class VectorSearchSpec(BaseModel):
    """One comparison with a list of values; an empty list matches nothing for ``in``."""

    parameter: str
    operator: Literal["in", "not in"]
    values: Items[str] | Items[int]

    def condition(self) -> Condition:
        """The comparison in the database's words."""
        return Condition(self.parameter, self.operator, self.values)


SearchSpec = ScalarSearchSpec | VectorSearchSpec


class SortSpec(BaseModel):
    """One sort key."""

    parameter: str
    direction: Literal["asc", "desc"]


def _countable(page: int) -> int:
    if page >= LARGEST_NUMBER:
        raise ValueError("no page can have this number")
    return page


class Paging(BaseModel):
    """Which page of a search, and how long pages are."""

    page: Annotated[int, Field(ge=1), AfterValidator(_countable)] = 1
    per_page: Annotated[int, Field(ge=1, le=10000)] = 100


class SearchParams(BaseModel):
    """What to look for; conditions are ANDed."""

    parameters: Items[str] | None = None
    search: Items[SearchSpec] = []
    sort: Items[SortSpec] = []
    distinct: bool = False

    def search_for(self, paging: Paging) -> Search:
        """The search in the database's words."""
        return Search(
            columns=self.parameters,
            conditions=[spec.condition() for spec in self.search],
            sort=[Sort(spec.parameter, spec.direction == "desc") for spec in self.sort],
            distinct=self.distinct,
            page=paging.page,
            per_page=paging.per_page,
        )


class Conditions(BaseModel):
    """What to look for; conditions are ANDed."""

    search: Items[SearchSpec] = []


class SummaryParams(BaseModel):
    """Columns to count by; an empty list counts by every column."""

    grouping: Items[str]
    search: Items[SearchSpec] = []
