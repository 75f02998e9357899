"""How often somebody may ask: a bucket of tokens each, filled at a steady rate. Bounded: who was not heard of for longest is forgotten."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_KNOWN = 10_000


class Rates:
    """`per_minute` requests, all of them at once if need be. `clock` is the monotonic one."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Takes one request of somebody; 0, or the seconds until there is one again."""
        now = self._clock()
        tokens, then = self._buckets.pop(who, (float(self.per_minute), now))
        tokens = min(float(self.per_minute), tokens + (now - then) * self.per_minute / 60)
        seconds = 0.0 if tokens >= 1 else (1 - tokens) * 60 / self.per_minute
        self._buckets[who] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > _KNOWN:
            self._buckets.popitem(last=False)
        return seconds

    def left(self, who: str) -> int:
        """Whole requests that somebody has left right now."""
        return int(self._buckets.get(who, (float(self.per_minute), 0.0))[0])
