"""What every service answers about itself (legacy-wire.md, section 2.1)."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from legacy_rpc.authorisation import whoami as credentials_of
from legacy_rpc.services.table import Context, Service

_STARTED = datetime.now(UTC)
_VERSION = f"Wherry {version('wherry')} on {socket.gethostname()}"


def add_builtin_methods(service: Service) -> None:
    """Declare ping, whoami and echo on a service."""
    service.method(authorization=("all",), builtin=True)(ping)
    service.method(authorization=("all",), builtin=True)(whoami)
    service.method(str, builtin=True, static=True)(echo)


async def ping(context: Context) -> dict[str, Any]:
    """Answers version, time, uptimes, load, name, URL and processor times. Times are naive UTC."""
    now = datetime.now(UTC)
    spent = os.times()
    return {
        "version": _VERSION,
        "time": now.replace(tzinfo=None),
        "host uptime": _host_uptime(),
        "service start time": _STARTED.replace(tzinfo=None),
        "service uptime": (now - _STARTED) // timedelta(seconds=1),
        "load": " ".join(str(each) for each in os.getloadavg()),
        "name": context.call.service,
        "URL": context.public_url(context.call.service),
        "cpu times": {
            "user time": spent.user,
            "system time": spent.system,
            "children user time": spent.children_user,
            "children system time": spent.children_system,
            "elapsed real time": spent.elapsed,
        },
    }


def _host_uptime() -> int:
    """Whole seconds since the host started."""
    try:
        return int(float(Path("/proc/uptime").read_text().split()[0]))
    except (OSError, ValueError):  # not on Linux
        return int(time.monotonic())


async def whoami(context: Context) -> dict[str, Any]:
    """Answers what the service sees of the caller: `DN`, `group`, `username`, `properties`, `subject`,
    `issuer`, `secondsLeft` and more.
    """
    return credentials_of(context.call.identity, context.registry.current)


async def echo(_context: Context, text: str) -> str:
    """Answers the same text."""
    return text
