"""Every policy there is."""

from __future__ import annotations

from rest_backend.operations import Policy
from rest_backend.policies import common, jobs, pilots

POLICIES: tuple[Policy, ...] = (*common.POLICIES, *jobs.POLICIES, *pilots.POLICIES)
