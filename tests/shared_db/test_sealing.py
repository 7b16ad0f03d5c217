"""Secrets at rest: what can be opened, by whom, and the file of the keys."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared_db.sealing import Seal, SealBroken, SealingKey, SealingKeyError

SECRET = b"-----BEGIN PRIVATE KEY-----"


def test_what_is_sealed_can_be_opened_where_it_belongs() -> None:
    """And nowhere else; the same secret never looks the same."""
    seal = Seal([SealingKey.generate()])
    sealed = seal.close(SECRET, "proxy /CN=alice")
    assert SECRET not in sealed
    assert sealed != seal.close(SECRET, "proxy /CN=alice")
    assert seal.open(sealed, "proxy /CN=alice") == SECRET
    for other in ("proxy /CN=bob", "request /CN=alice", ""):
        with pytest.raises(SealBroken, match="not what was sealed here"):
            seal.open(sealed, other)


def test_any_change_is_noticed() -> None:
    """Of every byte, and of the length."""
    seal = Seal([SealingKey.generate()])
    sealed = seal.close(SECRET, "x")
    for index in range(len(sealed)):
        changed = bytes(byte ^ (position == index) for position, byte in enumerate(sealed))
        with pytest.raises(SealBroken):
            seal.open(changed, "x")
        with pytest.raises(SealBroken):
            seal.open(sealed[:index], "x")


def test_keys_change() -> None:
    """A new first key seals; what the old one sealed can be opened while that is in the file."""
    old, new = SealingKey.generate(), SealingKey.generate()
    sealed = Seal([old]).close(SECRET, "x")
    both = Seal([new, old])
    assert both.open(sealed, "x") == SECRET
    later = both.close(SECRET, "x")
    assert Seal([new]).open(later, "x") == SECRET
    with pytest.raises(SealBroken, match=f"the key {old.key_id.hex()} is not in the key file"):
        Seal([new]).open(sealed, "x")


def test_key_file(tmp_path: Path) -> None:
    """It is made when it is not there, for its owner only, and then kept."""
    path = tmp_path / "new" / "keys.json"
    sealed = Seal.load_or_create(path).close(SECRET, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]
    assert Seal.load_or_create(path).open(sealed, "x") == SECRET
    [key] = json.loads(path.read_text())["keys"]
    path.write_text(json.dumps({"keys": [SealingKey.generate().as_json(), key]}))
    assert Seal.load_or_create(path).open(sealed, "x") == SECRET


def test_programs_that_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    """What one of them seals the others open."""
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        seals = list(pool.map(Seal.load_or_create, [path] * 8))
    assert {seal.open(seals[0].close(SECRET, "x"), "x") for seal in seals} == {SECRET}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"keys": 5}',
        '{"keys": [{"id": "00", "key": "AA=="}]}',
        '{"keys": [{"id": "zz", "key": "x"}]}',
    ],
)
def test_unusable_key_file(tmp_path: Path, content: str) -> None:
    """The error names the file and the mend; the file stays as it is."""
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(SealingKeyError, match=r"keys\.json: no usable keys .*: restore it, or remove it"):
        Seal.load_or_create(path)
    assert path.read_text() == content


def test_file_without_a_key(tmp_path: Path) -> None:
    """Nothing can be sealed with none."""
    (tmp_path / "keys.json").write_text('{"keys": []}')
    with pytest.raises(SealingKeyError, match="holds no key: remove it"):
        Seal.load_or_create(tmp_path / "keys.json")


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    """The error says where to name another one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SealingKeyError, match="name a writable file in proxies: keys:"):
        Seal.load_or_create(tmp_path / "file" / "keys.json")
