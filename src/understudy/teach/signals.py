"""What a teacher says, asked once: vectors or logits per text, cached on disk under a content hash.

The cache is a folder of shards of 1,000 texts. A shard's name is the SHA-256 of the teacher's fingerprint and its texts,
so a rerun, another student, or a run that was killed half-way asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..home import cache_dir

SHARD = 1000
_VERSION = b"signals-2"


class Speaks(Protocol):
    """A teacher as the cache sees it."""

    @property
    def key(self) -> str:
        """Changes whenever the teacher would say something else."""
        ...

    def vectors(self, texts: Sequence[str], progress: Callable[[int], None]) -> np.ndarray:
        """(n, width) float32."""
        ...


def ask(teacher: Speaks, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None,
        stop: Callable[[], bool] = lambda: False) -> np.ndarray:
    """What the teacher says about each text, (n, width) float32; `progress` hears how many texts were answered.

    Raises KeyboardInterrupt between shards when `stop` says so; what was answered until then stays cached.
    """
    folder = cache_dir("signals")
    parts = []
    # Sorted by length, so that a shard holds texts that pad well together; the shards then are the same for the same texts.
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), texts[index]))
    for start in range(0, len(order), SHARD):
        if stop():
            raise KeyboardInterrupt
        mine = [texts[index] for index in order[start:start + SHARD]]
        digest = hashlib.sha256(_VERSION + teacher.key.encode())
        for text in mine:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        path = folder / f"{digest.hexdigest()}.npy"
        said = _read(path, len(mine))
        if said is None:
            said = teacher.vectors(mine, progress)
            _write(path, said)
        else:
            progress(len(mine))
        parts.append(said)
    said = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    out = np.empty_like(said)
    out[order] = said
    return out


def _read(path: os.PathLike[str], rows: int) -> np.ndarray | None:
    try:
        said = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return said if said.dtype == np.float32 and said.ndim == 2 and len(said) == rows else None


def _write(path, said: np.ndarray) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "wb") as file:
            np.save(file, said, allow_pickle=False)
        os.replace(part, path)
    except OSError:
        # A cache that cannot be written costs time, not the run.
        part.unlink(missing_ok=True)
