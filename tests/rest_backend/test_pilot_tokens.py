"""Pilots' secrets and tokens (``rest-diracx.md``, section 7, routes that exist only in unreleased code)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from shared_db.queries import pilot_secrets as secret_queries
from shared_db.queries.pilot_secrets import purge_ended_secrets
from shared_db.rules import clock
from shared_db.schema.wherry_db import WHERRY_DB, pilot_secrets, refresh_tokens

from .conftest import Grid, Said, one

BULK = "/api/pilots/bulk"
SECRETS = "/api/pilots/secrets"
EXCHANGE = "/api/auth/secret-exchange"
REFRESH = "/api/auth/pilot-token"
INFO = "/api/pilots/internal/pilotinfo"
METADATA = "/api/pilots/metadata"


async def bulk(grid: Grid, *stamps: str, caller: str = "admin", **given: Any) -> Said:
    """Register pilots of the VO ``demo``."""
    return await grid.http("POST", BULK, {"pilot_stamps": stamps, "vo": "demo", **given}, caller=caller)


async def secret_of(grid: Grid, stamp: str, **given: Any) -> str:
    """Register one pilot; its secret."""
    said = await bulk(grid, stamp, **given)
    assert said.status == 200, said.body
    return str(said.body[0]["pilot_secret"])


async def new_secret(grid: Grid, **given: Any) -> str:
    """A secret for pilots of the VO ``demo`` that are not registered yet."""
    said = await grid.http("POST", SECRETS, {"vo": "demo", **given})
    assert said.status == 200, said.body
    return str(said.body[0]["pilot_secret"])


async def exchange(grid: Grid, stamp: str, secret: str, **vacuum: Any) -> Said:
    """Ask for a pilot's first tokens."""
    return await grid.http(
        "POST", EXCHANGE, {"pilot_stamp": stamp, "pilot_secret": secret, **vacuum}, caller=None
    )


async def tokens_of(grid: Grid, stamp: str) -> Mapping[str, Any]:
    """Register a pilot; its first tokens."""
    said = await exchange(grid, stamp, await secret_of(grid, stamp))
    assert said.status == 200, said.body
    return said.body


async def refresh(grid: Grid, stamp: str, token: str) -> Said:
    """Ask for new tokens of a pilot."""
    return await grid.http("POST", REFRESH, {"refresh_token": token, "pilot_stamp": stamp}, caller=None)


async def as_pilot(grid: Grid, token: str, method: str = "GET", path: str = INFO, body: Any = None) -> Said:
    """Ask with a pilot's access token."""
    headers = {"Authorization": f"Bearer {token}"}
    return await grid.http(method, path, body, caller=None, headers=headers)


async def pilot_row(grid: Grid, stamp: str) -> dict[str, Any]:
    """The one pilot with a stamp."""
    said = await grid.http("POST", "/api/pilots/search", {"search": [one("PilotStamp", "eq", stamp)]})
    [pilot] = said.body
    return pilot


# --- Registration with secrets


async def test_pilots_are_registered_each_with_a_secret(grid) -> None:
    """Several pilots in one call: what was given is stored, each gets 64 hex digits and their end."""
    before = time.time()
    said = await bulk(
        grid,
        "n1",
        "n2",
        grid_type="Slurm",
        grid_site="DEMO.Lyon.fr",
        destination_site="ce9",
        pilot_references={"n2": "slurm://ce9/2"},
        pilot_status="Waiting",
    )
    assert said.status == 200
    assert [each["pilot_stamp"] for each in said.body] == ["n1", "n2"]
    secrets = [each["pilot_secret"] for each in said.body]
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in secrets)
    assert len(set(secrets)) == 2
    day = timedelta(days=1).total_seconds()
    assert all(before + day - 1 <= each["pilot_secret_expires_in"] <= time.time() + day for each in said.body)
    assert said.headers["Cache-Control"] == "no-store"
    wanted = ("GridType", "GridSite", "DestinationSite", "PilotJobReference", "Status", "VO")
    rows = [await pilot_row(grid, stamp) for stamp in ("n1", "n2")]
    assert [[row[name] for name in wanted] for row in rows] == [
        ["Slurm", "DEMO.Lyon.fr", "ce9", "n1", "Waiting", "demo"],
        ["Slurm", "DEMO.Lyon.fr", "ce9", "slurm://ce9/2", "Waiting", "demo"],
    ]


async def test_secrets_are_not_kept(grid) -> None:
    """Whoever reads the database learns no secret."""
    secret = await secret_of(grid, "n1")
    rows = await grid.rows(WHERRY_DB, select(pilot_secrets))
    assert len(rows) == 1
    assert secret not in str(rows)


async def test_pilots_without_secrets(grid) -> None:
    """Where none are wanted, none are made."""
    said = await bulk(grid, "n1", generate_secrets=False)
    assert said.body == [{"pilot_stamp": "n1", "pilot_secret": None, "pilot_secret_expires_in": None}]
    assert await grid.rows(WHERRY_DB, select(pilot_secrets)) == []


@pytest.mark.parametrize(
    ("stamps", "given", "status", "detail"),
    [
        (["new", "s1"], {}, 409, "Pilot with stamp 's1' already exists"),
        (["new"], {"vo": "novo"}, 400, "VO 'novo' is not registered in this installation."),
        (["new", "new"], {}, 422, "a stamp is named twice in pilot_stamps"),
        (["new"], {"pilot_references": {"x": "y"}}, 422, "names stamps that are not in pilot_stamps: ['x']"),
        ([], {}, 422, "at least 1 item"),
    ],
)
async def test_refused_bulk_registrations(grid, stamps, given, status, detail) -> None:
    """All or none: one stamp that is in use refuses the whole call."""
    said = await bulk(grid, *stamps, **given)
    assert said.status == status
    assert detail in str(said.detail)
    new = await grid.http("POST", "/api/pilots/search", {"search": [one("PilotStamp", "eq", "new")]})
    assert new.body == []
    assert await grid.rows(WHERRY_DB, select(pilot_secrets)) == []


# --- The exchange


async def test_a_secret_becomes_tokens(grid) -> None:
    """A pilot's token says which pilot it is, and gives no property."""
    said = await exchange(grid, "n1", await secret_of(grid, "n1"))
    assert said.status == 200
    assert said.headers["Cache-Control"] == "no-store"
    assert said.body.keys() == {"access_token", "expires_in", "token_type", "refresh_token"}
    claims = jwt.decode(said.body["access_token"], options={"verify_signature": False})
    assert claims.keys() == {"sub", "vo", "iss", "jti", "exp", "pilot_stamp"}
    assert (claims["sub"], claims["vo"], claims["pilot_stamp"]) == ("demo:n1", "demo", "n1")
    claims = jwt.decode(said.body["refresh_token"], options={"verify_signature": False})
    assert {"jti", "exp", "legacy_exchange"} <= claims.keys()
    assert claims["legacy_exchange"] is False
    info = await as_pilot(grid, said.body["access_token"])
    assert (info.status, info.body) == (200, {"sub": "demo:n1", "vo": "demo", "pilot_stamp": "n1"})


@pytest.mark.parametrize("most", [1, 3])
async def test_uses_are_counted_when_many_come_at_once(grid, most) -> None:
    """However many exchange a secret at the same time, it is used as often as it may be."""
    secret = await secret_of(grid, "n1", pilot_secret_use_count_max=most)
    answers = await asyncio.gather(*[exchange(grid, "n1", secret) for _ in range(8)])
    assert sorted(said.status for said in answers) == [200] * most + [401] * (8 - most)
    assert {said.detail for said in answers if said.status == 401} == {"secret used up"}


async def test_a_secret_without_limits(grid, monkeypatch) -> None:
    """Neither uses nor time end it where it was made so."""
    secret = await new_secret(grid, pilot_secret_use_count_max=None, expiration_minutes=None)
    for stamp in ("s1", "v1", "v2"):
        assert (await exchange(grid, stamp, secret, vo="demo")).status == 200
    later = datetime.now(UTC) + timedelta(days=4000)
    monkeypatch.setattr(clock, "utc_now", lambda: later)
    assert (await exchange(grid, "v3", secret, vo="demo")).status == 200


async def test_refused_exchanges(grid, monkeypatch) -> None:
    """Each reason has its text, and a refused exchange uses nothing up."""
    secret = await secret_of(grid, "n1")
    await bulk(grid, "n2", generate_secrets=False)
    for stamp, given, vacuum, text in [
        ("n1", "0" * 64, {}, "bad pilot_secret"),
        ("n1", "\u00e9", {}, "bad pilot_secret"),
        ("n2", secret, {}, "bad credentials"),
        ("nobody", secret, {}, "bad pilot_stamp"),
        ("nobody", secret, {"vo": "demo"}, "bad credentials"),
        ("n1", secret, {"vo": "other"}, "bad pilot_stamp"),
    ]:
        said = await exchange(grid, stamp, given, **vacuum)
        assert (said.status, said.detail) == (401, text)
    now = datetime.now(UTC)
    monkeypatch.setattr(clock, "utc_now", lambda: now + timedelta(days=1, minutes=1))
    assert (await exchange(grid, "n1", secret)).detail == "secret expired"
    monkeypatch.setattr(clock, "utc_now", lambda: now)
    assert (await exchange(grid, "n1", secret)).status == 200
    assert (await exchange(grid, "n1", secret)).detail == "secret used up"


@pytest.mark.parametrize("status", ["Done", "Failed", "Aborted", "Deleted"])
async def test_a_pilot_that_has_ended_gets_no_tokens(grid, status) -> None:
    """Neither by its secret, registered or vacuum, nor by its refresh token; and those it has are refused."""
    secret = await secret_of(grid, "n1", pilot_secret_use_count_max=5)
    tokens = (await exchange(grid, "n1", secret)).body
    await grid.http("PATCH", METADATA, {"n1": {"Status": status}})
    assert (await exchange(grid, "n1", secret)).detail == "bad pilot_stamp"
    assert (await exchange(grid, "n1", secret, vo="demo")).detail == "bad pilot_stamp"
    for said in (
        await as_pilot(grid, tokens["access_token"]),
        await refresh(grid, "n1", tokens["refresh_token"]),
    ):
        assert (said.status, said.detail) == (
            401,
            "This pilot has ended or was deleted: its tokens have ended with it.",
        )


async def test_a_deleted_pilots_token_is_refused(grid) -> None:
    """The row is gone, and the token with it."""
    tokens = await tokens_of(grid, "n1")
    assert (await grid.http("DELETE", "/api/pilots/", query={"pilot_stamps": "n1"})).status == 204
    assert (await as_pilot(grid, tokens["access_token"])).status == 401
    assert (await refresh(grid, "n1", tokens["refresh_token"])).status == 401


# --- Vacuum pilots

VACUUM: Mapping[str, Any] = {
    "vo": "demo",
    "grid_type": "Vacuum",
    "grid_site": "DEMO.Geneva.ch",
    "status": "Running",
}


async def test_a_vacuum_pilot_registers_itself(grid) -> None:
    """First it is told that nobody knows it, which costs no use; then it says who it is."""
    secret = await new_secret(grid)
    first = await exchange(grid, "vac", secret)
    assert (first.status, first.detail) == (401, "bad pilot_stamp")
    assert (await exchange(grid, "vac", secret, **VACUUM)).status == 200
    row = await pilot_row(grid, "vac")
    names = ("VO", "GridType", "GridSite", "Status", "PilotJobReference")
    assert [row[name] for name in names] == ["demo", "Vacuum", "DEMO.Geneva.ch", "Running", "vac"]


async def test_a_vacuum_pilot_that_comes_twice_is_one_pilot(grid) -> None:
    """At once or one after the other: it is registered once."""
    secret = await new_secret(grid, pilot_secret_use_count_max=None)
    answers = await asyncio.gather(*[exchange(grid, "vac", secret, **VACUUM) for _ in range(4)])
    assert {said.status for said in answers} == {200}
    assert (await pilot_row(grid, "vac"))["PilotID"] == 7


@pytest.mark.parametrize(
    ("given", "status", "detail"),
    [
        ({"vo": "other"}, 401, "bad credentials"),
        ({"status": "Done"}, 400, "A pilot that registers itself is not Done"),
        ({"status": "Scheduled"}, 422, "Input should be"),
        ({"extra": 1}, 422, "extra_forbidden"),
    ],
)
async def test_refused_vacuum_pilots(grid, given, status, detail) -> None:
    """They stay unknown."""
    said = await exchange(grid, "vac", await new_secret(grid), **{**VACUUM, **given})
    assert said.status == status
    assert detail in str(said.detail)
    found = await grid.http("POST", "/api/pilots/search", {"search": [one("PilotStamp", "eq", "vac")]})
    assert found.body == []


async def test_a_vo_that_a_secret_allows_must_be_registered(grid) -> None:
    """A secret of all VOs is good for those of this installation."""
    secret = await new_secret(grid)
    await grid.http("PATCH", SECRETS, {secret: {"VOs": []}})
    said = await exchange(grid, "vac", secret, **{**VACUUM, "vo": "novo"})
    assert (said.status, said.detail) == (400, "VO 'novo' is not registered in this installation.")


async def test_a_stamp_that_is_a_users_subject_is_refused(make_grid) -> None:
    """Otherwise what is revoked of the pilot would be revoked of the user, and the other way round."""
    async with make_grid(settings={"Registry/Users/olga/Subject": "short"}) as grid:
        secret = await new_secret(grid)
        await grid.http("PATCH", SECRETS, {secret: {"VOs": []}})
        said = await exchange(grid, "short", secret, **{**VACUUM, "vo": "other"})
        assert (said.status, said.detail) == (401, "bad pilot_stamp")


# --- Constraints


@pytest.mark.parametrize(
    ("constraints", "allowed"),
    [
        ({}, {"demo"}),
        ({"VOs": ["demo", "other"]}, {"demo", "other"}),
        ({"VOs": []}, {"demo", "other"}),
        ({"VOs": ["other"]}, {"other"}),
        ({"PilotStamps": ["vac-demo"]}, {"demo"}),
        ({"Sites": ["DEMO.Lyon.fr"]}, set()),
        ({"VOs": [], "Sites": ["DEMO.Lyon.fr", "DEMO.Geneva.ch"]}, {"demo", "other"}),
        ({"VOs": ["other"], "PilotStamps": ["vac-demo"]}, set()),
    ],
)
async def test_constraints_of_secrets(grid, constraints, allowed) -> None:
    """VOs, stamps and sites each forbid the others; an empty list forbids nothing."""
    secret = await new_secret(grid, pilot_secret_use_count_max=None)
    said = await grid.http("PATCH", SECRETS, {secret: constraints})
    assert (said.status, said.body) == (204, None)
    given = {}
    for vo in ("demo", "other"):
        given[vo] = await exchange(grid, f"vac-{vo}", secret, **{**VACUUM, "vo": vo})
    assert {vo for vo, said in given.items() if said.status == 200} == allowed
    assert {said.detail for said in given.values() if said.status != 200} <= {"bad credentials"}


async def test_constraints_are_of_the_registered_pilots_site(grid) -> None:
    """A registered pilot's site is the one that was registered, whatever it says."""
    secret = await new_secret(grid)
    await bulk(grid, "n1", generate_secrets=False, grid_site="DEMO.Lyon.fr")
    await grid.http("PATCH", SECRETS, {secret: {"Sites": ["DEMO.Geneva.ch"]}})
    assert (await exchange(grid, "n1", secret, **VACUUM)).detail == "bad credentials"


async def test_constraints_change_what_they_name(grid) -> None:
    """Lists that are left out stay; of several secrets all must be there."""
    secrets = [await new_secret(grid) for _ in range(2)]
    await grid.http("PATCH", SECRETS, {secrets[0]: {"Sites": ["A"]}, secrets[1]: {"PilotStamps": ["x"]}})
    said = await grid.http("PATCH", SECRETS, {secrets[0]: {"VOs": ["other"]}, "f" * 64: {}})
    assert (said.status, said.detail) == (404, "At least one pilot secret does not exist.")
    assert (await grid.http("PATCH", SECRETS, {secrets[0]: {"VOs": ["novo"]}})).status == 400
    rows = await grid.rows(WHERRY_DB, select(pilot_secrets.c.secret_hash, pilot_secrets.c.constraints_json))
    kept = dict(rows)
    assert kept[secret_queries.digest(secrets[0])] == '{"VOs": ["demo"], "Sites": ["A"]}'
    assert kept[secret_queries.digest(secrets[1])] == '{"VOs": ["demo"], "PilotStamps": ["x"]}'


@pytest.mark.parametrize("given", [{"n": 0}, {"n": 1001}, {"expiration_minutes": 0}, {"vo": None}, {"x": 1}])
async def test_secrets_of_the_wrong_shape(grid, given) -> None:
    """What does not fit is 422."""
    assert (await grid.http("POST", SECRETS, {"vo": "demo", **given})).status == 422


async def test_many_secrets_at_once(grid) -> None:
    """``n`` of them, all different, with the end that was asked for."""
    before = time.time()
    said = await grid.http("POST", SECRETS, {"vo": "demo", "n": 1000, "expiration_minutes": 5})
    assert len({each["pilot_secret"] for each in said.body}) == 1000
    [end] = {each["pilot_secret_expires_in"] for each in said.body}
    assert before + 299 <= end <= time.time() + 300


# --- Refreshing


async def test_refreshing_rotates(grid) -> None:
    """A refresh token is good once; the new one ends when the first would have."""
    first = await tokens_of(grid, "n1")
    second = await refresh(grid, "n1", first["refresh_token"])
    assert second.status == 200
    assert second.headers["Cache-Control"] == "no-store"
    assert (await as_pilot(grid, second.body["access_token"])).status == 200
    ends = [
        jwt.decode(each["refresh_token"], options={"verify_signature": False})["exp"]
        for each in (first, second.body)
    ]
    assert ends[0] == ends[1]
    third = await refresh(grid, "n1", second.body["refresh_token"])
    assert third.status == 200


async def test_a_refresh_token_used_twice_ends_the_pilots_access(grid) -> None:
    """The whole family is revoked: the newest refresh token, and every access token."""
    first = await tokens_of(grid, "n1")
    second = (await refresh(grid, "n1", first["refresh_token"])).body
    again = await refresh(grid, "n1", first["refresh_token"])
    assert again.status == 401
    assert again.detail.startswith("Revoked refresh token reused")
    assert (await refresh(grid, "n1", second["refresh_token"])).status == 401
    statuses = await grid.rows(WHERRY_DB, select(refresh_tokens.c.status))
    assert set(statuses) == {("REVOKED",)}


async def test_two_refreshes_at_once(grid) -> None:
    """One of them wins, the other one is a reuse."""
    first = await tokens_of(grid, "n1")
    answers = await asyncio.gather(*[refresh(grid, "n1", first["refresh_token"]) for _ in range(4)])
    assert sorted(said.status for said in answers) == [200, 401, 401, 401]


async def test_refused_refreshes(grid) -> None:
    """Another pilot's token, an access token and garbage prove nothing, and end nothing."""
    mine, others = await tokens_of(grid, "n1"), await tokens_of(grid, "n2")
    assert (await refresh(grid, "n1", others["refresh_token"])).detail == "bad pilot_stamp"
    assert (await refresh(grid, "n1", mine["access_token"])).status == 401
    assert (await refresh(grid, "n1", "garbage")).status == 401
    assert (await refresh(grid, "n2", others["refresh_token"])).status == 200
    assert (await refresh(grid, "n1", mine["refresh_token"])).status == 200


async def test_pilots_refresh_tokens_are_no_users(grid) -> None:
    """The token endpoint makes no user's token of them."""
    tokens = await tokens_of(grid, "n1")
    form = f"grant_type=refresh_token&client_id=x&refresh_token={tokens['refresh_token']}"
    said = await grid.http(
        "POST",
        "/api/auth/token",
        data=form.encode(),
        caller=None,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert said.status in (400, 401, 403)
    assert "access_token" not in said.body
    assert (await refresh(grid, "n1", tokens["refresh_token"])).status == 200


# --- Where a pilot's token is good


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/jobs/search", {}),
        ("POST", "/api/jobs/jdl", ["[]"]),
        ("PATCH", "/api/jobs/status", {"1": {"2024-05-01T10:00:00Z": {"Status": "Killed"}}}),
        ("POST", "/api/pilots/search", {}),
        ("POST", "/api/pilots/", {"pilot_stamp": "x", "vo": "demo"}),
        ("PATCH", METADATA, {"n1": {"Status": "Done"}}),
        ("POST", SECRETS, {"vo": "demo"}),
        ("GET", "/api/auth/userinfo", None),
        ("GET", "/api/pilots/logs/limits", None),
        ("POST", "/api/pilots/legacy/message", {"pilot_stamp": "n1", "lines": []}),
    ],
)
async def test_a_pilots_token_is_good_for_few_things(grid, method, path, body) -> None:
    """Everything but its own routes, matching, config and rss is forbidden to it."""
    tokens = await tokens_of(grid, "n1")
    said = await as_pilot(grid, tokens["access_token"], method, path, body)
    assert said.status == 403


@pytest.mark.parametrize("path", ["/api/config/", "/api/rss/site"])
async def test_what_a_pilot_must_know_of_the_grid(grid, path) -> None:
    """Configuration and resource status are open to it, as long as it lives."""
    tokens = await tokens_of(grid, "n1")
    assert (await as_pilot(grid, tokens["access_token"], "GET", path)).status == 200
    await grid.http("PATCH", METADATA, {"n1": {"Status": "Done"}})
    assert (await as_pilot(grid, tokens["access_token"], "GET", path)).status == 401


# --- Cleaning


async def test_secrets_that_have_ended_are_purged(grid) -> None:
    """A few at a time; those without end and those still good stay."""
    for minutes in (1, 2, 3, 600, None):
        await new_secret(grid, expiration_minutes=minutes)
    soon = datetime.now(UTC) + timedelta(minutes=10)
    gone = []
    for _ in range(3):
        async with grid.databases.unit_of_work(write=True) as work:
            gone.append(await purge_ended_secrets(work, soon, most=2))
    assert gone == [2, 1, 0]
    assert len(await grid.rows(WHERRY_DB, select(pilot_secrets))) == 2
