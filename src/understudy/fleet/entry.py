"""One model of the fleet: its names, the versions of it that are in memory, and which of them answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from .loading import Loaded
from .pool import Lane
from .writers import Writers

_ENOUGH, _WORSE = 20, 2.0
"""Failures from which a canary may be taken back, and how many times the share of failures it may have."""


class Version:
    """A loaded bundle that answers. `users` are the requests that it works on; `calls` and `failures` count; `gone` once it is let go of."""

    def __init__(self, loaded: Loaded, lane: Lane | Writers) -> None:
        self.loaded, self.lane = loaded, lane
        self.users, self.calls, self.failures, self.used = 0, 0, 0, time.monotonic()
        self.gone = False
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """A request begins."""
        self.users += 1
        self.calls += 1
        self.used = time.monotonic()
        if self.users == 1:
            self._idle.clear()

    def leave(self) -> None:
        """A request ended."""
        self.users -= 1
        if not self.users:
            self._idle.set()

    def once(self) -> None:
        """A request began and has ended, and nothing else ran meanwhile."""
        self.calls += 1
        self.used = time.monotonic()

    async def drained(self, seconds: float) -> bool:
        """Waits until nothing runs; False where that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


@dataclass
class Entry:
    """A name with a folder. `share` of the requests go to the canary; `previous` is what a rollback brings back."""

    name: str
    path: Path
    aliases: tuple[str, ...] = ()
    pin: bool = False
    task: str = "classify"
    about: dict[str, Any] = field(default_factory=dict)
    """What the bundle said when it was first met: sort, languages, labels, sizes."""
    state: str = "unloaded"
    current: Version | None = None
    previous: Version | None = None
    previous_path: Path | None = None
    canary: Version | None = None
    canary_path: Path | None = None
    share: float = 0.0
    problem: str | None = None
    failed: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def versions(self) -> list[Version]:
        """All versions in memory."""
        return [one for one in (self.current, self.canary, self.previous) if one is not None]

    def chosen(self, text: str) -> Version | None:
        """The version that answers a text: the same one for the same text."""
        if self.canary is not None and crc32(text[:1000].encode("utf-8", "replace")) < self.share * (1 << 32):
            return self.canary
        return self.current

    def canary_is_worse(self) -> bool:
        """Whether the canary fails clearly more often than what it is to replace."""
        if self.canary is None or self.current is None or self.canary.failures < _ENOUGH:
            return False
        return self.canary.failures / self.canary.calls > _WORSE * self.current.failures / max(1, self.current.calls)

    def status(self) -> dict[str, Any]:
        """JSON-plain: what an operator wants to see."""
        told: dict[str, Any] = {"name": self.name, "aliases": list(self.aliases), "task": self.task, "state": self.state, "pinned": self.pin, "problem": self.problem,
                                "canary_share": self.share if self.canary else 0.0}
        for role, version in (("current", self.current), ("canary", self.canary), ("previous", self.previous)):
            told[role] = None if version is None else {
                "id": version.loaded.id, "bytes": version.loaded.measured(), "file_bytes": version.loaded.file_bytes, "running": version.users,
                "waiting": len(version.lane.waiting), "requests": version.calls, "failures": version.failures, "load_seconds": version.loaded.seconds}
        return told
