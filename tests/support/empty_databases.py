"""Empty databases, and functions run on plain connections to them, as ``Databases.sync_run`` runs them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

T = TypeVar("T")

DRIVERS = {"mysql": "mysql+asyncmy", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite"}


@contextmanager
def empty_database(engine: str, servers: Any, folder: Path) -> Iterator[str]:
    """The URL of a new database of a kind: a file, or one on a server that is gone afterwards."""
    if engine == "sqlite":
        yield f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}"
        return
    server = make_url(servers.url(engine))
    name = f"wherry_empty_{uuid.uuid4().hex[:12]}"
    charset = " CHARACTER SET utf8mb4" if engine == "mariadb" else ""
    on_server(server, f"CREATE DATABASE {name}{charset}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        on_server(server, f"DROP DATABASE {name}")


def on_server(url: Any, *statements: str) -> None:
    """Statements about databases and accounts, outside of a transaction."""

    def execute(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    run(url, execute, isolation_level="AUTOCOMMIT")


def run(url: Any, function: Callable[[Connection], T], **options: Any) -> T:
    """Run a function on a new connection, in a transaction that is committed afterwards."""
    url = make_url(url)
    url = url.set(drivername=DRIVERS[url.get_backend_name()])
    if url.get_backend_name() == "sqlite":
        with create_engine(url, poolclass=NullPool, **options).begin() as connection:
            return function(connection)
    return asyncio.run(_run(url, function, options))


async def _run(url: Any, function: Callable[[Connection], T], options: dict[str, Any]) -> T:
    engine = create_async_engine(url, poolclass=NullPool, **options)
    async with engine.begin() as connection:
        return await connection.run_sync(function)
