"""What a site asks of a submitted job, and what it adds to it (legacy-methods.md, section 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

LOG_LEVELS = ("DEBUG", "VERBOSE", "INFO", "WARN", "NOTICE", "ERROR", "ALWAYS", "FATAL")


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits: DIRAC's user and group, the group's VO, and the user's DN (needed for 8.0's keys only)."""

    owner: str
    owner_group: str
    vo: str
    dn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionPolicy:
    """The limits and defaults are those of Operations ``JobDescription/``; the defaults are DIRAC's own.

    ``validates``: check as DIRAC 9.1's JobManager does; without it only what cannot be stored is refused.
    ``refusal``: one text for everything refused, instead of DIRAC's.
    ``refuses_empty``: refuse a description without any attribute.
    ``sites``: the names that Site may hold, None to take any.
    ``platforms``: Resources/Computing/OSCompatibility, DIRAC's platforms and those each is compatible with.
    ``setup``: with a text, the keys of DIRAC 8.0 are added; without, those of 9.x.
    """

    validates: bool = True
    refusal: str = ""
    refuses_empty: bool = False
    default_cpu_time: int = 86400
    min_cpu_time: int = 100
    max_cpu_time: int = 500_000
    default_priority: int = 1
    min_priority: int = 0
    max_priority: int = 10
    min_processors: int = 1
    max_processors: int = 1024
    max_input_data: int = 500
    job_types: tuple[str, ...] = ("User", "Test", "Hospital")
    log_levels: tuple[str, ...] = LOG_LEVELS
    sites: frozenset[str] | None = None
    platforms: Mapping[str, frozenset[str]] | None = None
    input_data_module: str = ""
    software_dist_module: str = ""
    setup: str = ""

    def compatible_platforms(self, wanted: list[str]) -> list[str]:
        """DIRAC's platforms that can run one of the wanted ones, newest first."""
        platforms = self.platforms or {}
        fitting = [
            name for name, others in platforms.items() if name in wanted or not others.isdisjoint(wanted)
        ]
        return sorted(fitting, key=_version, reverse=True)


DIRAC_9_1 = DescriptionPolicy()
DIRAC_8_0 = replace(DIRAC_9_1, validates=False)
DIRACX_0_7 = replace(DIRAC_9_1, validates=False, refuses_empty=True, refusal="JDL syntax error")

_NUMBERS = re.compile(r"(\d+)")


def _version(platform: str) -> list[tuple[int, str]]:
    """A key that puts ``slc10`` behind ``slc6``."""
    pieces = _NUMBERS.split(platform)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]
