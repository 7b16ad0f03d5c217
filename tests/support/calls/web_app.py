"""Generated calls of Monitoring/WebApp."""

from __future__ import annotations

from calls.arguments import Maker
from calls.jobs_web import JOB_CALLS

SERVICE = "Monitoring/WebApp"

CALLS: dict[str, Maker] = {**JOB_CALLS}
