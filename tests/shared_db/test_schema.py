"""The tables, held against the sheet of DIRAC's schema (legacy-schema.md), typed here a second time."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from guests import HOMES
from sqlalchemy import Column, Table
from sqlalchemy.dialects import mysql

from shared_db.administration import initialise, upgrade
from shared_db.connection import Databases
from shared_db.schema import SCHEMAS

# One line per column: name, kind (and size), whether NULL is allowed, default.  A `-` is no default.
# `primary: columns`, `key NAME: columns` and `unique NAME: columns` follow.  Kinds: int, float, time,
# text(n), medium (16 MiB), blob, flag.  Left out: the default 0 of Jobs.JobID, which every writer names.
SHEET = """
JobDB.JobJDLs
  JobID              int         no   -
  JDL                medium      no   -
  JobRequirements    text        no   -
  OriginalJDL        medium      no   -
  primary: JobID

JobDB.Jobs
  JobID              int         no   -
  JobType            text(32)    no   user
  JobGroup           text(32)    no   00000000
  Site               text(100)   no   ANY
  JobName            text(128)   no   Unknown
  Owner              text(64)    no   Unknown
  OwnerGroup         text(128)   no   Unknown
  VO                 text(32)    no   Unknown
  SubmissionTime     time        yes  -
  RescheduleTime     time        yes  -
  LastUpdateTime     time        yes  -
  StartExecTime      time        yes  -
  HeartBeatTime      time        yes  -
  EndExecTime        time        yes  -
  Status             text(32)    no   Received
  MinorStatus        text(128)   no   Unknown
  ApplicationStatus  text(255)   yes  Unknown
  UserPriority       int         no   0
  RescheduleCounter  int         no   0
  VerifiedFlag       flag(True,False)         no  False
  AccountedFlag      flag(True,False,Failed)  no  False
  primary: JobID
  key JobType: JobType
  key JobGroup: JobGroup
  key Site: Site
  key StatusSite: Status, Site
  key JobName: JobName
  key Owner: Owner
  key OwnerGroup: OwnerGroup
  key LastUpdateTime: LastUpdateTime
  key Status: Status
  key MinorStatus: MinorStatus
  key ApplicationStatus: ApplicationStatus
  foreign JobID: JobJDLs.JobID

JobDB.InputData
  JobID              int         no   -
  LFN                text(255)   no   ''
  Status             text(32)    no   AprioriGood
  primary: JobID, LFN
  foreign JobID: Jobs.JobID

JobDB.OptimizerParameters
  JobID              int         no   -
  Name               text(100)   no   -
  Value              medium      no   -
  primary: JobID, Name
  foreign JobID: Jobs.JobID

JobDB.AtticJobParameters
  JobID              int         no   -
  Name               text(100)   no   -
  Value              text        no   -
  RescheduleCycle    int         no   -
  primary: JobID, Name, RescheduleCycle
  foreign JobID: Jobs.JobID

JobDB.HeartBeatLoggingInfo
  JobID              int         no   -
  Name               text(100)   no   -
  Value              text        no   -
  HeartBeatTime      time        no   -
  primary: JobID, Name, HeartBeatTime
  foreign JobID: Jobs.JobID

JobDB.JobCommands
  JobID              int         no   -
  Command            text(100)   no   -
  Arguments          text(100)   no   -
  Status             text(64)    no   Received
  ReceptionTime      time        no   -
  ExecutionTime      time        yes  -
  primary: JobID, Arguments, ReceptionTime
  foreign JobID: Jobs.JobID

JobDB.JobParameters
  JobID              int         no   -
  Name               text(100)   no   -
  Value              text        no   -
  primary: JobID, Name
  foreign JobID: Jobs.JobID

JobLoggingDB.LoggingInfo
  JobID              int         no   -
  SeqNum             int         no   0
  Status             text(32)    no   ''
  MinorStatus        text(128)   no   ''
  ApplicationStatus  text(255)   no   ''
  StatusTime         time        no   -
  StatusTimeOrder    float       no   -
  StatusSource       text(32)    no   Unknown
  primary: JobID, SeqNum

PilotAgentsDB.PilotAgents
  PilotID            int         no   -
  InitialJobID       int         no   0
  CurrentJobID       int         no   0
  PilotJobReference  text(255)   no   Unknown
  PilotStamp         text(32)    no   ''
  DestinationSite    text(128)   no   NotAssigned
  Queue              text(128)   no   Unknown
  GridSite           text(128)   no   Unknown
  VO                 text(128)   no   -
  GridType           text(32)    no   LCG
  BenchMark          float       no   0.0
  SubmissionTime     time        yes  -
  LastUpdateTime     time        yes  -
  Status             text(32)    no   Unknown
  StatusReason       text(255)   no   Unknown
  AccountingSent     flag(True,False)  no  False
  primary: PilotID
  key PilotJobReference: PilotJobReference
  key Status: Status
  key Statuskey: GridSite, DestinationSite, Status
  key idx_dest_queue_status: DestinationSite, Queue, Status

PilotAgentsDB.JobToPilotMapping
  PilotID            int         no   -
  JobID              int         no   -
  StartTime          time        no   -
  key JobID: JobID
  key PilotID: PilotID

PilotAgentsDB.PilotOutput
  PilotID            int         no   -
  StdOutput          medium      yes  -
  StdError           medium      yes  -
  primary: PilotID

TaskQueueDB.tq_TaskQueues
  TQId               int         no   -
  Owner              text(255)   no   -
  OwnerGroup         text(32)    no   -
  VO                 text(32)    no   -
  CPUTime            int         no   -
  Priority           float       no   -
  Enabled            int         no   0
  primary: TQId
  key TQOwner: Owner, OwnerGroup, CPUTime

TaskQueueDB.tq_Jobs
  TQId               int         no   -
  JobId              int         no   -
  Priority           int         no   -
  RealPriority       float       no   -
  primary: JobId
  key TaskIndex: TQId
  foreign TQId: tq_TaskQueues.TQId

TaskQueueDB.tq_RAM_requirements
  TQId               int         no   -
  MinRAM             int         no   0
  MaxRAM             int         no   0
  primary: TQId
  foreign TQId: tq_TaskQueues.TQId

JobDB.SiteMask
  Site               text(64)    no   -
  Status             text(64)    no   -
  LastUpdateTime     time        no   -
  Author             text(255)   no   -
  Comment            text        no   -
  primary: Site

JobDB.SiteMaskLogging
  Site               text(64)    no   -
  Status             text(64)    no   -
  UpdateTime         time        no   -
  Author             text(255)   no   -
  Comment            text        no   -
  primary: Site, UpdateTime

SandboxMetadataDB.sb_Owners
  OwnerId            int         no   -
  Owner              text(32)    no   -
  OwnerGroup         text(32)    no   -
  VO                 text(64)    no   -
  primary: OwnerId

SandboxMetadataDB.sb_SandBoxes
  SBId               int         no   -
  OwnerId            int         no   -
  SEName             text(64)    no   -
  SEPFN              text(512)   no   -
  Bytes              int         no   0
  RegistrationTime   time        no   -
  LastAccessTime     time        no   -
  Assigned           int         no   0
  primary: SBId
  unique Location: SEName, SEPFN
  key SBOwner: OwnerId

SandboxMetadataDB.sb_EntityMapping
  SBId               int         no   -
  EntityId           text(128)   no   -
  Type               text(64)    no   -
  primary: SBId, EntityId, Type
  key Entity: EntityId
  key SBIndex: SBId

ProxyDB.ProxyDB_Requests
  Id                 int         no   -
  UserDN             text(255)   no   -
  Pem                blob        yes  -
  ExpirationTime     time        yes  -
  primary: Id

ProxyDB.ProxyDB_CleanProxies
  UserName           text(64)    no   -
  UserDN             text(255)   no   -
  ProxyProvider      text(64)    no   Certificate
  Pem                blob        yes  -
  ExpirationTime     time        yes  -
  primary: UserDN, ProxyProvider

ProxyDB.ProxyDB_VOMSProxies
  UserName           text(64)    no   -
  UserDN             text(255)   no   -
  UserGroup          text(255)   no   -
  VOMSAttr           text(255)   no   -
  Pem                blob        yes  -
  ExpirationTime     time        yes  -
  primary: UserDN, UserGroup, VOMSAttr

ProxyDB.ProxyDB_Log
  ID                 int         no   -
  IssuerDN           text(255)   no   -
  IssuerGroup        text(255)   no   -
  TargetDN           text(255)   no   -
  TargetGroup        text(255)   no   -
  Action             text(128)   no   -
  Timestamp          time        yes  -
  primary: ID
  key Timestamp: Timestamp

ResourceStatusDB.SiteStatus
  Name               text(64)    no   -
  StatusType         text(128)   no   all
  VO                 text(64)    no   all
  Status             text(8)     no   ''
  Reason             text(512)   no   Unspecified
  DateEffective      time        no   -
  TokenExpiration    time        no   9999-12-31 23:59:59
  ElementType        text(32)    no   ''
  LastCheckTime      time        no   1000-01-01 00:00:00
  TokenOwner         text(16)    no   rs_svc
  primary: Name, StatusType, VO

ResourceStatusDB.ResourceStatus
  Name               text(64)    no   -
  StatusType         text(128)   no   all
  VO                 text(64)    no   all
  Status             text(8)     no   ''
  Reason             text(512)   no   Unspecified
  DateEffective      time        no   -
  TokenExpiration    time        no   9999-12-31 23:59:59
  ElementType        text(32)    no   ''
  LastCheckTime      time        no   1000-01-01 00:00:00
  TokenOwner         text(16)    no   rs_svc
  primary: Name, StatusType, VO
"""

# Tables with which DiracX and DIRAC build more than there is in the sheet's block above.
LISTS_OF_QUEUES = {
    "tq_TQToSites": "SitesIndex",
    "tq_TQToGridCEs": "GridCEsIndex",
    "tq_TQToBannedSites": "BannedSitesIndex",
    "tq_TQToPlatforms": "PlatformsIndex",
    "tq_TQToJobTypes": "JobTypesIndex",
    "tq_TQToTags": "TagsIndex",
}
LIST_OF_QUEUE = """
TaskQueueDB.{table}
  TQId               int         no   -
  Value              text(64)    no   -
  primary: TQId, Value
  key TaskIndex: TQId, Value
  key {index}: Value
  foreign TQId: tq_TaskQueues.TQId
"""


@dataclass
class Sheet:
    """What the sheet says of a table, or what a table is."""

    columns: dict[str, tuple[str, bool, str | None]] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unique: set[str] = field(default_factory=set)
    foreign: dict[str, str] = field(default_factory=dict)


def from_text(text: str) -> dict[str, Sheet]:
    """The sheet's tables, by ``DATABASE.TABLE``."""
    tables: dict[str, Sheet] = {}
    for line in filter(None, text.splitlines()):
        name, _, rest = line.strip().partition(":")
        names = tuple(rest.replace(" ", "").split(","))
        if not line.startswith(" "):
            current = tables[line] = Sheet()
        elif name == "primary":
            current.primary = names
        elif name.startswith(("key ", "unique ")):
            kind_of_key, _, key = name.partition(" ")
            current.keys[key] = names
            current.unique |= {key} if kind_of_key == "unique" else set()
        elif name.startswith("foreign "):
            current.foreign[name.removeprefix("foreign ")] = rest.strip()
        else:
            column, kind, null, default = line.split(maxsplit=3)
            current.columns[column] = (kind, null == "yes", None if default == "-" else default.strip("'"))
    return tables


def from_table(table: Table) -> Sheet:
    """The same of a table as it is."""
    return Sheet(
        columns={column.name: (kind(column), bool(column.nullable), default(column)) for column in table.c},
        primary=tuple(column.name for column in table.primary_key),
        keys={
            index.info["key"]: tuple(column.name for column in index.columns)
            for index in table.indexes
            if not index.info.get("ours")
        },
        unique={index.info["key"] for index in table.indexes if index.unique},
        foreign={column.name: key.target_fullname for column in table.c for key in column.foreign_keys},
    )


def kind(column: Column[Any]) -> str:
    """The kind of a column, from its type on MySQL."""
    text = str(column.type.compile(dialect=mysql.dialect()))
    if text.startswith("ENUM"):
        return text.replace("ENUM", "flag").replace("'", "")
    if size := re.fullmatch(r"VARCHAR\((\d+)\)", text):
        return f"text({size[1]})"
    kinds = {"DATETIME": "time", "MEDIUMTEXT": "medium", "TEXT": "text", "BLOB": "blob"}
    kinds |= dict.fromkeys(("DOUBLE", "FLOAT"), "float")
    name = re.sub(r"\(.*|\s.*", "", text)
    return kinds.get(name, "int" if name.endswith("INT") or name == "INTEGER" else text)


def default(column: Column[Any]) -> str | None:
    """The default that the database fills in."""
    return None if column.server_default is None else str(column.server_default.arg)  # type: ignore[attr-defined]


EXPECTED = from_text(
    SHEET
    + "".join(LIST_OF_QUEUE.format(table=table, index=index) for table, index in LISTS_OF_QUEUES.items())
)


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of the package, by ``DATABASE.TABLE``."""
    for database, schema in SCHEMAS.items():
        for name, table in schema.tables.items():
            yield f"{database}.{name}", table


TABLES = dict(tables())


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Where Wherry makes the tables; others are made where they are looked at."""
    return str(request.param)


def test_every_table_of_the_sheet_is_there() -> None:
    """Tables of all logical databases, and none that the sheet has not."""
    assert TABLES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_as_in_the_sheet(name: str) -> None:
    """Names, kinds and sizes, NULL, defaults, primary, foreign and other keys are DIRAC's."""
    actual, expected = from_table(TABLES[name]), EXPECTED[name]
    assert actual.columns == expected.columns
    assert list(actual.columns) == list(expected.columns)
    assert actual == expected


def test_index_names_are_unique() -> None:
    """All logical databases fit into one SQLite file, in which an index name may occur once."""
    names = [index.name for table in TABLES.values() for index in table.indexes]
    assert len(names) == len(set(names))


def test_each_table_belongs_to_its_database() -> None:
    """A query finds the logical database of a table in the table."""
    for database, schema in SCHEMAS.items():
        assert schema.info["database"] == database


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_the_tables_are_in_the_file(databases: Databases, database_file: Path) -> None:
    """What SQLite says of the made tables is what the sheet says: columns, NULL, defaults and keys."""
    await databases.dispose()
    with closing(sqlite3.connect(database_file)) as connection:
        for name, table in TABLES.items():
            expected = EXPECTED[name]
            made = {
                column: (bool(required), None if value is None else value.strip("'"))
                for _, column, _, required, value, _ in connection.execute(
                    f'PRAGMA table_info("{table.name}")'
                )
            }
            assert made == {
                column: (not null, value) for column, (_, null, value) in expected.columns.items()
            }
            indexed = {
                tuple(row[2] for row in connection.execute(f'PRAGMA index_info("{index[1]}")'))
                for index in connection.execute(f'PRAGMA index_list("{table.name}")')
            }
            assert indexed >= set(expected.keys.values())


async def test_creating_twice_is_harmless(databases: Databases, pilots: Any, contents: Any) -> None:
    """Tables that are there stay as they are, with their rows."""
    await pilots.add("a")
    before = await contents()
    await initialise(databases)
    assert await contents() == before


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_missing_table_is_made_only_when_it_is_asked_for(
    databases: Databases, database_file: Path, pilots: Any
) -> None:
    """Beside tables that are there, which may be somebody's, none is made without ``missing_tables``."""
    await pilots.add("a")
    with closing(sqlite3.connect(database_file)) as connection:
        connection.execute("DROP TABLE JobToPilotMapping")
    await initialise(databases)
    await upgrade(databases)
    assert tables_in(database_file).isdisjoint({"JobToPilotMapping"})
    await upgrade(databases, missing_tables=True)
    assert tables_in(database_file) >= {"JobToPilotMapping"}
    assert await pilots.all() == ["a"]


def tables_in(file: Path) -> set[str]:
    """The tables of a SQLite file."""
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
