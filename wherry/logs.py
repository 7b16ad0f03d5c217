"""Logging: one JSON object a line, written by a thread of its own."""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

import orjson

# Records that wait to be written; what comes beyond is dropped, since a reader of the log that hangs must
# not stop the service.
WAITING_RECORDS = 10_000


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
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


class _DroppingQueueHandler(QueueHandler):
    """Puts records on the queue, as they are, from the event loop; never blocks."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """The queue is full: drop the record."""


@contextmanager
def logging_to(stream: TextIO = sys.stderr, level: int = logging.INFO) -> Iterator[None]:
    """Log to a stream, written by a thread of its own."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    waiting: queue.Queue[Any] = queue.Queue(WAITING_RECORDS)
    root = logging.getLogger()
    entry = _DroppingQueueHandler(waiting)
    listener = QueueListener(waiting, handler)
    before = root.level
    root.setLevel(level)
    root.addHandler(entry)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(entry)
        root.setLevel(before)
        listener.stop()
