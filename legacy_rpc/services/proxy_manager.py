"""Framework/ProxyManager: users' proxies, for those who act for them (legacy-methods.md, section 11).

Kept are proxies without a group, one per DN, their keys sealed (docs/decisions/0010-proxies.md).  Where DIRAC
9.1.22 lets through more than its rules say, this service does not: see there too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from legacy_rpc.delegation import (
    Authorities,
    NoProxy,
    Refused,
    Unreadable,
    Wanted,
    new_request,
    sign_request,
    strength,
    verified_delegation,
)
from legacy_rpc.messages import Call, Credential, Failure, Identity, TokenCredential, Write
from legacy_rpc.services.table import Context, Service
from shared_db.queries import proxies
from shared_db.queries.proxies import LogEntry, Page, StoredProxy
from shared_db.registry import canonical_dn
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.sealing import Seal, SealBroken

DELEGATION = ("FullDelegation", "LimitedDelegation", "PrivateLimitedDelegation")
FULL, LIMITED, PRIVATE_LIMITED = DELEGATION
MANAGEMENT = "ProxyManagement"

# A proxy that ends earlier is not worth keeping.
LEAST_SECONDS = 3600
# Who asks for a proxy gets one that lasts longer by this factor, if the stored one does.
GENEROSITY = 1.5

# DIRAC's numbers and texts of what is wrong with certificates.
NO_PROXY_FOUND, NO_CHAIN, NO_X509, NO_CERTIFICATE = (
    (1101, "Can't find proxy"),
    (1106, "No chain loaded"),
    (1100, "Generic Error with X509"),
    (1104, "Can't read certificate"),
)

CONTENTS = ("UserName", "UserDN", "ExpirationTime")
CONTENTS_BEFORE_9 = ("UserName", "UserDN", "UserGroup", "ExpirationTime", "PersistentFlag")
CONTENTS_COLUMNS = {"UserName": "username", "UserDN": "user_dn", "ExpirationTime": "expires_at"}
LOG = ("Action", "IssuerDN", "IssuerGroup", "TargetDN", "TargetGroup", "Timestamp")
LOG_COLUMNS = dict(zip((name.lower() for name in LOG), proxies.LOG_COLUMNS, strict=True))

proxy_manager = Service(
    "Framework/ProxyManager",
    handler_class="ProxyManagerHandlerMixin",
    about="""\
Proxies that users leave here, so that services and pilots can act for them. Native only. They are kept
without a group, one per DN, in Wherry's own tables; their keys are encrypted:
[0010](../decisions/0010-proxies.md). What differs from DIRAC 9.1.22 stands there too. Ends of proxies are
naive UTC.""",
)


# --- leaving a proxy here


@proxy_manager.method(write=Write.CREATE)
async def requestDelegationUpload(
    context: Context,
    requestedUploadTime: Any = None,
    diracGroup: Any = None,
) -> dict[str, Any]:
    """Makes a key of 2048 bits and answers `{"id": …, "request": …}`, a certificate request in PEM that is
    good for 300 s and one proxy. The arguments are those of releases before 8 and are not heeded.
    """
    seal, dn = _seal(context), _user(context).dn
    made = await asyncio.to_thread(new_request)
    sealed = seal.close(made.key, _request_of(dn))
    async with context.databases.unit_of_work(write=True) as work:
        request_id = await proxies.add_request(work, dn, sealed)
    return {"id": request_id, "request": made.request}


@proxy_manager.method(int, str, write=Write.CREATE)
async def completeDelegationUpload(context: Context, requestId: int, pemChain: str) -> dict[str, Any]:
    """Stores the proxy that was signed for a request, and answers as `getUserProxiesInfo`. If one is stored
    that ends later, that one stays.

    The chain must be for the request's key, the caller's own, lead to an authority in `tls: ca_path` step
    by step, be valid now and for an hour more, not be revoked (`tls: crls`), and have neither a group nor
    VOMS attributes nor be limited. Else the error says which; the request stays good.
    """
    seal, user = _seal(context), _user(context)
    async with context.databases.unit_of_work() as work:
        # A flag is a number, but not for PostgreSQL.
        sealed = await proxies.requested_key(work, int(requestId), user.dn)
    if sealed is None:
        raise Failure(f"No requests with id {requestId}")
    key = _opened(seal, sealed, _request_of(user.dn))
    try:
        chain, proved = await asyncio.to_thread(
            verified_delegation,
            pemChain,
            key,
            _authorities(context),
            utc_now(),
            context.common.check_revoked,
        )
    except NoProxy as error:
        raise _numbered(NO_CHAIN, str(error)) from error
    except Unreadable as error:
        raise _numbered(NO_X509, str(error)) from error
    except Refused as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"The directory of authorities cannot be read: {error}") from error
    _check_kept(proved, user)
    stored = StoredProxy(
        proved.dn, user.username, chain, seal.close(key, _proxy_of(proved.dn)), proved.expires
    )
    async with context.databases.unit_of_work(write=True) as work:
        await proxies.remove_request(work, int(requestId))
        await proxies.purge_proxies(work)
        if await proxies.put_proxy(work, stored):
            await proxies.log_actions(work, [_entry(context, "store proxy", proved.dn)])
        found = await proxies.list_proxies(work, dns=context.registry.current.dns_of(user.username))
    return _info(found, context.call)


def _check_kept(proved: Credential, user: Identity) -> None:
    """Raise Failure for a proxy that is not kept."""
    if canonical_dn(proved.dn) != canonical_dn(user.dn):
        raise Failure(f"Mismatch in the user DN. Proxy says {proved.dn} and credentials are {user.dn}")
    if proved.limited:
        raise Failure("Limited proxies are not allowed to be stored")
    if proved.group:
        raise Failure("Proxies with DIRAC group extensions not allowed to be uploaded")
    if (left := proved.seconds_left(utc_now())) < LEAST_SECONDS:
        raise Failure(f"Cannot store proxy, remaining secs {left} is less than {LEAST_SECONDS}")


# --- what is here


@proxy_manager.method()
async def getUserProxiesInfo(context: Context) -> dict[str, Any]:
    """Answers `{DN: end}` of the caller's proxies; to clients of 7.3 and 8.0 `{DN: {"": end}}`."""
    dns = context.registry.current.dns_of(context.call.identity.username)
    async with context.databases.unit_of_work() as work:
        return _info(await proxies.list_proxies(work, dns=dns), context.call)


@proxy_manager.method()
async def getRegisteredUsers(context: Context, validSecondsRequired: Any = 0) -> list[dict[str, Any]]:
    """Answers `[{"Name": …, "DN": …, "expirationtime": …}]` of the proxies that last longer than so many
    seconds; without `ProxyManagement` only the caller's own. Clients of 7.3 and 8.0 get `group` (empty) and
    `persistent` too.
    """
    try:
        seconds = int(validSecondsRequired)
    except (TypeError, ValueError, OverflowError) as error:
        raise Failure("Seconds left has to be an integer") from error
    if abs(seconds) > _MOST_SECONDS:
        return []
    async with context.databases.unit_of_work() as work:
        found = await proxies.list_proxies(
            work, usernames=_visible(context), longer_than=timedelta(seconds=max(0, seconds))
        )
    older = {"group": "", "persistent": "False"} if _before_9(context.call) else {}
    return [{"Name": name, "DN": dn, "expirationtime": to_column(end), **older} for name, dn, end in found]


_MOST_SECONDS = 100 * 365 * 86400


@proxy_manager.method(dict, (list, tuple), int, int)
async def getContents(
    context: Context, selDict: dict[str, Any], sortDict: Sequence[Any], start: int, limit: int
) -> dict[str, Any]:
    """Answers `{"ParameterNames": ("UserName", "UserDN", "ExpirationTime"), "Records": …, "TotalRecords":
    …}`; without `ProxyManagement` only the caller's own. Clients of 7.3 and 8.0 get `UserGroup` (empty) and
    `PersistentFlag` (False) too, third and fifth. `selDict` has values, or lists of them, for `UserName`
    and `UserDN`; `sortDict` is `[[name, "ASC" or "DESC"], …]`; `limit` 0 means all.
    """
    order = _order_of_contents(sortDict)
    if "ExpirationTime" in selDict:
        raise Failure("Proxies cannot be selected by ExpirationTime")
    usernames = _visible(context)
    if "UserName" in selDict and usernames is None:
        usernames = _texts(selDict["UserName"])
    dns = _texts(selDict["UserDN"]) if "UserDN" in selDict else None
    async with context.databases.unit_of_work() as work:
        found = await proxies.list_proxies(
            work, usernames=usernames, dns=dns, page=_page(order, start, limit)
        )
    before_9 = _before_9(context.call)
    return {
        "ParameterNames": CONTENTS_BEFORE_9 if before_9 else CONTENTS,
        "Records": [
            [name, dn, "", to_column(end), False] if before_9 else [name, dn, to_column(end)]
            for name, dn, end in found
        ],
        "TotalRecords": len(found),
    }


@proxy_manager.method(dict, (list, tuple), int, int, authorization=(MANAGEMENT,))
async def getLogContents(
    context: Context, selDict: dict[str, Any], sortDict: Sequence[Any], start: int, limit: int
) -> dict[str, Any]:
    """Answers the same of the log: `Action`, `IssuerDN`, `IssuerGroup`, `TargetDN`, `TargetGroup`,
    `Timestamp`. Logged are `store proxy`, `download proxy` and `delete proxy`. `selDict` has lists by
    column, and the texts `beforeDate` and `afterDate`. `TotalRecords` counts without `limit`.
    """
    having = {}
    for name, value in selDict.items():
        if name not in ("beforeDate", "afterDate"):
            column = LOG_COLUMNS.get(str(name).lower())
            if column is None or column == LOG_COLUMNS["timestamp"]:
                raise Failure(f"Unknown field: {name}")
            having[column] = _texts(value)
    page = _page(_order_of_log(sortDict), start, limit)
    before, after = (_moment(selDict.get(name)) for name in ("beforeDate", "afterDate"))
    async with context.databases.unit_of_work() as work:
        rows, total = await proxies.read_log(work, having=having, before=before, after=after, page=page)
    records = [[*texts, to_column(happened)] for *texts, happened in rows]
    return {"ParameterNames": LOG, "Records": records, "TotalRecords": total}


@proxy_manager.method(str, str, [str, type(None), bool], since="8.0")
async def getStoredProxyStrength(
    context: Context,
    userDN: str,
    userGroup: Any = None,
    vomsAttr: Any = None,
) -> int:
    """Answers the bits of the stored proxy's key. None stored is error 1101. Group and attribute are not
    heeded.
    """
    return strength((await _stored(context, userDN)).chain)


# --- taking one


@proxy_manager.method(str, str, str, int, write=Write.APPEND, authorization=DELEGATION)
async def getProxy(
    context: Context, userDN: str, userGroup: str, requestPem: str, requiredLifetime: int
) -> str:
    """Signs the request with the stored proxy of a user, and adds the group: PEM without a key. It lasts
    half as long again as asked for, but no longer than the stored one; if that ends too soon, or there is
    none, that is error 1101.

    With `FullDelegation` the proxy is full, unless the request's name is `limited proxy`. With
    `LimitedDelegation` it is limited. With `PrivateLimitedDelegation` it is limited and the caller's own,
    with a group that has this property too. The user must be in the group, and the group must not have
    `DownloadableProxy = no`.
    """
    limited = _only_limited(context, userDN, userGroup)
    seal = _seal(context)
    _check_group(context, userDN, userGroup)
    stored = await _stored(context, userDN)
    wanted = Wanted(userGroup, limited, _end(stored, requiredLifetime))
    key = _opened(seal, stored.key_sealed, _proxy_of(stored.user_dn))
    try:
        pem = await asyncio.to_thread(sign_request, requestPem, wanted, stored.chain, key, utc_now())
    except Unreadable as error:
        raise _numbered(NO_CERTIFICATE, f"Can't load request data: {error}") from error
    except Refused as error:
        raise Failure(str(error)) from error
    async with context.databases.unit_of_work(write=True) as work:
        await proxies.log_actions(work, [_entry(context, "download proxy", stored.user_dn, userGroup)])
    return pem


@proxy_manager.method(
    str, str, str, int, [str, type(None), bool], write=Write.APPEND, authorization=DELEGATION
)
async def getVOMSProxy(
    context: Context,
    userDN: str,
    userGroup: str,
    requestPem: str,
    requiredLifetime: int,
    vomsAttribute: Any = None,
) -> NoReturn:
    """Refused: Wherry asks no VOMS server. A group without `VOMSRole` is said to have no mapping, as in
    DIRAC.
    """
    _only_limited(context, userDN, userGroup)
    raise _no_voms(context, userGroup, vomsAttribute)


@proxy_manager.method(write=Write.CREATE, since="9.0")
async def exchangeProxyForToken(context: Context) -> dict[str, Any]:
    """Answers `{"access_token": …, "expires_in": …, "token_type": "Bearer", "refresh_token": …}` for the
    new side, in the caller's group and VO. The refresh token ends with the proxy. Refused for callers with
    a token, for hosts, for a group without a VO, and for the VOs in `/DiracX/DisabledVOs` of the registry
    file.
    """
    caller = _user(context)
    # With one token after the other a caller would stay in for ever, whatever becomes of the certificate.
    if isinstance(caller.credential, TokenCredential):
        raise Failure("Tokens are given for a proxy or a certificate, not for another token")
    if not caller.vo:
        raise Failure(f"Group {caller.group} has no VO, and tokens are a VO's: give it one in the registry")
    if caller.vo in context.registry.cfg.get_list("DiracX/DisabledVOs"):
        raise Failure(f"VO {caller.vo} gets no tokens: the registry lists it in /DiracX/DisabledVOs")
    pair = await context.common.issue_tokens(caller)
    return {
        "access_token": pair.access_token,
        "expires_in": pair.expires_in,
        "token_type": "Bearer",
        "refresh_token": pair.refresh_token,
    }


# --- removing


@proxy_manager.method(str, write=Write.IDEMPOTENT)
async def deleteProxy(context: Context, userDN: str, userGroup: Any = "") -> None:
    """Removes the proxy of a DN, if there is one: one's own, or with `ProxyManagement` any. The group,
    which releases before 9.1 send, is not heeded.
    """
    await _delete(context, [userDN])


@proxy_manager.method(list, write=Write.IDEMPOTENT)
async def deleteProxyBundle(context: Context, idList: list[Any]) -> int:
    """Removes the proxies of several DNs, or pairs of DN and group, all or none; answers how many were
    named.
    """
    dns = [each[0] if isinstance(each, list | tuple) and each else each for each in idList]
    if not all(isinstance(dn, str) for dn in dns):
        raise Failure("Could not delete some proxies: name them by DN, or by DN and group")
    try:
        await _delete(context, dns)
    except Failure as failure:
        raise Failure(f"Could not delete some proxies: {failure.message}") from failure
    return len(dns)


async def _delete(context: Context, dns: Collection[str]) -> None:
    caller = context.call.identity
    others = [dn for dn in dns if canonical_dn(dn) != canonical_dn(caller.dn)]
    if others and not caller.has(MANAGEMENT):
        raise Failure("You aren't allowed!")
    async with context.databases.unit_of_work(write=True) as work:
        if await proxies.remove_proxies(work, dns):
            await proxies.log_actions(work, [_entry(context, "delete proxy", dn) for dn in dns])


# --- what releases before 9 have


@proxy_manager.method(str, str, bool, write=Write.IDEMPOTENT, authorization=(MANAGEMENT,), until="8.0")
async def setPersistency(
    context: Context,
    userDN: str,
    userGroup: str,
    persistentFlag: bool,
) -> NoReturn:
    """Refused: nothing renews proxies here. Only releases before 9 have it."""
    raise Failure(
        f"The proxy of {userDN} cannot be made persistent: it is kept until it ends, for all groups"
    )


@proxy_manager.method(str, str, int, write=Write.CREATE, until="8.0")
async def generateToken(
    _context: Context,
    requesterDN: str,
    requesterGroup: str,
    tokenUses: int,
) -> NoReturn:
    """Refused: there are no proxy tokens; `getProxy` with a Delegation property does without. Only releases
    before 9 have it.
    """
    raise _no_proxy_tokens()


@proxy_manager.method(str, str, str, int, str, write=Write.APPEND, authorization=DELEGATION, until="8.0")
async def getProxyWithToken(
    _context: Context,
    userDN: str,
    userGroup: str,
    requestPem: str,
    requiredLifetime: int,
    token: str,
) -> NoReturn:
    """Refused, likewise."""
    raise _no_proxy_tokens()


@proxy_manager.method(
    str, str, str, int, [str, type(None)], write=Write.APPEND, authorization=DELEGATION, until="8.0"
)
async def getVOMSProxyWithToken(
    _context: Context,
    userDN: str,
    userGroup: str,
    requestPem: str,
    requiredLifetime: int,
    token: Any,
    vomsAttribute: Any = None,
) -> NoReturn:
    """Refused, likewise."""
    raise _no_proxy_tokens()


def _no_proxy_tokens() -> Failure:
    return Failure("There are no proxy tokens here: ask with getProxy, which needs a Delegation property")


# --- who may, and what there is to be said


def _seal(context: Context) -> Seal:
    if context.common.seal is None:
        raise Failure("Proxies are not kept here: this server has no key file for them")
    return context.common.seal


@lru_cache(maxsize=4)
def _authorities_of(directory: Path) -> Authorities:
    return Authorities(directory)


def _authorities(context: Context) -> Authorities:
    if context.common.ca_path is None:
        raise Failure("This server has no directory of authorities: add `tls: ca_path` to wherry.yaml")
    return _authorities_of(context.common.ca_path)


def _user(context: Context) -> Identity:
    """The caller, who must be a person: hosts have no proxies."""
    identity = context.call.identity
    if identity.kind != "user":
        raise Failure(f"{identity.username} is no user: only users have proxies and tokens")
    return identity


def _visible(context: Context) -> Collection[str] | None:
    """Whose proxies the caller may see; None: everybody's."""
    caller = context.call.identity
    return None if caller.has(MANAGEMENT) else [caller.username]


def _only_limited(context: Context, dn: str, group: str) -> bool:
    """Whether the caller gets limited proxies of a user in a group.  Raises Failure for who gets none."""
    caller = context.call.identity
    if caller.has(FULL):
        return False
    if caller.has(LIMITED):
        return True
    if not caller.has(PRIVATE_LIMITED):
        raise Failure("You can't get proxies!")
    if canonical_dn(caller.dn) != canonical_dn(dn):
        raise Failure("You are not allowed to download any proxy")
    if PRIVATE_LIMITED not in context.registry.current.properties_of(group):
        raise Failure("You can't download proxies for that group")
    return True


def _check_group(context: Context, dn: str, group: str) -> None:
    """Raise Failure unless the user is in the group, and proxies with it may be taken."""
    downloadable = context.registry.cfg.get(f"Registry/Groups/{group}/DownloadableProxy") or ""
    if downloadable.lower() in ("false", "no"):
        raise Failure(
            f'Proxies with group "{group}" cannot be downloaded: DownloadableProxy is {downloadable}'
        )
    if context.registry.current.username(dn, group) is None:
        raise _numbered(NO_PROXY_FOUND, f"Cannot generate proxy: Invalid group {group} for user {dn}")


async def _stored(context: Context, dn: str) -> StoredProxy:
    async with context.databases.unit_of_work() as work:
        stored = await proxies.proxy_of(work, dn)
    if stored is None:
        raise _numbered(NO_PROXY_FOUND, f"{dn} has no proxy registered")
    return stored


def _end(stored: StoredProxy, seconds: int) -> datetime:
    """When a proxy ends that is to last so long at least.  Raises Failure."""
    now = utc_now()
    left = int((stored.expires_at - now).total_seconds())
    if seconds <= 0:
        raise Failure(f"A proxy cannot last {seconds} seconds")
    if seconds > left:
        problem = (
            f"Can't get proxy for {seconds} seconds: Stored proxy is not long lived enough, {left} are left"
        )
        raise _numbered(NO_PROXY_FOUND, problem)
    return min(stored.expires_at, now + timedelta(seconds=int(seconds * GENEROSITY)))


def _no_voms(context: Context, group: str, attribute: Any) -> Failure:
    if not attribute and not context.registry.cfg.get(f"Registry/Groups/{group}/VOMSRole"):
        return Failure(f"No mapping defined for group {group} in the CS")
    return Failure(
        "This server asks no VOMS server, so it gives no proxies with VOMS attributes: ask for one without"
        " (getProxy), or have your services take a proxy manager that does"
    )


def _numbered(kind: tuple[int, str], detail: str) -> Failure:
    number, text = kind
    return Failure(f"{text} ( {number} : {detail})", number)


def _request_of(dn: str) -> str:
    """What the key of a request is sealed to."""
    return f"request {canonical_dn(dn)}"


def _proxy_of(dn: str) -> str:
    """What the key of a proxy is sealed to."""
    return f"proxy {canonical_dn(dn)}"


def _opened(seal: Seal, sealed: bytes, belongs_to: str) -> bytes:
    try:
        return seal.open(sealed, belongs_to)
    except SealBroken as error:
        raise Failure(f"The {belongs_to} cannot be used ({error}): upload a proxy again") from error


def _entry(context: Context, action: str, target_dn: str, target_group: str = "") -> LogEntry:
    caller = context.call.identity
    return LogEntry(action, caller.dn, caller.group, target_dn, target_group)


def _before_9(call: Call) -> bool:
    """Whether a client of 7 or 8 calls; who says nothing is taken for a new one."""
    release = re.match(r"v?(\d+)", call.client_version)
    return release is not None and int(release[1]) < 9


def _info(found: Iterable[tuple[str, str, datetime]], call: Call) -> dict[str, Any]:
    if _before_9(call):
        return {dn: {"": to_column(end)} for _, dn, end in found}
    return {dn: to_column(end) for _, dn, end in found}


def _texts(value: Any) -> list[str]:
    """One text or several."""
    return [str(each) for each in value] if isinstance(value, list | tuple | dict) else [str(value)]


def _moment(value: Any) -> datetime | None:
    """A date as clients write it."""
    if not value:
        return None
    moment = value if isinstance(value, datetime) else mysql_datetime(str(value))
    return moment.replace(tzinfo=UTC) if moment is not None else None


Order = list[tuple[str, bool]]
# More than any table has, and what every engine counts to.
_MOST_ROWS = 2**62


def _order_of_contents(wanted: Sequence[Any]) -> Order:
    """``[[field, "ASC" or "DESC"], ...]``; fields that there are not are passed over, as in DIRAC."""
    order = []
    for each in wanted:
        match each:
            case [name]:
                direction = "DESC"
            case [name, str(direction)]:
                pass
            case _:
                raise Failure(f"Invalid sort {each}")
        if not isinstance(name, str) or name not in CONTENTS_COLUMNS:
            continue
        if direction.upper() not in ("ASC", "DESC"):
            raise Failure(f"Invalid sorting order {direction}")
        order.append((CONTENTS_COLUMNS[name], direction.upper() == "DESC"))
    return order


def _order_of_log(wanted: Sequence[Any]) -> Order:
    order = []
    for each in wanted:
        match each:
            case [str(name), str(direction)] if name.lower() in LOG_COLUMNS:
                if direction.upper() not in ("ASC", "DESC"):
                    raise Failure(f"Invalid sort direction: {direction.upper()}")
                order.append((LOG_COLUMNS[name.lower()], direction.upper() == "DESC"))
            case _:
                raise Failure(f"Invalid sort field: {each}")
    return order


def _page(order: Order, start: int, limit: int) -> Page:
    if start < 0 or limit < 0:
        raise Failure("start and limit must not be negative")
    return Page(order, min(start, _MOST_ROWS), min(limit, _MOST_ROWS))
