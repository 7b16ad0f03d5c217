"""MariaDB and PostgreSQL servers of our own, on free ports of this machine, for tests and benchmarks.

Their data is not safe from a crash, which makes them quick.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

START_SECONDS = 60.0


class NoServer(Exception):
    """The server's programs are not on this machine; the text names the mend."""


class PrivateServer:
    """A server process with a directory of its own.

    ``url`` is the server's, with an account that may create databases and without a database.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str | Path],
        port: int,
        url: str,
        user: str | None = None,
        is_ready: Sequence[str] = ("true",),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.url = url
        self._stop_signal = stop_signal
        self._is_ready = is_ready
        self._folder = folder
        self._command = [str(part) for part in command]
        self._port = port
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_as(self._user)
            )
        deadline = time.monotonic() + START_SECONDS
        while not (_listens(self._port) and _succeeds(self._is_ready)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self._command[0]} did not start: {(self._folder / 'log').read_text()[-2000:]}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop without waiting for clients: every connection is lost, no committed change is."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()


@contextlib.contextmanager
def private_mariadb(*options: str) -> Iterator[PrivateServer]:
    """A MariaDB server; ``options`` are mariadbd's own.  Raises NoServer."""
    install, server = _program("mariadb-install-db"), _program("mariadbd")
    user = None if os.getuid() else pwd.getpwuid(0).pw_name
    with _folder(None) as folder:
        data, port = folder / "data", _free_port()
        # A server that starts takes away what others keep in the temporary folder that they share.
        own = [f"--tmpdir={folder}", *([f"--user={user}"] if user else [])]
        _run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *own,
            ]
        )
        command = [
            server,
            "--no-defaults",
            *own,
            f"--datadir={data}",
            f"--socket={folder / 'socket'}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--max-connections=400",
            *options,
        ]
        yield from _running(PrivateServer(folder, command, port, f"mysql://root@127.0.0.1:{port}/"))


@contextlib.contextmanager
def private_postgresql(*options: str) -> Iterator[PrivateServer]:
    """A PostgreSQL server; ``options`` are settings, as ``name=value``.  Raises NoServer."""
    initdb, server = _program("initdb"), _program("postgres")
    # PostgreSQL refuses to run as root.
    user = None if os.getuid() else next(filter(_is_user, ("postgres", "nobody")))
    with _folder(user) as folder:
        data, port = folder / "data", _free_port()
        _run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            user,
        )
        settings = [
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={folder}",
            f"port={port}",
            "max_connections=200",
            *options,
        ]
        command = [server, "-D", data, *[part for each in settings for part in ("-c", each)]]
        url = f"postgresql://postgres@127.0.0.1:{port}/"
        is_ready = (_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port))
        yield from _running(PrivateServer(folder, command, port, url, user, is_ready, signal.SIGINT))


def _running(server: PrivateServer) -> Iterator[PrivateServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _folder(owner: str | None) -> Iterator[Path]:
    """A directory that the server's user can reach, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="wherry-server-"))
    if owner:
        shutil.chown(folder, owner)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    folders = [
        "/usr/sbin",
        "/usr/local/sbin",
        *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
    ]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise NoServer(f"{name} is missing: install mariadb-server and postgresql (Debian's names)")
    return found


def _run(command: Sequence[str | Path], user: str | None = None) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **_as(user),
    )


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0


def _as(user: str | None) -> dict[str, object]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": [], "cwd": "/"} if user else {}


def _is_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


SERVERS: dict[str, Callable[..., contextlib.AbstractContextManager[PrivateServer]]] = {
    "mariadb": private_mariadb,
    "postgresql": private_postgresql,
}
