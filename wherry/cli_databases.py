"""``wherry db``."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from wherry.cli_common import FAILED, OneLine, config_option, configuration, run

if TYPE_CHECKING:
    from shared_db.connection import Databases

T = TypeVar("T")


@click.group()
def db() -> None:
    """Look after the databases."""


@db.command()
@config_option
def init(config_path: Path) -> None:
    """Make the tables in empty databases, in a new file if need be.

    Where DIRAC's tables are already they are left as they are; our own are made beside them.
    """
    from shared_db.administration import initialise

    for line in _with_databases(config_path, initialise, create=True):
        click.echo(line)


@db.command()
@click.option("--missing-tables", is_flag=True, help="Make those of DIRAC's tables that are missing, too.")
@config_option
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
@config_option
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

    config = configuration(config_path)

    async def asked() -> T:
        databases = open_databases(config.database, create=create, limits=config.limits.of_databases())
        try:
            return await function(databases)
        finally:
            await databases.dispose()

    try:
        answer: T = run(asked())
    except (ValueError, DataError) as error:
        raise OneLine(f"{config_path}: `database`: {error}") from error
    return answer
