"""The gRPC wire as grpcio's own client sees it, and as clients do that grpcio would not be."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from legacy_rpc.codecs.grpc_schema import FileProto
from legacy_rpc.codecs.grpc_values import read_value, write_value
from legacy_rpc.messages import (
    AnyCredential,
    Call,
    Errno,
    Failure,
    Identity,
    Outcome,
    PeerError,
    Proposal,
    Reply,
)
from legacy_rpc.servers.grpc_server import GrpcLimits, GrpcServer
from legacy_rpc.signatures import Parameter, Signature, Signatures

from ..conftest import DEADLINE, TOKEN, Pki, Serve, Served, admit_everyone

Status = grpc.StatusCode
GENERIC = "/wherry.v1.LegacyRpc/Call"
TYPED = "/wherry.v1.test.Echo/echo"
SIGNATURES: Signatures = {
    "Test/Echo": [
        Signature(
            "echo",
            "The same.",
            [Parameter("what"), Parameter("number", (int,), 7), Parameter("text", (str,), "t")],
        ),
        Signature("FileTransfer/ToClient", "A file.", [Parameter("fileID"), Parameter("token", default="")]),
        Signature("FileTransfer/FromClient", "", [Parameter(name) for name in ("fileID", "token", "size")]),
    ]
}
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass
class Channel:
    """A client of grpcio's, with the server's messages."""

    grpc: grpc.aio.Channel
    server: GrpcServer

    def request(
        self, *arguments: Any, service: str = "Test/Echo", method: str = "echo", **metadata: str
    ) -> Any:
        """A request to the generic service."""
        request = self.server.schema.call_request(service=service, method=method, metadata=metadata)
        for argument in arguments:
            write_value(request.arguments.add(), argument)
        return request

    async def send(
        self,
        data: bytes,
        path: str = GENERIC,
        metadata: Metadata = (),
        seconds: float = DEADLINE,
        **more: Any,
    ) -> Any:
        """The reply to a request's bytes."""
        stub = self.grpc.unary_unary(path, response_deserializer=self.server.schema.reply.FromString)
        return await stub(data, timeout=seconds, metadata=metadata, **more)

    async def call(self, *arguments: Any, metadata: Metadata = (), **more: Any) -> Any:
        """The value that a call gives."""
        reply = await self.send(self.request(*arguments, **more).SerializeToString(), metadata=metadata)
        return read_value(reply.value, 200)

    async def refused(self, answer: Awaitable[Any]) -> tuple[grpc.StatusCode, str, Any]:
        """Status, details and error message of a call that fails."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await answer
        data = dict(raised.value.trailing_metadata()).get("wherry-error-bin", b"")
        error = self.server.schema.error.FromString(data)
        return raised.value.code(), raised.value.details() or "", error


@dataclass
class Grpc:
    """A served wire, and its clients."""

    served: Served
    stack: AsyncExitStack

    @property
    def server(self) -> GrpcServer:
        """The wire's server."""
        assert isinstance(self.served.server, GrpcServer)
        return self.served.server

    async def channel(self, caller: str | None = "alice", *options: tuple[str, Any]) -> Channel:
        """A client that shows a proxy, or nothing; it is told of everything that the server sends."""
        authority = b"".join(path.read_bytes() for path in self.served.pki.ca_path.glob("*.0"))
        pem = self.served.pki.files[caller].read_bytes() if caller else None
        credentials = grpc.ssl_channel_credentials(authority, pem, pem)
        channel = grpc.aio.secure_channel(f"localhost:{self.served.port}", credentials, options=options)
        return Channel(await self.stack.enter_async_context(channel), self.server)

    async def local(self) -> Channel:
        """A client that comes past the relay, straight to the local socket."""
        channel = grpc.aio.insecure_channel(self.server.local.address)
        return Channel(await self.stack.enter_async_context(channel), self.server)

    @property
    def h2(self) -> ssl.SSLContext:
        """A context of alice's that offers HTTP/2."""
        context = self.served.pki.client("alice")
        context.set_alpn_protocols(["h2"])
        return context


ServeGrpc = Callable[..., Awaitable[Grpc]]


@pytest.fixture
async def serve_grpc(serve: Serve) -> AsyncIterator[ServeGrpc]:
    """Starts the wire; ends its clients before it."""
    async with AsyncExitStack() as stack:

        async def start(limits: GrpcLimits | None = None, **more: Any) -> Grpc:
            served = await serve(
                make=lambda door, tls: GrpcServer(
                    door, limits or GrpcLimits(), tls.contexts(optional=True, protocols=("h2",)), SIGNATURES
                ),
                **more,
            )
            return Grpc(served, stack)

        yield start


def answers(outcome: Outcome) -> Callable[[Call], Awaitable[Outcome]]:
    """A handler that always says the same."""

    async def handle(_call: Call) -> Outcome:
        return outcome

    return handle


async def all_arguments(call: Call) -> Outcome:
    """What was given."""
    return Reply(list(call.arguments))


# --- calls


async def test_a_generic_call(serve_grpc: ServeGrpc) -> None:
    """Service, method and arguments arrive, and the value and further keys come back."""
    wire = await serve_grpc(handle=answers(Reply({1: ["one"]}, {"InvalidJobIDs": [7]})))
    channel = await wire.channel()
    arguments = [1, "text", b"\xff", None, datetime(2026, 3, 1), date(2026, 3, 1), {5: [True, 1.5]}]  # noqa: DTZ001
    request = channel.request(*arguments, service="WorkloadManagement/JobManager", method="killJob")
    reply = await channel.send(
        request.SerializeToString(), metadata=[("dirac-client-version", "9.1.22")], seconds=60
    )
    assert read_value(reply.value, 200) == {1: ["one"]}
    assert {name: read_value(value, 200) for name, value in reply.extra.items()} == {"InvalidJobIDs": [7]}
    (call,) = wire.served.calls
    assert (call.service, call.method) == ("WorkloadManagement/JobManager", "killJob")
    assert list(call.arguments) == arguments
    assert (call.wire, call.peer, call.client_version) == ("grpc", "127.0.0.1", "9.1.22")
    assert call.deadline is not None
    assert 0 < call.deadline - asyncio.get_running_loop().time() <= 60


async def test_a_typed_call(serve_grpc: ServeGrpc) -> None:
    """Its fields are the arguments; defaults fill the gaps before the last that is given."""
    wire = await serve_grpc(handle=all_arguments)
    channel = await wire.channel()
    request = wire.server.schema.rpcs[TYPED].request
    for fields, expected in (
        ({}, []),
        ({"number": 0}, [None, 0]),
        ({"text": ""}, [None, 7, ""]),
    ):
        reply = await channel.send(request(**fields).SerializeToString(), TYPED)
        assert read_value(reply.value, 200) == expected
    assert {(call.service, call.method) for call in wire.served.calls} == {("Test/Echo", "echo")}


async def test_a_call_without_deadline(serve_grpc: ServeGrpc) -> None:
    """Then there is none."""
    wire = await serve_grpc()
    channel = await wire.channel()
    await channel.grpc.unary_unary(GENERIC)(channel.request().SerializeToString())
    assert wire.served.calls[0].deadline is None


async def test_many_calls_on_one_connection(serve_grpc: ServeGrpc) -> None:
    """At a time; the connection is counted once, and idle ones stay."""
    wire = await serve_grpc()
    channel = await wire.channel()
    values = await asyncio.gather(*(channel.call(number) for number in range(50)))
    assert values == list(range(50))
    assert wire.served.open == 1
    assert await channel.call("again") == "again"
    assert {wire for wire, _ in wire.served.overhead} == {"grpc"}
    assert len(wire.served.overhead) == 51
    assert all(seconds > 0 for _, seconds in wire.served.overhead)
    await channel.grpc.close()
    await wire.served.empty()


async def test_a_large_value_both_ways(serve_grpc: ServeGrpc) -> None:
    """Longer than every buffer between."""
    wire = await serve_grpc()
    channel = await wire.channel("alice", ("grpc.max_receive_message_length", -1))
    value = {"bytes": os.urandom(5_000_000), "list": [{"Status": "Done", "n": n} for n in range(20_000)]}
    assert await channel.call(value) == value


async def test_compressed_requests(serve_grpc: ServeGrpc) -> None:
    """Clients may compress; what becomes too large is refused before it is all there."""
    wire = await serve_grpc(limits=GrpcLimits(message=1_000_000))
    channel = await wire.channel()
    small = channel.request("x" * 500_000).SerializeToString()
    assert (await channel.send(small, compression=grpc.Compression.Gzip)).value.string_value == "x" * 500_000
    large = channel.request("x" * 50_000_000).SerializeToString()
    code, _, _ = await channel.refused(channel.send(large, compression=grpc.Compression.Gzip))
    assert code is Status.RESOURCE_EXHAUSTED
    code, _, _ = await channel.refused(channel.send(channel.request("x" * 1_000_001).SerializeToString()))
    assert code is Status.RESOURCE_EXHAUSTED
    assert await channel.call("after") == "after"


async def test_files_in_one_message(serve_grpc: ServeGrpc) -> None:
    """Transfers are methods of the generic service and have rpcs of their own."""

    async def transfer(call: Call) -> Outcome:
        if call.outgoing is not None:
            await call.outgoing.send(b"\x00 of ")
            await call.outgoing.send(str(call.arguments[0]).encode())
            return Reply()
        assert call.incoming is not None
        return Reply([*call.arguments, b"".join([block async for block in call.incoming.blocks()])])

    wire = await serve_grpc(handle=transfer)
    channel = await wire.channel()
    assert await channel.call("id", method="streamToClient") == b"\x00 of id"
    rpc = wire.server.schema.rpcs["/wherry.v1.test.Echo/streamFromClient"]
    request = rpc.request(data=b"\xff")
    request.fileID.string_value = "id"
    request.token.string_value = "token"
    request.size.int_value = 1
    reply = await channel.send(request.SerializeToString(), "/wherry.v1.test.Echo/streamFromClient")
    assert read_value(reply.value, 200) == ["id", "token", 1, b"\xff"]


# --- who calls


async def who(call: Call) -> Outcome:
    """Name and group."""
    return Reply([call.identity.username, call.identity.group])


async def test_callers_are_told_apart(serve_grpc: ServeGrpc) -> None:
    """By proxy, by host certificate and by token, all at the same time."""
    wire = await serve_grpc(handle=who)
    alice, bob, host, nobody = [await wire.channel(name) for name in ("alice", "bob", "host", None)]
    bearer = [("authorization", f"Bearer {TOKEN}")]
    for _ in range(3):
        assert await asyncio.gather(
            alice.call(), bob.call(), host.call(), nobody.call(metadata=bearer), bob.call(metadata=bearer)
        ) == [
            ["alice", "demo_user"],
            ["bob", "demo_user"],
            ["wherry.example.org", ""],
            ["alice", "demo_user"],
            ["alice", "demo_user"],
        ]


async def test_nobody_comes_past_the_relay(serve_grpc: ServeGrpc) -> None:
    """The local socket is in a directory of this user's only; who reaches it all the same is unknown."""
    wire = await serve_grpc(handle=who)
    directory = wire.server.local.directory
    status = directory.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, os.getuid())
    alice = await wire.channel()
    assert await alice.call() == ["alice", "demo_user"]
    # The name of a connection is free again at once, and is found nowhere.
    assert [path.name for path in directory.iterdir()] == ["grpc"]

    stranger = await wire.local()
    for claims in ([], [("authorization", f"Bearer {TOKEN}")], [("dirac-extra-credentials", "hosts")]):
        code, details, _ = await stranger.refused(stranger.call(metadata=claims))
        assert (code, details) == (Status.UNAUTHENTICATED, "The connection is not known, or is gone")


async def test_metadata_says_nothing_of_who_calls(serve_grpc: ServeGrpc) -> None:
    """Whatever a caller claims in metadata or in the request; a token in the request has no say either."""
    wire = await serve_grpc(handle=who)
    alice, bob = await wire.channel("alice"), await wire.channel("bob")
    assert await alice.call() == ["alice", "demo_user"]
    (alices,) = wire.server.local._connections
    claims = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-peer", f"unix:{wire.server.local.directory}/{alices}"),
        ("dirac-dn", "/DC=org/DC=wherry/OU=people/CN=alice"),
        ("ssl-client-s-dn", "/DC=org/DC=wherry/OU=people/CN=alice"),
    ]
    assert await bob.call(metadata=claims) == ["bob", "demo_user"]
    assert await bob.call(authorization=f"Bearer {TOKEN}") == ["bob", "demo_user"]
    assert wire.served.calls[-1].peer == "127.0.0.1"


async def test_a_name_is_gone_with_its_connection(serve_grpc: ServeGrpc) -> None:
    """No later connection can be taken for it."""
    wire = await serve_grpc()
    channel = await wire.channel()
    await channel.call()
    (name,) = wire.server.local._connections
    assert wire.server.local.connection(f"unix:/any/where/{name}") is not None
    await channel.grpc.close()
    await wire.served.empty()
    assert wire.server.local.connection(f"unix:/any/where/{name}") is None


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Basic YTpi", "Bearer", ""])
async def test_authorization_that_proves_nothing(serve_grpc: ServeGrpc, authorization: str) -> None:
    """It is refused, certificate or not."""
    wire = await serve_grpc()
    for caller in ("alice", None):
        channel = await wire.channel(caller)
        code, _, error = await channel.refused(channel.call(metadata=[("authorization", authorization)]))
        assert (code, error.errno) == (Status.UNAUTHENTICATED, Errno.ENOAUTH)
    assert not wire.served.calls


async def test_who_may_not(serve_grpc: ServeGrpc) -> None:
    """PERMISSION_DENIED for those who are known, UNAUTHENTICATED for others."""

    def admit(_proposal: Proposal, _credential: AnyCredential | None) -> Identity:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")

    wire = await serve_grpc(admit=admit)
    for caller, expected in (("alice", Status.PERMISSION_DENIED), (None, Status.UNAUTHENTICATED)):
        channel = await wire.channel(caller)
        code, details, error = await channel.refused(channel.call())
        assert (code, error.errno) == (expected, 1111)
        assert details == error.message == "Unauthorized query ( 1111 : Unauthorized query)"


@pytest.mark.parametrize("caller", ["expired", "forged"])
async def test_tls_refuses(serve_grpc: ServeGrpc, caller: str) -> None:
    """Nothing of HTTP/2 is answered."""
    wire = await serve_grpc()
    context = wire.served.pki.client(caller)
    context.set_alpn_protocols(["h2"])
    try:
        peer = await wire.served.peer(tls=context)
    except OSError:
        return
    peer.send(HELLO)
    assert await peer.rest() == b""


async def test_a_proxy_is_looked_at_again_at_every_call(
    serve_grpc: ServeGrpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may expire while a connection is open."""
    wire = await serve_grpc()
    channel = await wire.channel()
    assert await channel.call(1) == 1

    def expired(_chain: Sequence[bytes]) -> Any:
        raise PeerError("the certificate chain has expired")

    monkeypatch.setattr(wire.served.door, "chains", SimpleNamespace(get=expired))
    code, details, error = await channel.refused(channel.call(2))
    assert (code, error.errno) == (Status.UNAUTHENTICATED, 1111)
    assert "expired" in details
    assert len(wire.served.calls) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("hosts", "hosts"),
        ("demo_admin", "demo_admin"),
        (json.dumps(["/DC=org/CN=ü", "demo_user"]), ["/DC=org/CN=ü", "demo_user"]),
    ],
)
async def test_extra_credentials(serve_grpc: ServeGrpc, text: str, expected: Any) -> None:
    """They are for the front door to judge; in metadata, or in a generic request, which outweighs it."""
    proposals: list[Proposal] = []

    def admit(proposal: Proposal, credential: AnyCredential | None) -> Identity:
        proposals.append(proposal)
        return admit_everyone(proposal, credential)

    wire = await serve_grpc(admit=admit)
    channel = await wire.channel("host")
    await channel.call(metadata=[("dirac-extra-credentials", text)])
    await channel.call(metadata=[("dirac-extra-credentials", "x")], **{"dirac-extra-credentials": text})
    assert [each.extra_credentials for each in proposals] == [expected, expected]


@pytest.mark.parametrize("text", ['["a"', "[" * 5000])
async def test_extra_credentials_that_cannot_be_read(serve_grpc: ServeGrpc, text: str) -> None:
    """The caller is told what they look like."""
    wire = await serve_grpc()
    channel = await wire.channel("host")
    code, details, _ = await channel.refused(channel.call(metadata=[("dirac-extra-credentials", text)]))
    assert code is Status.INVALID_ARGUMENT
    assert details == 'dirac-extra-credentials is a group, or ["DN", "group"]'


# --- errors


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("no"), Status.UNKNOWN),
        (Failure.of(Errno.EWMSNOPILOT, "none"), Status.UNKNOWN),
        (Failure.of(Errno.EMYSQL, "syntax"), Status.UNKNOWN),
        (Failure.of(Errno.EDB, "gone"), Status.UNAVAILABLE),
        (Failure.of(Errno.ENOAUTH, "not yours"), Status.PERMISSION_DENIED),
        (Failure("X/Y is not up", reason="unknown-service"), Status.UNIMPLEMENTED),
        (Failure("Unknown method x", reason="unknown-method"), Status.UNIMPLEMENTED),
        (Failure("Type mismatch", reason="arguments"), Status.INVALID_ARGUMENT),
        (Failure("wait", reason="overload"), Status.RESOURCE_EXHAUSTED),
        (Failure("late", reason="timeout"), Status.DEADLINE_EXCEEDED),
        (Failure("bug", reason="internal-error"), Status.INTERNAL),
        (Failure("anything else", reason="plan"), Status.UNKNOWN),
    ],
    ids=lambda each: each.reason or each.message if isinstance(each, Failure) else each.name,
)
async def test_s_error(serve_grpc: ServeGrpc, failure: Failure, status: grpc.StatusCode) -> None:
    """Its kind is the status, its Message the details; number and further keys are in the metadata."""
    failure.extra["InvalidJobIDs"] = [5]
    wire = await serve_grpc(handle=answers(failure))
    channel = await wire.channel()
    code, details, error = await channel.refused(channel.call())
    assert (code, details) == (status, failure.message)
    assert (error.errno, error.message, error.shortened) == (failure.errno, failure.message, False)
    assert read_value(error.extra["InvalidJobIDs"], 200) == [5]


async def test_texts_that_no_header_can_hold(serve_grpc: ServeGrpc) -> None:
    """Line ends, no Unicode, and far too long: the client gets what there is room for, and is told."""
    text = "line\nnext ü \udcff " + "long " * 10_000
    wire = await serve_grpc(handle=answers(Failure(text, 1504, {"InvalidJobIDs": list(range(10_000))})))
    channel = await wire.channel()
    code, details, error = await channel.refused(channel.call())
    assert code is Status.UNKNOWN
    assert details.startswith("line\nnext ü ? long ")
    assert error.message.startswith(details)
    assert error.shortened
    assert error.errno == 1504


async def test_errors_in_the_reply(serve_grpc: ServeGrpc) -> None:
    """Who asks for it gets S_ERROR whole, however large."""
    text = "long " * 10_000
    wire = await serve_grpc(handle=answers(Failure(text, 1504, {"InvalidJobIDs": list(range(10_000))})))
    channel = await wire.channel()
    in_metadata = await channel.send(
        channel.request().SerializeToString(), metadata=[("wherry-errors", "in-reply")]
    )
    in_request = await channel.send(channel.request(**{"wherry-errors": "in-reply"}).SerializeToString())
    assert in_metadata == in_request
    error = in_request.error
    assert in_request.HasField("error")
    assert (error.errno, error.message) == (1504, text)
    assert read_value(error.extra["InvalidJobIDs"], 200) == list(range(10_000))
    wire.served.door.handle = answers(Reply(1))
    reply = await channel.send(
        channel.request().SerializeToString(), metadata=[("wherry-errors", "in-reply")]
    )
    assert not reply.HasField("error")


async def test_a_reply_that_cannot_be_written(serve_grpc: ServeGrpc) -> None:
    """It is said what is in the way, and that the call was made."""
    for outcome in (Reply([2**70]), Reply(1, {"more": 2**70}), Failure("no", 5, {"more": 2**70})):
        wire = await serve_grpc(handle=answers(outcome))
        channel = await wire.channel()
        code, details, error = await channel.refused(channel.call())
        assert code is Status.INTERNAL
        assert details == error.message
        assert details == (
            "echo was done, but its reply cannot be sent by gRPC:"
            " it has an integer of 71 bits, where this wire has 64"
        )


async def test_requests_that_cannot_be_read(serve_grpc: ServeGrpc) -> None:
    """They are refused in words, and the connection goes on."""
    wire = await serve_grpc(limits=GrpcLimits(depth=10))
    channel = await wire.channel()
    deep: Any = None
    for _ in range(11):
        deep = [deep]
    too_deep = channel.request(deep).SerializeToString()
    beyond_protobuf = b""
    for _ in range(60):
        in_list = b"\x0a" + _varint(len(beyond_protobuf)) + beyond_protobuf
        beyond_protobuf = b"\x4a" + _varint(len(in_list)) + in_list
    request = wire.server.schema.rpcs[TYPED].request
    wrong_type = request(what={"date_value": {"year": 0}}).SerializeToString()
    for data, path, problem in (
        (b"\xff\xff", GENERIC, "not a wherry.v1.CallRequest"),
        (b"\x1a" + _varint(len(beyond_protobuf)) + beyond_protobuf, GENERIC, "not a wherry.v1.CallRequest"),
        (too_deep, GENERIC, "a value is nested too deeply"),
        (wrong_type, TYPED, "no date"),
    ):
        code, details, _ = await channel.refused(channel.send(data, path))
        assert code is Status.INVALID_ARGUMENT
        assert problem in details
    assert not wire.served.calls
    assert await channel.call("after") == "after"
    assert wire.served.open == 1


async def test_what_is_not_there(serve_grpc: ServeGrpc) -> None:
    """gRPC's own answer to paths that nobody has."""
    wire = await serve_grpc()
    channel = await wire.channel()
    for path in (
        "/wherry.v1.test.Echo/other",
        "/wherry.v1.LegacyRpc/call",
        "/wherry.v1.test.Echo/FileTransfer/ToClient",
    ):
        code, _, _ = await channel.refused(channel.send(b"", path))
        assert code is Status.UNIMPLEMENTED


async def test_exactly_one_request(serve_grpc: ServeGrpc) -> None:
    """As everywhere in gRPC."""
    wire = await serve_grpc()
    channel = await wire.channel()
    data = channel.request(1).SerializeToString()
    for requests in ([], [data, data]):
        call = channel.grpc.stream_unary(GENERIC)(iter(requests), timeout=DEADLINE)
        code, details, _ = await channel.refused(call)
        assert (code, details) == (Status.UNIMPLEMENTED, "This method takes exactly one request")
    assert not wire.served.calls


# --- time


async def test_calls_go_on_without_their_clients(serve_grpc: ServeGrpc) -> None:
    """One has waited long enough, one breaks the call off, one is gone: what has begun is done."""
    go_on = asyncio.Event()
    ended: list[Call] = []

    async def handle(call: Call) -> Outcome:
        await go_on.wait()
        ended.append(call)
        return Reply(1)

    wire = await serve_grpc(handle=handle)
    channel = await wire.channel()
    impatient = channel.send(channel.request().SerializeToString(), seconds=0.5)
    code, _, _ = await channel.refused(impatient)
    assert code is Status.DEADLINE_EXCEEDED
    await wire.served.until(lambda: len(wire.served.calls) == 1)
    broken_off = asyncio.create_task(channel.call())
    await wire.served.until(lambda: len(wire.served.calls) == 2)
    broken_off.cancel()
    await asyncio.wait({broken_off})
    peer = await wire.served.peer(tls=wire.h2)
    peer.send(HELLO + _ask(channel.request().SerializeToString()))
    await wire.served.until(lambda: len(wire.served.calls) == 3)
    peer.leave()
    await wire.served.until(lambda: wire.served.open == 1)
    assert not ended
    go_on.set()
    await wire.served.until(lambda: len(ended) == 3)
    assert await channel.call() == 1


async def test_a_request_that_does_not_come(serve_grpc: ServeGrpc) -> None:
    """A call that was begun has the time for messages; an idle connection has all the time there is."""
    wire = await serve_grpc(message_seconds=0.2)
    channel = await wire.channel()
    code, details, _ = await channel.refused(channel.grpc.stream_unary(GENERIC)(_never(), timeout=DEADLINE))
    assert (code, details) == (Status.DEADLINE_EXCEEDED, "The request did not come within 0.2 s")
    assert await channel.call(1) == 1


async def test_what_nobody_may_cost(serve_grpc: ServeGrpc) -> None:
    """Whoever shows neither certificate nor token asks little, and only a few do at a time."""
    wire = await serve_grpc(admit=lambda *_: Identity("anonymous", "visitor", kind="anonymous"))
    nobody, alice = await wire.channel(None), await wire.channel()
    assert await nobody.call("x" * 60_000) == "x" * 60_000
    code, details, _ = await nobody.refused(nobody.call("x" * 70_000))
    assert (code, details) == (
        Status.UNAUTHENTICATED,
        "A request without a certificate or token may have 65536 bytes",
    )
    assert await alice.call("x" * 70_000) == "x" * 70_000
    begun = [nobody.grpc.stream_unary(GENERIC)(_never(), timeout=DEADLINE) for _ in range(4)]
    await wire.served.until(lambda: wire.server._strangers == 4)
    code, details, _ = await nobody.refused(nobody.call(1))
    assert (code, details[:16]) == (Status.RESOURCE_EXHAUSTED, "Too many callers")
    assert await alice.call(1) == 1
    assert await nobody.call(2, metadata=[("authorization", f"Bearer {TOKEN}")]) == 2
    for call in begun:
        call.cancel()
    await wire.served.until(lambda: wire.server._strangers == 0)
    assert await nobody.call(3) == 3


async def test_nobody_does_not_stay(serve_grpc: ServeGrpc) -> None:
    """A connection without certificate or token ends when it is silent; one of a caller stays."""
    wire = await serve_grpc(
        admit=lambda *_: Identity("anonymous", "visitor", kind="anonymous"), message_seconds=0.3
    )
    nobody, bearer = await wire.channel(None), await wire.channel(None, ("grpc.use_local_subchannel_pool", 1))
    assert await nobody.call(1) == 1
    assert await bearer.call(2, metadata=[("authorization", f"Bearer {TOKEN}")]) == 2
    assert wire.served.open == 2
    await wire.served.until(lambda: wire.served.open == 1)
    assert await bearer.call(3, metadata=[("authorization", f"Bearer {TOKEN}")]) == 3
    assert wire.served.open == 1


async def _never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_a_client_that_says_nothing(serve_grpc: ServeGrpc) -> None:
    """After TLS it has the time for messages."""
    wire = await serve_grpc(message_seconds=0.2)
    peer = await wire.served.peer(tls=wire.h2)
    assert _frames(await peer.rest()) <= {SETTINGS, WINDOW_UPDATE, GOAWAY}
    await wire.served.empty()


# --- clients that grpcio would not be: HTTP/2 by hand (RFC 9113; RFC 7541 without compression)

SETTINGS, GOAWAY, WINDOW_UPDATE = 4, 7, 8


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _frames(data: bytes) -> set[int]:
    """The kinds of the frames in what was received."""
    kinds = set()
    while data:
        kinds.add(data[3])
        data = data[9 + int.from_bytes(data[:3]) :]
    return kinds


def _hello(window: int) -> bytes:
    """A client's first bytes; ``window``: how many bytes of a reply it takes before it says so again."""
    wide_open = _frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4))
    settings = _frame(SETTINGS, 0, 0, (4).to_bytes(2) + window.to_bytes(4))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + wide_open


HELLO = _hello(65535)


def _ask(data: bytes) -> bytes:
    """A whole request on the first stream."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": GENERIC,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b""
    for name, value in headers.items():
        block += b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return _frame(1, 4, 1, block) + _frame(0, 1, 1, b"\x00" + len(data).to_bytes(4) + data)


@pytest.mark.parametrize("window", [1000, 2**30], ids=["HTTP/2 window", "TCP window"])
async def test_a_client_that_does_not_read(serve_grpc: ServeGrpc, window: int) -> None:
    """Its connection ends after the time for answers, and what it was to get is freed."""
    wire = await serve_grpc(handle=answers(Reply("x" * 50_000_000)), answer_seconds=0.3)
    peer = await wire.served.peer(tls=wire.h2, receive_buffer=8192)
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    request = wire.server.schema.call_request(service="Test/Echo", method="echo")
    if window == 1000:
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    peer.send(_hello(window) + _ask(request.SerializeToString()))
    await wire.served.until(lambda: bool(wire.served.calls))
    await wire.served.empty()


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_without_http2(serve_grpc: ServeGrpc, protocols: list[str]) -> None:
    """Clients must say by ALPN that they speak it."""
    wire = await serve_grpc()
    context = wire.served.pki.client("alice")
    if protocols:
        context.set_alpn_protocols(protocols)
    peer = await wire.served.peer(tls=context)
    peer.send(HELLO)
    assert await peer.rest() == b""


async def test_what_is_no_http2(serve_grpc: ServeGrpc, complaints: Callable[[], list[str]]) -> None:
    """The connection ends, and no other."""
    wire = await serve_grpc()
    channel = await wire.channel()
    assert await channel.call(1) == 1
    for nonsense in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 1000,
        HELLO[:30] + b"\xff" * 100,
    ):
        peer = await wire.served.peer(tls=wire.h2)
        peer.send(nonsense)
        await peer.rest()
    assert await channel.call(2) == 2
    assert complaints() == []


async def test_too_many_connections(serve_grpc: ServeGrpc) -> None:
    """Counted with those of all wires; one more is closed at once."""
    wire = await serve_grpc(connections=1)
    channel = await wire.channel()
    assert await channel.call(1) == 1
    assert await wire.served.refuses("bob")


# --- health and reflection


def _health(channel: Channel) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(channel.grpc)


async def test_health(serve_grpc: ServeGrpc) -> None:
    """Of every service and of the whole; needs no credentials."""
    wire = await serve_grpc()
    channel = await wire.channel(None)
    for name in ("", "wherry.v1.LegacyRpc", "wherry.v1.test.Echo"):
        answer = await _health(channel).Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    code, _, _ = await channel.refused(_health(channel).Check(health_pb2.HealthCheckRequest(service="none")))
    assert code is Status.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(serve_grpc: ServeGrpc, version: str) -> None:
    """The services, and the files that describe them with all they need; needs no credentials."""
    wire = await serve_grpc()
    channel = await wire.channel(None)
    ask = channel.grpc.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    names = (
        "wherry.v1.test.Echo",
        "wherry.v1.Value",
        f"grpc.reflection.{version}.ServerReflection",
        "no.Such",
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names),
    ]
    listed, typed, value, itself, unknown = [each async for each in ask(iter(requests), timeout=DEADLINE)]
    assert {service.name for service in listed.list_services_response.service} == {
        "wherry.v1.LegacyRpc",
        "wherry.v1.test.Echo",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    files = {
        file.name: file
        for file in map(FileProto.FromString, typed.file_descriptor_response.file_descriptor_proto)
    }
    assert files.keys() == {
        "wherry/v1/test.proto",
        "wherry/v1/legacy_rpc.proto",
        "google/protobuf/struct.proto",
        "google/protobuf/timestamp.proto",
    }
    (service,) = files["wherry/v1/test.proto"].service
    assert [method.name for method in service.method] == ["echo", "streamToClient", "streamFromClient"]
    assert value.file_descriptor_response.file_descriptor_proto
    assert itself.file_descriptor_response.file_descriptor_proto
    assert unknown.error_response.error_code == Status.NOT_FOUND.value[0]


# --- the end


async def test_an_orderly_end(serve_grpc: ServeGrpc) -> None:
    """Watchers are told, new calls are refused, running ones are answered, and nothing is left behind."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        begun.set()
        await go_on.wait()
        return Reply("done")

    wire = await serve_grpc(handle=handle)
    channel, watcher = await wire.channel(), await wire.channel("bob")
    running = asyncio.create_task(channel.call())
    await asyncio.wait_for(begun.wait(), DEADLINE)
    watch = _health(watcher).Watch(health_pb2.HealthCheckRequest(service="wherry.v1.test.Echo"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await wire.served.listener.close()
    stopping = asyncio.create_task(wire.server.stop(DEADLINE))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    code, details, _ = await watcher.refused(watcher.call())
    assert (code, details) == (Status.UNAVAILABLE, "The server is stopping")
    assert len(wire.served.calls) == 1
    assert not running.done()
    go_on.set()
    assert await running == "done"
    await asyncio.wait_for(stopping, DEADLINE)
    assert not wire.server.local.directory.exists()
    await wire.served.empty()


async def test_the_end_does_not_wait_for_ever(serve_grpc: ServeGrpc) -> None:
    """Calls that do not end are left by the wire."""
    never = asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        await never.wait()
        return Reply()

    wire = await serve_grpc(handle=handle)
    channel = await wire.channel()
    running = asyncio.create_task(channel.call())
    await wire.served.until(lambda: bool(wire.served.calls))
    await wire.served.listener.close()
    await asyncio.wait_for(wire.server.stop(0.1), DEADLINE)
    code, _, _ = await channel.refused(running)
    assert code in (Status.UNAVAILABLE, Status.CANCELLED)
    assert not wire.server.local.directory.exists()
    await wire.served.empty()
    never.set()


async def test_a_wrong_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pki: Pki, serve_grpc: ServeGrpc
) -> None:
    """Where no socket can be made the wire does not start, says why, and leaves nothing behind."""
    wire = await serve_grpc()
    directory = tmp_path / ("x" * 120)  # a socket's path has room for about a hundred
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    server = GrpcServer(wire.served.door, GrpcLimits(), pki.server.contexts(), {})
    with pytest.raises(OSError, match="gRPC cannot listen on unix:"):
        await server.start()
    assert list(directory.iterdir()) == []
