"""How a worker is started: what a started one looks like to its caller, and the plain way, a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol


class Child(Protocol):
    """A running worker, as `subprocess.Popen` has it. A code below 0 is the signal that ended it, negated."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    pid: int

    def poll(self) -> int | None:
        """The exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """Ends it at once."""


_SPINNING = {"GOMP_SPINCOUNT": "2000"}
"""How often llama.cpp's threads look for each other before they sleep, where nobody says otherwise: microseconds. GNU's OpenMP looks for milliseconds,
which gains nothing on an idle machine and makes decoding four times slower on a busy one, where the other thread does not run."""
Start = Callable[[int, IO[bytes]], Child]
"""`start(fd, log)`: the child has the model's descriptor under the same number, and `log` as standard error. Raises OSError."""


def environment() -> dict[str, str]:
    """The caller's, with what a worker needs to find this very package and to end without a word."""
    root = str(Path(__file__).parents[3])
    return {**_SPINNING, **os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}  # fmt: skip


def command(module: str) -> list[str]:
    """What runs a module of this room in a fresh interpreter."""
    return [sys.executable, "-P", "-m", f"{__package__}.{module}"]


def spawned(fd: int, log: IO[bytes]) -> Child:
    """A fresh process. Raises OSError."""
    return subprocess.Popen(command("worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment(), pass_fds=(fd,),
                            start_new_session=True)  # fmt: skip
