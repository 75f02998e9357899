"""What every contender is, and what one may use.

    fit(texts, labels, seed, folder, context)   trains and writes the model into `folder`; returns what it chose and
                                                `fit_seconds`, which count cached work (embeddings) but not the choosing
    load(folder, context)                       opens it: an Answerer

`seeded` says whether the seed changes the result; `most_seeds` is how many are worth their time (1 where it does not).
`cost(rows, tests, classes)` is a rough guess of the seconds one run takes on two cores, for the estimate printed first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Context:
    """What a contender may use. `cache` survives runs; the two files are what the texts and labels were read from."""

    threads: int
    cache: Path
    encoder: Path
    train_file: Path
    test_file: Path
    ours_args: tuple[str, ...] = ()


class Answerer(Protocol):
    @property
    def labels(self) -> tuple[str, ...]: ...

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (len(texts), len(labels)), rows summing to 1."""
        ...

    def answer_one(self, text: str) -> str: ...

    def bytes_on_disk(self) -> int: ...


class Peer(Protocol):
    name: str
    title: str
    seeded: bool
    most_seeds: int

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]: ...

    def load(self, folder: Path, context: Context) -> Answerer: ...

    def cost(self, rows: int, tests: int, classes: int) -> float: ...


@dataclass(frozen=True)
class Model:
    """An Answerer made of two functions and the folder its files lie in."""

    labels: tuple[str, ...]
    proba: Callable[[Sequence[str]], np.ndarray]
    folder: Path
    one: Callable[[str], str] | None = None

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        return self.proba(texts)

    def answer_one(self, text: str) -> str:
        if self.one is not None:
            return self.one(text)
        return self.labels[int(self.proba([text])[0].argmax())]

    def bytes_on_disk(self) -> int:
        return folder_bytes(self.folder)


def folder_bytes(folder: Path) -> int:
    """Bytes of every file below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def tuned_once(peer: str, tries: Sequence[Any], texts: Sequence[str], labels: Sequence[str], context: Context,
               choose: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """What `choose` chose among `tries` for exactly these rows, and the seconds that took; every seed shares one choice."""
    digest = hashlib.sha256(f"{peer} {tries!r}\0".encode())
    for text, label in zip(texts, labels, strict=True):
        digest.update(f"{text}\0{label}\0".encode())
    path = context.cache / f"choice-{peer}-{digest.hexdigest()[:16]}-{context.threads}threads.json"
    if not path.is_file():
        start = time.perf_counter()
        choice = choose()
        path.write_text(json.dumps({"choice": choice, "seconds": time.perf_counter() - start}))
    kept = json.loads(path.read_text())
    return kept["choice"], kept["seconds"]
