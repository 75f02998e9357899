"""Memory of a process as the kernel counts it, in bytes, and giving freed memory back."""

from __future__ import annotations

import ctypes
import gc
import os
from functools import cache
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int | str = "self") -> int:
    """Bytes that a process holds in memory; 0 where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def share(pid: int) -> int:
    """Bytes that a process holds in memory, those that several hold counted in parts; all of them where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return resident(pid)


def total() -> int:
    """Bytes of memory that this machine has, or that this container may use."""
    most = os.sysconf("SC_PHYS_PAGES") * _PAGE
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(most, int(file.read()))
    except (OSError, ValueError):
        return most


@cache
def _libc() -> Any:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None


def give_back(*, collect: bool = True) -> None:
    """Hands freed heap pages back to the kernel, which glibc by itself keeps; collects garbage before."""
    if collect:
        gc.collect()
    if hasattr(_libc(), "malloc_trim"):
        _libc().malloc_trim(0)
