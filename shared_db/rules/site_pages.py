"""Pages of the site summary (legacy-methods.md, section 8), and what a configuration says of its sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared_db.cfg import CfgSection
from shared_db.rules.jdl.values import integer_in
from shared_db.rules.job_counts import Count
from shared_db.rules.job_selections import range_of_time
from shared_db.rules.job_states import FINAL_STATES, JOB_STATES
from shared_db.rules.pilot_selections import Comparison, since
from shared_db.rules.refusals import UnfitArgument

# In the order of DIRAC's tables.
STATES = (
    *JOB_STATES[: JOB_STATES.index("Completed")],
    "Done",
    "Completed",
    "Failed",
    "Deleted",
    "Killed",
)
COLUMNS = ("Site", "GridType", "Country", "Tier", "MaskStatus", *STATES, "Efficiency", "Status")
NO_MASK = "NoMask"
# Of a site that the configuration says nothing of.
USUAL_TIER = 2
VERDICTS = ("Good", "Fair", "Poor", "Bad", "Idle")
MASKS = ("Active", "Banned", NO_MASK, "Reduced")


@dataclass(frozen=True, slots=True)
class KnownSite:
    """A site: its tier, what mask or states say of it, and whether the configuration has it."""

    tier: int = USUAL_TIER
    mask: str = NO_MASK
    configured: bool = False


def configured_tiers(cfg: CfgSection) -> dict[str, int]:
    """The tiers of the sites in a configuration."""
    grids = cfg.section("Resources/Sites") or CfgSection()
    return {
        name: USUAL_TIER if (tier := integer_in(site.get("MoUTierLevel", ""))) is None else tier
        for grid in grids.sections.values()
        for name, site in grid.sections.items()
    }


def known_sites(cfg: CfgSection, statuses: Mapping[str, str]) -> dict[str, KnownSite]:
    """Every site that is in the configuration or has a status, by name."""
    tiers = configured_tiers(cfg)
    return {
        name: KnownSite(
            tiers.get(name, USUAL_TIER),
            status if (status := statuses.get(name, NO_MASK)) in ("Active", "Banned") else NO_MASK,
            name in tiers,
        )
        for name in sorted({*tiers, *statuses})
    }


def selectors_of(sites: Mapping[str, KnownSite]) -> dict[str, list[str]]:
    """What a page can be narrowed down to: verdicts, masks, countries and sites of the configuration."""
    names = sorted(name for name, site in sites.items() if site.configured)
    countries = {parts[2].lower() for name in names if len(parts := name.split(".")) > 2}
    return {
        "Status": list(VERDICTS),
        "MaskStatus": list(MASKS),
        "Country": sorted(countries),
        "Site": names,
    }


@dataclass(frozen=True, slots=True)
class SitePage:
    """What a caller asks for.  ``sort``: the column's place, and whether it is descending."""

    newer: Any
    wanted: Mapping[int, Sequence[Any]]
    sort: tuple[int, bool] | None
    start: int
    most: int

    def unfinished(self) -> list[Comparison]:
        """The jobs of which those that have not ended are counted, by Site and Status."""
        return range_of_time("LastUpdateTime", newer=self.newer)


def finished_since(now: datetime) -> list[Comparison]:
    """The jobs of which those that have ended are counted: within the day before a naive UTC time."""
    return [since("EndExecTime", now - timedelta(days=1))]


def read_page(selected: Mapping[Any, Any], sort_list: Sequence[Any], start: int, most: int) -> SitePage:
    """Read the arguments of getSiteSummaryWeb.  Raises UnfitArgument."""
    sort = None
    try:
        if sort_list:
            sort = _place(sort_list[0][0]), sort_list[0][1].lower() != "asc"
    except (AttributeError, TypeError, LookupError) as error:
        raise UnfitArgument(str(error)) from error
    wanted = {
        _place(name): value if isinstance(value, list) else [value]
        for name, value in selected.items()
        if name != "LastUpdateTime"
    }
    return SitePage(selected.get("LastUpdateTime"), wanted, sort, start, most)


def _place(name: Any) -> int:
    if name not in COLUMNS:
        raise UnfitArgument(f"{name!r} is not in list")
    return COLUMNS.index(name)


def site_page(
    page: SitePage,
    unfinished: Iterable[Count],
    finished: Iterable[Count],
    sites: Mapping[str, KnownSite],
) -> dict[str, Any]:
    """The page, from counts by Site and Status.

    ``Extras`` has the numbers of each country; a name that is no site's (ANY, Multiple) has no record.
    """
    numbers: dict[str, dict[str, int]] = {}
    for counts, ended in ((unfinished, False), (finished, True)):
        for (site, status), number in counts:
            of_site = numbers.setdefault(site, dict.fromkeys(STATES, 0))
            if (status in FINAL_STATES) is ended and status in of_site:
                of_site[status] = number
    named = {site: numbers[site] for site in sorted(numbers, key=str.casefold) if site.count(".") == 2}
    records = [_record(site, of_site, sites.get(site, KnownSite())) for site, of_site in named.items()]
    records = [
        record for record in records if all(record[place] in values for place, values in page.wanted.items())
    ]
    if page.sort is not None:
        place, descending = page.sort
        records.sort(key=lambda record: record[place], reverse=descending)
    return {
        "ParameterNames": list(COLUMNS),
        "Records": _window(records, page.start, page.most),
        "TotalRecords": len(records),
        "Extras": _by_country(named),
    }


def _record(site: str, numbers: Mapping[str, int], known: KnownSite) -> list[Any]:
    grid, _, country = site.split(".")
    ended = sum(numbers[status] for status in FINAL_STATES)
    efficiency = (numbers["Done"] + numbers["Completed"]) / ended if ended else 0.0
    head = [site, grid, country, known.tier, known.mask]
    return [*head, *numbers.values(), f"{efficiency * 100:.1f}", _verdict(efficiency, ended)]


def _verdict(efficiency: float, ended: int) -> str:
    for least, verdict in ((0.95, "Good"), (0.80, "Fair"), (0.60, "Poor")):
        if efficiency > least:
            return verdict
    return "Bad" if ended else "Idle"


def _window(records: list[list[Any]], start: int, most: int) -> list[list[Any]]:
    """Some of the records; 0 means all.  Numbers below 0 count from the end, as in DIRAC."""
    if not most:
        return records
    return records[start:] if start + most > len(records) else records[start : start + most]


def _by_country(sites: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    countries: dict[str, dict[str, int]] = {}
    for site, numbers in sites.items():
        of_country = countries.setdefault(site.split(".")[2], dict.fromkeys(STATES, 0))
        for status, number in numbers.items():
            of_country[status] += number
    return countries
