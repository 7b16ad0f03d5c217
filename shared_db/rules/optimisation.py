"""What DIRAC's optimisers make of a submitted job: what it asks of pilots, or why none can have it.

Rules and texts are those that JobPath, JobSanity and JobScheduling of DIRAC 9.1.22 showed when they were run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared_db.rules.jdl.policy import DIRAC_9_1
from shared_db.rules.jdl.reader import Jdl, Value, read
from shared_db.rules.jdl.values import integer_of, quoted, text_of, texts_of
from shared_db.rules.jdl.writer import write
from shared_db.rules.task_queues import Demand, segment

JOB_PATH = "JobPath"
JOB_SANITY = "JobSanity"
INPUT_DATA = "InputData"
JOB_SCHEDULING = "JobScheduling"

# Any pilot will do; any case.
ANY = "any"
# tq_TQTo...: Value
_LONGEST_VALUE = 64
# tq_RAM_requirements holds INT(11) UNSIGNED.
_LARGEST_RAM = 2**32 - 1
_YES = frozenset({"true", "yes", "y", "1"})


class Unschedulable(Exception):
    """A job that no pilot can ever have: Failed, by one of the optimisers, for a reason."""

    def __init__(self, optimizer: str, reason: str) -> None:
        super().__init__(reason)
        self.optimizer = optimizer
        self.reason = reason

    @property
    def minor_status(self) -> str:
        """As DIRAC's failed jobs have it; the reason is their ApplicationStatus."""
        return f"{self.optimizer} optimizer"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a job is, as table Jobs has it."""

    owner: str
    owner_group: str
    vo: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """What becomes of a job: the queue it waits in, Jobs.Site, and its JDL, None where it stays as it is.

    ``inputs``: the entries of its InputSandbox.  ``chain``: the optimisers that it passes.
    """

    demand: Demand
    site: str
    jdl: str | None
    inputs: tuple[str, ...]
    chain: tuple[str, ...]


def schedule(jdl: str, whose: Whose) -> Schedule:
    """What becomes of a job with this current JDL.  Raises Unschedulable, JdlError."""
    attributes = read(jdl)
    demand = _demand(attributes, whose)
    site = next(iter(demand.sites), "ANY") if len(demand.sites) < 2 else "Multiple"
    inputs = tuple(texts_of(attributes.get("InputSandbox", "")))
    data = (INPUT_DATA,) if texts_of(attributes.get("InputData", "")) else ()
    return Schedule(
        demand, site, _restated(attributes, demand), inputs, (JOB_PATH, JOB_SANITY, *data, JOB_SCHEDULING)
    )


def _demand(attributes: Jdl, whose: Whose) -> Demand:
    requirements = attributes.get("JobRequirements", {})
    given = requirements if isinstance(requirements, dict) else {}
    sites, banned = _sites(attributes)
    least, most = _memory(attributes, "MinRAM"), _memory(attributes, "MaxRAM")
    if 0 < most < least:
        raise Unschedulable(JOB_SCHEDULING, f"MinRAM {least} is above MaxRAM {most}")
    return Demand(
        owner=whose.owner,
        owner_group=whose.owner_group,
        vo=whose.vo,
        cpu_time=segment(_cpu_time(attributes, given)),
        sites=_values("Site", sites),
        banned_sites=_values("BannedSites", banned),
        grid_ces=_values("GridCE", _named(attributes, "GridCE")),
        platforms=_values("Platform", texts_of(given.get("Platforms", ""))),
        job_types=_values("JobType", _named(attributes, "JobType")),
        tags=_values("Tags", job_tags(attributes)),
        min_ram=least,
        max_ram=most,
    )


def _cpu_time(attributes: Jdl, given: Jdl) -> int:
    """What was asked for; a JDL that JobManager did not complete may ask for nothing."""
    cpu_time = integer_of(given.get("CPUTime", attributes.get("CPUTime", str(DIRAC_9_1.default_cpu_time))))
    if cpu_time is None:
        raise Unschedulable(JOB_SCHEDULING, "CPUTime must be a number of seconds")
    return cpu_time


def _named(attributes: Jdl, *names: str) -> list[str]:
    """The values of attributes that mean the same, without those that ask for nothing."""
    return [text for name in names for text in texts_of(attributes.get(name, "")) if text.casefold() != ANY]


def _sites(attributes: Jdl) -> tuple[list[str], list[str]]:
    """Where a job wants to run, and where not."""
    banned = _named(attributes, "BannedSites", "BannedSite")
    wanted = _named(attributes, "Site")
    left = [site for site in wanted if site not in banned]
    if wanted and not left:
        raise Unschedulable(JOB_SCHEDULING, "Impossible site requirement")
    return left, banned


def _memory(attributes: Jdl, name: str) -> int:
    if not text_of(attributes.get(name, "")):
        return 0
    memory = integer_of(attributes[name])
    if memory is None or not 0 <= memory <= _LARGEST_RAM:
        raise Unschedulable(JOB_SCHEDULING, f"{name} must be a number of megabytes")
    return memory


def job_tags(attributes: Jdl) -> list[str]:
    """What a job asks for by name: its processors, a node of its own, and its own Tags."""
    tags = [*_processor_tags(attributes)]
    if text_of(attributes.get("WholeNode", "")).strip().lower() in _YES:
        tags += ["WholeNode", "MultiProcessor"]
    own = [text for name in ("Tags", "Tag") for text in texts_of(attributes.get(name, ""))]
    return list(dict.fromkeys([*tags, *own]))


def _processor_tags(attributes: Jdl) -> Iterable[str]:
    exact = integer_of(attributes.get("NumberOfProcessors", ""))
    least = integer_of(attributes.get("MinNumberOfProcessors", ""))
    most = integer_of(attributes.get("MaxNumberOfProcessors", ""))
    if exact is None and least == most:
        exact = least
    if exact is not None:
        return [f"{exact}Processors", "MultiProcessor"] if exact > 1 else []
    if least is None:
        # As many as there are, but one will do.
        return []
    return [f"{least}Processors", "MultiProcessor"] if least > 1 else ["MultiProcessor"]


def _values(name: str, values: Iterable[str]) -> frozenset[str]:
    for value in values:
        if len(value) > _LONGEST_VALUE:
            raise Unschedulable(
                JOB_SCHEDULING, f"{name} is longer than {_LONGEST_VALUE} characters: {value[:_LONGEST_VALUE]}"
            )
    return frozenset(values)


def _restated(attributes: Jdl, demand: Demand) -> str | None:
    """The JDL with what the job asks of pilots among its JobRequirements, as JobScheduling stores it."""
    found: Mapping[str, Iterable[str]] = {
        "Sites": sorted(demand.sites),
        "BannedSites": sorted(demand.banned_sites),
        "GridCEs": sorted(demand.grid_ces),
        "JobTypes": sorted(demand.job_types),
        "Tags": (tags := job_tags(attributes)),
    }
    added: Jdl = {name: _stated(values) for name, values in found.items() if values}
    added |= {
        name: str(memory)
        for name, memory in (("MinRAM", demand.min_ram), ("MaxRAM", demand.max_ram))
        if memory
    }
    requirements = attributes.get("JobRequirements", {})
    if not added or not isinstance(requirements, dict):
        return None
    own: Jdl = {"Tags": _stated(tags)} if tags else {}
    return write({**attributes, **own, "JobRequirements": {**requirements, **added}})


def _stated(values: Iterable[str]) -> Value:
    stated = [quoted(value) for value in values]
    return stated[0] if len(stated) == 1 else stated
