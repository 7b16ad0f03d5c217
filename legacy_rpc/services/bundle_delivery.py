"""Framework/BundleDelivery: authorities' certificates and CRLs (legacy-methods.md, section 11)."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legacy_rpc.files import Stamp, stamps
from legacy_rpc.messages import Failure
from legacy_rpc.services.table import Context, Service

# What each bundle takes from the directory of authorities.
BUNDLES = {
    "CAs": re.compile(r".+\.(\d+|pem|signing_policy)"),
    "CRLs": re.compile(r".+\.r\d+"),
}
# The text of one certificate or CRL.
PEM = re.compile(rb"-----BEGIN (CERTIFICATE|X509 CRL)-----.+?-----END \1-----\n?", re.DOTALL)
PRIVATE = b"PRIVATE KEY-----"
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle: ``archive`` is a tar.gz, ``texts`` what can be had under its plain name, PEM one by one.

    ``version`` is an MD5, DIRAC's choice for comparing bundles, which protects nothing.
    """

    version: str
    archive: bytes
    texts: bytes


def make_bundle(files: Sequence[Path]) -> Bundle | None:
    """The bundle of some files, in the order of their names; None if there is nothing in them.

    Its version depends on nothing but names and contents.  The archive keeps the times of the files: clients
    take CRLs that were not modified for two days as outdated.  What holds a private key is left out.
    """
    contents = [(file, *found) for file in sorted(files) if (found := _read(file))]
    if not contents:
        return None
    version = hashlib.md5(usedforsecurity=False)
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|") as tar,
    ):
        for file, content, modified in contents:
            member = tarfile.TarInfo(file.name)
            member.size, member.mode, member.mtime = len(content), 0o644, modified
            tar.addfile(member, io.BytesIO(content))
            version.update(file.name.encode() + b"\0" + content)
    texts = _texts(content for _, content, _ in contents)
    return Bundle(version.hexdigest(), buffer.getvalue(), b"".join(texts))


def _read(file: Path) -> tuple[bytes, int] | None:
    """A file's content, and when it was modified; None for what is empty, gone, unreadable or secret."""
    try:
        with file.open("rb") as opened:
            content, modified = opened.read(), int(os.fstat(opened.fileno()).st_mtime)
    except OSError:
        return None
    return (content, modified) if content and PRIVATE not in content else None


def _texts(contents: Iterable[bytes]) -> Iterator[bytes]:
    """Every certificate or CRL once: directories have them under several names."""
    seen = set()
    for content in contents:
        for match in PEM.finditer(content):
            text = match[0].rstrip() + b"\n"
            if text not in seen:
                seen.add(text)
                yield text


class Bundler:
    """The bundles of one directory, made anew when it changes."""

    def __init__(self) -> None:
        self._made: dict[tuple[Path, str], tuple[Mapping[Path, Stamp], Bundle | None]] = {}

    def get(self, directory: Path, name: str) -> Bundle | None:
        """A bundle; None if it is empty.  Reads files: to be called in a thread."""
        try:
            found = stamps(directory, BUNDLES[name])
        except OSError as error:
            raise Failure(f"The directory of authorities cannot be read: {error}") from error
        made = self._made.get((directory, name))
        if made is None or made[0] != found:
            made = found, make_bundle([file for file in found if file.is_file()])
            self._made[directory, name] = made
        return made[1]


bundle_delivery = Service(
    "Framework/BundleDelivery",
    handler_class="BundleDeliveryHandlerMixin",
    about="""\
The directory `tls: ca_path`, for clients that keep theirs up to date. Native only. What it sends is made
when the directory changes.""",
)
_bundler = Bundler()


@bundle_delivery.transfer("ToClient")
async def toClient(context: Context, fileId: Any, token: Any = "") -> str | None:
    """`["CAs", version]` sends a tar.gz of the authorities' certificates and signing policies, `["CRLs",
    version]` one of the CRLs, and answers its version, an MD5; nothing is sent if the client's version is
    the same. The plain names `"CAs"` and `"CRLs"` send one PEM file, and answer None. Files with a private
    key are left out. In a tar.gz files keep their times: `dirac-proxy-init` fetches CRLs again that are
    older than a few days.
    """
    assert context.call.outgoing is not None
    if isinstance(fileId, str) and fileId in BUNDLES:
        bundle = await _bundle(context, fileId)
        if bundle is not None:
            await _send(context, bundle.texts)
        return None
    name, version = _wanted(fileId)
    if name not in BUNDLES:
        raise Failure(f"Unknown bundle {name}")
    bundle = await _bundle(context, name)
    if bundle is None:
        raise Failure(f"Empty bundle {name}")
    if version != bundle.version:
        await _send(context, bundle.archive)
    return bundle.version


@bundle_delivery.method(until="8.0")
async def getListOfBundles(context: Context) -> dict[str, tuple[str | None, bytes | None]]:
    """Answers `{name: (version, tar.gz)}`; `(None, None)` where there is nothing. Only releases up to 8.0
    have it.
    """
    bundles = {name: await _bundle(context, name) for name in BUNDLES}
    return {name: (each.version, each.archive) if each else (None, None) for name, each in bundles.items()}


def _wanted(file_id: Any) -> tuple[Any, Any]:
    """The name and the version that the client has."""
    match file_id:
        case str():
            return file_id, ""
        case []:
            raise Failure("No bundle specified!")
        case [str(name)]:
            return name, ""
        case [str(name), version, *_]:
            return name, version
    return None, ""


async def _bundle(context: Context, name: str) -> Bundle | None:
    directory = context.common.ca_path
    if directory is None:
        raise Failure("This server has no directory of authorities: add `tls: ca_path` to wherry.yaml")
    return await asyncio.to_thread(_bundler.get, directory, name)


async def _send(context: Context, data: bytes) -> None:
    assert context.call.outgoing is not None
    for start in range(0, len(data), BLOCK_BYTES):
        await context.call.outgoing.send(data[start : start + BLOCK_BYTES])
