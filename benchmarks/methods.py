"""What the commonest legacy methods cost natively and through REST, in one process, on one database.

Prints one JSON line for each method; README.md says how to read them.

    python benchmarks/methods.py [--quick] [--engine mariadb] [--jobs 100000] [--rounds R]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, String, cast, literal, select

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from database import JDL, MATCHING, OPTIONS, STATES, filled, numbers
from private_servers import SERVERS

from adaptor.methods.catalogue import ADAPTORS
from legacy_rpc.messages import Call, Credential, Failure, Proposal
from shared_db.connection import Databases
from shared_db.engines.urls import DATABASES
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from wherry.build import OldSide, make_new_side, make_old_side
from wherry.config import load_config
from wherry.demo.credentials import grid_credentials
from wherry.serve import settle_memory

# Above so many native milliseconds REST may cost RATIO times as much, below ADDED milliseconds more.
LONG, RATIO, ADDED = 3.0, 1.3, 1.0
PILOTS = 5_000

REGISTRY = """\
DIRAC
{
  VirtualOrganization = lab
}
Registry
{
  DefaultGroup = lab_user
  Users
  {
    alice
    {
      DN = /CN=alice
    }
    pilot
    {
      DN = /CN=pilot
    }
  }
  Groups
  {
    lab_user
    {
      Users = alice
      VO = lab
      Properties = NormalUser
    }
    lab_admin
    {
      Users = alice
      VO = lab
      Properties = NormalUser, JobAdministrator, Operator
    }
    lab_pilot
    {
      Users = pilot
      VO = lab
      Properties = GenericPilot, LimitedDelegation
    }
  }
  VO
  {
    lab
    {
      DefaultGroup = lab_user
    }
  }
}
"""

MONITORING = "WorkloadManagement/JobMonitoring"
MANAGER = "WorkloadManagement/JobManager"
UPDATE = "WorkloadManagement/JobStateUpdate"
PILOT_MANAGER = "WorkloadManagement/PilotManager"
MATCHER = "WorkloadManagement/Matcher"
SANDBOXES = "WorkloadManagement/SandboxStore"

USER, ADMINISTRATOR, PILOT = ("alice", "lab_user"), ("alice", "lab_admin"), ("pilot", "lab_pilot")


@dataclass(frozen=True)
class Ids:
    """Ids of jobs: of a kind of status, each given once, and numbers that never come again."""

    jobs: int
    running: Iterator[int]
    waiting: Iterator[int]
    failed: Iterator[int]
    fresh: Iterator[int]

    @classmethod
    def of(cls, jobs: int) -> Ids:
        """From the youngest on; alice's own are left alone."""

        def those(status: str) -> Iterator[int]:
            index, alices = STATES.index(status), jobs // MATCHING
            return (each for each in range(jobs, 0, -1) if each % len(STATES) == index and each % alices)

        return cls(jobs, those("Running"), those("Waiting"), those("Failed"), itertools.count(1))

    def hundred(self) -> list[int]:
        """A hundred jobs, spread over all."""
        return list(range(1, self.jobs, self.jobs // 100))[:100]


@dataclass(frozen=True)
class Case:
    """A call; ``grows``: its cost may grow with the jobs stored, since it counts them."""

    service: str
    method: str
    arguments: Callable[[Ids], list[Any]]
    caller: tuple[str, str] = USER
    note: str = ""
    grows: str = ""


def now() -> str:
    """This moment as callers of setJobStatusBulk write it."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"


def status(_ids: Ids) -> dict[str, dict[str, str]]:
    """One update of setJobStatusBulk."""
    return {now(): {"Status": "Running", "MinorStatus": "Application", "Source": "JobWrapper"}}


OFFER = {"Site": "LCG.Site1.org", "GridCE": "ce1", "CPUTime": 500_000, "DIRACVersion": "v9r1p22"}
BY_ALICE = {"Owner": "alice", "Status": "Waiting"}

CASES = (
    Case(MONITORING, "getJobsStatus", lambda ids: [ids.hundred()], note="100 jobs"),
    Case(MONITORING, "getJobsStates", lambda ids: [ids.hundred()], note="100 jobs"),
    Case(MONITORING, "getJobsSummary", lambda ids: [ids.hundred()], note="100 jobs"),
    Case(MONITORING, "getJobSummary", lambda ids: [next(ids.fresh)]),
    Case(MONITORING, "getJobJDL", lambda ids: [next(ids.fresh), False], ADMINISTRATOR),
    Case(MONITORING, "getJobLoggingInfo", lambda ids: [next(ids.fresh)]),
    Case(MONITORING, "getJobParameters", lambda ids: [ids.hundred()], note="100 jobs"),
    Case(MONITORING, "getInputData", lambda ids: [next(ids.fresh)]),
    Case(MONITORING, "getJobs", lambda _ids: [BY_ALICE], note="200 jobs found"),
    Case(MONITORING, "getJobPageSummaryWeb", lambda _ids: [BY_ALICE, [], 0, 25], note="25 of 200 jobs"),
    Case(
        UPDATE, "setJobStatus", lambda ids: [next(ids.running), "Running", "Application", "JobWrapper"], PILOT
    ),
    Case(UPDATE, "setJobStatusBulk", lambda ids: [next(ids.running), status(ids)], PILOT),
    Case(
        UPDATE, "setJobParameters", lambda ids: [next(ids.running), [("Host", "wn1"), ("Load", "2")]], PILOT
    ),
    Case(UPDATE, "sendHeartBeat", lambda ids: [next(ids.running), {"CPUConsumed": 12.5}, {}], PILOT),
    Case(MANAGER, "submitJob", lambda _ids: [JDL.replace("/lab/", "/lab/u/")]),
    Case(MANAGER, "killJob", lambda ids: [[next(ids.waiting)]], ADMINISTRATOR),
    Case(MANAGER, "rescheduleJob", lambda ids: [[next(ids.failed)]], ADMINISTRATOR),
    Case(MATCHER, "requestJob", lambda _ids: [OFFER], PILOT),
    Case(PILOT_MANAGER, "getPilotInfo", lambda ids: [f"pilot{next(ids.fresh) % PILOTS + 1}"], ADMINISTRATOR),
    Case(
        PILOT_MANAGER, "setPilotStatus", lambda ids: [f"pilot{next(ids.fresh) % PILOTS + 1}", "Done"], PILOT
    ),
    Case(
        PILOT_MANAGER,
        "addPilotReferences",
        lambda ids: [[f"new{(number := next(ids.fresh))}"], "lab", "DIRAC", {f"new{number}": f"new{number}"}],
        ADMINISTRATOR,
    ),
    Case(PILOT_MANAGER, "getPilotSummary", lambda _ids: [], ADMINISTRATOR, grows="counts all pilots"),
    Case(SANDBOXES, "getSandboxesAssignedToEntity", lambda ids: [f"Job:{next(ids.fresh)}"], ADMINISTRATOR),
)


def fill_pilots(connection: Connection, last: int) -> None:
    """Pilots with stamps of their own."""
    source, number = numbers(connection, last)
    text = cast(number, String(10))
    moment = datetime(2026, 11, 1)  # noqa: DTZ001 - as columns hold it
    columns = {
        "PilotJobReference": literal("pilot").concat(text),
        "PilotStamp": literal("stamp").concat(text),
        "VO": literal("lab"),
        "Status": literal("Running"),
        "DestinationSite": literal("ce1"),
        "SubmissionTime": literal(moment),
        "LastUpdateTime": literal(moment),
    }
    rows = select(*columns.values()).select_from(source)
    connection.execute(PilotAgents.insert().from_select(list(columns), rows))


@asynccontextmanager
async def sides(databases: Databases, folder: Path, urls: Any) -> AsyncIterator[dict[str, OldSide]]:
    """The native side and the REST side, over the same new side."""
    (folder / "registry.cfg").write_text(REGISTRY)
    grid_credentials(folder / "pki")
    await databases.sync_run(PILOT_AGENTS_DB, partial(fill_pilots, last=PILOTS))
    made = {}
    new = None
    for state in ("legacy", "live"):
        services: dict[str, dict[str, str]] = {}
        for service, method in ADAPTORS:
            services.setdefault(service, {})[method] = state
        lines = ["plan: 1", "services:"]
        for service, methods in services.items():
            lines += [f"  {service}:", "    methods:"]
            lines += [f"      {method}: {{state: {each}}}" for method, each in methods.items()]
        (folder / f"{state}.yaml").write_text("\n".join(lines))
        settings = {
            "database": urls,
            "registry": "registry.cfg",
            "plan": f"{state}.yaml",
            "tls": {"certificate": "pki/hostcert.pem", "key": "pki/hostkey.pem", "ca_path": "pki/ca"},
            "legacy": {"dip": {"listen": "127.0.0.1:0"}},
            "rest": {"listen": "127.0.0.1:0"},
        }
        (folder / f"{state}-wherry.yaml").write_text(json.dumps(settings))
        config = load_config(folder / f"{state}-wherry.yaml")
        new = new or make_new_side(config, "http://localhost")
        made[state] = make_old_side(config, new, lambda name: f"dip://localhost:1/{name}", lambda _call: None)
    yield made
    if new is not None:
        await new.close()


async def call(side: OldSide, case: Case, arguments: list[Any]) -> tuple[float, Any]:
    """Milliseconds of one call from its arguments to its result, and the result."""
    user, group = case.caller
    ends = datetime.now(UTC) + timedelta(days=1)
    credential = Credential(f"/CN={user}", f"/CN={user}", "/CN=ca", ends, is_proxy=True, group=group)
    identity = side.front_door.admit(Proposal(case.service, "RPC", case.method), credential)
    question = Call(case.service, case.method, arguments, identity, "dip", client_version="9.1.22")
    started = time.perf_counter()
    outcome = await side.front_door.handle(question)
    taken = (time.perf_counter() - started) * 1000
    if isinstance(outcome, Failure):
        raise SystemExit(f"{case.method}{arguments!r}: {outcome.message}")
    return taken, outcome.value


async def measure(
    case: Case, made: dict[str, OldSide], ids: Ids, options: Options
) -> tuple[dict[str, Any], bool]:
    """Medians of rounds in which the sides take turns, native first in one and second in the next."""
    taken: dict[str, list[float]] = {"legacy": [], "live": []}
    for number in range(options.rounds + 2):
        for state in ("legacy", "live") if number % 2 else ("live", "legacy"):
            milliseconds, _ = await call(made[state], case, case.arguments(ids))
            if number >= 2:  # the first rounds warm caches
                taken[state].append(milliseconds)
    native, rest = (statistics.median(taken[state]) for state in ("legacy", "live"))
    fine = rest <= native * RATIO if native > LONG else rest <= native + ADDED
    line = {"method": case.method, "native_ms": round(native, 2), "rest_ms": round(rest, 2)}
    line |= {"ratio": round(rest / native, 2), "added_ms": round(rest - native, 2)}
    line |= {key: text for key, text in (("note", case.note), ("grows", case.grows)) if text}
    return line | {"fine": fine or options.quick}, fine or options.quick


@dataclass(frozen=True)
class Options:
    """Which engine, how many jobs, how often; ``quick`` judges nothing but that every call is answered."""

    engine: str
    jobs: int
    rounds: int
    quick: bool
    methods: tuple[str, ...]


def options_of(arguments: Sequence[str]) -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few jobs, few rounds: is every call answered?")
    parser.add_argument("--engine", default="", choices=("", "sqlite", "mariadb", "postgresql"))
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("methods", nargs="*", help="only these")
    given = parser.parse_args(arguments)
    return Options(
        engine=given.engine or ("sqlite" if given.quick else "mariadb"),
        jobs=given.jobs or (4_000 if given.quick else 100_000),
        rounds=given.rounds or (1 if given.quick else 60),
        quick=given.quick,
        methods=tuple(given.methods),
    )


async def main(options: Options) -> int:
    """1 when REST costs more than it may."""
    good = True
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ""
        urls: Any = f"sqlite:///{folder / f'{options.jobs}.db'}"
        if options.engine != "sqlite":
            server = stack.enter_context(SERVERS[options.engine](*OPTIONS[options.engine])).url
            urls = f"{server}jobs{options.jobs}"
            if options.engine == "mariadb":
                urls = {name: f"{server}jobs{options.jobs}_{name}" for name in DATABASES}
        databases = await stack.enter_async_context(filled(options.engine, server, folder, options.jobs))
        made = await stack.enter_async_context(sides(databases, folder, urls))
        settle_memory()
        ids = Ids.of(options.jobs)
        for case in CASES:
            if options.methods and case.method not in options.methods:
                continue
            line, fine = await measure(case, made, ids, options)
            print(json.dumps(line), flush=True)
            good = good and fine
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(options_of(sys.argv[1:]))))
