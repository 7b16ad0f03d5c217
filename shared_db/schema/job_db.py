"""JobDB of DIRAC 9.1 (legacy-schema.md, section 1)."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, MetaData, String, Table

from shared_db.schema.types import LongText, MediumText, Seconds, Signed, Unsigned, flag, key

JOB_DB = "JobDB"
metadata = MetaData(info={"database": JOB_DB})

# The source of every job id: Jobs.JobID is copied from here (legacy-schema.md, 0.2).
JobJDLs = Table(
    "JobJDLs",
    metadata,
    Column("JobID", Unsigned, primary_key=True),
    Column("JDL", MediumText, nullable=False),
    Column("JobRequirements", LongText, nullable=False),
    Column("OriginalJDL", MediumText, nullable=False),
    sqlite_autoincrement=True,
)

Jobs = Table(
    "Jobs",
    metadata,
    Column("JobID", Unsigned, ForeignKey("JobJDLs.JobID"), primary_key=True, autoincrement=False),
    Column("JobType", String(32), nullable=False, server_default="user"),
    Column("JobGroup", String(32), nullable=False, server_default="00000000"),
    Column("Site", String(100), nullable=False, server_default="ANY"),
    Column("JobName", String(128), nullable=False, server_default="Unknown"),
    Column("Owner", String(64), nullable=False, server_default="Unknown"),
    Column("OwnerGroup", String(128), nullable=False, server_default="Unknown"),
    Column("VO", String(32), nullable=False, server_default="Unknown"),
    Column("SubmissionTime", Seconds),
    Column("RescheduleTime", Seconds),
    Column("LastUpdateTime", Seconds),
    Column("StartExecTime", Seconds),
    Column("HeartBeatTime", Seconds),
    Column("EndExecTime", Seconds),
    Column("Status", String(32), nullable=False, server_default="Received"),
    Column("MinorStatus", String(128), nullable=False, server_default="Unknown"),
    Column("ApplicationStatus", String(255), server_default="Unknown"),
    Column("UserPriority", Signed, nullable=False, server_default="0"),
    Column("RescheduleCounter", Signed, nullable=False, server_default="0"),
    Column("VerifiedFlag", flag("True", "False"), nullable=False, server_default="False"),
    Column("AccountedFlag", flag("True", "False", "Failed"), nullable=False, server_default="False"),
    *[
        key(name, name, table="Jobs")
        for name in (
            "JobType",
            "JobGroup",
            "Site",
            "JobName",
            "Owner",
            "OwnerGroup",
            "LastUpdateTime",
            "Status",
            "MinorStatus",
            "ApplicationStatus",
        )
    ],
    key("StatusSite", "Status", "Site", table="Jobs"),
    # The commonest question of all, for which DIRAC's keys look at every job of the owner.
    key("OwnerStatus", "Owner", "Status", "JobID", table="Jobs", ours=True),
)


def job_id() -> Column[int]:
    """The column by which a table belongs to Jobs; the key has no ON DELETE, so children go first."""
    return Column("JobID", Unsigned, ForeignKey("Jobs.JobID"), primary_key=True, autoincrement=False)


InputData = Table(
    "InputData",
    metadata,
    job_id(),
    Column("LFN", String(255), primary_key=True, server_default=""),
    Column("Status", String(32), nullable=False, server_default="AprioriGood"),
)

OptimizerParameters = Table(
    "OptimizerParameters",
    metadata,
    job_id(),
    Column("Name", String(100), primary_key=True),
    Column("Value", MediumText, nullable=False),
)

# What a job's parameters were before it was rescheduled for the (RescheduleCycle + 1)th time.
AtticJobParameters = Table(
    "AtticJobParameters",
    metadata,
    job_id(),
    Column("Name", String(100), primary_key=True),
    Column("Value", LongText, nullable=False),
    Column("RescheduleCycle", Unsigned, primary_key=True, autoincrement=False),
)

# DIRAC 9.1.22 keeps parameters in OpenSearch; until then they were rows here (legacy-schema.md, 0.15).
JobParameters = Table(
    "JobParameters",
    metadata,
    job_id(),
    Column("Name", String(100), primary_key=True),
    Column("Value", LongText, nullable=False),
)

HeartBeatLoggingInfo = Table(
    "HeartBeatLoggingInfo",
    metadata,
    job_id(),
    Column("Name", String(100), primary_key=True),
    Column("Value", LongText, nullable=False),
    Column("HeartBeatTime", Seconds, primary_key=True),
)

JobCommands = Table(
    "JobCommands",
    metadata,
    job_id(),
    Column("Command", String(100), nullable=False),
    Column("Arguments", String(100), primary_key=True),
    Column("Status", String(64), nullable=False, server_default="Received"),
    Column("ReceptionTime", Seconds, primary_key=True),
    Column("ExecutionTime", Seconds),
)

# The mask of sites is DIRAC 7.3's and 8.0's; 9.0 has none (legacy-schema.md, 1.3).
SiteMask = Table(
    "SiteMask",
    metadata,
    Column("Site", String(64), primary_key=True),
    Column("Status", String(64), nullable=False),
    Column("LastUpdateTime", Seconds, nullable=False),
    Column("Author", String(255), nullable=False),
    Column("Comment", LongText, nullable=False),
)

SiteMaskLogging = Table(
    "SiteMaskLogging",
    metadata,
    Column("Site", String(64), primary_key=True),
    Column("Status", String(64), nullable=False),
    Column("UpdateTime", Seconds, primary_key=True),
    Column("Author", String(255), nullable=False),
    Column("Comment", LongText, nullable=False),
)
