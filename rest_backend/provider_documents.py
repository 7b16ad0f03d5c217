"""What is fetched from identity providers: discovery documents and keys, kept for an hour, and answers.

A provider is trusted with who people are, not with our memory, our time, or where we connect to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from rest_backend.settings import Provider

T = TypeVar("T")

KEEP_SECONDS = 3600.0
# A token of nobody's key makes us ask for new keys; not more often than this, whoever sends such tokens.
NEW_KEYS_SECONDS = 10.0
REQUEST_SECONDS = 10.0
CONNECT_SECONDS = 5.0
LARGEST_ANSWER = 1024 * 1024
# 4xx that say "later", not "no".
_LATER = (408, 425, 429)


class NoAnswer(Exception):
    """The provider cannot be used; the text says why, for the administrators."""


class Refusal(Exception):
    """The provider answered 4xx; ``word`` and ``description`` are its own (RFC 6749, 5.2)."""

    def __init__(self, status: int, word: str, description: str) -> None:
        super().__init__(f"the token endpoint answered {status}")
        self.word = word
        self.description = description


class ProviderHttp:
    """Requests to providers, bounded in time and size; redirects are not followed."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Path, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, url: str, ca_file: Path | None) -> dict[str, Any]:
        """A JSON object.  Raises NoAnswer for whatever else there is."""
        status, body = await self._request("GET", url, ca_file)
        if status != 200:
            raise NoAnswer(f"{url} answered {status}")
        return _object(url, body)

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], ca_file: Path | None
    ) -> dict[str, Any]:
        """The JSON object that answers a form.  Raises Refusal, or NoAnswer."""
        status, body = await self._request("POST", url, ca_file, data=form, headers=headers)
        if status == 200:
            return _object(url, body)
        if 400 <= status < 500 and status not in _LATER:
            try:
                said = _object(url, body)
            except NoAnswer:
                said = {}
            raise Refusal(status, str(said.get("error", "")), str(said.get("error_description", "")))
        raise NoAnswer(f"{url} answered {status}")

    async def _request(
        self,
        method: str,
        url: str,
        ca_file: Path | None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        require_safe(url)
        tls = await self._tls(ca_file)
        try:
            async with self._open_session().request(
                method, url, data=data, headers=headers, ssl=tls, allow_redirects=False
            ) as response:
                return response.status, await _bounded(url, response)
        except TimeoutError as error:
            raise NoAnswer(f"{url} did not answer within {REQUEST_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(f"{url}: {error or type(error).__name__}") from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                # No compression: what is bounded is then what is read.
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
        return self._session

    async def _tls(self, ca_file: Path | None) -> ssl.SSLContext | bool:
        """What verifies the provider's certificate: the system's authorities, or the one in a file."""
        if ca_file is None:
            return True
        if ca_file not in self._contexts:
            try:
                self._contexts[ca_file] = await asyncio.to_thread(
                    ssl.create_default_context, cafile=str(ca_file)
                )
            except OSError as error:
                raise NoAnswer(f"`ca`: {ca_file}: no certificate of an authority ({error})") from error
        return self._contexts[ca_file]


async def _bounded(url: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST_ANSWER:
            response.close()
            raise NoAnswer(f"{url} answered more than {LARGEST_ANSWER} bytes")
    return bytes(body)


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"{url} answered no JSON ({error})") from error
    if not isinstance(value, dict):
        raise NoAnswer(f"{url} answered no JSON object")
    return value


def require_safe(url: str) -> None:
    """Raise NoAnswer unless what is sent to ``url`` is safe from others: https, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise NoAnswer(f"{url}: no URL ({error})") from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise NoAnswer(f"{url}: only https:// is used (http:// on this very machine)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What we need of a discovery document (OpenID Connect Discovery 1.0, section 3).

    ``names_itself``: people come back from it with ``iss`` (RFC 9207, section 3).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_auth_methods: tuple[str, ...]
    names_itself: bool

    @classmethod
    def of(cls, url: str, document: Mapping[str, Any]) -> Discovery:
        """From the document of the provider at ``url``.  Raises NoAnswer."""
        for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(document.get(name), str):
                raise NoAnswer(f"the discovery document of {url} has no {name}")
            require_safe(document[name])
        # Providers differ in a slash at the end, which the configuration drops.
        if document["issuer"].rstrip("/") != url.rstrip("/"):
            raise NoAnswer(f"the discovery document of {url} is that of issuer {document['issuer']}")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if not isinstance(methods, list):
            raise NoAnswer(
                f"the discovery document of {url}: token_endpoint_auth_methods_supported is no list"
            )
        return cls(
            document["issuer"],
            document["authorization_endpoint"],
            document["token_endpoint"],
            document["jwks_uri"],
            tuple(map(str, methods)),
            document.get("authorization_response_iss_parameter_supported") is True,
        )


class ProviderDocuments:
    """One provider's discovery document and keys."""

    def __init__(self, provider: Provider, http: ProviderHttp) -> None:
        self._provider = provider
        self._http = http
        self._discovery = _Kept(self._fetch_discovery)
        self._keys = _Kept(self._fetch_keys)
        self._asked_for_newer = float("-inf")

    async def discovery(self) -> Discovery:
        """The discovery document.  Raises NoAnswer."""
        return await self._discovery.get()

    async def keys(self) -> list[Any]:
        """The published keys, as they are.  Raises NoAnswer."""
        return await self._keys.get()

    async def newer_keys(self) -> list[Any]:
        """The keys of now, unless they were asked for a moment ago.  Raises NoAnswer."""
        now = time.monotonic()
        if now - self._asked_for_newer >= NEW_KEYS_SECONDS:
            self._asked_for_newer = now
            self._keys.forget()
        return await self._keys.get()

    def close(self) -> None:
        """End what is being fetched."""
        self._discovery.close()
        self._keys.close()

    async def _fetch_discovery(self) -> Discovery:
        url = self._provider.url.rstrip("/")
        document = await self._http.get(f"{url}/.well-known/openid-configuration", self._provider.ca_file)
        return Discovery.of(url, document)

    async def _fetch_keys(self) -> list[Any]:
        url = (await self.discovery()).jwks_uri
        keys = (await self._http.get(url, self._provider.ca_file)).get("keys")
        if not isinstance(keys, list):
            raise NoAnswer(f"{url} has no list of keys")
        return keys


class _Kept(Generic[T]):
    """Something fetched, good for an hour; all who want it at the same time wait for one fetch."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._task: asyncio.Task[T] | None = None
        self._good_until = 0.0

    async def get(self) -> T:
        """What was fetched, or is being fetched now.  Raises what fetching raised, to all who wait."""
        if self._task is None or (self._task.done() and time.monotonic() >= self._good_until):
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_look_at)
        # Shielded: others wait for it too.
        return await asyncio.shield(self._task)

    async def _run(self) -> T:
        self._good_until = 0.0  # what fails is not kept
        value = await self._fetch()
        self._good_until = time.monotonic() + KEEP_SECONDS
        return value

    def forget(self) -> None:
        """Fetch anew next time; what is being fetched just now is new enough."""
        self._good_until = 0.0

    def close(self) -> None:
        """End what is being fetched."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._task = None


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is nobody's."""
    if not task.cancelled():
        task.exception()
