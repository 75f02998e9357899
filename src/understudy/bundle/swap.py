"""Putting a finished folder in the place of another so that a reader, or a kill -9, sees the old whole or the new whole.

Where the kernel can exchange two names in one step (Linux, renameat2), that is the whole story. Elsewhere the old
folder is renamed aside and the new one in; a process killed between the two leaves no folder, and `recover`, which
runs at every open and write, puts the old one back.

Siblings of `target` that belong to a save:  .{name}.tmp-<pid>-<random>  being written, or the old one after an exchange
                                             .{name}.old-<pid>-<random>  the old one, aside
A save holds a lock (flock) on its folder; the kernel drops it when the process dies, so that a free lock means a
dead save, whatever the pid says in another container or after it was given out again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from .paths import MANIFEST

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EPERM)
_PATIENCE = 2.0
"""Seconds a reader waits for a live save that is between its two renames, which takes well under a millisecond."""


def new_tag() -> str:
    """The ending that the siblings of one save share."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def sibling(target: Path, role: str, tag: str) -> Path:
    """The hidden neighbour of `target` for a role ("tmp" or "old") of the save `tag`."""
    return target.parent / f".{target.name}.{role}-{tag}"


def siblings(target: Path, role: str) -> list[tuple[Path, str]]:
    """Path and tag of every neighbour in a role that some save left or uses."""
    pattern = re.compile(re.escape(f".{target.name}.{role}-") + r"([0-9]+-[0-9a-f]{8})")
    try:
        names = sorted(os.listdir(target.parent))
    except OSError:
        return []
    return [(target.parent / name, match.group(1)) for name in names if (match := pattern.fullmatch(name))]


def lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of `folder`, to be closed by the caller; None when somebody else has it.

    Raises OSError when the folder cannot be opened. On a file system without locks the descriptor locks nothing.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            return None
    # Between the opening and the lock somebody may have swept or renamed the folder away.
    if not _is_at(handle, folder):
        os.close(handle)
        return None
    return handle


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except OSError:
        return False


@contextlib.contextmanager
def _dead(folder: Path, tag: str) -> Iterator[bool]:
    """True while `folder` could be locked and, where locks do nothing, its process is gone."""
    try:
        handle = lock(folder)
    except OSError:
        handle = None
    try:
        yield handle is not None and (_locks_work(folder) or not _alive(int(tag.split("-")[0])))
    finally:
        if handle is not None:
            os.close(handle)


def _locks_work(folder: Path) -> bool:
    """Whether a second lock on a locked folder is refused, as it should be."""
    try:
        second = lock(folder)
    except OSError:
        return False
    if second is None:
        return True
    os.close(second)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system or the file system cannot. Raises OSError otherwise."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one))


def swap_in(fresh: Path, target: Path, tag: str) -> Path | None:
    """Puts the folder `fresh` at `target` and syncs the parent; returns where the old folder is now, None if there was none.

    Raises OSError with `target` as it was, when anything on the way fails.
    """
    aside = None if _rename_new(fresh, target) else fresh if exchange(fresh, target) else _swap_in_two_steps(fresh, target, tag)
    try:
        sync_folder(target.parent)
    except OSError:
        _swap_back(fresh, target, aside)
        raise
    return aside


def _rename_new(fresh: Path, target: Path) -> bool:
    if os.path.lexists(target):
        return False
    try:
        os.rename(fresh, target)
    except OSError as error:
        # Another save was quicker: there is something to replace after all.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _swap_in_two_steps(fresh: Path, target: Path, tag: str) -> Path:
    aside = sibling(target, "old", tag)
    held = _lock_patiently(target)
    try:
        os.rename(target, aside)
        os.rename(fresh, target)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(target):
            os.rename(aside, target)
        raise
    finally:
        os.close(held)
    return aside


def _lock_patiently(folder: Path) -> int:
    until = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(FileNotFoundError):
            handle = lock(folder)
            if handle is not None:
                return handle
        if time.monotonic() > until:
            raise OSError(errno.EBUSY, "another save is at work", str(folder))
        time.sleep(0.005)


def _swap_back(fresh: Path, target: Path, aside: Path | None) -> None:
    if aside == fresh and exchange(fresh, target):
        return
    os.rename(target, fresh)
    if aside is not None:
        os.rename(aside, target)


def recover(target: Path) -> None:
    """Undoes a save that was killed between its two renames: `target` is missing, the old folder lies aside and the new
    one beside it. Waits for a save that is alive. Does nothing, and raises nothing, in every other case.
    """
    until = time.monotonic() + _PATIENCE
    while not os.path.lexists(target):
        fresh = {tag for _, tag in siblings(target, "tmp")}
        asides = [(aside, tag) for aside, tag in siblings(target, "old") if tag in fresh and (aside / MANIFEST).exists()]
        if not asides:
            return
        for aside, tag in asides:
            with _dead(aside, tag) as dead:
                if dead and not os.path.lexists(target):
                    with contextlib.suppress(OSError):
                        os.rename(aside, target)
        if time.monotonic() > until:
            return
        time.sleep(0.005)


def sweep(target: Path) -> None:
    """Deletes what dead saves left beside `target`; what cannot be deleted stays for the next one."""
    recover(target)
    for role in ("tmp", "old"):
        for folder, tag in siblings(target, role):
            with _dead(folder, tag) as dead:
                if dead:
                    remove(folder)


def remove(folder: Path) -> None:
    """Deletes a folder, the manifest first, so that what is left half-way is never taken for a bundle. Raises nothing."""
    import shutil

    with contextlib.suppress(OSError):
        os.unlink(folder / MANIFEST)
    shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason_of(error: OSError) -> str:
    """The reason of an OSError in words, with its errno name: 'no space left on device (ENOSPC)'."""
    return f"{(error.strerror or 'error').lower()} ({errno.errorcode.get(error.errno or 0, str(error.errno))})"
