"""The tables: DIRAC's, with its exact table, column and key names and types, and our own.

One module per logical database.  ``SCHEMAS`` are DIRAC's; ``OWN_SCHEMA`` holds what DIRAC knows nothing of.
"""

from __future__ import annotations

from sqlalchemy import MetaData

from shared_db.schema import (
    job_db,
    job_logging_db,
    pilot_agents_db,
    proxy_db,
    resource_status_db,
    sandbox_metadata_db,
    task_queue_db,
    wherry_db,
)
from shared_db.schema.job_db import JOB_DB
from shared_db.schema.job_logging_db import JOB_LOGGING_DB
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB
from shared_db.schema.proxy_db import PROXY_DB
from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB
from shared_db.schema.sandbox_metadata_db import SANDBOX_METADATA_DB
from shared_db.schema.task_queue_db import TASK_QUEUE_DB
from shared_db.schema.types import as_dirac_makes_tables
from shared_db.schema.wherry_db import WHERRY_DB as WHERRY_DB

SCHEMAS: dict[str, MetaData] = {
    JOB_DB: as_dirac_makes_tables(job_db.metadata),
    JOB_LOGGING_DB: as_dirac_makes_tables(job_logging_db.metadata),
    PILOT_AGENTS_DB: as_dirac_makes_tables(pilot_agents_db.metadata),
    TASK_QUEUE_DB: as_dirac_makes_tables(task_queue_db.metadata),
    SANDBOX_METADATA_DB: as_dirac_makes_tables(sandbox_metadata_db.metadata),
    PROXY_DB: as_dirac_makes_tables(proxy_db.metadata),
    RESOURCE_STATUS_DB: as_dirac_makes_tables(resource_status_db.metadata),
}
OWN_SCHEMA: MetaData = wherry_db.metadata
