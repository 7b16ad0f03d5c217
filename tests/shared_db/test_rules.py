"""The pure rules: each against a table typed from the sheets, and against anything at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_db.rules import pilots
from shared_db.rules.clock import from_column, status_time_order, to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.job_ids import ids_to_look_up, ids_to_manage, selectable
from shared_db.rules.job_policy import KILL, has_right
from shared_db.rules.job_states import FINAL_STATES, JOB_STATES, REMOVED_STATES, may_move
from shared_db.rules.killing import NEEDED, KillPlan, plan_kill
from shared_db.rules.refusals import Refusal, UnfitArgument

PROPERTY = settings(max_examples=60, deadline=None)

# What DIRAC's encodings can bring; infinite numbers are looked at on their own.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_infinity=False)
    | st.text(max_size=5)
    | st.datetimes()
    | st.sampled_from(["1", " 2", "1,2", "9" * 5000, "٣", "1_0", "+1", "1.5"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(SCALARS, inner, max_size=3)
    ),
    max_leaves=6,
)
LISTS = st.lists(SCALARS, max_size=5) | st.lists(st.integers(-3, 3), max_size=4)


# The job state machine (legacy-methods.md, 1.1)

TRANSITIONS = """
Submitting: Received Checking Deleted Killed
Received: Checking Scouting Staging Waiting Failed Deleted Killed
Checking: Scouting Staging Waiting Rescheduled Failed Deleted Killed
Scouting: Checking Stalled Failed Killed
Staging: Checking Waiting Failed Killed
Waiting: Matched Rescheduled Deleted Killed
Matched: Running Failed Rescheduled Killed
Rescheduled: Waiting Received Deleted Failed Killed
Running: Stalled Done Failed Rescheduled Completing Killed Received
Stalled: Running Failed Killed
Completing: Done Failed Completed Stalled Killed
Completed: Done Failed
Done: Deleted
Failed: Rescheduled Deleted
Killed: Deleted
"""  # the lines are in order of the states' levels
ALLOWED = {
    state: set(following.split())
    for state, following in (line.split(": ") for line in TRANSITIONS.split("\n") if line)
}
LEVELS = [*ALLOWED, "Deleted"]


def test_the_states_are_in_order_of_their_level() -> None:
    """Sixteen states, Submitting first and Deleted last."""
    assert list(JOB_STATES) == LEVELS


@pytest.mark.parametrize("current", LEVELS)
def test_where_a_job_may_go(current: str) -> None:
    """Exactly the sheet's states and the job's own; out of Deleted, for which none is written, everywhere."""
    expected = {current} | ALLOWED.get(current, set(LEVELS))
    assert {wanted for wanted in LEVELS if may_move(current, wanted)} == expected


def test_a_state_of_a_sites_own_is_a_dead_end() -> None:
    """Nothing leads into an unknown state or out of it."""
    assert not any(may_move(state, "Bogus") or may_move("Bogus", state) for state in LEVELS)
    assert may_move("Bogus", "Bogus")


def test_final_and_removed_states() -> None:
    """Four states end the execution; two take a job out of its queue."""
    assert {"Done", "Completed", "Failed", "Killed"} == FINAL_STATES
    assert {"Killed", "Deleted"} == REMOVED_STATES


# Job ids

MYSQL = "MySQL Error ( 1131 : Execution failed.: (({}) ))"
NO_INT = (
    'ValueError("invalid literal for int() with base 10: {0}"): invalid literal for int() with base 10: {0}'
)
NO_NUMBER = "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"
BIG = 2**31 - 1


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ([], []),
        ("", []),
        (0, []),
        (None, []),
        (False, []),
        (7, [7]),
        (True, [1]),
        (-7, [-7]),
        ("7", [7]),
        ("1, 2", [1, 2]),
        (" 1 , 2", [1, 2]),
        ([2, 1], [2, 1]),
        (["1", " 2 ", 3], [1, 2, 3]),
        ([1.5], [1]),
        ([True, 2], [1, 2]),
        ([0], [0]),
        ((1, 2), [1, 2]),
        ([1, 2**40], [1, BIG]),
        ([1, -(2**40)], [1, -BIG - 1]),
        ([BIG, 1], [BIG, 1]),
    ],
    ids=repr,
)
def test_ids_for_monitoring_methods(given_ids: Any, expected: list[int]) -> None:
    """Numbers, numeric texts and comma-separated texts are read; nothing at all is no job."""
    assert sorted(ids_to_look_up(given_ids)) == sorted(expected)


@pytest.mark.parametrize(
    ("given_ids", "message", "errno"),
    [
        ("abc", NO_INT.format("'abc'"), 0),
        (["abc"], NO_INT.format("'abc'"), 0),
        ("1,", NO_INT.format("''"), 0),
        ("1;2", NO_INT.format("'1;2'"), 0),
        (1.5, """TypeError("'float' object is not iterable"): 'float' object is not iterable""", 0),
        ([None], f'TypeError("{NO_NUMBER}"): {NO_NUMBER}', 0),
        ([1, 1], MYSQL.format("1062, \"Duplicate entry '1' for key 'PRIMARY'\""), 1131),
        ("5,6,5", MYSQL.format("1062, \"Duplicate entry '5' for key 'PRIMARY'\""), 1131),
        ([1, 2**40, 2**41], MYSQL.format(f"1062, \"Duplicate entry '{BIG}' for key 'PRIMARY'\""), 1131),
        (2**40, MYSQL.format("1264, \"Out of range value for column 'JobID' at row 1\""), 1131),
        ([2**40, 1], MYSQL.format("1264, \"Out of range value for column 'JobID' at row 1\""), 1131),
        ([-(2**40)], MYSQL.format("1264, \"Out of range value for column 'JobID' at row 1\""), 1131),
    ],
    ids=repr,
)
def test_ids_that_monitoring_methods_refuse(given_ids: Any, message: str, errno: int) -> None:
    """What is no number, and what DIRAC's table of ids would not take, in the texts that clients see."""
    with pytest.raises(Refusal) as refused:
        ids_to_look_up(given_ids)
    assert (refused.value.message, refused.value.errno) == (message, errno)


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ([], []),
        ("", []),
        (0, []),
        (None, []),
        (7, [7]),
        (True, [1]),
        ("7", [7]),
        (" 7 ", [7]),
        ("1,2", []),
        ("abc", []),
        (1.5, []),
        ({"1": 2}, []),
        ((1, 2), []),
        ([2, 1], [2, 1]),
        (["1", 2], [1, 2]),
        ([1.5], [1]),
        ([1, 1], [1, 1]),
        (["1", "abc"], []),
        ([math.nan], []),
        ([2**70], [2**70]),
    ],
    ids=repr,
)
def test_ids_for_management_methods(given_ids: Any, expected: list[int]) -> None:
    """What killJob does not understand is no job, and no error."""
    assert ids_to_manage(given_ids) == expected


@pytest.mark.parametrize("given_ids", [[None], [1, None], [[1]], [{}]], ids=repr)
def test_ids_that_trip_management_methods(given_ids: list[Any]) -> None:
    """A list of things that are neither numbers nor texts is an argument that DIRAC trips over."""
    with pytest.raises(UnfitArgument, match=r"int\(\) argument must be"):
        ids_to_manage(given_ids)


@pytest.mark.parametrize("read", [ids_to_look_up, ids_to_manage])
@pytest.mark.parametrize("given_ids", [[math.inf], [1, -math.inf]])
def test_an_infinite_id_is_refused(read: Any, given_ids: list[float]) -> None:
    """A number that is no id: an error that the caller is told, or no job at all."""
    try:
        assert read(given_ids) == []
    except (Refusal, UnfitArgument) as refused:
        assert "infinity" in str(refused)


@PROPERTY
@given(ANYTHING | LISTS)
def test_any_ids_are_read_or_refused(given_ids: Any) -> None:
    """Whatever a client sends: integers, or one of the declared errors."""
    try:
        looked_up = ids_to_look_up(given_ids)
        assert all(type(number) is int and -BIG - 1 <= number <= BIG for number in looked_up)
        assert len(set(looked_up)) == len(looked_up)
    except Refusal as refused:
        assert refused.errno in (0, 1131)
    try:
        assert all(type(number) is int for number in ids_to_manage(given_ids))
    except UnfitArgument:
        assert isinstance(given_ids, list)


@PROPERTY
@given(st.lists(st.integers(-(2**33), 2**33), unique=True))
def test_ids_that_fit_are_kept(numbers: list[int]) -> None:
    """Numbers of 32 bits pass as they are; of others the first is refused and the later are cut."""
    try:
        held = selectable(numbers)
    except Refusal as refused:
        outside = [number for number in numbers if not -BIG - 1 <= number <= BIG]
        assert outside
        assert ("1264" in refused.message) == (outside[0] == numbers[0])
    else:
        assert sorted(held) == sorted(min(max(number, -BIG - 1), BIG) for number in numbers)


# Who may do what (legacy-methods.md, 0.2; 9.x; GetInfo is open to all and not asked here)

RIGHTS = [
    *("GetSandbox", "PutSandbox", "ChangeStatus", "Delete", "Kill", "Reschedule"),
    *("Submit", "Reset", "GetJob", "GetStats"),
]
# caller: user, group, properties, and a letter for each right on a job of alice's in lab_user
POLICY = [
    ("owner", "alice", "lab_user", ["NormalUser"], "yyyyyyynnn"),
    ("owner in another group", "alice", "lab_prod", ["NormalUser"], "yyyyyyynnn"),
    ("same group, which shares", "bob", "lab_user", ["NormalUser", "JobSharing"], "yyyyyyynnn"),
    ("another group, which shares", "bob", "lab_prod", ["NormalUser", "JobSharing"], "nnnnnnynnn"),
    ("other user", "bob", "lab_user", ["NormalUser"], "nnnnnnynnn"),
    ("pilot", "pilot", "lab_pilot", ["GenericPilot"], "nnynnynnnn"),
    ("administrator", "carol", "lab_admin", ["JobAdministrator"], "yyyyyynyyy"),
    ("administrator and user", "carol", "lab_admin", ["JobAdministrator", "NormalUser"], "yyyyyyyyyy"),
    ("monitor", "dave", "lab_monitor", ["JobMonitor"], "nnnnnnnnnn"),
    ("operator", "eve", "lab_ops", ["Operator"], "nnnnnnnnnn"),
    ("nobody", "", "", [], "nnnnnnnnnn"),
]


@pytest.mark.parametrize(
    ("username", "group", "properties", "letters"),
    [row[1:] for row in POLICY],
    ids=[row[0] for row in POLICY],
)
def test_who_may_do_what_with_a_job(username: str, group: str, properties: list[str], letters: str) -> None:
    """Rights follow from ownership, a sharing group, and the group's properties."""
    caller = {"username": username, "group": group, "properties": properties}
    job = {"owner": "alice", "owner_group": "lab_user"}
    actual = "".join("y" if has_right(right, **caller, **job) else "n" for right in RIGHTS)
    assert dict(zip(RIGHTS, actual, strict=True)) == dict(zip(RIGHTS, letters, strict=True))


def test_nobody_owns_a_job_without_owner() -> None:
    """An empty user name is no owner's name."""
    assert not has_right(KILL, username="", group="g", properties=[], owner="", owner_group="h")


# What killJob decides

ALICE = {"username": "alice", "group": "lab_user", "properties": ["NormalUser"]}


def job(status: str, owner: str = "alice") -> Mapping[str, str]:
    """What must be known of a job."""
    return dict(zip(NEEDED, (owner, "lab_user", status), strict=True))


JOBS = {
    5: job("Running"),
    3: job("Waiting"),
    4: job("Done"),
    6: job("Killed"),
    7: job("Deleted"),
    8: job("Running", owner="bob"),
    9: job("Done", owner="bob"),
}


@pytest.mark.parametrize(
    ("requested", "kill", "invalid", "unauthorized"),
    [
        ([], [], [], []),
        ([3, 5], [5, 3], [], []),
        ([4], [], [], []),
        ([6, 7], [6, 7], [], []),
        ([99, 3, 98], [3], [99, 98], []),
        ([9, 8, 3], [3], [], [9, 8]),
        ([1, 3, 8, 4], [3], [1], [8]),
    ],
)
def test_what_becomes_of_the_jobs_to_kill(
    requested: list[int], kill: list[int], invalid: list[int], unauthorized: list[int]
) -> None:
    """Own jobs that may move to Killed, in the order of the rows; those that may not are in no list."""
    own = any(JOBS[each]["Owner"] == "alice" for each in requested if each in JOBS)
    assert plan_kill(requested, JOBS, **ALICE) == KillPlan(kill, invalid, unauthorized, own=own)


@pytest.mark.parametrize("status", LEVELS)
def test_which_states_can_be_killed(status: str) -> None:
    """Those from which the machine leads to Killed; Killed itself once more, and even Deleted."""
    plan = plan_kill([1], {1: job(status)}, **ALICE)
    assert plan.kill == ([] if status in ("Completed", "Done", "Failed") else [1])


@pytest.mark.parametrize("wants_proxy", [False, True])
@pytest.mark.parametrize(
    ("plan", "failed", "succeeds", "extra"),
    [
        (KillPlan([1], [], []), [], True, {}),
        (KillPlan([], [], []), [], True, {}),
        (KillPlan([1], [9], []), [], True, {"InvalidJobIDs": [9]}),
        (KillPlan([1], [], [8]), [], False, {"NonauthorizedJobIDs": [8]}),
        (KillPlan([1], [], []), [1], False, {"FailedJobIDs": [1]}),
        (
            KillPlan([1, 2], [9], [8]),
            (2,),
            False,
            {"NonauthorizedJobIDs": [8], "FailedJobIDs": [2], "InvalidJobIDs": [9]},
        ),
    ],
)
def test_what_the_answer_to_a_kill_says(
    plan: KillPlan, failed: Any, succeeds: bool, extra: dict[str, Any], wants_proxy: bool
) -> None:
    """Invalid ids are named and no error; failed and forbidden ones are; whether a proxy is asked for."""
    expected = (succeeds, {"requireProxyUpload": wants_proxy, **extra})
    assert plan.extra(failed, wants_proxy=wants_proxy) == expected


@PROPERTY
@given(st.lists(st.integers(0, 9), unique=True))
def test_every_job_to_kill_is_in_one_list_at_most(requested: list[int]) -> None:
    """Killed, invalid and forbidden ids are requested ones, and no id is two of these."""
    plan = plan_kill(requested, JOBS, **ALICE)
    sorted_out = [*plan.kill, *plan.invalid, *plan.unauthorized]
    assert len(set(sorted_out)) == len(sorted_out)
    skipped = set(requested) - set(sorted_out)
    assert all(JOBS[each]["Owner"] == "alice" and JOBS[each]["Status"] == "Done" for each in skipped)


# Dates as MySQL reads them


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", "2026-11-21T00:00:00"),
        ("2026-1-1", "2026-01-01T00:00:00"),
        ("2026/01/01", "2026-01-01T00:00:00"),
        ("2026.1.1", "2026-01-01T00:00:00"),
        ("20261121", "2026-11-21T00:00:00"),
        ("20261121101112", "2026-11-21T10:11:12"),
        ("2026-11-21 22", "2026-11-21T22:00:00"),
        ("2026-11-21 22:5", "2026-11-21T22:05:00"),
        ("2026-11-21 10:00:00", "2026-11-21T10:00:00"),
        ("2026-11-21T10:00:00", "2026-11-21T10:00:00"),
        ("2026-11-21 10:00:00.999", "2026-11-21T10:00:00"),
        (" 2026-11-21 ", "2026-11-21T00:00:00"),
        ("2024-02-29", "2024-02-29T00:00:00"),
        (datetime(2026, 11, 21, 10, 11, 12), "2026-11-21T10:11:12"),  # noqa: DTZ001
    ],
    ids=str,
)
def test_dates_that_mysql_reads(text: Any, expected: str) -> None:
    """Many forms of a date, cut to the second."""
    assert mysql_datetime(text) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text",
    [
        *("abc", "yesterday", "", " ", None, []),
        *("2026", "2026-11", "2026112", "21-11-2026", "2026-11-21 x", 5, 0, 2026, 1.5),
        *("2026-13-45", "2026-02-30", "2026-11-21 25", "2026-11-21 10:61", "0000-00-00 00:00:00"),
    ],
    ids=repr,
)
def test_dates_that_mysql_takes_for_zero(text: Any) -> None:
    """What is no date is the zero date, before every other."""
    assert mysql_datetime(text) is None


@PROPERTY
@given(ANYTHING)
def test_any_date_is_read_or_zero(text: Any) -> None:
    """Whatever a client writes for a date: a naive time to the second, or nothing."""
    moment = mysql_datetime(text)
    assert moment is None or (moment.tzinfo is None and moment.microsecond == 0)


@PROPERTY
@given(
    st.datetimes(datetime(1000, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),  # noqa: DTZ001
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y/%m/%dT%H:%M:%S.123", "%Y%m%d%H%M%S"]),
)
def test_a_written_date_is_read_again(moment: datetime, form: str) -> None:
    """A time survives being written in any of the forms."""
    assert mysql_datetime(moment.strftime(form)) == moment


# Time


def test_the_present_is_aware() -> None:
    """Inside, times are UTC and know it."""
    assert utc_now().utcoffset() == timedelta(0)


def test_times_in_columns() -> None:
    """Columns hold naive UTC, cut to the second; what is read from them is aware; nothing stays nothing."""
    moment = datetime.fromisoformat("2026-11-21T23:59:59.999999+02:00")
    assert to_column(moment) == datetime.fromisoformat("2026-11-21T21:59:59")
    assert from_column(to_column(moment)) == datetime.fromisoformat("2026-11-21T21:59:59+00:00")
    assert from_column(None) is None


def test_the_order_of_records() -> None:
    """Seconds since 1270000000 with milliseconds: the sheet's example, and the beginning of that time."""
    assert status_time_order(datetime.fromisoformat("2026-11-21T20:59:57.758+00:00")) == 525294797.758
    assert status_time_order(datetime.fromtimestamp(1270000000, UTC)) == 0
    assert status_time_order(datetime.fromtimestamp(1270000000.0014, UTC)) == 0.001


# Pilots


def too_long(column: str) -> str:
    """MySQL's refusal of a text that does not fit."""
    return MYSQL.format(f"1406, \"Data too long for column '{column}' at row 1\"")


def null(column: str) -> str:
    """MySQL's refusal of no value."""
    return MYSQL.format(f"1048, \"Column '{column}' cannot be null\"")


@pytest.mark.parametrize(
    ("references", "grid_type", "stamps", "expected"),
    [
        ([], "DIRAC", {}, []),
        (["p"], "DIRAC", {}, [("p", "DIRAC", "")]),
        (["p", "q", "p"], "", {"p": "s", "x": "t"}, [("p", "", "s"), ("q", "", ""), ("p", "", "s")]),
        ([5, True, 1.5], 7, {5: 9}, [("5", "7", "9"), ("True", "7", ""), ("1.5", "7", "")]),
        (["ü" * 255], "ü" * 32, {"ü" * 255: "s" * 32}, [("ü" * 255, "ü" * 32, "s" * 32)]),
    ],
)
def test_pilots_to_register(
    references: list[Any], grid_type: Any, stamps: Any, expected: list[tuple[str, str, str]]
) -> None:
    """One row per reference, its stamp from the dictionary or empty; other types as their text."""
    rows = pilots.registrations(references, "lab", grid_type, stamps)
    assert [(row["PilotJobReference"], row["GridType"], row["PilotStamp"]) for row in rows] == expected
    assert all(row["VO"] == "lab" and len(row) == 4 for row in rows)


@pytest.mark.parametrize(
    ("references", "vo", "grid_type", "stamps", "refusal", "column"),
    [
        (["p" * 256], "lab", "DIRAC", {}, too_long, "PilotJobReference"),
        (["p"], "v" * 129, "DIRAC", {}, too_long, "VO"),
        (["p"], "lab", "g" * 33, {}, too_long, "GridType"),
        (["q", "p"], "lab", "DIRAC", {"p": "s" * 33}, too_long, "PilotStamp"),
        ([None], "lab", "DIRAC", {}, null, "PilotJobReference"),
        (["p"], "lab", None, {}, null, "GridType"),
        (["p"], "lab", "DIRAC", {"p": None}, null, "PilotStamp"),
    ],
)
def test_pilots_that_cannot_be_registered(
    references: list[Any], vo: str, grid_type: Any, stamps: Any, refusal: Any, column: str
) -> None:
    """What does not fit its column is refused as MySQL does in strict mode."""
    with pytest.raises(Refusal) as refused:
        pilots.registrations(references, vo, grid_type, stamps)
    assert (refused.value.message, refused.value.errno) == (refusal(column), 1131)


@pytest.mark.parametrize(
    ("references", "stamps"),
    [
        (["p"], None),
        (["p"], 5),
        (["p"], ["p"]),
        (["p"], "p"),
        ([["p"]], {}),
        ([2], [2]),
    ],
)
def test_stamps_that_are_no_dictionary(references: list[Any], stamps: Any) -> None:
    """DIRAC's code trips over them."""
    with pytest.raises(UnfitArgument):
        pilots.registrations(references, "lab", "DIRAC", stamps)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("Done",), {"Status": "Done", "StatusReason": "Not given"}),
        (("",), {"Status": "", "StatusReason": "Not given"}),
        (("Done", "", "", "", ""), {"Status": "Done", "StatusReason": "Not given"}),
        (
            ("Done", "ce", "because", "site", "queue"),
            {
                "Status": "Done",
                "StatusReason": "because",
                "DestinationSite": "ce",
                "GridSite": "site",
                "Queue": "queue",
            },
        ),
        (("Bogus", None, 5, 0, 7), {"Status": "Bogus", "StatusReason": "5", "Queue": "7"}),
        (("s" * 32, None, "r" * 255), {"Status": "s" * 32, "StatusReason": "r" * 255}),
    ],
)
def test_what_setting_a_status_changes(arguments: tuple[Any, ...], expected: dict[str, str]) -> None:
    """Status and reason always, what is not empty besides; any status is taken."""
    assert pilots.status_changes(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "refusal", "column"),
    [
        (("s" * 33,), too_long, "Status"),
        (("Done", "d" * 129), too_long, "DestinationSite"),
        (("Done", None, "r" * 256), too_long, "StatusReason"),
        (("Done", None, None, "g" * 129), too_long, "GridSite"),
        (("Done", None, None, None, "q" * 129), too_long, "Queue"),
        ((None,), null, "Status"),
    ],
)
def test_a_status_that_cannot_be_set(arguments: tuple[Any, ...], refusal: Any, column: str) -> None:
    """What does not fit its column is refused as MySQL does in strict mode."""
    with pytest.raises(Refusal) as refused:
        pilots.status_changes(*arguments)
    assert (refused.value.message, refused.value.errno) == (refusal(column), 1131)


@PROPERTY
@given(LISTS, st.text(max_size=140), ANYTHING, ANYTHING.filter(lambda it: not isinstance(it, list | tuple)))
def test_any_registration_is_read_or_refused(
    references: list[Any], vo: str, grid_type: Any, stamps: Any
) -> None:
    """Whatever a client sends for references, types and stamps: texts that fit, or a declared error."""
    try:
        rows = pilots.registrations(references, vo, grid_type, stamps)
    except (Refusal, UnfitArgument):
        return
    assert len(rows) == len(references)
    assert all(isinstance(value, str) for row in rows for value in row.values())


@PROPERTY
@given(st.text(max_size=40), st.lists(ANYTHING, max_size=4))
def test_any_status_is_read_or_refused(status: str, other: list[Any]) -> None:
    """Whatever a client sends beside the status: texts that fit, or MySQL's refusal."""
    try:
        changes = pilots.status_changes(status, *other)
    except Refusal as refused:
        assert refused.errno == 1131
        return
    assert {"Status", "StatusReason"} <= changes.keys()
    assert all(isinstance(value, str) for value in changes.values())


def test_pilot_statuses() -> None:
    """Nine in the order of DIRAC's tables, of which DiracX does not know the last."""
    names = [
        *("Submitted", "Waiting", "Running", "Done", "Failed"),
        *("Deleted", "Aborted", "Unknown", "Scheduled"),
    ]
    assert [*pilots.PILOT_STATES] == names
    assert [*pilots.DIRACX_PILOT_STATES] == names[:-1]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("zz", "No pilots found for PilotJobReference(s): zz"),
        (["a", "b"], "No pilots found for PilotJobReference(s): ['a', 'b']"),
        ([], "No pilots found"),
        ("", "No pilots found"),
    ],
)
def test_what_is_said_when_there_is_no_pilot(asked: Any, text: str) -> None:
    """What was asked for is repeated, unless it was nothing."""
    assert pilots.no_pilots(asked) == text


def test_the_summary_of_pilots() -> None:
    """All nine statuses in Total, a destination's own only; unknown statuses and empty names do not count."""
    counts = [
        ("ce1", "Running", 2),
        ("ce1", "Aborted", 1),
        ("ce2", "Running", 3),
        ("ce2", "Bogus", 9),
        ("", "Done", 4),
    ]
    summary = pilots.summary_of(counts, [("ce1", 1), ("ce9", 5)], [("ce1", 1)])
    zero = dict.fromkeys(pilots.PILOT_STATES, 0)
    assert summary == {
        "Total": {**zero, "Running": 5, "Aborted": 1},
        "ce1": {"Running": 2, "Aborted": 1, "Aborted_Hour": 1, "Aborted_Day": 1},
        "ce2": {"Running": 3},
    }
    assert pilots.summary_of([], [], []) == {"Total": zero}
