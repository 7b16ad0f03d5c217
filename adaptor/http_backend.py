"""Another REST backend over HTTP: ours on another host, or a real DiracX.

Callers' tokens come from its ``GET /api/auth/legacy-exchange``, which trusts whoever has the exchange key.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from adaptor.backend import Backend, TokenCache, no_token
from adaptor.conversation import Request, RestFailure
from adaptor.http_session import Http, HttpAnswer, Lost, Target
from adaptor.routes import IDEMPOTENCY_KEY, Offered, Uses
from legacy_rpc.messages import Identity

logger = logging.getLogger(__name__)

EXCHANGE = "/api/auth/legacy-exchange"
OPENAPI = "/api/openapi.json"
PROXIES = "/api/proxies/"
LIMITS = "/api/jobs/limits"

# A token, or the document: what a call must not wait long for.
SMALL_SECONDS = 10.0
# For so long a caller who was refused a token stays on the old side, and nobody asks a target that is away.
REFUSAL_SECONDS = 60.0
AWAY_SECONDS = 5.0
ROUTES_SECONDS = 300.0
# Tokens are prolonged by asking again: the refresh token that comes along is of no use.
REFRESH_MINUTES = 1


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the target gives for a caller; ``expires`` is in epoch seconds, by our own clock."""

    text: str = field(repr=False)
    expires: float
    seconds: int
    refresh: str = field(repr=False, default="")


class HttpBackend:
    """Sends requests to a target as the callers.

    ``own`` is our own backend.  It answers for the proxies that callers upload, which are kept here, whoever
    has the jobs; and for what this site asks of jobs, where the target does not tell.
    """

    def __init__(
        self, target: Target, own: Backend | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._target = target
        self._own = own
        self._clock = clock
        self._http = Http(target)
        self._tokens = TokenCache(self._exchange, refusal_seconds=REFUSAL_SECONDS, clock=clock)
        self._routes = _Routes(self._http)
        self._away: RestFailure | None = None
        self._away_until = float("-inf")

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._routes.close()
        await self._http.close()

    async def can_serve(self, identity: Identity) -> bool:
        """Whether a token can be had for the caller, now."""
        try:
            return await self._tokens.token_for(identity) is not None
        except RestFailure:
            return False  # it has been logged

    async def can_carry(self, uses: Uses) -> bool:
        """Whether the target has every route that an adaptor needs; true while it cannot be asked."""
        offered = await self._routes.current()
        return offered is None or not offered.missing(uses)

    async def send(self, identity: Identity, request: Request) -> Any:
        """The body of a successful answer.  Raises RestFailure."""
        offered = await self._routes.current()
        absent = offered is not None and offered.find(request.method, request.path) is None
        ours = request.path.startswith(PROXIES) or (absent and request.path == LIMITS)
        if self._own is not None and ours:
            return await self._own.send(identity, request)
        if absent:
            raise RestFailure(404, "Not Found", sent=False)
        token = await self._tokens.token_for(identity)
        if token is None:
            raise no_token(identity)
        sending = _Sending(self._http, request, keyed=_keyed(offered, request))
        answer = await sending.answer(token)
        if answer.status == 401:  # its keys were changed, say
            token = await self._tokens.another(identity, token)
            if token is None:
                raise RestFailure(401, answer.detail, sent=sending.lost)
            answer = await sending.answer(token)
        if not 200 <= answer.status < 300:
            refused = answer.status == 401 and not sending.lost
            raise RestFailure(answer.status, answer.detail, sent=not refused)
        return answer.json(request.path)

    async def exchange(
        self, identity: Identity, *, refresh_minutes: int = REFRESH_MINUTES
    ) -> TokenAnswer | None:
        """Tokens of a caller; None for one who can have none.  Raises RestFailure.

        ``refresh_minutes``: how long they can be prolonged by whoever has the refresh token.
        """
        if identity.kind != "user" or not identity.vo:
            return None
        words = [f"vo:{identity.vo}", f"group:{identity.group}"]
        words += [f"property:{name}" for name in identity.properties]
        query = {
            "preferred_username": identity.username,
            "scope": " ".join(words),
            "expires_minutes": str(refresh_minutes),
        }
        headers = {"Authorization": f"Bearer {self._target.exchange_key}"}
        now = self._clock()
        answer = await self._http.request("GET", EXCHANGE, query, headers=headers, seconds=SMALL_SECONDS)
        if answer.status in (400, 403):
            caller = f"{identity.username} in {identity.group}"
            logger.info("%s gives %s no token: %s", self._target.url, caller, answer.detail)
            return None
        if answer.status != 200:
            raise RestFailure(
                answer.status, f"no tokens from {self._target.url}: {answer.detail}", sent=False
            )
        return _token_of(answer.json(EXCHANGE), now)

    async def _exchange(self, identity: Identity) -> TokenAnswer | None:
        """The same for our own requests; a target that is away is left in peace for a moment."""
        if self._away is not None and time.monotonic() < self._away_until:
            raise RestFailure(self._away.status, self._away.detail, sent=False)
        try:
            token = await self.exchange(identity)
        except RestFailure as failure:
            logger.warning("no tokens can be had, the old side answers: %s", failure)
            self._away, self._away_until = failure, time.monotonic() + AWAY_SECONDS
            raise RestFailure(failure.status, failure.detail, sent=False) from failure
        self._away = None
        return token


class _Sending:
    """One request, sent again where it was lost on its way and that is safe: if it reads, or has a key.

    ``lost``: whether it was, so that nobody knows what became of it the first time.
    """

    def __init__(self, http: Http, request: Request, *, keyed: bool) -> None:
        self._http = http
        self._request = request
        self._query = list(_query(request.query))
        self._headers = {"X-Request-ID": uuid.uuid4().hex}
        if keyed:
            self._headers[IDEMPOTENCY_KEY] = uuid.uuid4().hex
        self._repeatable = keyed or not request.writes
        self.lost = False

    async def answer(self, token: TokenAnswer) -> HttpAnswer:
        """Any answer.  Raises RestFailure."""
        try:
            return await self._answer(token)
        except Lost as lost:
            if self.lost or not self._repeatable:
                raise
            logger.info("%s %s is sent again: %s", self._request.method, self._request.path, lost.detail)
        self.lost = True
        try:
            return await self._answer(token)
        except RestFailure as failure:
            raise RestFailure(failure.status, failure.detail) from failure

    async def _answer(self, token: TokenAnswer) -> HttpAnswer:
        request = self._request
        headers = {**self._headers, "Authorization": f"Bearer {token.text}"}
        return await self._http.request(request.method, request.path, self._query, headers, request.body)


def _keyed(offered: Offered | None, request: Request) -> bool:
    return offered is not None and offered.takes_key(request.method, request.path)


def _token_of(body: Any, now: float) -> TokenAnswer:
    """Raises RestFailure for what is no answer of the exchange."""
    match body:
        case {"access_token": str(text), "expires_in": int(seconds), **more}:
            refresh = more.get("refresh_token")
            return TokenAnswer(text, now + seconds, seconds, refresh if isinstance(refresh, str) else "")
        case _:
            raise RestFailure(0, f"{EXCHANGE} answered something else than tokens", sent=False)


def _query(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A query as URLs have it: several values of a name one by one."""
    for name, value in query.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None:
                yield name, ("true" if each else "false") if isinstance(each, bool) else str(each)


class _Routes:
    """What the target's OpenAPI document says of its routes: asked for once, then from time to time."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._offered: Offered | None = None
        self._next = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def current(self) -> Offered | None:
        """The routes; None as long as they could not be read.  Nobody waits for them but the first time."""
        if self._task is None and time.monotonic() >= self._next:
            self._task = asyncio.create_task(self._read())
        if self._offered is None and self._task is not None:
            await asyncio.shield(self._task)
        return self._offered

    async def close(self) -> None:
        """End what is being read."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            self._offered = await offered_by(self._http)
            self._next = time.monotonic() + ROUTES_SECONDS
        except RestFailure as failure:
            logger.warning("the routes of the REST target are not known: %s", failure)
            self._next = time.monotonic() + AWAY_SECONDS
        finally:
            self._task = None


async def offered_by(http: Http) -> Offered:
    """The routes of a target.  Raises RestFailure."""
    answer = await http.request("GET", OPENAPI, seconds=SMALL_SECONDS)
    if answer.status != 200:
        raise RestFailure(answer.status, f"{http.url}{OPENAPI}: {answer.detail}")
    try:
        return Offered.of_openapi(answer.json(OPENAPI))
    except ValueError as error:
        raise RestFailure(0, f"{http.url}{OPENAPI}: {error}") from error


async def routes_of(target: Target) -> Offered:
    """The routes of a target, asked for now.  Raises RestFailure."""
    http = Http(target)
    try:
        return await offered_by(http)
    finally:
        await http.close()
