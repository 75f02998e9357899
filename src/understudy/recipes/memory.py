"""What a bundle takes of a machine's memory while it answers, measured where nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from ..run.answer import Understudy

_MEMORY = """
import json, sys
from understudy.proof.bench import peak_rss_mb
from understudy.run.answer import load
asked = json.load(sys.stdin)
load(asked["path"]).answer(asked["texts"], force=asked["force"])
print(peak_rss_mb())
"""


def serving_memory(opened: Understudy, texts: Sequence[str], force: str | None = None) -> float | None:
    """Peak memory (MB) of a fresh process that opens the bundle and answers `texts`: this one still holds the workshop."""
    asked = json.dumps({"path": str(opened.bundle.path), "texts": list(texts), "force": force})
    done = subprocess.run([sys.executable, "-c", _MEMORY], input=asked, capture_output=True, text=True, timeout=120)
    try:
        return float(done.stdout)
    except ValueError:
        return None
