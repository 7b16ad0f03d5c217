"""What is said of real databases: homes, DIRAC's own of three releases, and such as somebody has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from empty_databases import empty_database, on_server, run
from guests import HOMES, guest_sql, made_by_code_of_8, statements
from sqlalchemy import Connection, event, make_url, text

from shared_db.inspection import Finding, TableShape, inspect_database, reflect_shapes, server_problems
from shared_db.schema import OWN_SCHEMA, SCHEMAS

on_mariadb = pytest.mark.parametrize("engine", ["mariadb"], indirect=True)


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Where Wherry makes the tables; others are made where they are looked at."""
    return str(request.param)


def make_home(connection: Connection) -> None:
    """All of DIRAC's tables, as we make them."""
    for schema in SCHEMAS.values():
        schema.create_all(connection)


def findings(connection: Connection) -> list[Finding]:
    """What is said of all of DIRAC's databases; the server's settings, which are not the test's, aside."""
    found = [each for schema in SCHEMAS.values() for each in inspect_database(connection, schema)]
    return [each for each in found if each.table]


def execute(*statements: str) -> Callable[[Connection], None]:
    """Statements as they are, on a connection."""

    def do(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    return do


OLD = "as in DIRAC 7.3 and 8.0"
FLAGS = "DeletedFlag, FailedFlag, ISandboxReadyFlag, JobSplitType, KilledFlag, MasterJobID, OSandboxReadyFlag"
OWNER_STATUS = "has no key OwnerStatus (Owner, Status, JobID), which is ours"
QUEUE_KEY = "idx_dest_queue_status (DestinationSite, Queue, Status)"
JOBS_AND_PILOTS = ("JobDB", "JobLoggingDB", "PilotAgentsDB")
LATIN1 = "its character set is latin1"
OF_8 = [
    ("Jobs", f"VO is missing, {OLD}"),
    ("Jobs", f"has ApplicationNumStatus, DIRACSetup, {FLAGS}, OwnerDN, RetrievedFlag, SystemPriority, {OLD}"),
    ("Jobs", f"has no key JobName (JobName), {OLD} and DIRAC 9.0"),
    ("Jobs", OWNER_STATUS),
    ("PilotAgents", f"VO is missing, {OLD}"),
    (
        "PilotAgents",
        f"has Broker, GridRequirements, OutputReady, OwnerDN, OwnerGroup, ParentID, TaskQueueID, {OLD}",
    ),
    ("PilotAgents", "has no key PilotStamp (PilotStamp), which is ours"),
    ("PilotAgents", f"has no key {QUEUE_KEY}, {OLD} and DIRAC 9.0"),
    *(
        (table, LATIN1)
        for table in (
            *("JobJDLs", "Jobs", "InputData", "JobParameters", "OptimizerParameters", "AtticJobParameters"),
            *("SiteMask", "SiteMaskLogging", "HeartBeatLoggingInfo", "JobCommands"),
            *("PilotAgents", "JobToPilotMapping", "PilotOutput"),
        )
    ),
]
GUESTS = {
    "9.1.22": [
        ("Jobs", OWNER_STATUS),
        ("JobParameters", "is missing, as in DIRAC 9.1.22"),
        ("SiteMask", "is missing, as in DIRAC 9"),
        ("SiteMaskLogging", "is missing, as in DIRAC 9"),
        ("PilotAgents", "has no key PilotStamp (PilotStamp), which is ours"),
    ],
    "8.0.86": OF_8,
    "7.3.38": [
        *OF_8,
        ("JobJDLs", "JDL is MEDIUMBLOB and not MEDIUMTEXT"),
        ("JobJDLs", "JobRequirements is BLOB and not TEXT"),
        ("JobJDLs", "OriginalJDL is MEDIUMBLOB and not MEDIUMTEXT"),
        ("JobParameters", "Value is BLOB and not TEXT"),
        ("OptimizerParameters", "Value is MEDIUMBLOB and not MEDIUMTEXT"),
        ("AtticJobParameters", "Value is BLOB and not TEXT"),
        ("HeartBeatLoggingInfo", "Value is BLOB and not TEXT"),
        ("SiteMask", "Comment is BLOB and not TEXT"),
        ("SiteMaskLogging", "Comment is BLOB and not TEXT"),
        ("PilotOutput", "StdOutput is MEDIUMBLOB and not MEDIUMTEXT"),
        ("PilotOutput", "StdError is MEDIUMBLOB and not MEDIUMTEXT"),
    ],
}

OF_CODE_OF_8 = [
    ("tq_Jobs", "has no key QueuePriority (TQId, Priority, JobId), which is ours"),
    ("tq_TaskQueues", f"Owner is missing, {OLD}"),
    ("tq_TaskQueues", f"VO is missing, {OLD}"),
    ("tq_TaskQueues", f"has OwnerDN, Setup, {OLD}"),
    ("tq_RAM_requirements", f"is missing, {OLD}, and 9.0 before 9.0.20"),
    ("sb_Owners", f"VO is missing, {OLD}"),
    ("sb_Owners", f"has OwnerDN, {OLD}"),
    ("sb_EntityMapping", f"has EntitySetup, {OLD}"),
    ("sb_EntityMapping", f"has no primary key, {OLD}"),
]


def said(some: Sequence[Finding]) -> Counter[tuple[str, str]]:
    """Tables, and what was found in them."""
    return Counter((each.table, each.what) for each in some)


def test_a_home_differs_in_nothing(url: str) -> None:
    """What we make is what we look for, on every engine; our own tables too."""
    run(url, make_home)
    run(url, OWN_SCHEMA.create_all)
    assert run(url, findings) == []
    assert (
        run(url, lambda connection: [each for each in inspect_database(connection, OWN_SCHEMA) if each.table])
        == []
    )


@on_mariadb
@pytest.mark.parametrize("release", GUESTS)
def test_databases_that_dirac_made_are_recognised(url: str, release: str) -> None:
    """Each difference is named with the releases that have it, and the bridge copes with all of them."""
    run(url, execute(*guest_sql(release, *JOBS_AND_PILOTS)))
    found = [
        each
        for name in JOBS_AND_PILOTS
        for each in run(url, lambda it, name=name: inspect_database(it, SCHEMAS[name]))
    ]
    found = [each for each in found if each.table]
    assert said(found) == Counter(GUESTS[release])
    assert not any(each.matters for each in found)
    assert all(each.why for each in found)


@on_mariadb
def test_tables_that_the_code_of_dirac_8_made_are_recognised(url: str) -> None:
    """TaskQueueDB and SandboxMetadataDB of 8.0, which have no file of SQL."""
    run(url, execute(*made_by_code_of_8("TaskQueueDB"), *made_by_code_of_8("SandboxMetadataDB")))
    found = [
        each
        for name in ("TaskQueueDB", "SandboxMetadataDB")
        for each in run(url, lambda it, name=name: inspect_database(it, SCHEMAS[name]))
        if each.table
    ]
    assert said(found) == Counter(OF_CODE_OF_8)
    assert not any(each.matters for each in found)


# A change to a home, and what must be said of it: the beginning of the finding, whether it matters, and a
# word of the mend.  Without the three nothing must be said.
CHANGES: list[tuple[str, str, str, bool, str]] = [
    (
        "ALTER TABLE Jobs MODIFY JobName VARCHAR(64) NOT NULL DEFAULT 'Unknown'",
        *("Jobs", "JobName is VARCHAR(64) and not VARCHAR(128)", True, "widen it"),
    ),
    (
        "ALTER TABLE JobJDLs MODIFY JDL TEXT NOT NULL",
        *("JobJDLs", "JDL is TEXT and not MEDIUMTEXT", True, "widen it"),
    ),
    ("ALTER TABLE Jobs DROP COLUMN VO", *("Jobs", "VO is missing", True, "VO VARCHAR(32)")),
    (
        "ALTER TABLE Jobs ADD COLUMN Colour INT NOT NULL",
        *("Jobs", "has a column Colour that DIRAC has not, without a default", True, "give it a default"),
    ),
    (
        "ALTER TABLE Jobs ADD COLUMN Size INT NOT NULL DEFAULT 5",
        *("Jobs", "has a column Size that DIRAC has not", False, "left to its default"),
    ),
    (
        "ALTER TABLE Jobs ADD COLUMN Note TEXT NULL",
        *("Jobs", "has a column Note that DIRAC has not", False, "left to its default"),
    ),
    ("ALTER TABLE Jobs DROP KEY OwnerGroup", *("Jobs", "has no key OwnerGroup (OwnerGroup)", True, "add it")),
    ("ALTER TABLE Jobs DROP KEY MinorStatus, ADD KEY More (MinorStatus, Site)", *("", "", False, "")),
    (
        "ALTER TABLE PilotAgents DROP KEY Statuskey, ADD KEY Statuskey (Status, GridSite, DestinationSite)",
        *("PilotAgents", "has no key Statuskey (GridSite, DestinationSite, Status)", True, "add it"),
    ),
    (
        "ALTER TABLE Jobs MODIFY AccountedFlag ENUM('True','False') NOT NULL DEFAULT 'False'",
        *(
            "Jobs",
            "AccountedFlag is ENUM('True','False') and not ENUM('True','False','Failed')",
            True,
            "widen",
        ),
    ),
    (
        "ALTER TABLE Jobs MODIFY ApplicationStatus VARCHAR(255) NOT NULL DEFAULT 'Unknown'",
        *("Jobs", "ApplicationStatus cannot be NULL", True, "let it be NULL"),
    ),
    (
        "ALTER TABLE Jobs MODIFY Status VARCHAR(32) NULL DEFAULT 'Received'",
        *("Jobs", "Status may be NULL", False, "nothing there"),
    ),
    ("ALTER TABLE Jobs ALTER Site DROP DEFAULT", *("Jobs", "Site has no default", True, "give it one")),
    (
        "ALTER TABLE Jobs MODIFY RescheduleCounter INT(11) UNSIGNED NOT NULL DEFAULT 0",
        *("Jobs", "RescheduleCounter is INTEGER(11) UNSIGNED and not INTEGER(11)", True, "widen it"),
    ),
    (
        "ALTER TABLE Jobs MODIFY HeartBeatTime TIMESTAMP NULL",
        *("Jobs", "HeartBeatTime is TIMESTAMP and not DATETIME", True, "DIRAC's type"),
    ),
    ("ALTER TABLE Jobs MODIFY Owner VARCHAR(300) NOT NULL DEFAULT 'Unknown'", *("", "", False, "")),
    (
        "ALTER TABLE AtticJobParameters DROP PRIMARY KEY, ADD PRIMARY KEY (JobID, Name)",
        *(
            "AtticJobParameters",
            "the primary key is (JobID, Name) and not (JobID, Name, Resch",
            True,
            "give it DIRAC's",
        ),
    ),
    ("DROP TABLE JobCommands", *("JobCommands", "is missing", True, "restore it")),
    (
        "DROP TRIGGER SeqNumGenerator",
        *("LoggingInfo", "has no trigger that fills SeqNum", True, "create SeqNumGenerator"),
    ),
    ("ALTER TABLE LoggingInfo MODIFY StatusTimeOrder DECIMAL(12,3) NOT NULL", *("", "", False, "")),
    (
        "ALTER TABLE LoggingInfo CONVERT TO CHARACTER SET latin1",
        *("LoggingInfo", "its character set is latin1", False, "ASCII is safe"),
    ),
    (
        "ALTER TABLE PilotOutput ENGINE=MyISAM",
        *("PilotOutput", "is kept by MyISAM", True, "ALTER TABLE PilotOutput ENGINE=InnoDB"),
    ),
    (
        "ALTER TABLE PilotAgents MODIFY CurrentJobID INT(11) NOT NULL DEFAULT 0",
        *("PilotAgents", "CurrentJobID is INTEGER(11) and not INTEGER(11) UNSIGNED", False, "2147483647"),
    ),
    (
        "ALTER TABLE PilotAgents MODIFY BenchMark FLOAT NOT NULL DEFAULT 0",
        *("PilotAgents", "BenchMark is FLOAT and not DOUBLE", True, "widen it"),
    ),
    (
        "ALTER TABLE JobToPilotMapping ADD PRIMARY KEY (PilotID, JobID)",
        *("JobToPilotMapping", "has a primary key (PilotID, JobID) and DIRAC's has none", False, "refused"),
    ),
    (
        "ALTER TABLE sb_Owners CHANGE OwnerId OwnerID INT UNSIGNED NOT NULL AUTO_INCREMENT",
        *("", "", False, ""),
    ),
    (
        "ALTER TABLE sb_SandBoxes DROP KEY Location, ADD KEY Location (SEName, SEPFN)",
        *("sb_SandBoxes", "has no unique key Location (SEName, SEPFN)", True, "add it"),
    ),
    (
        "ALTER TABLE ProxyDB_CleanProxies MODIFY Pem TEXT NULL",
        *("ProxyDB_CleanProxies", "Pem is TEXT and not BLOB", True, "DIRAC's type"),
    ),
]


@on_mariadb
def test_every_change_is_found_and_judged(url: str) -> None:
    """Each change is said once, in its table, with its meaning; nothing else is said."""
    run(url, make_home)
    run(url, execute(*(change[0] for change in CHANGES)))
    found = run(url, findings)
    for statement, table, what, matters, why in CHANGES:
        expected = (
            [each for each in found if each.table == table and each.what.startswith(what)]
            if table
            else [None]
        )
        assert len(expected) == 1, statement
        if expected[0] is not None:
            assert expected[0].matters is matters, statement
            assert why in expected[0].why, statement
            found.remove(expected[0])
    assert found == []


def test_a_missing_table_column_key_and_trigger_are_found_on_every_engine(url: str) -> None:
    """What calls need and is not there matters, whatever keeps the database."""

    def take_away(connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        pilots, of_trigger = quote("PilotAgents"), ""
        if connection.dialect.name == "postgresql":
            of_trigger = f" ON {quote('LoggingInfo')}"
        [index] = [each for each in SCHEMAS["JobDB"].tables["Jobs"].indexes if each.name == "Jobs_OwnerGroup"]
        connection.execute(text(f"DROP TABLE {quote('PilotOutput')}"))
        connection.execute(text(f"ALTER TABLE {pilots} DROP COLUMN {quote('BenchMark')}"))
        name = index.info["key"] if connection.dialect.name == "mysql" else index.name
        on_table = f" ON {quote('Jobs')}" if connection.dialect.name == "mysql" else ""
        connection.execute(text(f"DROP INDEX {quote(name)}{on_table}"))
        connection.execute(text(f"DROP TRIGGER {trigger(connection)}{of_trigger}"))

    run(url, make_home)
    run(url, take_away)
    found = run(url, findings)
    assert said(found) == Counter(
        [
            ("Jobs", "has no key OwnerGroup (OwnerGroup)"),
            ("LoggingInfo", "has no trigger that fills SeqNum"),
            ("PilotAgents", "BenchMark is missing"),
            ("PilotOutput", "is missing"),
        ]
    )
    assert all(each.matters for each in found)


def trigger(connection: Connection) -> str:
    """The name of the one trigger there is."""
    catalogue = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "mysql": "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()",
        "postgresql": "SELECT DISTINCT trigger_name FROM information_schema.triggers",
    }
    [name] = connection.scalars(text(catalogue[connection.dialect.name]))
    return connection.dialect.identifier_preparer.quote(name)


def test_an_empty_database_is_one_finding(url: str) -> None:
    """No list of missing tables: the mend is to make them."""
    for name, schema in SCHEMAS.items():
        [finding] = run(url, lambda connection, schema=schema: inspect_database(connection, schema))
        assert finding == Finding(
            name, "", "none of its tables exist", True, "make them with `wherry db init`"
        )


@on_mariadb
def test_an_account_that_may_not_see_triggers_is_told_so(url: str, servers: Any) -> None:
    """DIRAC's account has no TRIGGER grant; that it sees no trigger does not mean that there is none."""
    run(url, SCHEMAS["JobLoggingDB"].create_all)

    def look(connection: Connection) -> list[Finding]:
        found = inspect_database(connection, SCHEMAS["JobLoggingDB"])
        return [each for each in found if each.table]

    database = make_url(url).database
    account = f"'helper_{database[-12:]}'"
    on_server(
        servers.url("mariadb"),
        f"CREATE USER {account}@'%' IDENTIFIED BY 'secret'",
        f"CREATE USER {account}@'localhost' IDENTIFIED BY 'secret'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {account}@'%'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {account}@'localhost'",
        f"GRANT TRIGGER ON elsewhere.* TO {account}@'%'",
        f"GRANT TRIGGER ON elsewhere.* TO {account}@'localhost'",
    )
    try:
        found = run(make_url(url).set(username=account.strip("'"), password="secret"), look)
    finally:
        on_server(servers.url("mariadb"), f"DROP USER {account}@'%', {account}@'localhost'")
    assert [(each.table, each.what, each.matters) for each in found] == [
        ("LoggingInfo", "its triggers cannot be seen by this account", False)
    ]


@pytest.mark.parametrize(
    ("sql_mode", "binary_log", "log_format", "expected"),
    [
        ({"STRICT_TRANS_TABLES", "NO_ZERO_DATE"}, False, "STATEMENT", []),
        ({"STRICT_ALL_TABLES", "NO_ZERO_DATE"}, True, "MIXED", []),
        ({"STRICT_TRANS_TABLES"}, False, "ROW", [("its sql_mode allows dates of zeros", False)]),
        ({"NO_ZERO_DATE"}, True, "ROW", [("its sql_mode allows dates of zeros", False)]),
        (
            {"STRICT_TRANS_TABLES", "NO_ZERO_DATE"},
            *(True, "STATEMENT", [("its binlog_format is STATEMENT", True)]),
        ),
    ],
)
def test_settings_of_the_server_are_judged(
    sql_mode: set[str], binary_log: bool, log_format: str, expected: list[tuple[str, bool]]
) -> None:
    """Zero dates are read; a binary log of statements refuses what is written at READ COMMITTED."""
    problems = server_problems(sql_mode, binary_log, log_format)
    assert [(what, matters) for what, matters, _why in problems] == expected


@on_mariadb
def test_settings_of_the_server_are_said_once_for_the_database(url: str) -> None:
    """MariaDB's default mode allows dates of zeros; it belongs to no table."""
    run(url, SCHEMAS["ProxyDB"].create_all)
    found = run(url, lambda connection: inspect_database(connection, SCHEMAS["ProxyDB"]))
    mode = run(url, lambda connection: connection.scalar(text("SELECT @@GLOBAL.sql_mode")))
    assert [each.what for each in found] == (
        [] if "NO_ZERO_DATE" in mode and "STRICT" in mode else ["its sql_mode allows dates of zeros"]
    )


@on_mariadb
def test_shapes_tell_the_queries_what_dirac_8_has(url: str) -> None:
    """Which columns there are, and which of those that are not ours an INSERT must name."""
    run(url, execute(*guest_sql("8.0.86", "PilotAgentsDB")))
    shapes = run(url, lambda connection: reflect_shapes(connection, SCHEMAS["PilotAgentsDB"]))
    assert shapes.keys() == {"PilotAgents", "JobToPilotMapping", "PilotOutput"}
    pilots = shapes["PilotAgents"]
    assert "VO" not in pilots.columns
    assert pilots.columns >= {"PilotID", "PilotJobReference", "OwnerDN", "GridRequirements"}
    assert pilots.required == {"OwnerDN", "OwnerGroup"}
    assert (pilots.engine, pilots.transactional) == ("InnoDB", True)
    assert shapes["PilotOutput"] == TableShape(
        frozenset({"PilotID", "StdOutput", "StdError"}), frozenset(), "InnoDB"
    )


@on_mariadb
def test_shapes_tell_tables_without_transactions(url: str) -> None:
    """MyISAM keeps what a rolled back transaction did."""
    run(url, execute("CREATE TABLE PilotOutput (PilotID INT PRIMARY KEY, Extra INT NOT NULL) ENGINE=MyISAM"))
    shapes = run(url, lambda connection: reflect_shapes(connection, SCHEMAS["PilotAgentsDB"]))
    assert shapes == {
        "PilotOutput": TableShape(frozenset({"PilotID", "Extra"}), frozenset({"Extra"}), "MyISAM")
    }
    assert not shapes["PilotOutput"].transactional


@on_mariadb
def test_shapes_have_our_spelling_of_columns(url: str) -> None:
    """DiracX makes OwnerID, which MySQL takes for DIRAC's OwnerId."""
    run(url, execute("CREATE TABLE sb_Owners (OwnerID INT PRIMARY KEY, owner TEXT)"))
    shapes = run(url, lambda connection: reflect_shapes(connection, SCHEMAS["SandboxMetadataDB"]))
    assert shapes["sb_Owners"].columns == {"OwnerId", "Owner"}


def test_shapes_of_a_home_are_those_of_our_tables(url: str) -> None:
    """On every engine each table has our columns and demands no others."""
    run(url, make_home)
    for schema in SCHEMAS.values():
        shapes = run(url, lambda connection, schema=schema: reflect_shapes(connection, schema))
        assert {name: set(shape.columns) for name, shape in shapes.items()} == {
            table.name: set(table.c.keys()) for table in schema.sorted_tables
        }
        assert all(shape.transactional and not shape.required for shape in shapes.values())


@on_mariadb
def test_shapes_cost_a_statement_for_each_table(url: str, servers: Any) -> None:
    """Start-up on a server with many tables asks for ours only; the account's other databases stay unread."""
    run(url, SCHEMAS["JobDB"].create_all)
    sent: list[str] = []

    def reflect(connection: Connection) -> dict[str, TableShape]:
        told = connection.execution_options(schema_translate_map={None: make_url(url).database})
        event.listen(told, "before_cursor_execute", lambda *given: sent.append(given[2]))
        return reflect_shapes(told, SCHEMAS["JobDB"])

    shapes = run(servers.url("mariadb"), reflect)
    assert shapes.keys() == SCHEMAS["JobDB"].tables.keys()
    assert len(sent) <= len(shapes) + 1


CATALOGUE = """
SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, COLUMN_KEY
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE();
SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE();
SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE
FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE();
SELECT TABLE_NAME, ENGINE, sets.CHARACTER_SET_NAME FROM information_schema.TABLES
JOIN information_schema.COLLATION_CHARACTER_SET_APPLICABILITY sets ON TABLE_COLLATION = sets.COLLATION_NAME
WHERE TABLE_SCHEMA = DATABASE()
"""


@on_mariadb
def test_a_home_on_mariadb_is_what_dirac_makes(url: str, servers: Any, tmp_path: Path) -> None:
    """Columns, types, NULL, defaults, all keys, engine and character set are those of 9.1.22's SQL."""

    def catalogue(connection: Connection) -> list[set[tuple[Any, ...]]]:
        return [{tuple(row) for row in connection.execute(text(query))} for query in statements(CATALOGUE)]

    def make(connection: Connection) -> None:
        for name in JOBS_AND_PILOTS:
            dirac_s = [each for each in SCHEMAS[name].sorted_tables if each.name not in not_in_9]
            SCHEMAS[name].create_all(connection, tables=dirac_s)

    not_in_9 = {"JobParameters", "SiteMask", "SiteMaskLogging"}
    run(url, make)
    ours = run(url, catalogue)
    with empty_database("mariadb", servers, tmp_path) as guest:
        run(guest, execute(*guest_sql("9.1.22", *JOBS_AND_PILOTS)))
        theirs = run(guest, catalogue)
    # Every writer names the JobID; three keys are ours.
    jobs_id = ("Jobs", "JobID", 1, "int(11) unsigned", "NO")
    assert [mine - others for mine, others in zip(ours, theirs, strict=True)] == [
        {(*jobs_id, None, "", "PRI"), ("PilotAgents", "PilotStamp", 5, "varchar(32)", "NO", "''", "", "MUL")},
        {
            ("PilotAgents", "PilotStamp", 1, "PilotStamp", 1),
            *(
                ("Jobs", "OwnerStatus", at, name, 1)
                for at, name in enumerate(("Owner", "Status", "JobID"), 1)
            ),
        },
        set(),
        set(),
    ]
    assert [others - mine for mine, others in zip(ours, theirs, strict=True)] == [
        {(*jobs_id, "0", "", "PRI"), ("PilotAgents", "PilotStamp", 5, "varchar(32)", "NO", "''", "", "")},
        set(),
        set(),
        set(),
    ]


def test_the_shape_of_nothing_is_nothing(url: str) -> None:
    """Tables that do not exist have no shape."""
    assert run(url, lambda connection: reflect_shapes(connection, SCHEMAS["JobDB"])) == {}


def test_a_schema_can_be_named(url: str) -> None:
    """The tables are looked for where the caller says, and nowhere else."""
    names = {"sqlite": "temp", "mysql": "information_schema", "postgresql": "information_schema"}

    def look(connection: Connection) -> list[Finding]:
        make_home(connection)
        return inspect_database(connection, SCHEMAS["JobDB"], schema=names[connection.dialect.name])

    [finding] = run(url, look)
    assert finding.what == "none of its tables exist"
