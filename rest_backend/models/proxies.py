"""What a caller is told of a proxy of the own."""

from __future__ import annotations

from pydantic import BaseModel


class OwnProxy(BaseModel):
    """For how many seconds the caller's stored proxy lasts; 0: there is none.

    ``kept``: whether proxies are stored here at all.
    """

    kept: bool
    seconds_left: int
