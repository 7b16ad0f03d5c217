"""WorkloadManagement/OptimizationMind (legacy-methods.md, section 10)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

_ABOUT = """\
DIRAC's JobManager tells it of new jobs, and its executors take them from there, both by the message
`OptimizeJobs` (`jids`, a list) on a connection that stays open. A message is no call: it is neither
answered nor passed through, and clients keep the address that the site's own file has. Jobs submitted
here need no OptimizationMind: they are optimised within the submission (`jobs.optimise`), or by DIRAC's
own executors, which find them in the database."""

optimization_mind = Service(
    "WorkloadManagement/OptimizationMind",
    handler_class="OptimizationMindHandler",
    about=_ABOUT,
    elsewhere=True,
)
