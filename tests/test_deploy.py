"""The sample files in deploy/ are good ones."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import yaml

from migration_plans.plan import State, read_plan
from wherry.build import legacy_catalogue
from wherry.cli import cli
from wherry.config import Config

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_configuration() -> None:
    """The sample configuration has no key that Wherry does not know."""
    config = Config.model_validate(yaml.safe_load((DEPLOY / "wherry.yaml").read_text()))
    assert config.legacy is not None
    assert config.rest is not None


def test_plan() -> None:
    """The sample plan names every method that can be moved, and moves none."""
    catalogue = legacy_catalogue()
    plan = read_plan((DEPLOY / "plan.yaml").read_text(), "plan.yaml", catalogue)
    assert set(catalogue.adapted) <= plan.entries.keys()
    assert {entry.state for entry in plan.entries.values()} == {State.LEGACY}


def test_unit() -> None:
    """The unit starts a command that there is, with options that it has."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "wherry.service")
    program, command, *options = unit["Service"]["ExecStart"].split()
    assert program.endswith("/bin/wherry")
    known = {option for parameter in cli.commands[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("-")} <= known


def test_readme_names_files_that_are_there() -> None:
    """Every file of deploy/ that the instructions install is there."""
    named = set(re.findall(r"deploy/([\w.]+)", (DEPLOY / "README.md").read_text()))
    assert {"wherry.yaml", "plan.yaml", "wherry.service"} <= named
    assert all((DEPLOY / name).exists() for name in named)
