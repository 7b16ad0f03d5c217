"""Another backend over HTTP: tokens, requests and what becomes of failures, against a server of our own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from adaptor import http_backend
from adaptor.conversation import Request, RestFailure
from adaptor.http_backend import HttpBackend
from adaptor.http_session import Target
from adaptor.routes import Route, Uses
from legacy_rpc.messages import Identity

ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser", "JobSharing"))
KEY = "diracx:legacy:c2VjcmV0c2VjcmV0"
SEARCH = Request(
    "POST", "/api/jobs/search", {"search": []}, {"page": 1, "ids": [1, 2], "all": True, "none": None}
)
SUBMIT = Request("POST", "/api/jobs/jdl", ["x"])
KILL = Request("PATCH", "/api/jobs/status", {})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/api/jobs/search": {"post": {}},
        "/api/jobs/status": {"patch": {}},
        "/api/jobs/jdl": {"post": {"parameters": [{"name": "Idempotency-Key"}]}},
    }
}


@dataclass
class TargetServer:
    """Answers with what it is told to, and keeps what it was asked."""

    url: str = ""
    exchanges: list[web.Request] = field(default_factory=list)
    requests: list[tuple[web.Request, Any]] = field(default_factory=list)
    exchange: Handler | None = None
    answer: Handler | None = None
    document: Any = field(default_factory=lambda: DOCUMENT)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/openapi.json":
            return web.json_response(self.document)
        if request.path == "/api/auth/legacy-exchange":
            self.exchanges.append(request)
            if self.exchange is not None:
                return await self.exchange(request)
            return tokens(f"token {len(self.exchanges)}")
        self.requests.append((request, await request.json() if request.can_read_body else None))
        assert self.answer is not None
        return await self.answer(request)


def tokens(text: str, seconds: int = 1200) -> web.Response:
    return web.json_response({"access_token": text, "expires_in": seconds, "refresh_token": "r"})


def answers(*given: tuple[int, Any]) -> Handler:
    """A handler that gives one after the other, the last again and again; a body None is none."""
    left = list(given)

    async def handler(_request: web.Request) -> web.Response:
        status, body = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status) if body is None else web.json_response(body, status=status)

    return handler


async def lost(request: web.Request) -> web.Response:
    """The connection breaks in place of an answer."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.sleep(1)
    raise AssertionError


@pytest.fixture
async def server() -> AsyncIterator[TargetServer]:
    """A target that is up."""
    target = TargetServer(answer=answers((200, [])))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield target
    await runner.cleanup()


@pytest.fixture
async def backend(server: TargetServer) -> AsyncIterator[HttpBackend]:
    """What is tested."""
    backend = HttpBackend(Target(server.url, KEY))
    yield backend
    await backend.close()


async def failure(sending: Awaitable[Any]) -> RestFailure:
    """The failure that a request ends with."""
    with pytest.raises(RestFailure) as raised:
        await sending
    return raised.value


async def test_a_request(server: TargetServer, backend: HttpBackend) -> None:
    """A request goes out as it is, with the caller's token and an id; its JSON comes back."""
    server.answer = answers((206, [{"JobID": 1}]))
    assert await backend.send(ALICE, SEARCH) == [{"JobID": 1}]
    [(request, body)] = server.requests
    assert request.path_qs == "/api/jobs/search?page=1&ids=1&ids=2&all=true"
    assert body == {"search": []}
    assert request.headers["Authorization"] == "Bearer token 1"
    assert len(request.headers["X-Request-ID"]) == 32
    assert "Idempotency-Key" not in request.headers


async def test_the_exchange(server: TargetServer, backend: HttpBackend) -> None:
    """A token is asked for with the key, for the caller's VO, group and properties, and used again."""
    for _ in range(2):
        await backend.send(ALICE, SEARCH)
    [exchange] = server.exchanges
    assert exchange.headers["Authorization"] == f"Bearer {KEY}"
    assert dict(exchange.query) == {
        "preferred_username": "alice",
        "scope": "vo:demo group:demo_user property:NormalUser property:JobSharing",
        "expires_minutes": "1",
    }


async def test_tokens_of_groups(server: TargetServer, backend: HttpBackend) -> None:
    """Each group of a user has its own token; calls at the same time ask for one."""
    admin = Identity("alice", "demo_admin", vo="demo", properties=("Operator",))
    await asyncio.gather(*(backend.send(each, SEARCH) for each in (ALICE, admin) for _ in range(5)))
    used = {request.headers["Authorization"] for request, _ in server.requests}
    assert used == {"Bearer token 1", "Bearer token 2"}
    assert len(server.exchanges) == 2


@pytest.mark.parametrize("body", [None, "null"])
async def test_nothing(server: TargetServer, backend: HttpBackend, body: str | None) -> None:
    """No content, and null, are None."""

    async def nothing(_request: web.Request) -> web.Response:
        return web.Response(status=204 if body is None else 200, text=body)

    server.answer = nothing
    assert await backend.send(ALICE, KILL) is None


@pytest.mark.parametrize(
    ("status", "body", "detail", "not_executed"),
    [
        (404, {"detail": "Not Found"}, "Not Found", True),
        (404, {"detail": "Job 1 not found"}, "Job 1 not found", False),
        (405, {"detail": "Method Not Allowed"}, "Method Not Allowed", True),
        (422, {"detail": [{"msg": "no"}]}, [{"msg": "no"}], True),
        (403, {"detail": "Forbidden"}, "Forbidden", False),
        (416, [], [], False),
        (503, {"detail": "away"}, "away", False),
        (500, "no object", "no object", False),
        (307, {"detail": "elsewhere"}, "elsewhere", False),
    ],
)
async def test_refusals(
    server: TargetServer, backend: HttpBackend, status: int, body: Any, detail: Any, not_executed: bool
) -> None:
    """An error status is a failure with its detail, which says whether anything can have been done."""
    server.answer = answers((status, body))
    failed = await failure(backend.send(ALICE, SUBMIT))
    assert (failed.status, failed.detail, failed.not_executed) == (status, detail, not_executed)


async def test_no_json(server: TargetServer, backend: HttpBackend) -> None:
    """A proxy's page in place of an answer is none, and what became of the request nobody knows."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    server.answer = page
    failed = await failure(backend.send(ALICE, SUBMIT))
    assert failed.status == 0
    assert not failed.not_executed


async def test_a_refused_token(server: TargetServer, backend: HttpBackend) -> None:
    """A token that is refused is asked for anew, once; where the new one is, too, nothing was done."""
    server.answer = answers((401, {"detail": "Invalid JWT"}), (200, "done"))
    assert await backend.send(ALICE, SUBMIT) == "done"
    assert len(server.exchanges) == 2
    server.answer = answers((401, {"detail": "Invalid JWT"}))
    failed = await failure(backend.send(ALICE, SUBMIT))
    assert (failed.status, failed.not_executed) == (401, True)
    assert len(server.exchanges) == 3


async def test_an_ending_token(server: TargetServer) -> None:
    """A token is asked for anew before it ends."""
    now = [1000.0]
    backend = HttpBackend(Target(server.url, KEY), clock=lambda: now[0])
    for moment, exchanges in ((1000.0, 1), (2139.0, 1), (2141.0, 2)):
        now[0] = moment
        await backend.send(ALICE, SEARCH)
        assert len(server.exchanges) == exchanges
    await backend.close()


@pytest.mark.parametrize("status", [400, 403])
async def test_who_can_have_no_token(server: TargetServer, backend: HttpBackend, status: int) -> None:
    """Whom the target knows nothing of is not asked about again for a while; nothing is sent."""
    server.exchange = answers((status, {"detail": "Invalid scope or preferred_username"}))
    for _ in range(3):
        assert not await backend.can_serve(ALICE)
    failed = await failure(backend.send(ALICE, SUBMIT))
    assert failed.not_executed
    assert len(server.exchanges) == 1
    assert server.requests == []


@pytest.mark.parametrize(
    "identity",
    [Identity("carol", "no_vo"), Identity("h", "hosts", kind="host", vo="demo")],
    ids=["no VO", "host"],
)
async def test_nobody_asks_for(server: TargetServer, backend: HttpBackend, identity: Identity) -> None:
    """Those who are in no VO, and hosts, have no tokens, and nobody is asked."""
    assert not await backend.can_serve(identity)
    assert server.exchanges == []


@pytest.mark.parametrize("status", [401, 503])
async def test_a_wrong_key(
    server: TargetServer, backend: HttpBackend, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Where the target gives nobody a token the log says so, without the key, and nobody asks for a while."""
    server.exchange = answers((status, {"detail": "Invalid credentials"}))
    with caplog.at_level(logging.DEBUG):
        for name in ("alice", "bob"):
            assert not await backend.can_serve(Identity(name, "g", vo="demo"))
    assert len(server.exchanges) == 1
    assert "Invalid credentials" in caplog.text
    assert KEY.rpartition(":")[2] not in caplog.text + repr(Target(server.url, KEY))


async def test_a_target_that_comes_back(
    server: TargetServer, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure the target is asked again."""
    monkeypatch.setattr(http_backend, "AWAY_SECONDS", 0.05)
    server.exchange = answers((503, {"detail": "away"}))
    assert not await backend.can_serve(ALICE)
    server.exchange = None
    await asyncio.sleep(0.06)
    assert await backend.can_serve(ALICE)


async def test_nobody_there(server: TargetServer, backend: HttpBackend, unused_tcp_port: int) -> None:
    """A connection that cannot be made has done nothing, with a token and without."""
    await backend.send(ALICE, SEARCH)
    nowhere = HttpBackend(Target(f"http://127.0.0.1:{unused_tcp_port}", KEY))
    failed = await failure(nowhere.send(ALICE, SUBMIT))
    assert (failed.status, failed.not_executed) == (0, True)
    assert not await nowhere.can_serve(ALICE)
    assert await nowhere.can_carry(Uses(needed=((Route("GET", "/api/x"),),)))
    await nowhere.close()


@pytest.mark.parametrize(
    ("request_", "times"), [(SEARCH, 2), (SUBMIT, 2), (KILL, 1)], ids=["read", "key", "none"]
)
async def test_a_lost_connection(
    server: TargetServer, backend: HttpBackend, request_: Request, times: int
) -> None:
    """A request that was lost is sent again where that is safe: if it reads, or has a key (one for both)."""
    server.answer = lost
    failed = await failure(backend.send(ALICE, request_))
    assert (failed.status, failed.not_executed) == (0, False)
    assert len(server.requests) == times
    keys = {request.headers.get("Idempotency-Key") for request, _ in server.requests}
    assert len(keys) == 1
    assert (None in keys) is (request_ is not SUBMIT)


@pytest.mark.parametrize(
    "second", [(200, ["made"]), (401, {"detail": "Invalid JWT"})], ids=["made", "refused"]
)
async def test_after_a_lost_request(
    server: TargetServer, backend: HttpBackend, second: tuple[int, Any]
) -> None:
    """A lost creation can be made the second time; if it is refused then, the first may have been done."""

    async def first_lost(request: web.Request) -> web.StreamResponse:
        return await (lost if len(server.requests) == 1 else answers(second))(request)

    server.answer = first_lost
    if second[0] == 200:
        assert await backend.send(ALICE, SUBMIT) == ["made"]
    else:
        failed = await failure(backend.send(ALICE, SUBMIT))
        assert (failed.status, failed.not_executed) == (401, False)


async def test_a_slow_answer(
    server: TargetServer, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that does not come in time is none; nothing is sent again."""
    await backend.send(ALICE, SEARCH)

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.json_response([])

    server.answer = slow
    monkeypatch.setitem(backend._http.request.__func__.__kwdefaults__, "seconds", 0.05)
    failed = await failure(backend.send(ALICE, SEARCH))
    assert (failed.status, failed.not_executed) == (0, False)
    assert "did not answer within" in failed.detail
    assert len(server.requests) == 2


async def test_routes(server: TargetServer, backend: HttpBackend) -> None:
    """A route that the target has not is not asked for, and methods that need it are known before."""
    failed = await failure(backend.send(ALICE, Request("POST", "/api/jobs/confirm", {})))
    assert (failed.status, failed.detail, failed.not_executed) == (404, "Not Found", True)
    assert server.requests == []
    assert await backend.can_carry(Uses(needed=((Route("POST", "/api/jobs/search"),),)))
    assert not await backend.can_carry(Uses(needed=((Route("POST", "/api/jobs/confirm"),),)))


async def test_no_document(server: TargetServer, backend: HttpBackend) -> None:
    """While the routes are not known everything is tried."""
    server.document = []
    assert await backend.can_carry(Uses(needed=((Route("POST", "/api/jobs/confirm"),),)))
    assert await backend.send(ALICE, Request("POST", "/api/jobs/confirm", {})) == []


async def test_large_numbers(server: TargetServer, backend: HttpBackend) -> None:
    """What callers send and JSON can say goes through, larger than 64 bits too."""
    body = {"search": [2**70, "\ud800"]}
    await backend.send(ALICE, Request("POST", "/api/jobs/search", body))
    assert server.requests[0][1] == body


class Own:
    """Our own backend."""

    async def can_serve(self, _identity: Identity) -> bool:
        return True

    async def can_carry(self, _uses: Uses) -> bool:
        return True

    async def send(self, identity: Identity, request: Request) -> Any:
        return identity.username, request.path


async def test_what_is_ours(server: TargetServer) -> None:
    """Our own backend is asked for callers' proxies, and for limits that the target does not tell."""
    proxies, limits = (Request("GET", path) for path in ("/api/proxies/own", "/api/jobs/limits"))
    paths = {**DOCUMENT["paths"], limits.path: {"get": {}}, proxies.path: {"get": {}}}
    for document, asked in ((DOCUMENT, []), ({"paths": paths}, [limits.path])):
        server.document = document
        backend = HttpBackend(Target(server.url, KEY), Own())
        assert await backend.send(ALICE, proxies) == ("alice", proxies.path)
        assert await backend.send(ALICE, limits) == ([] if asked else ("alice", limits.path))
        assert [request.path for request, _ in server.requests] == asked
        assert await backend.send(ALICE, SEARCH) == []
        server.requests.clear()
        await backend.close()
