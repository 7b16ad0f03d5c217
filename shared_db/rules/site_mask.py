"""The site mask as DIRAC's WMSAdministrator shows it, and what it takes (legacy-methods.md, section 8).

An entry is ``(status, naive UTC time, author, comment)``; a mask has one by site, a history several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared_db.rules.refusals import Refusal

ACTIVE, BANNED = "Active", "Banned"
NO_COMMENT = "No comment"
_LONGEST_SITE, _LONGEST_COMMENT = 64, 10_000
# More names are not sent along: then the whole mask is looked at.
MOST_NAMES = 100

Entry = tuple[str, datetime | None, str, str]
Mask = Mapping[str, Entry]


def masking(sites: Iterable[Any], status: str, comment: Any = NO_COMMENT) -> tuple[dict[str, str], str]:
    """The status of each site, and the comment, as they can be stored.  Raises Refusal."""
    names = list(sites)
    if not all(map(is_site, names)) or not isinstance(comment, str) or not _storable(comment):
        raise Refusal("Failed to update the Site Mask")
    if len(comment) > _LONGEST_COMMENT:
        raise Refusal("Failed to update the Site Mask")
    return dict.fromkeys(names, status), comment


def is_site(name: Any) -> bool:
    """Whether a mask can name it."""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_SITE and _storable(name)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def sites_with(mask: Mask, status: Any) -> list[str]:
    """getSiteMask: the sites with a status."""
    return [site for site, entry in mask.items() if entry[0] == status]


def statuses(mask: Mask, sites: Any) -> dict[str, str] | str:
    """getSiteMaskStatus: of one site, of a list (those that are masked), or of all.  Raises Refusal."""
    if isinstance(sites, str):
        if sites not in mask:
            raise Refusal(f"Unknown site {sites}")
        return mask[sites][0]
    wanted = {site for site in sites if isinstance(site, str)} if isinstance(sites, list) else None
    return {site: entry[0] for site, entry in mask.items() if wanted is None or site in wanted}


def summary(masked: Mapping[str, str], configured: Iterable[str] | None) -> dict[str, str]:
    """getSiteMaskSummary: the configured sites that the mask does not name are ``Unknown``."""
    return {**dict.fromkeys(sorted(configured or ()), "Unknown"), **masked}


def asked_for(sites: str | Sequence[Any]) -> list[Any]:
    """The sites whose history is wanted; none: all."""
    return [sites] if isinstance(sites, str) else list(sites)


def histories(
    wanted: Sequence[Any], history: Mapping[str, Sequence[Entry]], mask: Mask
) -> dict[str, list[list[str]]]:
    """getSiteMaskLogging: of a site without a history its entry in the mask is shown."""
    if not wanted:
        return {site: [_line(entry) for entry in entries] for site, entries in history.items()}
    return {site: _lines(site, history, mask) for site in wanted if isinstance(site, str)}


def _lines(site: str, history: Mapping[str, Sequence[Entry]], mask: Mask) -> list[list[str]]:
    entries = history.get(site) or ([mask[site]] if site in mask else [])
    return [_line(entry) for entry in entries] or [["Unknown", "", "", "Site not present in logging table"]]


def _line(entry: Entry) -> list[str]:
    status, moment, author, comment = entry
    return [status, str(moment), author, comment]
