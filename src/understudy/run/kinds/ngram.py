"""The n-gram rung: hashed n-grams times an int8 matrix, in numpy.

A text's logits are Σ m·contribution(unit) / √(Σ m²·weight(unit)) + bias over its distinct words and bigrams ("units"),
with m = 1 + ln(count). contribution = Σ idf·scale·int8 row over the unit's known features; weight = Σ idf².
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from math import log, sqrt
from typing import Any

import numpy as np

from ...bundle import Bundle, Rung
from ...errors import BundleError
from ..ngrams import NgramConfig, bigram_feature, word_features, words_of

_CACHE_BYTES = 24_000_000
_NAME_BYTES = 160
"""What Python takes to remember a unit's name and place: with few labels, that is most of it."""


class NgramModel:
    """Answers from `hashes` (F,) uint32, `idf` (F,), `scale` (F,), `weights` (F, k) int8 and `bias` (k,)."""

    def __init__(self, config: NgramConfig, tensors: dict[str, np.ndarray]) -> None:
        self.config = config
        self._weights = tensors["weights"]
        self._bias = tensors["bias"].astype(np.float32)
        idf = tensors["idf"].astype(np.float32)
        self._factor = (idf * tensors["scale"]).astype(np.float32)
        self._square = (idf * idf).astype(np.float32)
        self._row = dict(zip(tensors["hashes"].tolist(), range(len(idf)), strict=True))
        self._classes = self._weights.shape[1]
        self._capacity = max(1024, _CACHE_BYTES // (4 * (self._classes + 1) + _NAME_BYTES))
        self._forget()

    def _forget(self) -> None:
        self._units: dict[str, int] = {}
        self._memory = np.zeros((256, self._classes + 1), np.float32)

    def _remember(self, unit: str, features: list[int]) -> int:
        """Stores what a unit adds: k logits and its share of the squared norm. Returns its row."""
        place = len(self._units)
        if place == len(self._memory):
            self._memory = np.concatenate([self._memory, np.zeros_like(self._memory)])
        rows = [row for feature in features if (row := self._row.get(feature)) is not None]
        if rows:
            self._memory[place, :-1] = self._factor[rows] @ self._weights[rows].astype(np.float32)
            self._memory[place, -1] = self._square[rows].sum()
        self._units[unit] = place
        return place

    def _places(self, text: str) -> dict[int, int]:
        """Row of each distinct unit in the memory -> how often it occurs."""
        words = words_of(text, self.config)
        units = self._units
        places: dict[int, int] = {}
        for word in words:
            place = units.get(word)
            if place is None:
                place = self._remember(word, word_features(word, self.config))
            places[place] = places.get(place, 0) + 1
        if self.config.bigrams:
            known = self._row
            for left, right in pairwise(words):
                feature = bigram_feature(left, right)
                if feature in known:
                    pair = f"{left} {right}"
                    place = units.get(pair)
                    if place is None:
                        place = self._remember(pair, [feature])
                    places[place] = places.get(place, 0) + 1
        return places

    def _answer(self, text: str) -> np.ndarray:
        if len(self._units) > self._capacity:
            self._forget()
        places = self._places(text)
        if not places:
            return self._bias
        picked = self._memory[list(places)]
        if len(places) == sum(places.values()):
            total = picked.sum(0)
        else:
            often = np.array([1.0 + log(count) for count in places.values()], np.float32)
            total = often @ picked
            total[-1] = (often * often) @ picked[:, -1]
        norm = sqrt(float(total[-1]))
        return total[:-1] / norm + self._bias if norm else self._bias

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Raw logits, shape (len(texts), k), float32; a text's logits do not depend on its neighbours."""
        out = np.empty((len(texts), self._classes), np.float32)
        for index, text in enumerate(texts):
            out[index] = self._answer(text)
        return out


def config_from(text: bytes, where: str) -> NgramConfig:
    """The n-gram settings in a rung's config.json. Raises BundleError for a field that does not belong or fit."""
    try:
        told: Any = json.loads(text)
        config = NgramConfig(**told)
        if not (1 <= config.min_chars <= config.max_chars <= 12 and 1 <= config.longest_text <= 10_000_000):
            raise ValueError("a setting is out of range")
    except (ValueError, TypeError) as problem:
        raise BundleError(f"{where} does not describe an n-gram rung: {problem}") from None
    return config


def open_rung(bundle: Bundle, rung: Rung, threads: int) -> NgramModel:
    """Opens the rung's config.json and model.safetensors. Raises BundleError for tensors that do not fit together."""
    from safetensors.numpy import load

    tensors = load(bundle.read(f"{rung.path}/model.safetensors"))
    config = config_from(bundle.read(f"{rung.path}/config.json"), f"{rung.path}/config.json")
    expect = {"hashes": ("uint32", 1), "idf": ("float32", 1), "scale": ("float32", 1), "weights": ("int8", 2), "bias": ("float32", 1)}
    for name, (kind, rank) in expect.items():
        if name not in tensors or tensors[name].dtype != kind or tensors[name].ndim != rank:
            raise BundleError(f"{rung.path}/model.safetensors: the tensor '{name}' is missing or is not {kind} of rank {rank}")
    rows, classes = tensors["weights"].shape
    if {len(tensors[name]) for name in ("hashes", "idf", "scale")} != {rows} or tensors["bias"].shape != (classes,) \
            or classes != len(bundle.manifest.labels):
        raise BundleError(f"{rung.path}/model.safetensors: the tensors do not fit {len(bundle.manifest.labels)} labels")
    return NgramModel(config, tensors)
