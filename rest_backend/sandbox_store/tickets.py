"""What lets a stranger store one certain file, or fetch one, for a while: signed by HMAC-SHA256.

The fields are named as those of S3's presigned forms, so that a client need not know what it talks to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from rest_backend.errors import Forbidden
from rest_backend.sandbox_store.store import Upload
from shared_db.rules import clock

ALGORITHM = "WHERRY-HMAC-SHA256"
KEY, POLICY, SIGNATURE = "key", "policy", "x-amz-signature"
_EXPIRED = "The signed URL has expired: ask for a new one"
_INVALID = "The signature is not valid: send the URL and its fields as they were given"


class Tickets:
    """Signs with the first secret, and takes what any of them signed.

    All processes that serve the same files need the same secrets.
    """

    def __init__(self, secrets: Callable[[], Sequence[bytes]], lifetime: int) -> None:
        self._secrets = secrets
        self._lifetime = lifetime

    def upload_fields(self, upload: Upload) -> dict[str, str]:
        """The fields of a form with which one certain file can be stored."""
        expires = self._end()
        fixed = {
            "x-amz-checksum-algorithm": "sha256",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(upload.sha256)).decode(),
            KEY: upload.name,
            "x-amz-algorithm": ALGORITHM,
        }
        content = {
            "expires": expires,
            "sha256": upload.sha256,
            "size": upload.size,
            "fields": fixed,
            # For people only: what is checked is the number.
            "expiration": datetime.fromtimestamp(expires, UTC).isoformat(),
        }
        policy = base64.b64encode(json.dumps(content).encode()).decode()
        return {**fixed, POLICY: policy, SIGNATURE: self._signature("upload", policy)}

    def admitted(self, fields: Mapping[str, str]) -> Upload:
        """What the fields of a form allow to store.  Raises Forbidden."""
        policy = fields.get(POLICY, "")
        self._check("upload", policy, fields.get(SIGNATURE, ""))
        content = json.loads(base64.b64decode(policy))
        _check_time(content["expires"])
        if any(fields.get(name) != value for name, value in content["fields"].items()):
            raise Forbidden(_INVALID)
        return Upload(content["fields"][KEY], content["sha256"], content["size"])

    def download_query(self, file_id: str) -> dict[str, str]:
        """The query with which a file can be fetched."""
        expires = str(self._end())
        return {"expires": expires, "signature": self._signature("download", f"{expires} {file_id}")}

    def check_download(self, file_id: str, query: Mapping[str, str]) -> None:
        """Raises Forbidden for a query that does not allow to fetch a file."""
        expires = query.get("expires", "")
        self._check("download", f"{expires} {file_id}", query.get("signature", ""))
        _check_time(int(expires))

    def _end(self) -> int:
        """When what is signed now expires: epoch seconds."""
        return int(clock.utc_now().timestamp()) + self._lifetime

    def _signature(self, purpose: str, text: str) -> str:
        return _mac(self._secrets()[0], purpose, text)

    def _check(self, purpose: str, text: str, signature: str) -> None:
        given = signature.encode(errors="replace")
        good = [
            hmac.compare_digest(given, _mac(secret, purpose, text).encode()) for secret in self._secrets()
        ]
        if not any(good):
            raise Forbidden(_INVALID)


def _check_time(expires: int) -> None:
    if clock.utc_now().timestamp() >= expires:
        raise Forbidden(_EXPIRED)


def _mac(secret: bytes, purpose: str, text: str) -> str:
    return hmac.new(secret, f"{purpose} {text}".encode(errors="replace"), hashlib.sha256).hexdigest()
