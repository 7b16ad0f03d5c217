"""Bodies of the routes of tokens, and of what clients must know before they have one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"


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


class TokenResponse(BaseModel):
    """New tokens; ``expires_in`` is the access token's, in seconds."""

    access_token: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105
    refresh_token: str | None = None


class TokenForm(BaseModel):
    """What a token is asked for with; which fields there must be depends on the grant."""

    grant_type: Literal["authorization_code", "urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    client_id: str
    device_code: str | None = None
    code: str | None = None
    redirect_uri: str | None = None
    code_verifier: str | None = None
    refresh_token: str | None = None


class RevocationForm(BaseModel):
    """Which token is to be revoked (RFC 7009); pilots say it in the query instead."""

    token: str | None = None
    token_type_hint: str | None = None
    client_id: str | None = None


class RevocationQuery(RevocationForm):
    """The same in the query, where pilots call the token ``refresh_token``."""

    refresh_token: str | None = None


# Which of a VO's identity providers; a person is asked where there are several and none is named.
ProviderName = Annotated[str, Field(max_length=64)]


class DeviceFlowQuery(BaseModel):
    """Who wants to log in without a browser of its own, and for what."""

    client_id: str
    scope: str
    provider: ProviderName | None = None


class InitiateDeviceFlowResponse(BaseModel):
    """What the person does (opens the URI, types the user code) and what the device asks with meanwhile."""

    user_code: str
    device_code: str
    verification_uri_complete: str
    verification_uri: str
    expires_in: int


class UserCodeQuery(BaseModel):
    """The code that a person was told; without it there is a page to type it into."""

    user_code: str | None = None
    provider: ProviderName | None = None


class ProviderChoice(BaseModel):
    """The identity provider that a person has chosen; ``state`` is the login's, as our page has it."""

    state: str
    provider: ProviderName


class ProviderAnswer(BaseModel):
    """What an identity provider sends a person back with: a code, or an error (RFC 6749, 4.1.2.1).

    ``iss``: which provider it is (RFC 9207).
    """

    state: str
    code: str | None = None
    error: str | None = None
    iss: str | None = None


class AuthorizationQuery(BaseModel):
    """The authorization request of a client with a browser; PKCE with S256 is a must."""

    response_type: Literal["code"]
    code_challenge: str = Field(pattern=r"^[A-Za-z0-9_~.=-]{1,128}$")
    code_challenge_method: Literal["S256"]
    client_id: str
    redirect_uri: str
    scope: str
    # It travels to the identity provider and back in a URL.
    state: str = Field(pattern=r"^[\s\S]{0,2000}$")
    provider: ProviderName | None = None


class TokenId(BaseModel):
    """The ``jti`` of a refresh token."""

    jti: str


class RefreshTokenInfo(BaseModel):
    """A refresh token that was issued: ``Status`` 1 is good, 2 revoked; ``Sub`` is ``VO:subject``."""

    JTI: str
    Status: int
    Scope: str
    Sub: str


class LegacyExchangeQuery(BaseModel):
    """For whom a DIRAC service wants tokens; ``expires_minutes`` is the life of the refresh token."""

    preferred_username: str
    scope: str
    expires_minutes: int | None = Field(None, ge=1, le=10 * 366 * 24 * 60)
