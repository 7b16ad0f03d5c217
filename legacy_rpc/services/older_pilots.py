"""Pilots as clients before DIRAC 9 write and read them: they belong to a group and a DN, not to a VO.

A pilot's group is the one that stands for its VO.  Nobody keeps its DN, broker, parent and task queue any
more: they are what DIRAC 8.0's own addPilotReferences writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from legacy_rpc.messages import Call, Failure
from legacy_rpc.services.table import OlderForm
from shared_db.registry import Registry
from shared_db.rules.pilots import no_vo_of

UNKNOWN = "Unknown"
# What every pilot has in the columns that 9 has dropped.
DROPPED: Mapping[str, Any] = {
    "OwnerDN": UNKNOWN,
    "Broker": UNKNOWN,
    "ParentID": 0,
    "OutputReady": "False",
    "TaskQueueID": 0,
}
# No pilot has this id.
NO_PILOT = {"PilotID": [0]}

_INFO = (
    "PilotJobReference",
    "OwnerDN",
    "OwnerGroup",
    "GridType",
    "Broker",
    "Status",
    "DestinationSite",
    "BenchMark",
    "ParentID",
    "OutputReady",
    "AccountingSent",
    "SubmissionTime",
    "PilotID",
    "LastUpdateTime",
    "TaskQueueID",
    "GridSite",
    "PilotStamp",
    "Queue",
)
_MONITORED = (
    "PilotJobReference",
    "OwnerDN",
    "OwnerGroup",
    "GridType",
    "Broker",
    "Status",
    "DestinationSite",
    "BenchMark",
    "ParentID",
    "SubmissionTime",
    "PilotID",
    "LastUpdateTime",
    "CurrentJobID",
    "TaskQueueID",
    "GridSite",
)


def _group_of(vo: str, registry: Registry) -> str:
    return registry.default_group_of_vo(vo) or UNKNOWN


def _of_group(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    """The VO in place of the group.  Raises Failure for a group without one."""
    if len(arguments) < 2:
        return arguments
    references, group, *more = arguments
    vo = registry.vo_of(group)
    if vo is None:
        raise Failure(no_vo_of(group).message)
    return [references, vo, *more]


def conditions_of(conditions: Any, registry: Registry) -> Any:
    """Conditions on a pilot's group and DN as conditions on its VO; those on what is dropped hold or not."""
    if not isinstance(conditions, Mapping):
        return conditions
    newest = dict(conditions)
    nothing = False
    if (groups := newest.pop("OwnerGroup", None)) is not None:
        vos = {registry.vo_of(str(group)) or "" for group in _listed(groups)}
        before = newest.pop("VO", None)
        both = sorted(vos if before is None else vos & {str(each) for each in _listed(before)})
        newest |= {"VO": both} if both else {}
        nothing = not both
    # Nobody's name is that of no DN.
    nothing = nothing or bool(newest.pop("Owner", None))
    for name, value in DROPPED.items():
        if name in newest:
            nothing = nothing or str(value) not in map(str, _listed(newest.pop(name)))
    return newest | NO_PILOT if nothing else newest


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _first_conditions(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    return [conditions_of(each, registry) for each in arguments[:1]] + list(arguments[1:])


def _second_conditions(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    return [*arguments[:1], *_first_conditions(arguments[1:], registry)]


def _counted(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    """Table, keys, conditions: keys are columns to group by, or the one that statistics are of."""
    *before, conditions = arguments[:3]
    return [*before, conditions_of(conditions, registry), *arguments[3:]]


def _older_info(pilot: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    known = {**pilot, **DROPPED, "OwnerGroup": _group_of(pilot["VO"], registry)}
    jobs = {"Jobs": pilot["Jobs"]} if "Jobs" in pilot else {}
    return {name: known[name] for name in _INFO} | jobs


def _infos(value: Any, _call: Call, registry: Registry) -> Any:
    return {reference: _older_info(pilot, registry) for reference, pilot in value.items()}


def _output(value: Any, _call: Call, registry: Registry) -> Any:
    return {
        "StdOut": value["StdOut"],
        "StdErr": value["StdErr"],
        "OwnerDN": UNKNOWN,
        "OwnerGroup": _group_of(value["VO"], registry),
        "FileList": value["FileList"],
    }


def _page(value: Any, _call: Call, registry: Registry) -> Any:
    if "Records" not in value:
        return value
    records = []
    for record in value["Records"]:
        known = {**dict(zip(value["ParameterNames"], record, strict=True)), **DROPPED}
        known["OwnerGroup"] = _group_of(known["VO"], registry)
        records.append([known[name] for name in _MONITORED])
    return {**value, "ParameterNames": list(_MONITORED), "Records": records}


def _selectors(value: Any, _call: Call, registry: Registry) -> Any:
    vos = value["VO"]
    unknown = [UNKNOWN] if vos else []
    return {
        "OwnerDN": unknown,
        "Owner": [],
        "OwnerGroup": sorted({_group_of(vo, registry) for vo in vos}),
        "GridType": value["GridType"],
        "Broker": unknown,
        "Status": value["Status"],
        "DestinationSite": value["DestinationSite"],
        "GridSite": value["GridSite"],
    }


def _grouped(arguments: Sequence[Any], _registry: Registry) -> Sequence[Any]:
    """Without the conditions, which DIRAC never looked at."""
    columns, *more = arguments[1:] or ([],)
    names = ["VO" if name == "OwnerGroup" else name for name in columns]
    return [names, *more]


def _table(value: Any, _call: Call, _registry: Registry) -> Any:
    """Where pilots are grouped by OwnerGroup DIRAC shows the VO, too."""
    names = ["OwnerGroup" if name == "VO" else name for name in value["ParameterNames"]]
    return {**value, "ParameterNames": names}


def _nothing(_value: Any, _call: Call, _registry: Registry) -> None:
    return None


OLDER_REFERENCES = OlderForm(arguments=_of_group)
OLDER_CONDITIONS = OlderForm(arguments=_first_conditions)
OLDER_STATISTICS = OlderForm(arguments=_second_conditions)
OLDER_COUNTERS = OlderForm(arguments=_counted)
OLDER_INFO = OlderForm(value=_infos)
OLDER_OUTPUT = OlderForm(value=_output)
OLDER_SUMMARY = OlderForm(arguments=_first_conditions)
OLDER_PAGE = OlderForm(arguments=_first_conditions, value=_page)
OLDER_SELECTORS = OlderForm(value=_selectors)
OLDER_GROUPS = OlderForm(types=(dict, list), arguments=_grouped, value=_table)
OLDER_CLEARED = OlderForm(value=_nothing)
