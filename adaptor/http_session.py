"""Requests to a REST backend on another host: bounded in time, size and connections, which are kept."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from adaptor.conversation import RestFailure

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 60.0
CONNECTIONS = 64
# uvicorn, which serves DiracX, closes idle connections after 5 s: be first, lest a request is sent into one
# that was closed.
KEEP_ALIVE_SECONDS = 4.0
LARGEST_ANSWER = 256 * 1024 * 1024
# What of an answer that is no JSON is shown.
SHOWN = 300


@dataclass(frozen=True, slots=True)
class Target:
    """Where the backend is, and the key with which DIRAC services get tokens for their callers.

    ``url`` has no slash at the end; ``exchange_key`` is ``diracx:legacy:...``.  ``ca``: a file or a directory
    of authorities (PEM) in place of the system's.
    """

    url: str
    exchange_key: str = field(repr=False)
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes

    def json(self, url: str) -> Any:
        """The body, None where there is none.  Raises RestFailure."""
        if not self.body:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise RestFailure(0, f"{url} answered no JSON ({error})") from error

    @property
    def detail(self) -> Any:
        """What an error says, in the words of FastAPI if it is so."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body[:SHOWN].decode("utf-8", "replace")
        return value["detail"] if isinstance(value, dict) and "detail" in value else value


class Lost(RestFailure):
    """The connection broke after the request was sent."""


class Http:
    """Sends requests; redirects are not followed.  Raises OSError at once where ``ca`` cannot be read."""

    def __init__(self, target: Target) -> None:
        self.url = target.url
        self._tls = trust(target.ca)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self,
        method: str,
        path: str,
        query: Any = (),
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        seconds: float = REQUEST_SECONDS,
    ) -> HttpAnswer:
        """Any answer.  Raises RestFailure with status 0 where there is none."""
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._opened().request(
                method,
                self.url + path,
                params=query,
                data=None if body is None else _encoded(body),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS),
            ) as response:
                return HttpAnswer(response.status, await _bounded(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise RestFailure(0, f"{self.url} cannot be reached: {error}", sent=False) from error
        except TimeoutError as error:
            raise RestFailure(0, f"{self.url} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(0, f"{self.url}: {error or type(error).__name__}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._tls
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                # No compression: what is bounded is then what is read, and the target is near.
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "wherry"},
                trust_env=False,
            )
        return self._session


def trust(ca: Path | None) -> ssl.SSLContext:
    """What verifies the target's certificate.  Raises OSError where ``ca`` cannot be read."""
    if ca is None:
        return ssl.create_default_context()
    if ca.is_dir():
        return ssl.create_default_context(capath=str(ca))
    return ssl.create_default_context(cafile=str(ca))


def _encoded(body: Any) -> bytes:
    """JSON; the slow way for what orjson does not write: integers of more than 64 bits, halves of pairs."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return json.dumps(body).encode()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST_ANSWER:
            response.close()
            raise RestFailure(0, f"{response.url.path} answered more than {LARGEST_ANSWER} bytes")
    return bytes(body)
