"""The gRPC wire's descriptions: what is served is what is published, and it stays so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc_tools
import pytest
from click.testing import CliRunner
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from legacy_rpc.codecs.grpc_schema import Schema, package_of
from legacy_rpc.codecs.grpc_text import proto_text
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.signatures import Parameter, Signature, Signatures, as_calls, signature_of
from wherry.cli import cli
from wherry.signatures import signatures

PUBLISHED = Path(__file__).parents[3] / "docs/reference/proto"


async def handler(context: Any, name: str, number: int = 3, *, anything: Any = None) -> None:
    """First line.

    Second line.
    """


EVERYTHING: Signatures = {
    "System/First": [
        signature_of("method", handler, (str, [int, str])),
        Signature(
            "types",
            parameters=[
                Parameter(each.__name__, (each,)) for each in (str, int, bool, float, bytes, list, dict)
            ],
        ),
        Signature("nothing", 'Says "nothing" // at all.'),
    ],
    "System/Second": [Signature("method", parameters=[Parameter("optional", (str,), default="")])],
    "OtherSystem/First": [Signature("method")],
}


def compiled(directory: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """What protoc makes of the files in a directory, without the names that it adds for JSON."""
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    result = directory / "set.pb"
    options = ["--include_source_info", f"--descriptor_set_out={result}"]
    assert protoc.main(["protoc", f"-I{directory}", f"-I{well_known}", *options, *names]) == 0
    files = descriptor_pb2.FileDescriptorSet.FromString(result.read_bytes()).file
    for file in files:
        for message in file.message_type:
            for each in (message, *message.nested_type):
                for field in each.field:
                    field.ClearField("json_name")
    return {file.name: file for file in files}


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """The comments of a file by what they are about; takes them away."""
    found = {
        tuple(each.path): each.leading_comments
        for each in file.source_code_info.location
        if each.leading_comments
    }
    file.ClearField("source_code_info")
    return found


def test_the_text_says_what_is_served(tmp_path: Path) -> None:
    """protoc makes of every file the very description that the server has, comments too."""
    schema = Schema(EVERYTHING)
    for file in schema.files:
        path = tmp_path / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(proto_text(file))
    made = compiled(tmp_path)
    assert made.keys() == {file.name for file in schema.files}
    for file in schema.files:
        copy = descriptor_pb2.FileDescriptorProto()
        copy.CopyFrom(file)
        assert comments(made[file.name]) == comments(copy)
        assert made[file.name] == copy


def test_the_published_files_are_those_of_this_version(tmp_path: Path) -> None:
    """If not: `wherry proto docs/reference/proto`."""
    done = CliRunner().invoke(cli, ["proto", str(tmp_path)])
    assert done.exit_code == 0
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.proto")}
    published = {path.relative_to(PUBLISHED): path.read_text() for path in PUBLISHED.rglob("*.proto")}
    assert sorted(done.output.split()) == sorted(str(tmp_path / name) for name in written)
    assert written == published


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    """One line, and exit code 2."""
    (tmp_path / "wherry").write_text("in the way")
    done = CliRunner().invoke(cli, ["proto", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.startswith(f"wherry: {tmp_path}/wherry/v1/legacy_rpc.proto: cannot be written")


def test_every_method_has_an_rpc() -> None:
    """Those that every service has, too."""
    table = all_services()
    rpcs = Schema(signatures(table)).rpcs
    for service, methods in table.catalogue.items():
        system, component = service.split("/")
        for method in (*methods, "ping", "whoami", "echo"):
            rpc = rpcs[f"/{package_of(system)}.{component}/{method}"]
            assert (rpc.service, rpc.method) == (service, method)


@pytest.mark.parametrize(
    ("system", "package"),
    [
        ("WorkloadManagement", "wherry.v1.workload_management"),
        ("Framework", "wherry.v1.framework"),
        ("WMSHistory", "wherry.v1.wms_history"),
        ("LHCbProduction2", "wherry.v1.lh_cb_production2"),
    ],
)
def test_packages(system: str, package: str) -> None:
    """A system's name in the form of packages."""
    assert package_of(system) == package


def numbers(schema: Schema) -> dict[str, dict[str, int]]:
    """The fields of every request."""
    return {
        path: {field.name: field.number for field in rpc.request.DESCRIPTOR.fields}
        for path, rpc in schema.rpcs.items()
    }


def test_numbers_stay() -> None:
    """A parameter's number is its position, whatever else there is."""
    before = numbers(Schema(EVERYTHING))
    assert before["/wherry.v1.system.First/method"] == {"name": 1, "number": 2, "anything": 3}
    extended: dict[str, Sequence[Signature]] = {
        name: [Signature("another", parameters=[Parameter("first")]), *reversed(methods)]
        for name, methods in reversed(EVERYTHING.items())
    }
    longer = Signature("method", parameters=[Parameter("optional", (str,), ""), Parameter("new", default=1)])
    extended["System/Second"] = [longer]
    after = numbers(Schema(extended))
    assert after.pop("/wherry.v1.system.Second/method") == {"optional": 1, "new": 2}
    assert before.pop("/wherry.v1.system.Second/method") == {"optional": 1}
    assert before.items() <= after.items()


def test_a_handlers_signature() -> None:
    """Names, help, declared types and defaults, without the context."""
    signature = signature_of("method", handler, (str, (int, str)))
    assert signature.help == "First line.\n\nSecond line."
    assert signature.parameters == (
        Parameter("name", (str,)),
        Parameter("number", (int, str), 3),
        Parameter("anything", (), None),
    )
    assert [each.required for each in signature.parameters] == [True, False, False]


def test_streams() -> None:
    """Transfers that wires with calls only have as methods; the others are not there."""
    download = [Parameter("fileID"), Parameter("token", default="")]
    upload = [*download, Parameter("size", default=-1), Parameter("checksum", default="")]
    calls = as_calls(
        [
            Signature("FileTransfer/ToClient", "Out.", download),
            Signature("method"),
            Signature("FileTransfer/FromClient", "In.", upload),
            Signature("FileTransfer/ListBulk", "No.", download),
        ]
    )
    assert [(each.name, each.help) for each in calls] == [
        ("method", ""),
        ("streamToClient", "Out."),
        ("streamFromClient", "In."),
    ]
    assert calls[1].parameters == download
    assert [(each.name, each.required, each.types) for each in calls[2].parameters] == [
        ("fileID", True, ()),
        ("token", True, ()),
        ("size", True, ()),
        ("data", True, (bytes,)),
    ]
