"""gzip of answers; large ones in a thread, since the loop would wait for them."""

from __future__ import annotations

import asyncio
import zlib

# Below, compressing costs more than it saves.
SMALLEST = 4096
# From here on it takes longer than a millisecond.
IN_A_THREAD = 128 * 1024
_LEVEL = 4
_GZIP = 31  # zlib's way to say: with gzip's header
_COMPRESSIBLE = ("application/json", "application/problem+json", "application/javascript", "image/svg+xml")


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip, by its ``Accept-Encoding`` (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for each in accept_encoding.lower().split(","):
        coding, _, parameter = each.partition(";")
        weights[coding.strip()] = _weight(parameter)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def is_worth_it(body: bytes, content_type: str) -> bool:
    """Whether a body gets smaller by as much as it costs."""
    if len(body) < SMALLEST:
        return False
    kind = content_type.partition(";")[0].strip()
    return kind.startswith("text/") or kind in _COMPRESSIBLE


async def compressed(body: bytes) -> bytes:
    """The body in gzip."""
    return await asyncio.to_thread(_gzip, body) if len(body) >= IN_A_THREAD else _gzip(body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    return compressor.compress(body) + compressor.flush()
