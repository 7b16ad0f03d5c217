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
    # its commands, COMDIRAC and the calls of its web portal; tests/end_to_end/test_dirac_commands.py
    "DIRAC 8.0.86 commands": {
        "WorkloadManagement/JobManager": frozenset(
            (
                "confirmBulkSubmission",
                "deleteJob",
                "killJob",
                "rescheduleJob",
                "resetJob",
                "submitJob",
            )
        ),
        "WorkloadManagement/JobMonitoring": frozenset(
            (
                "getJobAttributes",
                "getJobJDL",
                "getJobLoggingInfo",
                "getJobPageSummaryWeb",
                "getJobParameters",
                "getJobStats",
                "getJobs",
                "getJobsSites",
                "getJobsStates",
                "getJobsStatus",
                "getJobsSummary",
                "getOwners",
            )
        ),
        "WorkloadManagement/JobStateUpdate": frozenset(
            (
                "sendHeartBeat",
                "setJobParameters",
                "setJobStatus",
            )
        ),
        "WorkloadManagement/Matcher": frozenset(
            (
                "getActiveTaskQueues",
                "requestJob",
            )
        ),
        "WorkloadManagement/PilotManager": frozenset(
            (
                "addPilotTQReference",
                "getCounters",
                "getGroupedPilotSummary",
                "getPilotInfo",
                "getPilotMonitorSelectors",
                "getPilotMonitorWeb",
                "getPilotStatistics",
                "getPilotSummary",
                "getPilotSummaryWeb",
                "getPilots",
            )
        ),
        "WorkloadManagement/SandboxStore": frozenset(
            (
                "FileTransfer/FromClient",
                "FileTransfer/ToClient",
                "getSandboxesAssignedToEntity",
            )
        ),
        "WorkloadManagement/WMSAdministrator": frozenset(
            (
                "allowSite",
                "banSite",
                "getJobPilotOutput",
                "getSiteMaskLogging",
                "getSiteMaskStatus",
                "getSiteSummarySelectors",
                "getSiteSummaryWeb",
            )
        ),
    },
}
