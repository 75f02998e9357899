"""Building the n-gram student: which features are kept, their weights, and the int8 tensors that the shop floor reads."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log

import numpy as np

from ..run.ngrams import NgramConfig, bigram_feature, word_features, words_of
from ..teach.linear import Linear, Sparse


@dataclass(frozen=True)
class Vocabulary:
    """The kept features: sorted CRC-32 `hashes` (F,) uint32 with their inverse document frequency `idf` (F,) float32."""

    config: NgramConfig
    hashes: np.ndarray
    idf: np.ndarray


def _units(text: str, config: NgramConfig, memory: dict[str, list[int]]) -> list[tuple[float, list[int]]]:
    """(1 + ln count, features) of each distinct word and bigram of a text."""
    words = words_of(text, config)
    units = []
    for word, count in Counter(words).items():
        features = memory.get(word)
        if features is None:
            features = memory[word] = word_features(word, config)
        units.append((1.0 + log(count), features))
    if config.bigrams:
        pairs = Counter(pairwise(words))
        units += [(1.0 + log(count), [bigram_feature(*pair)]) for pair, count in pairs.items()]
    return units


def fit_vocabulary(texts: Sequence[str], config: NgramConfig, *, least: int = 2, most: int = 200_000) -> Vocabulary:
    """Keeps the features that occur in at least `least` texts, the `most` frequent ones (ties by hash)."""
    memory: dict[str, list[int]] = {}
    frequency: Counter[int] = Counter()
    for text in texts:
        frequency.update({feature for _, features in _units(text, config, memory) for feature in features})
    kept = sorted(((count, feature) for feature, count in frequency.items() if count >= least), key=lambda pair: (-pair[0], pair[1]))
    kept = sorted(kept[:most], key=lambda pair: pair[1])
    hashes = np.array([feature for _, feature in kept], np.uint32)
    counts = np.array([count for count, _ in kept], np.float64)
    return Vocabulary(config, hashes, (np.log((1 + len(texts)) / (1 + counts)) + 1).astype(np.float32))


def featurise(texts: Sequence[str], vocabulary: Vocabulary) -> Sparse:
    """The rows that the runtime would see: norms are summed per unit, exactly as `run.kinds.ngram` sums them."""
    row_of = dict(zip(vocabulary.hashes.tolist(), range(len(vocabulary.hashes)), strict=True))
    idf = vocabulary.idf.tolist()
    memory: dict[str, list[int]] = {}
    starts = [0]
    columns, values = array("q"), array("f")  # a list would take five times the memory
    for text in texts:
        mine: dict[int, float] = {}
        square = 0.0
        for often, features in _units(text, vocabulary.config, memory):
            rows = [row for feature in features if (row := row_of.get(feature)) is not None]
            for row in rows:
                mine[row] = mine.get(row, 0.0) + often * idf[row]
                square += (often * idf[row]) ** 2
        norm = square ** 0.5 or 1.0
        columns.extend(mine)
        values.extend([value / norm for value in mine.values()])
        starts.append(len(columns))
    return Sparse(np.array(starts, np.int64), np.asarray(columns), np.asarray(values), len(idf))


def runtime_tensors(vocabulary: Vocabulary, head: Linear) -> dict[str, np.ndarray]:
    """The tensors of the rung: one int8 row and one scale per feature."""
    largest = np.abs(head.weight).max(1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    weights = np.clip(np.rint(head.weight / scale[:, None]), -127, 127).astype(np.int8)
    return {"hashes": vocabulary.hashes, "idf": vocabulary.idf, "scale": scale, "weights": weights,
            "bias": head.bias.astype(np.float32)}


def rung_files(vocabulary: Vocabulary, tensors: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The rung's folder: config.json and model.safetensors."""
    from safetensors.numpy import save

    return {"config.json": (json.dumps(asdict(vocabulary.config), indent=1, sort_keys=True) + "\n").encode(),
            "model.safetensors": save(tensors)}
