"""The keys that sign tokens: a private JWKS file that administrators edit while the program runs.

All keys are published and verify; the first that may sign signs.  To change keys, put a new one first and
keep the old one until the tokens that it signed have ended.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from shared_db.followed_file import FileError, FollowedFile
from shared_db.private_file import create_private_file, replace_private_file

ED25519 = "Ed25519"
RS256 = "RS256"
SMALLEST_RSA = 2048
_OPERATIONS = ("sign", "verify")
# What a key file may not be open to: writing by its group, anything by others.
_OTHERS = stat.S_IWGRP | stat.S_IRWXO

if ED25519 not in jwt.PyJWS().get_algorithms():
    jwt.register_algorithm(ED25519, OKPAlgorithm())


class KeyFileError(FileError):
    """The key file cannot be used; the text names it and the mend."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """One key pair with its id; ``operations`` are its JWK's ``key_ops``."""

    key_id: str
    private: Ed25519PrivateKey | RSAPrivateKey
    operations: tuple[str, ...] = _OPERATIONS

    @property
    def algorithm(self) -> str:
        """What stands in the header of tokens as ``alg``."""
        return ED25519 if isinstance(self.private, Ed25519PrivateKey) else RS256

    @property
    def signs(self) -> bool:
        """Whether new tokens may be signed with it."""
        return "sign" in self.operations

    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JSON web key."""
        common = {"key_ops": list(self.operations), "alg": self.algorithm, "kid": self.key_id}
        public = self.private.public_key()
        if isinstance(public, RSAPublicKey):
            numbers = public.public_numbers()
            return {"n": _number(numbers.n), "e": _number(numbers.e), **common, "kty": "RSA"}
        return {"crv": ED25519, "x": _base64url(public.public_bytes_raw()), **common, "kty": "OKP"}

    def private_jwk(self) -> dict[str, Any]:
        """Both halves: a secret."""
        if isinstance(self.private, RSAPrivateKey):
            whole = RSAAlgorithm.to_jwk(self.private, as_dict=True)
            secret = {name: whole[name] for name in ("d", "p", "q", "dp", "dq", "qi")}
        else:
            secret = {"d": _base64url(self.private.private_bytes_raw())}
        return {**self.public_jwk(), **secret}

    def derived(self, purpose: bytes) -> bytes:
        """A secret of 32 bytes for another purpose than signing."""
        whole = self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HKDF(SHA256(), 32, salt=None, info=purpose).derive(whole)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new Ed25519 key."""
        return cls(secrets.token_hex(16), Ed25519PrivateKey.generate())


class KeySet:
    """The keys of one issuer: all are published, the first that may signs.

    Raises ValueError for none that may sign, and for two with one id.
    """

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(keys)
        self._by_id = {key.key_id: key for key in keys}
        if len(self._by_id) != len(self._keys):
            raise ValueError("two keys have the same kid")
        signing = next((key for key in keys if key.signs), None)
        if signing is None:
            raise ValueError("no key may sign: give one the key_ops sign and verify")
        self._signing = signing
        self._derived: dict[bytes, list[bytes]] = {}

    @property
    def signing(self) -> SigningKey:
        """The key that signs new tokens."""
        return self._signing

    @property
    def all(self) -> tuple[SigningKey, ...]:
        """Every key, in the order of the file."""
        return self._keys

    def key(self, key_id: str) -> SigningKey | None:
        """The key of an id, with which tokens are verified."""
        return self._by_id.get(key_id)

    def public_key(self, key_id: str) -> Ed25519PublicKey | RSAPublicKey | None:
        """The public half of the key of an id."""
        key = self._by_id.get(key_id)
        return None if key is None else key.private.public_key()

    def published(self) -> dict[str, Any]:
        """The public JWKS document."""
        return {"keys": [key.public_jwk() for key in self._keys]}

    def derived(self, purpose: bytes) -> Sequence[bytes]:
        """Secrets of 32 bytes for another purpose than signing, the signing key's first."""
        if purpose not in self._derived:
            ordered = [self._signing, *(key for key in self._keys if key is not self._signing)]
            self._derived[purpose] = [key.derived(purpose) for key in ordered]
        return self._derived[purpose]

    @classmethod
    def load_or_create(cls, path: Path) -> KeySet:
        """Keys from a private JWKS file, which is made when it is not there.  Raises KeyFileError."""
        return KeyFile.load_or_create(path).content


class KeyFile(FollowedFile[KeySet]):
    """The keys as their file has them now."""

    kind = "key file"
    setting = "auth.keys"
    _open_to_others = False

    @classmethod
    def load_or_create(cls, path: Path) -> KeyFile:
        """The file, read once; it is made (readable by its owner only) when it is not there.

        Raises KeyFileError, naming the mend.
        """
        if not path.exists():
            cls.create(path)
        file = cls(path)
        try:
            file.load()
        except KeyFileError:
            raise
        except FileError as error:
            raise KeyFileError(f"{error}, or remove it to have a new one made") from error
        return file

    @staticmethod
    def create(path: Path) -> None:
        """Make a file with one new key, unless there is one.  Raises KeyFileError."""
        try:
            create_private_file(path, _text([SigningKey.generate()]))
        except OSError as error:
            raise KeyFileError(
                f"{path}: cannot be made ({error}): name a writable file in auth: keys:"
            ) from error

    def rotate(self, *, forget: bool = False) -> SigningKey:
        """Have a new key sign from now on; the old ones go on verifying.

        ``forget``: of the old ones only the one that signed until now.  Raises KeyFileError.
        """
        before = self.content
        kept = [before.signing] if forget else list(before.all)
        new = SigningKey.generate()
        try:
            replace_private_file(self.path, _text([new, *kept]))
        except OSError as error:
            raise KeyFileError(f"{self.path}: cannot be written ({error}): run as its owner") from error
        self.load()
        return new

    @property
    def warnings(self) -> Sequence[str]:
        """That the file is not its owner's alone; the owner's group may read it."""
        if not self._open_to_others:
            return ()
        return ("others can read or change it, and so act as anybody: chmod it to 600 (or 640)",)

    def parse(self, text: str, status: os.stat_result) -> KeySet:
        """The keys in a private JWKS.  Raises KeyFileError, naming the mend."""
        try:
            keys = KeySet([_parse_key(each) for each in json.loads(text)["keys"]])
            self._open_to_others = bool(status.st_mode & _OTHERS)
            return keys
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise KeyFileError(
                f"{self.path}: no usable private JWKS ({_harmless(error)}): restore it, or remove it to have"
                " a new one made (tokens signed with the old keys then end)"
            ) from error


def _harmless(error: Exception) -> str:
    """What is wrong, without the text that it is wrong with: that is a secret."""
    return f"no JSON, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else repr(error)


def _text(keys: Sequence[SigningKey]) -> str:
    return json.dumps({"keys": [key.private_jwk() for key in keys]}, indent=1)


def _parse_key(jwk: Mapping[str, Any]) -> SigningKey:
    key_id, operations = jwk["kid"], jwk.get("key_ops", _OPERATIONS)
    if not isinstance(key_id, str):
        raise TypeError("kid is no text")
    if not isinstance(operations, list | tuple) or not all(isinstance(each, str) for each in operations):
        raise TypeError("key_ops is no list of texts")
    return SigningKey(key_id, _private(jwk), tuple(operations))


def _private(jwk: Mapping[str, Any]) -> Ed25519PrivateKey | RSAPrivateKey:
    if jwk.get("kty") == "OKP" and jwk.get("crv") == ED25519:
        return Ed25519PrivateKey.from_private_bytes(_decoded(jwk["d"]))
    if jwk.get("kty") == "RSA" and jwk.get("alg", RS256) == RS256:
        key = RSAAlgorithm.from_jwk(dict(jwk))
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("an RSA key without its private half")
        if key.key_size < SMALLEST_RSA:
            raise ValueError(f"an RSA key of less than {SMALLEST_RSA} bits")
        return key
    raise ValueError("only Ed25519 keys (kty OKP) and RSA keys for RS256 can sign")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
