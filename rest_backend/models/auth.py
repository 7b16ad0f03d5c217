"""Bodies of the routes of tokens, and of what clients must know before they have one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class UserInfoResponse(BaseModel):
    """Who the token says the caller is."""

    sub: str
    vo: str
    dirac_group: str
    policies: dict[str, Any]
    properties: list[str]
    preferred_username: str


class OpenIDConfiguration(BaseModel):
    """Where the authorization server's parts are; URLs are absolute."""

    issuer: str
    token_endpoint: str
    userinfo_endpoint: str
    authorization_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    scopes_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]


class GroupInfo(BaseModel):
    """A group's properties, sorted."""

    properties: list[str]


class SupportInfo(BaseModel):
    """Where users of a VO find help."""

    message: str
    webpage: str | None = None
    email: str | None = None


class VOInfo(BaseModel):
    """A virtual organisation."""

    groups: dict[str, GroupInfo]
    support: SupportInfo
    default_group: str


class Metadata(BaseModel):
    """The virtual organisations of this installation."""

    virtual_organizations: dict[str, VOInfo]
