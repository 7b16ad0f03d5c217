"""Generated calls of WorkloadManagement/SandboxStore."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from calls.arguments import ODD, Maker
from wherry.demo.data import SANDBOXES

SERVICE = "WorkloadManagement/SandboxStore"

# Few, so that the same is sent again, fetched and assigned.
CONTENTS = (b"first", b"second" * 1000, b"x" * 70_000, b"")
BY_MD5 = {hashlib.md5(each, usedforsecurity=False).hexdigest(): each for each in CONTENTS}
OWNERS = ("alice.demo_user", "alice.demo_admin", "bob.demo_user", "pilot.demo_pilot")


def content_of(arguments: list[Any]) -> bytes:
    """The bytes that come along with an upload: those that its name says, or others."""
    name = arguments[0][0] if isinstance(arguments[0], list) and arguments[0] else arguments[0]
    return BY_MD5.get(str(name).partition(".")[0], b"something else")


def entity(chance: random.Random) -> Any:
    """A job, or something odd."""
    return (
        f"Job:{chance.choice((*SANDBOXES, 6, 999))}"
        if chance.random() < 0.9
        else chance.choice(("", "x" * 129, "é"))
    )


def archive(chance: random.Random) -> str:
    """The name of an upload."""
    md5 = chance.choice([*BY_MD5, "0" * 32])
    return md5 + chance.choice((".tar.bz2", ".tar.bz2", ".tar.bz2", ".tar.zst", ".tar", "", ".tar.gz"))


def upload(chance: random.Random) -> list[Any]:
    """Arguments of an upload."""
    name = archive(chance)
    file_id: Any = name
    if chance.random() < 0.4:
        file_id = [name, {entity(chance): chance.choice(("Input", "Output", ""))}]
    if chance.random() < 0.1:
        file_id = chance.choice(([name], [], 5, None, [name, {}], [name, None], [name, "x"]))
    size = len(content_of([file_id])) if chance.random() < 0.8 else chance.choice((-1, 2**40, "x"))
    return [file_id, "", size]


def name(chance: random.Random) -> str:
    """A name that somebody's upload may have, here or in the demo's data."""
    content, owner = chance.choice(CONTENTS), chance.choice(OWNERS)
    if chance.random() < 0.5:
        number = chance.choice(SANDBOXES)
        content = f"{chance.choice(('Input', 'Output'))} of job {number}".encode()
        owner = OWNERS[(0, 2, 1)[number // 16]]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if chance.random() < 0.3:
        sha256 = hashlib.sha256(content).hexdigest()
        user, _, group = owner.partition(".")
        return f"/S3/sandboxes/demo/{group}/{user}/sha256:{sha256}.tar.bz2"
    return f"/SandBox/{owner[0]}/{owner}/{md5[:3]}/{md5[3:6]}/{md5}.tar.bz2"


def download(chance: random.Random) -> list[Any]:
    """Arguments of a download."""
    odd = ("", "x", "/", "/S3/x", "/SandBox/", "/SandBox/" + "x" * 300, 5, [])
    wanted: Any = name(chance) if chance.random() < 0.9 else chance.choice(odd)
    if chance.random() < 0.5 and isinstance(wanted, str):
        wanted = f"dips://localhost:9196/{SERVICE}{wanted}"
    return [wanted, ""]


def location(chance: random.Random) -> Any:
    """A location, or something odd."""
    if chance.random() < 0.1:
        return chance.choice(("x", "SB:", "SB:|", "SB:SandboxSE", 5))
    return f"SB:{chance.choice(('SandboxSE', 'SandboxSE', 'OtherSE'))}|{name(chance)}"


def assignments(chance: random.Random) -> list[Any]:
    """Arguments of assignSandboxesToEntities."""
    wanted: dict[Any, Any] = {}
    for _ in range(chance.randint(0, 2)):
        sandboxes: Any = [(location(chance), chance.choice(("Input", "Output")))]
        if chance.random() < 0.1:
            sandboxes = chance.choice(("x", [5], [("a",)], [(location(chance), "")]))
        wanted[entity(chance)] = sandboxes
    more = ["", "", False] if chance.random() < 0.5 else [chance.choice(("bob", 5)), "demo_user"]
    return [wanted, *more[: chance.randint(0, 3)]]


def entities(chance: random.Random) -> list[Any]:
    """Arguments of unassignEntities."""
    return [
        [entity(chance) for _ in range(chance.randint(0, 3))] if chance.random() < 0.9 else chance.choice(ODD)
    ]


CALLS: dict[str, Maker] = {
    "FileTransfer/FromClient": upload,
    "FileTransfer/BulkFromClient": upload,
    "FileTransfer/ToClient": download,
    "getSandboxesAssignedToEntity": lambda chance: [entity(chance)],
    "assignSandboxesToEntities": assignments,
    "unassignEntities": entities,
    "getFreeDiskSpace": lambda _chance: [],
    "getTotalDiskSpace": lambda _chance: [],
}
