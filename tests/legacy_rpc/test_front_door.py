"""The order of checks and the texts of errors, as a client of a DIRAC service sees them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from legacy_rpc.front_door import FinishedCall
from legacy_rpc.messages import Answered, Call, Errno, Failure, Reply
from legacy_rpc.services.builtin import add_builtin_methods
from legacy_rpc.services.table import Service, ServiceTable

JOB_MANAGER = "WorkloadManagement/JobManager"
JOB_MONITORING = "WorkloadManagement/JobMonitoring"
PILOT_MANAGER = "WorkloadManagement/PilotManager"
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


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
        ("Test/Echo", "Connection", "new", "alice", 0, "Connection is not a known action type"),
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
