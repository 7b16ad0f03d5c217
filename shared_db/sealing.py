"""Secrets at rest: AES-256-GCM with keys from a file, each secret bound to what it belongs to."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared_db.private_file import create_private_file

KEY_ID_BYTES, KEY_BYTES, NONCE_BYTES = 8, 32, 12


class SealingKeyError(Exception):
    """The key file cannot be used; the text names it and the mend."""


class SealBroken(Exception):
    """A sealed secret cannot be opened: its key is not in the file, or it is not what was sealed."""


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """One key with its id, which stands before whatever it sealed."""

    key_id: bytes
    key: bytes

    @classmethod
    def generate(cls) -> SealingKey:
        """A new one."""
        return cls(secrets.token_bytes(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES))

    def as_json(self) -> dict[str, str]:
        """As the key file has it: a secret."""
        return {"id": self.key_id.hex(), "key": base64.b64encode(self.key).decode()}


class Seal:
    """Seals with the first of its keys, and opens what any of them sealed.

    To change the key, put a new one first in the file and start the program again; the old one can go when
    what it sealed is gone.
    """

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        self._signing = keys[0]
        self._keys = {key.key_id: AESGCM(key.key) for key in keys}

    def close(self, secret: bytes, belongs_to: str) -> bytes:
        """The sealed secret: key id, nonce, ciphertext and tag.

        It can be opened only by who names the same ``belongs_to``: moved to another row it is worthless.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = self._keys[self._signing.key_id]
        return self._signing.key_id + nonce + cipher.encrypt(nonce, secret, belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """The secret.  Raises SealBroken."""
        key_id, rest = sealed[:KEY_ID_BYTES], sealed[KEY_ID_BYTES:]
        cipher = self._keys.get(key_id)
        if cipher is None:
            raise SealBroken(f"the key {key_id.hex()} is not in the key file")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], belongs_to.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken("it is not what was sealed here") from error

    @classmethod
    def load_or_create(cls, path: Path) -> Seal:
        """Keys from a file, which is made (readable by its owner only) when it is not there.

        Its content: ``{"keys": [{"id": "16 hex digits", "key": "32 bytes in base64"}]}``.  Raises
        SealingKeyError, naming the mend.
        """
        if not path.exists():
            content = json.dumps({"keys": [SealingKey.generate().as_json()]})
            try:
                create_private_file(path, content)
            except OSError as error:
                raise SealingKeyError(
                    f"{path}: cannot be made ({error}): name a writable file in proxies: keys:"
                ) from error
        try:
            keys = [_parse(each) for each in json.loads(path.read_text())["keys"]]
        except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
            raise SealingKeyError(
                f"{path}: no usable keys ({error!r}): restore it, or remove it to have a new one made"
                " (the proxies stored so far are then lost, and must be uploaded again)"
            ) from error
        if not keys:
            raise SealingKeyError(f"{path}: holds no key: remove it to have a new one made")
        return cls(keys)


def _parse(entry: dict[str, str]) -> SealingKey:
    key_id, key = bytes.fromhex(entry["id"]), base64.b64decode(entry["key"], validate=True)
    if (len(key_id), len(key)) != (KEY_ID_BYTES, KEY_BYTES):
        raise ValueError(f"an id has {KEY_ID_BYTES} bytes and a key {KEY_BYTES}")
    return SealingKey(key_id, key)
