"""Calls of existing DIRAC services on behalf of the callers here.

We show our host's certificate and say for whom we call, as DIRAC's own gateways do: the service must know the
host as a TrustedHost, and applies its own rules to the caller (docs/decisions/0013-upstream.md).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from legacy_rpc.authorisation import ANONYMOUS, HOSTS, VISITOR
from legacy_rpc.client import diset
from legacy_rpc.client.diset import CallError, Endpoint, Said
from legacy_rpc.client.https import HttpsClient
from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.codecs.diset_blocks import DOWNLOADS, UPLOADS
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, UNSENDABLE, Encoding
from legacy_rpc.messages import FILE_TRANSFER, Call, Credential, Errno, Failure, Identity, Reply
from legacy_rpc.servers.tls import MakeContext

logger = logging.getLogger(__name__)

# The key of the upstream of all services that have none of their own.
OTHERS = "*"
# What a service may be called that goes into a URL and is not in our table.
_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
# What DIRAC's processes tell each other and no client is to see.
_NEVER_LEAVE = frozenset({"CallStack", "ExecInfo", "rpcStub"})
# A connection in so many may carry a file: those who fetch them slowly leave room for calls.
_CALLS_PER_FILE = 4

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What an upstream may be asked at a time, and what it may answer.

    ``connections`` are those to one host and port; for a free one a call waits ``wait_seconds``.  ``seconds``
    are those of a call, or of each step of a file transfer.  ``reply`` is in bytes.
    """

    connections: int = 100
    wait_seconds: float = 10.0
    seconds: float = 600.0
    reply: int = 64 * 1024 * 1024
    values: int = 10_000_000
    depth: int = 200

    def of_messages(self) -> DisetLimits:
        """The part that the clients need."""
        return DisetLimits(message=self.reply, depth=self.depth, values=self.values)


class Upstreams:
    """The services elsewhere.

    ``urls`` are ``{service: URL}``; that of ``*`` has no path and serves all other services.  ``tls`` shows
    our host's certificate.  ``reads`` tells whether a method certainly changes nothing.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        tls: MakeContext,
        reads: Callable[[str, str], bool],
        limits: UpstreamLimits | None = None,
    ) -> None:
        self._urls = urls
        self._tls = tls
        self._reads = reads
        self._limits = limits or UpstreamLimits()
        self._gates: dict[tuple[str, bool], asyncio.Semaphore] = {}
        self._https: HttpsClient | None = None

    def has(self, service: str) -> bool:
        """Whether there is an upstream for a service."""
        return upstream_url(self._urls, service) is not None

    async def answer(self, call: Call) -> Reply:
        """What the service answers to the caller.  Raises Failure, the service's or ours."""
        refuse_limited_proxy(call)
        said = _said(call)
        url = upstream_url(self._urls, call.service)
        if url is None:
            raise no_upstream(call.service)
        transfers = call.method.startswith(f"{FILE_TRANSFER}/")
        try:
            async with self._connection(url, transfers=transfers) as seconds:
                left = min(seconds, self._seconds_for(call))
                if left <= 0:  # which HTTP clients take for no limit at all
                    raise Failure(f"{url} was not asked: the time for a call was over", reason="timeout")
                return _reply(await self._ask(url, call, said, left))
        except CallError as error:
            raise self._unanswered(call, url, error) from error
        except UNSENDABLE as error:
            raise Failure(f"The arguments cannot be sent to {url}: {error}") from error

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._https is not None:
            client, self._https = self._https, None
            await client.__aexit__(None, None, None)

    def _seconds_for(self, call: Call) -> float:
        if call.deadline is None:
            return self._limits.seconds
        return max(0.0, call.deadline - asyncio.get_running_loop().time())

    # --- connections

    @asynccontextmanager
    async def _connection(self, url: str, *, transfers: bool) -> AsyncIterator[float]:
        """Leave to make one connection, and the seconds that are left of a call.

        Raises Failure when there is none within the time for it.
        """
        where = url.split("/", 3)[2]
        most = self._limits.connections
        if transfers:
            most = max(1, most // _CALLS_PER_FILE)
        gate = self._gates.setdefault((where, transfers), asyncio.Semaphore(most))
        asked = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await gate.acquire()
        except TimeoutError as error:
            raise Failure(
                f"{url} was not asked: all {most} connections to {where} were in use for"
                f" {self._limits.wait_seconds:g} s. Try again later",
                reason="overload",
            ) from error
        try:
            waited = asyncio.get_running_loop().time() - asked
            yield max(0.0, self._limits.seconds - waited)
        finally:
            gate.release()

    # --- asking

    async def _ask(self, url: str, call: Call, said: Said, seconds: float) -> Result:
        by_https = url.startswith("https:")
        kind, slash, action = call.method.partition("/")
        if kind == FILE_TRANSFER and slash:
            if by_https:
                raise Failure(
                    f"No files go to {url}: name a dips:// address of {call.service} under `upstream`"
                    " in wherry.yaml"
                )
            return await self._transfer(Endpoint.parse(url), action, call, said)
        if by_https:
            return await self._post(url, call, said, seconds)
        return await diset.call(
            Endpoint.parse(url),
            call.method,
            call.arguments,
            self._tls(),
            encoding=_encoding(call),
            limits=self._limits.of_messages(),
            seconds=seconds,
            **said,
        )

    async def _post(self, url: str, call: Call, said: Said, seconds: float) -> Result:
        """By HTTPS; a kept connection that the server closed meanwhile is no reason to fail a read."""
        if self._https is None:
            self._https = await HttpsClient(self._limits.of_messages()).__aenter__()
        client = self._https

        def ask() -> Awaitable[Result]:
            return client.call(url, call.method, call.arguments, self._tls(), seconds=seconds, **said)

        if self._reads(call.service, call.method):
            with suppress(diset.Disconnected):
                return await ask()
        return await ask()

    async def _transfer(self, endpoint: Endpoint, action: str, call: Call, said: Said) -> Result:
        """Block by block, each when the other side has taken the last one."""
        information = list(call.arguments)
        if call.incoming is not None and action in UPLOADS:
            return await diset.upload(
                endpoint,
                action,
                information,
                call.incoming.blocks(),
                self._tls(),
                encoding=_encoding(call),
                limits=self._limits.of_messages(),
                seconds=self._limits.seconds,
                **said,
            )
        if len(information) == 1:  # HTTPS has no token, which DISET wants
            information.append("")
        if call.outgoing is not None and action in DOWNLOADS:
            return await diset.download(
                endpoint,
                action,
                information,
                call.outgoing.send,
                self._tls(),
                encoding=_encoding(call),
                limits=self._limits.of_messages(),
                seconds=self._limits.seconds,
                **said,
            )
        return await diset.list_bulk(
            endpoint,
            information,
            self._tls(),
            encoding=_encoding(call),
            limits=self._limits.of_messages(),
            seconds=self._limits.seconds,
            **said,
        )

    def _unanswered(self, call: Call, url: str, error: CallError) -> Failure:
        """What a caller is told whom no service answered."""
        logger.warning("%s.%s is passed through and not answered: %s", call.service, call.method, error)
        if error.sent and not self._reads(call.service, call.method):
            return Failure(
                f"The outcome of {call.method} is unknown: its upstream, {url}, did not say ({error})."
                " Check before you repeat it"
            )
        return Failure(f"The upstream of {call.service} did not answer: {error}")


def upstream_url(urls: Mapping[str, str], service: str) -> str | None:
    """Where a service is, by ``{service: URL}``; an address without a path gets the service's name."""
    url = urls.get(service)
    if url is None:
        if OTHERS not in urls or _NAME.fullmatch(service) is None:
            return None
        url = urls[OTHERS]
    return url if url.count("/") > 2 else f"{url}/{service}"


def no_upstream(service: str) -> Failure:
    """That a service is only elsewhere, and nobody said where."""
    return Failure(
        f"{service} is not served here by itself: name its DIRAC service under `upstream` in wherry.yaml",
        reason="unknown-method",
    )


def delegation(identity: Identity) -> tuple[str, str]:
    """The (DN, group) for whom we call; never nothing, or we would call in our own name.

    Somebody whom the registry here does not know, or not in the group of the proxy, is a visitor there, too:
    DIRAC 9 believes a DN that it has seen once in any group.  Raises Failure for a caller without any name.
    """
    if not identity.dn:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")
    if identity.kind == "host":
        return identity.dn, HOSTS
    return identity.dn, VISITOR if identity.kind == ANONYMOUS else identity.group


# The one rule of DIRAC's services that is about the certificate, which they do not see: 1503, EWMSSUBM.
_NOT_BY_LIMITED_PROXY: Mapping[tuple[str, str], Failure] = {
    ("WorkloadManagement/JobManager", "submitJob"): Failure(
        "Job submission error ( 1503 : Can't submit using a limited proxy)", 1503
    )
}


def refuse_limited_proxy(call: Call) -> None:
    """Raise the Failure of the service itself, which would take our certificate for the caller's."""
    credential = call.identity.credential
    failure = _NOT_BY_LIMITED_PROXY.get((call.service, call.method))
    if failure is not None and isinstance(credential, Credential) and credential.limited:
        raise Failure(failure.message, failure.errno)


def _said(call: Call) -> Said:
    """What the caller says of itself, and for whom we call."""
    said = Said(client_version=call.client_version, extra_credentials=delegation(call.identity))
    if call.setup:
        said["setup"] = call.setup
    if call.vo:
        said["vo"] = call.vo
    return said


def _encoding(call: Call) -> Encoding:
    """The caller's own where it has one: DEncode keeps what JSON has no words for."""
    return DENCODE if call.encoding == DENCODE.name else JENCODE


def _reply(result: Result) -> Reply:
    """The service's answer, extra keys included.  Raises Failure for its ``S_ERROR``."""
    rest = {key: value for key, value in result.items() if key not in _NEVER_LEAVE}
    if rest.pop("OK"):
        return Reply(rest.pop("Value", None), rest)
    raise Failure(rest.pop("Message", ""), rest.pop("Errno", 0), rest)
