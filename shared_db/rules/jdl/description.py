"""From a submitted JDL to what the JobDB keeps of it (legacy-methods.md, sections 2 and 3).

The current JDL is the submitted one, restated and with the keys that DIRAC adds; that of a rescheduled job is
made anew from OriginalJDL, as it was written and without defaults, so its priority may become 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared_db.rules.jdl.options import restated
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.jdl.reader import Jdl, JdlError, Value, bracketed, read
from shared_db.rules.jdl.validation import validate
from shared_db.rules.jdl.values import content, integer_in, integer_of, quoted, text_of, texts_of
from shared_db.rules.jdl.writer import write
from shared_db.rules.refusals import Refusal, too_long

EWMSSUBM = 1503

# What columns are made of, or what must be there; a record would leave them empty.
_PLAIN = ("Executable", "JobName", "JobType", "JobGroup", "Site", "InputData")

# Requirements that may have several values; the others have one.
_SEVERAL = frozenset(
    {"Sites", "BannedSites", "Platforms", "Tags", "GridCEs", "JobTypes", "PilotTypes", "SubmitPools"}
)


class RefusedAfterInsertion(Refusal):
    """A job that DIRAC refuses only once it has an id and a row in JobJDLs.

    ``original_jdl`` is what that row keeps.  With a ``minor_status`` the answer names the id (``JobId``),
    ``Status`` Failed and this ``MinorStatus``; a job that was being rescheduled gets both.
    """

    def __init__(self, message: str, original_jdl: str, errno: int = 0, minor_status: str = "") -> None:
        super().__init__(message, errno)
        self.original_jdl = original_jdl
        self.minor_status = minor_status


# Characters that a column of Jobs holds, and one of InputData.
SIZES = {"JobName": 128, "JobType": 32, "JobGroup": 32, "Site": 100}
LFN_SIZE = 255


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job's current JDL, its columns in table Jobs, and the LFNs for table InputData."""

    jdl: str
    columns: dict[str, Any]
    input_data: list[str]


@dataclass(frozen=True, slots=True)
class JobDescription:
    """A job that may be stored.  ``original_jdl`` is the text for OriginalJDL."""

    original_jdl: str
    _attributes: Jdl
    _columns: dict[str, Any]
    _input_data: list[str]

    def check_sizes(self) -> None:
        """Raises Refusal, in MySQL's words, for a text that its column cannot hold (``%j`` not filled)."""
        for name, size in SIZES.items():
            if len(self._columns.get(name, "")) > size:
                raise too_long(name)
        if any(len(lfn) > LFN_SIZE for lfn in self._input_data):
            raise too_long("LFN")

    def for_job(self, job_id: int) -> JobRecord:
        """What to store for the job with this id, which takes the place of every ``%j``."""

        def numbered(text: str) -> str:
            return text.replace("%j", str(job_id))

        return JobRecord(
            numbered(write({**self._attributes, "JobID": str(job_id)})),
            {
                name: numbered(value) if isinstance(value, str) else value
                for name, value in self._columns.items()
            },
            [numbered(lfn) for lfn in self._input_data],
        )


def describe(text: str, submitter: Submitter, policy: DescriptionPolicy) -> JobDescription:
    """Check one submitted job (no parametric one) and say what to store for it.

    The columns are JobName, JobType, JobGroup, Site, UserPriority, Owner, OwnerGroup and VO.

    Raises Refusal; JdlError for texts that are no JDL, RefusedAfterInsertion where DIRAC spends an id.
    """
    try:
        return _describe(text, submitter, policy)
    except Refusal as refusal:
        if policy.refusal:
            raise Refusal(policy.refusal) from refusal
        raise


def redescribe(original_jdl: str, submitter: Submitter, policy: DescriptionPolicy) -> JobDescription:
    """Describe a job that is rescheduled, from its OriginalJDL; ``submitter`` is the job's owner.

    The columns are those that rescheduling sets again: Site and UserPriority.

    Raises Refusal; RefusedAfterInsertion with a ``minor_status`` when the JDL names somebody else.
    """
    attributes = read(original_jdl)
    _check_owner(attributes, original_jdl, "Owner", "Owner", submitter.owner)
    _check_owner(attributes, original_jdl, "OwnerGroup", "Owner Group", submitter.owner_group)
    _check_vo(attributes, original_jdl, submitter)
    cpu_time = integer_of(attributes.get("CPUTime", ""))
    priority = integer_of(attributes.get("Priority", "")) or 0
    attributes |= _added(
        attributes,
        submitter,
        policy,
        original_jdl,
        cpu_time=policy.default_cpu_time if cpu_time is None else cpu_time,
        priority=priority,
    )
    columns = {"Site": _site(attributes), "UserPriority": priority}
    return JobDescription(original_jdl, attributes, columns, _lfns(attributes))


def job_requirements(jdl: str) -> dict[str, Any]:
    """The JobRequirements record of a stored JDL, {} if there is none.

    Whole numbers are int; what may have several values (Sites, BannedSites, Platforms, Tags, ...) is a list
    of texts; everything else is a text.

    Raises JdlError.
    """
    requirements = read(jdl).get("JobRequirements", {})
    if not isinstance(requirements, dict):
        return {}
    return {name: _requirement(name, value) for name, value in requirements.items()}


def _describe(text: str, submitter: Submitter, policy: DescriptionPolicy) -> JobDescription:
    original = bracketed(text)
    submitted = read(original)
    if policy.refuses_empty and not submitted:
        raise JdlError("the JDL is empty: expected attributes such as Executable")
    for name in _PLAIN:
        if isinstance(submitted.get(name), dict):
            raise JdlError(f"{name} must be a text or a list, not a record")
    if policy.validates:
        validate(submitted, submitter, policy)
    attributes = {
        "CPUTime": str(policy.default_cpu_time),
        "Priority": str(policy.default_priority),
    } | restated(submitted)
    _check_storable(attributes, policy)
    cpu_time = _number(attributes, "CPUTime")
    priority = _number(attributes, "Priority")
    added = _added(attributes, submitter, policy, original, cpu_time=cpu_time, priority=priority)
    _check_vo(attributes, original, submitter)
    attributes |= added
    columns = {
        "JobName": text_of(attributes.get("JobName", "")) or "Unknown",
        "JobType": text_of(attributes.get("JobType", "")) or "user",
        "JobGroup": text_of(attributes.get("JobGroup", "")) or "00000000",
        "Site": _site(attributes),
        "UserPriority": priority,
        "Owner": submitter.owner,
        "OwnerGroup": submitter.owner_group,
        "VO": submitter.vo,
    }
    return JobDescription(original, attributes, columns, _lfns(attributes))


def _check_storable(attributes: Jdl, policy: DescriptionPolicy) -> None:
    """What DIRAC has always refused."""
    job_type = text_of(attributes.get("JobType", ""))
    if job_type and job_type not in policy.job_types:
        raise Refusal(f"{job_type} is not a valid value for JobType")
    if (files := len(texts_of(attributes.get("InputData", "")))) > policy.max_input_data:
        raise Refusal(
            f"Number of Input Data Files ({files}) greater than current limit: {policy.max_input_data}"
        )


def _number(attributes: Jdl, name: str) -> int:
    number = integer_of(attributes[name])
    if number is None:
        raise Refusal(f"{name} must be a number")
    return number


def _check_vo(attributes: Jdl, original: str, submitter: Submitter) -> None:
    _check_owner(attributes, original, "VirtualOrganization", "Virtual Organization", submitter.vo)


def _check_owner(attributes: Jdl, original: str, name: str, words: str, expected: str) -> None:
    stated = attributes.get(name, "")
    if isinstance(stated, str) and content(stated) in ("", expected):
        return
    problem = f"Wrong {words} in JDL"
    raise RefusedAfterInsertion(
        f"Job submission error ( {EWMSSUBM} : {problem})", original, EWMSSUBM, minor_status=problem
    )


def _added(
    attributes: Jdl,
    submitter: Submitter,
    policy: DescriptionPolicy,
    original: str,
    *,
    cpu_time: int,
    priority: int,
) -> Jdl:
    """The keys that DIRAC sets in every current JDL, whatever the submitter wrote."""
    owner = {"Owner": quoted(submitter.owner)}
    common: Jdl = {
        "OwnerGroup": quoted(submitter.owner_group),
        "VirtualOrganization": quoted(submitter.vo),
    }
    keys: Jdl = {**owner, **common}
    requirements: Jdl = {"CPUTime": str(cpu_time), "UserPriority": str(priority), **common}
    if policy.setup:
        owner_dn, setup = quoted(submitter.dn), quoted(policy.setup)
        keys |= {"OwnerName": owner["Owner"], "OwnerDN": owner_dn, "DIRACSetup": setup}
        requirements |= {"OwnerDN": owner_dn, "Setup": setup}
    else:
        requirements |= owner
    if platforms := texts_of(attributes.get("Platform", "")):
        requirements["Platforms"] = _platforms(platforms, policy, original)
    for name, module in (
        ("InputDataModule", policy.input_data_module),
        ("SoftwareDistModule", policy.software_dist_module),
    ):
        if module and name not in attributes:
            keys[name] = quoted(module)
    return {**keys, "JobRequirements": requirements}


def _platforms(wanted: list[str], policy: DescriptionPolicy, original: str) -> list[str]:
    if policy.platforms is None:
        raise RefusedAfterInsertion("OS compatibility info not found", original)
    if not (compatible := policy.compatible_platforms(wanted)):
        named = ", ".join(wanted)
        raise RefusedAfterInsertion(f"No compatible DIRAC platform found for {named}", original)
    return [quoted(platform) for platform in compatible]


def _site(attributes: Jdl) -> str:
    sites = texts_of(attributes.get("Site", ""))
    return "Multiple" if len(sites) > 1 else "".join(sites) or "ANY"


def _lfns(attributes: Jdl) -> list[str]:
    """Each file once: the table's key allows no more."""
    return list(dict.fromkeys(texts_of(attributes.get("InputData", ""))))


def _requirement(name: str, value: Value) -> Any:
    if name in _SEVERAL or isinstance(value, list):
        return texts_of(value)
    if isinstance(value, dict):
        return {inner: _requirement(inner, each) for inner, each in value.items()}
    number = integer_in(value)
    return text_of(value) if number is None else number
