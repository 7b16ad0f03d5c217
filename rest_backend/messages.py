"""Requests and answers as both shells carry them, and their JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pydantic

from rest_backend.errors import malformed_json

# So many items of an answer, rows mostly, are written in a millisecond or two.
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is no JSON, as it is sent."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back; ``body`` is made of JSON's types, datetimes and models, or is Raw.

    The unit of work is committed whatever ``status`` says; to raise RestError rolls it back.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A request in either shell; ``body`` is made of JSON's types, None when there is none.

    ``query``: several values of one name are a list.  ``headers`` have names in lower case.  ``base_url`` has
    no trailing slash.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def encode(value: Any) -> bytes:
    """JSON, with DiracX's form of times (``2026-11-21T20:56:16Z``, no microseconds when zero)."""
    return orjson.dumps(value, default=_model, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


async def encode_gently(value: Any) -> bytes:
    """The same; of a long list others get their turn between some items and some."""
    if not isinstance(value, list) or len(value) <= AT_ONCE:
        return encode(value)
    parts = []
    for start in range(0, len(value), AT_ONCE):
        parts.append(encode(value[start : start + AT_ONCE])[1:-1])
        await asyncio.sleep(0)
    return b"[" + b",".join(parts) + b"]"


async def plain(value: Any) -> Any:
    """What a client would read of a value: texts in place of times and models."""
    if not isinstance(value, list) or len(value) <= AT_ONCE:
        return orjson.loads(encode(value))
    items: list[Any] = []
    for start in range(0, len(value), AT_ONCE):
        items += orjson.loads(encode(value[start : start + AT_ONCE]))
        await asyncio.sleep(0)
    return items


def plain_error(detail: Any) -> dict[str, Any]:
    """The body of an error, as a client would read it.

    A caller in this process may have sent what no JSON holds, which errors repeat: it becomes `?`.
    """
    body = {"detail": detail}
    try:
        read: dict[str, Any] = orjson.loads(encode(body))
    except orjson.JSONEncodeError:
        read = json.loads(json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace"))
    return read


def _model(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def decode(data: bytes) -> Any:
    """A request body; nothing at all is None.  Raises RestError 422 for what is no JSON."""
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise malformed_json(error.pos, error.msg) from error
