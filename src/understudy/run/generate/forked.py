"""Workers forked from one prepared process (see `forkserver`), as a service starts them: less memory for each, and there sooner."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, cast

from .starting import Child, command, environment, spawned
from .wire import CODE, SHORT

_PATIENCE = 30.0
"""Seconds after which a prepared process that does not answer is given up."""
_GRACE = 2.0
"""Seconds in which the prepared process says how a child ended."""
UNKNOWN = 255
"""The exit code where nobody can say it any more."""
log = logging.getLogger("understudy.run")


class Forked:
    """A child of the prepared process. The descriptors are its own: of the process, of its standard input and output, of how it ended."""

    def __init__(self, pid: int, process: int, stdin: int, stdout: int, status: int) -> None:
        self.pid, self.returncode = pid, cast("int | None", None)
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")
        self._process, self._status = process, status
        self._lock, self._ended = threading.Lock(), 0.0

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._code()
                if self.returncode is not None:
                    os.close(self._process)
                    os.close(self._status)
            return self.returncode

    def _code(self) -> int | None:
        gone = _readable(self._process)
        if _readable(self._status):
            told = os.read(self._status, CODE.size)
            if told:
                return int(CODE.unpack(told)[0])
        elif gone:
            # Dead, and not a word about it: the prepared process does not run.
            self._ended = self._ended or time.monotonic()
            gone = time.monotonic() - self._ended > _GRACE
        return self._adopted() if gone else None

    def _adopted(self) -> int:
        # The prepared process is gone, too; what it leaves becomes a child of a service that is process 1 of its container.
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PIDFD, self._process, os.WEXITED | os.WNOHANG)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return UNKNOWN

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """Ends it at once."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self.returncode is None:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)


class ForkServer:
    """Starts workers for a service. The prepared process begins with the first of them and ends with `close`; threads may share this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = not _possible()

    @property
    def pid(self) -> int | None:
        """Process id of the prepared process, None where there is none."""
        running = self._running
        return None if running is None else running[0].pid

    def start(self, fd: int, errors: IO[bytes]) -> Child:
        """A worker as `spawned` starts it; where it cannot be forked, that. Raises OSError."""
        with self._lock:
            if not self._closed:
                try:
                    return self._forked(fd, errors)
                except (OSError, ValueError) as problem:
                    self._end()
                    if not self._closed:
                        log.warning("a worker could not be forked (%s) and is started on its own", problem)
        return spawned(fd, errors)

    def close(self) -> None:
        """Ends the prepared process; workers go on, and later ones are started on their own."""
        self._closed, running = True, self._running
        if running is not None:
            running[0].kill()  # whoever waits for its answer need not wait longer
        with self._lock:
            self._end()

    def _forked(self, fd: int, errors: IO[bytes]) -> Child:
        control = self._control()
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            stdin, write = _pipe(theirs, ours)
            read, stdout = _pipe(ours, theirs)
            status, told = _pipe(ours, theirs)
            socket.send_fds(control, [str(fd).encode()], [stdin, stdout, errors.fileno(), fd, told])
            said, process, _, _ = socket.recv_fds(control, SHORT, 1)
            if not process:
                raise OSError(said.decode() or "the prepared process ended")
            ours.pop_all()
            return Forked(int(said), process[0], write, read, status)

    def _control(self) -> socket.socket:
        if self._running is not None and self._running[0].poll() is not None:
            self._end()
        if self._running is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(_PATIENCE)
            with theirs:
                try:
                    process = subprocess.Popen(command("forkserver"), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                               env=environment(), start_new_session=True)  # fmt: skip
                except OSError:
                    ours.close()
                    raise
            self._running = process, ours
        return self._running[1]

    def _end(self) -> None:
        if self._running is not None:
            process, control = self._running
            process.kill()
            process.wait()
            control.close()
            self._running = None


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with these."""
    ends = os.pipe()
    for stack, end in zip((reader, writer), ends, strict=True):
        stack.callback(os.close, end)
    return ends


def _readable(fd: int) -> bool:
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    return bool(ready.poll(0))


def _possible() -> bool:
    """Whether this kernel has descriptors of processes, and lets us use them."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True
