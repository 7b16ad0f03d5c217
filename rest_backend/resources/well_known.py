"""What clients must know before they have a token (rest-diracx.md, section 4)."""

from __future__ import annotations

from typing import Any

from rest_backend.keys import ED25519
from rest_backend.models.auth import (
    CODE_GRANT,
    DEVICE_GRANT,
    REFRESH_GRANT,
    GroupInfo,
    Metadata,
    OpenIDConfiguration,
    SupportInfo,
    VOInfo,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import PUBLIC
from shared_db.registry import Registry

_SUPPORT = "Please contact system administrator"


async def openid_configuration(context: Context, _body: None, _query: None) -> Answer:
    """Where the authorization server's parts are."""
    auth = f"{context.request.base_url}/api/auth"
    return Answer(
        OpenIDConfiguration(
            issuer=context.resources.issuer.issuer,
            token_endpoint=f"{auth}/token",
            userinfo_endpoint=f"{auth}/userinfo",
            authorization_endpoint=f"{auth}/authorize",
            device_authorization_endpoint=f"{auth}/device",
            revocation_endpoint=f"{auth}/revoke",
            jwks_uri=f"{context.request.base_url}/.well-known/jwks.json",
            # DiracX's list does not name the last one, which works there too.
            grant_types_supported=[CODE_GRANT, DEVICE_GRANT, REFRESH_GRANT],
            scopes_supported=_scopes(context.resources.registry()),
            response_types_supported=["code"],
            token_endpoint_auth_signing_alg_values_supported=_algorithms(context),
            token_endpoint_auth_methods_supported=["none"],
            code_challenge_methods_supported=["S256"],
        )
    )


def _algorithms(context: Context) -> list[str]:
    algorithms = {key.algorithm for key in context.resources.issuer.keys.all}
    return sorted(algorithms, key=lambda name: name != ED25519)


def _scopes(registry: Registry) -> list[str]:
    properties = sorted({name for group in registry.groups.values() for name in group.properties})
    return [
        *[f"vo:{name}" for name in registry.vos],
        *[f"group:{name}" for name in registry.groups],
        *[f"property:{name}" for name in properties],
    ]


async def jwks(context: Context, _body: None, _query: None) -> Answer:
    """The public keys that verify our tokens."""
    return Answer(context.resources.issuer.keys.published())


async def dirac_metadata(context: Context, _body: None, _query: None) -> Answer:
    """The virtual organisations and their groups."""
    registry = context.resources.registry()
    return Answer(Metadata(virtual_organizations={vo: _vo_info(registry, vo) for vo in registry.vos}))


def _vo_info(registry: Registry, vo: str) -> VOInfo:
    groups = {
        name: GroupInfo(properties=sorted(registry.properties_of(name))) for name in registry.groups_of_vo(vo)
    }
    default = registry.default_group_of_vo(vo) or ""
    return VOInfo(groups=groups, support=SupportInfo(message=_SUPPORT), default_group=default)


async def security_txt(_context: Context, _body: None, _query: None) -> Answer:
    """Whom to tell about a vulnerability: a JSON string, as DiracX gives it."""
    return Answer("Contact: the administrators of this installation\nPreferred-Languages: en\n")


OPERATIONS = (
    Operation(
        ".well-known_get_openid_configuration",
        "GET",
        "/.well-known/openid-configuration",
        openid_configuration,
        PUBLIC,
        response=OpenIDConfiguration,
    ),
    Operation(".well-known_get_jwks", "GET", "/.well-known/jwks.json", jwks, PUBLIC, response=dict[str, Any]),
    Operation(
        ".well-known_get_installation_metadata",
        "GET",
        "/.well-known/dirac-metadata",
        dirac_metadata,
        PUBLIC,
        response=Metadata,
    ),
    Operation(
        ".well-known_get_security_txt",
        "GET",
        "/.well-known/security.txt",
        security_txt,
        PUBLIC,
        response=str,
    ),
)
