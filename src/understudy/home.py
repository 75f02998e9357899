"""Where Understudy keeps what it can make again: teacher signals, weights found once, training state.

One folder, `$UNDERSTUDY_HOME` or `~/.cache/understudy` (`$XDG_CACHE_HOME` is honoured). Deleting it loses time, never work.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """The cache folder, or a folder inside it, made on first use. Raises OSError where it cannot be made."""
    root = os.environ.get("UNDERSTUDY_HOME")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "understudy"
    path = base.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
