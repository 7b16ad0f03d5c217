"""The legacy wires: each has an entry here that builds its server; everything else they have in common."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from legacy_rpc.front_door import FrontDoor
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.door import Door, OverheadHook, VerifyToken
from legacy_rpc.servers.listener import Gate, WireServer
from legacy_rpc.servers.tls import ServerTls
from wherry.config import Config, ConfigError, Limits, Tls
from wherry.sockets import Sockets

# How long running calls may take to end after a signal.
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a wire's server is built of."""

    door: Door
    tls: ServerTls | None
    limits: Limits

    @property
    def certificates(self) -> ServerTls:
        """TLS, on the wires that have it; the configuration was checked for it."""
        assert self.tls is not None
        return self.tls


def _dips(parts: Parts) -> WireServer:
    return DisetServer(parts.door, parts.limits.of_messages(), parts.certificates.contexts())


def _dip(parts: Parts) -> WireServer:
    return DisetServer(parts.door, parts.limits.of_messages(), None)


SERVERS: Mapping[str, Callable[[Parts], WireServer]] = {
    "dips": _dips,
    "dip": _dip,
}


def make_door(
    config: Config, front_door: FrontDoor, verify_token: VerifyToken, overhead: OverheadHook
) -> Door:
    """What every wire is given."""
    return Door(
        admit=front_door.admit,
        handle=front_door.handle,
        gate=Gate(config.limits.of_connections()),
        verify_token=verify_token,
        overhead=overhead,
    )


def make_tls(tls: Tls) -> ServerTls:
    """The host's TLS.  Raises ConfigError."""
    server_tls = ServerTls(tls.certificate, tls.key, tls.ca_path)
    try:
        server_tls.contexts()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"`tls`: {tls.certificate} and its key cannot be used: {error}") from error
    return server_tls


@asynccontextmanager
async def listening(config: Config, parts: Parts, sockets: Sockets) -> AsyncIterator[None]:
    """Serve every legacy wire on its sockets until the block ends; calls may then still end."""
    assert config.legacy is not None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.door.drain, DRAIN_SECONDS)
        for name in config.legacy.wires:
            server = SERVERS[name](parts)
            await server.start()
            stack.push_async_callback(partial(server.stop, DRAIN_SECONDS))
            for _, bound in sockets.under(f"legacy.{name}."):
                stack.push_async_callback(server.listen(bound).close)
        yield
