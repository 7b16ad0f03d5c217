"""A client of DIRAC's JSON over HTTPS: ours, and existing services'."""

from __future__ import annotations

import io
import ssl
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from legacy_rpc.client.diset import CallError
from legacy_rpc.codecs.dirac_https import DOWNLOAD, UPLOAD, URLENCODED, read_result, write_form
from legacy_rpc.messages import RPC, Errno, Failure, PeerError, Proposal

# What of an answer that is no result is shown.
SHOWN = 500
READ_BYTES = 256 * 1024

# Statuses that mean: the call was not made, and why.
_REFUSALS: dict[int, Errno] = {
    HTTPStatus.UNAUTHORIZED: Errno.ENOAUTH,
    HTTPStatus.FORBIDDEN: Errno.ENOAUTH,
}


class HttpsClient:
    """Calls services by HTTPS; connections are kept and used again for callers with the same ``tls``.

    Callers prove who they are by the certificate in ``tls``, or by a bearer ``token``.
    """

    async def __aenter__(self) -> Self:
        """Ready to call."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
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
        extra_credentials: Any = "",
        seconds: float = 600.0,
    ) -> dict[str, Any]:
        """The server's ``S_OK`` or ``S_ERROR`` dictionary.  Raises CallError when there is none.

        A caller who may not is told by an ``S_ERROR`` with ENOAUTH, as on DISET.
        """
        form = self._form(url, method, arguments, extra_credentials, raw=False)

        async def read(response: aiohttp.ClientResponse) -> dict[str, Any]:
            return read_result(await response.read())

        return await self._post(url, form, tls, token, seconds, read)

    async def receive_file(
        self,
        url: str,
        arguments: Sequence[Any],
        sink: Callable[[bytes], Awaitable[None]],
        tls: ssl.SSLContext,
        *,
        token: str = "",
        extra_credentials: Any = "",
        seconds: float = 600.0,
    ) -> dict[str, Any]:
        """Give a file's bytes to ``sink``, block by block; returns as ``call``.

        When CallError is raised ``sink`` may have had a part of the file.
        """
        form = self._form(url, DOWNLOAD, arguments, extra_credentials, raw=True)

        async def read(response: aiohttp.ClientResponse) -> dict[str, Any]:
            async for block in response.content.iter_chunked(READ_BYTES):
                await sink(block)
            return {"OK": True, "Value": None}

        return await self._post(url, form, tls, token, seconds, read)

    async def send_file(
        self, url: str, file_id: Any, content: bytes, tls: ssl.SSLContext, **more: Any
    ) -> dict[str, Any]:
        """Send a file, which this wire holds in memory; returns and takes as ``call``."""
        return await self.call(url, UPLOAD, [file_id, "", len(content), content], tls, **more)

    def _form(
        self, url: str, method: str, arguments: Sequence[Any], extra_credentials: Any, *, raw: bool
    ) -> bytes:
        proposal = Proposal(
            _service_of(url), RPC, method, extra_credentials=extra_credentials, setup="None", vo="unknown"
        )
        return write_form(proposal, arguments, raw=raw)

    async def _post(
        self,
        url: str,
        form: bytes,
        tls: ssl.SSLContext,
        token: str,
        seconds: float,
        read: Callable[[aiohttp.ClientResponse], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        headers = {"Content-Type": URLENCODED}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.post(
                url,
                data=io.BytesIO(form),  # aiohttp sends this in pieces
                headers=headers,
                ssl=tls,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                if response.status == HTTPStatus.OK:
                    return await read(response)
                return _refused(url, response, await response.content.read(SHOWN))
        except TimeoutError as error:
            raise CallError(f"{url} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallError(f"{url} cannot be called: {error}") from error
        except PeerError as error:
            raise CallError(f"{url} answered nonsense: {error}") from error


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


def _refused(url: str, response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    """What an error status means to the caller.  Raises CallError for one that is about the server."""
    said = body.decode("utf-8", "replace").strip() or response.reason or ""
    errno = _REFUSALS.get(response.status)
    if errno is not None:
        text = said if errno.text in said else f"{errno.text} ( {errno.value} : {said})"
        return Failure(text, errno.value).as_result()
    raise CallError(f"{url} answered with status {response.status}: {said}")
