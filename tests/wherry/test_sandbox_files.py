"""Files of transfers: spooled, and at signed URLs in this process, of a server, and of S3."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from moto.server import ThreadedMotoServer

from adaptor.conversation import RestFailure
from adaptor.conversation import Upload as Sent
from legacy_rpc.messages import Failure
from rest_backend.errors import RestError
from rest_backend.sandbox_store.directory import DirectoryStore
from rest_backend.sandbox_store.s3 import S3Store
from rest_backend.sandbox_store.store import SandboxStore, StoreUnavailable, Upload
from rest_backend.settings import S3Settings, SandboxSettings
from shared_db.rules.refusals import Refusal
from wherry.sandbox_files import EmbeddedFiles, HttpFiles, StoreFiles, spooled

CONTENT = b"content" * 30_000
NAME = "/S3/sandboxes/demo/demo_user/alice/sha256:x+y z.tar.bz2"


class Incoming:
    """What a client sends."""

    size = -1

    async def blocks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 100_000):
            yield CONTENT[start : start + 100_000]


@dataclass
class Place:
    """A store, where it is reached, and what reaches it."""

    store: SandboxStore
    url: str
    files: EmbeddedFiles | HttpFiles

    async def form(self, content: bytes = CONTENT) -> Sent:
        """The upload of a file, as the backend allows it."""
        digest = hashlib.sha256(content).hexdigest()
        form = await self.store.upload_form(Upload(NAME, digest, len(content)), self.url)
        return Sent(form.url, form.fields, Path())


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Settings]:
    """moto's S3, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = S3Settings(f"http://{host}:{port}", "some-bucket", access_key="id", secret_key="key")
    with urllib.request.urlopen(
        urllib.request.Request(f"{settings.endpoint}/{settings.bucket}", method="PUT")
    ):
        pass
    yield settings
    server.stop()


@web.middleware
async def refusals(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
    """What the shell makes of them."""
    try:
        return await handler(request)
    except RestError as error:
        return web.json_response({"detail": error.detail}, status=error.status)


@pytest.fixture(params=["embedded", "http", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each way."""
    if request.param == "s3":
        store = S3Store(request.getfixturevalue("s3"))
        yield Place(store, "", files := HttpFiles(None))
        await store.close()
    else:
        directory = DirectoryStore(tmp_path / "sandboxes", lambda: [b"secret"])
        app = web.Application(middlewares=[refusals])
        for route in directory.routes:
            assert isinstance(route, web.RouteDef)
            app.router.add_route(route.method, route.path, route.handler)  # HEAD has one of its own
        async with TestServer(app) as server:
            url = str(server.make_url("")).rstrip("/")
            files = HttpFiles(None) if request.param == "http" else EmbeddedFiles(directory)  # type: ignore[assignment]
            yield Place(directory, url, files)
    await files.close()


async def test_there_and_back(place: Place) -> None:
    """A spooled file is stored under its form, and comes back from its URL in blocks."""
    async with spooled(Incoming(), len(CONTENT)) as file:
        assert (file.size, file.path.read_bytes()) == (len(CONTENT), CONTENT)
        assert file.md5 == hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
        assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
        form = await place.form()
        await place.files.upload(Sent(form.url, form.fields, file.path))
    assert not file.path.exists()
    url = await place.store.download_url(NAME, place.url)
    blocks = [block async for block in place.files.download(url)]
    assert b"".join(blocks) == CONTENT
    assert max(map(len, blocks)) <= 64 * 1024


async def test_another_file_than_was_announced(place: Place, tmp_path: Path) -> None:
    """It is refused, and nothing is there."""
    (tmp_path / "other").write_bytes(b"other content")
    form = await place.form(b"said content!")
    if isinstance(place.store, DirectoryStore):  # moto does not compare what S3 does
        with pytest.raises(RestFailure, match="announced"):
            await place.files.upload(Sent(form.url, form.fields, tmp_path / "other"))
        assert not await place.store.holds(NAME)


async def test_a_forged_form(place: Place, tmp_path: Path) -> None:
    """The fields are those that were signed, or nothing is stored."""
    (tmp_path / "file").write_bytes(CONTENT)
    form = await place.form()
    if isinstance(place.store, DirectoryStore):  # moto does not look at signatures
        with pytest.raises(RestFailure) as caught:
            await place.files.upload(Sent(form.url, {**form.fields, "key": "/x"}, tmp_path / "file"))
        assert caught.value.status == 403


async def test_what_is_not_there(place: Place) -> None:
    """404, before any byte."""
    url = await place.store.download_url("/S3/nothing", place.url)
    with pytest.raises(RestFailure) as caught:
        [block async for block in place.files.download(url)]
    assert caught.value.status == 404


async def test_a_store_that_cannot_be_reached() -> None:
    """The signature is in no text."""
    files = HttpFiles(None)
    with pytest.raises(RestFailure) as caught:
        [block async for block in files.download("http://127.0.0.1:9/x?signature=secret")]
    assert (caught.value.status, "secret" in str(caught.value)) == (0, False)
    for url in ("http://h:port/x?signature=secret", "file:///etc/passwd", "x", "ftp://h/x", "//h/x"):
        with pytest.raises(RestFailure, match="^0 ") as caught:
            [block async for block in files.download(url)]
        assert "secret" not in str(caught.value)
    await files.close()


async def test_too_much_is_not_kept() -> None:
    """DIRAC's text, and no file."""
    with pytest.raises(Refusal, match="Sandbox is too big"):
        async with spooled(Incoming(), len(CONTENT) - 1):
            pytest.fail("it was spooled")


class Away:
    """A store that is away."""

    bucket = "x"

    async def holds(self, _name: str) -> bool:
        raise StoreUnavailable


async def test_native_handlers_and_the_store(tmp_path: Path) -> None:
    """They have it in their own words."""
    (tmp_path / "file").write_bytes(CONTENT)
    store = StoreFiles(DirectoryStore(tmp_path / "sandboxes", lambda: [b"secret"]), SandboxSettings())
    free, total = await store.space() or (0, 0)
    assert 0 < free <= total
    await store.put(NAME, tmp_path / "file")
    assert await store.holds(NAME)
    assert b"".join([block async for block in store.read(NAME)]) == CONTENT
    with pytest.raises(Refusal, match="Sandbox does not exist"):
        [block async for block in store.read("/S3/nothing")]
    with pytest.raises(Failure, match="Sandbox store is not available"):
        await StoreFiles(Away(), SandboxSettings()).holds(NAME)  # type: ignore[arg-type]
