"""Every operation there is."""

from __future__ import annotations

from rest_backend.operations import Operation
from rest_backend.resources import auth, health, jobs, pilots

OPERATIONS: tuple[Operation, ...] = (
    *auth.OPERATIONS,
    *health.OPERATIONS,
    *jobs.OPERATIONS,
    *pilots.OPERATIONS,
)
