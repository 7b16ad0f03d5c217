"""Answers as responses: their bytes, and the headers that all of them have."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from rest_backend.errors import RestError
from rest_backend.http.compression import accepts_gzip, compressed, is_worth_it
from rest_backend.http.problems import PROBLEM_JSON, problem_of
from rest_backend.http.request_ids import REQUEST_ID_HEADER
from rest_backend.messages import Answer, Raw, encode, encode_gently

_JSON = "application/json"
_WITHOUT_BODY = (204, 304)
# Of a page that says nothing else: it may show itself, and nobody may frame it.
_PAGE = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# RFC 6749, 5.1.
_PRIVATE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def error_answer(error: RestError, path: str, request_id: str, *, as_problem: bool) -> Answer:
    """An error in DiracX's shape, or as problem details."""
    if as_problem:
        problem = encode(problem_of(error.status, error.detail, path, request_id))
        return Answer(Raw(problem, PROBLEM_JSON), error.status, error.headers)
    body = {"detail": error.detail}
    if error.status == 500:
        # What helps whoever has to look into it; DiracX's own has no body that clients could read.
        body["request_id"] = request_id
    return Answer(body, error.status, error.headers)


async def response_of(
    given: Answer,
    request_id: str,
    extra: Mapping[str, str],
    accept_encoding: str,
    *,
    private: bool,
) -> web.Response:
    """The response that an answer becomes.

    ``extra``: headers for this client (CORS).  ``private``: nobody may keep a copy.
    """
    headers = {
        REQUEST_ID_HEADER: request_id,
        "X-Content-Type-Options": "nosniff",
        **(_PRIVATE if private else {}),
        **given.headers,
    }
    body, content_type = await _content(given)
    if content_type.startswith("text/html"):
        headers = {**_PAGE, **headers}
    if body is not None and "Content-Encoding" not in headers and is_worth_it(body, content_type):
        _vary(headers, "Accept-Encoding")
        if accepts_gzip(accept_encoding):
            body = await compressed(body)
            headers["Content-Encoding"] = "gzip"
    for name, value in extra.items():
        if name == "Vary":
            _vary(headers, value)
        else:
            headers[name] = value
    closes = headers.pop("Connection", "") == "close"
    if content_type:
        headers["Content-Type"] = content_type
    response = web.Response(body=body, status=given.status, headers=headers)
    if closes:
        response.force_close()
    return response


async def _content(given: Answer) -> tuple[bytes | None, str]:
    """The bytes of a body and their type; none where there may be none."""
    if given.status in _WITHOUT_BODY or (given.body is None and "Location" in given.headers):
        return None, ""
    if isinstance(given.body, Raw):
        return given.body.content, given.body.content_type
    return await encode_gently(given.body), _JSON


def _vary(headers: dict[str, str], name: str) -> None:
    before = headers.get("Vary")
    headers["Vary"] = f"{before}, {name}" if before else name
