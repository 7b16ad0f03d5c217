"""What time-stamped status updates make of a job, for DIRAC's services and for DiracX's routes.

Sources: legacy-methods.md (section 0, facts 9, 10 and 13; section 5) and rest-diracx.md (6.4), each held
against DIRAC 9.1.22's JobStateUpdate.  Where both differ, :class:`Policy` says how; all else is one rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared_db.rules.clock import status_time_order, to_column
from shared_db.rules.job_states import FINAL_STATES, UNKNOWN, check_known, may_move
from shared_db.rules.refusals import Refusal, UnfitArgument

# What is logged for a part that an update leaves out: the same as in the record before.
UNCHANGED = "idem"
# Logged behind the source of an update whose status the state machine refused.
REFUSED_SUFFIX = "(SM)"


@dataclass(frozen=True, slots=True)
class Policy:
    """In what the two services differ."""

    # StartExecTime and EndExecTime are the server's present, and a start is a sign of life; else they are
    # the time of the update.
    stamps_now: bool
    # Sources, beside those that start with "Job", whose updates are a sign of life.
    living_sources: frozenset[str]
    # A status that is none is an error; else it is one that no job may move to.
    refuses_unknown_states: bool
    # A job of which nothing was logged is an error.
    needs_history: bool
    # An ApplicationStatus is cut where it is too long; else that is an error.
    cuts_application_status: bool
    # A job that becomes Killed or Deleted is told to stop, and leaves its task queue.
    stops_removed_jobs: bool


DIRAC = Policy(
    stamps_now=True,
    living_sources=frozenset(),
    refuses_unknown_states=True,
    needs_history=True,
    cuts_application_status=False,
    stops_removed_jobs=False,
)
DIRACX = Policy(
    stamps_now=False,
    living_sources=frozenset({"Heartbeat"}),
    refuses_unknown_states=False,
    needs_history=False,
    cuts_application_status=True,
    stops_removed_jobs=True,
)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What a job reports at one moment; None or an empty text means unchanged.  ``moment`` is aware."""

    moment: datetime
    status: str | None = None
    minor_status: str | None = None
    application_status: str | None = None
    source: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Job:
    """A job before its updates; the times say whether it has started and ended."""

    job_id: int
    status: str
    started: datetime | None
    ended: datetime | None


# For each status that was logged of a job (``idem`` too), the highest StatusTimeOrder that it has.
History = Mapping[str, float]

# What an update can set, in the order in which DiracX answers it.
SETTABLE = (
    "Status",
    "MinorStatus",
    "ApplicationStatus",
    "HeartBeatTime",
    "StartExecTime",
    "EndExecTime",
    "LastUpdateTime",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the updates of one job make of it, in the form of DIRAC's columns.

    ``change``: every name of ``SETTABLE``, with None where the job stays as it is.
    ``records``: its new rows of LoggingInfo without SeqNum, in order of time.
    """

    change: dict[str, Any]
    records: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Step:
    """An update and what the state machine made of it.

    ``counts``: it is not older than what was logged last.  ``status`` is the status that the job has after
    it, ``logged`` the one that is logged for it, ``refused`` that another one was asked for.
    """

    update: StatusUpdate
    counts: bool
    status: str
    logged: str | None
    refused: bool = False


def apply_updates(
    job: Job,
    updates: Sequence[StatusUpdate],
    history: History,
    *,
    policy: Policy,
    force: bool,
    now: datetime,
) -> Outcome:
    """Judge the updates of one job.

    Every update is logged.  Those that are not older than what was logged last count: in order of time they
    change the status where the state machine (or ``force``) lets them, and the other texts.  Times of start,
    end and heartbeat are filled by old and by refused updates too.  Raises Refusal.
    """
    if policy.needs_history and not history:
        raise Refusal(f"No Logging Info for job {job.job_id}")
    in_time = sorted(updates, key=lambda each: each.moment)
    steps = _judged(job.status, in_time, history, policy=policy, force=force)
    change: dict[str, Any] = dict.fromkeys(SETTABLE)
    change |= _execution_times(job, in_time, history, policy, now)
    change |= _last_sign_of_life(in_time, policy)
    for step in steps:
        if step.counts:
            change |= _texts(step, policy)
            change["LastUpdateTime"] = to_column(now)
    return Outcome(change, [_record(job.job_id, step) for step in steps])


def _judged(
    current: str, updates: Sequence[StatusUpdate], history: History, *, policy: Policy, force: bool
) -> list[_Step]:
    """The updates of one job in order of time, each judged where the job stands by then.

    A Stalled job that reports is Running.  An update that is older than the last one logged is logged as it
    came and changes no status.
    """
    current = "Running" if current == "Stalled" else current
    last_order = max(history.values(), default=0.0)
    steps = []
    for update in updates:
        wanted = update.status or None
        if status_time_order(update.moment) < last_order:
            steps.append(_Step(update, False, current, wanted))
            continue
        if wanted is not None and policy.refuses_unknown_states and not force:
            check_known(wanted)
        if wanted is None or force or may_move(current, wanted):
            current = wanted or current
            steps.append(_Step(update, True, current, wanted))
        else:
            steps.append(_Step(update, True, current, current, refused=True))
    return steps


def _execution_times(
    job: Job, updates: Sequence[StatusUpdate], history: History, policy: Policy, now: datetime
) -> dict[str, datetime]:
    """The times of start and end that are not set yet, from the statuses that were asked for.

    An update without a status goes on with the one before it, and the first of them with the one logged last
    when it came: so a job that was put to Running without a start has one when it next reports.
    """
    found: dict[str, datetime] = {}
    status = _logged_before(updates[0].moment, history) if updates else None
    for update in updates:
        status = update.status or status
        moment = to_column(now if policy.stamps_now else update.moment)
        if status == "Running" and job.started is None:
            found.setdefault("StartExecTime", moment)
            if policy.stamps_now:
                found["HeartBeatTime"] = moment
        elif status in FINAL_STATES and job.ended is None:
            found.setdefault("EndExecTime", moment)
    return found


def _logged_before(moment: datetime, history: History) -> str | None:
    """The status logged last when a moment came, in whole seconds."""
    limit = status_time_order(moment.replace(microsecond=0))
    before = [(order, status) for status, order in history.items() if order <= limit]
    return max(before)[1] if before else None


def _last_sign_of_life(updates: Sequence[StatusUpdate], policy: Policy) -> dict[str, datetime]:
    living = [
        update.moment
        for update in updates
        if update.source.startswith("Job") or update.source in policy.living_sources
    ]
    return {"HeartBeatTime": to_column(living[-1])} if living else {}


# DIRAC cuts these texts in its log, where it refuses others that are too long.
APPLICATION_STATUS_SIZE = 255
SOURCE_SIZE = 32


def _texts(step: _Step, policy: Policy) -> dict[str, str]:
    """The texts that an update which counts sets."""
    texts = {"Status": step.status}
    if step.update.minor_status:
        texts["MinorStatus"] = step.update.minor_status
    if step.update.application_status:
        size = APPLICATION_STATUS_SIZE if policy.cuts_application_status else None
        texts["ApplicationStatus"] = step.update.application_status[:size]
    return texts


def _record(job_id: int, step: _Step) -> dict[str, Any]:
    update = step.update
    source = f"{update.source}{REFUSED_SUFFIX}" if step.refused else update.source
    return log_record(
        job_id,
        update.moment,
        status=step.logged,
        minor_status=update.minor_status,
        application_status=update.application_status,
        source=source,
    )


def log_record(
    job_id: int,
    moment: datetime,
    *,
    status: str | None = None,
    minor_status: str | None = None,
    application_status: str | None = None,
    source: str = "",
) -> dict[str, Any]:
    """A row of LoggingInfo; SeqNum is left to the database.  ``moment`` is aware."""
    return {
        "JobID": job_id,
        "Status": status or UNCHANGED,
        "MinorStatus": minor_status or UNCHANGED,
        "ApplicationStatus": (application_status or UNCHANGED)[:APPLICATION_STATUS_SIZE],
        "StatusTime": to_column(moment),
        "StatusTimeOrder": status_time_order(moment),
        "StatusSource": (source or UNKNOWN)[:SOURCE_SIZE],
    }


def dirac_answer(change: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What setJobStatus and its like return: names and values of the texts that were set, without Status."""
    texts = {name: change[name] for name in ("MinorStatus", "ApplicationStatus") if change[name] is not None}
    return list(texts), list(texts.values())


_MOMENT = re.compile(
    r"(?P<whole>\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2})(?:\.(?P<fraction>\d{1,6})\d*)?", re.ASCII
)


def dirac_moment(text: str) -> datetime:
    """The aware moment that a time text of setJobStatus and setJobStatusBulk means.

    ``2026-11-21 20:59:57`` or ``2026-11-21 20:59:57.758499``, in UTC; clients write no others.
    Raises UnfitArgument (with what DIRAC's code trips over) for any other text.
    """
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        whole = datetime.strptime(match["whole"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise UnfitArgument("'NoneType' object is not iterable") from error
    return whole + timedelta(microseconds=int((match["fraction"] or "0").ljust(6, "0")))
