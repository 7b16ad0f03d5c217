"""Delegated proxies: requests for them, the proxies themselves, and the log of who did what with them.

Rows are found by the DN in whatever spelling it is asked for (:func:`shared_db.registry.canonical_dn`).
Keys are sealed before they come here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, true, update

from shared_db.connection import UnitOfWork
from shared_db.queries.purging import purge
from shared_db.registry import canonical_dn
from shared_db.rules import clock
from shared_db.schema.wherry_db import WHERRY_DB, delegations, proxies, proxy_log

REQUEST_LIFETIME = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class StoredProxy:
    """A proxy with its key sealed; ``user_dn`` as its certificate has it."""

    user_dn: str
    username: str
    chain: str
    key_sealed: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Who did what with whose proxy."""

    action: str
    issuer_dn: str
    issuer_group: str
    target_dn: str
    target_group: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are wanted, and how: ``order`` are columns, and whether they descend; ``limit`` 0: all."""

    order: Sequence[tuple[str, bool]] = ()
    start: int = 0
    limit: int = 0


async def add_request(work: UnitOfWork, dn: str, key_sealed: bytes) -> int:
    """Keep the key of a proxy to come, for 300 s; returns the request's id.  Old requests go."""
    now = clock.utc_now()
    await work.change(WHERRY_DB, delete(delegations).where(delegations.c.expires_at <= now))
    row = {"dn": canonical_dn(dn), "key_sealed": key_sealed, "expires_at": now + REQUEST_LIFETIME}
    [request_id] = await work.insert_ids(WHERRY_DB, delegations, [row])
    return request_id


async def requested_key(work: UnitOfWork, request_id: int, dn: str) -> bytes | None:
    """The sealed key of a request; None unless it is this caller's and not too old."""
    wanted = select(delegations.c.key_sealed).where(
        delegations.c.request_id == request_id,
        delegations.c.dn == canonical_dn(dn),
        delegations.c.expires_at > clock.utc_now(),
    )
    rows = await work.rows(WHERRY_DB, wanted)
    return rows[0][0] if rows else None


async def remove_request(work: UnitOfWork, request_id: int) -> None:
    """A request is good for one proxy."""
    await work.change(WHERRY_DB, delete(delegations).where(delegations.c.request_id == request_id))


async def put_proxy(work: UnitOfWork, proxy: StoredProxy) -> bool:
    """Store a proxy in place of one of the same DN that ends earlier; False if that one ends later."""
    dn = canonical_dn(proxy.user_dn)
    values = {
        "user_dn": proxy.user_dn,
        "username": proxy.username,
        "chain": proxy.chain,
        "key_sealed": proxy.key_sealed,
        "stored_at": clock.utc_now(),
        "expires_at": proxy.expires_at,
    }
    longest = select(proxies.c.expires_at).where(proxies.c.dn == dn).with_for_update()
    rows = await work.rows(WHERRY_DB, longest)
    if not rows:
        await work.change(WHERRY_DB, insert(proxies).values(dn=dn, **values))
    elif rows[0][0] < proxy.expires_at:
        await work.change(WHERRY_DB, update(proxies).where(proxies.c.dn == dn).values(values))
    else:
        return False
    return True


async def proxy_of(work: UnitOfWork, dn: str) -> StoredProxy | None:
    """The proxy of a DN that has not ended."""
    columns = [proxies.c[name] for name in ("user_dn", "username", "chain", "key_sealed", "expires_at")]
    wanted = select(*columns).where(proxies.c.dn == canonical_dn(dn), proxies.c.expires_at > clock.utc_now())
    rows = await work.rows(WHERRY_DB, wanted)
    return StoredProxy(*rows[0]) if rows else None


async def proxy_seconds(work: UnitOfWork, dns: Collection[str]) -> int:
    """For how many seconds the longest of the proxies of these DNs lasts; 0: there is none."""
    wanted = select(func.max(proxies.c.expires_at)).where(proxies.c.dn.in_([canonical_dn(dn) for dn in dns]))
    [(expires_at,)] = await work.rows(WHERRY_DB, wanted)
    return 0 if expires_at is None else max(0, int((expires_at - clock.utc_now()).total_seconds()))


async def list_proxies(
    work: UnitOfWork,
    *,
    usernames: Collection[str] | None = None,
    dns: Collection[str] | None = None,
    longer_than: timedelta = timedelta(0),
    page: Page | None = None,
) -> list[tuple[str, str, datetime]]:
    """``(username, DN, end)`` of the proxies that have so much time left; None: of all users, of all DNs."""
    conditions = [proxies.c.expires_at > clock.utc_now() + longer_than]
    if usernames is not None:
        conditions.append(proxies.c.username.in_(usernames))
    if dns is not None:
        conditions.append(proxies.c.dn.in_([canonical_dn(each) for each in dns]))
    wanted = select(proxies.c.username, proxies.c.user_dn, proxies.c.expires_at).where(*conditions)
    wanted = _paged(wanted, page or Page(), proxies.c, proxies.c.dn)
    return [(row[0], row[1], row[2]) for row in await work.rows(WHERRY_DB, wanted)]


async def remove_proxies(work: UnitOfWork, dns: Collection[str]) -> int:
    """Remove the proxies of these DNs, those that are there; returns how many were."""
    wanted = [canonical_dn(each) for each in dns]
    return await work.change(WHERRY_DB, delete(proxies).where(proxies.c.dn.in_(wanted)))


async def purge_proxies(work: UnitOfWork) -> int:
    """Remove the proxies that have ended; returns how many."""
    return await work.change(WHERRY_DB, delete(proxies).where(proxies.c.expires_at <= clock.utc_now()))


async def log_actions(work: UnitOfWork, entries: Sequence[LogEntry]) -> None:
    """Add to the log."""
    now = clock.utc_now()
    rows = [
        {
            "action": each.action,
            "issuer_dn": each.issuer_dn,
            "issuer_group": each.issuer_group,
            "target_dn": each.target_dn,
            "target_group": each.target_group,
            "happened_at": now,
        }
        for each in entries
    ]
    if rows:
        await work.change(WHERRY_DB, insert(proxy_log).values(rows))


async def purge_proxy_log(work: UnitOfWork, before: datetime, most: int = 1000) -> int:
    """Forget what happened before an aware time, so many entries at most; returns how many."""
    return await purge(work, proxy_log.c.entry_id, proxy_log.c.happened_at < before, most)


LOG_COLUMNS = ("action", "issuer_dn", "issuer_group", "target_dn", "target_group", "happened_at")


async def read_log(
    work: UnitOfWork,
    *,
    having: Mapping[str, Collection[str]],
    before: datetime | None = None,
    after: datetime | None = None,
    page: Page,
) -> tuple[list[tuple[Any, ...]], int]:
    """Log entries as ``LOG_COLUMNS``, and how many there are without the page's limit.

    ``having``: texts of which a column must have one.  ``before`` and ``after`` exclude that moment.
    """
    conditions: list[ColumnElement[bool]] = [true()]
    conditions += [proxy_log.c[name].in_(texts) for name, texts in having.items()]
    if before is not None:
        conditions.append(proxy_log.c.happened_at < before)
    if after is not None:
        conditions.append(proxy_log.c.happened_at > after)
    columns = [proxy_log.c[name] for name in LOG_COLUMNS]
    wanted = _paged(select(*columns).where(*conditions), page, proxy_log.c, proxy_log.c.entry_id)
    counted = select(func.count()).select_from(proxy_log).where(*conditions)
    rows = await work.rows(WHERRY_DB, wanted)
    [total] = await work.rows(WHERRY_DB, counted)
    return [tuple(row) for row in rows], total[0]


def _paged(wanted: Select[Any], page: Page, columns: Any, last: ColumnElement[Any]) -> Select[Any]:
    """In the order asked for, and always the same one."""
    order = [columns[name].desc() if descends else columns[name] for name, descends in page.order]
    wanted = wanted.order_by(*order, last)
    return wanted.limit(page.limit).offset(page.start) if page.limit else wanted
