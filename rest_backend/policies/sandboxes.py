"""Who may do what with sandboxes (rest-diracx.md, 6.1 and 6.5)."""

from __future__ import annotations

from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.models.sandboxes import SandboxQuery
from rest_backend.operations import Context, Policy
from rest_backend.policies.jobs import OWN_JOBS
from rest_backend.principals import Principal
from shared_db.connection import again
from shared_db.queries.sandboxes import sandbox_owner
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import Location, Owner, Reach, managed_by, name_of, reach_of, rest_folder

_MONITOR = "sandbox-monitor: JobMonitor may look at those of any job, as SandboxStore lets it."


def owner_of(caller: Principal) -> Owner:
    """What a caller owns sandboxes as."""
    return Owner(caller.username, caller.group, caller.vo)


async def _create_sandboxes(context: Context, _body: Any, _parameters: Any) -> None:
    caller = context.caller
    may = caller.has("NormalUser") or (caller.by_certificate and caller.vo)
    if not may or caller.pilot_stamp or not (caller.username and caller.group):
        raise Forbidden


CREATE_SANDBOXES = Policy(
    "create-sandboxes",
    "NormalUser. A pilot's own token is refused.",
    _create_sandboxes,
    extension="sandbox-legacy: any legacy caller in a VO who shows a certificate, as SandboxStore lets them.",
)


def reach_of_caller(caller: Principal) -> Reach:
    """Whose sandboxes a caller may see.  Raises Forbidden."""
    try:
        return reach_of(owner_of(caller), caller.properties)
    except Refusal as refusal:
        raise Forbidden(refusal.message) from refusal


async def _reach_sandboxes(context: Context, _body: Any, _parameters: Any) -> None:
    reach_of_caller(context.caller)


REACH_SANDBOXES = Policy(
    "reach-sandboxes",
    "NormalUser: the own sandboxes; with JobSharing those of the own group; JobAdministrator and JobMonitor: "
    "any. Of sandboxes of others nothing is said.",
    _reach_sandboxes,
    extension="sandbox-entities: the whole route is an extension.",
)


def managed_by_caller(caller: Principal) -> Reach:
    """Whose sandboxes a caller may give and take.  Raises Forbidden."""
    try:
        return managed_by(owner_of(caller), caller.properties)
    except Refusal as refusal:
        raise Forbidden(refusal.message) from refusal


async def _manage_sandboxes(context: Context, _body: Any, _parameters: Any) -> None:
    managed_by_caller(context.caller)


MANAGE_SANDBOXES = Policy(
    "manage-sandboxes",
    "NormalUser: the own sandboxes; with JobSharing those of the own group; JobAdministrator: any. Jobs are "
    "given sandboxes by those who may put some into them.",
    _manage_sandboxes,
    extension="sandbox-entities: the whole route is an extension.",
)


async def _name_sandboxes(context: Context, body: Any, parameters: Any) -> None:
    await CREATE_SANDBOXES.check(context, body, parameters)
    folder = rest_folder(context.resources.sandbox_store.bucket, owner_of(context.caller))
    if not name_of(body.pfn).startswith(folder):
        raise Forbidden(f"Invalid PFN. PFN must start with {folder}")


NAME_SANDBOXES = Policy(
    "name-sandboxes",
    "Who may upload, for the own sandboxes.",
    _name_sandboxes,
    extension="sandbox-legacy: the whole route is an extension.",
)


async def _read_sandboxes(context: Context, _body: None, query: SandboxQuery) -> None:
    caller = context.caller
    if caller.has("JobAdministrator", "JobMonitor"):
        return
    if not caller.has("NormalUser", "JobSharing"):
        raise Forbidden
    resources = context.resources
    bucket = resources.sandbox_store.bucket
    name = name_of(query.pfn)
    folder = rest_folder(bucket, owner_of(caller))
    group = folder.removesuffix(f"{caller.username}/")
    if not name.startswith(group if caller.has("JobSharing") else folder):
        raise Forbidden(f"Invalid PFN. PFN must start with {folder}")

    async def registered() -> Owner | None:
        async with resources.databases.unit_of_work() as work:
            return await sandbox_owner(work, Location(resources.settings.sandboxes.storage_element, name))

    owner = await again(registered)
    if owner is None or not _reaches(caller, owner):
        raise Forbidden(f"{caller.username} is not the owner of the sandbox")


def _reaches(caller: Principal, owner: Owner) -> bool:
    if (owner.group, owner.vo) != (caller.group, caller.vo):
        return False
    return caller.has("JobSharing") or owner.name == caller.username


READ_SANDBOXES = Policy(
    "read-sandboxes",
    "JobAdministrator: any sandbox. NormalUser: those that he uploaded, in the same group and VO.",
    _read_sandboxes,
    extension=(
        "sandbox-sharing: a member of a group with JobSharing may read the sandboxes of that group. "
        "sandbox-monitor: JobMonitor may read any. Both as SandboxStore lets them."
    ),
)


async def _read_job_sandboxes(context: Context, body: None, parameters: Any) -> None:
    caller = context.caller
    if caller.has("JobMonitor") and not caller.pilot_stamp:
        return
    await OWN_JOBS.check(context, body, parameters)


READ_JOB_SANDBOXES = Policy(
    "read-job-sandboxes",
    OWN_JOBS.rule,
    _read_job_sandboxes,
    extension=f"{OWN_JOBS.extension} {_MONITOR}",
)

POLICIES = (
    CREATE_SANDBOXES,
    READ_SANDBOXES,
    READ_JOB_SANDBOXES,
    REACH_SANDBOXES,
    MANAGE_SANDBOXES,
    NAME_SANDBOXES,
)
