"""URLs of databases: what each kind of them becomes, and what is refused with its mend."""

from __future__ import annotations

from typing import Any

import pytest

from shared_db.connection import open_databases
from shared_db.engines.mysql import MySql
from shared_db.engines.postgresql import PostgreSql
from shared_db.engines.server import ServerEngine
from shared_db.engines.sqlite import SqliteEngine
from shared_db.engines.urls import DATABASES, make_engines
from shared_db.schema.job_db import JOB_DB
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB

FILES = dict.fromkeys(DATABASES, "sqlite:///x.db")
EXAMPLES = (
    "write sqlite:///PATH, mysql://USER:PASSWORD@HOST:3306/ or postgresql://USER:PASSWORD@HOST:5432/NAME"
)


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("sqlite://", "name a file, as in sqlite:///var/wherry.db"),
        ("sqlite:///", "name a file, as in sqlite:///var/wherry.db"),
        ("sqlite:///:memory:", "name a file, as in sqlite:///var/wherry.db"),
        ("sqlite+aiosqlite:///var/wherry.db", EXAMPLES),
        ("mysql+mysqldb://host/", EXAMPLES),
        ("oracle://host/db", EXAMPLES),
        ("postgresql://host", "name a database, as in postgresql://HOST/wherry"),
        ("var/wherry.db", EXAMPLES),
        ("", EXAMPLES),
        ("sqlite:var/wherry.db", EXAMPLES),
        (FILES | {"JobDb": "sqlite:///x.db"}, "unknown database JobDb: did you mean JobDB?"),
        (FILES | {"Nonsense": "sqlite:///x.db"}, "unknown database Nonsense: known are JobDB, JobLoggingDB"),
        (
            {JOB_DB: "sqlite:///x.db"},
            "no URL for JobLoggingDB, PilotAgentsDB, .*: add one, or give one for all",
        ),
    ],
    ids=str,
)
def test_a_url_that_cannot_be_used_names_the_mend(url: Any, mend: str) -> None:
    """A URL is refused when it is read, with what to write instead."""
    with pytest.raises(ValueError, match=mend.replace("?", r"\?")):
        open_databases(url)


@pytest.mark.parametrize(
    "url", ["postgresql://user:secret@host", "oracle://u:secret@host", "mysql+x://u:secret@h"]
)
def test_a_refused_url_does_not_show_its_password(url: str) -> None:
    """Secrets are not repeated in messages."""
    with pytest.raises(ValueError) as refused:
        open_databases(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("mysql://user:secret@host/", MySql),
        ("mariadb://user:secret@host/dirac", MySql),
        ("mysql+asyncmy://user:secret@host:3307", MySql),
        ("postgresql://user:secret@host/wherry", PostgreSql),
        ("postgres://user:secret@host/wherry", PostgreSql),
    ],
)
def test_a_server_is_known_by_any_name_of_its_kind(url: str, dialect: type) -> None:
    """People write the scheme in several ways; the engine's own URL is without its password."""
    engines = make_engines(url)
    [engine] = set(engines.values())
    assert isinstance(engine, ServerEngine)
    assert isinstance(engine.dialect, dialect)
    assert engines.keys() == set(DATABASES)
    assert "secret" not in engine.url


def test_databases_of_one_mysql_server_share_a_transaction() -> None:
    """DIRAC has a database for each; an account that reaches them all needs one connection."""
    [engine] = set(make_engines({name: f"mysql://u@host/x{name}" for name in DATABASES}).values())
    assert isinstance(engine, ServerEngine)
    assert engine.options(JOB_DB) == {"schema_translate_map": {None: "xJobDB"}}


@pytest.mark.parametrize(
    ("url", "schema"), [("mysql://u@host", JOB_DB), ("mysql://u@host/", JOB_DB), ("mysql://u@host/all", None)]
)
def test_one_mysql_url_names_one_database_or_none(url: str, schema: str | None) -> None:
    """Without a database the tables are where DIRAC has them, with one they are all in it."""
    [engine] = set(make_engines(url).values())
    assert isinstance(engine, ServerEngine)
    expected = {"schema_translate_map": {None: schema}} if schema else {}
    assert engine.options(JOB_DB) == expected


def test_other_accounts_and_servers_are_other_engines() -> None:
    """What one account does not reach cannot be in one transaction."""
    urls = FILES | {JOB_DB: "mysql://a@host/JobDB", PILOT_AGENTS_DB: "mysql://b@host/PilotAgentsDB"}
    engines = make_engines(urls)
    assert len(set(engines.values())) == 3
    assert isinstance(engines["TaskQueueDB"], SqliteEngine)
