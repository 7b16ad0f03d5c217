"""Pilots as clients before DIRAC 9 write and read them: they belong to a group and a DN, not to a VO.

A pilot's group is the one that stands for its VO.  Nobody keeps its DN, broker, parent and task queue any
more: they are what DIRAC 8.0's own addPilotReferences writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from legacy_rpc.messages import Call, Failure
from legacy_rpc.services.table import OlderForm
from shared_db.registry import Registry
from shared_db.rules.pilot_counts import Group, counters_of, in_order
from shared_db.rules.pilot_selections import MOST_KEYS
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
# What 9 is asked for in place of a column that it has dropped: it counts every pilot, whatever its VO.
_NEWER: Mapping[Any, str] = {"OwnerGroup": "VO", **dict.fromkeys(DROPPED, "VO")}
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
    """The VO in place of the group; a VO is taken as it is.  Raises Failure for a group without one."""
    if len(arguments) < 2:
        return arguments
    references, group, *more = arguments
    vo = group if group in registry.vos and group not in registry.groups else registry.vo_of(group)
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


def _newer_page(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    """A page sorted by a group is sorted by VO; by what all pilots have alike, it is not sorted."""
    selected, sort_list, *more = _first_conditions(arguments, registry)
    match sort_list:
        case ["OwnerGroup", *direction], *_:
            sort_list = [["VO", *direction]]
        case [str(name), *_], *_ if name in DROPPED:
            sort_list = []
    return [selected, sort_list, *more]


def _is_older(name: Any) -> bool:
    return isinstance(name, str) and name in _NEWER


def _newer_statistics(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    attribute, conditions, *more = arguments
    return [_NEWER.get(attribute, attribute), conditions_of(conditions, registry), *more]


def _newer_counters(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    table, keys, conditions, *more = arguments
    if len(keys) <= MOST_KEYS and any(map(_is_older, keys)):  # more are refused
        named = [_NEWER[key] if _is_older(key) else key for key in keys]
        known = all(isinstance(key, str) for key in named)  # others are refused
        keys = list(dict.fromkeys(named)) if known else named
    return [table, keys, conditions_of(conditions, registry), *more]


def _older_info(pilot: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    known = {**pilot, **DROPPED, "OwnerGroup": _group_of(pilot["VO"], registry)}
    jobs = {"Jobs": pilot["Jobs"]} if "Jobs" in pilot else {}
    return {name: known[name] for name in _INFO} | jobs


def _infos(value: Any, _call: Call, registry: Registry) -> Any:
    return {reference: _older_info(pilot, registry) for reference, pilot in value.items()}


def _older_groups(
    names: Sequence[str], counted: Iterable[tuple[Mapping[str, Any], int]], registry: Registry
) -> list[Group]:
    """Numbers of pilots by columns of 8.0, of numbers by those of 9."""
    numbers: Counter[tuple[Any, ...]] = Counter()
    for pilot, number in counted:
        known = {**pilot, **DROPPED}
        if "VO" in pilot:
            known["OwnerGroup"] = _group_of(pilot["VO"], registry)
        numbers[tuple(known[name] for name in names)] += number
    return in_order((Group(values, number) for values, number in numbers.items()), names)


def _older_counters(value: Any, call: Call, registry: Registry) -> Any:
    names = call.arguments[1]
    return counters_of(names, _older_groups(names, value, registry)) if any(map(_is_older, names)) else value


def _older_statistics(value: Any, call: Call, registry: Registry) -> Any:
    name = call.arguments[0]
    if not _is_older(name):
        return value
    groups = _older_groups([name], (({"VO": vo}, number) for vo, number in value.items()), registry)
    return {group.values[0]: group.count for group in groups}


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
OLDER_STATISTICS = OlderForm(arguments=_newer_statistics, value=_older_statistics)
OLDER_COUNTERS = OlderForm(arguments=_newer_counters, value=_older_counters)
OLDER_INFO = OlderForm(value=_infos)
OLDER_OUTPUT = OlderForm(value=_output)
OLDER_SUMMARY = OlderForm(arguments=_first_conditions)
OLDER_PAGE = OlderForm(arguments=_newer_page, value=_page)
OLDER_SELECTORS = OlderForm(value=_selectors)
OLDER_GROUPS = OlderForm(types=(dict, list), arguments=_grouped, value=_table)
OLDER_CLEARED = OlderForm(value=_nothing)
