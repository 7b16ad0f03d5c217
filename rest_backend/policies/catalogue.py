"""Every policy there is."""

from __future__ import annotations

from rest_backend.operations import Policy
from rest_backend.policies import auth, common, jobs, pilots, sandboxes, task_queues

POLICIES: tuple[Policy, ...] = (
    *common.POLICIES,
    *auth.POLICIES,
    *jobs.POLICIES,
    *pilots.POLICIES,
    *sandboxes.POLICIES,
    *task_queues.POLICIES,
)
