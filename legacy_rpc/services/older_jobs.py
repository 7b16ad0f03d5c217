"""Jobs as clients before DIRAC 9 know them: with the attributes that 9 has dropped, and without VO.

The owner's DN is that which the registry has first; the other attributes are what a job starts with, which
nothing here ever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from legacy_rpc.messages import Call
from legacy_rpc.services.table import OlderForm
from shared_db.registry import Registry
from shared_db.rules.job_attributes import JOB_ATTRIBUTES, MOST_SPELLINGS
from shared_db.rules.job_pages import PAGE_COLUMNS
from shared_db.rules.job_selections import NOTHING

OWNER_DN, SETUP = "OwnerDN", "DIRACSetup"
UNKNOWN_DN = "Unknown"
_STARTS: Mapping[str, Any] = {
    "ApplicationNumStatus": 0,
    "JobSplitType": "Single",
    "MasterJobID": 0,
    "SystemPriority": 0,
    **dict.fromkeys(
        (
            "DeletedFlag",
            "FailedFlag",
            "ISandboxReadyFlag",
            "KilledFlag",
            "OSandboxReadyFlag",
            "RetrievedFlag",
        ),
        "False",
    ),
}
_DROPPED = {name.lower(): name for name in (*_STARTS, OWNER_DN, SETUP)}
# What 8.0 answers, in its order.
OLDER_ATTRIBUTES = tuple(sorted(({*JOB_ATTRIBUTES} - {"VO"}) | {*_DROPPED.values()}))
# No job meets it.
_NO_JOB = {NOTHING.column: [None]}

Shape = Callable[[Any], Any]


def _dropped(name: Any) -> str | None:
    """The attribute of 8.0 that 9 has dropped, in whatever case it is written."""
    return _DROPPED.get(name.lower()) if isinstance(name, str) else None


def _setup_of(call: Call, registry: Registry) -> str:
    return registry.setup or call.setup


def _dn_of(owner: Any, registry: Registry) -> str:
    return next(iter(registry.dns_of(owner)), UNKNOWN_DN) if isinstance(owner, str) else UNKNOWN_DN


def _older_value(name: str, job: Mapping[str, Any], call: Call, registry: Registry) -> Any:
    """The value of an attribute, of 8.0's or of 9's, for a job as 9 gives it."""
    dropped = _dropped(name)
    if dropped is None:
        return job[name]
    if dropped == OWNER_DN:
        return _dn_of(job["Owner"], registry)
    return _setup_of(call, registry) if dropped == SETUP else _STARTS[dropped]


# ---- attributes that are asked for


def _asked(value: Any) -> list[Any] | None:
    """The names in an argument; None where all are meant, or it is something that will be refused."""
    if isinstance(value, str):
        return value.replace(" ", "").split(",") if value else None
    return list(value) if isinstance(value, list | tuple) and value else None


def _are_older(names: Sequence[Any]) -> bool:
    """Whether some are of 8.0; far too many are left as they are, and refused."""
    if not any(map(_dropped, names)):
        return False
    return len({name for name in names if isinstance(name, str)}) <= MOST_SPELLINGS


def _newer_names(names: Iterable[Any], otherwise: str = "JobID") -> list[Any]:
    """What 9 is asked for in place of names of 8.0: never nothing, which would mean all."""
    named = [("Owner" if _dropped(name) == OWNER_DN else name) for name in names]
    kept = [name for name in named if _dropped(name) is None]
    if not all(isinstance(name, str) for name in kept):  # which is refused
        return kept
    return list(dict.fromkeys(kept)) if kept else [otherwise]


def _newer_attributes(arguments: Sequence[Any], _registry: Registry) -> Sequence[Any]:
    names = _asked(arguments[1]) if len(arguments) > 1 else None
    if names is None or not _are_older(names):
        return arguments
    return [arguments[0], _newer_names(names), *arguments[2:]]


def _older_job(call: Call, registry: Registry) -> Shape:
    names = _asked(call.arguments[1]) if len(call.arguments) > 1 else None
    wanted = OLDER_ATTRIBUTES if names is None else sorted(set(names))
    return lambda job: {name: _older_value(name, job, call, registry) for name in wanted}


def _one_job(value: Any, call: Call, registry: Registry) -> Any:
    return _older_job(call, registry)(value) if value else value


def _several_jobs(value: Any, call: Call, registry: Registry) -> Any:
    if not value:  # whatever was asked for
        return value
    shape = _older_job(call, registry)
    return {job_id: shape(job) for job_id, job in value.items()}


def _newer_attribute(arguments: Sequence[Any], _registry: Registry) -> Sequence[Any]:
    if len(arguments) > 1 and _dropped(arguments[1]):
        return [arguments[0], *_newer_names([arguments[1]])]
    return arguments


def _one_attribute(value: Any, call: Call, registry: Registry) -> Any:
    name = call.arguments[1]
    dropped = _dropped(name)
    if dropped is None or value is None:
        return value
    return _older_value(name, {"Owner": value}, call, registry)


# ---- conditions


def _newer_conditions(selected: Any, registry: Registry) -> Any:
    """The same conditions in 9's attributes; what nothing here can meet becomes no job at all."""
    if not isinstance(selected, Mapping) or not any(map(_dropped, selected)):
        return selected
    kept = {name: value for name, value in selected.items() if _dropped(name) is None}
    for name, value in selected.items():
        dropped = _dropped(name)
        values = list(value) if isinstance(value, list | tuple) else [value]
        if dropped == OWNER_DN:
            kept |= _owned_by({_user_of(dn, registry) for dn in values} - {None}, kept.get("Owner"))
        elif dropped and not _is_among(registry.setup if dropped == SETUP else _STARTS[dropped], values):
            kept |= _NO_JOB
    return kept


def _user_of(dn: Any, registry: Registry) -> str | None:
    group = registry.default_group(dn) if isinstance(dn, str) else None
    return registry.username(dn, group) if group else None


def _owned_by(users: set[Any], named: Any) -> dict[str, Any]:
    """A condition on the owner, who may be named besides."""
    if named is not None:
        owners = named if isinstance(named, list | tuple) else [named]
        users &= {each for each in owners if isinstance(each, str)}
    return {"Owner": sorted(users)} if users else dict(_NO_JOB)


def _is_among(start: Any, values: Iterable[Any]) -> bool:
    """Whether what all jobs have is one of the values; an unknown setup is any."""
    return start is None or str(start).lower() in {str(value).strip().lower() for value in values}


def _conditions_at(place: int) -> Callable[[Sequence[Any], Registry], Sequence[Any]]:
    def newer(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
        if len(arguments) <= place:
            return arguments
        meant = _newer_conditions(arguments[place], registry)
        return [*arguments[:place], meant, *arguments[place + 1 :]]

    return newer


# ---- numbers of jobs


def _newer_counters(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    names = _asked(arguments[0]) if arguments else None
    if names is not None and _are_older(names):
        arguments = [_newer_names(names, "VO"), *arguments[1:]]
    return _conditions_at(1)(arguments, registry)


def _older_counters(value: Any, call: Call, registry: Registry) -> Any:
    names = list(dict.fromkeys(_asked(call.arguments[0]) or []))
    if not any(map(_dropped, names)):
        return value
    counted: dict[tuple[Any, ...], int] = {}
    for job, number in value:
        key = tuple(_older_value(name, job, call, registry) for name in names)
        counted[key] = counted.get(key, 0) + number
    return [(dict(zip(names, key, strict=True)), number) for key, number in counted.items()]


def _newer_statistics(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    if arguments and _dropped(arguments[0]):
        column = "Owner" if _dropped(arguments[0]) == OWNER_DN else "VO"
        arguments = [column, *arguments[1:]]
    return _conditions_at(1)(arguments, registry)


def _older_statistics(value: Any, call: Call, registry: Registry) -> Any:
    name = call.arguments[0]
    if not _dropped(name):
        return value
    counted: dict[Any, int] = {}
    for owner, number in value.items():
        key = _older_value(name, {"Owner": owner}, call, registry)
        counted[key] = counted.get(key, 0) + number
    return counted


# ---- pages


def _newer_page(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    if len(arguments) < 2:  # which is refused
        return arguments
    selected, sort_list, *rest = _conditions_at(0)(arguments, registry)
    match sort_list:
        case [[name, *direction], *_] if _dropped(name):
            sort_list = [["Owner", *direction]] if _dropped(name) == OWNER_DN else []
    return [selected, sort_list, *rest]


def _older_page(value: Any, call: Call, registry: Registry) -> Any:
    if "Records" not in value:
        return value
    *_, alive = PAGE_COLUMNS
    names = (*OLDER_ATTRIBUTES, alive)
    records = []
    for record in value["Records"]:
        job = dict(zip(PAGE_COLUMNS, record, strict=True))
        records.append([_older_value(name, job, call, registry) for name in names])
    return value | {"ParameterNames": list(names), "Records": records}


OLDER_JOB = OlderForm(arguments=_newer_attributes, value=_one_job)
OLDER_JOBS = OlderForm(arguments=_newer_attributes, value=_several_jobs)
OLDER_ATTRIBUTE = OlderForm(arguments=_newer_attribute, value=_one_attribute)
OLDER_CONDITIONS = OlderForm(arguments=_conditions_at(0))
OLDER_COUNTERS = OlderForm(arguments=_newer_counters, value=_older_counters)
OLDER_STATISTICS = OlderForm(arguments=_newer_statistics, value=_older_statistics)
OLDER_PAGE = OlderForm(arguments=_newer_page, value=_older_page)
