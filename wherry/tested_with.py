"""Which methods the tests hold against unmodified clients and real services; the tests hold this true.

``{client or service: {DIRAC service: methods}}``.
"""

from __future__ import annotations

from collections.abc import Mapping

TESTED_WITH: Mapping[str, Mapping[str, frozenset[str]]] = {
    # tests/end_to_end/test_dirac_commands.py, on both sides
    "DIRAC 9.1.22 commands": {
        "WorkloadManagement/JobManager": frozenset(
            (
                "submitJob",
                "confirmBulkSubmission",
                "killJob",
                "deleteJob",
                "rescheduleJob",
                "resetJob",
            )
        ),
        "WorkloadManagement/JobMonitoring": frozenset(
            (
                "getJobs",
                "getJobsStates",
                "getJobsStatus",
                "getJobsSites",
                "getJobAttributes",
                "getJobParameters",
                "getJobLoggingInfo",
                "getJobJDL",
            )
        ),
        "WorkloadManagement/JobStateUpdate": frozenset(("setJobStatus", "setJobParameters", "sendHeartBeat")),
        "WorkloadManagement/Matcher": frozenset(("requestJob", "getActiveTaskQueues")),
        "WorkloadManagement/PilotManager": frozenset(
            ("addPilotReferences", "getPilotInfo", "getPilots", "getPilotSummary")
        ),
        "WorkloadManagement/WMSAdministrator": frozenset(("getJobPilotOutput",)),
        "WorkloadManagement/SandboxStore": frozenset(
            ("FileTransfer/FromClient", "FileTransfer/ToClient", "getSandboxesAssignedToEntity")
        ),
    },
}
