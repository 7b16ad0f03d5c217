"""The kinds of database that tests run on: homes, and tables of several releases of DIRAC for guests."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from empty_databases import on_server, run
from missing import missing
from sqlalchemy import Connection

from shared_db.engines.urls import DATABASES
from shared_db.schema import WHERRY_DB

# Some of them for a quick run: WHERRY_TEST_ENGINES=sqlite,mariadb
_WANTED = os.environ.get("WHERRY_TEST_ENGINES", "")


def _wanted(kinds: Iterable[str]) -> list[str]:
    return [each for each in kinds if not _WANTED or each in _WANTED.split(",")]


HOMES = _wanted(("sqlite", "mariadb", "postgresql"))
RELEASES = {f"guest-{release}": release for release in ("9.1.22", "8.0.86", "7.3.38")}
GUESTS = {name: RELEASES[name] for name in _wanted(RELEASES)}

CLIENTS = Path(__file__).parents[2] / ".clients"


def guest_sql(release: str, *databases: str) -> list[str]:
    """The statements with which a release of DIRAC makes its tables, from its own files."""
    client = CLIENTS / f"dirac-{release}"
    files = {
        path.stem: path for path in client.glob("lib/*/site-packages/DIRAC/WorkloadManagementSystem/DB/*.sql")
    }
    if not files:
        missing(f"no {client}: run tests/clients/build.py")
    sql = "\n".join(files[name].read_text() for name in databases)
    sql = re.sub(r"^(--|use |drop database|create database).*$", "", sql, flags=re.IGNORECASE | re.MULTILINE)
    return statements(sql)


def made_by_code_of_8(database: str) -> list[str]:
    """The statements for what the code of DIRAC 8.0 makes, from the sheet (legacy-schema.md, 4 and 5)."""
    lists = [_LIST.format(what=what) for what in _LISTS] if database == "TaskQueueDB" else []
    return [*statements(_MADE_BY_CODE_OF_8[database]), *lists]


def statements(sql: str) -> list[str]:
    """The statements of a text."""
    return [statement for statement in sql.split(";") if statement.strip()]


_MADE_BY_CODE_OF_8 = {
    "TaskQueueDB": """
CREATE TABLE tq_TaskQueues (
  TQId INT(11) UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, OwnerDN VARCHAR(255) NOT NULL,
  OwnerGroup VARCHAR(32) NOT NULL, Setup VARCHAR(32) NOT NULL, CPUTime BIGINT(20) UNSIGNED NOT NULL,
  Priority FLOAT NOT NULL, Enabled TINYINT(1) NOT NULL DEFAULT 0,
  KEY TQOwner (OwnerDN, OwnerGroup, Setup, CPUTime)
) ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TABLE tq_Jobs (
  TQId INT(11) UNSIGNED NOT NULL, JobId INT(11) UNSIGNED NOT NULL PRIMARY KEY,
  Priority INT UNSIGNED NOT NULL, RealPriority FLOAT NOT NULL, KEY TaskIndex (TQId)
) ENGINE=InnoDB CHARSET=utf8mb4;
""",
    "SandboxMetadataDB": """
CREATE TABLE sb_Owners (
  OwnerId INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, Owner VARCHAR(32) NOT NULL,
  OwnerDN VARCHAR(255) NOT NULL, OwnerGroup VARCHAR(32) NOT NULL
) ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TABLE sb_SandBoxes (
  SBId INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, OwnerId INT UNSIGNED NOT NULL,
  SEName VARCHAR(64) NOT NULL, SEPFN VARCHAR(512) NOT NULL, Bytes BIGINT NOT NULL DEFAULT 0,
  RegistrationTime DATETIME NOT NULL, LastAccessTime DATETIME NOT NULL, Assigned TINYINT NOT NULL DEFAULT 0,
  UNIQUE KEY Location (SEName, SEPFN), KEY SBOwner (OwnerId)
) ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TABLE sb_EntityMapping (
  SBId INT UNSIGNED NOT NULL, EntitySetup VARCHAR(64) NOT NULL, EntityId VARCHAR(128) NOT NULL,
  Type VARCHAR(64) NOT NULL, KEY Entity (EntityId, EntitySetup), KEY SBIndex (SBId),
  UNIQUE KEY Mapping (SBId, EntitySetup, EntityId, Type)
) ENGINE=InnoDB CHARSET=utf8mb4
""",
}
_LIST = """
CREATE TABLE tq_TQTo{what} (
  TQId INT(11) UNSIGNED NOT NULL, Value VARCHAR(64) NOT NULL, PRIMARY KEY (TQId, Value),
  KEY TaskIndex (TQId), KEY {what}Index (Value)
) ENGINE=InnoDB CHARSET=utf8mb4
"""
_LISTS = ("Sites", "GridCEs", "BannedSites", "Platforms", "JobTypes", "Tags")


@contextmanager
def guest_databases(server: str, release: str) -> Iterator[dict[str, str]]:
    """The URLs of databases as a release of DIRAC has them on a MariaDB server, by logical name.

    Ours, WherryDB, is not made; all are gone afterwards.
    """
    prefix = f"wherry_guest_{uuid.uuid4().hex[:12]}"
    urls = {name: f"{server}{prefix}_{name}" for name in DATABASES}
    made = {name: [] for name in urls if name != WHERRY_DB} | {
        name: guest_sql(release, name) for name in ("JobDB", "JobLoggingDB", "PilotAgentsDB")
    }
    if release < "9":
        made |= {name: made_by_code_of_8(name) for name in _MADE_BY_CODE_OF_8}
    on_server(server, *(f"CREATE DATABASE {prefix}_{name}" for name in made))
    try:
        for name, sql in made.items():
            run(urls[name], partial(_execute, statements=sql))
        yield urls
    finally:
        on_server(server, *(f"DROP DATABASE IF EXISTS {prefix}_{name}" for name in urls))


def _execute(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
