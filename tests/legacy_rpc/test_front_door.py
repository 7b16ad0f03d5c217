"""The order of checks and the texts of errors, as a client of a DIRAC service sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from legacy_rpc.authorisation import Rule
from legacy_rpc.front_door import CallLimits, FinishedCall
from legacy_rpc.messages import (
    Answered,
    AnyCredential,
    Call,
    Errno,
    Failure,
    Outcome,
    Proposal,
    Reply,
    TokenCredential,
    Write,
)
from legacy_rpc.services.builtin import add_builtin_methods
from legacy_rpc.services.table import Service, ServiceTable

ANYONE = Rule.parse(["all"])
JOB_MANAGER = "WorkloadManagement/JobManager"
JOB_MONITORING = "WorkloadManagement/JobMonitoring"
PILOT_MANAGER = "WorkloadManagement/PilotManager"
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"
EXECUTORS_ONLY = "Connection is not offered here: executors need DIRAC's own service"


def echo_services(**authorization: Any) -> ServiceTable:
    """The service whose real clients were captured (vectors/diset-session.json)."""
    service = Service("Test/Echo", handler_class="EchoHandler", **authorization)

    @service.method(int, [int, float])
    async def add(_context: Any, a: int, b: float, c: int = 0) -> float:
        return a + b + c

    @service.method()
    async def boom(_context: Any) -> None:
        raise ValueError("kaboom")

    @service.method()
    async def fail(_context: Any) -> None:
        raise Failure("Unknown WMS error ( 1500 : job is bad)", 1500)

    @service.method(authorization=("ServiceAdministrator",))
    async def adminOnly(_context: Any) -> str:
        return "admin"

    @service.method(None, str)
    async def anything(_context: Any, first: Any, second: str) -> Any:
        return [first, second]

    add_builtin_methods(service)
    return ServiceTable([service])


# --- the order of checks


@pytest.mark.parametrize(
    ("service", "action", "method", "caller", "errno", "message"),
    [
        ("Test/Other", "None", "nosuch", "stranger", 0, "Test/Other is not up in this server"),
        ("Test/Other", "RPC", "add", "alice", 0, "Test/Other is not up in this server"),
        ("test/echo", "RPC", "add", "alice", 0, "test/echo is not up in this server"),
        ("Test/Echo", "None", "nosuch", "stranger", 0, "None is not a known action type"),
        ("Test/Echo", "Connection", "new", "alice", 0, EXECUTORS_ONLY),
        ("Test/Echo", "rpc", "add", "alice", 0, "rpc is not a known action type"),
        ("Test/Echo", "RPC", "nosuch", "stranger", 1111, UNAUTHORIZED),
        ("Test/Echo", "RPC", "add", "stranger", 1111, UNAUTHORIZED),
        ("Test/Echo", "RPC", "adminOnly", "alice", 1111, UNAUTHORIZED),
    ],
)
async def test_refused_before_the_acknowledgement(
    make_old_side, callers, service: str, action: str, method: str, caller: str, errno: int, message: str
) -> None:
    """The service is looked at first, then the action, then who calls; the hook is told of the refusal."""
    side = make_old_side(echo_services())
    with pytest.raises(Failure) as refused:
        side.admit(service, method, getattr(callers, caller), action)
    assert refused.value.as_result() == {"OK": False, "Errno": errno, "Message": message}
    (told,) = side.finished
    assert (told.answered.route, told.answered.reason) == ("refused", "admission")
    assert told.answered.outcome is refused.value
    assert (told.call.service, told.call.method) == (service, method)
    assert (told.call.identity.kind, told.call.identity.dn) == ("anonymous", getattr(callers, caller).dn)


MISMATCH = "Type mismatch in parameter {} (starting with param 0) Received {}, expected {}".format
SERVING = "Server error while serving {}: {}".format
STR, INT, FLOAT, LIST, DICT, NONE = map(str, (str, int, float, list, dict, type(None)))


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("nosuch", [{}, {}], "Unknown method nosuch"),
        ("__class__", [], "Unknown method __class__"),
        ("export_add", [1, 2], "Unknown method export_add"),
        ("add", ["x", "y", "z", "too many"], MISMATCH(0, STR, INT)),
        ("add", ["x"], MISMATCH(0, STR, INT)),
        ("add", [1, "x"], MISMATCH(1, STR, f"[{INT}, {FLOAT}]")),
        ("add", [1], "Function add expects at least 2 arguments"),
        (
            "add",
            [1, 2, 3, 4],
            SERVING(
                "add", "EchoHandler.export_add() takes from 3 to 4 positional arguments but 5 were given"
            ),
        ),
        ("boom", [], SERVING("boom", "kaboom")),
    ],
)
async def test_error_in_the_result(make_old_side, method: str, arguments: list[Any], message: str) -> None:
    """Then comes the method, then the types from left to right, then their number, then the call."""
    side = make_old_side(echo_services())
    answer = await side.call("Test/Echo", method, *arguments)
    assert answer == {"OK": False, "Errno": 0, "Message": message}


@pytest.mark.parametrize(
    ("method", "arguments", "value"),
    [
        ("add", [1, 2.5, 10], 13.5),
        ("add", [1, 2], 3),
        ("add", [True, False], 1),
        ("add", [1, 2, 0.5], 3.5),
        ("anything", [None, "x"], [None, "x"]),
        ("anything", [{}, "x"], [{}, "x"]),
    ],
)
async def test_arguments_that_pass(make_old_side, method: str, arguments: list[Any], value: Any) -> None:
    """A bool is an int, None declares anything, and what is beyond the declared types may be anything."""
    answer = await make_old_side(echo_services()).call("Test/Echo", method, *arguments)
    assert answer == {"OK": True, "Value": value}


async def test_failure_of_a_method(make_old_side) -> None:
    """A method's own error keeps its number."""
    answer = await make_old_side(echo_services()).call("Test/Echo", "fail")
    assert answer == {"OK": False, "Errno": 1500, "Message": "Unknown WMS error ( 1500 : job is bad)"}


# --- the texts of DIRAC's services, verified against DIRAC 9.1.22

IDS = f"[{STR}, {INT}, {LIST}]"
PILOT_SUMMARY = "PilotManagerHandler.export_getPilotSummary()"
# What Python says of DIRAC's handlers.
CALLS = [
    (
        JOB_MONITORING,
        "getJobsStates",
        [[1], 2],
        "JobMonitoringHandlerMixin.export_getJobsStates() takes 2 positional arguments but 3 were given",
    ),
    (
        JOB_MANAGER,
        "killJob",
        [],
        "JobManagerHandlerMixin.export_killJob() missing 1 required positional argument: 'jobIDs'",
    ),
    (
        JOB_MANAGER,
        "killJob",
        [1, 2, 3],
        "JobManagerHandlerMixin.export_killJob() takes from 2 to 3 positional arguments but 4 were given",
    ),
    (
        PILOT_MANAGER,
        "getPilotSummary",
        [1, 2, 3],
        f"{PILOT_SUMMARY} takes from 1 to 3 positional arguments but 4 were given",
    ),
    (
        "Configuration/Server",
        "getVersion",
        [1],
        "ConfigurationHandler.export_getVersion() takes 1 positional argument but 2 were given",
    ),
    (
        JOB_MANAGER,
        "ping",
        [1],
        "RequestHandler.export_ping() takes 1 positional argument but 2 were given",
    ),
    (
        JOB_MANAGER,
        "echo",
        ["a", "b"],
        "RequestHandler.export_echo() takes 1 positional argument but 2 were given",
    ),
]


@pytest.mark.parametrize(("service", "method", "arguments", "error"), CALLS)
async def test_text_of_a_wrong_number(
    make_old_side, callers, service: str, method: str, arguments: list[Any], error: str
) -> None:
    """A wrong number of arguments gets the very words of the DIRAC service, with its class's name."""
    answer = await make_old_side().call(service, method, *arguments, caller=callers.admin)
    assert answer == {"OK": False, "Errno": 0, "Message": SERVING(method, error)}


TEXTS = [
    (JOB_MONITORING, "getJobsStates", [{}], MISMATCH(0, DICT, IDS)),
    (JOB_MONITORING, "getJobsStatus", [None, None], MISMATCH(0, NONE, IDS)),
    (PILOT_MANAGER, "setPilotStatus", ["ref", 1], MISMATCH(1, INT, STR)),
    (JOB_MANAGER, "echo", [5], MISMATCH(0, INT, STR)),
    (JOB_MONITORING, "getJobsStates", [], "Function getJobsStates expects at least 1 arguments"),
    (PILOT_MANAGER, "setPilotStatus", ["ref"], "Function setPilotStatus expects at least 2 arguments"),
    (JOB_MANAGER, "echo", [], "Function echo expects at least 1 arguments"),
    (JOB_MANAGER, "nosuch", [], "Unknown method nosuch"),
]


@pytest.mark.parametrize(("service", "method", "arguments", "message"), TEXTS)
async def test_text_of_wrong_arguments(
    make_old_side, callers, service: str, method: str, arguments: list[Any], message: str
) -> None:
    """Arguments of a wrong type, and too few, get the very words of a DIRAC service."""
    answer = await make_old_side().call(service, method, *arguments, caller=callers.admin)
    assert answer == {"OK": False, "Errno": 0, "Message": message}


# --- who calls


@pytest.mark.parametrize(
    ("caller", "extra", "expected"),
    [
        ("alice", "", ("alice", "demo_user", "user")),
        ("admin", "", ("alice", "demo_admin", "user")),
        ("plain_alice", "demo_admin", ("alice", "demo_admin", "user")),
        ("host", "hosts", ("wherry.example.org", "hosts", "host")),
        ("host", ["/DC=org/DC=wherry/OU=people/CN=bob", "demo_user"], ("bob", "demo_user", "user")),
    ],
)
async def test_caller(
    make_old_side, callers, caller: str, extra: Any, expected: tuple[str, str, str]
) -> None:
    """A handler is told who calls, as the certificates, the registry and the extra credentials have it."""
    seen: list[Call] = []

    async def route(call: Call) -> Answered:
        seen.append(call)
        return Answered(Reply(), "native", "plan")

    side = make_old_side(echo_services(), route)
    answer = await side.call("Test/Echo", "add", 1, 2, caller=getattr(callers, caller), extra=extra)
    assert answer == {"OK": True, "Value": None}
    ((identity, arguments),) = [(call.identity, call.arguments) for call in seen]
    assert (identity.username, identity.group, identity.kind) == expected
    assert list(arguments) == [1, 2]


async def test_rule_of_the_method(make_old_side, callers) -> None:
    """Each method has its own rule, the service's where it says nothing; builtin ones let everyone in."""
    side = make_old_side(echo_services(authorization=("Operator",)))
    for caller, method, admitted in [
        ("admin", "fail", True),
        ("alice", "fail", False),
        ("admin", "nosuch", True),
        ("alice", "nosuch", False),
        ("admin", "adminOnly", False),
        ("stranger", "ping", True),
        ("stranger", "whoami", True),
        ("stranger", "echo", False),
    ]:
        answer = await side.call("Test/Echo", method, caller=getattr(callers, caller))
        assert (answer.get("Errno") == Errno.ENOAUTH) is not admitted, (caller, method, answer)


async def test_registry_of_the_moment(make_old_side, registry, callers) -> None:
    """A user who is taken out of the registry is refused at the next call."""
    side = make_old_side(echo_services())
    assert (await side.call("Test/Echo", "add", 1, 2))["OK"]
    registry.path.write_text(registry.path.read_text().replace("Users = alice, bob", "Users = bob"))
    registry.load()
    assert (await side.call("Test/Echo", "add", 1, 2))["Errno"] == Errno.ENOAUTH


# --- routes, and the hook


async def routed(call: Call) -> Answered:
    """What a router does, in short."""
    match call.method:
        case "add":
            return Answered(Reply("from REST"), "rest", "live")
        case "adminOnly":
            return Answered(Failure("no such job", 1504), "rest", "canary")
    raise RuntimeError("the router broke")


@pytest.mark.parametrize(
    ("method", "arguments", "route", "reason", "outcome"),
    [
        ("add", [1, 2], "rest", "live", {"OK": True, "Value": "from REST"}),
        ("adminOnly", [], "rest", "canary", {"OK": False, "Errno": 1504, "Message": "no such job"}),
        ("echo", ["x"], "native", "builtin", {"OK": True, "Value": "x"}),
        (
            "nosuch",
            [],
            "refused",
            "unknown-method",
            {"OK": False, "Errno": 0, "Message": "Unknown method nosuch"},
        ),
        (
            "add",
            [1],
            "refused",
            "arguments",
            {"OK": False, "Errno": 0, "Message": "Function add expects at least 2 arguments"},
        ),
        (
            "boom",
            [],
            "refused",
            "internal-error",
            {"OK": False, "Errno": 0, "Message": "Server error while serving boom: the router broke"},
        ),
    ],
)
async def test_finished(
    make_old_side,
    callers,
    registry,
    method: str,
    arguments: list[Any],
    route: str,
    reason: str,
    outcome: dict[str, Any],
) -> None:
    """Every admitted call is told to the hook once: which way it went, why, and what came of it."""
    registry.path.write_text(
        registry.path.read_text().replace("= NormalUser", "= NormalUser, ServiceAdministrator")
    )
    registry.load()
    side = make_old_side(echo_services(), routed)
    assert await side.call("Test/Echo", method, *arguments) == outcome
    (told,) = side.finished
    assert isinstance(told, FinishedCall)
    assert (told.answered.route, told.answered.reason) == (route, reason)
    assert told.answered.outcome.as_result() == outcome
    assert (told.call.method, list(told.call.arguments)) == (method, arguments)
    assert told.call.identity.username == "alice"
    assert 0 <= told.seconds < 10


async def test_unexpected_exception_is_logged(make_old_side, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is an error for the caller, and a traceback for us."""
    caplog.set_level(logging.INFO)
    answer = await make_old_side(echo_services()).call("Test/Echo", "boom")
    assert answer["Message"] == "Server error while serving boom: kaboom"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "unhandled error in Test/Echo.boom"
    assert record.levelno == logging.ERROR


async def test_failures_are_not_logged_as_faults(make_old_side, caplog: pytest.LogCaptureFixture) -> None:
    """What callers do wrong fills no log with tracebacks."""
    side = make_old_side(echo_services())
    for method, arguments in [("fail", []), ("nosuch", []), ("add", ["x"]), ("add", [])]:
        assert not (await side.call("Test/Echo", method, *arguments))["OK"]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        ("alice", {"OK": True, "Value": 3}),
        ("stranger", {"OK": False, "Errno": 1111, "Message": UNAUTHORIZED}),
    ],
)
async def test_hook_that_breaks(make_old_side, callers, caller: str, answer: dict[str, Any]) -> None:
    """A fault in what is logged or counted does not cost the caller the answer."""

    def broken(_call: FinishedCall) -> None:
        raise RuntimeError("a fault of the metrics")

    side = make_old_side(echo_services(), finished=[broken])
    assert await side.call("Test/Echo", "add", 1, 2, caller=getattr(callers, caller)) == answer


# --- what the registry's Authorization says


def systems(place: str, rules: str) -> str:
    """The section of our service's rules; ``place`` is the system, or its instance by nested names."""
    names = ["Systems", *place.split("/"), "Services", "Echo", "Authorization"]
    return "".join(f"{name}\n{{\n" for name in names) + rules + "\n" + "}\n" * len(names)


# By whether DIRAC knows an instance of the system (before 9) or not; the setups name the instance.
LAYOUTS = {"flat": "Test", "instance": "Test/Production"}
SETUPS = """DIRAC
{
  Setup = Main
  Setups
  {
    Main
    {
      Test = Production
    }
  }
"""
ASKED = ("add", "fail", "adminOnly", "nosuch", "ping", "whoami")
CALLERS = ("alice", "admin", "bob", "stranger", "host")
ALL_CALLERS = "alice admin bob stranger host"


@pytest.fixture
def say(registry) -> Callable[[str], None]:
    """Appends to the registry's file what an administrator writes, in place of what was appended before."""
    before = registry.path.read_text().replace("DIRAC\n{\n", SETUPS, 1)

    def append(text: str) -> None:
        registry.path.write_text(before + text)
        registry.load()

    return append


async def admitted(side: Any, callers: Any, method: str) -> str:
    """Which callers may call a method; a host says that it is one."""
    names = []
    for name in CALLERS:
        answer = await side.call(
            "Test/Echo", method, caller=getattr(callers, name), extra="hosts" if name == "host" else ""
        )
        if answer.get("Errno") != Errno.ENOAUTH:
            names.append(name)
    return " ".join(names)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("Default = all", {"adminOnly": "", "add": ALL_CALLERS, "nosuch": ALL_CALLERS}),
        ("Default = Operator", {"add": "admin host", "nosuch": "admin host", "ping": ALL_CALLERS}),
        (
            "add = Operator\nadminOnly = all",
            {"add": "admin host", "adminOnly": ALL_CALLERS},
        ),
        ("ping = authenticated\nwhoami = Operator", {"ping": "alice admin bob host", "whoami": "admin host"}),
        ("add = group:demo_admin\nfail = vo:demo", {"add": "admin", "fail": "alice admin bob"}),
        ("adminOnly = NormalUser, group:demo_user", {"adminOnly": "alice bob"}),
        ("Default = group:demo_admin\nadd =", {"add": "admin", "adminOnly": ""}),
        ("adminOnly =", {"adminOnly": ""}),
        ("nosuch = all", {"nosuch": ALL_CALLERS}),
        ("FileTransfer\n{\nDefault = all\n}\nadd = Operator", {"add": "admin host"}),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_rules_of_the_registry(
    make_old_side, callers, say, layout: str, rules: str, expected: Mapping[str, str]
) -> None:
    """What is written of a method holds from the next call on, in either layout, until it is taken away."""
    side = make_old_side(echo_services())
    without = {method: await admitted(side, callers, method) for method in ASKED}
    assert without["add"] == without["nosuch"] == "alice admin bob host"
    assert (without["adminOnly"], without["ping"]) == ("", ALL_CALLERS)
    say(systems(LAYOUTS[layout], rules))
    for method, names in expected.items():
        for _ in range(2):  # the second time as the first
            assert await admitted(side, callers, method) == names, method
    say("")
    assert {method: await admitted(side, callers, method) for method in ASKED} == without


async def test_rules_of_an_instance_outweigh(make_old_side, callers, say) -> None:
    """Where both layouts say something of a method the setup's instance has it; others have no say."""
    side = make_old_side(echo_services())
    flat = "add = nobody\nfail = Operator\n"
    inside = "Production\n{\nServices\n{\nEcho\n{\nAuthorization\n{\nadd = NormalUser\n}\n}\n}\n}\n"
    other = inside.replace("Production", "Integration").replace("add = NormalUser", "ping = nobody")
    text = systems("Test", flat)
    say(text.replace("Test\n{\n", f"Test\n{{\n{inside}{other}", 1))
    assert await admitted(side, callers, "add") == "alice admin bob"
    assert await admitted(side, callers, "fail") == "admin host"
    assert await admitted(side, callers, "ping") == ALL_CALLERS


async def test_rules_of_a_tornado_section(make_old_side, callers, say) -> None:
    """The section of DIRAC's HTTPS service counts where that of the service itself says nothing."""
    side = make_old_side(echo_services())
    tornado = "TornadoEcho\n{\nAuthorization\n{\nadd = nobody\nfail = NormalUser\n}\n}\n"
    say(systems("Test", "add = Operator\n").replace("Services\n{\n", f"Services\n{{\n{tornado}", 1))
    assert await admitted(side, callers, "add") == "admin host"
    assert await admitted(side, callers, "fail") == "alice admin bob"


async def test_a_transfer_is_no_call(make_old_side, callers) -> None:
    """Whoever asks for a transfer as if it were a method is told that there is none of that name."""
    side = make_old_side(transfers())
    answer = await side.call("Test/Echo", "FileTransfer/ToClient", "x", caller=callers.alice)
    assert answer["Message"] == "This server does no allow sending files"


def transfers() -> ServiceTable:
    """A service that sends a file, to operators only to be listed, and takes none."""
    service = Service("Test/Echo", handler_class="EchoHandler", authorization=("NormalUser",))

    @service.transfer("ToClient")
    async def send(_context: Any, _name: str) -> None: ...

    @service.transfer("ListBulk", authorization=("Operator",))
    async def listed(_context: Any, _name: str) -> None: ...

    return ServiceTable([service])


@pytest.mark.parametrize(
    ("rules", "action", "names"),
    [
        ("", "ToClient", "alice admin bob"),
        ("", "ListBulk", "admin host"),
        ("", "FromClient", "alice admin bob"),
        ("Default = Operator", "ToClient", "alice admin bob"),
        ("ToClient = Operator", "ToClient", "alice admin bob"),
        ("FileTransfer\n{\nToClient = Operator\n}", "ToClient", "admin host"),
        ("FileTransfer\n{\ntoClient = Operator\n}", "ToClient", "alice admin bob"),
        ("FileTransfer\n{\nDefault = TrustedHost\n}", "ToClient", "host"),
        ("FileTransfer\n{\nDefault = TrustedHost\n}", "FromClient", "host"),
        ("FileTransfer\n{\nDefault = TrustedHost\n}", "ListBulk", "admin host"),
        ("FileTransfer\n{\nListBulk = group:demo_user\n}", "ListBulk", "alice bob"),
    ],
)
async def test_rules_of_transfers(make_old_side, callers, say, rules: str, action: str, names: str) -> None:
    """A transfer has its own rule, then the transfers' Default, never that of the methods."""
    side = make_old_side(transfers())
    say(systems("Test", rules))
    found = []
    for name in CALLERS:
        try:
            extra = "hosts" if name == "host" else ""
            side.admit("Test/Echo", action, getattr(callers, name), "FileTransfer", extra)
            found.append(name)
        except Failure as refused:
            assert refused.message == UNAUTHORIZED
    assert " ".join(found) == names


@pytest.mark.parametrize(
    ("pair", "username"),
    [
        (["/DC=org/DC=wherry/OU=people/CN=bob", "demo_user"], "bob"),
        (("/DC=org/DC=wherry/OU=people/CN=alice", "demo_admin"), "alice"),
        (["/DC=org/DC=wherry/OU=people/CN=bob", "demo_admin"], None),
        (["/DC=org/DC=wherry/OU=people/CN=mallory", "demo_user"], None),
    ],
)
@pytest.mark.parametrize("wire", ["dips", "https", "xmlrpc", "msgpack", "grpc"])
async def test_delegation_on_every_wire(
    make_old_side, callers, wire: str, pair: Any, username: str | None
) -> None:
    """A trusted host calls for a member of a group, whatever wire its proposal comes by; others do not."""
    side = make_old_side(echo_services())
    proposal = Proposal("Test/Echo", "RPC", "add", pair, wire=wire, peer="127.0.0.1")
    for caller in (callers.host, callers.alice, callers.admin, TOKEN):
        try:
            found = side.front_door.admit(proposal, caller).username
        except Failure as refused:
            assert refused.errno == Errno.ENOAUTH
            found = None
        assert found == (username if caller is callers.host else None)


# --- names that clients make up


@pytest.mark.parametrize(
    ("service", "method"),
    [("Test/Echo", "m" * 1_000_000), ("S" * 1_000_000, "ping"), ("Test/Echo", "m" * 201)],
)
async def test_names_that_are_too_long(make_old_side, callers, service: str, method: str) -> None:
    """Nobody's is: they are refused, and neither the answer nor the log repeats them."""
    side = make_old_side(echo_services())
    answer = await side.call(service, method, caller=callers.stranger)
    assert answer["Message"] == "No service and no method has a name of more than 200 characters"
    (told,) = side.finished
    assert (len(told.call.service) <= 200, len(told.call.method) <= 200) == (True, True)


async def test_a_long_version(make_old_side, callers) -> None:
    """What a client says of itself goes into the log, but not at any length."""
    proposal = Proposal("Test/Echo", "RPC", "add", client_version="9" * 1_000_000)
    side = make_old_side(echo_services())
    await side.front_door.handle(proposal.call([1, 2], side.front_door.admit(proposal, callers.alice)))
    assert side.finished[0].call.client_version == "9" * 64


# --- bearers of tokens

TOKEN = TokenCredential(
    "alice", "demo_admin", "demo", "https://rest.example.org/", datetime.now(UTC) + timedelta(hours=1)
)


async def by_token(side: Any, method: str, *arguments: Any, token: AnyCredential = TOKEN) -> dict[str, Any]:
    """What a bearer of a token sees."""
    proposal = Proposal("Test/Echo", "RPC", method, wire="https", peer="127.0.0.1")
    try:
        call = proposal.call(arguments, side.front_door.admit(proposal, token))
    except Failure as refused:
        return refused.as_result()
    outcome: Outcome = await side.front_door.handle(call)
    return outcome.as_result()


async def test_a_token_of_a_suspended_user(make_old_side, registry) -> None:
    """A token is worth what the registry says now: suspended, taken out of the group, or gone altogether."""
    side = make_old_side(echo_services())
    text = registry.path.read_text()
    assert (await by_token(side, "add", 1, 2)) == {"OK": True, "Value": 3}
    dn = "DN = /DC=org/DC=wherry/OU=people/CN=alice\n"
    for before, after in (
        (dn, f"{dn}      Suspended = demo\n"),
        ("Users = alice\n", "Users = bob\n"),
        (dn, "Email = alice@example.org\n"),
        ("demo_admin\n", "demo_admins\n"),
    ):
        assert before in text
        registry.path.write_text(text.replace(before, after, 1))
        registry.load()
        assert (await by_token(side, "add", 1, 2))["Errno"] == Errno.ENOAUTH, after
        who = (await by_token(side, "whoami"))["Value"]
        assert (who["username"], who["group"], who["properties"]) == ("anonymous", "visitor", [])
    registry.path.write_text(text)
    registry.load()
    assert (await by_token(side, "add", 1, 2))["OK"]


async def test_a_token_of_another_group(make_old_side) -> None:
    """Its group's rights, and no others of its user."""
    side = make_old_side(echo_services(authorization=("Operator",)))
    assert (await by_token(side, "add", 1, 2))["OK"]
    answer = await by_token(side, "add", 1, 2, token=replace(TOKEN, group="demo_user"))
    assert answer == {"OK": False, "Errno": 1111, "Message": UNAUTHORIZED}


async def test_refusal_of_a_token_is_told(make_old_side) -> None:
    """Who was turned away with a token has no DN."""
    side = make_old_side(echo_services())
    await by_token(side, "add", token=replace(TOKEN, username="mallory"))
    (told,) = side.finished
    assert (told.answered.reason, told.call.identity.dn) == ("admission", "")


# --- limits


class Slow:
    """Methods that run until they are told to end; what became of each call stands in ``ends``."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[str] = []
        self.ends: list[str] = []
        self.service = Service("Test/Slow", handler_class="SlowHandler")
        for write in Write:
            self._add(write)

    def _add(self, write: Write) -> None:
        async def handler(_context: Any, name: str = "") -> str:
            self.begun.append(name)
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.ends.append(f"{name} cancelled")
                raise
            self.ends.append(f"{name} done")
            return name

        handler.__name__ = write.value
        self.service.method(write=write)(handler)

    def side(self, make_old_side: Any, **limits: Any) -> Any:
        """A front door with these limits."""
        return make_old_side(ServiceTable([self.service]), limits=CallLimits(**limits))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_calls_of_one_caller(make_old_side, callers) -> None:
    """One call too many is refused in its result, others' calls are not; a place is free when one ends."""
    slow = Slow()
    side = slow.side(make_old_side, per_caller=2)
    running = [asyncio.create_task(side.call("Test/Slow", "read", name)) for name in "ab"]
    await until(lambda: len(slow.begun) == 2)
    answer = await side.call("Test/Slow", "read", "c")
    problem = "2 of your calls are being served: wait for some to end"
    assert answer == {"OK": False, "Errno": 0, "Message": problem}
    told = side.finished[-1]
    assert (told.answered.route, told.answered.reason) == ("refused", "overload")
    others = [
        asyncio.create_task(side.call("Test/Slow", "read", name, caller=caller))
        for name, caller in (("bob", callers.bob), ("admin", callers.admin))
    ]
    await until(lambda: len(slow.begun) == 4)
    slow.may_end.set()
    answers = [await call for call in (*running, *others)]
    assert [answer["Value"] for answer in answers] == ["a", "b", "bob", "admin"]
    assert (await side.call("Test/Slow", "read", "d"))["Value"] == "d"
    assert not side.front_door._running


async def test_calls_of_the_anonymous_count_by_address(make_old_side) -> None:
    """Without a DN a caller is an address."""
    slow = Slow()
    side = slow.side(make_old_side, per_caller=1)

    async def ping(peer: str) -> Outcome:
        proposal = Proposal("Test/Slow", "RPC", "read", wire="dip", peer=peer)
        nobody = side.front_door.admit(replace(proposal, service="Test/Slow"), None)
        outcome: Outcome = await side.front_door.handle(proposal.call([peer], nobody))
        return outcome

    slow.service.methods["read"] = replace(slow.service.methods["read"], rule=ANYONE, hard_coded=True)
    first = asyncio.create_task(ping("127.0.0.1"))
    await until(lambda: slow.begun == ["127.0.0.1"])
    assert isinstance(await ping("127.0.0.1"), Failure)
    other = asyncio.create_task(ping("127.0.0.2"))
    await until(lambda: len(slow.begun) == 2)
    slow.may_end.set()
    assert [(await first).value, (await other).value] == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("write", list(Write))
async def test_a_call_that_takes_too_long(make_old_side, write: Write) -> None:
    """What only reads is cancelled.  What writes goes on, and the caller is told that nobody knows yet."""
    slow = Slow()
    side = slow.side(make_old_side, seconds=0.05)
    answer = await side.call("Test/Slow", write.value, "x")
    problem = f"{write.value} was not done within the time for a call"
    if write is Write.READ:
        await until(lambda: slow.ends == ["x cancelled"])
    else:
        problem += ": it goes on, and its outcome is unknown"
        assert slow.ends == []
        assert side.front_door._running, "it is still one of its caller's calls"
        slow.may_end.set()
        await until(lambda: slow.ends == ["x done"])
    assert answer == {"OK": False, "Errno": 0, "Message": problem}
    (told,) = side.finished
    assert (told.answered.route, told.answered.reason) == ("refused", "timeout")
    await until(lambda: not side.front_door._running)


def slow_call(side: Any, callers: Any, method: str, **more: Any) -> Call:
    """An admitted call of alice's."""
    proposal = Proposal("Test/Slow", "RPC", method, wire="grpc", peer="127.0.0.1")
    call: Call = proposal.call(["x"], side.front_door.admit(proposal, callers.alice), **more)
    return call


@pytest.mark.parametrize("write", [Write.READ, Write.CREATE])
async def test_a_deadline(make_old_side, callers, write: Write) -> None:
    """A wire's own deadline counts where it is sooner than ours, and not where it is later."""
    slow = Slow()
    side = slow.side(make_old_side, seconds=600)
    now = asyncio.get_running_loop().time()
    call = slow_call(side, callers, write.value, deadline=now + 0.05)
    outcome = await side.front_door.handle(call)
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith(f"{write.value} was not done within the time for a call")
    slow.may_end.set()
    side = slow.side(make_old_side, seconds=0.05)
    slow.may_end.clear()
    outcome = await side.front_door.handle(slow_call(side, callers, "read", deadline=now + 600))
    assert isinstance(outcome, Failure)
    slow.may_end.set()


@pytest.mark.parametrize("write", list(Write))
async def test_a_deadline_that_is_over(make_old_side, callers, write: Write) -> None:
    """Then nothing is begun, so nothing is unknown."""
    slow = Slow()
    side = slow.side(make_old_side)
    past = asyncio.get_running_loop().time() - 1
    outcome = await side.front_door.handle(slow_call(side, callers, write.value, deadline=past))
    assert isinstance(outcome, Failure)
    assert outcome.message == f"{write.value} was not begun: the time for it was over"
    assert (slow.begun, side.finished[-1].answered.reason) == ([], "timeout")
    assert not side.front_door._running


async def test_a_transfer_has_no_time_in_all(make_old_side, callers) -> None:
    """Its blocks have one each; a large file takes as long as it takes."""
    slow = Slow()
    side = slow.side(make_old_side, seconds=0.01)
    call = slow_call(side, callers, "read", outgoing=object(), deadline=0.0)
    answering = asyncio.create_task(side.front_door.handle(call))
    await asyncio.wait({answering}, timeout=0.1)
    assert not answering.done()
    slow.may_end.set()
    assert await answering == Reply("x")
