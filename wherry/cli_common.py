"""What every command of the command line uses."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.config import ConfigError, load_config

if TYPE_CHECKING:
    from wherry.config import Config

FAILED = 1
WRONG = 2
# In glibc's malloc.h.
M_MMAP_THRESHOLD = -3


class OneLine(click.ClickException):
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


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="WHERRY_CONFIG",
    default=Path("wherry.yaml"),
    show_default=True,
    help="The configuration file (or WHERRY_CONFIG).",
)


def configuration(path: Path) -> Config:
    """The configuration in a file."""
    try:
        return load_config(path)
    except ConfigError as error:
        raise OneLine(str(error)) from error
