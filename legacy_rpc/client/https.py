"""A client of DIRAC's JSON over HTTPS: ours, and existing services'."""

from __future__ import annotations

import io
import os
import ssl
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Sequence
from errno import ENOSYS
from http import HTTPStatus
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import aiohttp

from legacy_rpc.client.diset import CONNECT_SECONDS, CallError, Disconnected, Said, proposed
from legacy_rpc.codecs.dirac_https import DOWNLOAD, UPLOAD, URLENCODED, read_result, write_form
from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.messages import RPC, Errno, Failure, PeerError, Proposal
from legacy_rpc.servers import gently

# What of an answer that is no result is shown.
SHOWN = 500
READ_BYTES = 256 * 1024
_LIMITS = DisetLimits(message=256 * 1024 * 1024)

# Statuses that mean: the call was not made, and why.
_REFUSALS: dict[int, Errno] = {
    HTTPStatus.UNAUTHORIZED: Errno.ENOAUTH,
    HTTPStatus.FORBIDDEN: Errno.ENOAUTH,
}


class HttpsClient:
    """Calls services by HTTPS; connections are kept and used again for callers with the same ``tls``.

    Callers prove who they are by the certificate in ``tls``, or by a bearer ``token``.  Nothing larger than
    ``limits.message`` is taken for a result.
    """

    def __init__(self, limits: DisetLimits | None = None) -> None:
        self._limits = limits or _LIMITS

    async def __aenter__(self) -> Self:
        """Ready to call."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # who calls has a limit
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._session.close()

    async def call(
        self,
        url: str,
        method: str,
        arguments: Sequence[Any],
        tls: ssl.SSLContext,
        *,
        token: str = "",
        seconds: float = 600.0,
        **said: Unpack[Said],
    ) -> dict[str, Any]:
        """The server's ``S_OK`` or ``S_ERROR`` dictionary.  Raises CallError when there is none.

        A caller who may not is told by an ``S_ERROR`` with ENOAUTH, as on DISET.
        """
        proposal = _proposal(url, method, said)
        # Percent signs are put in in Python: a large form would hold everybody up.
        light = is_light(arguments)
        form = write_form(proposal, arguments) if light else await to_thread(write_form, proposal, arguments)
        return await self._post(url, proposal, form, tls, token, seconds, self._read)

    async def _read(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        body = bytearray()
        async for block in response.content.iter_chunked(READ_BYTES):
            body += block
            if len(body) > self._limits.message:
                raise PeerError(f"A result is larger than the limit of {self._limits.message} bytes")
        return await gently.finished(read_result(bytes(body), self._limits))

    async def receive_file(
        self,
        url: str,
        arguments: Sequence[Any],
        sink: Callable[[bytes], Awaitable[None]],
        tls: ssl.SSLContext,
        *,
        token: str = "",
        seconds: float = 600.0,
        **said: Unpack[Said],
    ) -> dict[str, Any]:
        """Give a file's bytes to ``sink``, block by block; returns as ``call``.

        When CallError is raised ``sink`` may have had a part of the file.
        """
        proposal = _proposal(url, DOWNLOAD, said)
        form = write_form(proposal, arguments, raw=True)

        async def read(response: aiohttp.ClientResponse) -> dict[str, Any]:
            async for block in response.content.iter_chunked(READ_BYTES):
                await sink(block)
            return {"OK": True, "Value": None}

        return await self._post(url, proposal, form, tls, token, seconds, read)

    async def send_file(
        self, url: str, file_id: Any, content: bytes, tls: ssl.SSLContext, **more: Any
    ) -> dict[str, Any]:
        """Send a file, which this wire holds in memory; returns and takes as ``call``."""
        return await self.call(url, UPLOAD, [file_id, "", len(content), content], tls, **more)

    async def _post(
        self,
        url: str,
        proposal: Proposal,
        form: bytes,
        tls: ssl.SSLContext,
        token: str,
        seconds: float,
        read: Callable[[aiohttp.ClientResponse], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        headers = {"Content-Type": URLENCODED}
        client = proposal.client_version
        if client.isascii() and client.isprintable() and client.strip():
            headers["User-Agent"] = client
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.post(
                url,
                data=io.BytesIO(form),  # aiohttp sends this in pieces
                headers=headers,
                ssl=tls,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            ) as response:
                if response.status == HTTPStatus.OK:
                    return await read(response)
                return _refused(url, proposal.method, response, await response.content.read(SHOWN))
        except TimeoutError as error:
            unsent = isinstance(error, aiohttp.ConnectionTimeoutError)
            patience = min(seconds, CONNECT_SECONDS) if unsent else seconds
            raise CallError(f"{url} did not answer within {patience:g} s", sent=not unsent) from error
        except aiohttp.ServerDisconnectedError as error:
            raise Disconnected(f"{url} closed the connection without an answer", sent=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            unsent = isinstance(error, aiohttp.ClientConnectorError | ValueError)
            raise CallError(f"{url} cannot be called: {error}", sent=not unsent) from error
        except PeerError as error:
            raise CallError(f"{url} answered nonsense: {error}", sent=True) from error


def _proposal(url: str, method: str, said: Said) -> Proposal:
    """What is proposed to the service in a URL.  Raises CallError."""
    return proposed(_service_of(url), RPC, method, said)


def _service_of(url: str) -> str:
    """The service in a URL.  Raises CallError."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise CallError(f"{url}: {error}") from error
    service = parts.path.strip("/")
    if parts.scheme != "https" or not parts.hostname or not service:
        raise CallError(f"{url}: a service's URL has the form https://HOST:PORT/System/Component")
    return service


def _refused(url: str, method: str, response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    """What an error status means to the caller.  Raises CallError for one that is about the server."""
    said = body.decode("utf-8", "replace").strip() or response.reason or ""
    errno = _REFUSALS.get(response.status)
    if errno is not None:
        text = said if errno.text in said else f"{errno.text} ( {errno.value} : {said})"
        return Failure(text, errno.value).as_result()
    if response.status == HTTPStatus.NOT_IMPLEMENTED:  # in the words of DIRAC's own client
        problem = f"{os.strerror(ENOSYS)} ( {ENOSYS:d} : {method} is not implemented)"
        return Failure(problem, ENOSYS).as_result()
    executed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise CallError(f"{url} answered with status {response.status}: {said}", sent=executed)
