"""What clients must know before they have a token, and who they are with one (rest-diracx.md, 2, 4 and 5)."""

from __future__ import annotations

import pytest

from rest_backend.table import OPERATIONS

from .conftest import ISSUER

WELL_KNOWN = [operation for operation in OPERATIONS if operation.tag == ".well-known"]


async def test_openid_configuration(grid) -> None:
    """The configuration has DiracX's members, with absolute URLs at the address that the client used."""
    said = await grid.http("GET", "/.well-known/openid-configuration", caller=None)
    here = f"http://{grid.client.host}:{grid.client.port}"
    assert said.status == 200
    assert said.body == {
        "issuer": ISSUER,
        "token_endpoint": f"{here}/api/auth/token",
        "userinfo_endpoint": f"{here}/api/auth/userinfo",
        "authorization_endpoint": f"{here}/api/auth/authorize",
        "device_authorization_endpoint": f"{here}/api/auth/device",
        "revocation_endpoint": f"{here}/api/auth/revoke",
        "jwks_uri": f"{here}/.well-known/jwks.json",
        "grant_types_supported": [
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:device_code",
            "refresh_token",
        ],
        "scopes_supported": [
            "vo:demo",
            "vo:other",
            *(f"group:{name}" for name in grid.registry.groups),
            "property:GenericPilot",
            "property:JobAdministrator",
            "property:JobMonitor",
            "property:JobSharing",
            "property:LimitedDelegation",
            "property:NormalUser",
            "property:Operator",
            "property:Pilot",
            "property:ProxyManagement",
            "property:ServiceAdministrator",
        ],
        "response_types_supported": ["code"],
        "token_endpoint_auth_signing_alg_values_supported": ["Ed25519"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
    }


async def test_urls_follow_the_host_that_was_asked(grid) -> None:
    """Behind another name the URLs have that name."""
    headers = {"Host": "bridge.example.org:8000"}
    said = await grid.http("GET", "/.well-known/openid-configuration", caller=None, headers=headers)
    assert said.body["jwks_uri"] == "http://bridge.example.org:8000/.well-known/jwks.json"


async def test_the_named_addresses_are_there(grid) -> None:
    """Every URL that is named is served."""
    known = (await grid.http("GET", "/.well-known/openid-configuration", caller=None)).body
    here = str(grid.client.make_url("")).rstrip("/")
    named = [value for name, value in known.items() if name.endswith(("_uri", "_endpoint"))]
    assert len(named) == 6
    for url in named:
        assert grid.runner.methods(url.removeprefix(here)), url
    for name in ("jwks_uri", "userinfo_endpoint"):
        assert (await grid.http("GET", known[name].removeprefix(here))).status == 200


async def test_jwks(grid) -> None:
    """The key set has one public key with DiracX's members, and no private one."""
    said = await grid.http("GET", "/.well-known/jwks.json", caller=None)
    [key] = said.body["keys"]
    assert {**key, "x": "X"} == {
        "crv": "Ed25519",
        "x": "X",
        "key_ops": ["sign", "verify"],
        "alg": "Ed25519",
        "kid": "0123456789abcdef" * 2,
        "kty": "OKP",
    }
    assert len(key["x"]) == 43


async def test_dirac_metadata(grid) -> None:
    """Every VO has its groups with sorted properties, whom to ask, and one of its groups as the default."""
    said = await grid.http("GET", "/.well-known/dirac-metadata", caller=None)
    assert said.status == 200
    vos = said.body["virtual_organizations"]
    assert vos.keys() == {"demo", "other"}
    for vo in vos.values():
        assert vo.keys() == {"groups", "support", "default_group"}
        assert vo["support"].keys() == {"message", "webpage", "email"}
        assert vo["default_group"] in vo["groups"]
    assert vos["demo"]["default_group"] == "demo_user"
    assert vos["other"]["groups"] == {
        "other_pilot": {"properties": ["GenericPilot"]},
        "other_user": {"properties": ["NormalUser"]},
    }
    assert vos["demo"]["groups"]["demo_share"] == {"properties": ["JobSharing", "NormalUser"]}


async def test_security_txt(grid) -> None:
    """security.txt is a JSON string, as DiracX gives it."""
    said = await grid.http("GET", "/.well-known/security.txt", caller=None)
    assert said.status == 200
    assert said.body.startswith("Contact: ")


@pytest.mark.parametrize(
    ("caller", "vo", "group"),
    [
        ("alice", "demo", "demo_user"),
        ("admin", "demo", "demo_admin"),
        ("pilot", "demo", "demo_pilot"),
        ("olga", "other", "other_user"),
    ],
)
async def test_userinfo(grid, caller, vo, group) -> None:
    """The caller is who the token says, in DiracX's six members."""
    principal = grid.principal(caller)
    said = await grid.http("GET", "/api/auth/userinfo", caller=caller)
    assert (said.status, said.body) == (
        200,
        {
            "sub": f"{vo}:{principal.subject}",
            "vo": vo,
            "dirac_group": group,
            "policies": {},
            "properties": list(grid.registry.properties_of(group)),
            "preferred_username": principal.username,
        },
    )


@pytest.mark.parametrize(
    ("probe", "status"),
    [("live", "live"), ("ready", "ready"), ("startup", "startup complete")],
)
async def test_health(grid, probe, status) -> None:
    """Probes need no token and say what DiracX's say."""
    said = await grid.http("GET", f"/api/health/{probe}", caller=None)
    assert (said.status, said.body) == (200, {"status": status})


@pytest.mark.parametrize("operation", WELL_KNOWN, ids=lambda operation: operation.name)
async def test_nobody_needs_a_token_to_begin(grid, operation) -> None:
    """Every well-known document is for everybody, and is a GET."""
    assert operation.method == "GET"
    assert (await grid.http("GET", operation.path, caller=None)).status == 200
