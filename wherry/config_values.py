"""The kinds of values in wherry.yaml that need more than a type; each refusal says what to write instead."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

DISCOVERY = "/.well-known/openid-configuration"
TEN_YEARS = 10 * 365 * 24 * 3600

# A moment this far away is still one that databases and tokens can tell.
Minutes = Annotated[int, Field(gt=0, le=TEN_YEARS // 60)]
Hours = Annotated[int, Field(gt=0, le=TEN_YEARS // 3600)]


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # is parsed only now
    except ValueError as error:
        raise ValueError(f"no URL: {error}") from error
    return parts


def _url(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in text:
        raise ValueError("write https://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write the address only, without user, `?` and `#`")
    return text.rstrip("/")


def _discovered(text: str) -> str:
    if text.endswith(DISCOVERY):
        raise ValueError(f"leave {DISCOVERY} out: it is added")
    return text


def _origin(text: str) -> str:
    parts = _split(text)
    if text != "*" and (not parts.hostname or text != f"{parts.scheme}://{parts.netloc}"):
        raise ValueError("write SCHEME://HOST:PORT without anything behind, as browsers send it, or `*`")
    return text


def _redirect(text: str) -> str:
    parts = _split(text)
    if not parts.scheme or "#" in text or not (parts.netloc or parts.path):
        raise ValueError("write a whole URL without `#`, as in https://portal.example.org/callback")
    return text


EMBEDDED = "embedded"
# What DIRAC's own configuration has: the prefix, and the key in URL-safe base64.
_EXCHANGE_KEY = re.compile(r"diracx:legacy:(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}==|[A-Za-z0-9_-]{3}=)?")
_KEY_FILE = "file:"


def _target(text: str) -> str:
    return text if text == EMBEDDED else _confidential(_url(text))


def _confidential(text: str) -> str:
    """Tokens and keys travel encrypted, or not at all: on this very machine."""
    parts = urlsplit(text)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ValueError("write https://HOST:PORT; http:// is for this very machine only")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _exchange_key(text: str) -> str:
    if not text.startswith(_KEY_FILE) and text and not _EXCHANGE_KEY.fullmatch(text):
        raise ValueError("write `file:PATH`, or the key itself as DIRAC has it, diracx:legacy:BASE64")
    return text


def exchange_key_of(text: str, base: Path) -> str:
    """The key: what the setting says, or what is in the file that it names.  Raises ValueError, OSError."""
    if not text.startswith(_KEY_FILE):
        return text
    path = base / text.removeprefix(_KEY_FILE)
    key = path.read_text(encoding="utf-8").strip()
    if not key or not _EXCHANGE_KEY.fullmatch(key):
        raise ValueError(f"{path} holds no key: write diracx:legacy:BASE64 into it")
    return key


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("write the bucket's name only")
    return text


def _digest(text: str) -> str:
    if not re.fullmatch(r"([0-9a-fA-F]{64})?", text):
        raise ValueError("write 64 hexadecimal digits, the SHA-256 of the key")
    return text.lower()


_SERVICE = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
EVERY_OTHER = "*"


def _upstreams(urls: dict[str, str]) -> dict[str, str]:
    return {service: _upstream(service, text.rstrip("/")) for service, text in urls.items()}


def _upstream(service: str, text: str) -> str:
    if service != EVERY_OTHER and not _SERVICE.fullmatch(service):
        raise ValueError(f"{service}: a service is named System/Component, all others are `{EVERY_OTHER}`")
    try:
        parts = _split(text)
    except ValueError as error:
        raise ValueError(f"{service}: {error}") from error
    path = parts.path.strip("/")
    if parts.scheme not in ("dips", "https") or not parts.hostname or " " in text:
        raise ValueError(
            f"{service}: write dips://HOST:PORT or https://HOST:PORT, with the service behind it"
        )
    if parts.scheme == "dips" and not parts.port:
        raise ValueError(f"{service}: a dips address needs its port, as in dips://HOST:9130")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{service}: write the address only, without user, `?` and `#`")
    if service == EVERY_OTHER and path:
        raise ValueError(f"`{EVERY_OTHER}`: leave {parts.path} out: each service's name is put there")
    if path and not _SERVICE.fullmatch(path):
        raise ValueError(f"{service}: behind the port stands System/Component, or nothing")
    return text


Upstreams = Annotated[dict[str, str], AfterValidator(_upstreams)]
Url = Annotated[str, AfterValidator(_url)]
ProviderUrl = Annotated[str, AfterValidator(_url), AfterValidator(_discovered)]
Origin = Annotated[str, AfterValidator(_origin)]
RedirectUri = Annotated[str, AfterValidator(_redirect)]
Target = Annotated[str, AfterValidator(_target)]
ExchangeKey = Annotated[str, AfterValidator(_exchange_key)]
Bucket = Annotated[str, AfterValidator(_bucket)]
Digest = Annotated[str, AfterValidator(_digest)]
