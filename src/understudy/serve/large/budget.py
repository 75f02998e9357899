"""How many questions the large model may be asked on a day (UTC), counted in a small file before each is sent.

The file has one record of fixed length that is written over in place: a process that is killed at any moment leaves a whole one, and a disk that is
full is no trouble, since nothing grows. It is not synced: a power failure may forget the last seconds. One process counts in it at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Callable

from ...errors import UsageError
from .trouble import Trouble

_RECORD = re.compile(rb"understudy questions to the large model 1\n(\d{4}-\d\d-\d\d) (\d{12})\n", re.A)
_MOST = 10**12 - 1
log = logging.getLogger("understudy.serve")


class Budget:
    """`most` questions a day. Lives on the event loop's thread; `today` gives the date as 2026-01-31."""

    def __init__(self, path: str, most: int, today: Callable[[], str] = lambda: time.strftime("%Y-%m-%d", time.gmtime())) -> None:
        """Opens the ledger, or makes it. Raises UsageError for one that cannot be used, is none, or is another server's."""
        self.most, self._path, self._today = most, path, today
        try:
            self._file = _opened(path, _record(today(), 0))
        except OSError as problem:
            raise UsageError(f"--large-ledger {path} cannot be used: {problem.strerror or problem}", hint="a file in a folder that this server may write to") from None
        try:
            self._day, self._count = _read(self._file, path)
        except BaseException:
            self.close()
            raise

    @property
    def left(self) -> int:
        """Questions that may still be asked today."""
        return max(0, self.most - self._spent())

    def spend(self, questions: int) -> None:
        """Counts questions that are about to be sent. Raises Trouble where there are not so many left, or where they cannot be counted."""
        self.look(questions)
        count = min(self._spent() + questions, _MOST)
        day = max(self._day, self._today())
        try:
            if os.pwrite(self._file, record := _record(day, count), 0) != len(record):
                raise OSError("only a part was written")
        except OSError as problem:
            log.error("the large model was not asked: its questions cannot be counted in %s: %s", self._path, problem.strerror or problem)
            raise Trouble("uncounted", outage=None) from None
        self._day, self._count = day, count

    def look(self, questions: int) -> None:
        """Raises Trouble where there are not so many questions left."""
        if questions > self.left:
            raise Trouble("budget", outage=None)

    def _spent(self) -> int:
        # A day that is still to come was written by a clock that was wrong: it counts until it is over, and nobody gets a day twice.
        return self._count if self._today() <= self._day else 0

    def close(self) -> None:
        """Lets another process count."""
        os.close(self._file)


def _record(day: str, count: int) -> bytes:
    return b"understudy questions to the large model 1\n%s %012d\n" % (day.encode(), count)


def _opened(path: str, first: bytes) -> int:
    """The ledger, locked; one that is not there appears whole. Raises OSError, and UsageError where another process has it."""
    if not os.path.lexists(path):
        made = f"{path}.{os.getpid()}"
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, first)
            os.fsync(file)
            with contextlib.suppress(FileExistsError):  # another server was quicker: the lock says whose it is
                os.link(made, path)
        finally:
            os.close(file)
            os.unlink(made)
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise UsageError(f"--large-ledger {path} is another server's at this moment", hint="give each server a ledger and a budget of its own") from None
    except BaseException:
        os.close(file)
        raise
    return file


def _read(file: int, path: str) -> tuple[str, int]:
    data = os.pread(file, 1000, 0) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    found = _RECORD.fullmatch(data)
    if found is None:
        raise UsageError(f"--large-ledger {path} is no ledger of questions to a large model, or is damaged", hint="name a file that is not there yet, or remove this one")
    return found[1].decode(), int(found[2])
