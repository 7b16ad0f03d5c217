"""The checks of DIRAC 9.1's JobManager, in their order and in their words (seen on 9.1.22).

DIRAC checks with pydantic, whose texts its clients see; the first thing wrong is the only one reported.
"""

from __future__ import annotations

from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.jdl.reader import Jdl
from shared_db.rules.jdl.values import integer_of, text_of, texts_of
from shared_db.rules.refusals import Refusal

_HELP = "For further information visit https://errors.pydantic.dev/2.14/v"
# How pydantic shows the whole model, whose middle it cuts out.
_MODEL = "BaseJobDescriptionModel(a...s=set(), extraFields={})"
_LONGEST_SHOWN = 50


class InvalidDescription(Refusal):
    """A job that DIRAC's validation refuses."""


def validate(jdl: Jdl, submitter: Submitter, policy: DescriptionPolicy) -> None:
    """Check a job as it was submitted.

    Raises InvalidDescription.
    """
    _check_executable(jdl)
    _check_number(jdl, "CPUTime", "cpuTime", policy.min_cpu_time, policy.max_cpu_time)
    _check_input_data(jdl, policy)
    _check_choices(jdl, policy)
    _check_processors(jdl, policy)
    _check_sites(jdl, policy)
    _check_number(jdl, "Priority", "priority", policy.min_priority, policy.max_priority)
    _check_namespace(jdl, submitter)


def _refused(field: str, problem: str, value: object) -> InvalidDescription:
    shown, kind = _shown(repr(value)), type(value).__name__
    return _invalid(
        f"{field}\n  Value error, {problem}", f"value_error, input_value={shown}, input_type={kind}"
    )


def _refused_model(problem: str) -> InvalidDescription:
    return _invalid(
        f"  Value error, {problem}", f"value_error, input_value={_MODEL}, input_type=BaseJobDescriptionModel"
    )


def _invalid(problem: str, details: str) -> InvalidDescription:
    kind = details.partition(",")[0]
    return InvalidDescription(
        "Invalid JDL: 1 validation error for BaseJobDescriptionModel\n"
        f"{problem} [type={details}]\n    {_HELP}/{kind}"
    )


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:25]}...{text[-24:]}"


def _check_executable(jdl: Jdl) -> None:
    if not text_of(jdl.get("Executable", "")):
        raise _refused("executable", "executable must not be an empty string", "")


def _check_number(jdl: Jdl, name: str, field: str, lowest: int, highest: int) -> None:
    if name not in jdl:
        return
    number = integer_of(jdl[name])
    if number is None:
        raise _invalid(
            f"{field}\n  Input should be a valid integer", "int_type, input_value=None, input_type=NoneType"
        )
    if not lowest <= number <= highest:
        raise _refused(field, f"{field} out of bounds (must be between {lowest} and {highest})", number)


def _check_input_data(jdl: Jdl, policy: DescriptionPolicy) -> None:
    lfns = texts_of(jdl.get("InputData", ""))
    for lfn in lfns:
        if "//" in lfn:
            raise _refused("inputData", "Input data contains //", lfns)
        if not lfn.startswith(("LFN:/", "/")):
            raise _refused("inputData", "Input data files must start with LFN:/", lfns)
    # So many are too many already.
    if len(set(lfns)) >= policy.max_input_data:
        raise _refused_model(
            f"inputData contains too many files (must contain at most {policy.max_input_data})"
        )


def _check_choices(jdl: Jdl, policy: DescriptionPolicy) -> None:
    if "JobType" in jdl and (job_type := text_of(jdl["JobType"])) not in policy.job_types:
        allowed = list(policy.job_types)
        raise _refused(
            "jobType",
            f"jobType '{job_type}' is not allowed for this kind of user (must be in {allowed})",
            job_type,
        )
    if "LogLevel" in jdl and (level := text_of(jdl["LogLevel"])).upper() not in policy.log_levels:
        raise _refused("logLevel", f"Log level {level.upper()} not in {list(policy.log_levels)}", level)


def _check_processors(jdl: Jdl, policy: DescriptionPolicy) -> None:
    bounds = policy.min_processors, policy.max_processors
    if "NumberOfProcessors" in jdl:
        _check_number(jdl, "NumberOfProcessors", "maxNumberOfProcessors", *bounds)
        return
    _check_number(jdl, "MaxNumberOfProcessors", "maxNumberOfProcessors", *bounds)
    _check_number(jdl, "MinNumberOfProcessors", "minNumberOfProcessors", *bounds)
    highest = integer_of(jdl.get("MaxNumberOfProcessors", ""))
    lowest = integer_of(jdl.get("MinNumberOfProcessors", "")) or policy.min_processors
    if highest is not None and highest < lowest:
        raise _refused_model("maxNumberOfProcessors must be greater than minNumberOfProcessors")


def _check_sites(jdl: Jdl, policy: DescriptionPolicy) -> None:
    sites = texts_of(jdl.get("Site", ""))
    if policy.sites is not None and (unknown := set(sites) - policy.sites - {"ANY"}):
        raise _refused("sites", f"Invalid sites: {' '.join(sorted(unknown))}", sites)
    if sites and set(sites) <= set(texts_of(jdl.get("BannedSites", ""))):
        raise _refused_model("sites and bannedSites are mutually exclusive")


def _check_namespace(jdl: Jdl, submitter: Submitter) -> None:
    """Input data must belong to the submitter's VO."""
    start = f"/{submitter.vo}/"
    if all(lfn.removeprefix("LFN:").strip().startswith(start) for lfn in texts_of(jdl.get("InputData", ""))):
        return
    arguments = text_of(jdl.get("Arguments", ""))
    fields = (
        f"{{'arguments': {arguments!r}, 'bannedSites': set(), 'owner': {submitter.owner!r}, "
        f"'ownerGroup': {submitter.owner_group!r}, 'vo': {submitter.vo!r}}}"
    )
    raise InvalidDescription(
        "1 validation error for JobDescriptionModel\n"
        f"  Value error, Input data not correctly specified (must start with LFN:{start}) "
        f"[type=value_error, input_value={_shown(fields)}, input_type=dict]\n    {_HELP}/value_error"
    )
