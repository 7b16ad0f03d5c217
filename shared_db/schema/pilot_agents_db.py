"""PilotAgentsDB of DIRAC 9.1 (legacy-schema.md, section 3)."""

from __future__ import annotations

from sqlalchemy import Column, Double, MetaData, String, Table

from shared_db.rules.pilots import TEXT_SIZES
from shared_db.schema.types import MediumText, Seconds, Unsigned, flag, key

PILOT_AGENTS_DB = "PilotAgentsDB"
metadata = MetaData(info={"database": PILOT_AGENTS_DB})


def text(column: str) -> String:
    """A text column of the size that the rules know."""
    return String(TEXT_SIZES[column])


# Neither the reference nor the stamp is unique, and duplicates really occur (legacy-schema.md, 0.7).
PilotAgents = Table(
    "PilotAgents",
    metadata,
    Column("PilotID", Unsigned, primary_key=True),
    Column("InitialJobID", Unsigned, nullable=False, server_default="0"),
    Column("CurrentJobID", Unsigned, nullable=False, server_default="0"),
    Column("PilotJobReference", text("PilotJobReference"), nullable=False, server_default="Unknown"),
    Column("PilotStamp", text("PilotStamp"), nullable=False, server_default=""),
    Column("DestinationSite", text("DestinationSite"), nullable=False, server_default="NotAssigned"),
    Column("Queue", text("Queue"), nullable=False, server_default="Unknown"),
    Column("GridSite", text("GridSite"), nullable=False, server_default="Unknown"),
    Column("VO", text("VO"), nullable=False),
    Column("GridType", text("GridType"), nullable=False, server_default="LCG"),
    Column("BenchMark", Double, nullable=False, server_default="0.0"),
    Column("SubmissionTime", Seconds),
    Column("LastUpdateTime", Seconds),
    Column("Status", text("Status"), nullable=False, server_default="Unknown"),
    Column("StatusReason", text("StatusReason"), nullable=False, server_default="Unknown"),
    Column("AccountingSent", flag("True", "False"), nullable=False, server_default="False"),
    key("PilotJobReference", "PilotJobReference", table="PilotAgents"),
    key("Status", "Status", table="PilotAgents"),
    key("Statuskey", "GridSite", "DestinationSite", "Status", table="PilotAgents"),
    key("idx_dest_queue_status", "DestinationSite", "Queue", "Status", table="PilotAgents"),
    # REST names pilots by stamp, for which DIRAC has no key (docs/decisions/0002-pilot-extensions.md).
    key("PilotStamp", "PilotStamp", table="PilotAgents", ours=True),
    sqlite_autoincrement=True,
)

# DIRAC's table has no primary key and may hold a pair twice (legacy-schema.md, 0.8).
JobToPilotMapping = Table(
    "JobToPilotMapping",
    metadata,
    Column("PilotID", Unsigned, nullable=False),
    Column("JobID", Unsigned, nullable=False),
    Column("StartTime", Seconds, nullable=False),
    key("JobID", "JobID", table="JobToPilotMapping"),
    key("PilotID", "PilotID", table="JobToPilotMapping"),
)

PilotOutput = Table(
    "PilotOutput",
    metadata,
    Column("PilotID", Unsigned, primary_key=True, autoincrement=False),
    Column("StdOutput", MediumText),
    Column("StdError", MediumText),
)
