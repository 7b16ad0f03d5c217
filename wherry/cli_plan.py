"""``wherry plan``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from shared_db.followed_file import FileError
from wherry.cli_common import FAILED, OneLine, config_option, configuration, run
from wherry.config import ConfigError

if TYPE_CHECKING:
    from migration_plans.plan import Plan
    from wherry.config import Config


@click.group()
def plan() -> None:
    """Look at the migration plan."""


@plan.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
def check(file: Path | None, config_path: Path) -> None:
    """Check FILE, or the plan that the configuration names; 1 if it is broken.

    Without a configuration nothing is said of upstreams that it does not name. Where `rest.target` is another
    backend it is asked which routes it has; 1 if a live method needs others.
    """
    from migration_plans.plan_file import PlanFile
    from wherry.build import legacy_catalogue

    source = click.get_current_context().get_parameter_source("config_path")
    asked = file is None or source is not ParameterSource.DEFAULT
    config = configuration(config_path) if asked else None
    path = file or _plan_path(config or configuration(config_path))
    plan_file = PlanFile(path, legacy_catalogue(config))
    try:
        plan_file.load()
    except FileError as error:
        raise OneLine(str(error), FAILED) from error
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
        raise OneLine(str(error)) from error
    for line in lines:
        click.echo(line)
    if lines:
        sys.exit(FAILED)


def _plan_path(config: Config) -> Path:
    if config.plan is None:
        raise OneLine("the configuration has no plan: add `plan: plan.yaml`, or name a file")
    return config.plan


@plan.command()
@config_option
def show(config_path: Path) -> None:
    """Show the state of every method, and where it comes from."""
    from wherry.build import legacy_catalogue, load_plan

    try:
        current = load_plan(configuration(config_path)).current
    except ConfigError as error:
        raise OneLine(str(error)) from error
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
