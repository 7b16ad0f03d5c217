"""The kinds of values in wherry.yaml that need more than a type; each refusal says what to write instead."""

from __future__ import annotations

import re
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


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("write the bucket's name only")
    return text


def _digest(text: str) -> str:
    if not re.fullmatch(r"([0-9a-fA-F]{64})?", text):
        raise ValueError("write 64 hexadecimal digits, the SHA-256 of the key")
    return text.lower()


Url = Annotated[str, AfterValidator(_url)]
ProviderUrl = Annotated[str, AfterValidator(_url), AfterValidator(_discovered)]
Origin = Annotated[str, AfterValidator(_origin)]
RedirectUri = Annotated[str, AfterValidator(_redirect)]
Bucket = Annotated[str, AfterValidator(_bucket)]
Digest = Annotated[str, AfterValidator(_digest)]
