"""Ours, as a user meets it: the command trains, the Python door answers, the receipt says what is inside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from base import Answerer, Context, Model
from data import BenchError


class Ours:
    """`understudy train TRAIN --test TEST --out DIR --json`, then `understudy.load(DIR)`.

    The test file goes in so that the receipt inside the bundle is measured on it; the bench measures again, itself.
    """

    name = "ours"
    title = "Understudy"
    seeded = True
    most_seeds = 99

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]:
        bundle = folder / "bundle"
        command = [_command(), "train", str(context.train_file), "--test", str(context.test_file), "--out", str(bundle),
                   "--seed", str(seed), "--threads", str(context.threads), "--json", *context.ours_args]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip()
            print(said, file=sys.stderr)
            raise BenchError(f"understudy train ended with {done.returncode}: {said.splitlines()[-1] if said else ''}")
        return {"fit_seconds": time.perf_counter() - start, "receipt": receipt_rows(bundle / "receipt.json")}

    def load(self, folder: Path, context: Context) -> Answerer:
        import understudy

        model = understudy.load(str(folder / "bundle"))

        def proba(texts: Sequence[str]) -> np.ndarray:
            return np.asarray(model.predict_proba(list(texts)), np.float32)

        return Model(tuple(model.labels), proba, folder / "bundle", lambda text: model.predict(text).best)

    def cost(self, rows: int, tests: int, classes: int) -> float:
        return 60 + rows * 0.024


def receipt_rows(path: Path) -> list[dict[str, Any]]:
    """What the receipt says of the teacher, each rung and the cascade: its `entries`, as they stand."""
    if not path.is_file():
        return []
    entries = json.loads(path.read_text(encoding="utf-8")).get("entries", [])
    return [entry for entry in entries if isinstance(entry, dict)]


def _command() -> str:
    beside = Path(sys.executable).parent / "understudy"
    found = str(beside) if beside.is_file() else shutil.which("understudy")
    if found is None:
        raise BenchError("the command understudy is not installed beside this Python: pip install -e .")
    return found
