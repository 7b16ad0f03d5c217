"""Answers that several resources give."""

from __future__ import annotations

from rest_backend.models.search import Paging
from rest_backend.operations import Answer
from shared_db.queries.search import Page


def paged(page: Page, paging: Paging, unit: str) -> Answer:
    """A page of a search (rest-diracx.md, section 1, 3).

    200 without header for a whole result, 206 with ``Content-Range`` for a part of it, 416 for a page
    beyond the end.
    """
    first = (paging.page - 1) * paging.per_page
    if len(page.rows) == page.total:
        return Answer(page.rows)
    if not page.rows:
        return Answer([], 416, {"Content-Range": f"{unit} */{page.total}"})
    last = first + len(page.rows) - 1
    return Answer(page.rows, 206, {"Content-Range": f"{unit} {first}-{last}/{page.total}"})
