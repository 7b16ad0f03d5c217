"""What a pilot's own token is good for: as long as the pilot lives, and on a few paths only."""

from __future__ import annotations

from rest_backend.errors import Forbidden, Unauthorized
from rest_backend.principals import Principal
from shared_db.connection import Databases, UnitOfWork
from shared_db.queries.pilot_jobs import pilots_of_stamps

# Its own affairs, the jobs that wait for it, and what it must know of the grid.
_OPEN_TO_PILOTS = ("/api/pilots/internal/", "/api/matcher/", "/api/config/", "/api/rss/")


async def check_pilot(
    principal: Principal | None, path: str, databases: Databases, work: UnitOfWork | None
) -> None:
    """Refuse a pilot where it has no business, or when it has ended; callers of other kinds pass.

    Asked on each use, so that a pilot which is deleted or done cannot go on.  Raises Forbidden, Unauthorized.
    """
    if principal is None or not principal.pilot_stamp:
        return
    if not path.startswith(_OPEN_TO_PILOTS):
        raise Forbidden(
            "A pilot's token is not good for this: a pilot may use the internal routes of pilots,"
            " matching, config and rss."
        )
    if work is None:
        async with databases.unit_of_work() as own:
            await _refuse_ended(principal, own)
    else:
        await _refuse_ended(principal, work)


async def _refuse_ended(principal: Principal, work: UnitOfWork) -> None:
    known = await pilots_of_stamps(work, [principal.pilot_stamp])
    if all(pilot.ended or pilot.vo != principal.vo for pilot in known):
        raise Unauthorized("This pilot has ended or was deleted: its tokens have ended with it.")
