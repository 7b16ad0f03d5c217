"""Requests that make something, repeated because an answer was lost: they make it once.

A client names a request with ``Idempotency-Key``.  The answer is kept in the unit of work that makes it, so
that there is never one without the other; whoever repeats the request is given it, with
``Idempotency-Replayed: true``.

DiracX clients repeat POST and PATCH after 500, 503 and 504, with the same ``x-ms-client-request-id`` and body
(rest-diracx.md, section 1, fact 18): that header counts too, for some minutes.

Answers may hold secrets.  They are stored encrypted, with a key made of the caller's own, of which only a
hash is stored.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rest_backend.errors import RestError
from rest_backend.messages import Answer, RestRequest, encode
from rest_backend.principals import Principal
from shared_db.connection import Databases, UnitOfWork, again
from shared_db.errors import Conflict
from shared_db.queries.answers import (
    StoredAnswer,
    find_answer,
    forget_answer,
    keep_answer,
    reserve_answer,
)
from shared_db.rules.clock import utc_now

KEY_HEADER = "idempotency-key"
CLIENT_REQUEST_HEADER = "x-ms-client-request-id"
REPLAYED_HEADER = "Idempotency-Replayed"

KEPT = timedelta(hours=24)
"""How long answers are kept; :func:`shared_db.queries.answers.purge_answers` takes away older ones."""
# A client repeats a request within a minute or two, and its id may be less carefully chosen than a key.
KEPT_FOR_CLIENT = timedelta(minutes=10)

_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_NONCE_BYTES = 12
# A key that was given free between two looks can be taken: more than a few times it cannot happen.
_ATTEMPTS = 4
_RETRY_SECONDS = "1"


class _Taken(Exception):
    """Another unit of work has the key."""


@dataclass(frozen=True, slots=True, repr=False)
class Claim:
    """One request that makes something, as it is known again; made by :func:`claim_of`."""

    key_hash: str
    request_hash: str
    secret: bytes
    kept: timedelta

    def seal(self, answer: Answer) -> str:
        """Headers and body of an answer, encrypted."""
        plain = encode([dict(answer.headers), answer.body])
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self.secret).encrypt(nonce, plain, self.key_hash.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, stored: StoredAnswer) -> Answer:
        """The answer as it was given."""
        sealed = base64.b64decode(stored.sealed)
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        headers, body = orjson.loads(AESGCM(self.secret).decrypt(nonce, text, self.key_hash.encode()))
        return Answer(body, stored.status, headers)


def claim_of(operation: str, request: RestRequest, principal: Principal | None) -> Claim | None:
    """What a request claims; None when it has no key.  Raises RestError 400 for a key that is none."""
    key = request.headers.get(KEY_HEADER)
    client_request = request.headers.get(CLIENT_REQUEST_HEADER)
    if key is None and (client_request is None or not _KEY.fullmatch(client_request)):
        return None
    if key is not None and not _KEY.fullmatch(key):
        raise RestError(400, "Idempotency-Key must be 1 to 255 printable ASCII characters")
    asked = _hash("request", request.path, _canonical(request.query), _canonical(request.body)).hex()
    caller = (principal.vo, principal.subject, principal.group) if principal else ("", "", "")
    named: tuple[str, ...] = ("key", operation, *caller, str(key))
    if key is not None:
        return Claim(_hash("row", *named).hex(), asked, _hash("secret", *named), KEPT)
    # Nobody promised that these are good for one request only: another body is another request.
    named = ("client", operation, *caller, str(client_request), asked)
    return Claim(_hash("row", *named).hex(), asked, _hash("secret", *named), KEPT_FOR_CLIENT)


def _hash(*parts: str) -> bytes:
    return hashlib.sha256(orjson.dumps(parts)).digest()


def _canonical(value: Any) -> str:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    return orjson.dumps(value, default=str, option=options).decode()


async def once(
    databases: Databases,
    claim: Claim,
    admitted: Callable[[UnitOfWork], Awaitable[object]],
    handled: Callable[[UnitOfWork], Awaitable[Answer]],
) -> Answer:
    """The answer to a request that is executed once, however often it comes.

    ``handled`` does the work in the unit that it is given; ``admitted`` raises for a caller who may not, by
    now, have an answer that was kept.  Only what succeeded is kept: what was refused has
    done nothing, and may be asked again.  Raises RestError: 422 for a key that was used for something else,
    409 while another request with it has not ended.
    """

    async def attempt() -> Answer:
        async with databases.unit_of_work(write=True) as work:
            now = utc_now()
            try:
                await reserve_answer(work, claim.key_hash, claim.request_hash, now)
            except Conflict as error:
                raise _Taken from error
            answer = await handled(work)
            if answer.status < 400:
                await keep_answer(work, claim.key_hash, answer.status, claim.seal(answer))
            else:
                await forget_answer(work, claim.key_hash, now)
            return answer

    for _ in range(_ATTEMPTS):
        try:
            return await again(attempt)
        except _Taken:
            answer = await again(lambda: _replayed(databases, claim, admitted))
        if answer is not None:
            return answer
    raise RestError(
        409, "A request with this Idempotency-Key is being worked on", {"Retry-After": _RETRY_SECONDS}
    )


async def _replayed(
    databases: Databases, claim: Claim, admitted: Callable[[UnitOfWork], Awaitable[object]]
) -> Answer | None:
    """The answer that was kept; None when the key is free by now."""
    async with databases.unit_of_work(write=True) as work:
        await admitted(work)
        stored = await find_answer(work, claim.key_hash)
        if stored is None:
            return None
        if stored.created_at <= utc_now() - claim.kept:
            await forget_answer(work, claim.key_hash, stored.created_at)
            return None
    if stored.request_hash != claim.request_hash:
        raise RestError(
            422, "This Idempotency-Key was used for another request: give each request a key of its own"
        )
    answer = claim.open(stored)
    headers: Mapping[str, str] = {**answer.headers, REPLAYED_HEADER: "true"}
    return replace(answer, headers=headers)
