"""What an identity provider's id_token proves: OpenID Connect Core 1.0, section 3.1.3.7.

Nothing here waits: keys are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from rest_backend.keys import ED25519

# None with a shared secret, whose key would be our client_secret, and never `none`.
ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("EdDSA", ED25519),
)
# The same by its newer name (RFC 9864), which the library does not know as a key's.
_LIBRARYS_NAME = {ED25519: "EdDSA"}
# Clocks may differ by so many seconds.
LEEWAY_SECONDS = 60
LONGEST_SUBJECT = 255  # OpenID Connect Core, section 2


class BadIdToken(Exception):
    """The token proves nothing; the text says why, for the administrators."""


class UnknownKey(BadIdToken):
    """None of the keys signed the token: the provider may have new ones."""


def verified_claims(token: str, keys: Sequence[Any], *, issuer: str, client_id: str) -> Mapping[str, Any]:
    """The claims of a token for this client, signed with one of ``keys`` (JSON web keys, as published).

    Raises UnknownKey, or BadIdToken.
    """
    header = _header(token)
    for key in _candidates(keys, header):
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=client_id,
                issuer=issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "exp", "iat", "sub"]},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise BadIdToken(f"the id_token is refused: {error}") from error
        _check(claims, client_id)
        return claims
    raise UnknownKey(f"no key of the provider signed the id_token (kid {header.get('kid')!r})")


def _header(token: str) -> Mapping[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise BadIdToken(f"the id_token cannot be read: {error}") from error
    if header.get("alg") not in ALGORITHMS:
        raise BadIdToken(f"the id_token is signed by {header.get('alg')!r}, not by one of {ALGORITHMS}")
    if "crit" in header:
        raise BadIdToken("the id_token has critical extensions, of which none is known here")
    return header


def _candidates(keys: Sequence[Any], header: Mapping[str, Any]) -> list[Any]:
    """The keys that may have signed: those with the header's id, where it has one.

    Keys of other kinds than we know, and whatever is no key, are nobody's.
    """
    found = []
    for key in keys:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        if "kid" in header and key.get("kid") != header["kid"]:
            continue
        if key.get("alg", header["alg"]) != header["alg"] or key.get("kty") != _kind(header["alg"]):
            continue
        try:
            found.append(jwt.PyJWK(key, algorithm=_LIBRARYS_NAME.get(header["alg"], header["alg"])).key)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return found


def _kind(algorithm: str) -> str:
    """The type of the keys of an algorithm (RFC 7518, 6.1; RFC 8037)."""
    return {"RS": "RSA", "PS": "RSA", "ES": "EC"}.get(algorithm[:2], "OKP")


def _check(claims: Mapping[str, Any], client_id: str) -> None:
    """What the library does not look at.  Raises BadIdToken."""
    party = claims.get("azp")
    if party is None and isinstance(claims["aud"], list) and len(claims["aud"]) > 1:
        raise BadIdToken("the id_token is for several clients and does not say which asked for it (azp)")
    if party is not None and party != client_id:
        raise BadIdToken(f"the id_token was given to another client (azp {party!r})")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise BadIdToken(f"the id_token's sub is no text of 1 to {LONGEST_SUBJECT} characters")
