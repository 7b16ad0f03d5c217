"""The HTTP shell: aiohttp around the table of operations.

What all operations have in common over HTTP stands here and in :mod:`rest_backend.http`; what they have in
common in process too is the runner's (:mod:`rest_backend.operations`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from rest_backend.errors import RestError, Unauthorized
from rest_backend.http.bodies import parse_form, read_body
from rest_backend.http.client_version import check_client_version, status_for
from rest_backend.http.cors import Cors
from rest_backend.http.problems import wants_problem
from rest_backend.http.rates import Rates, network_of
from rest_backend.http.request_ids import request_id_of
from rest_backend.http.responses import error_answer, response_of
from rest_backend.messages import Answer, RestRequest, decode
from rest_backend.operations import Operation, Runner
from rest_backend.principals import Principal

logger = logging.getLogger(__name__)

PlainHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UNKNOWN = "unknown"
# nginx's word for a client that left before it was answered; it stands in the log only.
CLIENT_LEFT = 499


@dataclass(slots=True)
class Exchange:
    """One request, with what was learnt of it so far."""

    request_id: str
    operation: Operation | None = None
    principal: Principal | None = None


class Observer:
    """Is told of every request; this one does nothing."""

    def began(self) -> None:
        """A request has come."""

    def finished(self, operation: str, method: str, status: int, seconds: float) -> None:
        """It was answered; ``operation`` is ``unknown`` where none was found."""


def make_app(
    runner: Runner, observer: Observer | None = None, routes: Iterable[web.RouteDef] = ()
) -> web.Application:
    """The application: one handler for every path, since finding an operation is the table's.

    ``routes`` are served besides, by handlers that read and write streams themselves; they may raise
    RestError.
    """
    shell = Shell(runner, observer or Observer())
    app = web.Application(client_max_size=runner.resources.settings.http.largest_body)
    for route in routes:
        app.router.add_route(route.method, route.path, shell.around(route.handler), **route.kwargs)
    # Any path at all: `.` would leave out those with a line break.
    app.router.add_route("*", r"/{path:[\s\S]*}", shell.handle, expect_handler=_expect)
    return app


async def _expect(request: web.Request) -> None:
    """Tell a client that waits for it to send its body; what else it may expect is not ours to fulfil."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Shell:
    """What happens to a request between aiohttp and the runner."""

    def __init__(self, runner: Runner, observer: Observer) -> None:
        self._runner = runner
        self._observer = observer
        self._settings = runner.resources.settings.http
        self._gatekeeper = runner.resources.gatekeeper
        self._cors = Cors(self._settings.cors_origins)
        self._rates = Rates(self._settings.requests_per_minute)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by the table of operations."""
        return await self._observed(request, self._by_the_table)

    def around(self, handler: Any) -> PlainHandler:
        """A handler of aiohttp's own kind, in this shell."""

        async def answered(request: web.Request, _exchange: Exchange) -> web.StreamResponse:
            self._charge(network_of(request.remote))
            response: web.StreamResponse = await handler(request)
            return response

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._observed(request, answered)

        return handle

    async def _observed(
        self,
        request: web.Request,
        answer: Callable[[web.Request, Exchange], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The response, logged and counted."""
        started = time.perf_counter()
        exchange = Exchange(request_id_of(request.headers))
        status = CLIENT_LEFT
        self._observer.began()
        try:
            response = await self._guarded(request, exchange, answer)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - started
            name = exchange.operation.name if exchange.operation else UNKNOWN
            self._observer.finished(name, request.method, status, seconds)
            _log(request, exchange, name, status, seconds)

    async def _guarded(
        self,
        request: web.Request,
        exchange: Exchange,
        answer: Callable[[web.Request, Exchange], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The response, whatever goes wrong; but a client that has left gets none."""
        try:
            check_client_version(request.headers, self._settings.oldest_client)
            return await answer(request, exchange)
        except RestError as error:
            failure = error
        except ConnectionError:
            raise
        except Exception:
            fields = {"request_id": exchange.request_id}
            logger.exception(
                "unhandled error in %s %s", request.method, request.path, extra={"fields": fields}
            )
            failure = RestError(500, "Internal Server Error")
        wants = wants_problem(request.headers.get("Accept", ""))
        given = error_answer(failure, request.path, exchange.request_id, as_problem=wants)
        return await self._sent(request, exchange, _with_query(given, request))

    async def _by_the_table(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        if request.method == "OPTIONS":
            given = self._options(request)
        else:
            given = await self._answer(request, exchange)
            given = replace(given, status=status_for(request.headers, given.status))
        return await self._sent(request, exchange, given)

    def _options(self, request: web.Request) -> Answer:
        """What may be done with a path; to browsers, also from which pages."""
        self._charge(network_of(request.remote))
        methods = self._runner.methods(request.path)
        if not methods:
            self._runner.find(request.method, request.path)  # raises what an unknown path is answered
        preflight = self._cors.preflight(request.headers, methods)
        return Answer(None, 204, {"Allow": ", ".join(methods), **preflight})

    async def _answer(self, request: web.Request, exchange: Exchange) -> Answer:
        try:
            operation = exchange.operation = self._runner.find(request.method, request.path)
        except RestError:
            self._charge(network_of(request.remote))
            raise
        principal = exchange.principal = await self._caller(operation, request)
        rest_request = RestRequest(
            request.method,
            request.path,
            query=_with_lists(request.query),
            body=await self._body(operation, request),
            base_url=self._settings.public_url or f"{request.scheme}://{request.host}",
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        return await self._runner.run(operation, rest_request, principal)

    async def _caller(self, operation: Operation, request: web.Request) -> Principal | None:
        """The caller that the bearer token proves, who has not called too often."""
        if operation.policy.public:
            if operation.tag != "health":
                self._charge(network_of(request.remote))
            return None
        try:
            token = self._gatekeeper.verify(_bearer(request.headers))
        except RestError:
            self._charge(network_of(request.remote))
            raise
        self._charge(str(token.jti))
        return token.principal

    def _charge(self, name: str) -> None:
        """Count a request.  Raises RestError 429."""
        seconds = self._rates.take(name)
        if seconds:
            most = self._settings.requests_per_minute
            raise RestError(
                429, f"Too many requests: {most} a minute are allowed", {"Retry-After": str(seconds)}
            )

    async def _body(self, operation: Operation, request: web.Request) -> Any:
        if operation.body_adapter is None:
            return None
        seconds = self._settings.body_seconds
        data = await read_body(request, seconds, stranger=operation.policy.public)
        return _with_lists(parse_form(data)) if operation.form else decode(data)

    async def _sent(self, request: web.Request, exchange: Exchange, given: Answer) -> web.Response:
        headers = self._cors.headers(request.headers.get("Origin"))
        # Tokens are answered there, and what leads to them.
        private = exchange.operation is not None and exchange.operation.tag == "auth"
        encodings = request.headers.get("Accept-Encoding", "")
        return await response_of(given, exchange.request_id, headers, encodings, private=private)


def _bearer(headers: Mapping[str, str]) -> str:
    """The token of a request (rest-diracx.md, section 2, first rows).  Raises RestError."""
    header = headers.get("Authorization")
    if header is None:
        raise Unauthorized("Authorization header is missing", challenge=True)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RestError(400, "Invalid authorization header")
    return token


def _with_lists(values: MultiMapping[str]) -> dict[str, Any]:
    """Names with their value, or with the list of them where there are several."""
    several = {name: values.getall(name) for name in values}
    return {name: each if len(each) > 1 else each[0] for name, each in several.items()}


def _with_query(given: Answer, request: web.Request) -> Answer:
    """The target of a redirect has the query of the request."""
    query = request.rel_url.raw_query_string
    if "Location" not in given.headers or not query:
        return given
    return replace(given, headers={**given.headers, "Location": f"{given.headers['Location']}?{query}"})


def _log(request: web.Request, exchange: Exchange, operation: str, status: int, seconds: float) -> None:
    principal = exchange.principal
    fields = {
        "method": request.method,
        "path": request.path,
        "operation": operation,
        "status": status,
        "request_id": exchange.request_id,
        "caller": principal.username if principal else "",
        "group": principal.group if principal else "",
        "peer": request.remote,
        "client": request.headers.get("User-Agent", ""),
        "milliseconds": round(seconds * 1000, 3),
    }
    logger.info("request", extra={"fields": fields})
