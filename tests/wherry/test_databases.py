"""`wherry db` and `wherry serve` on databases of every kind: what is made, what is said, exit codes."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result
from empty_databases import empty_database, on_server, run
from guests import GUESTS, HOMES, guest_databases
from missing import missing
from private_servers import SERVERS, NoServer, PrivateServer
from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.schema import CreateTable, MetaData

from shared_db.connection import open_databases
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from wherry.cli import cli
from wherry.demo.data import fill

from .conftest import Grid, StartGrid

LOGICAL = (
    "JobDB",
    "JobLoggingDB",
    "PilotAgentsDB",
    "TaskQueueDB",
    "SandboxMetadataDB",
    "ProxyDB",
    "ResourceStatusDB",
)
FROM_NOTHING = "WherryDB: from nothing to version 0004"
AS_IT_WAS = "WherryDB: is at version 0004"
SECRET = "sesame-is-no-password"


@dataclass
class Installation:
    """A configuration in a directory of its own, and the command line on it."""

    directory: Path

    def configure(self, database: str | Mapping[str, str]) -> None:
        """Name the database, or one for each logical name."""
        (self.directory / "registry.cfg").write_text("Registry\n{\n}\n")
        settings = {
            "database": database,
            "registry": "registry.cfg",
            "rest": {"listen": "127.0.0.1:0"},
            "limits": {"database_busy_seconds": 2},
        }
        (self.directory / "wherry.yaml").write_text(json.dumps(settings))

    @property
    def arguments(self) -> list[str]:
        """What names the configuration."""
        return ["-c", str(self.directory / "wherry.yaml")]

    def __call__(self, *command: str) -> Result:
        """Run a command to its end, in this process."""
        done = CliRunner().invoke(cli, [*command, *self.arguments], prog_name="wherry")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    def lines(self, *command: str) -> list[str]:
        """What a command that succeeds says."""
        done = self(*command)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def those_that_matter(self) -> list[str]:
        """What `wherry db check` marks; its exit code and its last line agree with that."""
        done = self("db", "check")
        *lines, last = done.stdout.splitlines()
        matter = [line.removeprefix("! ") for line in lines if line.startswith("! ")]
        assert last == f"{len(lines)} differences, {len(matter)} that matter"
        assert (done.exit_code, done.stderr) == (int(bool(matter)), "")
        return matter

    def refusal(self, *command: str) -> str:
        """The one line of a command that fails."""
        done = self(*command)
        assert (done.exit_code, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        start = f"wherry: {self.directory / 'wherry.yaml'}: `database`: "
        assert line.startswith(start)
        return line.removeprefix(start)


@pytest.fixture
def wherry(tmp_path: Path) -> Installation:
    """The command line in a directory of its own."""
    return Installation(tmp_path)


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Where Wherry makes all tables."""
    return str(request.param)


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest, tmp_path: Path, wherry: Installation) -> Iterator[str]:
    """An empty database, configured for everything."""
    servers = None if engine == "sqlite" else request.getfixturevalue("servers")
    with empty_database(engine, servers, tmp_path) as made:
        if engine == "sqlite":
            # Without a file the path is taken for a mistyped one, except by `init`.
            Path(made.removeprefix("sqlite:///")).touch()
        wherry.configure(made)
        yield made


@pytest.fixture(params=GUESTS)
def guest(request: pytest.FixtureRequest, servers: Any, wherry: Installation) -> Iterator[dict[str, str]]:
    """Databases of a release of DIRAC, configured one by one; there is none for our own tables."""
    with guest_databases(servers.url("mariadb"), GUESTS[request.param]) as made:
        wherry.configure(made)
        yield made


def tables(connection: Connection) -> dict[str, str]:
    """How every table there is made."""
    everything = MetaData()
    everything.reflect(connection)
    return {table.name: str(CreateTable(table).compile(connection)) for table in everything.sorted_tables}


def shown(urls: Mapping[str, str]) -> dict[str, str]:
    """How MariaDB says that the tables of DIRAC's databases are made, rows counted aside."""

    def of(connection: Connection) -> dict[str, str]:
        names = inspect(connection).get_table_names()
        return {
            name: connection.exec_driver_sql(f"SHOW CREATE TABLE `{name}`").one()[1].partition(" AUTO_INC")[0]
            for name in names
        }

    return {name: each for logical in LOGICAL for name, each in run(urls[logical], of).items()}


def execute(*statements: str) -> Callable[[Connection], None]:
    """Statements as they are."""

    def do(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    return do


# --- A home


def test_a_home_is_made_once(url: str, wherry: Installation) -> None:
    """`init` says a line for each logical database; again it finds them all, with their rows."""
    assert wherry.lines("db", "init") == [*(f"{name}: made" for name in LOGICAL), FROM_NOTHING]
    before = run(url, tables)
    empty = {"JDL": "", "JobRequirements": "", "OriginalJDL": ""}
    run(url, lambda connection: connection.execute(JobJDLs.insert(), empty))
    assert wherry.lines("db", "init") == [*(f"{name}: is there" for name in LOGICAL), AS_IT_WAS]
    assert run(url, tables) == before
    assert run(url, lambda connection: len(connection.execute(JobJDLs.select()).all())) == 1


def test_nothing_that_matters_is_said_of_a_new_home(url: str, wherry: Installation) -> None:
    """`check` exits with 0; before there are tables it says with what they are made, and exits with 1."""
    assert wherry.those_that_matter() == [
        f"{', '.join(LOGICAL)}: none of its tables exist: make them with `wherry db init`",
        "WherryDB: its tables are not there: run `wherry db upgrade`",
    ]
    wherry("db", "init")
    assert wherry.those_that_matter() == []


def drop_key(connection: Connection) -> None:
    """Take away the key that finds jobs by their group."""
    indexes = inspect(connection).get_indexes("Jobs")
    [name] = [each["name"] for each in indexes if each["column_names"] == ["JobGroup"]]
    table = " ON Jobs" if connection.dialect.name == "mysql" else ""
    connection.execute(text(f"DROP INDEX {connection.dialect.identifier_preparer.quote(str(name))}{table}"))


def drop_table(connection: Connection) -> None:
    """Take away the commands for jobs."""
    SCHEMAS[JOB_DB].tables["JobCommands"].drop(connection)


def drop_trigger(connection: Connection) -> None:
    """Take away what numbers the logging records."""
    quote = connection.dialect.identifier_preparer.quote
    table = f" ON {quote('LoggingInfo')}" if connection.dialect.name == "postgresql" else ""
    connection.execute(text(f"DROP TRIGGER {quote('SeqNumGenerator')}{table}"))


def drop_version(connection: Connection) -> None:
    """Forget which version our own tables have."""
    connection.execute(text("DROP TABLE wherry_version"))


DAMAGES = {
    drop_key: "JobDB.Jobs: has no key JobGroup (JobGroup): look-ups by it read the whole table: add it",
    drop_table: (
        "JobDB.JobCommands: is missing: calls that need it fail: restore it, "
        "or `wherry db upgrade --missing-tables`"
    ),
    drop_trigger: (
        "JobLoggingDB.LoggingInfo: has no trigger that fills SeqNum: neither the bridge nor DIRAC's services "
        "number records, so the second one of a job is refused: create SeqNumGenerator, as in DIRAC's "
        "JobLoggingDB.sql"
    ),
    drop_version: "WherryDB: its tables are not there: run `wherry db upgrade`",
}


def test_what_is_damaged_is_told_with_its_mend(url: str, wherry: Installation) -> None:
    """`check` exits with 1 and marks each damage; what a command can mend, that command mends."""
    wherry("db", "init")
    for damage in DAMAGES:
        run(url, damage)
    assert sorted(wherry.those_that_matter()) == sorted(DAMAGES.values())
    assert wherry.lines("db", "upgrade") == [FROM_NOTHING]
    assert wherry.lines("db", "upgrade", "--missing-tables") == [AS_IT_WAS, "JobDB: made JobCommands"]
    assert wherry.lines("db", "upgrade", "--missing-tables") == [AS_IT_WAS]
    left = [DAMAGES[damage] for damage in (drop_key, drop_trigger)]
    assert sorted(wherry.those_that_matter()) == sorted(left)


def test_a_database_with_some_tables_is_left_alone(url: str, wherry: Installation) -> None:
    """`init` makes none beside them, and says which are missing and how to have them."""
    run(url, lambda connection: SCHEMAS[JOB_DB].create_all(connection, [JobJDLs, Jobs]))
    before = run(url, tables)
    [first, *others] = wherry.lines("db", "init")
    missing_names = sorted(SCHEMAS[JOB_DB].tables.keys() - {"Jobs", "JobJDLs"})
    assert first == (
        f"JobDB: has tables already and is left as it is, without {', '.join(missing_names)} "
        "(`wherry db upgrade --missing-tables` makes them)"
    )
    assert others == [*(f"{name}: made" for name in LOGICAL[1:]), FROM_NOTHING]
    after = run(url, tables)
    assert {name: after[name] for name in before} == before
    assert not after.keys() & set(missing_names)
    made = [f"JobDB: made {name}" for name in missing_names]
    assert wherry.lines("db", "upgrade", "--missing-tables") == [AS_IT_WAS, *made]
    assert wherry.those_that_matter() == []


@pytest.mark.parametrize(
    "command", [("db", "init"), ("db", "upgrade", "--missing-tables")], ids=lambda each: each[1]
)
def test_two_processes_make_the_tables_once(url: str, wherry: Installation, command: tuple[str, ...]) -> None:
    """Two hosts that are told to at once both succeed: each thing is made by one and found by the other."""
    program = [sys.executable, "-W", "error", "-m", "wherry", *command, *wherry.arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both: list[Any] = [subprocess.Popen(program, **streams) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [errors for _, errors in said] == ["", ""]
    lines = [line for output, _ in said for line in output.splitlines()]
    assert sorted(line for line in lines if line.startswith("WherryDB")) == [FROM_NOTHING, AS_IT_WAS]
    made = sorted(line for line in lines if ": made" in line)
    if command[1] == "init":
        assert made == sorted(f"{name}: made" for name in LOGICAL)
    else:
        names = [(name, table) for name, schema in SCHEMAS.items() for table in schema.tables]
        assert made == sorted(f"{name}: made {table}" for name, table in names)
    assert wherry.those_that_matter() == []


# --- A guest


def test_a_guest_makes_nothing_but_its_own(guest: dict[str, str], wherry: Installation) -> None:
    """`check` and `upgrade` leave DIRAC's tables as they are; so does `upgrade --missing-tables`."""
    before = shown(guest)
    own = "WherryDB: its tables are not there: run `wherry db upgrade`"
    assert own in wherry.those_that_matter()
    assert shown(guest) == before
    assert wherry.lines("db", "upgrade") == [FROM_NOTHING]
    assert wherry.lines("db", "upgrade") == [AS_IT_WAS]
    assert shown(guest) == before
    assert own not in wherry.those_that_matter()
    first, *made = wherry.lines("db", "upgrade", "--missing-tables")
    assert first == AS_IT_WAS
    after = shown(guest)
    assert {name: after[name] for name in before} == before
    assert sorted(line.rpartition(" ")[2] for line in made) == sorted(after.keys() - before.keys())
    assert made
    assert wherry.lines("db", "upgrade", "--missing-tables") == [AS_IT_WAS]
    # MyISAM, which 7.3 and 8.0 have here and there, is for the administrator to mend.
    assert [line for line in wherry.those_that_matter() if "is kept by MyISAM" not in line] == []


def test_init_leaves_a_guest_s_tables_alone(guest: dict[str, str], wherry: Installation) -> None:
    """Where DIRAC's tables are, none is made beside them; databases without any are made whole."""
    before = shown(guest)
    wherry.lines("db", "init")
    after = shown(guest)
    assert {name: after[name] for name in before} == before
    filled = {name for name in LOGICAL if before.keys() & SCHEMAS[name].tables.keys()}
    whole = {table for name in LOGICAL if name not in filled for table in SCHEMAS[name].tables}
    assert after.keys() - before.keys() == whole
    wherry.lines("db", "init")
    assert shown(guest) == after


# --- What cannot be used

COMMANDS = [("db", "init"), ("db", "check"), ("db", "upgrade"), ("db", "upgrade", "--missing-tables")]


@pytest.fixture(params=[each for each in HOMES if each != "sqlite"])
def server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A server with a database, which asks accounts for a password and may be stopped."""
    with ExitStack() as stack:
        options = []
        if request.param == "postgresql":
            # Not in pytest's own folder, which the server cannot read.
            folder = Path(tempfile.mkdtemp(prefix="wherry-hba-"))
            stack.callback(shutil.rmtree, folder)
            folder.chmod(0o755)
            (folder / "hba").write_text(
                "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            )
            options.append(f"hba_file={folder / 'hba'}")
        try:
            started = stack.enter_context(SERVERS[request.param](*options))
        except NoServer as error:
            missing(str(error))
        on_server(started.url, "CREATE DATABASE home")
        yield started


CREATE_ACCOUNT = {
    "mysql": f"CREATE USER wherry@'127.0.0.1' IDENTIFIED BY '{SECRET}'",
    "postgresql": f"CREATE USER wherry PASSWORD '{SECRET}'",
}


def test_what_cannot_be_used_is_told_in_one_line(server: PrivateServer, wherry: Installation) -> None:
    """A wrong password, an unknown account or database, a server that is down: exit 2, and no password."""
    admin = make_url(server.url)
    on_server(admin, CREATE_ACCOUNT[admin.get_backend_name()])
    good = admin.set(database="home", username="wherry", password=SECRET)
    unknown = "nowhere" if admin.get_backend_name() == "mysql" else '"nowhere" does not exist'
    mend = "mend the account or the password in the URL"
    cases = [
        (good.set(password=f"{SECRET}-wrong"), mend),
        (good.set(username="nobody"), mend),
        (admin.set(database="nowhere"), unknown),
        (good.set(host="127.0.0.1", port=1), "Database is not available"),
    ]
    for url, message in cases:
        wherry.configure(url.render_as_string(hide_password=False))
        for command in COMMANDS:
            if command == ("db", "check") and url.database == "nowhere":
                [line] = wherry.those_that_matter()
                assert line.endswith("make it, or mend the URL")
                continue
            line = wherry.refusal(*command)
            assert message in line, command
            assert SECRET not in line
    for url, message in cases[:3]:
        wherry.configure(url.render_as_string(hide_password=False))
        line = wherry.refusal("serve")
        assert message in line
        assert SECRET not in line


def test_serve_wants_its_own_tables(url: str, wherry: Installation) -> None:
    """`wherry serve` beside DIRAC's tables alone exits with 2, names the mend, and makes nothing."""

    def create(connection: Connection) -> None:
        for schema in SCHEMAS.values():
            schema.create_all(connection)

    run(url, create)
    before = run(url, tables)
    line = wherry.refusal("serve")
    assert line == "WherryDB has no tables yet: make them with `wherry db upgrade`"
    assert run(url, tables) == before


async def health(grid: Grid) -> int:
    """The status of the readiness probe."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{grid.up.addresses.operations}/health/ready") as response,
    ):
        return response.status


async def test_serve_outlives_a_server_that_is_down(
    server: PrivateServer,
    directory: Path,
    start_grid: StartGrid,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It starts and says so, answers with errors, and serves once the server is up; and again after that."""
    url = f"{server.url}home"
    databases = open_databases(url)
    await fill(databases)
    await databases.dispose()
    config = directory / "wherry.yaml"
    config.write_text(config.read_text().replace("sqlite:///wherry.db", url))
    asked = ("JobMonitoring", "getJobsStatus", [1])
    expected = {"OK": True, "Value": {"1": {"Status": "Received"}}}

    server.stop()
    with caplog.at_level(logging.ERROR, "wherry.serve"):
        async with start_grid() as grid:
            [record] = caplog.records
            assert "Database is not available" in record.getMessage()
            assert "requests are answered with errors until it is there" in record.getMessage()
            for _ in range(2):
                answer = await grid.call(*asked)
                assert (answer["OK"], answer["Errno"]) == (False, 1130)
                assert await health(grid) == 503
                server.start()
                assert await grid.call(*asked) == expected
                assert await health(grid) == 200
                server.stop()
