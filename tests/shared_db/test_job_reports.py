"""What JobStateUpdate and JobManager decide without a database (seen on DIRAC 9.1.22)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared_db.rules import job_reports as reports
from shared_db.rules import staging
from shared_db.rules.heartbeats import VALUE_SIZE, dirac_beat
from shared_db.rules.jdl.description import LFN_SIZE, SIZES
from shared_db.rules.jdl.policy import DIRAC_9_1, Submitter
from shared_db.rules.refusals import Refusal, UnfitArgument, of_value
from shared_db.rules.status_updates import StatusUpdate
from shared_db.rules.submission import check_confirmer, check_submitter, ids_to_confirm, order_of, refused_job
from shared_db.schema.job_db import InputData, JobParameters, Jobs
from shared_db.schema.job_logging_db import LoggingInfo

JOB = {"Owner": "alice", "OwnerGroup": "lab_user"}
MOMENT = datetime(2026, 11, 21, 20, 59, 57, tzinfo=UTC)


@pytest.mark.parametrize(
    ("username", "group", "properties", "own", "none"),
    [
        ("alice", "lab_user", ["NormalUser"], True, False),
        ("alice", "lab_admin", [], True, False),
        ("bob", "lab_user", ["NormalUser"], False, False),
        ("bob", "lab_user", ["NormalUser", "JobSharing"], True, False),
        ("pilot", "lab_pilot", ["GenericPilot"], True, False),
        ("eve", "lab_ops", ["Operator"], True, True),
        ("admin", "lab_admin", ["JobAdministrator"], True, True),
        ("host", "hosts", ["TrustedHost"], True, True),
    ],
)
def test_who_may_report_on_a_job(
    username: str, group: str, properties: list[str], own: bool, none: bool
) -> None:
    """Owners, sharers, pilots on any job that exists; the privileged also on one that does not."""
    caller: dict[str, Any] = {"username": username, "group": group, "properties": properties}
    assert reports.may_report(JOB, **caller) is own
    assert reports.may_report(None, **caller) is none


def test_force_is_the_administrators() -> None:
    """Of others it is ignored."""
    assert reports.may_force("yes", ["JobAdministrator"])
    assert not reports.may_force(True, ["Operator", "TrustedHost"])
    assert not reports.may_force(0, ["JobAdministrator"])


def test_updates() -> None:
    """Empty texts are left out, an update without any text is none, and its time is then not looked at."""
    assert reports.status_updates("", "", moment="never") == []
    [update] = reports.status_updates("Done", "", source="", moment="2026-11-21 20:59:57")
    assert update == StatusUpdate(MOMENT, "Done", None, None, "Unknown")
    told = {"2026-11-21 20:59:57": {"MinorStatus": "m", "Source": "s"}, "2026-11-21 20:59:58": {}}
    first, second = reports.bulk_updates(told)
    assert first == StatusUpdate(MOMENT, None, "m", None, "s")
    assert (second.status, second.source) == (None, "Unknown")


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        ({}, "there is no update"),
        ({"2026-11-21 20:59:57": 5}, "an update is a dictionary, not 5"),
        ({"2026-11-21 20:59:57": {"Source": 5}}, "Source is a text, not 5"),
        ({5: {}}, "a time is a text such as '2026-11-21 20:59:57', not 5"),
        ({"never": {}}, "'NoneType' object is not iterable"),
    ],
)
def test_updates_that_are_none(updates: dict[Any, Any], text: str) -> None:
    """What cannot be read is named."""
    with pytest.raises(UnfitArgument) as caught:
        reports.bulk_updates(updates)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("updates", "column"),
    [
        ({"2026-11-21 20:59:57": {"MinorStatus": "m" * 129}}, "Data too long for column 'MinorStatus'"),
        ({"2099-01-01 00:00:00": {}}, "Out of range value for column 'StatusTimeOrder'"),
    ],
)
def test_updates_that_mysql_refuses(updates: dict[Any, Any], column: str) -> None:
    """Texts and times that no column holds, in MySQL's words."""
    with pytest.raises(Refusal) as caught:
        reports.bulk_updates(updates)
    assert column in caught.value.message
    assert caught.value.errno == 1131


def test_what_rest_would_put_right() -> None:
    """A status that is none, unless forced, and an ApplicationStatus that REST would cut."""
    bogus = [StatusUpdate(MOMENT, "Bogus")]
    reports.check_sendable(bogus, force=True)
    with pytest.raises(Refusal, match="'Bogus' is not a valid state"):
        reports.check_sendable(bogus, force=False)
    with pytest.raises(Refusal, match="ApplicationStatus"):
        reports.check_sendable([StatusUpdate(MOMENT, application_status="x" * 256)], force=False)


def test_sizes_are_those_of_the_tables() -> None:
    """What is checked before a request is sent is what the columns hold."""
    for name, size in {**SIZES, **reports.ATTRIBUTE_SIZES}.items():
        assert Jobs.c[name].type.length == size
    assert LoggingInfo.c.MinorStatus.type.length == reports.MINOR_STATUS_SIZE
    assert JobParameters.c.Name.type.length == reports.NAME_SIZE
    assert InputData.c.LFN.type.length == LFN_SIZE


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("Status", "Bogus", "Bogus"),
        ("Site", "x" * 100, "x" * 100),
        ("StartExecTime", "2026-01-02", datetime(2026, 1, 2)),  # noqa: DTZ001 - as the column has it
    ],
)
def test_attributes(attribute: str, value: str, expected: Any) -> None:
    """Texts stay, times are read; whether a status is one is asked where there is a job."""
    assert reports.attribute_value(attribute, value) == expected


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("Owner", "bob", "Job attribute 'Owner' cannot be modified through JobStateUpdate"),
        ("Site", "x" * 101, "Data too long for column 'Site'"),
        ("EndExecTime", "abc", "Incorrect datetime value: 'abc' for column `JobDB`.`Jobs`.`EndExecTime`"),
    ],
)
def test_attributes_that_are_refused(attribute: str, value: str, text: str) -> None:
    """In DIRAC's and MySQL's words."""
    with pytest.raises(Refusal) as caught:
        reports.attribute_value(attribute, value)
    assert text in caught.value.message


def test_what_setting_an_attribute_answers() -> None:
    """A row that changed counts once, by a new status twice; the status of no job is nothing."""
    assert reports.attribute_answer("Site", exists=False, changed=0) == 0
    assert reports.attribute_answer("Site", exists=True, changed=1) == 1
    assert reports.attribute_answer("Status", exists=True, changed=1) == 2
    assert reports.attribute_answer("Status", exists=True, changed=0) == 0
    assert reports.attribute_answer("Status", exists=False, changed=0) is None


def test_parameters() -> None:
    """Pairs of any two; the same job by its number and its text is one; who is refused is named last."""
    assert reports.given_parameters([("a", 1), ["b", None], "xy"]) == {"a": "1", "b": "None", "x": "y"}
    given = {"1": ("a", 1), 1: ("b", 2), "2": "xy"}
    assert reports.parameters_of_jobs(given) == {1: {"a": "1", "b": "2"}, 2: {"x": "y"}}
    refusal = reports.last_refused(given, {1})
    assert refusal is not None
    assert refusal.message == "Not authorized to modify job 2"
    assert reports.last_refused(given, {1, 2}) is None
    for bad in ([("n" * 101, "v")], [("n", "v" * (VALUE_SIZE + 1))]):
        with pytest.raises(Refusal, match="too long"):
            reports.given_parameters(bad)
    for unfit in ([5], ["x"], [("n", "\ud800")], [([], "v")]):
        with pytest.raises(UnfitArgument):
            reports.given_parameters(unfit)
    for unfit in ({"x": ("n", "v")}, {1: 5}, {1: ("n",)}):
        with pytest.raises(UnfitArgument):
            reports.parameters_of_jobs(unfit)


def test_parameters_of_a_heartbeat() -> None:
    """Of a long text the end is kept, since the heartbeat must not be lost for it; so is what has a name."""
    beat = dirac_beat({"HeartBeatTime": ""}, {"out": "a" + "b" * VALUE_SIZE, "n" * 101: "x", 5: None})
    assert beat is not None
    assert beat.moment is None
    assert beat.parameters == {"out": "b" * VALUE_SIZE, "5": "None"}
    with pytest.raises(UnfitArgument, match="HeartBeatTime is no time: 'abc'"):
        reports.heartbeat_of({"HeartBeatTime": "abc"}, {})


def test_what_the_stager_says() -> None:
    """Files that are there let a job go on, others leave it where it is."""
    done, failed = staging.stager_update("Done"), staging.stager_update("Lost")
    assert (done.status, done.minor_status, done.source) == ("Checking", "JobScheduling", "StagerSystem")
    assert (failed.status, failed.minor_status) == (None, "Staging input files failed")


# Submission

ALICE = {"username": "alice", "group": "lab_user", "properties": ["NormalUser"]}
OWNER = Submitter("alice", "lab_user", "lab")
ECHO = 'Executable = "/bin/echo";'


def test_who_may_submit() -> None:
    """NormalUser, and not by a limited proxy."""
    check_submitter(limited=False, **ALICE)
    for caller in (ALICE | {"limited": True}, ALICE | {"limited": False, "properties": ["GenericPilot"]}):
        with pytest.raises(Refusal, match=r"Job submission error \( 1503") as caught:
            check_submitter(**caller)
        assert caught.value.errno == 1503


def test_what_is_ordered() -> None:
    """One job by its id, members by a list of them, also when there is only one."""
    single = order_of(ECHO, OWNER, DIRAC_9_1, 20)
    assert (single.answer([7]), single.state.status) == (7, "Received")
    members = order_of(f'{ECHO} Parameters = {{"a"}};', OWNER, DIRAC_9_1, 20)
    assert (members.answer([7]), members.state.status) == ([7], "Submitting")


@pytest.mark.parametrize(
    ("text", "errno", "words"),
    [
        (" ", 1501, "The job description is empty"),
        (f"{ECHO} Parameters = 3;", 1501, "exceeds the limit of 2"),
        (f'{ECHO} JobGroup = "{"g" * 33}";', 1131, "Data too long for column 'JobGroup'"),
        (f'{ECHO} InputData = "/lab/{"g" * 255}";', 1131, "Data too long for column 'LFN'"),
        ("CPUTime = 5;", 0, "executable must not be an empty string"),
    ],
)
def test_what_is_not_ordered(text: str, errno: int, words: str) -> None:
    """Each refusal in DIRAC's words, with its number."""
    with pytest.raises(Refusal) as caught:
        order_of(text, OWNER, DIRAC_9_1, 2)
    assert (caught.value.errno, words in caught.value.message) == (errno, True)


def test_a_job_for_another_vo() -> None:
    """The answer tells the id that was spent on it, where one was."""
    with pytest.raises(Refusal) as caught:
        order_of(f'{ECHO} VirtualOrganization = "x";', OWNER, DIRAC_9_1, 2)
    told = {"Status": "Failed", "MinorStatus": "Wrong Virtual Organization in JDL"}
    assert refused_job(caught.value) == told  # type: ignore[arg-type]
    assert refused_job(caught.value, 7) == {"JobId": 7, **told}  # type: ignore[arg-type]


def test_who_may_confirm() -> None:
    """Who may submit, and only the own jobs or those of everybody; ids stay in their order."""
    check_confirmer([JOB], **ALICE)
    check_confirmer([JOB], username="root", group="g", properties=["NormalUser", "JobAdministrator"])
    for caller in (ALICE | {"username": "bob"}, ALICE | {"properties": ["JobAdministrator"]}):
        with pytest.raises(Refusal, match="bulk transaction are not valid"):
            check_confirmer([JOB], **caller)  # type: ignore[arg-type]
    assert ids_to_confirm([3, "1", 2]) == [3, 1, 2]
    for ids in ([3, 3], [2**40], [3, 2**40]):
        with pytest.raises(Refusal, match="bulk transaction are not valid"):
            ids_to_confirm(ids)
    with pytest.raises(Refusal, match="Invalid job specification: \\['x'\\]"):
        ids_to_confirm(["x"])


def test_what_a_column_cannot_hold() -> None:
    """MySQL's words for a database that has none, as far as MySQL has any."""
    refusal = of_value("Site", "too long")
    assert refusal is not None
    assert refusal.message.endswith("((1406, \"Data too long for column 'Site' at row 1\") ))")
    assert of_value("", "too long") is None
    assert of_value("Site", "no text that can be stored") is None
