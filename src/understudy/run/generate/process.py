"""The worker seen from the caller: starting it, sending it frames, and noticing that it ended."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from typing import Any, cast

from ...errors import missing_extra
from .starting import Start, spawned
from .wire import EngineError, read_frame, write_frame

_LONGEST_SOCKET_PATH = 90
_GONE: dict[str, Any] = {"event": "gone"}


class WorkerProcess:
    """One child process with a loaded model. Threads may share it; each request has a queue of its own."""

    def __init__(self, settings: dict[str, Any], fd: int, start: Start = spawned) -> None:
        self._folder = _socket_folder()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        try:
            self._process = start(fd, self._log)
        except OSError as problem:
            self._clean()
            raise EngineError(f"no worker can be started: {problem.strerror or problem}") from None
        self._lock, self._queues, self._next = threading.Lock(), dict[int, "queue.SimpleQueue[dict[str, Any]]"](), 0
        self._started: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._gone = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._start({**settings, "folder": self._folder})
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return not self._gone and self._process.poll() is None

    def _start(self, settings: dict[str, Any]) -> None:
        try:
            self._send(settings)
            answer = self._started.get(timeout=settings["start_timeout"])
        except queue.Empty:
            raise EngineError(f"the model did not load within {settings['start_timeout']:g} seconds",
                              hint="give start_timeout= more seconds") from None
        if answer["event"] == "ready":
            return
        tail = self.tail()
        if answer.get("missing"):
            raise missing_extra("generating text", "generate")
        if answer is _GONE:
            raise EngineError(f"the worker ended while it loaded the model ({self.status()}){tail}",
                              hint="the file may be broken although its header is fine; try another one")
        raise EngineError(f"llama.cpp cannot load the model: {answer.get('message')}{tail}")

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        message = None
        with contextlib.suppress(OSError, ValueError):
            while (message := read_frame(cast(Any, stream))) is not None:
                number = message.get("id")
                target = self._started if number is None else self._queues.get(number)
                if target is not None:
                    target.put(message)
        with self._lock:
            self._gone = True
            waiting = list(self._queues.values())
        for one in [self._started, *waiting]:
            one.put(_GONE)

    def _send(self, message: dict[str, Any]) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # a dead worker is noticed by the reader
            write_frame(cast(Any, stream), message)

    def submit(self, operation: str, body: dict[str, Any], target: Any = None) -> tuple[int, queue.SimpleQueue[dict[str, Any]]]:
        """Sends a request; its frames arrive in the queue, or at the `put` of a target, `{"event": "gone"}` if the worker ends first."""
        frames: queue.SimpleQueue[dict[str, Any]] = target if target is not None else queue.SimpleQueue()
        with self._lock:
            self._next += 1
            number = self._next
            self._queues[number] = frames
            if self._gone:
                frames.put(_GONE)
            self._send({"id": number, "op": operation, **body})
        return number, frames

    def forget(self, number: int, *, cancel: bool) -> None:
        """Ends a request; with `cancel`, the worker is told to drop it."""
        with self._lock:
            self._queues.pop(number, None)
            if cancel and not self._gone:
                self._send({"id": number, "op": "cancel"})

    def tail(self) -> str:
        """The last line that native code printed, as an addition to a message."""
        with contextlib.suppress(OSError, ValueError):
            size = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, size - 2000))
            lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return f"; its last words: {lines[-1][:300]}"
        return ""

    def status(self) -> str:
        """How the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=2)
            return f"signal {-code}" if code < 0 else f"exit status {code}"
        return "still running"

    def end(self) -> None:
        """Ends the process and frees what belongs to it; may be called twice."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        deadline = time.monotonic() + 1.0
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._reader is not threading.current_thread():
            self._reader.join(timeout=2)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._clean()

    def _clean(self) -> None:
        self._log.close()
        # The worker removes it itself where its caller was killed.
        shutil.rmtree(self._folder, ignore_errors=True)


def _socket_folder() -> str:
    """A private folder for the worker's socket, whose path may only be short."""
    folder = tempfile.mkdtemp(prefix="understudy-")
    if len(folder) <= _LONGEST_SOCKET_PATH:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="understudy-", dir="/tmp")
