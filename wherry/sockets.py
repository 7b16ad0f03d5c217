"""The listening sockets, by the settings that name them; bound here, or inherited from a parent process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping

from wherry.config import Address, Config, ConfigError, Dips

BACKLOG = 1024


def addresses_of(config: Config) -> Iterator[tuple[str, Address]]:
    """Every setting that names a listener, with where it listens."""
    if config.rest is not None and config.rest.listen is not None:
        yield "rest.listen", config.rest.listen
    if config.operations is not None:
        yield "operations.listen", config.operations.listen
    for name, wire in config.legacy.wires.items() if config.legacy else ():
        yield f"legacy.{name}.listen", wire.listen
        if isinstance(wire, Dips):
            for service, port in wire.ports.items():
                yield f"legacy.{name}.ports.{service}", Address(host=wire.listen.host, port=port)


class Sockets:
    """Listening sockets by setting.  A context: at its end all are closed."""

    def __init__(self, sockets: Mapping[str, socket.socket]) -> None:
        self._sockets = dict(sockets)

    @classmethod
    def bound(cls, config: Config) -> Sockets:
        """Bind all that the configuration names.  Raises ConfigError, which names the setting."""
        sockets: dict[str, socket.socket] = {}
        try:
            for setting, address in addresses_of(config):
                sockets[setting] = bind(address, setting)
        except ConfigError:
            cls(sockets).close()
            raise
        return cls(sockets)

    @classmethod
    def inherited(cls, descriptors: Mapping[str, int]) -> Sockets:
        """Those that a parent has bound and left open under these descriptors."""
        return cls({setting: socket.socket(fileno=number) for setting, number in descriptors.items()})

    @property
    def descriptors(self) -> dict[str, int]:
        """The file descriptors by setting."""
        return {setting: each.fileno() for setting, each in self._sockets.items()}

    def __getitem__(self, setting: str) -> socket.socket:
        return self._sockets[setting]

    def under(self, prefix: str) -> Iterator[tuple[str, socket.socket]]:
        """The settings that begin with a prefix, and their sockets."""
        return ((name, each) for name, each in self._sockets.items() if name.startswith(prefix))

    def port(self, setting: str) -> int:
        """The port that was bound, where the configuration may leave it open."""
        port = self._sockets[setting].getsockname()[1]
        assert isinstance(port, int)
        return port

    def close(self) -> None:
        """Close all."""
        for each in self._sockets.values():
            each.close()

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def bind(address: Address, setting: str) -> socket.socket:
    """A listening socket.  Raises ConfigError, which names the setting."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConfigError(
            f"`{setting}`: cannot listen on {address.host}:{address.port} ({reason}): choose another"
        ) from error
