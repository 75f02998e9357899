"""What keeps an ill large model from costing anything: a breaker, and an allowance for asking again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from .trouble import Trouble

FAILURES, PAUSE = 5, 5.0
"""Failures in a row that open the breaker, and the seconds until one question may try again."""
SHARE, _SAVED = 0.1, 10.0
"""Questions that may be asked twice, as a share of all; how many of them can be saved up."""


class Breaker:
    """closed: all may ask; open: nobody; half_open: one asks, and the answer decides. Lives on the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures, self._until, self._probing = 0, 0.0, False

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        return "closed" if self._failures < FAILURES else "open" if self._clock() < self._until and not self._probing else "half_open"

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """One question. Raises Trouble where it may not be asked; what it ends with counts, but not that the client left."""
        probe = self._failures >= FAILURES
        if probe:
            if self._probing or self._clock() < self._until:
                raise Trouble("open", outage=False, after=max(self._until - self._clock(), 0.5))
            self._probing = True
        try:
            yield
        except Trouble as trouble:
            if trouble.outage:
                self._failures += 1
                self._until = self._clock() + PAUSE
            elif trouble.outage is False:
                self._failures = 0  # it refuses, so it is there
            raise
        else:
            self._failures = 0
        finally:
            if probe:
                self._probing = False


class Allowance:
    """Every question saves a tenth of a second try; nothing is given in advance, so that it is never more than a tenth."""

    def __init__(self) -> None:
        self._saved = 0.0

    def save(self) -> None:
        """A question is asked."""
        self._saved = min(self._saved + SHARE, _SAVED)

    def spend(self) -> bool:
        """Whether one may be asked again; then it is paid for."""
        if self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True
