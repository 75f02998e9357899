"""A stream between two speeds: the large model is heard as fast as it speaks, and its slot is free again, while a client reads as it likes."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from .trouble import Trouble

AHEAD = 262_144
"""Bytes that the large model may be ahead of a client. With more of them a slot is held, and waits for the client."""


class Ahead:
    """Events on their way, in order. `patience` are the seconds that a client may read nothing while there is no room."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._events: deque[bytes] = deque()
        self._bytes, self._ended = 0, False
        self._why: Exception | None = None
        self._changed = asyncio.Event()

    async def put(self, event: bytes, until: float) -> None:
        """Takes one in, once there is room. Raises Trouble where there is none in time; `until` is of the monotonic clock."""
        try:
            async with asyncio.timeout(max(0.0, min(self._patience, until - time.monotonic()))):
                while self._bytes >= AHEAD:
                    await self._change()
        except TimeoutError:
            raise Trouble("unread", outage=None) from None
        self._events.append(event)
        self._bytes += len(event)
        self._changed.set()

    def end(self, why: Exception | None = None) -> None:
        """Nothing more comes; `why` is raised to the client after what is there."""
        self._ended, self._why = True, why
        self._changed.set()

    async def next(self) -> bytes | None:
        """The next event, None at the end. Raises what it ended with."""
        while not self._events:
            if self._ended:
                if self._why is not None:
                    raise self._why
                return None
            await self._change()
        event = self._events.popleft()
        self._bytes -= len(event)
        self._changed.set()
        return event

    async def _change(self) -> None:
        # Only one of the two sides waits at a time: there is nothing to read, or no room.
        self._changed.clear()
        await self._changed.wait()
