"""How many requests a minute somebody may make: a bucket for each, filled again steadily."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

# So many are remembered; whoever was not seen for longest is forgotten first, and begins anew.
MOST_BUCKETS = 50_000


class Rates:
    """Buckets of ``per_minute`` requests; 0: as many as come."""

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic, most: int = MOST_BUCKETS
    ) -> None:
        self._size = per_minute
        self._clock = clock
        self._most = most
        # Per name: what is left, and when that was so.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    def take(self, name: str) -> int:
        """Count a request; returns 0, or the seconds after which there is room for another one."""
        if not self._size:
            return 0
        now = self._clock()
        left, then = self._buckets.get(name, (float(self._size), now))
        left = min(float(self._size), left + (now - then) * self._size / 60)
        granted = left >= 1
        self._buckets[name] = (left - 1 if granted else left, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0 if granted else max(1, math.ceil((1 - left) * 60 / self._size))


def network_of(address: str | None) -> str:
    """An address as somebody's name: of IPv6 the half that a site is given, of which it uses any part."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
