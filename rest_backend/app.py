"""The HTTP shell: aiohttp around the table of operations."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from rest_backend.errors import RestError, Unauthorized
from rest_backend.operations import Answer, Operation, RestRequest, Runner, decode, encode
from rest_backend.principals import Principal
from rest_backend.tokens import TokenIssuer

logger = logging.getLogger(__name__)


def make_app(runner: Runner, issuer: TokenIssuer, *, largest_body: int) -> web.Application:
    """The application: one handler for every path, since finding an operation is the table's.

    ``largest_body`` is in bytes; a larger request is answered with 413.
    """
    app = web.Application(client_max_size=largest_body)

    async def handle(request: web.Request) -> web.Response:
        return await _respond(request, lambda: _answer(runner, issuer, request))

    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _answer(runner: Runner, issuer: TokenIssuer, request: web.Request) -> Answer:
    operation = runner.find(request.method, request.path)
    principal = _authenticated(operation, issuer, request)
    try:
        body = decode(await request.read()) if operation.body_adapter is not None else None
    except web.HTTPRequestEntityTooLarge as error:
        raise RestError(413, str(error.text)) from error
    rest_request = RestRequest(
        request.method,
        request.path,
        query=request.query,
        body=body,
        base_url=f"{request.scheme}://{request.host}",
    )
    return await runner.run(operation, rest_request, principal)


def _authenticated(operation: Operation, issuer: TokenIssuer, request: web.Request) -> Principal | None:
    """The caller that the bearer token proves (rest-diracx.md, section 2, first rows)."""
    if operation.policy.public:
        return None
    header = request.headers.get("Authorization")
    if header is None:
        raise Unauthorized("Authorization header is missing", challenge=True)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RestError(400, "Invalid authorization header")
    return issuer.verify(token)


async def _respond(request: web.Request, answer: Callable[[], Awaitable[Answer]]) -> web.Response:
    started = time.perf_counter()
    response = await _response(request, answer)
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status,
        "peer": request.remote,
        "client": request.headers.get("User-Agent", ""),
        "milliseconds": round((time.perf_counter() - started) * 1000, 3),
    }
    logger.info("request", extra={"fields": fields})
    return response


async def _response(request: web.Request, answer: Callable[[], Awaitable[Answer]]) -> web.Response:
    try:
        given = await answer()
    except RestError as error:
        given = Answer({"detail": error.detail}, error.status, error.headers)
        if "Location" in error.headers and request.query_string:
            location = f"{error.headers['Location']}?{request.query_string}"
            given = replace(given, headers={**error.headers, "Location": location})
    except Exception:
        logger.exception("unhandled error in %s %s", request.method, request.path)
        given = Answer({"detail": "Internal Server Error"}, 500)
    if given.status == 204:
        return web.Response(status=204, headers=given.headers)
    return web.Response(
        body=encode(given.body), status=given.status, headers=given.headers, content_type="application/json"
    )
