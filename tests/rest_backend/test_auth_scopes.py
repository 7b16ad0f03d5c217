"""Scopes: what is asked for, and what is granted (rest-diracx.md, section 3)."""

from __future__ import annotations

import jwt
import pytest

from rest_backend.errors import RestError
from rest_backend.scopes import Scope, granted

KNOWN = "'vo:demo' 'vo:other'"

WRONG = {
    "vo:demo foo": "Unrecognised scopes: ['foo']",
    "vo:demo  group:demo_user": "Unrecognised scopes: ['']",
    "": "Unrecognised scopes: ['']",
    "vo:demo role:x openid": "Unrecognised scopes: ['role:x', 'openid']",
    "group:demo_user": f"No vo scope requested, available values: {KNOWN}",
    "vo:x vo:demo": "Only one vo is allowed but got ['x', 'demo']",
    "vo:nope": "VO nope is not known to this installation",
    "vo:": "VO  is not known to this installation",
    "vo:demo group:demo_user group:demo_admin": (
        "Only one DIRAC group allowed but got ['demo_user', 'demo_admin']"
    ),
    "vo:demo group:nope": "nope not in demo groups",
    "vo:demo group:other_user": "other_user not in demo groups",
    "vo:demo property:Nope": "{'Nope'} are not valid properties",
    "vo:demo property:Z property:NormalUser property:A": "{'A', 'Z'} are not valid properties",
}


@pytest.mark.parametrize("scope", WRONG)
async def test_wrong_scopes(grid, scope) -> None:
    """A scope that cannot be is 400 with DiracX's text, wherever it is given."""
    query = {"client_id": "myDIRACClientID", "scope": scope}
    said = await grid.http("POST", "/api/auth/device", caller=None, query=query)
    assert (said.status, said.detail) == (400, WRONG[scope])


@pytest.mark.parametrize(
    ("user", "scope", "group", "properties"),
    [
        pytest.param("alice", "vo:demo", "demo_user", ["NormalUser"], id="the VO's default group"),
        pytest.param("olga", "vo:other group:other_user", "other_user", ["NormalUser"], id="another VO"),
        pytest.param(
            "carol", "group:demo_share vo:demo", "demo_share", ["NormalUser", "JobSharing"], id="a group"
        ),
        pytest.param(
            "alice",
            "vo:demo property:JobAdministrator property:Operator property:JobAdministrator",
            "demo_user",
            ["NormalUser", "JobAdministrator", "Operator"],
            id="properties of another of the own groups",
        ),
        pytest.param(
            "bob", "vo:demo group:demo_user property:NormalUser", "demo_user", ["NormalUser"], id="no news"
        ),
    ],
)
def test_what_is_granted(grid, user, scope, group, properties) -> None:
    """The group's properties and those asked for."""
    registry = grid.registry
    principal = granted(registry, registry.users[user], Scope.parse(scope, registry))
    assert (principal.username, principal.group) == (user, group)
    assert list(principal.properties) == properties
    assert principal.subject == registry.subject(user, principal.vo)


@pytest.mark.parametrize(
    ("user", "scope", "text"),
    [
        (
            "bob",
            "vo:demo group:demo_admin",
            "User is not a member of the requested group (bob, demo_admin)",
        ),
        (
            "bob",
            "vo:demo property:JobAdministrator",
            "JobAdministrator are not valid properties for user bob, available values: NormalUser JobMonitor",
        ),
        (
            "bob",
            "vo:demo property:NormalUser property:Operator property:CSAdministrator",
            (
                "Operator CSAdministrator are not valid properties for user bob,"
                " available values: NormalUser JobMonitor"
            ),
        ),
        # A group of another VO gives nothing here.
        ("olga", "vo:demo", "User is not a member of the requested group (olga, demo_user)"),
    ],
)
def test_what_is_not_granted(grid, user, scope, text) -> None:
    """Rights that the user has not are 403 with DiracX's text."""
    registry = grid.registry
    with pytest.raises(RestError) as caught:
        granted(registry, registry.users[user], Scope.parse(scope, registry))
    assert (caught.value.status, caught.value.detail) == (403, text)


async def test_a_suspended_user(make_grid) -> None:
    """Who is suspended in the VO gets nothing there, and what is due elsewhere."""
    async with make_grid(settings={"Registry/Users/alice/Suspended": "demo"}) as grid:
        registry = grid.registry
        alice = registry.users["alice"]
        with pytest.raises(RestError) as caught:
            granted(registry, alice, Scope.parse("vo:demo", registry))
        assert (caught.value.status, caught.value.detail) == (403, "User alice is suspended in VO demo")
        assert granted(registry, alice, Scope.parse("vo:other group:other_user", registry)).vo == "other"


async def test_the_default_group(make_grid) -> None:
    """The VO's DefaultGroup; else the first of the registry's that is the VO's; else the first by name."""
    async with make_grid(settings={"Registry/DefaultGroup": "nope, other_user"}) as grid:
        assert Scope.parse("vo:demo", grid.registry).group == "demo_user"
        assert Scope.parse("vo:other", grid.registry).group == "other_user"
    async with make_grid(settings={"Registry/VO/demo/DefaultGroup": "other_user"}) as grid:
        assert Scope.parse("vo:demo", grid.registry).group == "demo_admin"
        assert Scope.parse("vo:other", grid.registry).group == "other_pilot"


async def test_a_vo_without_groups(make_grid) -> None:
    """A VO that nobody is in names the mend."""
    async with make_grid(settings={"Registry/VO/empty/VOAdmin": "alice"}) as grid:
        with pytest.raises(RestError, match="empty has no group: add one to the registry"):
            Scope.parse("vo:empty", grid.registry)


def test_the_rights_are_in_the_token(grid) -> None:
    """A token says what was granted."""
    principal = granted(grid.registry, grid.registry.users["alice"], Scope.parse("vo:demo", grid.registry))
    claims = jwt.decode(grid.issuer.mint(principal).text, options={"verify_signature": False})
    assert (claims["dirac_group"], claims["dirac_properties"]) == ("demo_user", ["NormalUser"])
