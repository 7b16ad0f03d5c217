"""The stores of sandboxes: what both can do, by HTTP as clients do it; and what is the directory's own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import tracemalloc
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from moto.server import ThreadedMotoServer
from yarl import URL

from rest_backend.errors import RestError
from rest_backend.sandbox_store import directory as directory_module
from rest_backend.sandbox_store.directory import PATH, DirectoryStore
from rest_backend.sandbox_store.s3 import S3Store
from rest_backend.sandbox_store.store import NotStored, SandboxStore, StoreUnavailable, Upload
from rest_backend.settings import S3Settings

LEGACY = "/SandBox/a/alice.demo_user/0aa/d3a/0aad3a.tar.bz2"
SOON = timedelta(minutes=5)
MEGABYTE = 1 << 20


@dataclass
class Served:
    """A store, where clients reach it, and a client's session."""

    store: SandboxStore
    url: str
    session: aiohttp.ClientSession

    def announced(self, content: bytes, name: str | None = None) -> Upload:
        """A file as it is announced."""
        digest = hashlib.sha256(content).hexdigest()
        own = f"/S3/{self.store.bucket}/demo/demo_user/alice/sha256:{digest}.tar.zst"
        return Upload(name or own, digest, len(content))

    async def post(self, url: str, fields: Mapping[str, str], file: Any) -> tuple[int, str]:
        """Send a form as DiracX's client does: its fields, then the file."""
        form = aiohttp.FormData()
        for name, value in fields.items():
            form.add_field(name, value)
        form.add_field("file", io.BytesIO(file) if isinstance(file, bytes) else file, filename="file")
        async with self.session.post(url, data=form) as response:
            return response.status, await response.text()

    async def upload(self, content: bytes, name: str | None = None) -> Upload:
        """Upload a file with a form of its own."""
        upload = self.announced(content, name)
        form = await self.store.upload_form(upload, self.url)
        assert await self.post(form.url, form.fields, content) == (204, "")
        return upload

    async def get(self, name: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Fetch a file by a URL of its own."""
        url = URL(await self.store.download_url(name, self.url), encoded=True)
        async with self.session.get(url, headers=headers) as response:
            return response.status, await response.read(), response.headers

    async def read(self, name: str) -> bytes:
        """A file, as we read it ourselves."""
        return b"".join([block async for block in self.store.read(name)])


def refusing(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """A handler whose refusals become answers; the shell's part (test_sandboxes.py has the shell)."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RestError as error:
            return web.json_response({"detail": error.detail}, status=error.status)

    return handle


@asynccontextmanager
async def serving(store: SandboxStore, url: str = "") -> AsyncIterator[Served]:
    """Serve a store's own routes."""
    app = web.Application()
    for route in store.routes:
        app.router.add_route(route.method, route.path, refusing(route.handler))
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Served(store, url or str(server.make_url("")).rstrip("/"), session)
    await store.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Settings]:
    """moto's S3 server, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = S3Settings(f"http://{host}:{port}", "grid-sandboxes", access_key="id", secret_key="key")
    request = urllib.request.Request(f"{settings.endpoint}/{settings.bucket}", method="PUT")
    with urllib.request.urlopen(request):
        pass
    yield settings
    server.stop()


@pytest_asyncio.fixture(params=["directory", "s3"], loop_scope="session")
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    """Each kind of store."""
    if request.param == "s3":
        store: SandboxStore = S3Store(request.getfixturevalue("s3"))
    else:
        store = DirectoryStore(tmp_path / "sandboxes", lambda: [b"secret"])
    async with serving(store) as given:
        yield given


@pytest_asyncio.fixture(loop_scope="session")
async def local(tmp_path: Path) -> AsyncIterator[Served]:
    """The directory."""
    async with serving(DirectoryStore(tmp_path / "sandboxes", lambda: [b"secret"])) as given:
        yield given


def files(served: Served) -> list[Path]:
    """Every file that a directory holds, whole or half."""
    root = served.store._folder._stored.parent  # type: ignore[attr-defined]
    return sorted(path for path in root.rglob("*") if path.is_file())


# What both can do


async def test_up_and_down(served: Served) -> None:
    """What a client uploads it gets back, byte by byte; before, it is not there."""
    content = os.urandom(200_000)
    name = served.announced(content).name
    assert not await served.store.holds(name)
    assert (await served.get(name))[0] == 404
    await served.upload(content)
    assert await served.store.holds(name)
    status, body, headers = await served.get(name)
    assert (status, body, headers["Content-Length"]) == (200, content, "200000")
    assert headers["ETag"]
    assert await served.read(name) == content


async def test_a_page_that_somebody_uploaded(local: Served) -> None:
    """No browser shows it, or runs it, as if it were ours."""
    upload = await local.upload(b"<html><script>alert(1)</script></html>")
    _, _, headers = await local.get(upload.name)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == "attachment"
    assert "sandbox" in headers["Content-Security-Policy"]


async def test_the_same_again(served: Served) -> None:
    """A second upload of the same replaces the first, and does no harm."""
    for _ in range(2):
        upload = await served.upload(b"the same")
    assert await served.read(upload.name) == b"the same"


@pytest.mark.parametrize("name", [LEGACY, "/S3/other/vo/g/ü ser/sha256:%2F..?#&+.tar.zst", "../../../x"])
async def test_any_name(served: Served, tmp_path: Path, name: str) -> None:
    """A file of ours can have any name, that of a legacy sandbox too, and be read and fetched by it."""
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"legacy" * 100_000)
    await served.store.put(name, spooled)
    assert spooled.exists()
    assert await served.store.holds(name)
    assert await served.read(name) == spooled.read_bytes()
    assert (await served.get(name))[:2] == (200, spooled.read_bytes())
    if isinstance(served.store, DirectoryStore):
        assert all(path.is_relative_to(tmp_path / "sandboxes") for path in files(served))
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()].count("spooled") == 1
    await served.store.delete([name], datetime.now(UTC) + SOON)


async def test_reading_what_is_not_there(served: Served) -> None:
    """It is said, before the first block."""
    with pytest.raises(NotStored):
        await served.read("/SandBox/n/nobody.none/000/000/000.tar.bz2")


async def test_deleting(served: Served) -> None:
    """Deleted files are gone; young ones stay; those that were never there are done with too."""
    one, two = await served.upload(b"one"), await served.upload(b"two")
    names = {one.name, two.name, LEGACY}
    assert await served.store.delete(names, datetime.now(UTC) - SOON) == names
    assert await served.read(one.name) == b"one"
    assert await served.store.delete([one.name, LEGACY], datetime.now(UTC) + SOON) == {one.name, LEGACY}
    assert not await served.store.holds(one.name)
    assert await served.read(two.name) == b"two"


async def test_parts(served: Served) -> None:
    """A part of a file can be fetched."""
    upload = await served.upload(b"0123456789")
    status, body, headers = await served.get(upload.name, Range="bytes=3-5")
    assert (status, body, headers["Content-Range"]) == (206, b"345", "bytes 3-5/10")


async def test_the_form(served: Served) -> None:
    """Its fields are those of S3: names that a client may look for, and the checksum in base64."""
    upload = served.announced(b"x")
    fields = (await served.store.upload_form(upload, served.url)).fields
    assert fields.keys() >= {"key", "policy", "x-amz-signature", "x-amz-algorithm"}
    assert fields["x-amz-checksum-algorithm"] == "sha256"
    assert base64.b64decode(fields["x-amz-checksum-sha256"]).hex() == upload.sha256


# The directory's own


async def refused(served: Served, content: bytes, **changed: str) -> tuple[int, str]:
    """What the form for ``announced`` is answered when it is sent with this content and these fields."""
    form = await served.store.upload_form(served.announced(b"announced"), served.url)
    status, text = await served.post(form.url, {**form.fields, **changed}, content)
    assert files(served) == []
    return status, text


@pytest.mark.parametrize("content", [b"announces", b"announce", b"announced!", b"", b"a" * 1_000_000])
async def test_another_file_than_announced(local: Served, content: bytes) -> None:
    """Size and checksum must be right, and nothing of what is wrong stays."""
    status, text = await refused(local, content)
    assert status == 400
    assert "announced" in text


@pytest.mark.parametrize("field", ["key", "policy", "x-amz-signature", "x-amz-checksum-sha256"])
async def test_a_form_that_was_changed(local: Served, field: str) -> None:
    """Whatever field says something else, the file is refused."""
    status, text = await refused(local, b"announced", **{field: "eyJ9"})
    assert (status, "signature" in text) == (403, True)


async def test_signatures_are_for_one_thing(local: Served) -> None:
    """A URL lets nobody fetch another file; one of another server is worth nothing here."""
    one, two = await local.upload(b"one"), await local.upload(b"two")
    url = URL(await local.store.download_url(one.name, local.url))
    other = URL(await local.store.download_url(two.name, local.url))
    stranger = DirectoryStore(Path("unused"), lambda: [b"another secret"])
    foreign = URL(await stranger.download_url(one.name, local.url))
    for bad in (
        other.with_query(url.query),
        url.update_query(expires=str(int(url.query["expires"]) + 1)),
        url.update_query(expires="soon"),
        url.update_query(signature="é"),
        url.with_query(None),
        foreign,
    ):
        async with local.session.get(bad) as response:
            assert response.status == 403
    assert (await local.get(one.name))[1] == b"one"


async def test_a_new_secret(tmp_path: Path) -> None:
    """What an older secret signed is still good while that is there."""
    secrets = [b"old"]
    async with serving(DirectoryStore(tmp_path / "sandboxes", lambda: secrets)) as served:
        upload = await served.upload(b"x")
        old = URL(await served.store.download_url(upload.name, served.url))
        for after, status in (([b"new", b"old"], 200), ([b"new"], 403)):
            secrets[:] = after
            async with served.session.get(old) as response:
                assert response.status == status
            assert (await served.get(upload.name))[0] == 200


async def test_signatures_expire(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """After their time neither the form nor the URL is good."""
    upload = await local.upload(b"x")
    form = await local.store.upload_form(upload, local.url)
    url = await local.store.download_url(upload.name, local.url)
    now = datetime.now(UTC)
    for seconds, up, down in ((290, 204, 200), (310, 403, 403)):
        later = now + timedelta(seconds=seconds)
        monkeypatch.setattr("shared_db.rules.clock.utc_now", lambda later=later: later)
        status, text = await local.post(form.url, form.fields, b"x")
        assert (status, "expired" in text) == (up, up == 403)
        async with local.session.get(url) as response:
            assert response.status == down


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"nothing", "multipart/form-data"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"v" * 9000,
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n' * 30 + b"--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
        (
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nv\r\n--y--\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
        (b"--x\r\nLong: " + b"v" * 20_000 + b"\r\n\r\nv\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
async def test_what_is_no_form(local: Served, body: bytes, content_type: str) -> None:
    """It is refused with a reason."""
    async with local.session.post(
        f"{local.url}{PATH}", data=body, headers={"Content-Type": content_type}
    ) as response:
        assert response.status == 400, await response.text()
        assert "form" in (await response.json())["detail"]
    assert files(local) == []


async def test_a_form_without_its_end(local: Served) -> None:
    """What came of a file in a body that breaks off is not kept."""
    upload = local.announced(b"announced")
    form = await local.store.upload_form(upload, local.url)
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.fields.items()
    ]
    body = "".join([*parts, '--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nannoun']).encode()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with local.session.post(form.url, data=body, headers=headers) as response:
        assert response.status == 400
    assert files(local) == []


async def test_an_upload_that_breaks_off(local: Served) -> None:
    """While it comes it is a draft; when its sender goes away, nothing is left."""
    upload = Upload("name", "0" * 64, 10 * MEGABYTE)
    form = await local.store.upload_form(upload, local.url)
    came = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        yield bytes(MEGABYTE)
        came.set()
        await asyncio.sleep(60)

    sending = asyncio.create_task(local.post(form.url, form.fields, blocks()))
    await came.wait()
    await until(lambda: len(files(local)) == 1)
    assert not await local.store.holds("name")
    sending.cancel()
    await until(lambda: files(local) == [])


async def test_a_sender_that_stalls(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends nothing for a while is told so, and nothing is left."""
    monkeypatch.setattr(directory_module, "BLOCK_SECONDS", 0.2)
    form = await local.store.upload_form(Upload("name", "0" * 64, 10 * MEGABYTE), local.url)

    async def blocks() -> AsyncIterator[bytes]:
        yield bytes(MEGABYTE)
        await asyncio.sleep(30)

    status, text = await local.post(form.url, form.fields, blocks())
    assert (status, "too long" in text) == (408, True)
    await until(lambda: files(local) == [])


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes about by itself."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_many_at_once(local: Served) -> None:
    """The same file uploaded by ten at once is there once, whole."""
    content = os.urandom(300_000)
    uploads = await asyncio.gather(*[local.upload(content) for _ in range(10)])
    assert len(files(local)) == 1
    assert await local.read(uploads[0].name) == content


async def test_deleted_while_it_is_fetched(local: Served) -> None:
    """Whoever has begun gets all of it; whoever comes later gets nothing."""
    content = os.urandom(20 * MEGABYTE)
    upload = await local.upload(content)
    async with local.session.get(await local.store.download_url(upload.name, local.url)) as response:
        begun = await response.content.readexactly(10)
        await local.store.delete([upload.name], datetime.now(UTC) + SOON)
        assert begun + await response.read() == content
    assert (await local.get(upload.name))[0] == 404
    assert files(local) == []


async def test_asked_for_again(local: Served) -> None:
    """A file that the client has is not sent again; one may ask for its size only."""
    upload = await local.upload(b"content")
    _, _, headers = await local.get(upload.name)
    assert (await local.get(upload.name, **{"If-None-Match": headers["ETag"]}))[:2] == (304, b"")
    async with local.session.head(await local.store.download_url(upload.name, local.url)) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "7")
    assert headers["Cache-Control"] == "private"
    assert headers["Content-Type"] == "application/octet-stream"


async def test_halves_are_tidied_away(local: Served) -> None:
    """What a crash left behind goes after a while; what is being written stays."""
    upload = await local.upload(b"whole")
    folder = local.store._folder  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    for seconds in (0, 7200):
        draft = folder.draft()
        draft.open()
        draft.finish()
        moment = now.timestamp() - seconds
        os.utime(draft.path, (moment, moment))
    assert await local.store.tidy(now - timedelta(hours=1)) == 1
    assert len(files(local)) == 2
    assert await local.store.holds(upload.name)


async def test_files_are_private(local: Served) -> None:
    """Nobody else on the machine may read them."""
    await local.upload(b"x")
    [file] = files(local)
    assert [path.stat().st_mode & 0o077 for path in (file, file.parent)] == [0, 0]


async def test_where_clients_reach_us(tmp_path: Path) -> None:
    """A configured address goes before the one that was asked."""
    store = DirectoryStore(tmp_path, lambda: [b"s"], public_url="https://grid.example.org")
    form = await store.upload_form(Upload("n", "0" * 64, 1), "http://inside")
    url = await store.download_url("n", "http://inside")
    assert form.url == "https://grid.example.org/api/sandbox-store"
    assert url.startswith("https://grid.example.org/api/sandbox-store/")
    assert "policy" not in repr(form)


async def test_a_directory_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Clients are told to come later, the log says why."""
    (tmp_path / "sandboxes").write_text("no directory")
    async with serving(DirectoryStore(tmp_path / "sandboxes", lambda: [b"secret"])) as served:
        form = await served.store.upload_form(served.announced(b"x"), served.url)
        status, text = await served.post(form.url, form.fields, b"x")
    assert (status, "not available" in text) == (503, True)
    assert "directory of the sandboxes cannot be used" in caplog.text


async def test_memory(local: Served) -> None:
    """200 megabytes go up and down in a few megabytes, client included."""
    size, block = 200 * MEGABYTE, os.urandom(MEGABYTE)
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(block)
    upload = Upload("large", digest.hexdigest(), size)
    form = await local.store.upload_form(upload, local.url)

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield block

    tracemalloc.start()
    try:
        assert await local.post(form.url, form.fields, blocks()) == (204, "")
        up = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        came = 0
        async with local.session.get(await local.store.download_url("large", local.url)) as response:
            async for chunk in response.content.iter_chunked(1 << 16):
                came += len(chunk)
        down = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert came == size
    assert max(up, down) < 12 * MEGABYTE


# S3's own


async def test_s3_keys_are_diracxs(s3: S3Settings) -> None:
    """The key of a REST sandbox is its name without the bucket: a bucket of DiracX's can be taken over."""
    async with serving(S3Store(s3)) as served:
        upload = await served.upload(b"for a key")
        form = await served.store.upload_form(upload, "")
        assert form.url == f"{s3.endpoint}/{s3.bucket}"
        assert form.fields["key"] == upload.name.removeprefix(f"/S3/{s3.bucket}/")
        assert list(served.store.routes) == []


async def test_s3_policy(s3: S3Settings) -> None:
    """The service is told to take this size and checksum only, for a while."""
    store = S3Store(s3, lifetime=60)
    form = await store.upload_form(Upload(f"/S3/{s3.bucket}/k", "ab" * 32, 7), "")
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    assert ["content-length-range", 7, 7] in policy["conditions"]
    for name in form.fields.keys() - {"policy", "x-amz-signature"}:
        assert {name: form.fields[name]} in policy["conditions"]
    expires = datetime.fromisoformat(policy["expiration"])
    assert timedelta(seconds=50) < expires - datetime.now(UTC) < timedelta(seconds=61)
    assert URL(await store.download_url("k", "")).query["X-Amz-Expires"] == "60"


@pytest.mark.parametrize("change", [{"bucket": "nowhere"}, {"endpoint": "http://127.0.0.1:9"}])
async def test_s3_trouble(s3: S3Settings, change: dict[str, str], tmp_path: Path, caplog) -> None:
    """What the service refuses, or where there is none, is not available; a deletion is for another time."""
    (tmp_path / "file").write_bytes(b"x")
    async with serving(S3Store(replace(s3, **change))) as served:
        with pytest.raises(StoreUnavailable):
            await served.store.put(LEGACY, tmp_path / "file")
        if "endpoint" in change:
            assert await served.store.delete([LEGACY], datetime.now(UTC)) == set()
    assert "S3 service" in caplog.text


async def test_s3_keys_of_the_environment(s3: S3Settings, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """Without keys in the settings those of the environment are used; where there are none it is said."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    keyless = replace(s3, access_key="", secret_key="")
    with pytest.raises(StoreUnavailable):
        await S3Store(keyless).download_url("k", "")
    assert "sandboxes.s3.access_key" in caplog.text
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "from-environment" in await S3Store(keyless).download_url("k", "")
