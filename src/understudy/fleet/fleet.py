"""The models that are served: loaded when first asked, least lately used first to leave, swapped without a gap.

    fleet = Fleet(FleetConfig(memory=1_000_000_000))
    fleet.add("support", Path("support"), aliases=("gpt-4o-mini",))
    entry = fleet.entry("support")
    while (version := entry.chosen(text)) is None:
        await fleet.ready(entry)
    with fleet.using(entry, version): ...

Everything here runs on the event loop's thread; what blocks goes to a thread. A bundle that cannot be loaded leaves what
answers alone, and is not tried again for a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BundleError, BusyError, UnderstudyError, UnknownModelError, UsageError
from ..run.generate.forked import ForkServer
from . import memory
from .about import about_of
from .config import FleetConfig
from .entry import Entry, Version
from .loading import expected, load_bundle
from .pool import Lane, Pool
from .trial import end_trials, tried
from .writers import Writers

_AT_ONCE = 4
"""Bundles that are tried, loaded or given up at the same time."""
_AGAIN = 5.0
"""Seconds before a bundle that could not be loaded is tried again by a request."""
log = logging.getLogger("understudy.fleet")


class Fleet:
    """Made inside a running event loop. Close it."""

    def __init__(self, config: FleetConfig, root: Path | None = None) -> None:
        self.config, self.root = config, root
        self.budget = config.memory or memory.total() // 2
        self.pool = Pool(config.threads or len(os.sched_getaffinity(0)))
        self.entries: dict[str, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._room = asyncio.Lock()
        self._reserved = 0
        self._proved: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Threads of their own: a bundle that takes minutes in its trial may not keep prompts from being read.
        self._threads = ThreadPoolExecutor(_AT_ONCE, "loading")
        self._forks = ForkServer()
        self.evictions = self.loads = 0

    def add(self, name: str, path: Path, *, aliases: tuple[str, ...] = (), pin: bool = False, languages: tuple[str, str] | None = None) -> Entry:
        """Makes a model known. Raises UsageError for a name that is taken, BundleError for a manifest that cannot be read."""
        for one in (name, *aliases):
            if one in self._names:
                raise UsageError(f"two models are called {one!r}", hint="give one of them another name in fleet.toml")
        about = about_of(path, languages)
        entry = Entry(name, path, aliases, pin, about["task"], about)
        self.entries[name] = entry
        self._names.update(dict.fromkeys((name, *aliases), entry))
        return entry

    def entry(self, name: str | None, *kinds: str) -> Entry:
        """The model of a name or alias; without a name the only one there is, or the only one for these tasks. Raises UnknownModelError."""
        if name is None or name == "":
            fitting = [entry for entry in self.entries.values() if not kinds or entry.task in kinds]
            if len(fitting) == 1:
                return fitting[0]
            raise UnknownModelError("the request names no model, and there are several" if fitting else "no model here is for that", hint=self._served())
        found = self._names.get(name)
        if found is None:
            raise UnknownModelError(f"no model is called {name[:100]!r}", hint=self._served())
        return found

    def has(self, name: str) -> bool:
        """Whether a model has that name or alias."""
        return name in self._names

    def _served(self) -> str:
        names = sorted(self.entries)
        return f"there are {', '.join(names[:20])}{' and more' if len(names) > 20 else ''}" if names else "start the server with a bundle"

    @contextlib.contextmanager
    def using(self, entry: Entry, version: Version) -> Iterator[None]:
        """Counts a request in and out; one that ends with something else than an error of its own counts as a failure. Raises BusyError
        where the model had to leave before it was done."""
        version.enter()
        try:
            yield
        except (UsageError, BusyError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as problem:
            if version.gone:
                raise BusyError("the model left before this was answered", retry_after=1.0) from problem
            version.failures += 1
            if version is entry.canary and entry.canary_is_worse():
                log.warning("the canary of %s fails more often than what it is to replace, and was taken back", entry.name)
                self._later(self.set_share(entry.name, 0.0))
            raise
        finally:
            version.leave()

    async def ready(self, entry: Entry) -> Version:
        """The model's version, loaded where it is not. Raises what loading raises; soon after a failure that again at once."""
        async with entry.lock:
            if entry.current is not None:
                return entry.current
            if entry.problem and time.monotonic() - entry.failed < _AGAIN:
                raise BundleError(entry.problem, hint="its bundle could not be loaded just now")
            entry.state = "loading"
            try:
                entry.current = await self._loaded(entry.path, entry)
            except BaseException as problem:
                entry.state = "unloaded"
                if isinstance(problem, UnderstudyError) and not isinstance(problem, BusyError):
                    entry.problem, entry.failed = str(problem), time.monotonic()
                raise
            entry.state, entry.problem = "loaded", None
            return entry.current

    async def _loaded(self, path: Path, entry: Entry) -> Version:
        """A version of the bundle in a folder, tried in a child first, with room made for it."""
        need = await self._in_thread(expected, path, self.config.slots)
        await self._make_room(need, entry)
        try:
            mark = await self._in_thread(_mark, path)
            if not self.config.trust and mark not in self._proved:
                await self._in_thread(tried, path, need)
                self._proved.add(mark)
            beside = sum(one.about["sort"] == "write" for one in self.entries.values()) > 1
            loaded = await self._in_thread(partial(load_bundle, path, slots=self.config.slots, start=self._forks.start, beside=beside))
        finally:
            self._reserved -= need
        self.loads += 1
        lane = Writers(self.config.slots, self.config.queue) if loaded.sort == "write" else Lane(self.config.queue, self.config.batch_tokens)
        log.info("%s is loaded: %.1f MB in %.2f s", entry.name, loaded.cost / 1e6, loaded.seconds)
        return Version(loaded, lane)

    def used(self) -> int:
        """Bytes that the loaded models take."""
        return sum(version.loaded.measured() for entry in self.entries.values() for version in entry.versions())

    async def _make_room(self, need: int, entry: Entry) -> None:
        """Reserves `need` bytes; models that were not used for longest leave, the idle ones first. Raises BusyError."""
        async with self._room:
            if need > self.budget:
                raise BundleError(f"{entry.name} needs about {need:,} bytes and all models together may take {self.budget:,}", hint="raise --memory")
            while self.used() + self._reserved + need > self.budget:
                if not await self._one_leaves(entry):
                    raise BusyError("there is no memory for this model while the others are at work or pinned", retry_after=2.0, hint="raise --memory")
            self._reserved += need

    async def _one_leaves(self, keep: Entry) -> bool:
        spare = [entry for entry in self.entries.values() if entry.previous is not None]
        if spare:
            entry = min(spare, key=lambda one: one.previous.used if one.previous else 0.0)
            gone, entry.previous = entry.previous, None
            await self._dismiss(gone)
            return True
        loaded = [one for one in self.entries.values() if one.current is not None and not one.pin and one is not keep and not one.lock.locked()]
        if not loaded:
            return False
        entry = min(loaded, key=lambda one: (one.current.users > 0, one.current.used) if one.current else (True, 0.0))
        self.evictions += 1
        async with entry.lock:
            await self._unload(entry)
        return True

    async def unload(self, name: str) -> None:
        """Takes a model out of memory, once what it works on is done."""
        entry = self.entry(name)
        async with entry.lock:
            await self._unload(entry)

    async def _unload(self, entry: Entry) -> None:
        gone = entry.versions()
        entry.current = entry.canary = entry.previous = None
        entry.share, entry.state = 0.0, "unloaded"
        for version in gone:
            await self._dismiss(version)

    async def _dismiss(self, version: Version | None) -> None:
        if version is None:
            return
        if not await version.drained(self.config.drain):
            log.warning("requests that took longer than %g seconds were ended with their model", self.config.drain)
        version.gone = True
        await self._in_thread(version.loaded.close)
        await self._in_thread(memory.give_back)

    async def swap(self, name: str, path: Path | None = None, share: float = 1.0) -> Entry:
        """Loads the bundle in `path` (the model's own folder again where none is given) and lets it answer a share of the requests.

        What answered before goes on until the new one is loaded and proved, and is kept for `rollback`. Raises what loading raises.
        """
        entry = self.entry(name)
        async with entry.lock:
            if entry.current is None and share == 1.0:
                entry.path = path or entry.path
            elif share < 1.0 and entry.current is None:
                raise UsageError(f"{entry.name} is not loaded, so nothing is there to share requests with", hint="load it first")
            else:
                fresh = await self._loaded(path or entry.path, entry)
                await self._dismiss(entry.canary)
                entry.canary, entry.canary_path, entry.share = fresh, path or entry.path, share
                if share == 1.0:
                    self._promote(entry)
                return entry
        entry.problem = None
        await self.ready(entry)
        return entry

    def _promote(self, entry: Entry) -> None:
        old = entry.previous
        entry.previous, entry.previous_path = entry.current, entry.path
        entry.current, entry.path = entry.canary, entry.canary_path or entry.path
        entry.canary, entry.share = None, 0.0
        self._later(self._dismiss(old))

    async def set_share(self, name: str, share: float) -> Entry:
        """Gives the canary another share of the requests: 1 makes it the model, 0 takes it back. Raises UsageError without one."""
        entry = self.entry(name)
        async with entry.lock:
            if entry.canary is None:
                raise UsageError(f"{entry.name} has no canary", hint="load a bundle with a share below 1 first")
            entry.share = share
            if share == 1.0:
                self._promote(entry)
            elif share == 0.0:
                gone, entry.canary = entry.canary, None
                self._later(self._dismiss(gone))
        return entry

    async def rollback(self, name: str) -> Entry:
        """Brings back what answered before the last swap; at once where it is still in memory. Raises UsageError where there was none."""
        entry = self.entry(name)
        async with entry.lock:
            if entry.previous is None and entry.previous_path in (None, entry.path):
                raise UsageError(f"{entry.name} has no earlier version", hint="there is one after a bundle was loaded over another")
            back = entry.previous or await self._loaded(entry.previous_path or entry.path, entry)
            entry.previous, entry.current = entry.current, back
            entry.path, entry.previous_path = entry.previous_path or entry.path, entry.path
        return entry

    def _in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Lets every model go; what is being tried or loaded is given up."""
        end_trials()
        for entry in self.entries.values():
            async with entry.lock:
                await self._unload(entry)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._forks.close)
        self.pool.close()
        self._threads.shutdown(wait=False)


def _mark(path: Path) -> str:
    """What a trial was passed by: the manifest's id and the hashes of all files."""
    from hashlib import sha256

    with open(path / "manifest.json", "rb") as file:
        return sha256(file.read()).hexdigest()
