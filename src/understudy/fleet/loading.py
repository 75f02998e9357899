"""A bundle brought into memory, whole: every rung opened and asked once, so that the first request pays for nothing."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

from ..bundle import open_bundle
from ..run.answer import Understudy
from ..run.opening import answering
from ..run.summarising import Summariser
from . import memory

if TYPE_CHECKING:
    from ..run.generate.starting import Start
    from ..run.writing import Writer

_TRY = "where is the parcel that I ordered last week, and when will it come to my house at last?"
_QUICK = 0.0006
"""Seconds of a processor: up to here an answer is made on the event loop, because handing it to a thread and back takes longer."""
_TRIES = 20
_CHILD = 60_000_000
"""Bytes that the process of a writing model takes before it holds any."""
_one_by_one = threading.Lock()


@dataclass
class Loaded:
    """A bundle in memory. `sort` is classify, summarize or write; `cost` the bytes it takes; `quick` that it answers a short text at once."""

    path: Path
    id: str
    sort: str
    model: Understudy | Summariser | Writer
    cost: int
    quick: bool
    seconds: float
    file_bytes: int
    shared: int = 0
    """Bytes that a writing model's process holds together with others: library pages, and what it was forked with."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def pid(self) -> int | None:
        """Process id of a writing model's worker."""
        opened = getattr(self.model, "_opened", None)
        return None if opened is None or self.sort != "write" else opened.worker_pid

    def measured(self) -> int:
        """Bytes: for a writing model what its process holds now, but for what others hold with it."""
        held = memory.resident(self.pid) if self.pid else 0
        return max(held - self.shared, 0) or self.cost

    def close(self) -> None:
        """Ends the worker process, where there is one, and lets go of the weights."""
        if self.sort != "classify":
            self.model.close()  # type: ignore[union-attr]
        del self.model


def expected(path: Path, slots: int) -> int:
    """Bytes that a bundle will take, from its manifest alone, so that room is made before it is loaded. Raises BundleError."""
    manifest = open_bundle(path, verify="sizes").manifest
    files = sum(entry.bytes for name, entry in manifest.files.items() if name.split("/")[0] in {rung.path for rung in manifest.rungs})
    if manifest.task == "classify" or manifest.rungs[-1].kind == "extract":
        return 2 * files + 1_000_000
    return files + _CHILD


def load_bundle(path: str | os.PathLike[str], *, slots: int, start: Start | None = None, beside: bool = False) -> Loaded:
    """Opens, checks and warms a bundle; for a thread. `start`: what starts a worker; `beside`: whether others write beside it.

    Raises BundleError, EngineError, MissingExtraError, UsageError.
    """
    began = perf_counter()
    alone = _one_by_one.acquire(blocking=False)
    try:
        before = memory.resident()
        bundle = open_bundle(path)
        model = answering(bundle, slots=slots, start=start, beside=beside)
        sort = "classify" if isinstance(model, Understudy) else "summarize" if isinstance(model, Summariser) else "write"
        try:
            quick = _warmed(model)
        except BaseException:
            if not isinstance(model, Understudy):
                model.close()
            raise
        memory.give_back(collect=False)  # the file's bytes, and what was made of them on the way
        size = sum(entry.bytes for entry in bundle.manifest.files.values())
        loaded = Loaded(bundle.path, bundle.manifest.id, sort, model, size, quick, perf_counter() - began, size)
        # Two loads at once would count each other's memory.
        grown = memory.share(loaded.pid) if loaded.pid else memory.resident() - before if alone else 2 * size
        loaded.cost = max(size, grown)
        if loaded.pid:
            # Counted once: the kernel walks through all pages for it, and what is shared hardly changes.
            loaded.shared = memory.resident(loaded.pid) - grown
        return loaded
    finally:
        if alone:
            _one_by_one.release()


def _warmed(model: Understudy | Summariser | Writer) -> bool:
    """Asks every rung once; whether the slowest of them is quick."""
    if isinstance(model, Summariser):
        model.predict(_TRY, sentences=1)
        return False
    if not isinstance(model, Understudy):
        model.engine.tokenize("a")
        return False
    for rung in model.manifest.rungs:
        model.answer([_TRY], force=rung.name)
    # The least of many, in this thread's own time: on a busy machine most of them are disturbed.
    times = []
    for _ in range(_TRIES):
        began = thread_time()
        for rung in model.manifest.rungs:
            model.raw_logits(rung.name, [_TRY])
        times.append(thread_time() - began)
    return min(times) <= _QUICK
