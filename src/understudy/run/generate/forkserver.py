"""The process that a service's workers are forked from: `python -m understudy.run.generate.forkserver`, its socket on standard input.

It has imported what a worker needs, runs no thread and holds no model, so its children share the interpreter and llama.cpp's
library with it. A message asks for one child and brings its descriptors: standard input, output and error, the model, and the
pipe into which is written how the child ended. The answer is a process id and a descriptor of that process.

`multiprocessing.forkserver` would keep one more process of 7 MB, and give the children its own standard streams.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import select
import socket
import sys
import traceback
from typing import NoReturn

if __name__ == "__main__":
    sys.modules["ssl"] = None  # type: ignore[assignment]  # as in a worker

from . import worker
from .wire import CODE, SHORT

_GIVEN = 5
"""Descriptors that come with a message."""


class Forkserver:
    """`caller` is a descriptor of the process that asks."""

    def __init__(self, control: socket.socket, caller: int) -> None:
        self._control, self._caller = control, caller
        self._children: dict[int, tuple[int, int]] = {}
        """By the descriptor of a child: its process id, and where it is told how it ended."""
        self._watched = select.poll()
        for one in (control, caller):
            self._watched.register(one, select.POLLIN)

    def serve(self) -> None:
        """Forks and reaps until the caller closes the socket or is gone."""
        while True:
            for ready, _ in self._watched.poll():
                if ready in self._children:
                    self._reap(ready)
                elif ready == self._caller or not self._fork():
                    return

    def _fork(self) -> bool:
        message, given, _, _ = socket.recv_fds(self._control, SHORT, _GIVEN)
        if not message:
            return False
        try:
            if len(given) < _GIVEN:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = os.fork()
        except OSError as problem:
            self._control.send(str(problem.strerror).encode())
        else:
            if not pid:
                _become(self._control, given, int(message), self._caller)
            child = os.pidfd_open(pid)
            self._children[child] = pid, given.pop()
            self._watched.register(child, select.POLLIN)
            socket.send_fds(self._control, [str(pid).encode()], [child])
        for one in given:
            os.close(one)
        return True

    def _reap(self, child: int) -> None:
        pid, told = self._children.pop(child)
        self._watched.unregister(child)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(told, CODE.pack(os.waitstatus_to_exitcode(status)))
        os.close(told)
        os.close(child)


def _become(control: socket.socket, given: list[int], number: int, caller: int) -> NoReturn:
    """The child: a worker with its own session and descriptors (the model's has that number), and nobody else's."""
    code = 1
    try:
        os.setsid()
        control.detach()
        above = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, max(3, number + 1)) for one in (*given[:-1], caller)]
        for source, target in zip(above, (0, 1, 2, number), strict=False):
            os.dup2(source, target)
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in (0, 1, 2, number, above[-1]):
                with contextlib.suppress(OSError):  # the one that the list was read from
                    os.close(int(name))
        gone = select.poll()
        gone.register(above[-1], select.POLLIN)
        worker.main(lambda: bool(gone.poll(0)))
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def main() -> None:
    """Imports, then serves. Ends at once where something of it runs threads, which a fork would lose."""
    worker.calm()
    caller = os.pidfd_open(os.getppid())
    with contextlib.suppress(ImportError):  # each worker says so itself
        import xllamacpp  # noqa: F401
    if len(os.listdir("/proc/self/task")) > 1:
        return
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):
        Forkserver(socket.socket(fileno=0), caller).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
