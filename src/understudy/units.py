"""Sizes, durations and shares as people type them.

Examples: parse_size("5MB") is 5,000,000 bytes; parse_duration("10m") is 600 seconds; parse_share("5%") is 0.05.
"""

from __future__ import annotations

import math
import re

from .errors import UsageError

SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
DURATIONS = {"": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
NUMBER = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*([^\s0-9]*)\s*", re.IGNORECASE)


def split_number(text: str) -> tuple[float, str] | None:
    """The number and the lower-case unit of "5 MB"; None when the text is not that. Never negative, never infinite."""
    found = NUMBER.fullmatch(text)
    if not found:
        return None
    value = float(found[1] + (found[2] or ""))
    return (value, found[3].lower()) if math.isfinite(value) else None


def parse_size(text: str) -> int:
    """Whole bytes. MB is a million, MiB is 2**20; a plain number is bytes."""
    found = split_number(text)
    if not found or found[1] not in SIZES:
        raise UsageError(f"{text!r} is not a size", hint="write it like 5MB, 700KB or 4MiB")
    return round(found[0] * SIZES[found[1]])


def parse_duration(text: str) -> float:
    """Seconds. `m` is minutes, `ms` milliseconds; a plain number is seconds."""
    found = split_number(text)
    if not found or found[1] not in DURATIONS:
        raise UsageError(f"{text!r} is not a duration", hint="write it like 90s, 10m or 1ms")
    return found[0] * DURATIONS[found[1]]


def parse_share(text: str) -> float:
    """A share 0–1, from "5%" or "0.05"."""
    found = split_number(text)
    if not found or found[1] not in ("", "%"):
        raise UsageError(f"{text!r} is not a share", hint="write it like 5% or 0.05")
    share = found[0] / 100 if found[1] == "%" else found[0]
    if share > 1:
        raise UsageError(f"{text!r} is more than everything", hint=f"a share runs from 0 to 1; did you mean {found[0]:g}%?"
                         if found[1] == "" and found[0] <= 100 else "a share runs from 0% to 100%")
    return share


def show_size(size: float) -> str:
    """Bytes as people read them, in powers of ten: 5.2 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"
