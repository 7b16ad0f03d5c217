"""Only one upgrade of a database at a time, whoever runs it: the lock that each engine has for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, exc, func, select, text

from shared_db.errors import Unavailable
from shared_db.inspection import schema_of

WAIT_SECONDS = 60
# PostgreSQL's advisory locks are numbers, and each of its databases has its own: the letters of "wherry".
_NUMBER = 0x776865727279


def locked(connection: Connection) -> AbstractContextManager[None]:
    """Hold the lock for a block; the transaction of the connection sees all that earlier holders did.

    Raises Unavailable when another one holds it for too long.
    """
    return _LOCKS[connection.dialect.name](connection)


@contextmanager
def _sqlite(connection: Connection) -> Iterator[None]:
    """SQLite's write lock, held until the caller commits.

    A driver that begins by itself, or when the first row is changed, begins too late: another upgrade could
    come between looking and creating.  How long to wait is the busy timeout of the connection.
    """
    driver = connection.connection.driver_connection
    assert driver is not None
    with _refused():
        if driver.in_transaction:
            connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    yield


@contextmanager
def _postgresql(connection: Connection) -> Iterator[None]:
    """An advisory lock, held until the caller commits: DDL is part of the transaction."""
    with _refused():
        connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
        connection.execute(select(func.pg_advisory_xact_lock(_NUMBER)))
    yield


@contextmanager
def _mysql(connection: Connection) -> Iterator[None]:
    """A named lock of the session, which survives the commits that DDL brings with it.

    Nodes of one Galera cluster do not share it; there a second upgrade may fail at a table that the first
    has just made, and succeeds when it is run again.
    """
    name = _name(connection)
    if connection.scalar(select(func.get_lock(name, WAIT_SECONDS))) != 1:
        raise Unavailable(
            f"Another process has been upgrading WherryDB for {WAIT_SECONDS} s: try again when it has ended"
        )
    try:
        connection.exec_driver_sql("COMMIT")  # a snapshot from before the lock would hide the other's work
        yield
        connection.exec_driver_sql("COMMIT")  # the version row, before anybody else looks
    finally:
        if not connection.invalidated:
            connection.execute(select(func.release_lock(name)))


def _name(connection: Connection) -> str:
    """Names are the server's, not the database's, and 64 characters at most, as long as a database's own."""
    database = schema_of(connection) or connection.dialect.default_schema_name or ""
    return f"wherry_upgrade.{hashlib.blake2b(database.encode(), digest_size=16).hexdigest()}"


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise Unavailable(
            f"WherryDB cannot be locked for an upgrade ({error.orig}): "
            "if another process is upgrading it, try again when that has ended"
        ) from error


_LOCKS: dict[str, Callable[[Connection], AbstractContextManager[None]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
