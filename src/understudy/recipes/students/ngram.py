"""The n-gram student: convex, no seed, seconds."""

from __future__ import annotations

from time import monotonic

import numpy as np

from ...models.ngram import featurise, fit_vocabulary, rung_files, runtime_tensors
from ...proof.calibrate import fit_temperature
from ...run.ngrams import NgramConfig
from ...teach.linear import Linear, LinearConfig, Sparse, fit_linear
from ..ground import Ground, nll
from ..student import Student

STRENGTHS = (10.0, 30.0, 3.0)
_BYTES_PER_FEATURE = 12


def build(ground: Ground, room: int | None) -> Student | None:
    """Trains the n-gram rung; `room` is how many bytes it may take."""
    return build_as(ground, room, "ngram", ground.gold_share)


def build_as(ground: Ground, room: int | None, name: str, share: float) -> Student | None:
    """An n-gram model called `name` that learns from `share` gold labels and 1 − `share` teacher."""
    started = monotonic()
    texts = ground.texts + ground.extra
    most = 200_000 if room is None else max(0, (room - 10_000) // (_BYTES_PER_FEATURE + ground.classes))
    if most < 500:
        return None
    ground.say(name, "counting n-grams", 0.0)
    vocabulary = fit_vocabulary(texts, NgramConfig(), least=2 if len(texts) > 300 else 1, most=most)
    if not len(vocabulary.hashes):
        vocabulary = fit_vocabulary(texts, NgramConfig(), least=1, most=most)
    features = featurise(texts, vocabulary)
    strength, held = _choose_strength(ground, features, name, share)
    ground.say(name, "training the final model", 0.9)
    head = _fit(ground, features, None, strength, share)
    tensors = runtime_tensors(vocabulary, head)
    return Student(
        name=name, kind="ngram", files=rung_files(vocabulary, tensors), held_logits=held,
        float_logits=lambda some: (featurise(some, vocabulary) @ _tensor(head.weight)).numpy() + head.bias,
        parameters=head.weight.size + head.bias.size, precision="int8", seconds=monotonic() - started, cost=0.04, helper=name != "ngram",
        notes=(f"{len(vocabulary.hashes):,} n-grams, C = {strength:g}",))


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


def _fit(ground: Ground, features: Sparse, fold: int | None, strength: float, share: float) -> Linear:
    rows = np.concatenate([ground.rows_without(fold), len(ground.texts) + np.arange(len(ground.extra))])
    targets = ground.targets(fold, share)
    rows = rows[: len(targets)]
    return fit_linear(features.rows(rows), targets, LinearConfig(l2=1 / (strength * len(rows)), iterations=60), ground.stop)


def _held(ground: Ground, features: Sparse, strength: float, share: float, folds: list[int]) -> np.ndarray:
    out = np.zeros((len(ground.held), ground.classes), np.float32)
    for fold in folds:
        head = _fit(ground, features, fold, strength, share)
        mine = ground.folds[ground.held] == fold
        out[mine] = (features.rows(ground.held[mine]) @ _tensor(head.weight)).numpy() + head.bias
    return out


def _choose_strength(ground: Ground, features: Sparse, name: str, share: float) -> tuple[float, np.ndarray]:
    """The regularisation with the best out-of-fold likelihood on the first evaluated fold, and the held logits under it."""
    first = ground.evaluated[:1]
    mine = ground.folds[ground.held] == first[0]
    tried: dict[float, tuple[float, np.ndarray]] = {}
    started = monotonic()
    for step, strength in enumerate(STRENGTHS):
        if tried and ground.seconds is not None and monotonic() - started > ground.seconds / 4:
            break
        ground.say(name, f"trying C = {strength:g}", 0.1 + 0.2 * step)
        logits = _held(ground, features, strength, share, first)
        gold = ground.gold[ground.held[mine]]
        tried[strength] = (nll(logits[mine] / fit_temperature(logits[mine], gold), gold), logits)
    strength = min(tried, key=lambda one: tried[one][0])
    held = tried[strength][1]
    if len(ground.evaluated) > 1:
        held = held + _held(ground, features, strength, share, ground.evaluated[1:])
    return strength, held
