"""A small grid with two VOs: its registry, its callers, its jobs and pilots, and both shells over them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest_asyncio import is_async_test
from sqlalchemy import Executable, create_engine

from rest_backend.app import make_app
from rest_backend.errors import RestError
from rest_backend.keys import KeySet, SigningKey
from rest_backend.operations import Operation, Raw, Resources, RestRequest, Runner
from rest_backend.principals import Principal
from rest_backend.sandbox_store.directory import PURPOSE, DirectoryStore
from rest_backend.settings import HttpSettings, Settings
from rest_backend.table import OPERATIONS
from rest_backend.tokens import TokenIssuer
from rest_backend.tokens import pilot as pilot_principal
from shared_db.cfg import CfgSection
from shared_db.connection import Databases, open_databases
from shared_db.engines.base import Limits
from shared_db.registry import Registry
from shared_db.rules.clock import status_time_order
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import JobJDLs, Jobs
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.pilot_agents_db import JobToPilotMapping, PilotAgents
from shared_db.schema.task_queue_db import tq_Jobs, tq_TaskQueues
from shared_db.upgrades import upgrade

ISSUER = "https://grid.example.org/"
KEYS = KeySet([SigningKey("0123456789abcdef" * 2, Ed25519PrivateKey.generate())])
LARGEST_BODY = 900_000
SETTINGS = Settings(http=HttpSettings(largest_body=LARGEST_BODY))
# Headers that mean something to a client of the API.
TELLING = ("Content-Range", "Allow", "Location", "Retry-After", "WWW-Authenticate")
NOTHING: Mapping[str, Any] = MappingProxyType({})

# Each group's VO, members and properties.
GROUPS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "demo_user": ("demo", ("alice", "bob"), ("NormalUser",)),
    "demo_share": ("demo", ("carol", "dave"), ("NormalUser", "JobSharing")),
    "demo_admin": (
        "demo",
        ("alice",),
        ("NormalUser", "JobAdministrator", "ServiceAdministrator", "Operator", "ProxyManagement"),
    ),
    "demo_operator": ("demo", ("dave",), ("NormalUser", "Operator")),
    "demo_guest": ("demo", ("bob",), ("JobMonitor",)),
    "demo_pilot": ("demo", ("pilot",), ("GenericPilot", "LimitedDelegation")),
    "demo_wms": ("demo", ("pilot",), ("Pilot",)),
    "other_user": ("other", ("olga", "alice"), ("NormalUser",)),
    "other_pilot": ("other", ("pilot",), ("GenericPilot",)),
}
HOSTS_PROPERTIES = ("TrustedHost", "JobAdministrator", "Operator")
OLGAS_SUBJECT = "0a1b2c3d-0000-4000-8000-000000000001"

# The callers by the names that tests use: user and group.
CALLERS: Mapping[str, tuple[str, str]] = {
    "alice": ("alice", "demo_user"),
    "bob": ("bob", "demo_user"),
    "carol": ("carol", "demo_share"),
    "guest": ("bob", "demo_guest"),
    "operator": ("dave", "demo_operator"),
    "admin": ("alice", "demo_admin"),
    "pilot": ("pilot", "demo_pilot"),
    "wms": ("pilot", "demo_wms"),
    "olga": ("olga", "other_user"),
    "alice_elsewhere": ("alice", "other_user"),
    "other_pilot": ("pilot", "other_pilot"),
}

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def _cfg(settings: Mapping[str, str]) -> CfgSection:
    cfg = CfgSection()
    cfg.set("DIRAC/VirtualOrganization", "demo")
    for user in sorted({name for _, members, _ in GROUPS.values() for name in members}):
        cfg.set(f"Registry/Users/{user}/DN", f"/O=Grid/CN={user}")
    cfg.set("Registry/Users/olga/Subject", OLGAS_SUBJECT)
    cfg.set("Registry/Hosts/bridge/DN", "/O=Grid/CN=bridge")
    for group, (vo, members, properties) in GROUPS.items():
        cfg.set(f"Registry/Groups/{group}/Users", ", ".join(members))
        cfg.set(f"Registry/Groups/{group}/Properties", ", ".join(properties))
        cfg.set(f"Registry/Groups/{group}/VO", vo)
    cfg.set("Registry/VO/demo/DefaultGroup", "demo_user")
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


# --- The rows


def _hours(number: float) -> datetime:
    """A column's time, so many hours after noon."""
    return (NOON + timedelta(hours=number)).replace(tzinfo=None)


# (owner, group, VO, status, hours of submission, start and end after noon, other columns)
_JOBS: Sequence[tuple[str, str, str, str, float, float | None, float | None, Mapping[str, Any]]] = (
    ("alice", "demo_user", "demo", "Waiting", 0, None, None, {"JobGroup": "prod", "UserPriority": 5}),
    ("alice", "demo_user", "demo", "Running", 1, 2, None, {"Site": "DEMO.Geneva.ch"}),
    ("alice", "demo_admin", "demo", "Done", 2, 3, 4, {"AccountedFlag": "True", "JobGroup": "prod"}),
    ("bob", "demo_user", "demo", "Waiting", 24, None, None, {"ApplicationStatus": None}),
    ("carol", "demo_share", "demo", "Matched", 25, None, None, {"AccountedFlag": "Failed"}),
    ("dave", "demo_share", "demo", "Stalled", 26, 27, None, {"Site": "DEMO.Lyon.fr"}),
    ("olga", "other_user", "other", "Received", 24 * 40, None, None, {"VerifiedFlag": "False"}),
)


def _job(job_id: int) -> dict[str, Any]:
    owner, group, vo, status, submitted, start, end, others = _JOBS[job_id - 1]
    last = max(hour for hour in (submitted, start, end) if hour is not None)
    return {
        "JobID": job_id,
        "JobType": "User",
        "JobName": f"job-{job_id}",
        "JobGroup": "00000000",
        "Site": "ANY",
        "Owner": owner,
        "OwnerGroup": group,
        "VO": vo,
        "Status": status,
        "MinorStatus": "Job accepted",
        "ApplicationStatus": "Unknown",
        "UserPriority": 1,
        "VerifiedFlag": "True",
        "AccountedFlag": "False",
        "SubmissionTime": _hours(submitted),
        "StartExecTime": None if start is None else _hours(start),
        "EndExecTime": None if end is None else _hours(end),
        "LastUpdateTime": _hours(last),
        **others,
    }


def _logged(
    job_id: int, number: int, hour: float, status: str, minor: str, application: str, source: str
) -> dict[str, Any]:
    return {
        "JobID": job_id,
        "SeqNum": number,
        "Status": status,
        "MinorStatus": minor,
        "ApplicationStatus": application,
        "StatusTime": _hours(hour),
        "StatusTimeOrder": status_time_order(NOON + timedelta(hours=hour)),
        "StatusSource": source,
    }


def _pilot(pilot_id: int, stamp: str, vo: str, status: str, site: str, **others: Any) -> dict[str, Any]:
    return {
        "PilotID": pilot_id,
        "PilotJobReference": f"htcondorce://{site}/{stamp}",
        "PilotStamp": stamp,
        "DestinationSite": site,
        "GridSite": "DEMO.Geneva.ch",
        "Queue": "demo",
        "VO": vo,
        "GridType": "HTCondorCE",
        "BenchMark": 10.5,
        "SubmissionTime": _hours(pilot_id),
        "LastUpdateTime": _hours(pilot_id),
        "Status": status,
        "StatusReason": "Report",
        "AccountingSent": "False",
        **others,
    }


def _fill(file: Path) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        upgrade(connection)
    with engine.begin() as connection:
        for schema in SCHEMAS.values():
            schema.create_all(connection)
        jobs = [_job(number) for number in range(1, len(_JOBS) + 1)]
        jdls = [
            {"JobID": job["JobID"], "JDL": "[]", "JobRequirements": "", "OriginalJDL": ""} for job in jobs
        ]
        connection.execute(JobJDLs.insert(), jdls)
        connection.execute(Jobs.insert(), jobs)
        accepted = [
            _logged(number, 1, _JOBS[number - 1][4], "Received", "Job accepted", "Unknown", "JobManager")
            for number in range(1, len(_JOBS) + 1)
        ]
        history = [
            # In order of number, not of time: records arrive late.
            _logged(2, 2, 2, "Running", "idem", "idem", "JobWrapper"),
            _logged(2, 3, 1.5, "Matched", "Assigned", "idem", "Matcher"),
            _logged(2, 4, 2.5, "idem", "Application", "starting", "JobWrapper"),
            _logged(3, 2, 3, "Running", "Application", "idem", "JobWrapper"),
            _logged(3, 3, 4, "Done", "Execution Complete", "idem", "JobWrapper"),
            _logged(6, 2, 27, "Running", "Application", "idem", "JobWrapper"),
            _logged(6, 3, 30, "Stalled", "idem", "idem", "StalledJobAgent"),
        ]
        connection.execute(LoggingInfo.insert(), accepted + history)
        pilots = [
            _pilot(1, "s1", "demo", "Running", "ce01.geneva.example.org"),
            _pilot(2, "s2", "demo", "Done", "ce01.lyon.example.org", AccountingSent="True"),
            _pilot(3, "s3", "other", "Submitted", "ce01.lyon.example.org"),
            # Neither stamps nor references are unique.
            _pilot(4, "twin", "demo", "Running", "ce01.geneva.example.org"),
            _pilot(5, "twin", "demo", "Aborted", "ce01.geneva.example.org"),
            _pilot(6, "idle", "demo", "Scheduled", "ce01.lyon.example.org", BenchMark=0.0),
        ]
        connection.execute(PilotAgents.insert(), pilots)
        ran = [(1, 2, 2), (1, 6, 27), (2, 3, 3), (3, 7, 24 * 40)]
        connection.execute(
            JobToPilotMapping.insert(),
            [{"PilotID": pilot, "JobID": job, "StartTime": _hours(hour)} for pilot, job, hour in ran],
        )
        queue = {
            "TQId": 1,
            "OwnerGroup": "demo_user",
            "VO": "demo",
            "CPUTime": 1,
            "Priority": 1,
            "Enabled": 1,
        }
        connection.execute(tq_TaskQueues.insert(), {"Owner": "alice", **queue})
        connection.execute(
            tq_Jobs.insert(),
            [{"TQId": 1, "JobId": job_id, "Priority": 1, "RealPriority": 1.0} for job_id in (1, 4)],
        )
    engine.dispose()


# --- What a test works with


@dataclass(frozen=True)
class Said:
    """What a client got; ``body`` is None where there was none, and the text of a page."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def meaning(self) -> tuple[int, Any, list[str | None]]:
        """All that a client goes by."""
        return self.status, self.body, [self.headers.get(name) for name in TELLING]

    @property
    def detail(self) -> Any:
        """What an error says."""
        assert self.body.keys() == {"detail"}, self.body
        return self.body["detail"]


class Grid:
    """A backend with its callers, reachable over HTTP and in process."""

    def __init__(
        self,
        file: Path,
        databases: Databases,
        cfg: CfgSection,
        operations: Sequence[Operation],
        settings: Settings = SETTINGS,
    ) -> None:
        self.file = file
        self.databases = databases
        self.registry = Registry.from_cfg(cfg)
        self.issuer = TokenIssuer(KEYS, ISSUER)
        self.sandboxes = DirectoryStore(
            file.with_suffix(".sandboxes"), lambda: self.issuer.keys.derived(PURPOSE)
        )
        resources = Resources(
            databases,
            lambda: self.registry,
            self.issuer,
            settings,
            lambda: cfg,
            sandboxes=self.sandboxes,
        )
        self.runner = Runner(operations, resources)
        self.client: TestClient[Any, Any]

    def principal(self, caller: str) -> Principal:
        """One of the CALLERS, ``host``, or ``pilot:STAMP``, a pilot of ``demo`` with a token of its own."""
        if caller.startswith("pilot:"):
            return pilot_principal("demo", caller.removeprefix("pilot:"))
        if caller == "host":
            return Principal(self.registry.subject("bridge", ""), "", "hosts", "bridge", HOSTS_PROPERTIES)
        user, group = CALLERS[caller]
        vo, _, properties = GROUPS[group]
        return Principal(self.registry.subject(user, vo), vo, group, user, properties)

    def token(self, caller: str) -> str:
        """A caller's access token."""
        return self.issuer.mint(self.principal(caller)).text

    async def http(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        caller: str | None = "admin",
        query: Mapping[str, Any] = NOTHING,
        data: bytes | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Said:
        """Ask over HTTP; ``data`` is a body that is sent as it is."""
        sent = {} if caller is None else {"Authorization": f"Bearer {self.token(caller)}"}
        if body is not None and self._takes_form(method, path):
            data = urlencode(body).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif body is not None:
            data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        async with self.client.request(
            method, path, data=data, params=dict(query), headers={**sent, **headers}, allow_redirects=False
        ) as response:
            content = await response.read()
            if response.content_type.startswith("text/"):
                return Said(response.status, content.decode(), response.headers)
            if content:
                assert response.content_type == "application/json"
            return Said(response.status, orjson.loads(content) if content else None, response.headers)

    def _takes_form(self, method: str, path: str) -> bool:
        try:
            return self.runner.find(method, path).form
        except RestError:
            return False

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        caller: str = "admin",
        query: Mapping[str, Any] = NOTHING,
        base_url: str = "",
    ) -> Said:
        """Ask in process."""
        answer = await self.runner.call(
            RestRequest(method, path, query, body, base_url), self.principal(caller)
        )
        body = answer.body
        if isinstance(body, Raw) and body.content_type.startswith("text/"):
            body = body.content.decode()
        return Said(answer.status, body, answer.headers)

    async def rows(self, database: str, statement: Executable) -> list[tuple[Any, ...]]:
        """What stands in the database, for what no route tells."""
        async with self.databases.unit_of_work() as work:
            return [tuple(row) for row in await work.rows(database, statement)]

    async def job(self, job_id: int, *columns: str) -> dict[str, Any]:
        """One job, as a search shows it."""
        wanted = {"search": [{"parameter": "JobID", "operator": "eq", "value": job_id}]}
        if columns:
            wanted["parameters"] = list(columns)
        said = await self.http("POST", "/api/jobs/search", wanted)
        [job] = said.body
        return job


def one(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    """One condition of a search."""
    name = "values" if isinstance(value, list) else "value"
    return {"parameter": parameter, "operator": operator, name: value}


GridMaker = Callable[..., AbstractAsyncContextManager[Grid]]


@asynccontextmanager
async def _serving(
    file: Path,
    settings: Mapping[str, str] = NOTHING,
    operations: Sequence[Operation] = (),
    busy_seconds: float = 5.0,
    rest: Settings = SETTINGS,
) -> AsyncIterator[Grid]:
    databases = open_databases(f"sqlite:///{file}", limits=Limits(busy_seconds=busy_seconds))
    grid = Grid(file, databases, _cfg(settings), (*OPERATIONS, *operations), rest)
    app = make_app(grid.runner, routes=grid.sandboxes.routes)
    async with TestClient(TestServer(app)) as client:
        grid.client = client
        yield grid
    await databases.dispose()


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that every grid begins with."""
    file = tmp_path_factory.mktemp("filled") / "grid.db"
    _fill(file)
    return file


@pytest.fixture
def make_grid(filled_file: Path, tmp_path: Path) -> GridMaker:
    """Makes grids for ``async with``.

    ``settings`` are more options of the registry; ``operations`` are served besides the table's; ``rest`` are
    the settings of the new side.
    """
    return lambda **given: _serving(Path(shutil.copy(filled_file, tmp_path / "grid.db")), **given)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _standing(filled_file: Path) -> AsyncIterator[tuple[Grid, Grid]]:
    """Two grids that stand through all tests: to start one for each test costs more than most tests do."""
    files = [Path(shutil.copy(filled_file, filled_file.with_name(f"{name}.db"))) for name in ("one", "two")]
    async with _serving(files[0]) as one, _serving(files[1]) as two:
        yield one, two


def _restored(grid: Grid, filled_file: Path) -> Grid:
    with closing(sqlite3.connect(filled_file)) as filled, closing(sqlite3.connect(grid.file)) as used:
        filled.backup(used)
    return grid


@pytest.fixture
def grid(_standing: tuple[Grid, Grid], filled_file: Path) -> Grid:
    """A grid as it was filled."""
    return _restored(_standing[0], filled_file)


@pytest.fixture
def twin(_standing: tuple[Grid, Grid], filled_file: Path) -> Grid:
    """Another grid, equal to the first but for its database file and its port."""
    return _restored(_standing[1], filled_file)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Run this folder's tests in the event loop that the standing grids live in."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The time that changed rows get, standing still."""
    moment = datetime(2024, 6, 1, 8, 30, tzinfo=UTC)
    for module in ("rules.clock", "queries.pilots"):
        monkeypatch.setattr(f"shared_db.{module}.utc_now", lambda: moment)
    return moment
