"""Bodies of requests: how large, how slow, in which coding they may come."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDict, MultiMapping

from rest_backend.errors import RestError

MOST_FORM_FIELDS = 100
# aiohttp opens them as they come, a bounded piece at a time, so that client_max_size bounds what is in them.
CODINGS = ("", "identity", "gzip", "deflate")


# Of callers without a token, of whom there may be any number at once: a form or a secret is short.
LARGEST_OF_STRANGERS = 64 * 1024


async def read_body(request: web.Request, seconds: float, *, stranger: bool = False) -> bytes:
    """The body, opened if it came compressed.

    ``stranger``: the caller has not said who it is, and so may not send much.

    Raises RestError: 408 if it is not whole after so many seconds, 413, 415 for a coding that is not known,
    400 for one that is broken.
    """
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if stranger:
        request = request.clone(client_max_size=min(request.client_max_size, LARGEST_OF_STRANGERS))
    if coding not in CODINGS:
        raise RestError(
            415,
            f"Content-Encoding '{coding[:40]}' is not known here: send gzip, deflate or none",
            {"Accept-Encoding": "gzip, deflate"},
        )
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError as error:
        raise RestError(
            408, f"The body was not whole after {seconds:g} s", {"Connection": "close"}
        ) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise RestError(413, str(error.text)) from error
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise RestError(400, "The body is not what its headers say it is", {"Connection": "close"}) from error


def parse_form(data: bytes) -> MultiMapping[str]:
    """The fields of a form as browsers and OAuth clients send it.  Raises RestError 422."""
    try:
        return MultiDict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS))
    except ValueError as error:
        problem = {"type": "form_invalid", "loc": ["body"], "msg": f"Form decode error: {error}", "input": {}}
        raise RestError(422, [problem]) from error
