"""Files that a verb writes whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError


def put(target: str, data: bytes) -> None:
    """Writes a file in one move: what stood there stays until all is written. Raises UsageError where it cannot be."""
    half = Path(f"{target}.{os.getpid()}.tmp")
    try:
        half.write_bytes(data)
        os.replace(half, target)
    except OSError as problem:
        raise UsageError(f"{target} cannot be written: {problem.strerror}") from None
    finally:
        half.unlink(missing_ok=True)
