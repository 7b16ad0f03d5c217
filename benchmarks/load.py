"""The clients: each call is a new TCP and TLS connection that shows a proxy, as DIRAC's clients make them.

Run as a program it is one process of clients: it reads an order a line (JSON) from standard input, makes the
calls with blocking sockets, and writes one report a line.  It ends when its standard input does.

    python load.py PROXY
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
# One process for each client up to so many; more clients share them as threads.
PROCESSES = 8
SOCKET_SECONDS = 30.0

# What is said in one call: (sent, the answer that must come), in order.
Exchange = Sequence[tuple[bytes, bytes]]


class LoadError(Exception):
    """A call was not answered as it must be."""


@dataclass(frozen=True)
class Load:
    """What one measurement of all clients gave; a latency is a call's, from connect to the last byte."""

    seconds: float
    latencies: list[float]

    @property
    def calls_per_s(self) -> float:
        """Of all clients, from the start of the first call to the end of the last."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the calls stayed within, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


class Clients:
    """The processes of clients, ended with the block."""

    def __init__(self, proxy: Path, most: int) -> None:
        """``most`` is the largest number of clients that will be asked for."""
        command = [sys.executable, __file__, str(proxy)]
        pipe = subprocess.PIPE
        self._processes = [  # in sessions of their own, so that Ctrl-C is only ours
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
            for _ in range(min(most, PROCESSES))
        ]

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()

    def run(self, port: int, exchange: Exchange, clients: int, *, seconds: float, calls: int = 0) -> Load:
        """Call from so many clients at a time, for so many seconds, or fewer if ``calls`` each are made.

        Raises LoadError unless every call was answered, byte for byte.
        """
        texts = [(sent.decode("ascii"), expected.decode("ascii")) for sent, expected in exchange]
        order = {"port": port, "exchange": texts, "seconds": seconds, "calls": calls}
        busy = list(zip(self._processes, _shares(clients, len(self._processes)), strict=False))
        for process, share in busy:
            assert process.stdin is not None
            process.stdin.write(json.dumps({**order, "clients": share}) + "\n")
            process.stdin.flush()
        reports = []
        for process, _ in busy:
            assert process.stdout is not None
            report = json.loads(process.stdout.readline() or '{"error": "a process of clients ended"}')
            if "error" in report:
                raise LoadError(report["error"])
            reports.append(report)
        duration = max(report["ended"] for report in reports) - min(report["started"] for report in reports)
        return Load(duration, [latency for report in reports for latency in report["latencies"]])


def _shares(clients: int, processes: int) -> list[int]:
    """How many clients each process plays; processes without any are left out."""
    share, rest = divmod(clients, processes)
    return [share + (index < rest) for index in range(processes) if share + (index < rest)]


def client_tls(proxy: str) -> ssl.SSLContext:
    """A context that shows a proxy; the server is not checked: that would cost only the clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(proxy)
    return context


def connect(port: int, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """A new connection, its handshake done."""
    plain = socket.socket()
    try:
        plain.settimeout(SOCKET_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.connect((HOST, port))
        return tls.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def _call(port: int, tls: ssl.SSLContext, exchange: Exchange) -> None:
    """One call.  Raises LoadError for any other answer than the expected one."""
    connection = connect(port, tls)
    try:
        for sent, expected in exchange:
            connection.sendall(sent)
            answer = b""
            while len(answer) < len(expected) and (data := connection.recv(65536)):
                answer += data
            if answer != expected:
                raise LoadError(f"answered {answer[:200]!r} and not {expected[:200]!r}")
    finally:
        connection.close()


def _client(order: dict[str, Any], tls: ssl.SSLContext, exchange: Exchange) -> list[float]:
    """The calls of one client, at least one; returns their latencies."""
    latencies: list[float] = []
    started = now = time.monotonic()
    while now < started + order["seconds"] and not (order["calls"] and len(latencies) >= order["calls"]):
        _call(order["port"], tls, exchange)
        before, now = now, time.monotonic()
        latencies.append(now - before)
    return latencies


def _obey(order: dict[str, Any], tls: ssl.SSLContext) -> dict[str, Any]:
    """Carry out one order, with a thread for each client."""
    exchange = [(sent.encode("ascii"), expected.encode("ascii")) for sent, expected in order["exchange"]]
    started = time.monotonic()  # the same clock in every process
    try:
        with ThreadPoolExecutor(order["clients"]) as threads:
            running = [threads.submit(_client, order, tls, exchange) for _ in range(order["clients"])]
            latencies = [latency for each in running for latency in each.result()]
    except (OSError, LoadError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"started": started, "ended": time.monotonic(), "latencies": latencies}


def main() -> None:
    """Obey until standard input ends."""
    tls = client_tls(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line), tls)), flush=True)


if __name__ == "__main__":
    main()
