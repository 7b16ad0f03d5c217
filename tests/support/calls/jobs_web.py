"""Generated calls of the methods about jobs and sites that Monitoring/WebApp shares with other services."""

from __future__ import annotations

import random
from typing import Any

from calls import job_monitoring
from calls.arguments import DATES, Maker
from shared_db.rules.site_pages import COLUMNS

_SHARED = (
    "getJobPageSummaryWeb",
    "getJobStats",
    "getApplicationStates",
    "getJobTypes",
    "getOwners",
    "getOwnerGroup",
    "getJobGroups",
    "getSites",
    "getStates",
    "getMinorStates",
)


def site_page(chance: random.Random) -> list[Any]:
    """Arguments of getSiteSummaryWeb."""
    selected: dict[str, Any] = {}
    if chance.random() < 0.4:
        selected["LastUpdateTime"] = chance.choice(DATES)
    if chance.random() < 0.4:
        selected |= chance.choice(
            ({"Status": ["Idle", "Bad"]}, {"Site": "DEMO.Lyon.fr"}, {"Country": ["fr", "jp"]}, {"Foo": 1})
        )
    sort = chance.choice(
        ([], [[chance.choice(COLUMNS), chance.choice(("ASC", "DESC"))]], [["Site"]], [["x", "ASC"]])
    )
    return [selected, sort, chance.choice((0, 0, 1, 5)), chance.choice((0, 1, 2, 10))]


def _rows_of_transformations(_chance: random.Random) -> list[Any]:
    return [{}, [], 0, 10]


SITE_CALLS: dict[str, Maker] = {
    "getSiteSummaryWeb": site_page,
    "getSiteSummarySelectors": lambda _chance: [],
}

JOB_CALLS: dict[str, Maker] = {
    **{name: job_monitoring.CALLS[name] for name in _SHARED},
    "getJobsCounters": job_monitoring.CALLS["getCounters"],
    **SITE_CALLS,
    "getDistinctAttributeValues": lambda _chance: ["Type", {}],
    "getTransformationFilesSummaryWeb": _rows_of_transformations,
    "getTransformationSummaryWeb": _rows_of_transformations,
}
