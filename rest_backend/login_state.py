"""What we hand to an identity provider as ``state`` and get back from the person's browser.

It is encrypted and authenticated under keys derived from the signing keys, so it cannot be forged or read,
and it works on every host and, for as long as the old keys are kept, across their change.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rest_backend.errors import RestError
from rest_backend.keys import KeySet

_PURPOSE = b"wherry login state"


@dataclass(frozen=True, slots=True, repr=False)
class LoginState:
    """One login at an identity provider.

    ``kind`` and ``flow_id``: the flow that it is for.  ``code_verifier``: our own PKCE with the provider.
    ``redirect_uri``: where the provider sends the person back to us.  ``external``: the state of our client.
    ``provider``: which of the VO's, '' for the only one.
    """

    kind: str
    flow_id: str
    vo: str
    code_verifier: str
    redirect_uri: str
    external: str = ""
    provider: str = ""

    @property
    def code_challenge(self) -> str:
        """S256 of the verifier."""
        return challenge_of(self.code_verifier)

    def sealed(self, keys: KeySet) -> str:
        """The text that goes to the provider."""
        return _fernet(keys).encrypt(orjson.dumps(asdict(self))).decode()

    @classmethod
    def unsealed(cls, text: str, keys: KeySet, kind: str, lifetime: timedelta) -> LoginState:
        """What a text means.  Raises RestError 400 for one that is not ours, too old, or of another kind."""
        try:
            content = _fernet(keys).decrypt(text.encode(), ttl=int(lifetime.total_seconds()))
        except InvalidToken as error:
            raise _invalid() from error
        state = cls(**orjson.loads(content))
        if state.kind != kind:
            raise _invalid()
        return state


def _invalid() -> RestError:
    return RestError(400, "Invalid state")


def _fernet(keys: KeySet) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(each)) for each in keys.derived(_PURPOSE)])


def new_verifier() -> str:
    """A code verifier of 64 characters (RFC 7636)."""
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """S256: base64url of SHA-256, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
