"""The command line.

Exit codes: 0 done; 1 it was done and the answer is no (S_ERROR, a difference, a broken plan); 2 the command,
the configuration or a file is wrong.  Errors go to stderr in one line that names the mend.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli_calls import call
from wherry.cli_common import FAILED, OneLine, config_option, configuration, run
from wherry.cli_databases import db
from wherry.cli_plan import plan
from wherry.config import ConfigError

if TYPE_CHECKING:
    from wherry.config import Config


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wherry")
def cli() -> None:
    """Carry legacy DIRAC calls across to REST, one method at a time."""


for _command in (plan, db, call):
    cli.add_command(_command)


@cli.command()
@config_option
def serve(config_path: Path) -> None:
    """Serve what the configuration names, until Ctrl-C or SIGTERM."""
    from wherry.logs import logging_to

    config = configuration(config_path)
    with logging_to(sys.stderr):
        try:
            run(_server(config, config_path))
        except ConfigError as error:
            raise OneLine(f"{config_path}: {error}") from error


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
        raise OneLine(str(error)) from error
    if not equal:
        sys.exit(FAILED)


@cli.command()
@click.argument("method")
@click.option("--vo", help="A VO; its default group unless --group is given.")
@click.option("--group", help="The caller's group.")
@click.option("--dn", help="The caller's DN.")
@config_option
def explain(method: str, vo: str | None, group: str | None, dn: str | None, config_path: Path) -> None:
    """Say where a call of METHOD would go, and why; nothing is sent.

    METHOD is getPilotInfo, PilotManager.getPilotInfo or WorkloadManagement/PilotManager.getPilotInfo.
    """
    from wherry.explain import Unexplained, explained

    try:
        for line in explained(configuration(config_path), method, vo=vo, group=group, dn=dn):
            click.echo(line)
    except (ConfigError, Unexplained) as error:
        raise OneLine(str(error)) from error


@cli.group()
def keys() -> None:
    """The keys that sign tokens."""


@keys.command("rotate")
@click.option("--forget", is_flag=True, help="Of the old keys keep only the one that signed until now.")
@config_option
def keys_rotate(forget: bool, config_path: Path) -> None:
    """Have a new key sign tokens from now on; the old ones go on verifying."""
    from rest_backend.keys import KeyFileError
    from wherry.build import load_keys

    config = configuration(config_path)
    try:
        file = load_keys(config)
        new = file.rotate(forget=forget)
    except (ConfigError, KeyFileError) as error:
        raise OneLine(str(error)) from error
    for key in file.content.all:
        task = "signs" if key.key_id == new.key_id else "verifies"
        click.echo(f"{key.key_id} {key.algorithm} {task}")


@cli.command()
@click.argument("user")
@click.option("--group", help="The user's group; his default group unless given.")
@config_option
def token(user: str, group: str | None, config_path: Path) -> None:
    """Print an access token for USER of the registry, signed with the configured key."""
    from wherry.explain import Unexplained, token_for

    try:
        click.echo(token_for(configuration(config_path), user, group))
    except (ConfigError, Unexplained) as error:
        raise OneLine(str(error)) from error


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
            raise OneLine(f"unknown service '{name}': {mend}")
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
            raise OneLine(f"{path}: cannot be written ({error}): name another directory") from error
        click.echo(path)


def main() -> None:
    """The entry point."""
    cli(prog_name="wherry")
