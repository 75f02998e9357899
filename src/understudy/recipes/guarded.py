"""What every training run is wrapped in: the extra it needs, a machine that repeats itself, and Ctrl-C that keeps the best so far."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ..errors import missing_extra
from .events import Event, Listener


def need_training() -> None:
    """Raises MissingExtraError where the extra 'train' is not installed."""
    # Threads that spin while they wait starve each other wherever something else runs too: 10 times slower, seen on 2 cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import scipy
        import torch
        import transformers  # noqa: F401
    except ImportError:
        raise missing_extra("training", "train") from None
    del scipy, torch


@contextmanager
def one_machine(count: int | None, seed: int) -> Iterator[None]:
    """Same seed, same machine, same bytes: a fixed number of threads (all cores where None) and one seed for torch."""
    import torch

    with _threads(count or os.cpu_count() or 1):
        torch.manual_seed(seed)
        yield


def one_thread() -> AbstractContextManager[None]:
    """While a teacher is timed: a receipt's latencies are those of one thread."""
    return _threads(1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def interruptible(listen: Listener) -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed, and tells `listen` so; a second press raises KeyboardInterrupt as usual."""
    pressed, told = threading.Event(), threading.Event()

    def stopped() -> bool:
        if pressed.is_set() and not told.is_set():
            told.set()
            listen(Event("train", "interrupted: finishing with what is ready, if anything is; Ctrl-C again ends at once"))
        return pressed.is_set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.getsignal(signal.SIGINT)

    def once(number, frame) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, once)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
