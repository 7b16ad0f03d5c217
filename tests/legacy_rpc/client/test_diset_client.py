"""Our own DISET client, against our own server and against servers that misbehave."""

from __future__ import annotations

import asyncio
import datetime
import io
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from legacy_rpc.client.diset import (
    CallError,
    Endpoint,
    Said,
    call,
    client_tls,
    download,
    list_bulk,
    upload,
)
from legacy_rpc.codecs.diset import DisetLimits, frame
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.messages import Call, Failure, Identity, Outcome, Proposal, Reply
from legacy_rpc.servers.diset import DisetServer

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)
SERVICE = "Test/Echo"


def s_ok(value: Any) -> bytes:
    """A frame with a value."""
    return frame(JENCODE.encode({"OK": True, "Value": value}))


@pytest.fixture
def tls(pki) -> ssl.SSLContext:
    """What alice shows."""
    return client_tls(pki.files["alice"], pki.ca_path)


def endpoint(served: Any, host: str = "localhost") -> Endpoint:
    """Where a server is."""
    return Endpoint(host, served.port, SERVICE)


# --- addresses and credentials


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("dips://h.example.org:9130/Test/Echo", Endpoint("h.example.org", 9130, SERVICE)),
        ("dips://127.0.0.1:1/Test/Echo/", Endpoint("127.0.0.1", 1, SERVICE)),
        ("dips://[::1]:9130/Test/Echo", Endpoint("::1", 9130, SERVICE)),
        ("dip://h:9130/Test/Echo", Endpoint("h", 9130, SERVICE, secure=False)),
    ],
)
def test_url(url: str, expected: Endpoint) -> None:
    """A service's URL names host, port and service."""
    assert Endpoint.parse(url) == expected


NO_URLS = [
    "",
    "Test/Echo",
    "https://h:9130/Test/Echo",
    "dips://h/Test/Echo",
    "dips://:9130/Test/Echo",
    "dips://h:9130",
    "dips://h:9130/",
    "dips://h:0/Test/Echo",
    "dips://h:99999/Test/Echo",
    "dips://h:port/Test/Echo",
    "dips://[::1:9130/Test/Echo",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_no_url(url: str) -> None:
    """Anything else is an error that repeats what was given."""
    with pytest.raises(CallError) as refused:
        Endpoint.parse(url)
    assert url in str(refused.value)


def test_credentials_that_cannot_be_used(pki, tmp_path: Path) -> None:
    """The error names the file and the option that mends it."""
    alice, missing = pki.files["alice"], tmp_path / "missing"
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no certificate")
    for proxy, ca_path, words in [
        (alice, missing, f"{missing}: no CA directory: name one with --ca-path or X509_CERT_DIR"),
        (missing, pki.ca_path, f"{missing}: no usable proxy ("),
        (rubbish, pki.ca_path, "name one with --proxy or X509_USER_PROXY"),
        (pki.certificate, pki.ca_path, f"{pki.certificate}: no usable proxy ("),
    ]:
        with pytest.raises(CallError) as refused:
            client_tls(proxy, ca_path)
        assert words in str(refused.value)


async def test_certificate_and_key_in_two_files(pki, serve) -> None:
    """A host's certificate and key are two files, and it calls with them."""
    served = await serve()
    tls = client_tls(pki.certificate, pki.ca_path, pki.key)
    assert await call(endpoint(served), "echo", ["x"], tls) == {"OK": True, "Value": "x"}
    assert served.calls[0].identity.username == "wherry.example.org"


# --- calls


@ENCODINGS
async def test_call(serve, tls: ssl.SSLContext, encoding: Encoding) -> None:
    """A call brings its arguments there and its value back."""
    served = await serve()
    value = {
        "when": datetime.datetime.fromisoformat("2026-11-21 12:00:01"),
        "numbers": [1, 2.5],
        "text": "h\u00e9llo" * 50_000,
    }
    answer = await call(endpoint(served), "echo", [value, 2], tls, encoding=encoding, client_version="9.1.22")
    assert answer == {"OK": True, "Value": value}
    (told,) = served.calls
    assert (told.service, told.method, told.arguments) == (SERVICE, "echo", [value, 2])
    assert (told.client_version, told.identity.username) == ("9.1.22", "alice")


async def test_proposal_like_diracs_own(serve, tls: ssl.SSLContext) -> None:
    """The proposal's fields are those of a DIRAC 9 client without a configuration."""
    said = ("", "9.1.22", "None", "unknown")
    expected = Proposal(SERVICE, "RPC", "echo", *said, "dips", "127.0.0.1", "jencode")
    seen: list[Proposal] = []

    def admit(proposal: Proposal, _credential: Any) -> Identity:
        seen.append(proposal)
        return Identity("alice", "demo_user")

    await call(endpoint(await serve(admit=admit)), "echo", [], tls, client_version="9.1.22")
    assert seen == [expected]


@pytest.mark.parametrize("acknowledged", [True, False])
@ENCODINGS
async def test_failure(serve, tls: ssl.SSLContext, encoding: Encoding, acknowledged: bool) -> None:
    """An error is an answer, in place of the acknowledgement and after it."""
    failure = Failure("no", 1504, {"JobID": 7})

    def refuse(*_: Any) -> Identity:
        raise failure

    async def fail(_call: Call) -> Outcome:
        return failure

    served = await (serve(handle=fail) if acknowledged else serve(admit=refuse))
    answer = await call(endpoint(served), "echo", [], tls, encoding=encoding)
    assert answer == {"OK": False, "Errno": 1504, "Message": "no", "JobID": 7}


async def test_many_calls_at_once(serve, tls: ssl.SSLContext) -> None:
    """Calls do not mix."""
    served = await serve()
    answers = await asyncio.gather(*(call(endpoint(served), "echo", [n], tls) for n in range(30)))
    assert [answer["Value"] for answer in answers] == list(range(30))


async def test_dip(serve) -> None:
    """A `dip` service is called in clear, with and without a proxy at hand; a `dips` service never is."""

    def admit(proposal: Proposal, credential: Any) -> Identity:
        assert credential is None
        return Identity("anonymous", "visitor", kind="anonymous")

    served = await serve(admit=admit, make=lambda door, _tls: DisetServer(door, DisetLimits(), None))
    where = Endpoint("localhost", served.port, SERVICE, secure=False)
    assert await call(where, "echo", ["x"], None) == {"OK": True, "Value": "x"}
    assert [each.wire for each in served.calls] == ["dip"]
    with pytest.raises(CallError, match="dips needs a proxy"):
        await call(endpoint(served), "echo", ["x"], None)


# --- transfers

BLOCK = 1 << 20
FILE = bytes(range(256)) * 10_000


class Files:
    """Keeps a file, and gives it back."""

    def __init__(self) -> None:
        self.content = b""
        self.sizes: list[int] = []

    async def __call__(self, call: Call) -> Outcome:
        try:
            if call.incoming is not None:
                self.sizes = [len(block) async for block in self._kept(call.incoming)]
            elif call.outgoing is not None:
                await call.outgoing.send(self.content)
        except Failure as failure:
            return failure
        return Reply([call.method, *call.arguments])

    async def _kept(self, incoming: Any) -> AsyncIterator[bytes]:
        async for block in incoming.blocks():
            self.content += block
            yield block


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    """A source that is no file."""
    for piece in data:
        yield piece


@ENCODINGS
@pytest.mark.parametrize("file", [b"", b"x", FILE], ids=len)
async def test_file_there_and_back(serve, tls: ssl.SSLContext, encoding: Encoding, file: bytes) -> None:
    """A file object is sent and another one written to."""
    files = Files()
    where = endpoint(await serve(handle=files))
    sent = await upload(where, "FromClient", ["id", "", len(file)], io.BytesIO(file), tls, encoding=encoding)
    assert sent == {"OK": True, "Value": ["FileTransfer/FromClient", "id", "", len(file)]}
    assert files.content == file
    back = io.BytesIO()
    received = await download(where, "ToClient", ["id", ""], back, tls, encoding=encoding)
    assert received == {"OK": True, "Value": ["FileTransfer/ToClient", "id", ""]}
    assert back.getvalue() == file


async def test_stream_there_and_back(serve, tls: ssl.SSLContext) -> None:
    """Pieces of any length are sent as they come, but for those too long for a block; so are blocks."""
    files = Files()
    where = endpoint(await serve(handle=files))
    await upload(where, "BulkFromClient", ["id", "", -1], pieces(FILE[:10], b"", FILE[10:]), tls)
    assert files.content == FILE
    assert files.sizes == [10, BLOCK, BLOCK, len(FILE) - 2 * BLOCK - 10]
    received: list[bytes] = []

    async def take(block: bytes) -> None:
        received.append(block)

    result = await download(where, "BulkToClient", ["id", ""], take, tls)
    assert result["OK"] is True
    assert b"".join(received) == FILE
    assert await list_bulk(where, ["id", ""], tls) == {
        "OK": True,
        "Value": ["FileTransfer/ListBulk", "id", ""],
    }


async def test_transfers_by_dip(serve) -> None:
    """Files go in clear as well."""
    files = Files()
    served = await serve(
        admit=lambda *_: Identity("anonymous", "visitor"),
        handle=files,
        make=lambda door, _tls: DisetServer(door, DisetLimits(), None),
    )
    where = Endpoint("localhost", served.port, SERVICE, secure=False)
    assert (await upload(where, "FromClient", ["id", "", 1], io.BytesIO(FILE), None))["OK"] is True
    assert files.content == FILE


@pytest.mark.parametrize("taken", [0, 1])
async def test_transfer_that_is_refused(serve, tls: ssl.SSLContext, taken: int) -> None:
    """The server's error is the result, before and after it has taken blocks; no more is then read."""
    read: list[int] = []

    async def refuse(call: Call) -> Outcome:
        if call.incoming is not None:
            blocks = call.incoming.blocks()
            for _ in range(taken):
                await anext(blocks)
        return Failure("no", 7)

    async def source() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x"

    where = endpoint(await serve(handle=refuse))
    refused = {"OK": False, "Errno": 7, "Message": "no"}
    assert await upload(where, "FromClient", ["id", "", 100], source(), tls) == refused
    assert len(read) <= taken + 1
    assert await download(where, "ToClient", ["id", ""], io.BytesIO(), tls) == refused
    assert await list_bulk(where, ["id", ""], tls) == refused
    assert (await upload(where, "Sideways", ["id"], source(), tls))["OK"] is False


async def test_nothing_to_receive(serve, tls: ssl.SSLContext) -> None:
    """A server that has nothing to send gives its value, and nothing is written."""

    async def nothing(_call: Call) -> Outcome:
        return Reply("you have it")

    back = io.BytesIO()
    where = endpoint(await serve(handle=nothing))
    result = await download(where, "ToClient", ["id", ""], back, tls)
    assert (result, back.getvalue()) == ({"OK": True, "Value": "you have it"}, b"")


@pytest.mark.parametrize("token", ["", "NoCheckSum"])
async def test_false_checksum(pki, tls: ssl.SSLContext, token: str) -> None:
    """A file with another checksum than the server says is an error, unless the token says otherwise."""
    answers = (s_ok(None), s_ok("Accepted") + s_ok([True, b"x"]), s_ok([False, "0" * 32]) + s_ok("done"))
    async with scripted(pki, saying(*answers)) as where:
        result = await download(where, "ToClient", ["id", token], io.BytesIO(), tls)
    if token:
        assert result == {"OK": True, "Value": "done"}
    else:
        assert result == {"OK": False, "Errno": 0, "Message": "Error in the file CRC"}


async def test_errors_of_files(serve, tls: ssl.SSLContext) -> None:
    """What a source or a sink raises comes out as it is, and the server's method is told."""
    outcomes: list[Outcome] = []
    files = Files()
    files.content = FILE

    async def handle(call: Call) -> Outcome:
        outcomes.append(await files(call))
        return outcomes[-1]

    async def broken_source() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("disk")

    async def broken_sink(_block: bytes) -> None:
        raise OSError("full")

    served = await serve(handle=handle)
    with pytest.raises(OSError, match="^disk$"):
        await upload(endpoint(served), "FromClient", ["id", "", 5], broken_source(), tls)
    with pytest.raises(OSError, match="^full$"):
        await download(endpoint(served), "ToClient", ["id", ""], broken_sink, tls)
    await served.until(lambda: len(outcomes) == 2)
    assert [str(outcome) for outcome in outcomes] == ["The client has left"] * 2


async def test_slow_files_have_no_deadline(serve, tls: ssl.SSLContext) -> None:
    """The seconds are the server's: a source may take longer."""

    async def slow() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.6)
        yield b"x"

    where = endpoint(await serve(handle=Files()))
    assert (await upload(where, "FromClient", ["id", "", 1], slow(), tls, seconds=0.5))["OK"] is True


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "closed the connection without an answer"),
        ([s_ok(None), b""], "closed the connection without an answer"),
        ([s_ok(None), s_ok("Accepted")], "closed the connection without an answer"),
        ([s_ok(None), s_ok("Accepted") + s_ok(None)], "answered nonsense: "),
        ([s_ok(None), s_ok("Accepted") + b"garbage"], "answered nonsense: "),
    ],
)
async def test_transfers_not_answered(pki, tls: ssl.SSLContext, answers: list[bytes], words: str) -> None:
    """A server that closes too early or talks nonsense gives an error that says so, in both directions."""
    async with scripted(pki, saying(*answers)) as where:
        with pytest.raises(CallError, match=f"^localhost:{where.port} {words}"):
            await download(where, "ToClient", ["id", ""], io.BytesIO(), tls)
        # Its block may find the connection closed before the answer is read.
        with pytest.raises(CallError, match=f"^localhost:{where.port} ({words}|cannot be called: )"):
            await upload(where, "FromClient", ["id", "", 1], io.BytesIO(b"x"), tls)


async def test_transfers_not_answered_in_time(pki, tls: ssl.SSLContext) -> None:
    """A server that falls silent is given up."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(s_ok(None) + s_ok("Accepted"))
        while await reader.read(65536):
            pass

    async with scripted(pki, silence) as where:
        for transfer in (
            upload(where, "FromClient", ["id", "", 1], io.BytesIO(b"x"), tls, seconds=0.3),
            download(where, "ToClient", ["id", ""], io.BytesIO(), tls, seconds=0.3),
        ):
            with pytest.raises(CallError, match="did not answer within 0.3 s"):
                await transfer


# --- servers that cannot be called


async def test_nobody_listens(tls: ssl.SSLContext) -> None:
    """A refused connection is an error that says where."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CallError, match=f"localhost:{port} cannot be called: "):
            await call(Endpoint("localhost", port, SERVICE), "echo", [], tls)


async def test_no_host_name(tls: ssl.SSLContext) -> None:
    """A name that no host can have is an error that repeats it."""
    host = "a" * 70
    with pytest.raises(CallError, match=f"{host}:9130 cannot be called: "):
        await call(Endpoint(host, 9130, SERVICE), "echo", [], tls)


async def test_a_server_of_another_authority(serve, pki) -> None:
    """A server whose authority is not in the CA directory is not spoken to."""
    served = await serve()
    tls = client_tls(pki.files["alice"], pki.other_ca_path)
    with pytest.raises(CallError, match=r"cannot be called: .*certificate verify failed"):
        await call(endpoint(served), "echo", ["secret"], tls)
    assert served.calls == []


async def test_a_server_of_another_name(serve, tls: ssl.SSLContext) -> None:
    """A server whose certificate does not name the host is not spoken to."""
    served = await serve(listening=socket.create_server(("127.0.0.2", 0)))
    with pytest.raises(CallError, match=r"127\.0\.0\.2:.*certificate is not valid for"):
        await call(endpoint(served, "127.0.0.2"), "echo", ["secret"], tls)
    assert served.calls == []


@pytest.mark.parametrize("caller", ["expired", "forged"])
async def test_a_server_that_does_not_let_in(serve, pki, caller: str) -> None:
    """A client that TLS does not let in learns that it was not answered."""
    tls = client_tls(pki.files[caller], pki.ca_path)
    with pytest.raises(CallError, match="^localhost:"):
        await call(endpoint(await serve()), "echo", [], tls)


async def test_a_host_that_calls_for_somebody(serve, tls: ssl.SSLContext) -> None:
    """Every kind of conversation says for whom it is, and what else the caller says of itself."""
    seen: list[Proposal] = []

    def admit(proposal: Proposal, _credential: Any) -> Identity:
        seen.append(proposal)
        return Identity("alice", "demo_user")

    where = endpoint(await serve(admit=admit, handle=Files()))
    said: Said = {
        "extra_credentials": ("/CN=bob", "demo"),
        "client_version": "8.0.86",
        "setup": "S",
        "vo": "v",
    }
    await call(where, "echo", [], tls, **said)
    await upload(where, "FromClient", ["id", "", 1], io.BytesIO(b"x"), tls, **said)
    await download(where, "ToClient", ["id", ""], io.BytesIO(), tls, **said)
    await list_bulk(where, ["id", ""], tls, **said)
    assert len(seen) == 4
    for each in seen:
        assert (each.extra_credentials, each.client_version) == (["/CN=bob", "demo"], "8.0.86")
        assert (each.setup, each.vo) == ("S", "v")


# --- servers that misbehave

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(pki: Any, script: Script) -> AsyncIterator[Endpoint]:
    """A TLS server that follows a script on every connection, then closes it."""

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(follow, "127.0.0.1", 0, ssl=pki.server.contexts()())
    async with server:
        yield Endpoint("localhost", server.sockets[0].getsockname()[1], SERVICE)


def saying(*answers: bytes) -> Script:
    """Hears one message and gives the next answer, for each of them."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            length = await reader.readuntil(b":")
            await reader.readexactly(int(length[:-1]))
            for byte in answer:
                writer.write(bytes([byte]))
        await writer.drain()

    return script


async def test_answers_byte_by_byte(pki, tls: ssl.SSLContext) -> None:
    """A server may send its answers in the smallest pieces, and more than was asked."""
    async with scripted(pki, saying(s_ok(None), s_ok("done") + b"more")) as where:
        assert await call(where, "echo", [], tls) == {"OK": True, "Value": "done"}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "closed the connection without an answer"),
        ([b""], "closed the connection without an answer"),
        ([s_ok(None), b""], "closed the connection without an answer"),
        ([s_ok(None), s_ok("done")[:-3]], "closed the connection without an answer"),
        ([b"garbage"], "answered nonsense: A message must begin with its length"),
        ([s_ok(None), frame(b"[]")], "answered nonsense: The server's message is no S_OK or S_ERROR"),
        ([b"99999999:"], "answered nonsense: A message of 99999999 bytes is larger than the limit"),
    ],
)
async def test_no_answer(pki, tls: ssl.SSLContext, answers: list[bytes], words: str) -> None:
    """A server that closes too early or talks nonsense gives an error that says so."""
    async with scripted(pki, saying(*answers)) as where:
        with pytest.raises(CallError, match=f"^localhost:{where.port} {words}"):
            await call(where, "echo", [], tls)


async def test_whether_the_arguments_were_sent(pki, tls: ssl.SSLContext) -> None:
    """Only behind the acknowledgement can a call that was not answered have done anything."""
    for answers, sent in (([b""], False), ([s_ok(None), b""], True)):
        async with scripted(pki, saying(*answers)) as where:
            with pytest.raises(CallError) as failed:
                await call(where, "echo", [], tls)
            assert failed.value.sent is sent


async def test_the_limits_of_a_result(pki, tls: ssl.SSLContext) -> None:
    """A result may be larger, or have more values, than others would be let."""
    many = s_ok(list(range(1_100_000)))
    async with scripted(pki, fast(many)) as where:
        limits = DisetLimits(values=2_000_000)
        assert len((await call(where, "echo", [], tls, limits=limits))["Value"]) == 1_100_000
        with pytest.raises(CallError, match="answered nonsense: JSON: a message of more than 1000000 values"):
            await call(where, "echo", [], tls)
        with pytest.raises(CallError, match="is larger than the limit of 1024"):
            await call(where, "echo", [], tls, limits=DisetLimits(message=1024))


def fast(result: bytes) -> Script:
    """Acknowledges, and then answers in one go."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (s_ok(None), result):
            length = await reader.readuntil(b":")
            await reader.readexactly(int(length[:-1]))
            writer.write(answer)
        await writer.drain()

    return script


async def test_no_answer_in_time(pki, tls: ssl.SSLContext) -> None:
    """A server that accepts and says nothing is given up, before and after TLS is up."""

    async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with scripted(pki, silence) as where:
        with pytest.raises(CallError, match="did not answer within 0.2 s"):
            await call(where, "echo", [], tls, seconds=0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = Endpoint("localhost", mute.getsockname()[1], SERVICE)
        with pytest.raises(CallError, match="did not answer within 0.2 s"):
            await call(where, "echo", [], tls, seconds=0.2)
