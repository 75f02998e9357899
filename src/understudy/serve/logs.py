"""The log: one line of JSON per event on standard error. Written by a thread, so that a slow disk or a full pipe never holds up an answer."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

LONGEST, _WAITING = 2000, 10_000
_PAUSE, _AT_ONCE = 0.1, 32
"""Seconds between writes, and lines that are made into text at a time: Python does nothing else meanwhile."""
_encoder = msgspec.json.Encoder()


class Log(logging.Handler):
    """Takes lines from anywhere; `dropped()` is called for each that could not be taken."""

    def __init__(self, stream: TextIO | None = None, dropped: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self._stream, self._dropped = stream or sys.stderr, dropped
        self._lines: deque[dict[str, Any]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def line(self, **told: Any) -> None:
        """One event. Texts are cut at 2,000 characters, and nothing in them can begin a new line."""
        self.take({"time": round(time.time(), 3), **{name: value[:LONGEST] if isinstance(value, str) else value for name, value in told.items()}})

    def take(self, told: dict[str, Any]) -> None:
        """One event with its time, as it is; it may not be changed any more. The thread that writes makes it into text."""
        if len(self._lines) >= _WAITING:
            self._dropped()
            return
        self._lines.append(told)

    def emit(self, record: logging.LogRecord) -> None:
        """A record of the logging module, as a line."""
        told = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        self.line(level=record.levelname.lower(), event=record.getMessage(), **told)

    def close(self) -> None:
        """Writes what is left."""
        self._ended.set()
        self._thread.join(timeout=2)
        super().close()

    def _write(self) -> None:
        while not (self._ended.wait(_PAUSE) and not self._lines):
            while self._lines:
                lines = [self._lines.popleft() for _ in range(min(_AT_ONCE, len(self._lines)))]
                try:
                    self._stream.write(_encoder.encode_lines(lines).decode())
                    self._stream.flush()
                except (OSError, ValueError):
                    for _ in lines:
                        self._dropped()
