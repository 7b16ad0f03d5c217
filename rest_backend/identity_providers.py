"""Identity providers, found by OpenID Connect discovery: where people prove who they are.

Any number per VO.  We are their client (OAuth 2 authorization code with PKCE); see rest-diracx.md, section 5.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from rest_backend.errors import RestError
from rest_backend.id_tokens import BadIdToken, UnknownKey, verified_claims
from rest_backend.provider_documents import Discovery, NoAnswer, ProviderDocuments, ProviderHttp, Refusal
from rest_backend.settings import Provider

logger = logging.getLogger(__name__)

# The error codes of OAuth 2 are such words; anything else of a stranger's is not repeated.
_ERROR_WORD = re.compile(r"[a-z_]{1,40}")


class UnknownProvider(RestError):
    """400: the VO has no identity provider, or none of this name."""

    def __init__(self, vo: str, names: Sequence[str] = ()) -> None:
        super().__init__(
            400,
            f"VO {vo} has several identity providers: choose one of {', '.join(names)}"
            if len(names) > 1
            else f"VO {vo} has one identity provider here: do not choose another"
            if names
            else f"VO {vo} has no identity provider here: an administrator adds one to `auth.providers`",
        )


class ProviderUnavailable(RestError):
    """502: the provider does not answer, or not as OpenID Connect wants it; the log has ``reason``."""

    def __init__(self, vo: str, reason: str) -> None:
        super().__init__(
            502, f"The identity provider of VO {vo} cannot be used at the moment: try again later"
        )
        self.reason = reason


class ProviderRefused(RestError):
    """401: the provider does not confirm who the caller is; the log has ``reason``."""

    def __init__(self, vo: str, reason: str, word: str = "") -> None:
        said = f" ({word})" if word else ""
        super().__init__(
            401, f"The identity provider of VO {vo} did not confirm who you are{said}: log in again"
        )
        self.reason = reason


class IdentityProviders:
    """All providers, by VO; nothing is fetched before it is needed, and ``close()`` ends it."""

    def __init__(self, providers: Mapping[str, Sequence[Provider]]) -> None:
        self._http = ProviderHttp()
        self._providers = {
            vo: {each.name: (each, ProviderDocuments(each, self._http)) for each in several}
            for vo, several in providers.items()
        }

    def choices(self, vo: str) -> Mapping[str, str]:
        """The names of a VO's providers, with what people call them.  Raises UnknownProvider."""
        several = self._providers.get(vo)
        if not several:
            raise UnknownProvider(vo)
        return {name: provider.title or name for name, (provider, _documents) in several.items()}

    def namespace(self, vo: str, name: str) -> str:
        """Whose subjects a provider tells: '' for the VO's own, else its name.  Raises UnknownProvider."""
        provider, _documents = self._of(vo, name)
        return "" if provider.main else provider.name

    async def close(self) -> None:
        """Close the connections.  A later use opens new ones."""
        for several in self._providers.values():
            for _provider, documents in several.values():
                documents.close()
        await self._http.close()

    async def authorization_url(
        self, vo: str, *, redirect_uri: str, state: str, code_challenge: str, name: str = ""
    ) -> str:
        """Where to send a person to log in; the answer comes to ``redirect_uri``.

        ``name``: which of the VO's providers; '' where it has one without a name.
        ``code_challenge`` is base64url of SHA-256 of the verifier that ``claims`` will be given (S256).
        Raises UnknownProvider, ProviderUnavailable.
        """
        provider, documents = self._of(vo, name)
        try:
            discovery = await documents.discovery()
        except NoAnswer as error:
            raise _unavailable(vo, error) from error
        return _with_query(
            discovery.authorization_endpoint,
            {
                "response_type": "code",
                "client_id": provider.client_id,
                "redirect_uri": redirect_uri,
                "scope": provider.scope,
                "state": state,
                "code_challenge": code_challenge,
                "code_challenge_method": "S256",
            },
        )

    async def claims(
        self,
        vo: str,
        *,
        code: str,
        code_verifier: str,
        redirect_uri: str,
        issuer: str | None = None,
        name: str = "",
    ) -> Mapping[str, Any]:
        """What the provider says about the person who brought ``code``: the claims of a verified id_token.

        ``issuer``: who, as the person's browser has it, gave the code.  ``sub`` is a text; what else there is
        depends on the provider.  Raises UnknownProvider, ProviderUnavailable, ProviderRefused.
        """
        provider, documents = self._of(vo, name)
        try:
            _require_own_code(await documents.discovery(), issuer)
            token = await self._id_token(provider, documents, code, code_verifier, redirect_uri)
            return await _verified(provider, documents, token)
        except NoAnswer as error:
            raise _unavailable(vo, error) from error
        except Refusal as error:
            word = error.word if _ERROR_WORD.fullmatch(error.word) else ""
            raise _refused(vo, f"{error} {error.word[:100]!r} {error.description[:200]!r}", word) from error
        except BadIdToken as error:
            raise _refused(vo, str(error)) from error

    def _of(self, vo: str, name: str) -> tuple[Provider, ProviderDocuments]:
        several = self._providers.get(vo, {})
        if name not in several:
            raise UnknownProvider(vo, list(several))
        return several[name]

    async def _id_token(
        self,
        provider: Provider,
        documents: ProviderDocuments,
        code: str,
        code_verifier: str,
        redirect_uri: str,
    ) -> str:
        """Exchange the code.  Raises NoAnswer, Refusal, BadIdToken."""
        discovery = await documents.discovery()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": code_verifier,
            "redirect_uri": redirect_uri,
        }
        headers = {}
        if not provider.client_secret:
            form["client_id"] = provider.client_id
        elif "client_secret_basic" in discovery.token_auth_methods:
            headers["Authorization"] = _basic(provider)
        else:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        answer = await self._http.post_form(discovery.token_endpoint, form, headers, provider.ca_file)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise BadIdToken("the answer holds no id_token: has `auth.providers.…scope` the word openid?")
        return token


async def _verified(provider: Provider, documents: ProviderDocuments, token: str) -> Mapping[str, Any]:
    """Claims by the keys at hand, or by those that the provider has by now.  Raises NoAnswer, BadIdToken."""
    discovery = await documents.discovery()

    def by(keys: list[Any]) -> Mapping[str, Any]:
        return verified_claims(token, keys, issuer=discovery.issuer, client_id=provider.client_id)

    try:
        return by(await documents.keys())
    except UnknownKey:
        return by(await documents.newer_keys())


def _require_own_code(discovery: Discovery, issuer: str | None) -> None:
    """Raise BadIdToken for a code of another provider (RFC 9207).

    One that means ill may send people on to another VO's provider; whom we took for the first would be given
    the code that those people get there, and could log in as they.
    """
    if issuer is None and not discovery.names_itself:
        return
    if issuer != discovery.issuer:
        raise BadIdToken(f"the code is from another provider (iss {str(issuer)[:200]!r})")


def _basic(provider: Provider) -> str:
    """RFC 6749, 2.3.1: both are encoded as in a form first."""
    pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """A URL with more in its query; what is there stays (RFC 6749, 3.1)."""
    parts = urlsplit(url)
    old = [each for each in parse_qsl(parts.query, keep_blank_values=True) if each[0] not in query]
    return urlunsplit(parts._replace(query=urlencode([*old, *query.items()]), fragment=""))


def _unavailable(vo: str, error: NoAnswer) -> ProviderUnavailable:
    logger.error("identity provider of VO %s: %s: see `auth.providers.%s`", vo, error, vo)
    return ProviderUnavailable(vo, str(error))


def _refused(vo: str, reason: str, word: str = "") -> ProviderRefused:
    logger.warning("identity provider of VO %s: %s", vo, reason)
    return ProviderRefused(vo, reason, word)
