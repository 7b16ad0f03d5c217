"""Overrides, evidence and its samples, usage, tokens and logins, leases."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from shared_db.schema.types import BigId, MediumText, Moment, as_dirac_makes_tables
from shared_db.upgrades.steps import create_tables

revision = "0001"
down_revision = None

_tables = MetaData()
Table(
    "wherry_overrides",
    _tables,
    Column("override_id", BigId, primary_key=True),
    Column("service", String(64), nullable=False),
    Column("method", String(128), nullable=False),
    Column("state", String(16)),
    Column("buckets", Integer),
    Column("held", Boolean),
    Column("pinned_route", String(16)),
    Column("source", String(16), nullable=False),
    Column("who", String(255), nullable=False),
    Column("why", Text, nullable=False),
    Column("evidence_id", BigInteger),
    Column("plan_generation", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("ended_at", Moment),
    Column("ended_by", String(255)),
    Index("wherry_overrides_in_force", "ended_at", "service", "method"),
    Index("wherry_overrides_history", "service", "method", "override_id"),
    sqlite_autoincrement=True,
)

Table(
    "wherry_evidence",
    _tables,
    Column("evidence_id", BigId, primary_key=True),
    Column("service", String(64), nullable=False),
    Column("method", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("buckets", Integer, nullable=False),
    Column("plan_generation", String(64), nullable=False),
    Column("worker", String(255), nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("compared", BigInteger, nullable=False, server_default="0"),
    Column("mismatched", BigInteger, nullable=False, server_default="0"),
    Column("verdicts_json", Text, nullable=False),
    Column("numbers_json", MediumText, nullable=False),
    Column("decision", String(16)),
    Column("samples_json", Text, nullable=False),
    Index("wherry_evidence_of_method", "service", "method", "kind", "recorded_at"),
    Index("wherry_evidence_newest", "kind", "recorded_at"),
    sqlite_autoincrement=True,
)

Table(
    "wherry_samples",
    _tables,
    Column("sample_id", BigId, primary_key=True),
    Column("service", String(64), nullable=False),
    Column("method", String(128), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("difference_class", String(16), nullable=False),
    Column("plan_generation", String(64), nullable=False),
    Column("caller_hash", String(64), nullable=False),
    Column("taken_at", Moment, nullable=False),
    Column("paths_json", Text, nullable=False),
    Column("call_json", MediumText, nullable=False),
    Column("old_json", MediumText, nullable=False),
    Column("new_json", MediumText, nullable=False),
    Index("wherry_samples_of_method", "service", "method", "difference_class", "taken_at"),
    sqlite_autoincrement=True,
)

Table(
    "wherry_usage",
    _tables,
    Column("day", Date, primary_key=True),
    Column("usage_hash", String(64), primary_key=True),
    Column("service", String(64), nullable=False),
    Column("method", String(128), nullable=False),
    Column("wire", String(16), nullable=False),
    Column("route", String(16), nullable=False),
    Column("caller_hash", String(64), nullable=False),
    Column("caller_dn", String(512), nullable=False),
    Column("caller_group", String(128), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("client_version", String(64), nullable=False),
    Column("argument_shape", String(255), nullable=False),
    Column("calls", BigInteger, nullable=False, server_default="0"),
    Column("failures", BigInteger, nullable=False, server_default="0"),
    Column("items", BigInteger, nullable=False, server_default="0"),
    Column("statements", BigInteger, nullable=False, server_default="0"),
    Column("wall_seconds", Double, nullable=False, server_default="0"),
    Column("cpu_seconds", Double, nullable=False, server_default="0"),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Index("wherry_usage_of_method", "service", "method", "day"),
    Index("wherry_usage_of_caller", "caller_hash", "day"),
)

Table(
    "wherry_refresh_tokens",
    _tables,
    Column("jti", String(36), primary_key=True),
    Column("family", String(36), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("scope", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("legacy_exchange", Boolean, nullable=False),
    Column("policies_json", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Index("wherry_refresh_tokens_family", "family"),
    Index("wherry_refresh_tokens_subject", "subject"),
    Index("wherry_refresh_tokens_expires_at", "expires_at"),
)

Table(
    "wherry_flows",
    _tables,
    Column("flow_id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("client_id", String(255), nullable=False),
    Column("scope", Text, nullable=False),
    Column("user_code", String(16)),
    Column("code_hash", String(64)),
    Column("redirect_uri", Text, nullable=False),
    Column("code_challenge", String(128), nullable=False),
    Column("code_challenge_method", String(16), nullable=False),
    Column("id_token_json", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("wherry_flows_user_code", "user_code", unique=True),
    Index("wherry_flows_code_hash", "code_hash", unique=True),
    Index("wherry_flows_expires_at", "expires_at"),
)

Table(
    "wherry_revocations",
    _tables,
    Column("kind", String(16), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("revoked_at", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("who", String(255), nullable=False),
    Column("why", Text, nullable=False),
    Index("wherry_revocations_until", "until"),
)

Table(
    "wherry_leases",
    _tables,
    Column("name", String(64), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until", Moment, nullable=False),
    Column("term", BigInteger, nullable=False, server_default="0"),
)

as_dirac_makes_tables(_tables, collate="utf8mb4_bin")


def upgrade(op: Operations) -> None:
    """Create them."""
    create_tables(op, *_tables.sorted_tables)
