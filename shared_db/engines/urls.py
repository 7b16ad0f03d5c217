"""From the URLs of a configuration to engines.

Logical databases that one account reaches on one server share an engine, and so a transaction.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from shared_db.engines.base import USUAL, Engine, Limits
from shared_db.schema import SCHEMAS, WHERRY_DB

DATABASES = (*SCHEMAS, WHERRY_DB)
_EXAMPLES = "sqlite:///PATH, mysql://USER:PASSWORD@HOST:3306/ or postgresql://USER:PASSWORD@HOST:5432/NAME"


def make_engines(
    url: str | Mapping[str, str], *, create: bool = False, limits: Limits = USUAL
) -> dict[str, Engine]:
    """The engine of each logical database, from one URL for all or a map with one URL for each.

    Raises ValueError, naming the mend, for a URL that cannot be used.
    """
    urls = {name: _parsed(text) for name, text in _one_each(url).items()}
    engines: dict[str, Engine] = {}
    for server in dict.fromkeys(_server_of(each) for each in urls.values()):
        held = {name: each for name, each in urls.items() if _server_of(each) == server}
        make = _MAKERS[server.get_backend_name()]
        engines |= dict.fromkeys(held, make(held, create, limits))
    return engines


def _one_each(url: str | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(url, str):
        return dict.fromkeys(DATABASES, url)
    for name in url.keys() - set(DATABASES):
        near = difflib.get_close_matches(name, DATABASES, n=1)
        mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(DATABASES)}"
        raise ValueError(f"unknown database {name}: {mend}")
    if missing := [name for name in DATABASES if name not in url]:
        raise ValueError(f"no URL for {', '.join(missing)}: add one, or give one for all")
    return url


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
    except exc.ArgumentError as error:
        raise ValueError(f"is no URL: write {_EXAMPLES}") from error
    kind = _KINDS.get(url.drivername)
    if kind is None:
        raise ValueError(f"{url.drivername}: cannot be used: write {_EXAMPLES}")
    return url.set(drivername=kind)


def _server_of(url: URL) -> URL:
    """What two URLs have in common when one engine can serve both."""
    return url._replace(database=None) if url.get_backend_name() == "mysql" else url


def _sqlite(urls: Mapping[str, URL], create: bool, limits: Limits) -> Engine:
    from shared_db.engines.sqlite import SqliteEngine

    [url] = set(urls.values())
    return SqliteEngine(url.render_as_string(hide_password=False), create=create, limits=limits)


def _mysql(urls: Mapping[str, URL], create: bool, limits: Limits) -> Engine:  # noqa: ARG001
    from shared_db.engines.mysql import MySql
    from shared_db.engines.server import ServerEngine

    named = {url.database for url in urls.values()}
    if len(named) == 1 and all(named):
        [url] = set(urls.values())
        return ServerEngine(url, MySql(), limits)
    # The tables of several databases in one transaction: each is named in front of its tables.
    schemas = {name: url.database or name for name, url in urls.items()}
    return ServerEngine(_server_of(next(iter(urls.values()))), MySql(), limits, schemas)


def _postgresql(urls: Mapping[str, URL], create: bool, limits: Limits) -> Engine:  # noqa: ARG001
    from shared_db.engines.postgresql import PostgreSql
    from shared_db.engines.server import ServerEngine

    [url] = set(urls.values())
    if not url.database:
        raise ValueError(f"{url.render_as_string()}: name a database, as in postgresql://HOST/wherry")
    return ServerEngine(url, PostgreSql(), limits)


_KINDS = {
    "sqlite": "sqlite",
    **dict.fromkeys(("mysql", "mariadb", "mysql+asyncmy", "mariadb+asyncmy"), "mysql+asyncmy"),
    **dict.fromkeys(("postgresql", "postgres", "postgresql+asyncpg"), "postgresql+asyncpg"),
}
_MAKERS: Mapping[str, Callable[[Mapping[str, URL], bool, Limits], Engine]] = {
    "sqlite": _sqlite,
    "mysql": _mysql,
    "postgresql": _postgresql,
}
