"""The process that holds the model: `python -m understudy.run.generate.worker`, frames on standard input and output.

A native crash ends this process and nothing else. It ends itself when its caller is gone.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

if __name__ == "__main__":
    # http.client loads it where it is there: 3 MB of every worker, for a socket file.
    sys.modules["ssl"] = None  # type: ignore[assignment]

from .jobs import Job
from .native import Native
from .wire import framed, read_frame

SOCKET = "s.sock"
"""Alone in a folder of its own."""
_TOGETHER = 0.0002
"""Seconds that a piece waits for others."""
_LOOK_AROUND = 2.0
"""Seconds between looks at whether the caller still lives."""


class Worker:
    """Dispatches frames to jobs."""

    def __init__(self, frames_in: BinaryIO, frames_out: BinaryIO) -> None:
        self._in, self._out = frames_in, frames_out
        self._writing, self._jobs = threading.Lock(), dict[int, Job]()
        self._waiting: deque[bytes] = deque()
        self.folder: Path | None = None

    def send(self, message: dict[str, Any]) -> None:
        """Writes one frame, a piece together with those of others that come right behind it; a caller who is gone ends the process.

        All slots have their next token at the same moment, and each write would wake the caller anew. Raises EngineError for one that is too
        long: to its own job, and no other's frame is lost with it.
        """
        self._waiting.append(framed(message))
        if message["event"] == "piece":
            time.sleep(_TOGETHER)
        try:
            with self._writing:
                if self._waiting:
                    self._out.write(b"".join(self._waiting.popleft() for _ in range(len(self._waiting))))
                    self._out.flush()
        except OSError:
            self.leave()

    def leave(self) -> NoReturn:
        """Ends the process and removes its folder, which a caller who was killed cannot."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / SOCKET).unlink(missing_ok=True)
                self.folder.rmdir()
        sys.stderr.flush()
        # Native threads may still be at work; tearing them down in order is not worth waiting for.
        os._exit(0)

    def serve(self, native: Native, settings: dict[str, Any], gone: Callable[[], bool]) -> None:
        """Answers until the caller closes the pipe or is gone."""
        while True:
            # Frames are read unbuffered, so the pipe's readiness is the whole truth.
            ready, _, _ = select.select([self._in], [], [], _LOOK_AROUND)
            if gone():
                return
            if not ready:
                continue
            message = read_frame(self._in)
            if message is None:
                return
            self._dispatch(message, native, settings)

    def _dispatch(self, message: dict[str, Any], native: Native, settings: dict[str, Any]) -> None:
        number = message["id"]
        if message["op"] == "cancel":
            job = self._jobs.get(number)
            if job is not None:
                job.cancel()
            return
        job = Job(native, message, settings, lambda frame: self.send({"id": number, **frame}))
        self._jobs[number] = job

        def work() -> None:
            try:
                job.run(message["op"])
            finally:
                self._jobs.pop(number, None)

        threading.Thread(target=work, daemon=True).start()


def _frames() -> tuple[BinaryIO, BinaryIO]:
    """The pipes; what native code prints goes to standard error instead."""
    frames_in, frames_out = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return _Whole(frames_in), frames_out  # type: ignore[return-value]


class _Whole:
    """An unbuffered stream whose `read` returns all that was asked for, or less at the end."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def fileno(self) -> int:
        """The descriptor, for `select`."""
        return int(self._raw.fileno())

    def read(self, count: int) -> bytes:
        """`count` bytes."""
        data = bytearray()
        while len(data) < count:
            chunk = self._raw.read(count - len(data))
            if not chunk:
                break
            data += chunk
        return bytes(data)


def calm() -> None:
    """A terminal's Ctrl-C is the caller's, and a crash leaves no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(gone: Callable[[], bool]) -> None:
    """Loads the model that the first frame names, says 'ready' or 'failed', then serves until the caller is `gone`."""
    calm()
    frames_in, frames_out = _frames()
    worker = Worker(frames_in, frames_out)
    settings = read_frame(frames_in)
    if settings is None:
        return
    # The default action of the alarm ends the process even where native code holds the interpreter.
    signal.setitimer(signal.ITIMER_REAL, settings["start_timeout"] + 5)
    worker.folder = Path(settings["folder"])
    try:
        native = Native(settings["model"], str(worker.folder / SOCKET), context=settings["context"], threads=settings["threads"],
                        slots=settings["slots"], copy=settings["copy"])  # fmt: skip
    except ImportError:
        worker.send({"event": "failed", "missing": True})
    except Exception as problem:
        worker.send({"event": "failed", "message": str(problem)})
    else:
        signal.setitimer(signal.ITIMER_REAL, 0)
        worker.send({"event": "ready"})
        with contextlib.suppress(Exception):
            worker.serve(native, settings, gone)
    worker.leave()


if __name__ == "__main__":
    parent = os.getppid()
    main(lambda: os.getppid() != parent)
