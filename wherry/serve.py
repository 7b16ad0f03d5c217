"""Listens, follows the administrators' files, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry

from rest_backend.app import make_app
from rest_backend.errors import RestError
from rest_backend.http.listener import ConnectionLimits, listening_at
from rest_backend.messages import Answer, RestRequest, encode
from rest_backend.tasks.runner import TaskRunner
from shared_db.administration import make_ready
from shared_db.connection import Databases
from shared_db.errors import DataError, Denied, Foreign
from shared_db.followed_file import FollowedFile
from wherry.build import NewSide, OldSide, make_new_side, make_old_side, rest_url, verifier
from wherry.config import Config, ConfigError
from wherry.metrics import RequestMetrics, TaskMetrics, exposition
from wherry.rest_tls import RestTls
from wherry.sockets import Sockets

if TYPE_CHECKING:
    from legacy_rpc.client.tls import HostTls
    from legacy_rpc.front_door import FinishedCall
    from legacy_rpc.servers.tls import ServerTls

logger = logging.getLogger(__name__)

T = TypeVar("T")

# An edit of the plan or the registry takes effect within a second; this leaves room for slow reading.
FOLLOW_SECONDS = 0.2
# Directories of authorities hold a thousand files, often on a network file system.
FOLLOW_TLS_SECONDS = 0.5
# How long calls and requests that are running may take to end after a signal.
DRAIN_SECONDS = 10.0
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


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each listener is reached, once it is bound."""

    public_host: str
    rest: str
    operations: str
    wires: dict[str, int]
    """The port of each legacy wire."""
    dips_of: dict[str, int]
    """The ports of services that have one of their own."""
    https_services: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, sockets: Sockets) -> Addresses:
        """Where the listeners of a configuration are reached."""
        legacy = config.legacy
        operations = config.operations
        return cls(
            public_host=legacy.public_host if legacy else "",
            rest=rest_url(config, sockets.port("rest.listen") if config.rest and config.rest.listen else 0),
            operations=f"http://{operations.listen.host_in_url}:{sockets.port('operations.listen')}"
            if operations
            else "",
            wires={name: sockets.port(f"legacy.{name}.listen") for name in legacy.wires} if legacy else {},
            dips_of=dict(legacy.dips.ports) if legacy and legacy.dips else {},
            https_services=legacy.https.services if legacy and legacy.https else (),
        )

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


@asynccontextmanager
async def serving(
    config: Config, hook: CallHook = lambda _finished: None, sockets: Sockets | None = None
) -> AsyncIterator[Serving]:
    """Everything that the configuration names, listening until the block ends.

    ``hook`` is told of every legacy call.  ``sockets`` are bound here unless they are given.  Raises
    ConfigError before anything is answered.
    """
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(sockets or Sockets.bound(config))
        addresses = Addresses.of(config, sockets)
        new = make_new_side(config, addresses.rest)
        stack.push_async_callback(new.close)
        _warn_of_unknown_vos(config, new)
        await _make_ready(new.databases)
        await stack.enter_async_context(new.runner.resources.revocations.followed(new.databases))
        doors = await stack.enter_async_context(_EndedTogether())
        old: OldSide | None = None
        followed: list[FollowedFile[object]] = [new.registry, new.keys]
        counted = CollectorRegistry()
        limits = config.limits.of_http_connections()
        rest_tls = RestTls(config.tls) if config.rest and config.rest.tls and config.tls else None
        if config.legacy is not None:
            old = await doors.enter(_legacy(config, new, addresses, sockets, hook, counted))
            followed.append(old.plan)
        if config.rest is not None and config.rest.listen is not None:
            routes = new.runner.resources.sandbox_store.routes
            app = make_app(new.runner, RequestMetrics(counted), routes)
            await doors.enter(serving_http(app, sockets["rest.listen"], rest_tls, limits))
        if config.operations is not None:
            app = _operations_app(new, counted)
            await doors.enter(serving_http(app, sockets["operations.listen"], limits=limits))
        await stack.enter_async_context(_following(followed, rest_tls))
        await doors.enter(TaskRunner(new.runner.resources, TaskMetrics(counted)).running())
        yield Serving(addresses, new, old)


class _EndedTogether:
    """Contexts that are left at the same time: calls that are running at one door keep no other open."""

    def __init__(self) -> None:
        self._stacks: list[AsyncExitStack] = []

    async def __aenter__(self) -> _EndedTogether:
        return self

    async def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter one more, now."""
        stack = AsyncExitStack()
        entered = await stack.enter_async_context(context)
        self._stacks.append(stack)
        return entered

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.gather(*(stack.aclose() for stack in self._stacks))


async def prepare(config: Config, sockets: Sockets) -> None:
    """What is done once for all workers: key files are made, our own tables brought up to date.

    Raises ConfigError for whatever would keep a worker from starting.
    """
    addresses = Addresses.of(config, sockets)
    new = make_new_side(config, addresses.rest)
    try:
        await _make_ready(new.databases)
        if config.legacy is not None:
            make_old_side(config, new, addresses.service, lambda _finished: None)
    finally:
        await new.close()


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
    config: Config,
    new: NewSide,
    addresses: Addresses,
    sockets: Sockets,
    hook: CallHook,
    counted: CollectorRegistry,
) -> AsyncIterator[OldSide]:
    """The DISET listeners, and metrics of what they do."""
    from wherry.calls import Metrics, log_call
    from wherry.listeners import Parts, listening, make_door, make_tls
    from wherry.signatures import signatures

    assert config.legacy is not None
    old: OldSide | None = None

    def known(service: str, method: str) -> bool:
        return old is not None and old.services.method(service, method) is not None

    metrics = Metrics(known, counted)

    def finished(call: FinishedCall) -> None:
        log_call(call)
        metrics.call_finished(call)
        hook(call)

    tls = make_tls(config.tls) if config.tls else None
    old = make_old_side(config, new, addresses.service, finished, tls.revocations if tls else None)
    _check_services(config, old)
    verify = verifier(new.runner.resources.gatekeeper, new.issuer.issuer)
    door = make_door(config, old.front_door, verify, metrics.overhead, tls)
    parts = Parts(door, tls, config.limits, signatures(old.services))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(old.close)
        await stack.enter_async_context(listening(config, parts, sockets))
        await stack.enter_async_context(_following_tls(tls, old.host_tls))
        yield old


def _check_services(config: Config, old: OldSide) -> None:
    """Raise ConfigError for a service that is named and is not here."""
    assert config.legacy is not None
    named = {
        "legacy.dips.ports": tuple(config.legacy.dips.ports) if config.legacy.dips else (),
        "legacy.https.services": config.legacy.https.services if config.legacy.https else (),
    }
    for setting, names in named.items():
        for name in names:
            known = old.services.service(name) is not None or old.upstreams.has(name)
            if name != EVERY_SERVICE and not known:
                raise ConfigError(f"`{setting}`: no service {name} here")


@asynccontextmanager
async def serving_http(
    app: web.Application,
    listening: socket.socket,
    tls: RestTls | None = None,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[None]:
    """An application, answering at a socket until the block ends."""
    context = tls.context if tls else None
    limits = limits or ConnectionLimits()
    async with listening_at(app, listening, limits, context, drain_seconds=DRAIN_SECONDS):
        yield


def _operations_app(new: NewSide, counted: CollectorRegistry) -> web.Application:
    """Metrics and health, for the administrators' network."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=exposition(counted), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(request: web.Request) -> web.Response:
        path = f"/api{request.path}"
        try:
            answer = await new.runner.run(new.runner.find("GET", path), RestRequest("GET", path), None)
        except RestError as error:
            answer = Answer({"detail": error.detail}, error.status, error.headers)
        return web.Response(
            body=encode(answer.body),
            status=answer.status,
            headers=answer.headers,
            content_type="application/json",
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    for probe in ("live", "ready", "startup"):
        app.router.add_get(f"/health/{probe}", health)
    return app


@asynccontextmanager
async def _following(files: list[FollowedFile[object]], rest_tls: RestTls | None) -> AsyncIterator[None]:
    """Read the followed files again when they change."""
    task = asyncio.create_task(_follow(files, rest_tls))
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def _following_tls(*followed: ServerTls | HostTls | None) -> AsyncIterator[None]:
    """Take up renewed certificates and new CRLs; a thread reads them, for a CRL may be long."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(FOLLOW_TLS_SECONDS)
            for tls in followed:
                if tls is not None:
                    await asyncio.to_thread(tls.refresh)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()


async def _follow(files: list[FollowedFile[object]], rest_tls: RestTls | None) -> None:
    told: dict[FollowedFile[object], str | None] = {}
    for file in files:
        _warn(file)
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        if rest_tls is not None:
            rest_tls.refresh()
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


def _warn_of_unknown_vos(config: Config, new: NewSide) -> None:
    """Nobody can log in at the provider of a VO that the registry does not have; it may come later."""
    vos = new.registry.current.vos
    for vo in sorted(set(config.auth.providers) - set(vos)):
        known = ", ".join(sorted(vos)) or "none"
        logger.warning("`auth.providers.%s`: the registry has no such VO (it has: %s)", vo, known)


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


def settle_memory() -> None:
    """Have the garbage collector leave alone what was made up to here, and look less often.

    A reply of thousands of rows makes as many objects, none of them garbage; with Python's own threshold a
    third of the time of such calls went into looking (benchmarks/methods.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def serve_until_stopped(
    config: Config,
    sockets: Sockets | None = None,
    also_stop: Callable[[asyncio.Event], None] = lambda _stopped: None,
) -> None:
    """Serve until a signal comes, or ``also_stop`` sets the event it is given.  Raises ConfigError."""
    with stop_signals() as stopped:
        also_stop(stopped)
        async with serving(config, sockets=sockets) as up:
            addresses = up.addresses
            where = {**addresses.wires, "rest": addresses.rest, "operations": addresses.operations}
            logger.info("ready", extra={"fields": where})
            settle_memory()
            await stopped.wait()
            logger.info("stopping")
