"""What a site's CFG says about jobs (legacy-methods.md, section 2; rest-diracx.md, 1 and 6.5).

Operations has one section for all VOs, ``Defaults``, and one for each VO that goes before it; where there are
setups (before DIRAC 9), each of them has sections of its own.  Options of systems are below ``Systems``, and
with setups below the instance that the setup names.  A number that cannot be read counts as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared_db.cfg import CfgSection
from shared_db.rules.jdl.policy import DIRAC_9_1, DescriptionPolicy
from shared_db.rules.jdl.values import integer_in
from shared_db.rules.rescheduling import MAX_RESCHEDULING

# DIRAC's own default for parametric jobs (legacy-methods.md, 2.1).
MOST_PARAMETRIC = 20


@dataclass(frozen=True, slots=True)
class SiteJobs:
    """What holds for the jobs of one VO.

    ``description`` checks as DIRAC 9.1's JobManager does; REST asks for less
    (:data:`shared_db.rules.jdl.policy.DIRACX_0_7`).  ``all_may_look``: everybody may see everybody's jobs
    (GlobalJobsInfo).
    """

    description: DescriptionPolicy = DIRAC_9_1
    max_rescheduling: int = MAX_RESCHEDULING
    most_parametric: int = MOST_PARAMETRIC
    all_may_look: bool = True


@dataclass(slots=True)
class _Read:
    """What was read of one configuration."""

    cfg: CfgSection
    by_vo: dict[str, SiteJobs] = field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """Of the configuration that was asked last, which stays the same object until its file changes."""

    latest: _Read


_kept = _Kept(_Read(CfgSection()))


def site_jobs(cfg: CfgSection, vo: str) -> SiteJobs:
    """What the configuration says about jobs of a VO; cheap while the configuration is the same object."""
    read = _kept.latest
    if read.cfg is not cfg:
        # As a whole, since threads ask too.
        read = _kept.latest = _Read(cfg)
    if vo not in read.by_vo:
        read.by_vo[vo] = _read(Options(cfg, vo))
    return read.by_vo[vo]


class Options:
    """Options by the short paths that DIRAC's components know them by."""

    def __init__(self, cfg: CfgSection, vo: str) -> None:
        self.cfg = cfg
        self._setup = setup = cfg.get("DIRAC/Setup", "")
        places = [f"{vo}/{setup}", f"{vo}/Defaults", vo] if vo else []
        self._places = [*places, setup, "Defaults"]

    def operations(self, path: str) -> str:
        """An option of Operations, of the most special section that has it; '' if none has."""
        found = (self.cfg.get(f"Operations/{place}/{path}") for place in self._places if place)
        return next((value for value in found if value), "")

    def section(self, path: str) -> CfgSection | None:
        """A section of Operations, the most special one that there is."""
        found = (self.cfg.section(f"Operations/{place}/{path}") for place in self._places if place)
        return next((section for section in found if section is not None), None)

    def listed(self, path: str) -> tuple[str, ...]:
        """The same as a list."""
        return tuple(each for piece in self.operations(path).split(",") if (each := piece.strip()))

    def number(self, path: str, default: int) -> int:
        """The same as a number."""
        return _number(self.operations(path), default)

    def system(self, system: str, path: str, default: int) -> int:
        """A number among the options of a system's components."""
        instance = self.cfg.get(f"DIRAC/Setups/{self._setup}/{system}", "") if self._setup else ""
        value = self.cfg.get(f"Systems/{system}/{instance}/{path}", "") if instance else ""
        return _number(value or self.cfg.get(f"Systems/{system}/{path}", ""), default)


def _number(text: str, default: int) -> int:
    number = integer_in(text)
    return default if number is None else number


_NO = frozenset({"false", "no", "n", "0"})


def _read(options: Options) -> SiteJobs:
    return SiteJobs(
        _description(options),
        options.system("WorkloadManagement", "Databases/JobDB/MaxRescheduling", MAX_RESCHEDULING),
        options.system("WorkloadManagement", "Services/JobManager/MaxParametricJobs", MOST_PARAMETRIC),
        options.operations("Services/JobMonitoring/GlobalJobsInfo").lower() not in _NO,
    )


def _description(options: Options) -> DescriptionPolicy:
    usual = DIRAC_9_1

    def number(name: str, default: int) -> int:
        return options.number(f"JobDescription/{name}", default)

    return DescriptionPolicy(
        default_cpu_time=number("DefaultCPUTime", usual.default_cpu_time),
        min_cpu_time=number("MinCPUTime", usual.min_cpu_time),
        max_cpu_time=number("MaxCPUTime", usual.max_cpu_time),
        default_priority=number("DefaultPriority", usual.default_priority),
        min_priority=number("MinPriority", usual.min_priority),
        max_priority=number("MaxPriority", usual.max_priority),
        min_processors=number("MinNumberOfProcessors", usual.min_processors),
        max_processors=number("MaxNumberOfProcessors", usual.max_processors),
        max_input_data=number("MaxInputData", usual.max_input_data),
        job_types=(
            *(options.listed("JobDescription/AllowedJobTypes") or usual.job_types),
            *options.listed("Transformations/DataProcessing"),
        ),
        sites=_sites(options.cfg),
        platforms=_platforms(options.cfg),
        input_data_module=options.operations("InputDataPolicy/InputDataModule"),
        software_dist_module=options.operations("SoftwareDistModule"),
    )


def _sites(cfg: CfgSection) -> frozenset[str] | None:
    """The names of all sites; None where the configuration has none."""
    grids = cfg.section("Resources/Sites") or CfgSection()
    return frozenset(name for grid in grids.sections.values() for name in grid.sections) or None


def _platforms(cfg: CfgSection) -> Mapping[str, frozenset[str]] | None:
    """Each of DIRAC's platforms with those it is compatible with; None where nothing is said of them."""
    section = cfg.section("Resources/Computing/OSCompatibility")
    if section is None:
        return None
    return {name: frozenset(section.get_list(name)) for name in section.options}
