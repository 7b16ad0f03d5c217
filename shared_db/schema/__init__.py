"""DIRAC's tables: exact table, column and key names and types, one module per logical database."""

from __future__ import annotations

from sqlalchemy import MetaData

from shared_db.schema import job_db, job_logging_db, pilot_agents_db, task_queue_db
from shared_db.schema.job_db import JOB_DB
from shared_db.schema.job_logging_db import JOB_LOGGING_DB
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB
from shared_db.schema.task_queue_db import TASK_QUEUE_DB

SCHEMAS: dict[str, MetaData] = {
    JOB_DB: job_db.metadata,
    JOB_LOGGING_DB: job_logging_db.metadata,
    PILOT_AGENTS_DB: pilot_agents_db.metadata,
    TASK_QUEUE_DB: task_queue_db.metadata,
}
