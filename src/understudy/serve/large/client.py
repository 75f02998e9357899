"""The large model: asked within a deadline, a few at a time, at most once more, and not at all while it is ill.

    slot ──► breaker ──► wire ──► status ──► the answer is read
      └── once more, where that may help, the time allows it and a tenth of all questions has been saved for it
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import UsageError
from .breaker import Allowance, Breaker
from .budget import Budget
from .trouble import Trouble, trouble_of
from .wire import Reply, Target, exchanged

if TYPE_CHECKING:
    from ..config import ServeConfig

KEY = "UNDERSTUDY_LARGE_KEY"
AT_ONCE, WAITING = 8, 64
"""Questions that run at the same time, and that wait for that; one more is not asked."""
_PAUSE = 0.25
"""Seconds before asking again, where the large model names none."""
_FAIR = 0.9
"""Part of its time that the large model must have had before being late counts against it."""
_KEPT = 0.95
"""Part of a request's time that it may take: the rest is for the small model's answer to get out."""


class Large:
    """Made inside a running event loop. `seconds` are for an answer or the next piece of a stream."""

    def __init__(self, url: str, model: str, seconds: float, key: str | None = None, *, private: bool = False,
                 budget: Budget | None = None) -> None:
        self.model, self.seconds, self.budget = model, seconds, budget
        self._target = Target(url, key, private)
        self._slots, self._waiting = asyncio.Semaphore(AT_ONCE), 0
        self.breaker, self._allowance = Breaker(), Allowance()
        self.ended: Counter[str] = Counter()
        """Questions by how they ended."""
        self.asked = self.again = 0
        """Questions, and those of them that were asked twice."""

    @property
    def host(self) -> str:
        """The machine that it is on, as the operator names it."""
        return self._target.host

    @classmethod
    def of(cls, config: ServeConfig, environment: Mapping[str, str]) -> Large:
        """The one that the dials and the key in the environment name. Raises UsageError, never with the key in it."""
        key = environment.get(KEY, "").strip() or None
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise UsageError(f"{KEY} has characters that no key has", hint="letters, digits and signs, without spaces")
        assert config.large is not None and config.large_model is not None
        budget = Budget(config.large_ledger, config.large_budget) if config.large_ledger is not None and config.large_budget is not None else None
        return cls(config.large, config.large_model, min(config.large_timeout, _KEPT * config.timeout), key, private=config.large_private, budget=budget)

    def until(self, deadline: float) -> float:
        """When the large model must have answered a request that has to be answered by `deadline`, of the monotonic clock."""
        now = time.monotonic()
        return now + min(self.seconds, _KEPT * (deadline - now))

    @contextlib.asynccontextmanager
    async def answering(self, question: Mapping[str, Any], until: float) -> AsyncIterator[Reply]:
        """The answer's beginning, with status 200; read it within the block. `until`: when its headers must be there. Raises Trouble.

        A question for `n` choices costs as `n`, and one that is asked twice costs twice.
        """
        body = msgspec.json.encode({**question, "model": self.model})
        self.asked += 1
        self._allowance.save()
        why, cost = "left", question.get("n", 1)
        try:
            if self.budget is not None:
                self.budget.look(cost)
            async with contextlib.AsyncExitStack() as stack:
                try:
                    reply = await stack.enter_async_context(self._once(body, until, cost))
                except Trouble as trouble:
                    if not await self._again(trouble, until):
                        raise
                    reply = await stack.enter_async_context(self._once(body, until, cost))
                yield reply
            why = "answered"
        except Trouble as trouble:
            why = trouble.why
            raise
        finally:
            self.ended[why] += 1

    @contextlib.asynccontextmanager
    async def _once(self, body: bytes, until: float, cost: int) -> AsyncIterator[Reply]:
        async with self._slot(until):
            began = time.monotonic()
            sending = functools.partial(self.budget.spend, cost) if self.budget is not None else lambda: None
            with self.breaker.watched():
                try:
                    async with exchanged(self._target, body, until, sending) as reply:
                        trouble = trouble_of(reply.status, reply.headers)
                        if trouble is not None:
                            raise trouble
                        yield reply
                except Trouble as trouble:
                    if trouble.why == "late" and time.monotonic() - began < _FAIR * self.seconds:
                        trouble.outage = None  # a client in a hurry proves nothing, and may not close the large model to others
                    raise

    async def _again(self, trouble: Trouble, until: float) -> bool:
        """Waits as long as it should, and says whether to ask once more."""
        pause = (trouble.after if trouble.after is not None else _PAUSE) + random.random() * _PAUSE
        # What is left must be worth it: a try with no time is only load.
        if not trouble.again or time.monotonic() + 2 * pause > until or not self._allowance.spend():
            return False
        await asyncio.sleep(pause)
        self.again += 1
        return True

    @contextlib.asynccontextmanager
    async def _slot(self, until: float) -> AsyncIterator[None]:
        if self._slots.locked() and self._waiting >= WAITING:
            raise Trouble("busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._slots.acquire()
        except TimeoutError:
            raise Trouble("late") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
