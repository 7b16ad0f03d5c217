"""Files of transfers: what adaptors move, and archives that are packed anew on their way."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from adaptor.conversation import Download, RestFailure, Spool, Upload
from adaptor.moving import Mover
from legacy_rpc.messages import Call, Failure, Identity, Incoming
from shared_db.rules.archives import ZstdAsGzip, needs_repacking
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import Spooled

MEGABYTE = 1 << 20
SPOOLED = Spooled(Path("x"), 1, "md5", "sha256")
ALICE = Identity("alice", "demo_user")


class Files:
    """A store that gives some blocks, then fails, and remembers what it was asked."""

    def __init__(self, blocks: Iterator[bytes], failure: Exception | None = None) -> None:
        self.blocks, self.failure = blocks, failure
        self.done: list[Any] = []

    @asynccontextmanager
    async def spooled(self, incoming: Incoming, largest: int) -> AsyncIterator[Spooled]:
        self.done.append(("spooled", incoming, largest))
        yield SPOOLED
        self.done.append("removed")

    async def upload(self, upload: Upload) -> None:
        self.done.append(upload)

    async def download(self, url: str) -> AsyncIterator[bytes]:
        self.done.append(url)
        for block in self.blocks:
            yield block
        if self.failure:
            raise self.failure


class Client:
    """Takes so many blocks of a download, one at a time."""

    def __init__(self, most: int = 10**9) -> None:
        self.most, self.taken = most, bytearray()
        self.blocks = 0

    async def send(self, data: bytes) -> None:
        self.blocks += 1
        if self.blocks > self.most:
            raise Failure("no more")
        self.taken += data


def call(**transfer: Any) -> Call:
    """A transfer."""
    return Call("S", "FileTransfer/X", (), ALICE, "test", **transfer)


async def test_a_spooled_file_is_there_until_the_conversation_ends() -> None:
    """It goes whatever happens, and the client has sent something by then."""
    files, incoming = Files(iter(())), object()
    mover = Mover(files, call(incoming=incoming))
    with pytest.raises(RuntimeError):
        async with mover:
            assert not mover.moved
            assert await mover.move(Spool(5)) is SPOOLED
            upload = Upload("u", {}, SPOOLED.path)
            await mover.move(upload)
            assert files.done == [("spooled", incoming, 5), upload]
            raise RuntimeError
    assert mover.moved
    assert files.done[-1] == "removed"


async def test_a_download_goes_block_by_block() -> None:
    """No more is taken from the store than the client takes."""
    source = iter([b"a" * 10] * 5)
    mover = Mover(Files(source), call(outgoing=(client := Client(most=2))))
    with pytest.raises(Failure, match="no more"):
        await mover.move(Download("u"))
    assert bytes(client.taken) == b"a" * 20
    assert len(list(source)) == 2


@pytest.mark.parametrize(("blocks", "moved"), [([], False), ([b"x"], True)])
async def test_a_failure_says_whether_something_was_sent(blocks: list[bytes], moved: bool) -> None:
    """Whoever has got no byte may be answered by the other side."""
    mover = Mover(Files(iter(blocks), RestFailure(503, "away")), call(outgoing=Client()))
    with pytest.raises(RestFailure):
        await mover.move(Download("u"))
    assert mover.moved is moved


async def test_nothing_is_moved_without_a_store() -> None:
    """The request is not sent at all."""
    with pytest.raises(RestFailure) as caught:
        await Mover(None, call()).move(Spool(1))
    assert caught.value.not_executed


# Archives


def repacked(data: bytes, size: int = 60_000) -> bytes:
    """What a client gets of an archive that comes in blocks."""
    repacking = ZstdAsGzip()
    pieces = [
        piece for start in range(0, len(data), size) for piece in repacking.feed(data[start : start + size])
    ]
    return b"".join([*pieces, *repacking.end()])


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MEGABYTE])
def test_an_archive_is_the_same_packed_anew(size: int) -> None:
    """However its bytes come."""
    content = os.urandom(size // 2) + b"x" * (size - size // 2)
    packed = zstandard.compress(content)
    for block in (1, 1000, 10**7) if size < MEGABYTE else (10**7,):
        assert gzip.decompress(repacked(packed, block)) == content


@pytest.mark.parametrize("data", [b"", b"no archive", zstandard.compress(b"x" * 1000)[:-3]])
def test_half_an_archive_is_refused(data: bytes) -> None:
    """Clients would take it for a whole one."""
    with pytest.raises(Refusal, match="no whole archive"):
        repacked(data)


def test_what_unpacks_to_far_too_much_is_refused() -> None:
    """In little memory: a gigabyte of nothing is a small archive."""
    compressor = zstandard.ZstdCompressor().compressobj()
    packed = b"".join([*(compressor.compress(bytes(MEGABYTE)) for _ in range(256)), compressor.flush()])
    tracemalloc.start()
    with pytest.raises(Refusal, match="too densely"):
        repacked(packed, 10**7)
    assert tracemalloc.get_traced_memory()[1] < 100 * MEGABYTE
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "release", "needed"),
    [
        ("x.tar.zst", (8, 0), True),
        ("x.tar.zst", (7, 3), True),
        ("x.tar.zst", (9, 0), False),
        ("x.tar.zst", None, False),
        ("x.tar.bz2", (8, 0), False),
    ],
)
def test_who_needs_it(name: str, release: tuple[int, int] | None, needed: bool) -> None:
    """Clients before 9, of archives that they cannot read."""
    assert needs_repacking(name, release) is needed
