"""The command line.

Exit codes: 0 done; 1 it was done and the answer is no (S_ERROR, a difference, a broken plan); 2 the command,
the configuration or a file is wrong.  Errors go to stderr in one line that names the mend.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import difflib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from shared_db.followed_file import FileError
from wherry.config import ConfigError, load_config

if TYPE_CHECKING:
    from migration_plans.plan import Plan
    from shared_db.connection import Databases
    from wherry.config import Config

T = TypeVar("T")

FAILED = 1
WRONG = 2
# In glibc's malloc.h.
M_MMAP_THRESHOLD = -3


class _OneLine(click.ClickException):
    """An error as one line on stderr."""

    def __init__(self, message: str, code: int = WRONG) -> None:
        super().__init__(" ".join(message.split("\n")))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"wherry: {self.message}", file=file or sys.stderr)


def _keep_large_buffers_apart() -> None:
    """Have glibc map each large buffer by itself, always, and not only until the first is given back.

    uvloop has one of 256 KiB for every TLS connection and touches a few pages of it; in the heap it would
    share them with what was there before.  It is 10 % of what an idle connection costs (benchmarks/idle.py).
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 128 * 1024)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on uvloop where there is one."""
    _keep_large_buffers_apart()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


_config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="WHERRY_CONFIG",
    default=Path("wherry.yaml"),
    show_default=True,
    help="The configuration file (or WHERRY_CONFIG).",
)


def _config(path: Path) -> Config:
    try:
        return load_config(path)
    except ConfigError as error:
        raise _OneLine(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wherry")
def cli() -> None:
    """Carry legacy DIRAC calls across to REST, one method at a time."""


@cli.command()
@_config_option
def serve(config_path: Path) -> None:
    """Serve what the configuration names, until Ctrl-C or SIGTERM."""
    from wherry.logs import logging_to

    config = _config(config_path)
    with logging_to(sys.stderr):
        try:
            run(_server(config, config_path))
        except ConfigError as error:
            raise _OneLine(f"{config_path}: {error}") from error


def _server(config: Config, config_path: Path) -> Coroutine[Any, Any, None]:
    """The program: this process alone, a parent of workers, or one of the workers."""
    from wherry.serve import serve_until_stopped
    from wherry.sockets import Sockets
    from wherry.workers import Inheritance, follow_parent, supervise

    inherited = Inheritance.of_this_process()
    if inherited is not None:
        sockets = Sockets.inherited(inherited.sockets)
        return serve_until_stopped(config, sockets, partial(follow_parent, inherited.parent))
    return supervise(config, config_path) if config.workers > 1 else serve_until_stopped(config)


@cli.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/demo"),
    show_default=True,
    help="Where the grid's files are kept.",
)
@click.option("--port", type=click.IntRange(0, 65500), default=0, help="First port; 0: any free ones.")
@click.option("--once", is_flag=True, help="Exit after the crossing; 1 if anything differed.")
def demo(directory: Path, port: int, once: bool) -> None:
    """Make a grid on this machine, carry one method across, and go on serving."""
    from legacy_rpc.client.diset import CallError
    from wherry.demo.grid import run_demo

    try:
        equal = run(run_demo(directory.absolute(), port, once=once, say=click.echo))
    except (CallError, ConfigError, OSError) as error:
        raise _OneLine(str(error)) from error
    if not equal:
        sys.exit(FAILED)


@cli.group()
def plan() -> None:
    """Look at the migration plan."""


@plan.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@_config_option
def check(file: Path | None, config_path: Path) -> None:
    """Check FILE, or the plan that the configuration names; 1 if it is broken.

    Without a configuration nothing is said of upstreams that it does not name. Where `rest.target` is another
    backend it is asked which routes it has; 1 if a live method needs others.
    """
    from migration_plans.plan_file import PlanFile
    from wherry.build import legacy_catalogue

    source = click.get_current_context().get_parameter_source("config_path")
    asked = file is None or source is not ParameterSource.DEFAULT
    config = _config(config_path) if asked else None
    path = file or _plan_path(config or _config(config_path))
    plan_file = PlanFile(path, legacy_catalogue(config))
    try:
        plan_file.load()
    except FileError as error:
        raise _OneLine(str(error), FAILED) from error
    live = sum(entry.state == "live" for entry in plan_file.current.entries.values())
    click.echo(f"{path}: good; generation {plan_file.current.generation}, {live} live")
    if config is not None:
        _check_target(config, plan_file.current)


def _check_target(config: Config, current: Plan) -> None:
    """Say which live methods `rest.target` cannot carry, if it is another backend than our own."""
    from wherry.rest_target import TargetAway, not_carried, target_of

    target = target_of(config)
    if target is None:
        return
    try:
        lines = run(not_carried(target, current))
    except TargetAway as error:
        raise _OneLine(str(error)) from error
    for line in lines:
        click.echo(line)
    if lines:
        sys.exit(FAILED)


def _plan_path(config: Config) -> Path:
    if config.plan is None:
        raise _OneLine("the configuration has no plan: add `plan: plan.yaml`, or name a file")
    return config.plan


@plan.command()
@_config_option
def show(config_path: Path) -> None:
    """Show the state of every method, and where it comes from."""
    from wherry.build import legacy_catalogue, load_plan

    try:
        current = load_plan(_config(config_path)).current
    except ConfigError as error:
        raise _OneLine(str(error)) from error
    catalogue = legacy_catalogue()
    for service, methods in catalogue.services.items():
        click.echo(service)
        for method in methods:
            entry = current.entry(service, method)
            where = f"line {entry.line}" if entry.line else "default"
            adaptor = "" if (service, method) in catalogue.adapted else "  no adaptor"
            because = f"  ({entry.because})" if entry.because else ""
            old = "" if current.old(service, method) == "native" else "  upstream"
            click.echo(f"  {method:28} {entry.state:8} {where}{old}{adaptor}{because}")


@cli.group()
def db() -> None:
    """Look after the databases."""


@db.command()
@_config_option
def init(config_path: Path) -> None:
    """Make the tables in empty databases, in a new file if need be.

    Where DIRAC's tables are already they are left as they are; our own are made beside them.
    """
    from shared_db.administration import initialise

    for line in _with_databases(config_path, initialise, create=True):
        click.echo(line)


@db.command()
@click.option("--missing-tables", is_flag=True, help="Make those of DIRAC's tables that are missing, too.")
@_config_option
def upgrade(config_path: Path, missing_tables: bool) -> None:
    """Bring our own tables to this version; DIRAC's are never altered.

    May be run again, and from several hosts at once.
    """
    from shared_db.administration import upgrade as upgrade_databases

    for line in _with_databases(
        config_path, lambda databases: upgrade_databases(databases, missing_tables=missing_tables)
    ):
        click.echo(line)


@db.command("check")
@_config_option
def check_databases(config_path: Path) -> None:
    """Compare the databases with what is expected of them; 1 if a difference matters (marked with !)."""
    from shared_db.administration import as_text, check

    findings = _with_databases(config_path, check)
    for line in as_text(findings):
        click.echo(line)
    matter = sum(finding.matters for finding in findings)
    click.echo(f"{len(findings)} differences, {matter} that matter")
    if matter:
        sys.exit(FAILED)


def _with_databases(
    config_path: Path, function: Callable[[Databases], Awaitable[T]], *, create: bool = False
) -> T:
    """What a function says of the configured databases."""
    from shared_db.connection import open_databases
    from shared_db.errors import DataError

    config = _config(config_path)

    async def asked() -> T:
        databases = open_databases(config.database, create=create, limits=config.limits.of_databases())
        try:
            return await function(databases)
        finally:
            await databases.dispose()

    try:
        answer: T = run(asked())
    except (ValueError, DataError) as error:
        raise _OneLine(f"{config_path}: `database`: {error}") from error
    return answer


@cli.command()
@click.argument("method")
@click.option("--vo", help="A VO; its default group unless --group is given.")
@click.option("--group", help="The caller's group.")
@click.option("--dn", help="The caller's DN.")
@_config_option
def explain(method: str, vo: str | None, group: str | None, dn: str | None, config_path: Path) -> None:
    """Say where a call of METHOD would go, and why; nothing is sent.

    METHOD is getPilotInfo, PilotManager.getPilotInfo or WorkloadManagement/PilotManager.getPilotInfo.
    """
    from wherry.explain import Unexplained, explained

    try:
        for line in explained(_config(config_path), method, vo=vo, group=group, dn=dn):
            click.echo(line)
    except (ConfigError, Unexplained) as error:
        raise _OneLine(str(error)) from error


@cli.command()
@click.argument("service")
@click.argument("method")
@click.argument("arguments", nargs=-1)
@click.option("--url", required=True, help="dips:// or https://HOST:PORT, or the service's whole URL.")
@click.option(
    "--proxy",
    type=click.Path(path_type=Path),
    envvar="X509_USER_PROXY",
    default=lambda: Path(f"/tmp/x509up_u{os.getuid()}"),  # noqa: S108 - the grid's own convention
    help="A proxy file (or X509_USER_PROXY).",
)
@click.option(
    "--token",
    envvar="WHERRY_TOKEN",
    help="A bearer token (or WHERRY_TOKEN) in place of the proxy; for https only.",
)
@click.option(
    "--ca-path",
    type=click.Path(path_type=Path),
    envvar="X509_CERT_DIR",
    default=Path("/etc/grid-security/certificates"),
    help="A directory of CA certificates (or X509_CERT_DIR).",
)
@click.option("--timeout", "seconds", type=float, default=600.0, show_default=True, help="Seconds.")
@click.option(
    "--encoding",
    type=click.Choice(["json", "dencode"]),
    default="json",
    show_default=True,
    help="How values are written: json as 9.x clients do, dencode as 7.3 and 8.0 do.",
)
def call(
    service: str,
    method: str,
    arguments: tuple[str, ...],
    url: str,
    proxy: Path,
    token: str | None,
    ca_path: Path,
    seconds: float,
    encoding: str,
) -> None:
    """Make a legacy call: SERVICE METHOD [JSON...].

    Prints the answer as JSON; exits with 1 on S_ERROR, with 2 when there was no answer.  An argument that
    does not look like JSON is taken as text.
    """
    from legacy_rpc.client.diset import CallError

    url = url if _names_service(url) else f"{url.rstrip('/')}/{service}"
    by_https = url.startswith("https:")
    if token and not by_https:
        raise _OneLine("a token (--token, WHERRY_TOKEN) is for https:// only: DISET has no place for it")
    values = [_argument(text) for text in arguments]
    try:
        if by_https:
            answer = run(_call_by_https(url, method, values, proxy, token, ca_path, seconds))
        else:
            answer = run(_call_by_diset(url, method, values, proxy, ca_path, seconds, encoding))
    except CallError as error:
        raise _OneLine(str(error)) from error
    click.echo(json.dumps(answer, indent=2, default=_printable, ensure_ascii=False))
    if not answer.get("OK"):
        sys.exit(FAILED)


async def _call_by_diset(
    url: str, method: str, arguments: list[Any], proxy: Path, ca_path: Path, seconds: float, encoding: str
) -> dict[str, Any]:
    from legacy_rpc.client.diset import Endpoint, call, client_tls
    from legacy_rpc.codecs.encodings import DENCODE, JENCODE

    return await call(
        Endpoint.parse(url),
        method,
        arguments,
        client_tls(proxy, ca_path),
        encoding=JENCODE if encoding == "json" else DENCODE,
        seconds=seconds,
    )


async def _call_by_https(
    url: str,
    method: str,
    arguments: list[Any],
    proxy: Path,
    token: str | None,
    ca_path: Path,
    seconds: float,
) -> dict[str, Any]:
    from legacy_rpc.client.diset import client_tls
    from legacy_rpc.client.https import HttpsClient

    async with HttpsClient() as client:
        tls = client_tls(None if token else proxy, ca_path)
        return await client.call(url, method, arguments, tls, token=token or "", seconds=seconds)


def _names_service(url: str) -> bool:
    return "/" in url.partition("://")[2].rstrip("/")


def _argument(text: str) -> Any:
    """An argument: JSON, or a text that does not look like it."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text[:1] in '[{"' and text:
            raise _OneLine(
                f"argument {text!r} is no JSON ({error}): mend it, or quote it as a text"
            ) from error
        return text


def _printable(value: Any) -> str:
    if isinstance(value, datetime | date):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


@cli.group()
def keys() -> None:
    """The keys that sign tokens."""


@keys.command("rotate")
@click.option("--forget", is_flag=True, help="Of the old keys keep only the one that signed until now.")
@_config_option
def keys_rotate(forget: bool, config_path: Path) -> None:
    """Have a new key sign tokens from now on; the old ones go on verifying."""
    from rest_backend.keys import KeyFileError
    from wherry.build import load_keys

    config = _config(config_path)
    try:
        file = load_keys(config)
        new = file.rotate(forget=forget)
    except (ConfigError, KeyFileError) as error:
        raise _OneLine(str(error)) from error
    for key in file.content.all:
        task = "signs" if key.key_id == new.key_id else "verifies"
        click.echo(f"{key.key_id} {key.algorithm} {task}")


@cli.command()
@click.argument("user")
@click.option("--group", help="The user's group; his default group unless given.")
@_config_option
def token(user: str, group: str | None, config_path: Path) -> None:
    """Print an access token for USER of the registry, signed with the configured key."""
    from wherry.explain import Unexplained, token_for

    try:
        click.echo(token_for(_config(config_path), user, group))
    except (ConfigError, Unexplained) as error:
        raise _OneLine(str(error)) from error


@cli.command()
@click.argument("services", nargs=-1)
@click.option("--markdown", is_flag=True, help="Print the entries of the reference instead.")
def methods(services: tuple[str, ...], markdown: bool) -> None:
    """List the legacy methods of SERVICES (all, if none is named): releases, write class, routes, tests."""
    from legacy_rpc.services.catalogue import all_services
    from wherry.methods import COLUMNS, method_lines, reference

    known = [service.name for service in all_services().services]
    for name in services:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise _OneLine(f"unknown service '{name}': {mend}")
    if markdown:
        click.echo(reference(services), nl=False)
        return
    lines = [COLUMNS, *method_lines(services)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def proto(directory: Path) -> None:
    """Write the gRPC wire's .proto files into DIRECTORY, for protoc to read."""
    from legacy_rpc.codecs.grpc_schema import Schema
    from legacy_rpc.codecs.grpc_text import proto_text
    from legacy_rpc.services.catalogue import all_services
    from wherry.signatures import signatures

    for file in Schema(signatures(all_services())).files:
        path = directory / file.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(proto_text(file), encoding="utf-8")
        except OSError as error:
            raise _OneLine(f"{path}: cannot be written ({error}): name another directory") from error
        click.echo(path)


def main() -> None:
    """The entry point."""
    cli(prog_name="wherry")
