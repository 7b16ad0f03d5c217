"""Rows of WorkloadManagement/SandboxStore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptor.conversation import Download, Request, RestFailure, Spool, Upload
from adaptor.methods.sandbox_store import ENTITIES, LARGEST, LEGACY, SANDBOX
from legacy_rpc.messages import Identity
from rows.conversation import ALICE, Row
from shared_db.rules import sandboxes as rules
from shared_db.rules.archives import ZstdAsGzip
from shared_db.rules.refusals import Refusal, UnfitArgument
from shared_db.rules.sandboxes import Spooled

SERVICE = "WorkloadManagement/SandboxStore"

MD5, SHA256 = "5d41402abc4b2a76b9719d911017c592", "2c" * 32
FILE = Spooled(Path("spooled"), 5, MD5, SHA256)
PFN = f"SB:SandboxSE|/S3/sandboxes/demo/demo_user/alice/sha256:{SHA256}.tar.bz2"
NAME = PFN.partition("|")[2]
OLD_NAME = f"/SandBox/a/alice.demo_user/5d4/140/{MD5}.tar.bz2"
OLD = f"SB:SandboxSE|{OLD_NAME}"
URL = f"dips://localhost:9196/{SERVICE}"
PILOT = Identity("pilot", "demo_pilot", vo="demo", properties=("GenericPilot",))
HOST = Identity("bridge", "hosts", kind="host", properties=("JobAdministrator",))
NOT_ASSIGNABLE = Refusal(
    "Sandbox does not exist or you are not authorized to assign it being alice@demo_user"
)

INFO = {"checksum_algorithm": "sha256", "checksum": SHA256, "size": 5, "format": "tar.bz2"}
SPOOL = (Spool(LARGEST), FILE)
NEW = (Request("POST", SANDBOX, INFO), {"pfn": PFN, "url": "http://store", "fields": {"key": "x"}})
SENT = (Upload("http://store", {"key": "x"}, FILE.path), None)
NAMING = {"pfn": PFN, "md5": MD5, "format": "tar.bz2"}
NAMED = (Request("PUT", LEGACY, NAMING), {"pfn": OLD})


def upload(
    file_id: Any, *exchange: Any, expected: Any = OLD, size: Any = 5, identity: Identity = ALICE
) -> Row:
    """A file from a client."""
    return Row(SERVICE, "FileTransfer/FromClient", [file_id, "", size], list(exchange), expected, identity)


def refused(file_id: Any, problem: str, size: Any = 5) -> Row:
    """One that is refused before anything is read."""
    return upload(file_id, expected=Refusal(problem), size=size)


def naming(answer: Any, expected: Any, entities: dict[str, str]) -> Row:
    """One for some entities."""
    named = (Request("PUT", LEGACY, NAMING | {"entities": entities}), answer)
    return upload([f"{MD5}.tar.bz2", entities], SPOOL, NEW, SENT, named, expected=expected)


def download(
    name: Any, *exchange: Any, expected: Any = None, identity: Identity = ALICE, version: str = ""
) -> Row:
    """A file for a client."""
    return Row(
        SERVICE,
        "FileTransfer/ToClient",
        [name, ""],
        list(exchange),
        expected,
        identity,
        client_version=version,
    )


def looked_up(answer: Any) -> Any:
    """The other name of a sandbox."""
    return Request("POST", f"{LEGACY}/search", {"names": [OLD_NAME]}), answer


def asked(answer: Any, name: str = NAME) -> Any:
    """A URL for a sandbox."""
    return Request("GET", SANDBOX, query={"pfn": name}), answer


def assigning(
    arguments: list[Any], body: dict[str, Any], answer: Any, expected: Any, identity: Identity = ALICE
) -> Row:
    """Sandboxes for entities."""
    return Row(
        SERVICE,
        "assignSandboxesToEntities",
        arguments,
        [(Request("POST", ENTITIES, body), answer)],
        expected,
        identity,
    )


GIVEN = (
    asked({"url": "http://store/x?signature=y", "expires_in": 300}),
    (Download("http://store/x?signature=y"), None),
)
ZST = NAME.replace(".bz2", ".zst")
ONE = {"sandboxes": [{"entity": "Job:1", "type": "Output", "pfn": OLD}]}
ADMIN = replace(ALICE, properties=("JobAdministrator",))

ROWS: dict[str, Row] = {
    "a new sandbox": upload(f"{MD5}.tar.bz2", SPOOL, NEW, SENT, NAMED),
    "one that is there": upload(
        [f"{MD5}.tar.bz2", {}], SPOOL, (NEW[0], {"pfn": PFN, "url": None, "fields": {}}), NAMED
    ),
    "one for a job": naming({"pfn": OLD}, OLD, {"Job:1": "Output"}),
    "one for another's job": naming(RestFailure(400, "no"), NOT_ASSIGNABLE, {"Job:2": "Output"}),
    "one by who has none": naming(RestFailure(403, "no"), NOT_ASSIGNABLE, {"Job:2": "Output"}),
    "another content": upload(f"{'0' * 32}.tar.bz2", SPOOL, expected=Refusal(rules.WRONG_HASH)),
    "nothing in it": upload(
        f"{MD5}.tar.bz2", (Spool(LARGEST), replace(FILE, size=0)), expected=Refusal(rules.NO_DATA)
    ),
    "too large for the backend": upload(
        f"{MD5}.tar.bz2",
        SPOOL,
        (NEW[0], RestFailure(400, "Sandbox too large, maximum allowed is 3 bytes")),
        expected=Refusal(rules.TOO_BIG),
    ),
    "a backend that says no": upload(
        f"{MD5}.tar.bz2", SPOOL, (NEW[0], RestFailure(403, "no")), expected=RestFailure(403, "no")
    ),
    "a store that says no": upload(
        f"{MD5}.tar.bz2", SPOOL, NEW, (SENT[0], RestFailure(503, "no")), expected=RestFailure(503, "no")
    ),
    "a name that is not noted": upload(
        f"{MD5}.tar.bz2",
        SPOOL,
        NEW,
        SENT,
        (NAMED[0], RestFailure(400, "no")),
        expected=RestFailure(400, "no"),
    ),
    "a colleague's name": upload(
        f"{MD5}.tar.bz2",
        SPOOL,
        NEW,
        SENT,
        (NAMED[0], RestFailure(400, rules.WRONG_HASH)),
        expected=Refusal(rules.WRONG_HASH),
    ),
    "much too large": refused(f"{MD5}.tar.bz2", rules.TOO_BIG, size=LARGEST + 1),
    "another kind of archive": refused(f"{MD5}.tar.gz", "Invalid sandbox extension: tar.gz"),
    "no archive": refused(MD5, "Invalid sandbox extension: "),
    "no hash": refused("../x.tar.bz2", rules.WRONG_HASH),
    "a list of one": refused([f"{MD5}.tar.bz2"], "File identified tuple has to have length greater than 1"),
    "no name": upload(5, expected=UnfitArgument("'int' object has no attribute 'find'")),
    "no entities": upload(
        [f"{MD5}.tar.bz2", "x"], expected=UnfitArgument("'str' object has no entities to assign to")
    ),
    "a host": upload(f"{MD5}.tar.bz2", expected=Refusal(rules.NO_VO), identity=HOST),
    "several files": Row(
        SERVICE, "FileTransfer/BulkFromClient", ["x.tar.bz2", "", 5], [SPOOL, NEW, SENT, NAMED], OLD
    ),
    "by REST's name": download(f"{URL}{NAME}", *GIVEN),
    "by DIRAC's name": download(OLD_NAME, looked_up({OLD_NAME: PFN}), *GIVEN),
    "a name that nothing has": download(OLD_NAME, looked_up({}), expected=Refusal(rules.NO_MATCH)),
    "one that DIRAC stored": download(
        OLD_NAME, looked_up({OLD_NAME: OLD}), expected=Refusal(rules.NOT_THERE)
    ),
    "another's": download(NAME, asked(RestFailure(403, "no")), expected=Refusal(rules.NO_MATCH)),
    "a name that REST cannot have": download(
        "/x", asked(RestFailure(422, "no"), "/x"), expected=Refusal(rules.NO_MATCH)
    ),
    "a backend that is away": download(
        NAME, asked(RestFailure(0, "away", sent=False)), expected=RestFailure(0, "away")
    ),
    "a file that is gone": download(
        NAME, GIVEN[0], (GIVEN[1][0], RestFailure(404, "no")), expected=Refusal(rules.NOT_THERE)
    ),
    "a store that is away": download(
        NAME, GIVEN[0], (GIVEN[1][0], RestFailure(0, "away")), expected=RestFailure(0, "away")
    ),
    "what is no name": download(5, expected=Refusal(rules.NO_MATCH)),
    "a pilot's": download(NAME, expected=Refusal(rules.NOT_AUTHORIZED), identity=PILOT),
    "an archive for a new client": download(
        ZST, asked({"url": "u"}, ZST), (Download("u"), None), version="9.1.22"
    ),
    "an archive for an old client": download(
        ZST, asked({"url": "u"}, ZST), (Download("u", ZstdAsGzip), None), version="8.0.86"
    ),
    "sandboxes of a job": Row(
        SERVICE,
        "getSandboxesAssignedToEntity",
        ["Job:1"],
        [
            (
                Request("POST", f"{ENTITIES}/search", {"entities": ["Job:1"]}),
                [
                    {"entity": "Job:1", "type": "Input", "pfn": PFN, "legacy_pfn": OLD},
                    {"entity": "Job:1", "type": "Output", "pfn": PFN, "legacy_pfn": None},
                    {"entity": "Job:1", "type": "Input", "pfn": "b", "legacy_pfn": None},
                ],
            )
        ],
        {"Input": [OLD, "b"], "Output": [PFN]},
    ),
    "sandboxes of nothing": Row(SERVICE, "getSandboxesAssignedToEntity", ["x" * 129], [], {}),
    "sandboxes that a pilot sees": Row(
        SERVICE, "getSandboxesAssignedToEntity", ["Job:1"], [], Refusal(rules.NOT_AUTHORIZED), PILOT
    ),
    "give": assigning([{"Job:1": [(OLD, "Output")]}], ONE, {"assigned": 1}, 1),
    "give on behalf of somebody": assigning(
        [{"Job:1": [(OLD, "Output")]}, "bob", "demo_user", "Production"],
        ONE | {"owner": "bob", "owner_group": "demo_user"},
        {"assigned": 1},
        1,
        ADMIN,
    ),
    "give what is not one's own": assigning(
        [{"Job:1": [(OLD, "Output")]}, "bob"], ONE, RestFailure(400, "no"), NOT_ASSIGNABLE
    ),
    "give what nobody takes": assigning(
        [{"Job:1": [(OLD, "Output")]}], ONE, RestFailure(503, "no"), RestFailure(503, "no")
    ),
    "give nothing": Row(SERVICE, "assignSandboxesToEntities", [{}], [], None),
    "give what is no list": Row(
        SERVICE,
        "assignSandboxesToEntities",
        [{"Job:1": "x"}],
        [],
        Refusal("Entry for entity Job:1 is not an iterable of tuples/lists"),
    ),
    "give what is no pair": Row(
        SERVICE,
        "assignSandboxesToEntities",
        [{"Job:1": [("x",)]}],
        [],
        Refusal("SB definition is not ( SBLocation, Type )! It's ('x',)"),
    ),
    "give what is no sandbox": Row(
        SERVICE,
        "assignSandboxesToEntities",
        [{"Job:1": [("x", "y")]}],
        [],
        Refusal("x doesn't seem to be a sandbox"),
    ),
    "give what has no place": Row(
        SERVICE,
        "assignSandboxesToEntities",
        [{"Job:1": [("SB:x", "y")]}],
        [],
        Refusal("SB Location has to have SEName|SEPFN form"),
    ),
    "take": Row(
        SERVICE,
        "unassignEntities",
        [["Job:1", 5], False],
        [(Request("POST", f"{ENTITIES}/unassign", {"entities": ["Job:1"]}), {"entities": ["Job:1"]})],
        1,
    ),
    "take what has none": Row(
        SERVICE,
        "unassignEntities",
        [["Job:1"]],
        [(Request("POST", f"{ENTITIES}/unassign", {"entities": ["Job:1"]}), {"entities": []})],
        0,
    ),
    "take nothing": Row(SERVICE, "unassignEntities", [[]], [], 0),
    "take as a pilot": Row(SERVICE, "unassignEntities", [["Job:1"]], [], 0, PILOT),
    "free space": Row(
        SERVICE, "getFreeDiskSpace", [], [(Request("GET", f"{SANDBOX}/space"), {"free": 1, "total": 2})], 1.0
    ),
    "all space": Row(
        SERVICE, "getTotalDiskSpace", [], [(Request("GET", f"{SANDBOX}/space"), {"free": 1, "total": 2})], 2.0
    ),
    "space of S3": Row(
        SERVICE, "getFreeDiskSpace", [], [(Request("GET", f"{SANDBOX}/space"), None)], Refusal(rules.NO_DISK)
    ),
}
