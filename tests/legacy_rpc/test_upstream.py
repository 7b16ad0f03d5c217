"""Calls passed through to existing services: for whom, what comes back, and what if nothing does."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from legacy_rpc.authorisation import Rule, identify
from legacy_rpc.client.diset import client_tls
from legacy_rpc.client.tls import HostTls
from legacy_rpc.codecs.dirac_https import HttpsLimits
from legacy_rpc.messages import (
    AnyCredential,
    Call,
    Errno,
    Failure,
    Identity,
    Incoming,
    Outcome,
    Proposal,
    Reply,
)
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.https import DiracHttps
from legacy_rpc.upstream import UpstreamLimits, Upstreams, delegation, upstream_url
from shared_db.registry import RegistryFile
from tests.legacy_rpc.client.test_diset_client import s_ok, saying, scripted
from tests.legacy_rpc.conftest import PEOPLE, Callers, credential

SERVICE = "Test/Echo"
ALICE = Identity("alice", "demo_admin", dn=f"{PEOPLE}alice", vo="demo", credential=credential("alice"))
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"
BLOCK = 1 << 20


def asked(method: str, *arguments: Any, identity: Identity = ALICE, **more: Any) -> Call:
    """A call as a front door gives it away."""
    return Call(SERVICE, method, arguments, identity, "dips", client_version="9.1.22", **more)


def reads(_service: str, method: str) -> bool:
    """As if a table knew it."""
    return method.startswith("get")


@pytest.fixture
async def make(pki) -> AsyncIterator[Callable[..., Upstreams]]:
    """Makes upstreams, and closes their connections after the test."""
    made = []
    tls = HostTls(pki.certificate, pki.key, pki.ca_path)

    def make(url: str, limits: UpstreamLimits | None = None) -> Upstreams:
        made.append(Upstreams({SERVICE: url}, lambda: tls.context, reads, limits))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def seen() -> list[tuple[Proposal, Identity]]:
    """What a service elsewhere saw of its callers."""
    return []


@pytest.fixture
def admit(registry: RegistryFile, seen) -> Callable[[Proposal, AnyCredential | None], Identity]:
    """Lets everybody in, under the identity that DIRAC's rules give them."""

    def admit(proposal: Proposal, shown: AnyCredential | None) -> Identity:
        identity = identify(shown, proposal.extra_credentials, Rule(anyone=True), registry.current)
        seen.append((proposal, identity))
        return identity

    return admit


def at(served: Any, scheme: str = "dips") -> str:
    """The address of a server."""
    return f"{scheme}://localhost:{served.port}/{SERVICE}"


def https(door: Any, tls: Any) -> HttpServer:
    """The other wire."""
    return HttpServer(door, tls.contexts(optional=True), DiracHttps(door, HttpsLimits()))


WIRES = pytest.mark.parametrize(("scheme", "wire"), [("dips", None), ("https", https)], ids=["dips", "https"])


# --- where, and for whom


def test_where_a_service_is() -> None:
    """A service has its own address, or that of all others with its name behind."""
    urls = {
        "A/B": "dips://h:1/A/B",
        "A/C": "https://h:2",
        "A/D": "https://h/A/TornadoD",
        "*": "dips://other:3",
    }
    assert upstream_url(urls, "A/B") == "dips://h:1/A/B"
    assert upstream_url(urls, "A/C") == "https://h:2/A/C"
    assert upstream_url(urls, "A/D") == "https://h/A/TornadoD"
    assert upstream_url(urls, "X/Y") == "dips://other:3/X/Y"
    for odd in ("../X", "X/Y/Z", "X/Y?a=b", "X", "", "X/Y#"):
        assert upstream_url(urls, odd) is None
    assert upstream_url({"A/B": "dips://h:1"}, "A/C") is None


def test_for_whom_we_call() -> None:
    """Users with their group, hosts as hosts; no claim is passed on that our registry does not confirm."""
    assert delegation(ALICE) == (f"{PEOPLE}alice", "demo_admin")
    assert delegation(Identity("h", "hosts", kind="host", dn="/CN=h")) == ("/CN=h", "hosts")
    stranger = Identity(
        "anonymous", "visitor", kind="anonymous", dn=f"{PEOPLE}eve", credential=credential("eve")
    )
    assert delegation(stranger) == (f"{PEOPLE}eve", "visitor")


def test_nobody_is_called_for_who_has_no_name() -> None:
    """A caller without a certificate is refused: the call would be in our own name."""
    with pytest.raises(Failure) as refused:
        delegation(Identity("anonymous", "visitor", kind="anonymous"))
    assert (refused.value.errno, refused.value.message) == (Errno.ENOAUTH, UNAUTHORIZED)


@WIRES
async def test_the_service_sees_the_caller(serve, make, admit, seen, scheme: str, wire: Any) -> None:
    """The service elsewhere sees the user and the group, not our host, and what the client said of itself."""
    upstreams = make(at(await serve(admit=admit, make=wire), scheme))
    assert (await upstreams.answer(asked("echo", 1, setup="Certification", vo="demo"))).value == 1
    [(proposal, identity)] = seen
    assert (identity.username, identity.group, identity.dn) == ("alice", "demo_admin", f"{PEOPLE}alice")
    assert identity.properties == ("Operator", "NormalUser", "JobAdministrator", "SiteManager")
    assert (proposal.setup, proposal.vo, proposal.client_version) == ("Certification", "demo", "9.1.22")


async def test_hosts_and_strangers(serve, make, admit, seen, registry: RegistryFile) -> None:
    """A host is a host there, too; whom the service does not know is anonymous there."""
    upstreams = make(at(await serve(admit=admit)))
    host = identify(Callers.host, "hosts", Rule(), registry.current)
    await upstreams.answer(asked("echo", 1, identity=host))
    stranger = identify(Callers.stranger, "", Rule(anyone=True), registry.current)
    await upstreams.answer(asked("echo", 1, identity=stranger))
    assert [(each.kind, each.group) for _, each in seen] == [("host", "hosts"), ("anonymous", "visitor")]


async def test_a_service_that_does_not_trust_us(serve, make, pki) -> None:
    """Where our host is no TrustedHost nobody gets anywhere."""

    def refuse(*_: Any) -> Identity:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")

    with pytest.raises(Failure) as refused:
        await make(at(await serve(admit=refuse))).answer(asked("echo"))
    assert refused.value.as_result() == {"OK": False, "Errno": 1111, "Message": UNAUTHORIZED}


async def test_no_submission_with_a_limited_proxy(make) -> None:
    """The one rule about the certificate, which the service elsewhere cannot see, holds here."""
    shown = credential("alice")
    limited = type(shown)(shown.dn, shown.subject, shown.issuer, shown.expires, is_proxy=True, limited=True)
    manager = "WorkloadManagement/JobManager"
    caller = Identity("alice", "demo_user", dn=shown.dn, credential=limited)
    with pytest.raises(Failure, match="Can't submit using a limited proxy") as refused:
        await make("dips://localhost:1").answer(Call(manager, "submitJob", ["[]"], caller, "dips"))
    assert refused.value.errno == 1503


# --- what comes back


@WIRES
async def test_extra_keys_and_errors_are_untouched(serve, make, scheme: str, wire: Any) -> None:
    """Extra keys of S_OK and S_ERROR come back; what tells of the service's insides does not."""
    secret = {"CallStack": ["/opt/dirac/x.py"], "ExecInfo": "x", "rpcStub": [1]}

    async def handle(call: Call) -> Outcome:
        if call.method == "submitJob":
            return Reply(12, {"JobID": 12, "requireProxyUpload": True, **secret})
        return Failure("No (5)", 1501, {"InvalidJobIDs": [3], **secret})

    upstreams = make(at(await serve(handle=handle, make=wire), scheme))
    reply = await upstreams.answer(asked("submitJob"))
    assert reply.as_result() == {"OK": True, "Value": 12, "JobID": 12, "requireProxyUpload": True}
    with pytest.raises(Failure) as failed:
        await upstreams.answer(asked("killJob"))
    expected = {"OK": False, "Errno": 1501, "Message": "No (5)", "InvalidJobIDs": [3]}
    assert failed.value.as_result() == expected
    assert list(failed.value.as_result()) == list(expected)


async def test_the_callers_encoding(serve, make) -> None:
    """What an 8.0 client says in DEncode arrives as it was said: tuples, microseconds, keys of any type."""
    served = await serve()
    value = [(1, 2), {3: "x"}, datetime(2026, 1, 2, 3, 4, 5, 678901)]  # noqa: DTZ001 - as DIRAC has them
    reply = await make(at(served)).answer(asked("echo", value, encoding="dencode"))
    assert reply.value == value
    assert served.calls[0].encoding == "dencode"


@WIRES
async def test_very_large_replies(serve, make, scheme: str, wire: Any) -> None:
    """A reply may be larger than what clients may send, and hold more values; others are served meanwhile."""
    value = list(range(1_200_000))

    async def handle(_call: Call) -> Outcome:
        return Reply(value)

    upstreams = make(at(await serve(handle=handle, make=wire), scheme))
    longest, last, loop = 0.0, 0.0, asyncio.get_running_loop()
    task = asyncio.create_task(upstreams.answer(asked("getJobs")))
    last = loop.time()
    while not task.done():
        await asyncio.sleep(0)
        longest, last = max(longest, loop.time() - last), loop.time()
    assert (await task).value == value
    assert longest < 0.5


@WIRES
async def test_too_large_a_reply(serve, make, scheme: str, wire: Any) -> None:
    """There is a limit, and the caller is told of it, by the upstream's name."""

    async def handle(_call: Call) -> Outcome:
        return Reply("x" * 100_000)

    served = await serve(handle=handle, make=wire)
    with pytest.raises(
        Failure, match=f"^The upstream of {SERVICE} did not answer: .*{served.port}.*limit of 65536"
    ):
        await make(at(served, scheme), UpstreamLimits(reply=65536)).answer(asked("getJobs"))


async def test_arguments_that_cannot_be_sent(serve, make) -> None:
    """Nothing is sent of arguments that the wire has no words for."""
    served = await serve()
    with pytest.raises(Failure, match="^The arguments cannot be sent to dips://localhost"):
        await make(at(served)).answer(asked("echo", {(1, 2): 3}))
    assert served.calls == []


# --- when nothing comes back


@WIRES
async def test_nobody_there(make, scheme: str, wire: Any) -> None:
    """A write that was certainly not made is not said to be uncertain."""
    with pytest.raises(Failure, match=f"^The upstream of {SERVICE} did not answer: .*localhost:1"):
        await make(f"{scheme}://localhost:1/{SERVICE}").answer(asked("submitJob"))


async def test_gone_before_the_arguments(pki, make) -> None:
    """Before the acknowledgement nothing of the call was sent."""
    async with scripted(pki, saying(b"")) as where:
        with pytest.raises(Failure, match="^The upstream of .* closed the connection"):
            await make(f"dips://{where.where}").answer(asked("submitJob"))


async def test_gone_with_the_arguments(pki, make) -> None:
    """Whoever wrote is told that nobody knows; whoever read, that there was no answer."""
    async with scripted(pki, saying(s_ok(None), b"")) as where:
        upstreams = make(f"dips://{where.where}")
        with pytest.raises(
            Failure, match=r"^The outcome of submitJob is unknown: its upstream, dips://localhost"
        ):
            await upstreams.answer(asked("submitJob"))
        with pytest.raises(Failure, match="^The upstream of"):
            await upstreams.answer(asked("getJobs"))


@WIRES
async def test_no_answer_in_time(serve, make, scheme: str, wire: Any) -> None:
    """The caller's deadline holds, if it is earlier than the limit on calls."""
    going = asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        await going.wait()
        return Reply()

    upstreams = make(at(await serve(handle=handle, make=wire), scheme))
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Failure, match=r"^The outcome of submitJob is unknown.* did not answer within"):
        await upstreams.answer(asked("submitJob", deadline=started + 0.5))
    assert loop.time() - started < 5
    going.set()


@WIRES
async def test_no_time_left(serve, make, scheme: str, wire: Any) -> None:
    """A call whose time is over is not made: to aiohttp no seconds are as many as it likes."""
    called = []

    async def handle(call: Call) -> Outcome:
        called.append(call)
        return Reply()

    upstreams = make(at(await serve(handle=handle, make=wire), scheme))
    now = asyncio.get_running_loop().time()
    with pytest.raises(Failure, match="was not asked: the time for a call was over"):
        await upstreams.answer(asked("submitJob", deadline=now - 1))
    assert not called


async def test_a_status_is_no_answer(serve, make) -> None:
    """HTTPS: a fault inside the service may have come after the work; a method that it has not is not one."""

    class Faulty(DiracHttps):
        async def answer(self, exchange: Any) -> Any:
            reply = await super().answer(exchange)
            assert reply is not None
            return type(reply)(b"broken", reply.content_type, status)

    upstreams = make(
        at(
            await serve(
                make=lambda door, tls: HttpServer(
                    door, tls.contexts(optional=True), Faulty(door, HttpsLimits())
                )
            ),
            "https",
        )
    )
    status = 500
    with pytest.raises(Failure, match="^The outcome of submitJob is unknown.*status 500: broken"):
        await upstreams.answer(asked("submitJob"))
    status = 501
    with pytest.raises(Failure, match="submitJob is not implemented") as unknown:
        await upstreams.answer(asked("submitJob"))
    assert unknown.value.errno == 38
    status = 404
    with pytest.raises(Failure, match="^The upstream of .*status 404: broken"):
        await upstreams.answer(asked("submitJob"))


async def test_without_an_upstream() -> None:
    """A service for which nobody said where it is says what is missing."""
    upstreams = Upstreams({}, lambda: pytest.fail("nobody is asked"), reads)
    with pytest.raises(
        Failure, match=f"{SERVICE} is not served here by itself: name its DIRAC service under `upstream`"
    ):
        await upstreams.answer(asked("echo"))


# --- how many at a time


async def test_connections_are_bounded(serve, make) -> None:
    """No more connections at a time than the limit; who waits is served when one is free."""
    running = most = 0

    async def handle(_call: Call) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return Reply("done")

    upstreams = make(at(await serve(handle=handle)), UpstreamLimits(connections=3))
    replies = await asyncio.gather(*(upstreams.answer(asked("echo")) for _ in range(12)))
    assert [reply.value for reply in replies] == ["done"] * 12
    assert most == 3


async def test_waiting_has_an_end(serve, make) -> None:
    """Whoever waits too long for a connection is told so, and nothing was sent."""
    going = asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        await going.wait()
        return Reply("done")

    served = await serve(handle=handle)
    upstreams = make(at(served), UpstreamLimits(connections=1, wait_seconds=0.1))
    first = asyncio.create_task(upstreams.answer(asked("echo")))
    await served.until(lambda: len(served.calls) == 1)
    with pytest.raises(
        Failure, match="was not asked: all 1 connections to localhost:.* in use for 0.1 s"
    ) as refused:
        await upstreams.answer(asked("submitJob"))
    assert refused.value.reason == "overload"
    going.set()
    assert (await first).value == "done"
    assert len(served.calls) == 1


async def test_a_caller_who_gives_up_frees_the_connection(serve, make) -> None:
    """A call that is cancelled leaves nothing behind."""
    going = asyncio.Event()

    async def handle(call: Call) -> Outcome:
        if call.arguments:
            await going.wait()
        return Reply("done")

    served = await serve(handle=handle)
    upstreams = make(at(served), UpstreamLimits(connections=1))
    first = asyncio.create_task(upstreams.answer(asked("echo", "slow")))
    await served.until(lambda: len(served.calls) == 1)
    first.cancel()
    assert (await upstreams.answer(asked("echo"))).value == "done"
    going.set()


async def test_https_connections_are_kept(serve, make) -> None:
    """One after the other goes over the same connection."""
    served = await serve(make=https)
    upstreams = make(at(served, "https"))
    for number in range(5):
        assert (await upstreams.answer(asked("echo", number))).value == number
    assert served.open == 1


async def test_a_renewed_certificate_is_shown(pki, tmp_path) -> None:
    """The host's certificate is followed; one that cannot be used changes nothing."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(pki.certificate.read_bytes())
    key.write_bytes(pki.key.read_bytes())
    tls = HostTls(certificate, key, pki.ca_path)
    first = tls.context
    tls.refresh()
    assert tls.context is first
    certificate.write_text("broken")
    tls.refresh()
    assert tls.context is first
    certificate.write_bytes(pki.certificate.read_bytes())
    tls.refresh()
    assert tls.context is not first


# --- files


class Sent:
    """A file that a client sends."""

    def __init__(self, *blocks: bytes, failure: Failure | None = None) -> None:
        self.size = sum(map(len, blocks))
        self.asked = 0
        self._blocks = blocks
        self._failure = failure

    async def blocks(self) -> AsyncIterator[bytes]:
        """As they are asked for."""
        for block in self._blocks:
            self.asked += 1
            yield block
        if self._failure is not None:
            raise self._failure


class Received:
    """A file that a client gets; ``failure``: it wants no more after so many blocks."""

    def __init__(self, most: int = 10**9) -> None:
        self.blocks: list[bytes] = []
        self.most = most

    async def send(self, data: bytes) -> None:
        """Keep it."""
        if len(self.blocks) >= self.most:
            raise Failure("The client has left")
        self.blocks.append(data)


def transfer(action: str, *information: Any, **file: Any) -> Call:
    """A transfer as a front door gives it away."""
    return asked(f"FileTransfer/{action}", *information, **file)


async def keep(incoming: Incoming) -> bytes:
    """All of a file."""
    return b"".join([block async for block in incoming.blocks()])


@pytest.mark.parametrize("encoding", ["jencode", "dencode"])
@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3 * BLOCK + 5)], ids=len)
async def test_files_there_and_back(serve, make, encoding: str, content: bytes) -> None:
    """A file, or a bulk of files, goes through as it is, with its information list; so does the last word."""
    kept: dict[str, bytes] = {}

    async def handle(call: Call) -> Outcome:
        if call.incoming is not None:
            kept[call.arguments[0]] = await keep(call.incoming)
        elif call.outgoing is not None:
            await call.outgoing.send(kept[call.arguments[0]])
        return Reply([call.method, *call.arguments], {"Extra": 1})

    upstreams = make(at(await serve(handle=handle)))
    for prefix in ("", "Bulk"):
        up = transfer(
            f"{prefix}FromClient",
            "id",
            "token",
            len(content),
            incoming=Sent(content) if content else Sent(),
            encoding=encoding,
        )
        reply = await upstreams.answer(up)
        assert reply.value == [f"FileTransfer/{prefix}FromClient", "id", "token", len(content)]
        assert reply.extra == {"Extra": 1}
        received = Received()
        down = transfer(f"{prefix}ToClient", "id", outgoing=received, encoding=encoding)
        assert (await upstreams.answer(down)).value == [f"FileTransfer/{prefix}ToClient", "id", ""]
        assert b"".join(received.blocks) == kept["id"] == content
        assert received.blocks  # an empty file is another thing than none
    assert (await upstreams.answer(transfer("ListBulk", "id", ""))).value[0] == "FileTransfer/ListBulk"


async def test_a_file_is_taken_as_fast_as_the_service_takes_it(serve, make) -> None:
    """No block is asked of the client before the service has taken the last one."""
    going = asyncio.Event()

    async def handle(call: Call) -> Outcome:
        assert call.incoming is not None
        async for _block in call.incoming.blocks():
            await going.wait()
        return Reply("taken")

    served = await serve(handle=handle)
    sent = Sent(*[bytes(BLOCK)] * 50)
    task = asyncio.create_task(
        make(at(served)).answer(transfer("FromClient", "id", "", 50 * BLOCK, incoming=sent))
    )
    await served.until(lambda: sent.asked > 0)
    await asyncio.sleep(0.3)
    assert sent.asked <= 2
    going.set()
    assert (await task).value == "taken"


async def test_memory_is_independent_of_a_files_size(serve, make) -> None:
    """A file of 64 MiB goes both ways with a few MiB of memory."""
    block = bytes(BLOCK)

    async def handle(call: Call) -> Outcome:
        if call.incoming is not None:
            async for _block in call.incoming.blocks():
                pass
        elif call.outgoing is not None:
            for _ in range(64):
                await call.outgoing.send(block)
        return Reply("done")

    class Forgetful:
        async def send(self, data: bytes) -> None:
            """Take it."""

    upstreams = make(at(await serve(handle=handle)))
    tracemalloc.start()
    try:
        await upstreams.answer(transfer("FromClient", "id", "", 64 * BLOCK, incoming=Sent(*[block] * 64)))
        await upstreams.answer(transfer("ToClient", "id", "", outgoing=Forgetful()))
        assert tracemalloc.get_traced_memory()[1] < 24 * BLOCK
    finally:
        tracemalloc.stop()


async def test_a_service_that_wants_no_file(serve, make) -> None:
    """Its refusal is the answer, though the client had more to send."""

    async def handle(_call: Call) -> Outcome:
        return Failure("Sandbox is too big", 7)

    sent = Sent(*[bytes(BLOCK)] * 5)
    with pytest.raises(Failure) as refused:
        await make(at(await serve(handle=handle))).answer(
            transfer("FromClient", "id", "", 5 * BLOCK, incoming=sent)
        )
    assert (refused.value.message, refused.value.errno) == ("Sandbox is too big", 7)
    assert sent.asked == 1


async def test_a_client_that_ends_a_transfer(serve, make) -> None:
    """What the client says is the failure, either way; the service elsewhere sees no whole file."""
    ended: list[str] = []

    async def handle(call: Call) -> Outcome:
        try:
            if call.incoming is not None:
                await keep(call.incoming)
            elif call.outgoing is not None:
                for _ in range(100):
                    await call.outgoing.send(bytes(BLOCK))
        except Failure as failure:
            ended.append(failure.message)
        return Reply("done")

    served = await serve(handle=handle)
    upstreams = make(at(served))
    with pytest.raises(Failure, match="^The client has left$"):
        sent = Sent(b"x", failure=Failure("The client has left"))
        await upstreams.answer(transfer("FromClient", "id", "", 9, incoming=sent))
    with pytest.raises(Failure, match="^The client has left$"):
        await upstreams.answer(transfer("ToClient", "id", "", outgoing=Received(most=1)))
    await served.until(lambda: len(ended) == 2)


async def test_no_file(serve, make) -> None:
    """A service that has none sends none: the client is sent nothing either."""
    received = Received()
    reply = await make(at(await serve())).answer(transfer("ToClient", "id", "", outgoing=received))
    assert (reply.value, received.blocks) == ("id", [])


async def test_no_files_by_https(make) -> None:
    """The other wire carries no streams: the mend is named."""
    with pytest.raises(Failure, match="name a dips:// address"):
        await make("https://localhost:1").answer(transfer("ToClient", "id", "", outgoing=Received()))


def test_what_our_host_shows(pki) -> None:
    """The context of upstreams checks who is at the other end."""
    context = HostTls(pki.certificate, pki.key, pki.ca_path).context
    assert context.check_hostname
    assert context.verify_mode == client_tls(None, pki.ca_path).verify_mode
