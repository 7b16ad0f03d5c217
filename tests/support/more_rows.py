"""Rows of every table that the demo grid leaves empty, for comparisons of methods that read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sides import START
from sqlalchemy import Table

from shared_db.connection import Databases
from shared_db.rules.clock import status_time_order
from shared_db.rules.job_states import FINAL_STATES
from shared_db.schema.job_db import JobCommands
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.pilot_agents_db import PilotOutput
from shared_db.schema.resource_status_db import SiteStatus
from shared_db.schema.task_queue_db import tq_TQToPlatforms, tq_TQToSites
from wherry.demo.credentials import SITES

JOBS = range(1, 61)  # of the demo's jobs, those that have rows here
NOON = START.replace(tzinfo=None)
ENDS = sorted(FINAL_STATES)


async def add_more_rows(databases: Databases) -> None:
    """The same rows every time."""
    tables: dict[Table, list[dict[str, Any]]] = {
        JobCommands: [
            {"JobID": job, "Command": "Kill", "Arguments": "", "ReceptionTime": _before(minutes=job)}
            for job in JOBS[::10]
        ],
        LoggingInfo: [row for job in JOBS for row in _history(job)],
        PilotOutput: [
            {"PilotID": pilot, "StdOutput": f"out of {pilot}\n", "StdError": f"error of {pilot}\n"}
            for pilot in range(1, 241, 7)
        ],
        SiteStatus: [
            {"Name": site, "Status": status, "ElementType": "Site", "DateEffective": _before(days=3)}
            for site, status in zip(SITES, ("Active", "Degraded", "Banned"), strict=True)
        ],
        tq_TQToSites: [{"TQId": 2, "Value": site} for site in ("DEMO.Lyon.fr", "DEMO.Geneva.ch")],
        tq_TQToPlatforms: [{"TQId": 3, "Value": "x86_64-el9"}],
    }
    async with databases.unit_of_work(write=True) as work:
        for table, rows in tables.items():
            if work.has(table):
                await work.change(table.metadata.info["database"], table.insert(), rows)


def _before(**span: float) -> datetime:
    return NOON - timedelta(**span)


def _history(job: int) -> list[dict[str, Any]]:
    """After the first record, which the demo writes: a job's way as far as its number says."""
    way = [
        ("Checking", "JobPath", "idem", "JobPath"),
        ("Waiting", "Pilot Agent Submission", "idem", "TaskQueue"),
        ("Matched", "Assigned", "Unknown", "Matcher"),
        ("Running", "Application", "idem", "JobWrapper"),
        (ENDS[job % len(ENDS)], "Execution Complete", "Finished", "JobWrapper"),
    ]
    rows = []
    for step, (status, minor, application, source) in enumerate(way[: job % 6]):
        moment = START - timedelta(days=20) + timedelta(minutes=job, seconds=step * 40)
        rows.append(
            {
                "JobID": job,
                "Status": status,
                "MinorStatus": minor,
                "ApplicationStatus": application,
                "StatusTime": moment.replace(tzinfo=None),
                "StatusTimeOrder": status_time_order(moment),
                "StatusSource": source,
            }
        )
    return rows
