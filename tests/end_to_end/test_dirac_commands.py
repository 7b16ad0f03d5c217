"""DIRAC's own command line, unmodified: a user's and an operator's day, on one side and then on the other."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from adaptor.methods.catalogue import SERVICES
from wherry.tested_with import TESTED_WITH

from .conftest import Client, DemoGrid, environment_of, running_demo

pytestmark = pytest.mark.clients

VERSIONS = ("9.1.22", "8.0.86")
RUNNER = Path(__file__).parents[1] / "support" / "dirac_commands.py"

ALICE = ("alice", "demo_user")
ADMINISTRATOR = ("alice", "demo_admin")
PILOT = ("pilot", "demo_pilot")

# What differs between two runs of the same commands: moments, ports, directories, a job's age.
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC)?"), "MOMENT"),
    (re.compile(r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\b"), "MOMENT"),
    (re.compile(r"datetime\.datetime\([^)]*\)"), "MOMENT"),
    (re.compile(r"localhost:\d+"), "localhost:PORT"),
    (re.compile(r"\b\d+(\.\d+)?(e-\d+)? (s|seconds)\b"), "SECONDS"),
    (re.compile(r"\S+/work/"), "HOME/"),
    # The client's own accounting, for which the demo has no service, names each attempt by its moment.
    (re.compile(r"\b\d{10}\.\d+\.\d\.\d+\b"), "ATTEMPT"),
    # A sandbox's name depends on the moment when it was packed.
    (re.compile(r"[0-9a-f]{3}/[0-9a-f]{3}/[0-9a-f]{32}"), "MD5"),
    (re.compile(r"[0-9a-f]{32}"), "MD5"),
)


@dataclass
class Output:
    """What a command left."""

    code: int
    out: str
    err: str


@dataclass
class Commands:
    """A client whose commands are run one after the other in ``home``."""

    client: Client
    process: subprocess.Popen[str]
    home: Path
    done: dict[str, Output] = field(default_factory=dict)

    def run(self, *argv: str, user: tuple[str, str] = ALICE, name: str = "") -> str:
        """A command's output; it must succeed."""
        output = self._ask({"argv": argv}, user)
        self.done[name or " ".join(argv)] = output
        assert output.code == 0, (argv, output.out, output.err)
        return output.out

    def script(self, text: str, user: tuple[str, str]) -> Output:
        """What a pilot or a job does, which has no command: a script in the same environment."""
        output = self._ask({"script": text}, user)
        assert output.code == 0, output.out + output.err
        return output

    def _ask(self, request: dict[str, Any], user: tuple[str, str]) -> Output:
        environment = self.client.variables(self.client.grid.proxy(*user), {})
        request |= {"directory": str(self.home), "environment": environment}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Output(**json.loads(self.process.stdout.readline()))


@contextmanager
def commands_of(client: Client) -> Iterator[Commands]:
    """A client that is ready for commands."""
    home = client.root / "work"
    home.mkdir()
    process = subprocess.Popen(
        [str(client.environment / "bin/python"), str(RUNNER)],
        env=client.variables(None, {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield Commands(client, process, home)
    finally:
        process.communicate()


JDL = """\
[
Executable = "/bin/cat";
Arguments = "input.txt";
JobName = "letter";
StdOutput = "std.out";
StdError = "std.err";
InputSandbox = {"input.txt"};
OutputSandbox = {"std.out", "std.err"};
CPUTime = 3600;
]
"""
PARAMETRIC = 'Executable = "/bin/echo"; Arguments = "%s"; Parameters = {"a", "b", "c"}; JobName = "n_%n";'

# What a pilot and the job in it do, so that there is an output to get.
WORK = """
import DIRAC
DIRAC.initialize()
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.WorkloadManagementSystem.Client.JobStateUpdateClient import JobStateUpdateClient
from DIRAC.Core.Utilities.ReturnValues import returnValueOrRaise as value

job = value(RPCClient("WorkloadManagement/Matcher").requestJob({
    "Site": "DEMO.Geneva.ch", "GridCE": "ce01.geneva.example.org", "CPUTime": 100000, "JobID": JOB,
    "OwnerGroup": ["demo_user"], "PilotReference": "pilot-of-the-letter", "PilotBenchmark": 11.5,
    "DIRACVersion": "v9r1p22", "PilotInfoReportedFlag": False,
}))
assert job["JobID"] == JOB, job
assert (job["Owner"], job["Group"]) == ("alice", "demo_user"), job
update = JobStateUpdateClient()
value(update.setJobStatus(JOB, "Running", "Application", "JobWrapper"))
value(update.sendHeartBeat(JOB, {"CPUConsumed": 12.5}, {"StandardOutput": "hello"}))
value(update.setJobParameters(JOB, [("CPUNormalizationFactor", "11.5"), ("Host", "wn1")]))
value(update.setJobStatus(JOB, "Completing", "Application Finished Successfully", "JobWrapper"))
value(update.setJobStatus(JOB, "Done", "Execution Complete", "JobWrapper"))
"""
# DIRAC's wrapper uploads with the job's own proxy.
UPLOAD = """
import DIRAC
DIRAC.initialize()
from DIRAC.WorkloadManagementSystem.Client.SandboxStoreClient import SandboxStoreClient
from DIRAC.Core.Utilities.ReturnValues import returnValueOrRaise as value
with open("std.out", "w") as file:
    file.write("dear reader")
with open("std.err", "w") as file:
    file.write("nothing")
value(SandboxStoreClient().uploadFilesAsSandbox(["std.out", "std.err"], assignTo={"Job:JOB": "Output"}))
"""


# What the web portal of 8.0 asks for its pages of jobs, pilots and sites.
PORTAL = """
import DIRAC, pprint
DIRAC.initialize()
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.Core.Utilities.ReturnValues import returnValueOrRaise as value

jobs = RPCClient("WorkloadManagement/JobMonitoring")
pilots = RPCClient("WorkloadManagement/PilotManager")
sites = RPCClient("WorkloadManagement/WMSAdministrator")
for answer in (
    jobs.getJobPageSummaryWeb({"JobID": ["JOB"]}, [["JobID", "DESC"]], 0, 25, True),
    jobs.getJobStats("OwnerDN", {}),
    jobs.getJobStats("Site", {"Owner": "alice"}),
    jobs.getOwners(),
    pilots.getPilotMonitorWeb({"OwnerGroup": "demo_pilot"}, [["OwnerGroup", "ASC"]], 0, 3),
    pilots.getPilotMonitorSelectors(),
    pilots.getPilotSummaryWeb({}, [], 0, 25),
    pilots.getGroupedPilotSummary({}, ["GridSite", "DestinationSite", "OwnerGroup"]),
    pilots.getPilotStatistics("OwnerGroup", {"Status": ["Running"]}),
    pilots.getCounters("PilotAgents", ["OwnerDN", "Status"], {}),
    sites.getSiteSummaryWeb({}, [], 0, 25),
    sites.getSiteSummarySelectors(),
):
    pprint.pprint(value(answer))
"""
# What dinit would write for the commands without a prefix.
DCOMMANDS = """
[global]
default_profile = demo_user
[demo_user]
group_name = demo_user
home_dir = /demo/user/a/alice
"""
# How a release's command names the owner of a pilot.
PILOT_OWNERS = {"9.1.22": ("demo",), "8.0.86": ("/DC=org/DC=wherry/OU=people/CN=pilot", "demo_pilot")}


def a_day(commands: Commands) -> None:
    """Every command, and what it must have told on either side."""
    _submit_and_look(commands)
    _work_and_fetch(commands)
    _manage(commands)
    _operate(commands)
    if commands.client.version == "8.0.86":
        _operate_before_9(commands)


FIRST = 321  # the demo has 320 jobs
LETTER, MEMBERS = FIRST, [FIRST + 1, FIRST + 2, FIRST + 3]


def _submit_and_look(commands: Commands) -> None:
    (commands.home / "input.txt").write_text("dear reader")
    (commands.home / "letter.jdl").write_text(JDL)
    (commands.home / "many.jdl").write_text(PARAMETRIC)
    submitted = commands.run("dirac-wms-job-submit", "letter.jdl")
    assert f"JobID = {LETTER}" in submitted
    members = commands.run("dirac-wms-job-submit", "many.jdl")
    assert all(str(member) in members for member in MEMBERS)
    assert "Status=Waiting" in commands.run("dirac-wms-job-status", str(LETTER), *map(str, MEMBERS))
    assert "letter" in commands.run("dirac-wms-job-attributes", str(LETTER))
    assert "Job accepted" in commands.run("dirac-wms-job-logging-info", str(LETTER))
    assert "'JobID': '321'" in commands.run("dirac-wms-job-get-jdl", str(LETTER))
    original = commands.run("dirac-wms-job-get-jdl", "--Original", str(LETTER))
    assert "'Arguments': 'input.txt'" in original
    assert "JobID" not in original
    commands.run("dirac-wms-job-get-input", str(LETTER))
    assert (commands.home / f"InputSandbox{LETTER}" / "input.txt").read_text() == "dear reader"
    assert str(LETTER) in commands.run("dirac-wms-select-jobs", "--Status=Waiting", "--Owner=alice")
    assert "DEMO.Geneva.ch" in commands.run("dirac-wms-match", "letter.jdl", user=ADMINISTRATOR)


def _work_and_fetch(commands: Commands) -> None:
    commands.run(
        "dirac-admin-add-pilot",
        "pilot-of-the-letter",
        *PILOT_OWNERS[commands.client.version],
        "DIRAC",
        "0123456789abcdef",
        user=ADMINISTRATOR,
    )
    commands.script(WORK.replace("JOB", str(LETTER)), PILOT)
    commands.script(UPLOAD.replace("JOB", str(LETTER)), ALICE)
    assert "11.5" in commands.run("dirac-wms-job-parameters", str(LETTER))
    commands.run("dirac-wms-job-get-output", str(LETTER))
    assert (commands.home / str(LETTER) / "std.out").read_text() == "dear reader"
    pilots = commands.run("dirac-admin-get-job-pilots", str(LETTER), user=ADMINISTRATOR)
    assert "pilot-of-the-letter" in pilots
    info = commands.run("dirac-admin-get-pilot-info", "pilot-of-the-letter", user=ADMINISTRATOR)
    assert "DEMO.Geneva.ch" in info
    assert "Running" in commands.run("dirac-admin-pilot-summary", user=ADMINISTRATOR)


def _manage(commands: Commands) -> None:
    first, second, third = map(str, MEMBERS)
    assert first in commands.run("dirac-wms-job-kill", first)
    assert "Status=Killed" in commands.run("dirac-wms-job-status", first, name="after a kill")
    assert second in commands.run("dirac-wms-job-reschedule", second)
    status = commands.run("dirac-wms-job-status", second, name="after rescheduling")
    assert "Status=Waiting" in status or "Status=Received" in status
    assert third in commands.run("dirac-wms-job-delete", third)
    assert "Status=Deleted" in commands.run("dirac-wms-job-status", third, name="after deleting")
    commands.run("dirac-admin-reset-job", second, user=ADMINISTRATOR)
    assert "'RescheduleCounter': 0" in commands.run("dirac-wms-job-attributes", second)


def _operate(commands: Commands) -> None:
    commands.run("dirac-admin-show-task-queues", user=ADMINISTRATOR)
    commands.run("dirac-admin-get-job-pilot-output", str(LETTER), user=ADMINISTRATOR)


def _operate_before_9(commands: Commands) -> None:
    """What 9 no longer has, or has elsewhere: the mask in WMSAdministrator, the web portal's calls."""
    site = "DEMO.Lyon.fr"
    assert "Banned" in commands.run(
        "dirac-admin-ban-site", "-E", "no", site, "a leak", user=ADMINISTRATOR, name="ban"
    )
    assert "a leak" in commands.run("dirac-admin-site-mask-logging", site, user=ADMINISTRATOR)
    commands.run("dirac-admin-allow-site", "-E", "no", site, "mended", user=ADMINISTRATOR, name="allow")
    (commands.client.root / ".dirac").mkdir(exist_ok=True)
    (commands.client.root / ".dirac/dcommands.conf").write_text(DCOMMANDS)
    assert "letter" in commands.run("dstat", "-a", str(LETTER))
    commands.done["portal"] = portal = commands.script(PORTAL.replace("JOB", str(LETTER)), ADMINISTRATOR)
    assert "{'demo_user': 28}" in portal.out


def plan(state: str) -> str:
    """A plan in which every method that can be moved is in one state."""
    lines = ["plan: 1", "services:"]
    for service in SERVICES:
        lines += [f"  {service.name}:", "    methods:"]
        lines += [f"      {method}: {{state: {state}}}" for method in service.adaptors]
    return "\n".join(lines) + "\n"


@dataclass
class Day:
    """What was seen of a release's day on one side."""

    version: str
    outputs: Mapping[str, Output]
    calls: list[dict[str, Any]]


@pytest.fixture(scope="module", params=VERSIONS)
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Day]:
    """A function from a state to a release's day in it, which is lived once."""
    lived: dict[str, Day] = {}

    def live(state: str) -> Day:
        if state not in lived:
            lived[state] = _live(request.param, state, tmp_path_factory)
        return lived[state]

    return live


def _live(version: str, state: str, tmp_path_factory: pytest.TempPathFactory) -> Day:
    environment = environment_of(version)
    with running_demo(tmp_path_factory.mktemp(state)) as grid:
        Path(grid.facts["plan"]).write_text(plan(state))
        time.sleep(1)  # an edit takes effect within a second
        client = Client(version, environment, grid, tmp_path_factory.mktemp("home"))
        with commands_of(client) as commands:
            a_day(commands)
        return Day(version, commands.done, calls_of_clients(grid, version))


def calls_of_clients(grid: DemoGrid, version: str) -> list[dict[str, Any]]:
    """The records of calls that the commands made, but for the configuration and what no plan moves."""
    moved = {(service.name, method) for service in SERVICES for method in service.adaptors}
    return [
        record
        for record in grid.log()
        if record.get("client", "").startswith(version) and (record["service"], record["method"]) in moved
    ]


def masked(text: str) -> str:
    """Output without what differs from run to run."""
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


def test_every_command_says_the_same_on_both_sides(day: Callable[[str], Day]) -> None:
    """The same commands print the same, whichever side answers; and it is what they should print."""
    legacy, live = day("legacy").outputs, day("live").outputs
    assert legacy.keys() == live.keys()
    for name, output in legacy.items():
        told, expected = masked(live[name].out).splitlines(), masked(output.out).splitlines()
        assert [pair for pair in zip_longest(told, expected) if pair[0] != pair[1]] == [], name
        assert live[name].code == output.code, name


def test_every_call_went_the_planned_way(day: Callable[[str], Day]) -> None:
    """On legacy every call was answered natively, on live by REST: no fallback hides a failing adaptor."""
    for state, route in (("legacy", "native"), ("live", "rest")):
        routes = {
            (call["service"], call["method"], call["route"], call["reason"]) for call in day(state).calls
        }
        assert {each for each in routes if each[2] != route} == set()


def test_what_is_said_to_be_tested_is(day: Callable[[str], Day]) -> None:
    """The methods that `wherry methods` says these commands call are those that they called."""
    called: dict[str, set[str]] = {}
    lived = day("live")
    for call in lived.calls:
        called.setdefault(call["service"], set()).add(call["method"])
    said = TESTED_WITH[f"DIRAC {lived.version} commands"]
    assert {service: sorted(methods) for service, methods in said.items()} == {
        service: sorted(methods) for service, methods in called.items()
    }
