"""Secrets that pilots exchange for their first token; only their hashes are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, Update, bindparam, case, or_, select

from shared_db.connection import UnitOfWork
from shared_db.queries.values import chunks
from shared_db.schema.wherry_db import WHERRY_DB, pilot_secrets

# What a secret may be bound to; a list that is missing or empty forbids nothing.
VOS, STAMPS, SITES = "VOs", "PilotStamps", "Sites"
Constraints = Mapping[str, Sequence[str]]

# Secrets in one statement that gives each its own constraints.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known about a secret; ``most_uses`` and ``expires`` None: no limit."""

    vo: str
    constraints: Constraints = field(default_factory=dict)
    most_uses: int | None = 1
    expires: datetime | None = None

    def allows(self, *, vo: str, stamp: str, site: str) -> bool:
        """Whether a pilot may use it."""
        given = {VOS: vo, STAMPS: stamp, SITES: site}
        return all(not allowed or given.get(name) in allowed for name, allowed in self.constraints.items())


def digest(secret: str) -> str:
    """What is kept of a secret; 256 random bits need neither salt nor stretching."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


async def add_secrets(work: UnitOfWork, secrets: Mapping[str, Secret], created: datetime) -> None:
    """Keep new secrets, by their text."""
    rows = [
        {
            "secret_hash": digest(text),
            "vo": secret.vo,
            "constraints_json": json.dumps(secret.constraints),
            "most_uses": secret.most_uses,
            "created_at": created,
            "expires_at": secret.expires,
        }
        for text, secret in secrets.items()
    ]
    if rows:
        await work.change(WHERRY_DB, pilot_secrets.insert(), rows)


async def spend_secret(work: UnitOfWork, text: str) -> bool:
    """Count one use of a secret; False when there is none such, or when it is used up.

    Whoever comes second waits for the first, so that it is never used more often than it may be.
    """
    return bool(await work.change(WHERRY_DB, _spending(), {"hash": digest(text)}))


@cache
def _spending() -> Update:
    c = pilot_secrets.c
    return (
        pilot_secrets.update()
        .where(c.secret_hash == bindparam("hash"), or_(c.most_uses.is_(None), c.uses < c.most_uses))
        .values(uses=c.uses + 1)
    )


async def find_secrets(work: UnitOfWork, texts: Iterable[str]) -> dict[str, Secret]:
    """Those of the secrets that there are, by their text."""
    by_hash = {digest(text): text for text in texts}
    found: dict[str, Secret] = {}
    for chunk in chunks(by_hash):
        for key, vo, constraints, most_uses, expires in await work.rows(
            WHERRY_DB, _found(), {"hashes": chunk}
        ):
            found[by_hash[key]] = Secret(vo, json.loads(constraints), most_uses, expires)
    return found


@cache
def _found() -> Select[Any]:
    c = pilot_secrets.c
    condition = c.secret_hash.in_(bindparam("hashes", expanding=True))
    return select(c.secret_hash, c.vo, c.constraints_json, c.most_uses, c.expires_at).where(condition)


async def constrain_secrets(work: UnitOfWork, constraints: Mapping[str, Constraints]) -> list[str]:
    """Replace constraints of secrets by their text: the lists that are given, others stay.

    Returns those of the secrets that are unknown, and then changes nothing.
    """
    known = await find_secrets(work, constraints)
    if unknown := [text for text in constraints if text not in known]:
        return unknown
    new = {
        digest(text): json.dumps({**known[text].constraints, **given}) for text, given in constraints.items()
    }
    c = pilot_secrets.c
    for chunk in chunks(new, _AT_ONCE):
        values = case({key: new[key] for key in chunk}, value=c.secret_hash, else_=c.constraints_json)
        await work.change(
            WHERRY_DB,
            pilot_secrets.update().where(c.secret_hash.in_(chunk)).values(constraints_json=values),
        )
    return []


async def purge_ended_secrets(work: UnitOfWork, now: datetime, most: int = 10_000) -> int:
    """Forget at most so many secrets whose time is over; returns how many: 0 when none is left."""
    rows = await work.rows(WHERRY_DB, _ended(), {"now": now, "most": most})
    if not rows:
        return 0
    hashes = [row[0] for row in rows]
    return await work.change(WHERRY_DB, pilot_secrets.delete().where(pilot_secrets.c.secret_hash.in_(hashes)))


@cache
def _ended() -> Select[Any]:
    c = pilot_secrets.c
    condition = c.expires_at <= bindparam("now")
    return select(c.secret_hash).where(condition).order_by(c.expires_at).limit(bindparam("most"))
