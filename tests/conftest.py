"""Database servers for every test that wants one: found by URL, or started here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from missing import missing
from oracle import Oracle, running_oracle
from private_servers import SERVERS, NoServer


class Servers:
    """Servers by kind, ``mariadb`` and ``postgresql``, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._urls: dict[str, str] = {}

    def url(self, kind: str) -> str:
        """The URL of a server, with an account that may create databases, ending in ``/``.

        It is taken from WHERRY_TEST_MARIADB_URL or WHERRY_TEST_POSTGRESQL_URL, or is a private server's.
        """
        if kind not in self._urls:
            self._urls[kind] = os.environ.get(f"WHERRY_TEST_{kind.upper()}_URL") or self._private(kind)
        return self._urls[kind]

    def _private(self, kind: str) -> str:
        try:
            return self._stack.enter_context(SERVERS[kind]()).url
        except NoServer as error:
            missing(str(error))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Database servers, one of a kind for each worker."""
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session")
def oracle(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Real DIRAC 9.1.22 services, one process for each worker that asks; its databases have no rows yet."""
    with running_oracle(servers.url("mariadb"), tmp_path_factory.mktemp("oracle")) as up:
        yield up
