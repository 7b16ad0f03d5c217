"""What JobStateUpdate's methods are called with, and who may call them (legacy-methods.md, section 5).

Texts were seen on DIRAC 9.1.22.  Its services say ``Not authorized`` of a job that does not exist too, but
for callers who may report on any job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared_db.rules.clock import status_time_order, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.heartbeats import HEARTBEAT_TIME, VALUE_SIZE, HeartBeat, dirac_beat
from shared_db.rules.job_ids import LARGEST, SMALLEST
from shared_db.rules.job_policy import CHANGE_STATUS, has_right
from shared_db.rules.job_states import check_known
from shared_db.rules.metadata import check_settable
from shared_db.rules.refusals import Refusal, UnfitArgument, no_date, out_of_range, too_long
from shared_db.rules.status_updates import APPLICATION_STATUS_SIZE, StatusUpdate, dirac_moment

# Who may report on any job.
PRIVILEGED = frozenset({"JobAdministrator", "TrustedHost", "Operator"})
ADMINISTRATOR = "JobAdministrator"

# What must be known of a job to let somebody report on it.
WHOSE = ("Owner", "OwnerGroup")

NO_MATCHING_JOB = "No Matching Job"


def is_privileged(properties: Sequence[str]) -> bool:
    """Whether a caller may report on any job, and learns whether one exists."""
    return not PRIVILEGED.isdisjoint(properties)


def may_force(force: Any, properties: Sequence[str]) -> bool:
    """Whether ``force`` is honoured; it is ignored in silence for others than administrators."""
    return bool(force) and ADMINISTRATOR in properties


def may_report(
    job: Mapping[str, str] | None, *, username: str, group: str, properties: Sequence[str]
) -> bool:
    """Whether a caller may report on a job; None: there is none."""
    if is_privileged(properties):
        return True
    return job is not None and has_right(
        CHANGE_STATUS,
        username=username,
        group=group,
        properties=properties,
        owner=job["Owner"],
        owner_group=job["OwnerGroup"],
    )


def not_authorized(job_id: Any) -> Refusal:
    """``job_id`` as the caller wrote it."""
    return Refusal(f"Not authorized to modify job {job_id}")


def reported_id(job_id: Any) -> int:
    """The id of the job that a call is about.  Raises UnfitArgument."""
    try:
        return int(job_id)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnfitArgument(str(error)) from error


def is_storable(job_id: int) -> bool:
    """Whether a job can have an id at all."""
    return SMALLEST <= job_id <= LARGEST


def check_selectable(job_id: int) -> None:
    """Raises Refusal for an id that no job can have, where DIRAC's database complains of it."""
    if not is_storable(job_id):
        raise out_of_range("JobID")


# LoggingInfo.StatusTimeOrder is a DECIMAL(12,3).
_LARGEST_ORDER = 10**9
MINOR_STATUS_SIZE = 128


def status_updates(
    status: Any = "", minor: Any = "", application: Any = "", source: Any = "", moment: Any = None
) -> list[StatusUpdate]:
    """The update of a call that brings one; none where there is nothing in it, whatever its moment.

    ``moment``: a text as in ``dirac_moment``; nothing: now.  Raises Refusal, UnfitArgument.
    """
    texts = {"Status": status, "MinorStatus": minor, "ApplicationStatus": application}
    if not any(texts.values()):
        return []
    return [_update(_moment(moment) if moment else utc_now(), {**texts, "Source": source})]


def bulk_updates(updates: Mapping[Any, Any]) -> list[StatusUpdate]:
    """Those of setJobStatusBulk, ``{time: {"Status", "MinorStatus", "ApplicationStatus", "Source"}}``.

    Raises Refusal, UnfitArgument.
    """
    if not updates:
        raise UnfitArgument("there is no update")
    found = []
    for moment, texts in updates.items():
        if not isinstance(texts, Mapping):
            raise UnfitArgument(f"an update is a dictionary, not {texts!r}")
        found.append(_update(_moment(moment), texts))
    return found


def _moment(text: Any) -> datetime:
    if not isinstance(text, str):
        raise UnfitArgument(f"a time is a text such as '2026-11-21 20:59:57', not {text!r}")
    return dirac_moment(text)


def _update(moment: datetime, texts: Mapping[str, Any]) -> StatusUpdate:
    for name in ("Status", "MinorStatus", "ApplicationStatus", "Source"):
        if texts.get(name) and not isinstance(texts[name], str):
            raise UnfitArgument(f"{name} is a text, not {texts[name]!r}")
    if len(texts.get("MinorStatus") or "") > MINOR_STATUS_SIZE:
        raise too_long("MinorStatus")
    if abs(status_time_order(moment)) >= _LARGEST_ORDER:
        raise out_of_range("StatusTimeOrder")
    return StatusUpdate(
        moment,
        texts.get("Status") or None,
        texts.get("MinorStatus") or None,
        texts.get("ApplicationStatus") or None,
        texts.get("Source") or "Unknown",
    )


def check_sendable(updates: Sequence[StatusUpdate], *, force: bool) -> None:
    """Raises Refusal for what DIRAC refuses of updates that count, and REST would put right in silence."""
    for update in updates:
        if len(update.application_status or "") > APPLICATION_STATUS_SIZE:
            raise too_long("ApplicationStatus")
        if update.status and not force:
            check_known(update.status)


def heartbeat_of(dynamic: Mapping[str, Any], static: Mapping[str, Any]) -> HeartBeat:
    """What sendHeartBeat is given.  Raises UnfitArgument."""
    beat = dirac_beat(dynamic, static)
    if beat is None:
        raise UnfitArgument(f"{HEARTBEAT_TIME} is no time: {dynamic[HEARTBEAT_TIME]!r}")
    return beat


ATTRIBUTE_SIZES = {"MinorStatus": 128, "ApplicationStatus": 255, "Site": 100, "Status": 32}


def attribute_value(attribute: str, value: str) -> str | datetime:
    """The value of setJobAttribute as its column has it; times are naive UTC.  Raises Refusal.

    A status is not looked at: whether it is one matters only where the job exists.
    """
    check_settable(attribute)
    if attribute.endswith("Time"):
        moment = mysql_datetime(value)
        if moment is None:
            raise no_date(attribute, value)
        return moment
    if attribute != "Status" and len(value) > ATTRIBUTE_SIZES[attribute]:
        raise too_long(attribute)
    return value


def attribute_answer(attribute: str, *, exists: bool, changed: int) -> int | None:
    """What setJobAttribute says: how many rows changed, as MySQL counts them.

    A status is set by a statement that counts twice, and of no job there is nothing to count.
    """
    if attribute != "Status":
        return changed
    return 2 * changed if exists else None


def no_flag(flag: str) -> Refusal:
    """What 8.0's last releases say of every flag that a job has."""
    return Refusal(f"Job flag '{flag}' cannot be modified through JobStateUpdate")


NAME_SIZE = 100


def given_parameters(pairs: Any) -> dict[str, str]:
    """The parameters of setJobParameters, a list of pairs.  Raises Refusal, UnfitArgument."""
    try:
        parameters = {str(name): str(value) for name, value in dict(pairs).items()}
    except (TypeError, ValueError) as error:
        raise UnfitArgument(str(error)) from error
    for name, value in parameters.items():
        _check_parameter(name, value)
    return parameters


def _check_parameter(name: str, value: str) -> None:
    if any("\ud800" <= each <= "\udfff" for each in name + value):
        raise UnfitArgument("a parameter holds no text that can be stored")
    if len(name) > NAME_SIZE:
        raise too_long("Name")
    if len(value.encode()) > VALUE_SIZE:
        raise too_long("Value")


def parameters_of_jobs(given: Mapping[Any, Any]) -> dict[int, dict[str, str]]:
    """Those of setJobsParameter, ``{job: (name, value)}``, by the ids of the jobs.

    Raises Refusal, UnfitArgument; then nothing is set.
    """
    found: dict[int, dict[str, str]] = {}
    for job_id, pair in given.items():
        try:
            name, value = str(pair[0]), str(pair[1])
        except (TypeError, LookupError) as error:
            raise UnfitArgument(f"a name and a value are needed, not {pair!r}") from error
        _check_parameter(name, value)
        found.setdefault(reported_id(job_id), {})[name] = value
    return found


def last_refused(given: Mapping[Any, Any], allowed: Mapping[int, Any] | set[int]) -> Refusal | None:
    """What setJobsParameter says where some jobs are not the caller's: it names the last of them."""
    refused = [job_id for job_id in given if reported_id(job_id) not in allowed]
    return not_authorized(refused[-1]) if refused else None
