"""Sandboxes (``rest-diracx.md``, 6.5): their routes, and how they are cleaned away."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select
from yarl import URL

from rest_backend.operations import RestRequest
from rest_backend.sandbox_store import cleaning
from rest_backend.sandbox_store.cleaning import Cleaned, clean_sandboxes
from rest_backend.sandbox_store.files import file_id
from shared_db.schema.sandbox_metadata_db import (
    SANDBOX_METADATA_DB,
    sb_EntityMapping,
    sb_Owners,
    sb_SandBoxes,
)

from .conftest import Grid, Said

UPLOAD = "/api/jobs/sandbox"
UNASSIGN = "/api/jobs/sandbox/unassign"


@pytest.fixture
def content() -> bytes:
    """What nobody has uploaded before."""
    return os.urandom(1000)


def info(content: bytes, **changed: Any) -> dict[str, Any]:
    """A file as a client announces it."""
    digest = hashlib.sha256(content).hexdigest()
    told = {"checksum_algorithm": "sha256", "checksum": digest, "size": len(content), "format": "tar.zst"}
    return {**told, **changed}


def pfn_of(content: bytes, folder: str = "demo/demo_user/alice") -> str:
    """The name that it gets."""
    return f"/S3/sandboxes/{folder}/sha256:{hashlib.sha256(content).hexdigest()}.tar.zst"


async def announce(grid: Grid, content: bytes, caller: str = "alice", **changed: Any) -> Mapping[str, Any]:
    """Announce a file; what is answered."""
    said = await grid.http("POST", UPLOAD, info(content, **changed), caller=caller)
    assert said.status == 200, said.body
    return said.body


async def send(grid: Grid, answer: Mapping[str, Any], content: bytes) -> tuple[int, Any]:
    """Upload a file as DiracX's client does: without a token."""
    form = aiohttp.FormData()
    for name, value in answer["fields"].items():
        form.add_field(name, value)
    form.add_field("file", content, filename="file")
    async with grid.client.session.post(answer["url"], data=form) as response:
        return response.status, await response.json() if response.status != 204 else None


async def upload(grid: Grid, content: bytes, caller: str = "alice") -> str:
    """Upload a file; its location."""
    answer = await announce(grid, content, caller)
    assert await send(grid, answer, content) == (204, None)
    return answer["pfn"]


async def fetch(grid: Grid, said: Said) -> tuple[int, bytes]:
    """What a signed URL gives."""
    async with grid.client.session.get(URL(said.body["url"], encoded=True)) as response:
        return response.status, await response.read()


async def boxes(grid: Grid) -> list[tuple[Any, ...]]:
    """``(SEName, SEPFN, Bytes, Assigned)`` of every row."""
    c = sb_SandBoxes.c
    statement = select(c.SEName, c.SEPFN, c.Bytes, c.Assigned).order_by(c.SBId)
    return await grid.rows(SANDBOX_METADATA_DB, statement)


async def mapped(grid: Grid) -> list[tuple[Any, ...]]:
    """Every row that gives a job a sandbox."""
    return await grid.rows(SANDBOX_METADATA_DB, select(sb_EntityMapping))


# Uploading


async def test_an_upload(grid, content) -> None:
    """Its location, a form for five minutes, the rows that DiracX leaves, and the file."""
    answer = await announce(grid, content)
    assert answer["pfn"] == f"SB:SandboxSE|{pfn_of(content)}"
    assert answer["url"] == str(grid.client.make_url("/api/sandbox-store"))
    assert await boxes(grid) == [("SandboxSE", pfn_of(content), 1000, 0)]
    assert await grid.rows(SANDBOX_METADATA_DB, select(sb_Owners)) == [(1, "alice", "demo_user", "demo")]
    assert await send(grid, answer, content) == (204, None)
    said = await grid.http("GET", UPLOAD, query={"pfn": answer["pfn"]}, caller="alice")
    assert (said.status, said.body["expires_in"]) == (200, 300)
    assert await fetch(grid, said) == (200, content)


async def test_announced_again(grid, content) -> None:
    """While it is not there it may be uploaded; once it is, there is nothing to do."""
    first, second = await announce(grid, content), await announce(grid, content)
    assert first["url"] and second["url"]
    assert await send(grid, first, content) == (204, None)
    nothing = {"pfn": first["pfn"], "url": None, "fields": {}}
    assert await announce(grid, content) == nothing
    assert await announce(grid, content, checksum=info(content)["checksum"].upper()) == nothing
    assert len(await boxes(grid)) == 1


async def test_one_that_a_job_has_is_there(grid, content) -> None:
    """The store is not asked: it was there when the job got it."""
    await announce(grid, content)
    await grid.http("PATCH", "/api/jobs/1/sandbox/output", pfn_of(content), caller="alice")
    assert (await announce(grid, content))["url"] is None


async def test_the_same_of_somebody_else(grid, content) -> None:
    """To know a checksum is not to have the file: everybody uploads his own."""
    await upload(grid, content)
    for caller, folder in (("bob", "demo/demo_user/bob"), ("alice_elsewhere", "other/other_user/alice")):
        answer = await announce(grid, content, caller)
        assert answer["url"]
        assert answer["pfn"] == f"SB:SandboxSE|{pfn_of(content, folder)}"


async def test_too_large(grid, content) -> None:
    """The limit is in the text, and there is no row."""
    said = await grid.http("POST", UPLOAD, info(content, size=104857601), caller="alice")
    assert (said.status, said.detail) == (400, "Sandbox too large, maximum allowed is 104857600 bytes")
    assert await boxes(grid) == []


async def test_another_file_than_announced(grid, content) -> None:
    """The store refuses in the shape of all our errors; so it does what is no form."""
    answer = await announce(grid, content)
    status, body = await send(grid, answer, content[::-1])
    assert (status, body) == (400, {"detail": "The file's SHA-256 is not the one that was announced"})
    async with grid.client.session.post(answer["url"], json={}) as response:
        assert (response.status, list(await response.json())) == (400, ["detail"])


# Downloading


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        ("alice", 200),
        ("bob", 403),
        ("carol", 403),
        ("admin", 200),
        ("guest", 200),
        ("host", 200),
        ("pilot", 403),
        ("alice_elsewhere", 403),
        ("olga", 403),
        ("operator", 403),
        ("wms", 403),
    ],
)
async def test_who_may_read_alices(grid, content, caller, status) -> None:
    """She herself in the same group and VO, JobAdministrator, JobMonitor; its name alone helps nobody."""
    location = await upload(grid, content)
    for name in (location, pfn_of(content)):
        assert (await grid.http("GET", UPLOAD, query={"pfn": name}, caller=caller)).status == status


async def test_a_group_that_shares(grid, content) -> None:
    """A member of a group with JobSharing reads what another one uploaded, not what other groups did."""
    query = {"pfn": pfn_of(content, "demo/demo_share/dave")}
    dave = replace(grid.principal("carol"), username="dave", subject="dave")
    announced = await grid.runner.call(RestRequest("POST", UPLOAD, body=info(content)), dave)
    assert announced.body["pfn"].endswith(query["pfn"])
    assert (await grid.http("GET", UPLOAD, query=query, caller="carol")).status == 200
    assert (await grid.http("GET", UPLOAD, query=query, caller="alice")).status == 403
    await upload(grid, content)
    assert (await grid.http("GET", UPLOAD, query={"pfn": pfn_of(content)}, caller="carol")).status == 403


async def test_why_not(grid, content) -> None:
    """DiracX's texts."""
    await upload(grid, content, "bob")
    said = await grid.http(
        "GET", UPLOAD, query={"pfn": pfn_of(content, "demo/demo_user/bob")}, caller="alice"
    )
    folder = "/S3/sandboxes/demo/demo_user/alice/"
    assert (said.status, said.detail) == (403, f"Invalid PFN. PFN must start with {folder}")
    said = await grid.http("GET", UPLOAD, query={"pfn": pfn_of(content)}, caller="alice")
    assert (said.status, said.detail) == (403, "alice is not the owner of the sandbox")
    said = await grid.http("GET", UPLOAD, query={"pfn": pfn_of(content)})
    assert (said.status, said.detail) == (404, "Sandbox not found")


async def test_announced_and_not_uploaded(grid, content) -> None:
    """As on DiracX there is a URL; it leads nowhere."""
    await announce(grid, content)
    said = await grid.http("GET", UPLOAD, query={"pfn": pfn_of(content)}, caller="alice")
    assert (await fetch(grid, said))[0] == 404


# Jobs


async def test_sandboxes_of_a_job(grid) -> None:
    """What a job has is listed by names, without the storage element; taken away, it has nothing."""
    one, two = os.urandom(9), os.urandom(9)
    for content in (one, two):
        location = await upload(grid, content)
        said = await grid.http("PATCH", "/api/jobs/2/sandbox/output", location, caller="alice")
        assert (said.status, said.body) == (200, None)
    names = [pfn_of(one), pfn_of(two)]
    said = await grid.http("GET", "/api/jobs/2/sandbox", caller="alice")
    assert (said.status, said.body) == (200, {"Input": [], "Output": names})
    for kind, expected in (("input", []), ("output", names)):
        said = await grid.http("GET", f"/api/jobs/2/sandbox/{kind}", caller="alice")
        assert (said.status, said.body) == (200, expected)
    assert [row[3] for row in await boxes(grid)] == [1, 1]
    for _ in range(2):
        said = await grid.http("DELETE", "/api/jobs/2/sandbox", caller="alice")
        assert (said.status, said.body) == (200, None)
    assert [row[3] for row in await boxes(grid)] == [0, 0]
    said = await grid.http("GET", "/api/jobs/2/sandbox", caller="alice")
    assert said.body == {"Input": [], "Output": []}


async def test_several_jobs(grid, content) -> None:
    """Sandboxes can be taken from several jobs at once; all or none."""
    location = await upload(grid, content)
    for job in (1, 2, 4):
        await grid.http("PATCH", f"/api/jobs/{job}/sandbox/output", location)
    said = await grid.http("POST", UNASSIGN, {"job_ids": [1, 4]}, caller="alice")
    assert (said.status, len(await mapped(grid))) == (403, 3)
    said = await grid.http("POST", UNASSIGN, {"job_ids": [1, 2]}, caller="alice")
    assert (said.status, said.body) == (204, None)
    assert await mapped(grid) == [(1, "Job:4", "Output")]


async def test_what_cannot_be_assigned(grid, content) -> None:
    """DiracX's texts."""
    for expected in ((400, "Sandbox not found"), (200, None), (400, "Sandbox already assigned")):
        said = await grid.http("PATCH", "/api/jobs/2/sandbox/output", pfn_of(content), caller="alice")
        assert (said.status, said.body and said.detail) == expected
        await announce(grid, content)


@pytest.mark.parametrize("path", ["/api/jobs/2/sandbox/output", "/api/jobs/2/sandbox/input"])
async def test_methods_of_paths_that_look_alike(grid, path) -> None:
    """Output sandboxes can be set and read, input sandboxes only read."""
    said = await grid.http("PUT", path)
    assert said.status == 405
    allowed = {name.strip() for name in said.headers["Allow"].split(",")}
    assert ("GET" in allowed, "PATCH" in allowed) == (True, path.endswith("output"))


# Cleaning


@pytest.fixture
def later(monkeypatch) -> Any:
    """``later(days)``: the time that many days from now, for the cleaning and the databases."""

    def move(days: float) -> None:
        moment = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr("shared_db.rules.clock.utc_now", lambda: moment)

    return move


async def clean(grid: Grid, **options: Any) -> Cleaned:
    """One run."""
    return await clean_sandboxes(grid.databases, grid.sandboxes, "SandboxSE", **options)


def path_of(grid: Grid, content: bytes) -> Any:
    """Where alice's file is."""
    return grid.sandboxes._folder.path(file_id(pfn_of(content)))


async def test_cleaning(grid, later) -> None:
    """After 15 days what no job has is gone, row and file, in batches; what a job has stays for ever."""
    contents = [os.urandom(10) for _ in range(5)]
    for each in contents:
        await upload(grid, each)
    await grid.http("PATCH", "/api/jobs/1/sandbox/output", pfn_of(contents[2]))
    later(14)
    assert (await clean(grid)).sandboxes == 0
    later(16)
    assert (await clean(grid, batch=2)).sandboxes == 4
    assert [row[1] for row in await boxes(grid)] == [pfn_of(contents[2])]
    assert [path_of(grid, each).exists() for each in contents] == [False, False, True, False, False]


async def test_cleaning_after_removed_jobs(grid, content, later) -> None:
    """What is marked as assigned while no job has it, as DIRAC leaves it, goes after a day."""
    location = await upload(grid, content)
    await grid.http("PATCH", "/api/jobs/1/sandbox/output", location)
    async with grid.databases.unit_of_work(write=True) as work:
        await work.change(SANDBOX_METADATA_DB, sb_EntityMapping.delete())
    later(0.5)
    assert (await clean(grid)).sandboxes == 0
    later(1.5)
    assert (await clean(grid)).sandboxes == 1
    assert not path_of(grid, content).exists()


async def test_cleaning_that_breaks_off(grid, content, later, monkeypatch) -> None:
    """A run that ends after its claim leaves the file, which nobody can reach; the next one goes on."""
    await upload(grid, content)

    async def crash(*_: Any) -> set[str]:
        raise KeyboardInterrupt

    later(16)
    with monkeypatch.context() as patch:
        patch.setattr(type(grid.sandboxes), "delete", crash)
        with pytest.raises(KeyboardInterrupt):
            await clean(grid)
    assert path_of(grid, content).exists()
    said = await grid.http("GET", UPLOAD, query={"pfn": pfn_of(content)})
    assert said.status == 404
    assert (await clean(grid)).sandboxes == 1
    assert (await boxes(grid), path_of(grid, content).exists()) == ([], False)


async def test_cleaning_when_files_cannot_be_deleted(grid, content, later, monkeypatch) -> None:
    """Their rows wait for the next run; others go."""
    other = os.urandom(10)
    await upload(grid, content)
    await upload(grid, other)
    later(16)
    delete = type(grid.sandboxes).delete

    async def some(store: Any, names: Any, before: datetime) -> set[str]:
        return await delete(store, [name for name in names if name != pfn_of(content)], before)

    with monkeypatch.context() as patch:
        patch.setattr(type(grid.sandboxes), "delete", some)
        assert (await clean(grid)).sandboxes == 1
    assert [row[:2] for row in await boxes(grid)] == [("SandboxSE#removing", pfn_of(content))]
    assert (await clean(grid)).sandboxes == 1


async def test_cleaning_beside_a_new_upload(grid, content, later, monkeypatch) -> None:
    """What is uploaded again while it is being removed is there afterwards, row and file."""
    await upload(grid, content)
    later(16)
    delete = type(grid.sandboxes).delete

    async def meanwhile(store: Any, names: Any, before: datetime) -> set[str]:
        later(16)
        await upload(grid, content)
        path = path_of(grid, content)
        os.utime(path, (before.timestamp() + 3600,) * 2)
        return await delete(store, names, before)

    with monkeypatch.context() as patch:
        patch.setattr(type(grid.sandboxes), "delete", meanwhile)
        await clean(grid)
    await clean(grid)
    assert [row[:2] for row in await boxes(grid)] == [("SandboxSE", pfn_of(content))]
    assert path_of(grid, content).read_bytes() == content


async def test_cleaning_spares_the_registered(grid, content, later) -> None:
    """A claimed one that was registered anew before its file is deleted keeps its file."""
    await upload(grid, content)
    later(16)
    run = cleaning._Run(grid.databases, grid.sandboxes, "SandboxSE", datetime.now(UTC) + timedelta(16), 9)
    async with grid.databases.unit_of_work(write=True) as work:
        await work.change(SANDBOX_METADATA_DB, sb_SandBoxes.update().values(SEName="SandboxSE#removing"))
    assert (await announce(grid, content))["url"]
    assert await run.finish() == 1
    assert [row[:2] for row in await boxes(grid)] == [("SandboxSE", pfn_of(content))]
    assert path_of(grid, content).exists()
