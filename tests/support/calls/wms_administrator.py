"""Generated calls of WorkloadManagement/WMSAdministrator."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import ODD, Maker
from calls.jobs_web import SITE_CALLS

SERVICE = "WorkloadManagement/WMSAdministrator"
SITES = ("DEMO.Geneva.ch", "DEMO.Lyon.fr", "LCG.Other.org", "x" * 65, "")


def some_sites(chance: random.Random) -> Any:
    """A list of sites, or something odd."""
    if chance.random() < 0.2:
        return chance.choice(ODD)
    return [chance.choice(SITES[: chance.choice((3, 5))]) for _ in range(chance.randint(0, 3))]


def one_site(chance: random.Random) -> list[Any]:
    """A site, and perhaps a comment."""
    arguments: list[Any] = [chance.choice(SITES) if chance.random() < 0.9 else chance.choice(ODD)]
    if chance.random() < 0.5:
        arguments.append(chance.choice(("broken", "", "é", 5, "x" * 10_001)))
    return arguments


def states(chance: random.Random) -> list[Any]:
    """Perhaps a status."""
    return [chance.choice(("Active", "Banned", "All", None, 5))] if chance.random() < 0.6 else []


def statuses(chance: random.Random) -> list[Any]:
    """Nothing, a site or several."""
    return chance.choice(([], [None], [chance.choice(SITES)], [some_sites(chance)]))


def job(chance: random.Random) -> list[Any]:
    """A job that pilots ran, or something odd."""
    if chance.random() < 0.2:
        return [chance.choice(ODD)]
    number = chance.randint(1, 330)
    return [chance.choice((number, str(number)))]


CALLS: dict[str, Maker] = {
    "setSiteMask": lambda chance: [some_sites(chance)],
    "banSite": one_site,
    "allowSite": one_site,
    "clearMask": lambda _chance: [],
    "getSiteMask": states,
    "getSiteMaskStatus": statuses,
    "getAllSiteMaskStatus": lambda _chance: [],
    "getSiteMaskLogging": lambda chance: [chance.choice((some_sites(chance), chance.choice(SITES)))],
    "getSiteMaskSummary": lambda _chance: [],
    "getJobPilotOutput": job,
    **SITE_CALLS,
}
