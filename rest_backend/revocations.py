"""Which access tokens are refused though their time is not over: asked of memory, followed in the database.

Every worker reads the table again once a second; one that writes into it, at once.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from rest_backend.tokens import AccessToken, family_mark
from shared_db.connection import Databases
from shared_db.errors import DataError
from shared_db.queries.revocations import FAMILY, SUBJECT, TOKEN, Revocation, revocations_in_force

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class Revocations:
    """What is refused at present, in this process."""

    def __init__(self) -> None:
        self._tokens: frozenset[uuid.UUID] = frozenset()
        self._families: frozenset[int] = frozenset()
        self._subjects: dict[str, datetime] = {}
        self._news = asyncio.Event()
        self._silent = False

    def refuses(self, token: AccessToken) -> bool:
        """Whether a token was revoked, by itself, with its family, or with all of its subject's."""
        if token.jti in self._tokens or family_mark(token.jti) in self._families:
            return True
        if not self._subjects:
            return False
        revoked = self._subjects.get(f"{token.principal.vo}:{token.principal.subject}")
        return revoked is not None and token.issued <= revoked

    def put(self, given: Iterable[Revocation]) -> None:
        """These are in force, and no others."""
        by_kind: dict[str, list[Revocation]] = {TOKEN: [], FAMILY: [], SUBJECT: []}
        for each in given:
            by_kind.setdefault(each.kind, []).append(each)
        self._tokens = frozenset(uuid.UUID(each.value) for each in by_kind[TOKEN])
        self._families = frozenset(family_mark(uuid.UUID(each.value)) for each in by_kind[FAMILY])
        self._subjects = {each.value: each.revoked_at for each in by_kind[SUBJECT]}

    def changed(self) -> None:
        """Have the table read soon: a change of it was committed."""
        self._news.set()

    async def read(self, databases: Databases) -> None:
        """Read the table once; what was known stays known while the database cannot be asked."""
        try:
            async with databases.unit_of_work() as work:
                self.put(await revocations_in_force(work, datetime.now(UTC)))
            self._silent = False
        except DataError as error:
            if not self._silent:
                logger.error("%s: revoked access tokens are not known until it is there", error)
            self._silent = True

    @asynccontextmanager
    async def followed(self, databases: Databases, seconds: float = POLL_SECONDS) -> AsyncIterator[None]:
        """The table is read, at first before anything else, until the block ends.

        A database that is not there at the start is the start's to tell of.
        """
        self._silent = True
        await self.read(databases)
        task = asyncio.create_task(self._follow(databases, seconds))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self, databases: Databases, seconds: float) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            self._news.clear()
            await self.read(databases)
