"""The HTTP shell: aiohttp around the table of operations."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict, MultiMapping

from rest_backend.errors import RestError, Unauthorized
from rest_backend.operations import Answer, Operation, Raw, RestRequest, Runner, decode, encode
from rest_backend.principals import Principal
from rest_backend.tokens import TokenIssuer

logger = logging.getLogger(__name__)

MOST_FORM_FIELDS = 100
_WITHOUT_BODY = (204, 304)


def make_app(runner: Runner) -> web.Application:
    """The application: one handler for every path, since finding an operation is the table's."""
    app = web.Application(client_max_size=runner.resources.settings.http.largest_body)

    async def handle(request: web.Request) -> web.Response:
        return await _respond(request, lambda: _answer(runner, request))

    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _answer(runner: Runner, request: web.Request) -> Answer:
    operation = runner.find(request.method, request.path)
    principal = _authenticated(operation, runner.resources.issuer, request)
    try:
        body = await _body(operation, request)
    except web.HTTPRequestEntityTooLarge as error:
        raise RestError(413, str(error.text)) from error
    rest_request = RestRequest(
        request.method,
        request.path,
        query=_with_lists(request.query),
        body=body,
        base_url=f"{request.scheme}://{request.host}",
        headers={name.lower(): value for name, value in request.headers.items()},
    )
    return await runner.run(operation, rest_request, principal)


async def _body(operation: Operation, request: web.Request) -> Any:
    if operation.body_adapter is None:
        return None
    if operation.form:
        return _with_lists(parse_form(await request.read()))
    return decode(await request.read())


def parse_form(data: bytes) -> MultiMapping[str]:
    """The fields of a form as browsers and OAuth clients send it.  Raises RestError 422."""
    try:
        return MultiDict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS))
    except ValueError as error:
        problem = {"type": "form_invalid", "loc": ["body"], "msg": f"Form decode error: {error}", "input": {}}
        raise RestError(422, [problem]) from error


def _with_lists(values: MultiMapping[str]) -> dict[str, Any]:
    """Names with their value, or with the list of them where there are several."""
    several = {name: values.getall(name) for name in values}
    return {name: each if len(each) > 1 else each[0] for name, each in several.items()}


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
    if given.status in _WITHOUT_BODY or (given.body is None and "Location" in given.headers):
        return web.Response(status=given.status, headers=given.headers)
    if isinstance(given.body, Raw):
        headers = {**given.headers, "Content-Type": given.body.content_type}
        return web.Response(body=given.body.content, status=given.status, headers=headers)
    return web.Response(
        body=encode(given.body), status=given.status, headers=given.headers, content_type="application/json"
    )
