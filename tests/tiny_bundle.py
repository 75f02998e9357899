"""A real n-gram bundle in a tenth of a second, without a teacher and without training a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.bundle import Manifest, Rung, write_bundle
from understudy.models.ngram import featurise, fit_vocabulary, rung_files, runtime_tensors
from understudy.run.ngrams import NgramConfig
from understudy.teach.linear import LinearConfig, fit_linear
from workshop import rows, write_csv


def write_rows(path: Path, count: int, seed: int = 3) -> Path:
    """A labelled CSV of the topics that the bundle knows."""
    return write_csv(path, rows(count, seed))


def make_bundle(path: Path, *, threshold: float = 0.0) -> Path:
    """Trains and writes the bundle; below `threshold` it hands over."""
    pairs = rows(150, 1)
    labels = tuple(sorted({label for _, label in pairs}))
    texts = [text for text, _ in pairs]
    vocabulary = fit_vocabulary(texts, NgramConfig())
    targets = np.eye(len(labels), dtype=np.float32)[[labels.index(label) for _, label in pairs]]
    head = fit_linear(featurise(texts, vocabulary), targets, LinearConfig(l2=1e-3, iterations=40))
    files = {f"ngram/{name}": data for name, data in rung_files(vocabulary, runtime_tensors(vocabulary, head)).items()}
    rung = Rung(name="ngram", kind="ngram", path="ngram", parameters=head.weight.size, precision="int8", mix={"ngram": 1.0}, threshold=threshold)
    write_bundle(path, files, Manifest(name=path.name, version="0.1.0", labels=labels, rungs=(rung,)))
    return path
