"""Signed requests to an S3 service: computation only (signature version 4, by botocore).

Buckets are addressed by path (``<endpoint>/<bucket>/<key>``), which every service understands.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO
from urllib.parse import quote

from botocore.auth import S3SigV4Auth, S3SigV4PostAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.session import Session

from rest_backend.sandbox_store.store import Form, Upload
from rest_backend.settings import S3Settings

_SERVICE = "s3"


class NoCredentials(Exception):
    """There are neither keys in the configuration nor in the environment."""


def key_of(name: str, bucket: str) -> str:
    """The key of a sandbox's file: DiracX's for names of its kind in this bucket, else the whole path."""
    return name.removeprefix(f"/S3/{bucket}/").lstrip("/")


class S3Requests:
    """Signs requests for one bucket.

    Keys that are not in the settings are looked for where AWS's tools look, and renewed there; that may wait
    for files or the network, so all methods are for threads.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._url = f"{settings.endpoint.rstrip('/')}/{settings.bucket}"
        self._found: Credentials | None = None
        if settings.access_key:
            self._found = Credentials(settings.access_key, settings.secret_key)

    def url(self, name: str) -> str:
        """Where a file is, or would be."""
        return f"{self._url}/{quote(key_of(name, self._settings.bucket), safe='/~')}"

    def headers(self, method: str, name: str, body: BinaryIO | None = None) -> dict[str, str]:
        """The headers that a request needs; a body is read to sign it, and must be turned back."""
        request = AWSRequest(method, self.url(name), data=body or b"")
        S3SigV4Auth(self._credentials(), _SERVICE, self._settings.region).add_auth(request)
        return {key: str(value) for key, value in request.headers.items()}

    def download_url(self, name: str, lifetime: int) -> str:
        """A URL that gives a file, for some seconds."""
        request = AWSRequest("GET", self.url(name))
        signer = S3SigV4QueryAuth(self._credentials(), _SERVICE, self._settings.region, expires=lifetime)
        signer.add_auth(request)
        return str(request.url)

    def upload_form(self, upload: Upload, lifetime: int) -> Form:
        """A form with which exactly one file can be stored, for some seconds."""
        fields = {
            "x-amz-checksum-algorithm": "sha256",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(upload.sha256)).decode(),
            "key": key_of(upload.name, self._settings.bucket),
        }
        request = AWSRequest("POST", self._url)
        request.context["s3-presign-post-fields"] = fields
        request.context["s3-presign-post-policy"] = {
            "expiration": (datetime.now(UTC) + timedelta(seconds=lifetime)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": self._conditions(fields, upload.size),
        }
        S3SigV4PostAuth(self._credentials(), _SERVICE, self._settings.region).add_auth(request)
        return Form(self._url, request.context["s3-presign-post-fields"])

    def _conditions(self, fields: Mapping[str, str], size: int) -> list[Any]:
        """What the service must hold an upload to."""
        exactly = ["content-length-range", size, size]
        return [{"bucket": self._settings.bucket}, exactly, *({name: fields[name]} for name in fields)]

    def _credentials(self) -> ReadOnlyCredentials:
        if self._found is None:
            self._found = Session().get_credentials()
        if self._found is None:
            raise NoCredentials
        return self._found.get_frozen_credentials()
