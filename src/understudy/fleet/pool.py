"""Threads that all classifiers share, and a bounded line before each model.

    request ──► Lane (one a model) ──► whatever fits the token budget ──► a free thread ──► futures

A free thread takes what waits at once, so a lone request never waits for company; while all threads are busy requests pile
up, and the next free thread takes several in one go. Models take turns. All of it lives on the event loop's thread but for
the call of the model itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from queue import SimpleQueue
from typing import Any

from ..errors import BusyError, DeadlineError

Answer = Callable[[list[str]], Sequence[Any]]
FULL = "the line before this model is full"
_LOOK = 0.05
"""Seconds between looks for requests that are past their deadline."""


class Job:
    """One request: its texts in, one answer each out through `future`. Dropped where the future is done before its turn."""

    __slots__ = ("answer", "asked", "deadline", "future", "key", "left", "out", "started", "texts")

    def __init__(self, texts: list[str], answer: Answer, key: Hashable, deadline: float, future: asyncio.Future[list[Any]]) -> None:
        self.texts, self.answer, self.key, self.deadline, self.future = texts, answer, key, deadline, future
        self.asked, self.started, self.left = 0, 0.0, len(texts)
        self.out: list[Any] = [None] * len(texts)


Part = tuple[Job, list[str], int]
"""Some texts of a job, and the place of the first of them."""
Outcome = tuple[Job, Sequence[Any] | BaseException, int]


class Lane:
    """The line before one model. `busy` counts its batches in threads, `seconds` is what a request lately took."""

    def __init__(self, most: int, budget: int) -> None:
        self.most, self._budget = most, budget
        self.waiting: deque[Job] = deque()
        self.busy, self.seconds = 0, 0.01

    @property
    def full(self) -> bool:
        """Whether nobody more may wait."""
        return len(self.waiting) >= self.most

    def retry_after(self, threads: int) -> float:
        """Seconds until the line is probably short again."""
        return min(30.0, max(1.0, len(self.waiting) * self.seconds / threads))

    def take(self, now: float) -> list[Part]:
        """The next texts, of one job or of several that are asked the same way, within the budget; late and left jobs are dropped."""
        found: list[Part] = []
        room = self._budget
        while self.waiting:
            job = self.waiting[0]
            if job.future.done() or now > job.deadline:
                self.waiting.popleft()
                late(job)
                continue
            if found and (job.key != found[0][0].key or room <= 0):
                break
            texts: list[str] = []
            start = job.asked
            while job.asked < len(job.texts) and (room > 0 or not (found or texts)):
                text = job.texts[job.asked]
                texts.append(text)
                job.asked += 1
                room -= len(text) // 4 + 1
            if texts:
                job.started = job.started or now
                found.append((job, texts, start))
            if job.asked < len(job.texts):
                break
            self.waiting.popleft()
        return found


def late(job: Job) -> None:
    """Tells a job that its time is over."""
    if not job.future.done():
        job.future.set_exception(DeadlineError("the answer was not ready in time", hint="ask with a longer timeout, or for less"))


class Pool:
    """`threads` threads. Made and used on the event loop's thread."""

    def __init__(self, threads: int) -> None:
        self.threads, self._free = threads, threads
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[tuple[Lane, list[Part]] | None] = SimpleQueue()
        self._ready: deque[Lane] = deque()
        self.full: set[Lane] = set()
        """Lanes that nobody more may wait in."""
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[Job] = set()
        self._threads = [threading.Thread(target=self._serve, name=f"answers-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, lane: Lane, job: Job) -> None:
        """Puts a job into the line of its model. Raises BusyError where that is full."""
        if lane.full:
            raise BusyError(FULL, retry_after=lane.retry_after(self.threads), hint="ask again later, or raise --queue")
        lane.waiting.append(job)
        if lane.full:
            self.full.add(lane)
        if len(lane.waiting) == 1:
            self._ready.append(lane)
        if self._free:
            self._pump()
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)

    def close(self) -> None:
        """Ends the threads once what they work on is done."""
        for _ in self._threads:
            self._work.put(None)
        if self._timer is not None:
            self._timer.cancel()

    def _pump(self) -> None:
        now = time.monotonic()
        while self._free and self._ready:
            lane = self._ready.popleft()
            batch = lane.take(now)
            if not lane.full:
                self.full.discard(lane)
            if lane.waiting:
                self._ready.append(lane)
            if batch:
                self._free -= 1
                lane.busy += 1
                self._running.update(job for job, _, _ in batch)
                self._work.put((lane, batch))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            lane, batch = work
            began = time.monotonic()
            outcome = answered(batch)
            try:
                self._loop.call_soon_threadsafe(self._done, lane, outcome, time.monotonic() - began)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _done(self, lane: Lane, outcome: list[Outcome], seconds: float) -> None:
        self._free += 1
        lane.busy -= 1
        lane.seconds += 0.1 * (seconds / len(outcome) - lane.seconds)
        for job, said, start in outcome:
            if isinstance(said, BaseException):
                self._running.discard(job)
                if not job.future.done():
                    job.future.set_exception(said)
                continue
            job.out[start:start + len(said)] = said
            job.left -= len(said)
            if not job.left:
                self._running.discard(job)
                if not job.future.done():
                    job.future.set_result(job.out)
        if self._ready:
            self._pump()

    def _look(self) -> None:
        now, self._timer = time.monotonic(), None
        self._running = {job for job in self._running if not job.future.done()}
        waiting = [job for lane in self._ready for job in lane.waiting]
        for job in (*self._running, *waiting):
            if now > job.deadline:
                late(job)
        if self._running or waiting:
            self._timer = self._loop.call_later(_LOOK, self._look)


def answered(batch: list[Part]) -> list[Outcome]:
    """The answers to the texts of each job; where the batch fails each job is asked alone, so that none fails for its neighbour."""
    try:
        texts = batch[0][1] if len(batch) == 1 else [text for _, some, _ in batch for text in some]
        said = batch[0][0].answer(texts)
    except BaseException as problem:  # native code may raise what is no Exception
        if len(batch) == 1:
            return [(batch[0][0], problem, batch[0][2])]
        return [one for alone in batch for one in answered([alone])]
    out: list[Outcome] = []
    at = 0
    for job, some, start in batch:
        out.append((job, said[at:at + len(some)], start))
        at += len(some)
    return out
