"""The machine's memory: what a bundle takes of it while it answers, and how much text there is room to train on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..run.answer import Understudy

_PER_CHARACTER = 150
"""Bytes of memory that training takes per character of text (117 seen with 100,000 short rows): n-grams, their transpose, a fold."""
_MEMORY = """
import json, sys
from pathlib import Path
from understudy.proof.bench import peak_rss_mb
asked = json.load(sys.stdin)
if asked["bundle"]:
    from understudy.run.answer import load
    load(asked["path"]).answer(asked["texts"], force=asked["force"])
else:
    from understudy.models.teachers import open_teacher
    open_teacher("teacher", Path(asked["path"])).vectors(asked["texts"])
print(peak_rss_mb())
"""


def room_for_text() -> int | None:
    """How many characters of text can be trained on in the memory that is free now; None where that cannot be told (off Linux)."""
    free = _kilobytes("/proc/meminfo", "MemAvailable")
    if free is None:
        return None
    try:
        folder = Path("/sys/fs/cgroup")
        free = min(free, int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no limit of its own: "max", or no such file
    return max(1, free // _PER_CHARACTER)


def _kilobytes(path: str, name: str) -> int | None:
    try:
        line = next(line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def serving_memory(opened: Understudy, texts: Sequence[str], force: str | None = None) -> float | None:
    """Peak memory (MB) of a fresh process that opens the bundle and answers `texts`: this one still holds the workshop."""
    return _peak({"bundle": True, "path": str(opened.bundle.path), "texts": list(texts), "force": force})


def teacher_memory(folder: Path, texts: Sequence[str]) -> float | None:
    """Peak memory (MB) of a fresh process that opens a teacher's checkpoint with torch and asks it about `texts`."""
    return _peak({"bundle": False, "path": str(folder), "texts": list(texts)})


def _peak(asked: dict[str, Any]) -> float | None:
    done = subprocess.run([sys.executable, "-c", _MEMORY], input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    try:
        return float(done.stdout)
    except ValueError:
        return None
