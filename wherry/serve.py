"""Listens, follows the administrators' files, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from rest_backend.app import make_app
from rest_backend.errors import RestError
from rest_backend.operations import RestRequest, encode
from shared_db.administration import make_ready
from shared_db.connection import Databases
from shared_db.errors import DataError, Denied, Foreign
from shared_db.followed_file import FollowedFile
from wherry.build import NewSide, OldSide, make_new_side, make_old_side, rest_url, verifier
from wherry.config import Address, Config, ConfigError, Operations

if TYPE_CHECKING:
    from legacy_rpc.front_door import FinishedCall
    from wherry.calls import Metrics

logger = logging.getLogger(__name__)

# An edit of the plan or the registry takes effect within a second; this leaves room for slow reading.
FOLLOW_SECONDS = 0.2
BACKLOG = 1024
# In `legacy.https.services`.
EVERY_SERVICE = "*"
URL_SCHEMES = {
    "dips": "dips",
    "dip": "dip",
    "https": "https",
    "xmlrpc": "https",
    "msgpack": "msgpack",
    "grpc": "grpcs",
}

CallHook = Callable[["FinishedCall"], None]


@dataclass
class Addresses:
    """Where each listener is reached, once it is bound."""

    public_host: str = ""
    rest: str = ""
    operations: str = ""
    wires: dict[str, int] = field(default_factory=dict)
    """The port of each legacy wire."""
    dips_of: dict[str, int] = field(default_factory=dict)
    """The ports of services that have one of their own."""
    https_services: tuple[str, ...] = ()

    def bound(self, setting: str, port: int) -> None:
        """Note where a listener of the legacy side is; ``setting`` as ``legacy.dips.listen``."""
        _, wire, kind, *service = setting.split(".", 3)
        if kind == "listen":
            self.wires[wire] = port
        else:
            self.dips_of[service[0]] = port

    def service(self, name: str) -> str:
        """The URL that clients are told for a legacy service."""
        by_https = name in self.https_services or EVERY_SERVICE in self.https_services
        if "https" in self.wires and (by_https or "dips" not in self.wires):
            return f"https://{self.public_host}:{self.wires['https']}/{name}"
        return f"dips://{self.public_host}:{self.dips_of.get(name, self.wires.get('dips', 0))}/{name}"

    def wire(self, name: str) -> str:
        """The URL of a legacy wire."""
        return f"{URL_SCHEMES[name]}://{self.public_host}:{self.wires[name]}"


@dataclass(frozen=True, slots=True)
class Serving:
    """A program that is up."""

    addresses: Addresses
    new: NewSide
    old: OldSide | None


def bind(address: Address, what: str) -> socket.socket:
    """A listening socket.  Raises ConfigError, which names the setting."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise ConfigError(
            f"`{what}`: cannot listen on {address.host}:{address.port} ({os.strerror(error.errno or 0)}):"
            " choose another"
        ) from error


@asynccontextmanager
async def serving(config: Config, hook: CallHook = lambda _finished: None) -> AsyncIterator[Serving]:
    """Everything that the configuration names, listening until the block ends.

    ``hook`` is told of every legacy call.  Raises ConfigError before anything is answered.
    """
    addresses = Addresses()
    async with AsyncExitStack() as stack:
        rest_socket = None
        if config.rest is not None:
            rest_socket = stack.enter_context(bind(config.rest.listen, "rest.listen"))
            addresses.rest = rest_url(config, rest_socket.getsockname()[1])
        new = make_new_side(config, addresses.rest)
        stack.push_async_callback(new.databases.dispose)
        await _make_ready(new.databases)
        old: OldSide | None = None
        followed: list[FollowedFile[object]] = [new.registry]
        exposition: Callable[[], bytes] = bytes
        if config.legacy is not None:
            legacy, metrics = await stack.enter_async_context(_legacy(config, new, addresses, hook))
            old, exposition = legacy, metrics.text
            followed.append(legacy.plan)
        if config.operations is not None:
            await stack.enter_async_context(_operations(config.operations, new, exposition, addresses))
        if config.rest is not None and rest_socket is not None:
            app = make_app(new.runner, new.issuer, largest_body=config.limits.body_bytes)
            await stack.enter_async_context(_http(app, rest_socket, _rest_tls(config)))
        await stack.enter_async_context(_following(followed))
        yield Serving(addresses, new, old)


async def _make_ready(databases: Databases) -> None:
    """Say at once what every request would say; a database may come later, so the start goes on."""
    try:
        await make_ready(databases)
    except (Denied, Foreign) as error:
        raise ConfigError(f"`database`: {error}") from error
    except DataError as error:
        logger.error("%s: requests are answered with errors until it is there", error)


@asynccontextmanager
async def _legacy(
    config: Config, new: NewSide, addresses: Addresses, hook: CallHook
) -> AsyncIterator[tuple[OldSide, Metrics]]:
    """The DISET listeners, and metrics of what they do."""
    from wherry.calls import Metrics, log_call
    from wherry.listeners import Parts, listening, listening_settings, make_door, make_tls

    assert config.legacy is not None
    addresses.public_host = config.legacy.public_host
    addresses.https_services = config.legacy.https.services if config.legacy.https else ()
    old: OldSide | None = None

    def known(service: str, method: str) -> bool:
        return old is not None and old.services.method(service, method) is not None

    metrics = Metrics(known)

    def finished(call: FinishedCall) -> None:
        log_call(call)
        metrics.call_finished(call)
        hook(call)

    old = make_old_side(config, new, addresses.service, finished)
    _check_services(config, old)
    tls = make_tls(config.tls) if config.tls else None
    door = make_door(config, old.front_door, verifier(new.issuer), metrics.overhead)
    async with AsyncExitStack() as stack:
        sockets = {}
        for setting, (host, port) in listening_settings(config).items():
            sockets[setting] = stack.enter_context(bind(Address(host=host, port=port), setting))
            addresses.bound(setting, sockets[setting].getsockname()[1])
        await stack.enter_async_context(listening(config, Parts(door, tls, config.limits), sockets))
        yield old, metrics


def _check_services(config: Config, old: OldSide) -> None:
    """Raise ConfigError for a service that is named and is not here."""
    assert config.legacy is not None
    named = {
        "legacy.dips.ports": tuple(config.legacy.dips.ports) if config.legacy.dips else (),
        "legacy.https.services": config.legacy.https.services if config.legacy.https else (),
    }
    for setting, names in named.items():
        for name in names:
            if name != EVERY_SERVICE and old.services.service(name) is None:
                raise ConfigError(f"`{setting}`: no service {name} here")


def _rest_tls(config: Config) -> ssl.SSLContext | None:
    if config.rest is None or not config.rest.tls:
        return None
    assert config.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(config.tls.certificate), str(config.tls.key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"`tls`: {config.tls.certificate} and its key cannot be used: {error}") from error
    return context


@asynccontextmanager
async def _http(
    app: web.Application, listening: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.SockSite(runner, listening, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _operations(
    config: Operations, new: NewSide, exposition: Callable[[], bytes], addresses: Addresses
) -> AsyncIterator[None]:
    """Metrics and health, for the administrators' network."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(request: web.Request) -> web.Response:
        try:
            operation = new.runner.find("GET", f"/api{request.path}")
            answer = await new.runner.run(operation, RestRequest("GET", request.path), None)
        except RestError as error:
            return web.Response(body=encode({"detail": error.detail}), status=error.status)
        return web.Response(body=encode(answer.body), content_type="application/json")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    for probe in ("live", "ready", "startup"):
        app.router.add_get(f"/health/{probe}", health)
    with bind(config.listen, "operations.listen") as listening:
        addresses.operations = f"http://{config.listen.host}:{listening.getsockname()[1]}"
        async with _http(app, listening):
            yield


@asynccontextmanager
async def _following(files: list[FollowedFile[object]]) -> AsyncIterator[None]:
    """Read the followed files again when they change."""
    task = asyncio.create_task(_follow(files))
    try:
        yield
    finally:
        task.cancel()


async def _follow(files: list[FollowedFile[object]]) -> None:
    told: dict[FollowedFile[object], str | None] = {}
    for file in files:
        _warn(file)
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        for file in files:
            if file.refresh():
                logger.info("%s %s took effect", file.kind, file.path)
                _warn(file)
            if file.error is not None and told.get(file) != file.error:
                logger.error("%s (the one before stays in force)", file.error)
            told[file] = file.error


def _warn(file: FollowedFile[object]) -> None:
    for warning in file.warnings:
        logger.warning("%s %s: %s", file.kind, file.path, warning)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def serve_until_stopped(config: Config) -> None:
    """Serve until a signal comes.  Raises ConfigError."""
    with stop_signals() as stopped:
        async with serving(config) as up:
            logger.info(
                "ready",
                extra={
                    "fields": {
                        **up.addresses.wires,
                        "rest": up.addresses.rest,
                        "operations": up.addresses.operations,
                    }
                },
            )
            # What was made up to here stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
            await stopped.wait()
            logger.info("stopping")
