"""The legacy wires: each has an entry here that builds its server; everything else they have in common."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from legacy_rpc.codecs.dirac_https import HttpsLimits
from legacy_rpc.codecs.msgpack_rpc import MsgpackLimits
from legacy_rpc.credentials import ChainCache
from legacy_rpc.front_door import FrontDoor
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.door import Door, OverheadHook, VerifyToken
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.https import DiracHttps
from legacy_rpc.servers.listener import Gate, WireServer
from legacy_rpc.servers.msgpack_rpc import MsgpackRpcServer
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.servers.xmlrpc import XmlRpc, XmlRpcLimits
from legacy_rpc.signatures import Signatures
from wherry.config import Config, ConfigError, Limits, Tls
from wherry.serve import DRAIN_SECONDS
from wherry.sockets import Sockets

# The protocol that ALPN offers on the wires over HTTP.
HTTP = ("http/1.1",)
HTTP2 = ("h2",)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a wire's server is built of."""

    door: Door
    tls: ServerTls | None
    limits: Limits
    signatures: Signatures

    @property
    def certificates(self) -> ServerTls:
        """TLS, on the wires that have it; the configuration was checked for it."""
        assert self.tls is not None
        return self.tls


def _dips(parts: Parts) -> WireServer:
    return DisetServer(parts.door, parts.limits.of_messages(), parts.certificates.contexts())


def _dip(parts: Parts) -> WireServer:
    return DisetServer(parts.door, parts.limits.of_messages(), None)


def _msgpack(parts: Parts) -> WireServer:
    limits = parts.limits
    return MsgpackRpcServer(
        parts.door,
        MsgpackLimits(message=limits.message_bytes, depth=limits.depth, calls=limits.calls_per_caller),
        parts.certificates.contexts(optional=True),
        parts.signatures,
    )


def _https(parts: Parts) -> WireServer:
    limits = HttpsLimits(parts.limits.message_bytes, parts.limits.transfer_bytes, parts.limits.depth)
    tls = parts.certificates.contexts(optional=True, protocols=HTTP)
    return HttpServer(parts.door, tls, DiracHttps(parts.door, limits))


def _xmlrpc(parts: Parts) -> WireServer:
    limits = parts.limits
    wire = XmlRpc(
        parts.door,
        XmlRpcLimits(message=limits.message_bytes, depth=limits.depth, seconds=limits.call_seconds),
        parts.signatures,
    )
    tls = parts.certificates.contexts(optional=True, protocols=HTTP)
    return HttpServer(parts.door, tls, wire)


def _grpc(parts: Parts) -> WireServer:
    # grpcio and protobuf cost 50 ms and 16 MB, which only this wire needs.
    from legacy_rpc.servers.grpc_server import GrpcLimits, GrpcServer

    limits = parts.limits
    return GrpcServer(
        parts.door,
        GrpcLimits(limits.message_bytes, limits.proposal_bytes, limits.depth, limits.calls_per_caller),
        parts.certificates.contexts(optional=True, protocols=HTTP2),
        parts.signatures,
    )


SERVERS: Mapping[str, Callable[[Parts], WireServer]] = {
    "dips": _dips,
    "dip": _dip,
    "https": _https,
    "xmlrpc": _xmlrpc,
    "msgpack": _msgpack,
    "grpc": _grpc,
}


def make_door(
    config: Config,
    front_door: FrontDoor,
    verify_token: VerifyToken,
    overhead: OverheadHook,
    tls: ServerTls | None,
) -> Door:
    """What every wire is given."""
    return Door(
        admit=front_door.admit,
        handle=front_door.handle,
        gate=Gate(config.limits.of_connections()),
        verify_token=verify_token,
        overhead=overhead,
        largest_file=config.limits.message_bytes,
        chains=ChainCache(revoked=tls.revocations if tls else None),
    )


def make_tls(tls: Tls) -> ServerTls:
    """The host's TLS.  Raises ConfigError."""
    try:
        server_tls = ServerTls(tls.certificate, tls.key, tls.ca_path, tls.crls)
        server_tls.contexts()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"`tls`: {tls.certificate} and its key cannot be used: {error}") from error
    return server_tls


@asynccontextmanager
async def listening(config: Config, parts: Parts, sockets: Sockets) -> AsyncIterator[None]:
    """Serve every legacy wire on its sockets until the block ends.

    Then no wire takes another connection, and the calls that are running on any of them may still end.
    """
    assert config.legacy is not None
    servers: dict[str, WireServer] = {}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, parts.door, servers)
        for name in config.legacy.wires:
            server = SERVERS[name](parts)
            await server.start()
            servers[name] = server
        for name, server in servers.items():
            for _, bound in sockets.under(f"legacy.{name}."):
                stack.callback(bound.close)  # or the kernel would go on to accept, and callers to wait
                stack.push_async_callback(server.listen(bound).close)
        yield


async def _end(door: Door, servers: Mapping[str, WireServer]) -> None:
    """All wires at once: none of them may take another's time; then the calls whose clients have left."""
    loop = asyncio.get_running_loop()
    until = loop.time() + DRAIN_SECONDS
    await asyncio.gather(*(server.stop(DRAIN_SECONDS) for server in servers.values()))
    await door.drain(until - loop.time())
