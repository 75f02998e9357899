"""The line before a model that writes: `slots` requests run side by side in its worker process, a bounded number waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from ..errors import BusyError, DeadlineError, UnderstudyError
from ..run.generate.engine import Engine
from ..run.generate.following import Following
from ..run.generate.results import Piece
from ..run.generate.sampling import Sampling

_LOST = 2
"""Requests in a row that pass their deadline without a word from the worker, after which it is taken for hung and started anew."""


class Writers:
    """Lives on the event loop's thread."""

    def __init__(self, slots: int, most: int) -> None:
        self.slots, self.most, self.free = slots, most, slots
        self._mail = _Mail()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.seconds, self._silent, self._documents = 1.0, 0, 0

    @property
    def busy(self) -> int:
        """Requests that run."""
        return self.slots - self.free

    async def enter(self, *, counted: bool = False) -> None:
        """Waits for a slot. Raises BusyError where the line is full; what is `counted` already, as a part of a document, always fits."""
        if self.free and not self.waiting:
            self.free -= 1
            return
        self.waiting = deque(one for one in self.waiting if not one.done()) if len(self.waiting) >= self.most else self.waiting
        if len(self.waiting) >= self.most and not counted:
            raise self._full()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the slot was given in the moment in which its owner left
            raise

    def _full(self) -> BusyError:
        wait = min(30.0, max(1.0, len(self.waiting) * self.seconds / self.slots))
        return BusyError("the line before this model is full", retry_after=wait, hint="ask again later, or raise --queue")

    @contextlib.contextmanager
    def document(self) -> Iterator[None]:
        """Counts a text whose parts will stand in the line. Raises BusyError where as many texts are there as requests may wait."""
        if self._documents >= self.most + self.slots:
            raise self._full()
        self._documents += 1
        try:
            yield
        finally:
            self._documents -= 1

    def leave(self) -> None:
        """Gives the slot to the next in line."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1

    async def write(self, engine: Engine, prompt: Sequence[int], sampling: Sampling, deadline: float, *, stream: bool,
                    counted: bool = False) -> AsyncIterator[Piece]:
        """The pieces of one continuation; leaving early cancels it. Raises BusyError, DeadlineError, and what `Engine.begin` says."""
        async with until(deadline):
            await self.enter(counted=counted)
        began, heard, request = time.monotonic(), _Heard(self._mail), None
        over = asyncio.get_running_loop().call_later(deadline - began, heard.take, _late())
        try:
            async with until(deadline):
                request = await _begun(engine, prompt, sampling, heard, stream)
            while True:
                piece = await heard.next()
                self._silent = 0
                yield piece
                if piece.finish is not None:
                    self.seconds += 0.2 * (time.monotonic() - began - self.seconds)
                    return
        except DeadlineError:
            self._silent += 0 if heard.any else 1
            if self._silent >= _LOST and stream:
                self._silent = 0
                await asyncio.to_thread(engine.restart)
            raise
        finally:
            over.cancel()
            if request is not None:
                request.close()
            self.leave()


Delivered = Piece | UnderstudyError


class _Mail:
    """Pieces of all requests on their way from the thread that reads them to the event loop, which is woken once for those that come together."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[_Heard, Delivered]] = deque()
        self._called = False

    def post(self, heard: _Heard, piece: Delivered) -> None:
        """Takes one; called in another thread."""
        self._waiting.append((heard, piece))
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._bring)

    def _bring(self) -> None:
        # First this: what is posted from here on calls again.
        self._called = False
        while self._waiting:
            heard, piece = self._waiting.popleft()
            heard.take(piece)


class _Heard:
    """What one request has heard. `any` says whether that was more than the end of its time."""

    def __init__(self, mail: _Mail) -> None:
        self._mail = mail
        self._queue: asyncio.Queue[Delivered] = asyncio.Queue()
        self.any = False

    def deliver(self, piece: Delivered) -> None:
        """Takes one in; called in another thread."""
        self._mail.post(self, piece)

    def take(self, piece: Delivered) -> None:
        """Takes one in; called on the event loop's thread."""
        self._queue.put_nowait(piece)

    async def next(self) -> Piece:
        """The next one. Raises it where it is an error."""
        piece = await self._queue.get()
        self.any = self.any or not isinstance(piece, DeadlineError)
        if isinstance(piece, UnderstudyError):
            raise piece
        return piece


@contextlib.asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Raises DeadlineError where the block is not done at a moment of the monotonic clock."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError:
        raise _late() from None


def _late() -> DeadlineError:
    return DeadlineError("the answer was not ready in time", hint="ask with a longer timeout, or for less")


async def _begun(engine: Engine, prompt: Sequence[int], sampling: Sampling, heard: _Heard, stream: bool) -> Following:
    """Sends the request, in a thread: a worker that ended is started again here, and a pipe may be full."""
    starting = asyncio.ensure_future(asyncio.to_thread(engine.begin, list(prompt), sampling, heard.deliver, stream=stream))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_dropped)
        raise


def _dropped(starting: asyncio.Future[Following]) -> None:
    """Cancels a request whose client left while it was being sent to the worker."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().close()
