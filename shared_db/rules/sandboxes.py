"""Names of sandboxes (legacy-schema.md, section 5; rest-diracx.md, 6.5).

A *name* (SEPFN) is a path below a storage element; a *location* (``SB:<SEName>|<SEPFN>``) is what stands in
JDLs and on the wires.
"""

from __future__ import annotations

from dataclasses import dataclass

INPUT, OUTPUT = "Input", "Output"
_LOCATION = "SB:"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a sandbox is."""

    name: str
    group: str
    vo: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where a sandbox is."""

    storage_element: str
    name: str

    def __str__(self) -> str:
        return f"{_LOCATION}{self.storage_element}|{self.name}"


def rest_folder(bucket: str, owner: Owner) -> str:
    """What the names of an owner's REST sandboxes begin with."""
    return f"/S3/{bucket}/{owner.vo}/{owner.group}/{owner.name}/"


def rest_name(bucket: str, owner: Owner, sha256: str, archive: str) -> str:
    """The name of what was uploaded over REST; ``archive`` is its kind, as ``tar.zst``.

    Of the same content there is one name, however a client writes the digits of its checksum.
    """
    return f"{rest_folder(bucket, owner)}sha256:{sha256.lower()}.{archive}"


def is_location(text: str) -> bool:
    """Whether an entry of a JDL's InputSandbox names a sandbox, and not a file."""
    return text.startswith(_LOCATION)


def parse_location(text: str) -> Location | None:
    """A location as it is written; None when the storage element or the name is missing."""
    storage_element, bar, name = text.removeprefix(_LOCATION).partition("|")
    if not (is_location(text) and bar and storage_element.strip() and name.strip()):
        return None
    return Location(storage_element.strip(), name.strip())


def name_of(text: str) -> str:
    """The name in a location, or in a name that is given alone."""
    return text.split("|", 1)[-1]
