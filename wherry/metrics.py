"""What one program counts, and what it counts of REST requests; their names are stable (logs-and-metrics.md).

It imports nothing of the legacy side, which a site may have deleted.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from rest_backend.app import Observer
from rest_backend.tasks.runner import DONE, TaskObserver

# The metrics library's name for the directory through which processes add theirs up.
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Methods that callers make up are no labels.
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"


def exposition(registry: CollectorRegistry) -> bytes:
    """The exposition format; of several workers, what they counted together."""
    if METRICS_DIRECTORY not in os.environ:
        return generate_latest(registry)
    all_workers = CollectorRegistry()
    MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]
    return generate_latest(all_workers)


def worker_ended(process: int, directory: Path | str) -> None:
    """What a worker had under way ended with it."""
    mark_process_dead(process, str(directory))  # type: ignore[no-untyped-call]


class RequestMetrics(Observer):
    """Counts REST requests that come over HTTP; adaptors' requests are legacy calls, and counted as such."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "wherry_requests_total",
            "REST requests answered",
            ("operation", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "wherry_request_seconds",
            "Seconds from a request's headers to its answer",
            ("operation",),
            registry=registry,
            buckets=SECONDS,
        )
        self._in_flight = Gauge(
            "wherry_requests_in_flight",
            "REST requests being worked on",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def began(self) -> None:
        """Count one more in flight."""
        self._in_flight.inc()

    def finished(self, operation: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._in_flight.dec()
        self._requests.labels(operation, method if method in METHODS else OTHER, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)


class TaskMetrics(TaskObserver):
    """Counts periodic tasks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "wherry_task_runs_total", "Periodic tasks ended", ("task", "outcome"), registry=registry
        )
        self._items = Counter(
            "wherry_task_items_total", "Rows or files that tasks were about", ("task",), registry=registry
        )
        self._seconds = Histogram(
            "wherry_task_seconds",
            "Seconds from taking a task to its end",
            ("task",),
            registry=registry,
            buckets=SECONDS,
        )
        self._last = Gauge(
            "wherry_task_last_done_seconds",
            "When a task was last done, in seconds since 1970",
            ("task",),
            registry=registry,
            multiprocess_mode="max",
        )

    def finished(self, task: str, outcome: str, seconds: float, items: int) -> None:
        """Count one."""
        self._runs.labels(task, outcome).inc()
        self._items.labels(task).inc(items)
        self._seconds.labels(task).observe(seconds)
        if outcome == DONE:
            self._last.labels(task).set_to_current_time()
