"""Logging: one JSON object a line, written by a thread of its own.

The event loop only puts records aside.  The thread is woken at most ten times a second and writes what has
gathered: waking it for every record cost 0.4 ms of processor time a call, a quarter of a whole handshake.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

# Records that wait to be written; what comes beyond is dropped, since a reader of the log that hangs must
# not stop the service.
WAITING_RECORDS = 10_000
BATCH_SECONDS = 0.1


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; the fields of ``extra={"fields": {...}}`` stand beside the others."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_text:
            line["exception"] = record.exc_text
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()
        except orjson.JSONEncodeError:
            # A peer's invalid UTF-8 (a surrogate in the text): the standard library escapes it.
            line["time"] = line["time"].isoformat().replace("+00:00", "Z")
            return json.dumps(line, default=str)


class _Aside(logging.Handler):
    """Puts records aside, from any thread; never blocks and never raises."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[logging.LogRecord] = deque()
        self._some = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record; an exception is put into words here, since its frames would be kept alive."""
        if len(self._waiting) >= WAITING_RECORDS:
            return
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        self._waiting.append(record)
        if not self._some.is_set():
            self._some.set()

    def gathered(self, seconds: float) -> list[logging.LogRecord]:
        """Wait until there is something, then a little for more; returns it in order."""
        self._some.wait()
        time.sleep(seconds)
        self._some.clear()
        return self.rest()

    def rest(self) -> list[logging.LogRecord]:
        """What is there now."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def wake(self) -> None:
        """End the wait of ``gathered``."""
        self._some.set()


def _whole_lines(lines: Iterable[str], size: int) -> Iterator[str]:
    """The lines in texts of at most ``size`` bytes where they are that short.

    Workers share a pipe, in which only what is written at once and not longer than that stays together.
    """
    text, length = "", 0
    for line in lines:
        more = len(line.encode("utf-8", "backslashreplace"))
        if text and length + more > size:
            yield text
            text, length = "", 0
        text, length = text + line, length + more
    if text:
        yield text


class _Writer(threading.Thread):
    """Writes what was put aside."""

    def __init__(self, aside: _Aside, stream: TextIO) -> None:
        super().__init__(name="log", daemon=True)  # a reader that hangs must not keep the program alive
        self._aside = aside
        self._stream = stream
        self._formatter = JsonFormatter()
        self._ending = threading.Event()

    def run(self) -> None:
        """Until ``end``; what is there by then is written."""
        while not self._ending.is_set():
            self._write(self._aside.gathered(BATCH_SECONDS))
        self._write(self._aside.rest())

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self._formatter.format(record)
        except Exception as error:  # noqa: BLE001 - one faulty record must not end the log
            faulty = {"name": record.name, "created": record.created, "levelname": "ERROR"}
            told = {"msg": "unreadable log record: %r", "args": (error,)}
            return self._formatter.format(logging.makeLogRecord(faulty | told))

    def _write(self, records: list[logging.LogRecord]) -> None:
        lines = [f"{self._line(record)}\n" for record in records]
        try:
            for text in _whole_lines(lines, select.PIPE_BUF):
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            # The reader is gone; there is nobody to tell.
            return

    def end(self, seconds: float) -> None:
        """Write the last records and stop, within so many seconds."""
        self._ending.set()
        self._aside.wake()
        self.join(seconds)


@contextmanager
def logging_to(stream: TextIO = sys.stderr, level: int = logging.INFO) -> Iterator[None]:
    """Log to a stream."""
    aside = _Aside()
    writer = _Writer(aside, stream)
    root, alembic = logging.getLogger(), logging.getLogger("alembic")
    before = root.level, alembic.level
    root.setLevel(level)
    # It tells how it works whenever a version is looked up.
    alembic.setLevel(logging.WARNING)
    root.addHandler(aside)
    writer.start()
    try:
        yield
    finally:
        root.removeHandler(aside)
        for logger, was in zip((root, alembic), before, strict=True):
            logger.setLevel(was)
        writer.end(seconds=2.0)
