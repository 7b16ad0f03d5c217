"""WherryDB, our own tables: administrators' decisions, measurements, who called, tokens, leases, proxies.

They are versioned by ``shared_db/upgrades`` and may share a physical database with DIRAC's, so their names
begin with ``wherry_``.  Conventions: moments are aware UTC (:class:`shared_db.schema.types.Moment`);
``*_json`` columns hold JSON texts; texts compare by their bytes on every engine; rows refer to each other by
id without foreign keys, so that each table can be cleaned up by itself.
"""

from __future__ import annotations

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

from shared_db.schema.types import BigId, Blob, MediumText, Moment, as_dirac_makes_tables

WHERRY_DB = "WherryDB"
metadata = MetaData(info={"database": WHERRY_DB})

overrides = Table(
    "wherry_overrides",
    metadata,
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
"""What departs from the plan file (migration.md, Files and overrides).

A row is written once and ended once, never changed or deleted.  In force: ``ended_at`` is NULL and
``expires_at`` NULL or later than now; each of ``state``, ``buckets``, ``held`` and ``pinned_route`` is taken
from the newest row in force that has it, and NULL leaves it as it is.

- ``service``, ``method``: DIRAC's names; ``*`` is every service, or every method of the service (both: the
  panic override).
- ``state``: a state of the design.  ``buckets``: how many of the 10,000 buckets go to REST, that is the
  percentage times 100.  ``held``: nothing moves the method by itself.  ``pinned_route``: the route of every
  call, whatever rules and buckets say.
- ``source``: cli, dashboard or automatic.  ``who``: the person's name or DN, or the gate's name.
- ``evidence_id``: the decision in :data:`evidence` that justifies it.  ``plan_generation``: the plan it was
  decided under.
- ``ended_by``: who took it back; NULL with ``ended_at`` set: another override replaced it.
"""

evidence = Table(
    "wherry_evidence",
    metadata,
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
"""The ledger: measurements, and the decisions made on them (migration.md, Gates).  Rows are never changed.

- ``kind``: ``measurement`` (what one worker saw from ``began_at`` to ``recorded_at``), ``decision`` (a gate's
  judgement over that span) or ``breach`` (counters of a roll-back window, seen by all workers).
- ``source``: where it was measured: comparison, rehearsal, read-back, replay or contract.
- ``state``, ``buckets``, ``plan_generation``: what was in force.  ``worker``: host and process.
- ``compared``, ``mismatched``: samples compared, and how many of them differed without explanation.
- ``verdicts_json``: count by verdict (match, expected, noise, raced, mismatch:CLASS, new_error ...).
- ``numbers_json``: everything else that was counted or judged: calls, errors and latencies by side,
  argument shapes, pairs of VO and group; of a decision each gate with its value, limit and outcome.
- ``decision``: pass, fail or hold; NULL unless ``kind`` is ``decision``.
- ``samples_json``: ids in :data:`samples`.
"""

samples = Table(
    "wherry_samples",
    metadata,
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
"""Compared calls that were kept to be looked at, capped per method and class by the writer.

``difference_class``: ok_flip, value, type, missing, extra, order, message, or '' for other verdicts;
``paths_json``: the paths that differ; ``call_json``: the arguments; ``old_json``, ``new_json``: both replies,
or the row effects of both sides.
"""

usage = Table(
    "wherry_usage",
    metadata,
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
"""Who called what, and what it cost: one row per UTC day and way of calling, to which every worker adds.

- ``usage_hash``: hex hash of (service, method, wire, route, caller_hash, caller_group, vo, client_version,
  argument_shape): the key by which a row is found again.
- ``caller_hash``: hex hash of the DN (or token subject); ``caller_dn`` is '' where a site keeps no names.
- ``argument_shape``: types and sizes of the arguments, never their values.
- ``calls``; ``failures``: those answered with an error; ``items``: jobs or pilots named in the arguments
  (equal to ``calls`` where a caller loops over a method that could take many); ``statements``: SQL ones.
- ``wall_seconds``, ``cpu_seconds``: sums over the calls.
"""

refresh_tokens = Table(
    "wherry_refresh_tokens",
    metadata,
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
"""Refresh tokens that were issued; the tokens themselves are not kept (rest-diracx.md, sections 3 and 5).

- ``jti``: UUID in its text form.  ``family``: the jti of the first token of a chain of rotations; a token
  used twice has its whole family revoked.
- ``subject``: ``VO:sub`` as in access tokens, or ``VO:stamp`` of a pilot.
- ``status``: CREATED or REVOKED; rotation revokes too.
- ``legacy_exchange``: came from a DIRAC proxy; is not rotated.
- ``expires_at``: inherited in rotation.
"""

flows = Table(
    "wherry_flows",
    metadata,
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
"""Logins under way (rest-diracx.md, section 5).

- ``kind``: device or authorization.  ``status``: PENDING, READY (the identity provider has answered), DONE
  (tokens were issued) or ERROR.
- ``user_code``: what a person types in a device flow, NULL in others.
- ``code_hash``: SHA-256, in hex, of the device code or of the code handed out by authorization; NULL until
  there is one.
- ``redirect_uri``, ``code_challenge``, ``code_challenge_method``: of the authorization flow (PKCE), else ''.
- ``id_token_json``: the verified claims of the identity provider, '' until READY.
"""

revocations = Table(
    "wherry_revocations",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("revoked_at", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("who", String(255), nullable=False),
    Column("why", Text, nullable=False),
    Index("wherry_revocations_until", "until"),
)
"""Access tokens that are refused though their time is not over.

``kind`` ``jti``: the one token of that id; ``family``: every token that was issued with a refresh token of
that family; ``subject`` (``VO:sub``): every token of that subject issued up to ``revoked_at``.  After
``until`` all of them have expired and the row can go.
"""

leases = Table(
    "wherry_leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until", Moment, nullable=False),
    Column("term", BigInteger, nullable=False, server_default="0"),
    Column("due_at", Moment),
)
"""Who does a periodic task at present (design.md, Decided once: work in the background).

``holder``: host and process, '' for nobody; after ``until`` anyone may take it.  ``term`` counts up whenever
the holder changes, so that one who lost the lease without noticing finds out.  ``due_at``: when the task is
to be done next, by whoever takes the lease then; NULL: now.
"""

matching_holds = Table(
    "wherry_matching_holds",
    metadata,
    Column("site", String(100), primary_key=True),
    Column("attribute", String(32), primary_key=True),
    Column("value", String(128), primary_key=True),
    Column("until", Moment, nullable=False),
)
"""Which kinds of jobs a site with limits gets none of for a while: JobType ``User`` until then, for instance.

The row of a site with an empty ``attribute`` is there to be locked: of such a site one pilot at a time is
served, so that two do not both take the last job that it may run.
"""

delegations = Table(
    "wherry_delegations",
    metadata,
    Column("request_id", BigId, primary_key=True),
    Column("dn", String(512), nullable=False),
    Column("key_sealed", Blob, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("wherry_delegations_expires_at", "expires_at"),
    sqlite_autoincrement=True,
)
"""Proxies that someone is about to upload: each row is a key that was made here, and whose proxy it is for.

- ``dn``: the caller's, canonical (:func:`shared_db.registry.canonical_dn`).
- ``key_sealed``: the private key, by :class:`shared_db.sealing.Seal`.
"""

proxies = Table(
    "wherry_proxies",
    metadata,
    Column("dn", String(512), primary_key=True),
    Column("user_dn", String(512), nullable=False),
    Column("username", String(255), nullable=False),
    Column("chain", Text, nullable=False),
    Column("key_sealed", Blob, nullable=False),
    Column("stored_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("wherry_proxies_username", "username"),
    Index("wherry_proxies_expires_at", "expires_at"),
)
"""Uploaded proxies, without group or VOMS attributes; one per DN.

- ``dn``: canonical, for look-ups; ``user_dn``: as its certificate has it.
- ``chain``: certificates in PEM, the proxy first; not secret.  ``key_sealed``: the proxy's private key.
- ``expires_at``: the earliest end in the chain.
"""

proxy_log = Table(
    "wherry_proxy_log",
    metadata,
    Column("entry_id", BigId, primary_key=True),
    Column("action", String(128), nullable=False),
    Column("issuer_dn", String(512), nullable=False),
    Column("issuer_group", String(255), nullable=False),
    Column("target_dn", String(512), nullable=False),
    Column("target_group", String(255), nullable=False),
    Column("happened_at", Moment, nullable=False),
    Index("wherry_proxy_log_happened_at", "happened_at"),
    sqlite_autoincrement=True,
)
"""Who (issuer) did what with whose (target) proxy."""

pilot_secrets = Table(
    "wherry_pilot_secrets",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("constraints_json", Text, nullable=False),
    Column("uses", BigInteger, nullable=False, server_default="0"),
    Column("most_uses", BigInteger),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Index("wherry_pilot_secrets_expires_at", "expires_at"),
)
"""What pilots exchange for their first token; the secrets themselves are not kept.

- ``secret_hash``: SHA-256 in hex.
- ``constraints_json``: ``{"VOs": [...], "PilotStamps": [...], "Sites": [...]}``; a list that is missing or
  empty forbids nothing.
- ``uses``: how often it was exchanged; ``most_uses``: how often it may be, NULL: as often as one likes.
- ``expires_at``: NULL: never.
"""

pilot_logs = Table(
    "wherry_pilot_logs",
    metadata,
    Column("line_id", BigId, primary_key=True),
    Column("pilot_stamp", String(32), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("said_at", Moment, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("scope", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("received_at", Moment, nullable=False),
    Index("wherry_pilot_logs_of_pilot", "pilot_stamp", "line_id"),
    Index("wherry_pilot_logs_received_at", "received_at"),
    sqlite_autoincrement=True,
)
"""What pilots say of themselves, a row for each line; ``said_at`` is by their own clock."""

answers = Table(
    "wherry_answers",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("sealed", MediumText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("wherry_answers_created_at", "created_at"),
)
"""Answers to requests with an ``Idempotency-Key``, kept for whoever repeats one because an answer was lost.

``key_hash``: SHA-256 in hex of caller, operation and key; ``request_hash``: of what was asked.  ``status`` is
0, and ``sealed`` empty, while the request runs.  ``sealed`` holds headers and body, encrypted with what only
the caller has: the key itself.
"""

sandbox_names = Table(
    "wherry_sandbox_names",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("stored_as", String(512), nullable=False),
    Column("noted_at", Moment, nullable=False),
    Index("wherry_sandbox_names_stored_as", "stored_as"),
)
"""The names, made of an MD5, that DIRAC's clients know sandboxes by; ``stored_as``: SEPFN of the same file.

A row says what a file is, and not that it is there: it is of use as long as the sandbox is registered.
"""

# `Alice` and `alice` are two subjects, on MySQL too.
as_dirac_makes_tables(metadata, collate="utf8mb4_bin")
