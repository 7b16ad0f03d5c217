"""Cross-origin requests: which web pages may call, and what they may read of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ANY = "*"
EXPOSED = (
    "Allow, Content-Range, ETag, Idempotency-Replayed, Last-Modified, Location, Retry-After, "
    "WWW-Authenticate, X-Request-ID"
)
# How long a browser may remember the answer to its preflight, in seconds.
MAX_AGE = "600"


class Cors:
    """The policy of an installation.

    ``origins`` are compared as they are.  ``*`` lets every page call, but never with the browser's
    credentials: then any page would act for whoever looks at it.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """What goes onto an answer; ``origin`` is the request's."""
        if not self._origins:
            return {}
        if origin is not None and origin in self._origins and origin != ANY:
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
                "Access-Control-Expose-Headers": EXPOSED,
                "Vary": "Origin",
            }
        if ANY in self._origins:
            allowed = {"Access-Control-Allow-Origin": ANY, "Access-Control-Expose-Headers": EXPOSED}
            return allowed if len(self._origins) == 1 else {**allowed, "Vary": "Origin"}
        # Caches must not give one origin's answer to another.
        return {"Vary": "Origin"}

    def preflight(self, headers: Mapping[str, str], methods: Sequence[str]) -> Mapping[str, str]:
        """What a browser is told that asks before it calls; nothing, for a page that may not."""
        origin = headers.get("Origin")
        if "Access-Control-Request-Method" not in headers or origin is None:
            return {}
        if origin not in self._origins and ANY not in self._origins:
            return {}
        told = {"Access-Control-Allow-Methods": ", ".join(methods), "Access-Control-Max-Age": MAX_AGE}
        wanted = headers.get("Access-Control-Request-Headers")
        return {**told, "Access-Control-Allow-Headers": wanted} if wanted else told
