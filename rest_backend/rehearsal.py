"""A whole conversation of requests, tried and taken back (migration.md, Rehearsing writes).

For trusted callers in this process only: no route leads here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rest_backend.errors import RestError
from rest_backend.operations import Answer, RestRequest, Runner
from rest_backend.principals import Principal
from shared_db.effects import Effect


class NotRehearsable(Exception):
    """The conversation asks for what cannot be taken back; the text names the operation."""


@dataclass
class Rehearsal:
    """A rehearsal that is going on, or is over.

    ``answers``: to the requests so far, in order.  ``effects``: what the conversation would have done to the
    rows; filled when the block ends.
    """

    runner: Runner
    answers: list[Answer] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    async def call(self, request: RestRequest, principal: Principal) -> Answer:
        """As ``Runner.call``.  Raises NotRehearsable."""
        self._check(request)
        answer = await self.runner.call(request, principal)
        self.answers.append(answer)
        return answer

    def _check(self, request: RestRequest) -> None:
        try:
            operation = self.runner.find(request.method, request.path)
        except RestError:
            return  # it is answered with that
        if not operation.transactional:
            raise NotRehearsable(f"{operation.name} asks others than the database, who would keep it")


@asynccontextmanager
async def rehearsing(runner: Runner, *, seconds: float) -> AsyncIterator[Rehearsal]:
    """All requests made through the rehearsal happen in one transaction, which is rolled back at the end.

    Each sees what those before it did; nobody else does.  A request that is refused is taken back by itself,
    as outside.  Rows stay locked meanwhile: ``seconds`` is all the time there is, for the reading of effects
    too.  Raises TimeoutError; Unavailable where a lock is in the way; Foreign where tables keep what is
    rolled back.
    """
    async with asyncio.timeout(seconds), runner.resources.databases.rehearsal() as outer:
        rehearsal = Rehearsal(runner)
        yield rehearsal
        rehearsal.effects = await outer.effects()
