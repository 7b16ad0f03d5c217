"""Access and refresh tokens (rest-diracx.md, section 3): minted, and verified by their signature.

The header's ``alg`` is the literal ``Ed25519``, as DiracX writes it, or ``RS256``.  Whether the caller may
still act is another question (:mod:`rest_backend.access`).
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from rest_backend.errors import Unauthorized
from rest_backend.keys import KeySet
from rest_backend.principals import Principal

# So many tokens whose signature was verified are remembered: to verify one takes a tenth of a millisecond.
MOST_REMEMBERED = 2000
_FAMILY_BITS = (1 << 62) - 1


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """A signed token with what it says; ``expires`` is in epoch seconds.

    ``jti``: a UUIDv7, which tells the time of issue, and the family of refresh tokens that it comes from
    (:func:`family_mark`).
    """

    text: str
    principal: Principal
    expires: float
    jti: uuid.UUID

    @property
    def issued(self) -> datetime:
        """When it was issued, to the millisecond."""
        return datetime.fromtimestamp((self.jti.int >> 80) / 1000, UTC)


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    """A signed token for new access tokens, with what its row in the database needs."""

    text: str
    jti: str
    created: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a refresh token says."""

    jti: str
    legacy_exchange: bool


class RefreshRefused(Exception):
    """A refresh token that proves nothing: ``error: reason``, in DiracX's words."""


class TokenIssuer:
    """Mints tokens, and verifies what they say by their signature.

    ``keys``: or what gives them, where they may change.
    """

    def __init__(
        self,
        keys: KeySet | Callable[[], KeySet],
        issuer: str,
        lifetime: timedelta = timedelta(minutes=20),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self.issuer = issuer
        self._lifetime = lifetime
        self._clock = clock
        self._remembered: dict[str, AccessToken] = {}
        self._remembered_for = self.keys

    @property
    def keys(self) -> KeySet:
        """The keys in force."""
        return self._keys if isinstance(self._keys, KeySet) else self._keys()

    @property
    def lifetime(self) -> timedelta:
        """How long new access tokens last."""
        return self._lifetime

    @property
    def access_seconds(self) -> int:
        """The same in seconds."""
        return int(self._lifetime.total_seconds())

    def mint(self, principal: Principal, *, family: str = "") -> AccessToken:
        """An access token for a caller whose rights were established by other means.

        ``family``: of the refresh token that it is issued with or for.
        """
        now = self._clock()
        expires = int(now + self._lifetime.total_seconds())
        jti = uuid7(now, family)
        claims = {
            "jti": str(jti),
            "exp": expires,
            "sub": f"{principal.vo}:{principal.subject}",
            "vo": principal.vo,
            "iss": self.issuer,
            **_who(principal),
        }
        return AccessToken(self._sign(claims), principal, expires, jti)

    def mint_refresh(self, until: datetime, *, legacy_exchange: bool = False) -> RefreshToken:
        """A refresh token that ends with ``until``; it is good for as long as its row says.

        ``legacy_exchange``: it is given for a DIRAC proxy.
        """
        now = self._clock()
        created = datetime.fromtimestamp(now, UTC)
        expires = datetime.fromtimestamp(int(until.timestamp()), UTC)
        jti = str(uuid7(now))
        return RefreshToken(self.sign_refresh(jti, expires, legacy_exchange), jti, created, expires)

    def sign_refresh(self, jti: str, expires: datetime, legacy_exchange: bool) -> str:
        """The text of a refresh token that has a row already."""
        end = int(expires.timestamp())
        claims = {"jti": jti, "exp": end, "legacy_exchange": legacy_exchange, "dirac_policies": {}}
        return self._sign(claims)

    def _sign(self, claims: Mapping[str, Any]) -> str:
        key = self.keys.signing
        return jwt.encode(dict(claims), key.private, algorithm=key.algorithm, headers={"kid": key.key_id})

    def verify(self, text: str) -> Principal:
        """The caller a token proves.  Raises Unauthorized: ``Invalid JWT``."""
        return self.verify_access(text).principal

    def verify_access(self, text: str) -> AccessToken:
        """A token with what it proves.  Raises Unauthorized: ``Invalid JWT``."""
        keys = self.keys
        if self._remembered_for is not keys or len(self._remembered) > MOST_REMEMBERED:
            self._remembered, self._remembered_for = {}, keys
        known = self._remembered.get(text)
        if known is not None and known.expires > time.time():
            return known
        try:
            claims = _decoded(keys, text, issuer=self.issuer, required=["iss", "jti", "exp", "sub"])
            token = AccessToken(text, _principal(claims), claims["exp"], uuid.UUID(claims["jti"]))
        except (jwt.InvalidTokenError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unauthorized("Invalid JWT") from error
        self._remembered[text] = token
        return token

    def verify_refresh(self, text: str) -> RefreshClaims:
        """What a refresh token says; its row says what it is good for.  Raises RefreshRefused."""
        try:
            claims = _decoded(self.keys, text, issuer=None, required=["jti", "exp", "legacy_exchange"])
            return RefreshClaims(str(uuid.UUID(claims["jti"])), bool(claims["legacy_exchange"]))
        except jwt.ExpiredSignatureError as error:
            raise RefreshRefused("expired_token: The token is expired") from error
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise RefreshRefused("bad_signature: The signature is not ours") from error
        except jwt.MissingRequiredClaimError as error:
            raise RefreshRefused(f"missing_claim: Missing claim: '{error.claim}'") from error
        except (jwt.InvalidTokenError, AttributeError, TypeError, ValueError) as error:
            raise RefreshRefused("decode_error: Invalid JSON Web Signature") from error


def _decoded(keys: KeySet, text: str, *, issuer: str | None, required: list[str]) -> Mapping[str, Any]:
    """The claims of a token that one of our keys signed.  Raises InvalidTokenError and kin."""
    key = keys.key(jwt.get_unverified_header(text).get("kid", ""))
    if key is None:
        raise jwt.InvalidSignatureError("no key of ours")
    options: dict[str, Any] = {"require": required, "verify_aud": False}
    claims: Mapping[str, Any] = jwt.decode(
        text,
        key.private.public_key(),
        algorithms=[key.algorithm],
        issuer=issuer,
        options=options,  # type: ignore[arg-type]  # a TypedDict of PyJWT's
    )
    return claims


def _who(principal: Principal) -> dict[str, Any]:
    """The claims that say what a caller is: a pilot is its stamp and has no rights of a group."""
    if principal.pilot_stamp:
        return {"pilot_stamp": principal.pilot_stamp}
    return {
        "dirac_group": principal.group,
        "preferred_username": principal.username,
        "dirac_properties": list(principal.properties),
        "dirac_policies": dict(principal.policies),
    }


def pilot(vo: str, stamp: str) -> Principal:
    """A pilot that calls with a token of its own (rest-diracx.md, section 7)."""
    return Principal(stamp, vo, "", "", (), pilot_stamp=stamp)


def _principal(claims: Mapping[str, Any]) -> Principal:
    vo, _, subject = claims["sub"].partition(":")
    if vo != claims["vo"]:
        raise ValueError("sub does not begin with the VO")
    if "pilot_stamp" in claims:
        if not subject or claims["pilot_stamp"] != subject:
            raise ValueError("sub does not end with the stamp")
        return pilot(vo, subject)
    return Principal(
        subject=subject,
        vo=vo,
        group=claims["dirac_group"],
        username=claims["preferred_username"],
        properties=tuple(claims["dirac_properties"]),
        policies=claims["dirac_policies"],
    )


def uuid7(now: float, family: str = "") -> uuid.UUID:
    """A UUID of version 7 (RFC 9562, 5.7): its first 48 bits are the time in milliseconds.

    Its last 62 bits are random, or those of ``family``, so that an access token tells its family and yet has
    no claim that DiracX's have not.
    """
    milliseconds = int(now * 1000) & (1 << 48) - 1
    mark = family_mark(uuid.UUID(family)) if family else secrets.randbits(62)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | mark)


def family_mark(token_id: uuid.UUID) -> int:
    """What is the same in the ids of a family's first refresh token and of all its access tokens."""
    return token_id.int & _FAMILY_BITS
