"""Signing keys, access and refresh tokens (rest-diracx.md, section 3).

The header's ``alg`` is the literal ``Ed25519``, as DiracX writes it.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm

from rest_backend.errors import Unauthorized
from rest_backend.principals import Principal
from shared_db.private_file import create_private_file

ALGORITHM = "Ed25519"
if ALGORITHM not in jwt.PyJWS().get_algorithms():
    jwt.register_algorithm(ALGORITHM, OKPAlgorithm())


class KeyFileError(Exception):
    """The key file cannot be used; the text names it and the mend."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """One Ed25519 key pair with its id."""

    key_id: str
    private: Ed25519PrivateKey

    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JSON web key."""
        return {
            "crv": "Ed25519",
            "x": _base64url(self.private.public_key().public_bytes_raw()),
            "key_ops": ["sign", "verify"],
            "alg": ALGORITHM,
            "kid": self.key_id,
            "kty": "OKP",
        }

    def private_jwk(self) -> dict[str, Any]:
        """Both halves: a secret."""
        return {**self.public_jwk(), "d": _base64url(self.private.private_bytes_raw())}


class KeySet:
    """The keys of one issuer: all are published, the first signs."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(keys)
        self._public = {key.key_id: key.private.public_key() for key in keys}

    @property
    def signing(self) -> SigningKey:
        """The key that signs new tokens."""
        return self._keys[0]

    def public_key(self, key_id: str) -> Ed25519PublicKey | None:
        """The key that verifies what was signed under an id."""
        return self._public.get(key_id)

    def published(self) -> dict[str, Any]:
        """The public JWKS document."""
        return {"keys": [key.public_jwk() for key in self._keys]}

    @classmethod
    def load_or_create(cls, path: Path) -> KeySet:
        """Keys from a private JWKS file, which is made (readable by its owner only) when it is not there.

        Raises KeyFileError, naming the mend.
        """
        if not path.exists():
            cls._create(path)
        try:
            keys = [_parse_key(each) for each in json.loads(path.read_text())["keys"]]
        except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
            raise KeyFileError(
                f"{path}: no usable private JWKS ({error!r}): restore it, or remove it to have a new one made"
                " (tokens signed with the old keys then end)"
            ) from error
        if not keys:
            raise KeyFileError(f"{path}: holds no key: remove it to have a new one made")
        return cls(keys)

    @staticmethod
    def _create(path: Path) -> None:
        key = SigningKey(secrets.token_hex(16), Ed25519PrivateKey.generate())
        try:
            create_private_file(path, json.dumps({"keys": [key.private_jwk()]}))
        except OSError as error:
            raise KeyFileError(
                f"{path}: cannot be made ({error}): name a writable file in auth: keys:"
            ) from error


def _parse_key(jwk: Mapping[str, Any]) -> SigningKey:
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("only Ed25519 keys (kty OKP) can sign")
    raw = base64.urlsafe_b64decode(jwk["d"] + "=" * (-len(jwk["d"]) % 4))
    return SigningKey(str(jwk["kid"]), Ed25519PrivateKey.from_private_bytes(raw))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """A signed token with what it says; ``expires`` is in epoch seconds."""

    text: str
    principal: Principal
    expires: float


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    """A signed token for new access tokens, with what its row in the database needs."""

    text: str
    jti: str
    created: datetime
    expires: datetime


class TokenIssuer:
    """Mints tokens, and verifies access tokens."""

    def __init__(
        self,
        keys: KeySet,
        issuer: str,
        lifetime: timedelta = timedelta(minutes=20),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self.issuer = issuer
        self._lifetime = lifetime
        self._clock = clock

    @property
    def access_seconds(self) -> int:
        """How long new access tokens last."""
        return int(self._lifetime.total_seconds())

    def mint(self, principal: Principal) -> AccessToken:
        """An access token for a caller whose rights were established by other means."""
        now = self._clock()
        expires = int(now + self._lifetime.total_seconds())
        claims = {
            "jti": str(uuid7(now)),
            "exp": expires,
            "sub": f"{principal.vo}:{principal.subject}",
            "vo": principal.vo,
            "dirac_group": principal.group,
            "preferred_username": principal.username,
            "iss": self.issuer,
            "dirac_properties": list(principal.properties),
            "dirac_policies": dict(principal.policies),
        }
        return AccessToken(self._sign(claims), principal, expires)

    def mint_refresh(self, until: datetime, *, legacy_exchange: bool = False) -> RefreshToken:
        """A refresh token that ends with ``until``; it is good for as long as its row says.

        ``legacy_exchange``: it is given for a DIRAC proxy.
        """
        now = self._clock()
        jti, expires = str(uuid7(now)), int(until.timestamp())
        text = self._sign(
            {"jti": jti, "exp": expires, "legacy_exchange": legacy_exchange, "dirac_policies": {}}
        )
        return RefreshToken(text, jti, datetime.fromtimestamp(now, UTC), datetime.fromtimestamp(expires, UTC))

    def _sign(self, claims: Mapping[str, Any]) -> str:
        key = self.keys.signing
        return jwt.encode(dict(claims), key.private, algorithm=ALGORITHM, headers={"kid": key.key_id})

    def verify(self, text: str) -> Principal:
        """The caller a token proves.  Raises Unauthorized: ``Invalid JWT``."""
        return self.verify_access(text).principal

    def verify_access(self, text: str) -> AccessToken:
        """A token with what it proves.  Raises Unauthorized: ``Invalid JWT``."""
        try:
            key = self.keys.public_key(jwt.get_unverified_header(text).get("kid", ""))
            if key is None:
                raise Unauthorized("Invalid JWT")
            claims = jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                issuer=self.issuer,
                options={"require": ["iss", "jti", "exp", "sub"], "verify_aud": False},
            )
            uuid.UUID(claims["jti"])
            return AccessToken(text, _principal(claims), claims["exp"])
        except (jwt.InvalidTokenError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unauthorized("Invalid JWT") from error


def _principal(claims: Mapping[str, Any]) -> Principal:
    vo, _, subject = claims["sub"].partition(":")
    if vo != claims["vo"]:
        raise ValueError("sub does not begin with the VO")
    return Principal(
        subject=subject,
        vo=vo,
        group=claims["dirac_group"],
        username=claims["preferred_username"],
        properties=tuple(claims["dirac_properties"]),
        policies=claims["dirac_policies"],
    )


def uuid7(now: float) -> uuid.UUID:
    """A UUID of version 7 (RFC 9562, 5.7): its first 48 bits are the time in milliseconds."""
    milliseconds = int(now * 1000) & (1 << 48) - 1
    random = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return uuid.UUID(int=value)
