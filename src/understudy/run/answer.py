"""A bundle that answers: rungs asked in order, cheapest first, until one is sure."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import exp
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol, overload

import numpy as np

from ..bundle import Bundle, Manifest, Rung, open_bundle
from ..errors import BundleError, UsageError
from ..tasks.classify import softmax
from ..tasks.types import Prediction

_FEW = 32
"""Labels up to which one text's probabilities are worked out without numpy."""


class RawModel(Protocol):
    """What a file in `kinds` opens: raw logits, before mixing and calibration."""

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (len(texts), k), float32."""
        ...


@dataclass(frozen=True)
class Answers:
    """The answers to n texts: probabilities (n, k), which rung answered (n,) and whether it was sure enough (n,)."""

    probs: np.ndarray
    rung: np.ndarray
    answered: np.ndarray


class Understudy:
    """An opened bundle. It is a Predictor; rungs are opened when first asked, so a tiny request stays tiny."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        if bundle.manifest.task != "classify":
            raise UsageError(f"{bundle.path} was made for the task {bundle.manifest.task}, not to classify", hint="understudy predict writes with it")
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self.labels: tuple[str, ...] = bundle.manifest.labels
        self._threads = threads
        self._models: dict[str, RawModel] = {}
        rungs = bundle.manifest.rungs
        self._skipped = {index for index, rung in enumerate(rungs[:-1])
                         if rung.threshold > 1 and not any(rung.name in later.mix for later in rungs[index + 1:])}
        """Rungs that never answer and that no later one adds."""
        # As numpy compares: a threshold beside float32 probabilities is a float32.
        self._asked = [(rung, float(np.float32(rung.threshold))) for index, rung in enumerate(rungs) if index not in self._skipped]
        self._opening = 0

    def _model(self, rung: Rung) -> RawModel:
        model = self._models.get(rung.name)
        if model is None:
            if find_spec(f"{__package__}.kinds.{rung.kind}") is None:
                raise BundleError(f"the rung '{rung.name}' is of the kind '{rung.kind}', which this version cannot run",
                                  hint=f"the bundle was written by Understudy {self.manifest.version}: pip install --upgrade understudy")
            start = perf_counter_ns()
            kind = import_module(f"{__package__}.kinds.{rung.kind}")
            model = self._models[rung.name] = kind.open_rung(self.bundle, rung, self._threads)
            self._opening += perf_counter_ns() - start
        return model

    def _rung(self, name: str) -> Rung:
        for rung in self.manifest.rungs:
            if rung.name == name:
                return rung
        raise UsageError(f"the bundle has no rung '{name}'", hint=f"it has {', '.join(rung.name for rung in self.manifest.rungs)}")

    def raw_logits(self, rung: str, texts: Sequence[str]) -> np.ndarray:
        """What one rung's model says on its own, shape (n, k), before mixing and calibration."""
        return self._model(self._rung(rung)).logits(texts)

    def answer(self, texts: Sequence[str], *, force: str | None = None) -> Answers:
        """Asks the cascade; `force` names one rung that answers everything (with the earlier logits that it adds)."""
        rungs = self.manifest.rungs
        if force is not None:
            rung = self._rung(force)
            probs = mixed(rung, {name: self.raw_logits(name, texts) for name in rung.mix})
            return Answers(probs, np.full(len(texts), rungs.index(rung)), probs.max(1, initial=0) >= rung.threshold)
        if len(texts) == 1:
            return self._alone(texts)
        probs = np.zeros((len(texts), len(self.labels)), np.float32)
        who, answered = np.full(len(texts), len(rungs) - 1), np.zeros(len(texts), bool)
        left, heard = np.arange(len(texts)), {}
        for index, rung in enumerate(rungs):
            if not len(left):
                break
            last = index == len(rungs) - 1
            if index in self._skipped:
                continue
            heard[rung.name] = self._model(rung).logits([texts[int(i)] for i in left] if len(left) < len(texts) else texts)
            p = mixed(rung, heard)
            sure = p.max(1) >= rung.threshold
            done = sure | last
            probs[left[done]], who[left[done]], answered[left[done]] = p[done], index, sure[done]
            left = left[~done]
            heard = {name: logits[~done] for name, logits in heard.items()}
        return Answers(probs, who, answered)

    def _alone(self, texts: Sequence[str]) -> Answers:
        """`answer` for one text, which is most of them, without the bookkeeping that many need."""
        probs, index, sure = self.one(texts[0])
        return Answers(np.array([probs], np.float32), np.array([index]), np.array([sure]))

    def one(self, text: str) -> tuple[Sequence[float], int, bool]:
        """One text's probabilities (k,), float32, the rung that answered and whether it was sure: what `answer` says, for less."""
        heard: dict[str, np.ndarray] = {}
        for rung, threshold in self._asked:
            heard[rung.name] = self._model(rung).logits((text,))
            probs = _mixed_one(rung, heard) if len(self.labels) <= _FEW else mixed(rung, heard)[0].tolist()
            sure = max(probs) >= threshold
            if sure:
                break
        return probs, self.manifest.rungs.index(rung), sure

    def predict_proba(self, texts: str | Sequence[str]) -> np.ndarray:
        """Calibrated probabilities of the rung that answered, shape (n, k), float32."""
        return self.answer([texts] if isinstance(texts, str) else texts).probs

    def embed(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """(vectors (n, width) of length 1, tokens read) from the last encoder of the ladder. Raises UsageError where there is none."""
        for rung in reversed(self.manifest.rungs):
            model = self._model(rung) if rung.kind == "encoder" else None
            found = getattr(model, "embed", lambda texts: None)(texts)
            if found is not None:
                return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), getattr(model, "count", len)(texts)
        raise UsageError(f"{self.manifest.name} gives no embeddings: it has no encoder, or was made before they were exported", hint="train it again with --size base")

    @overload
    def predict(self, texts: str) -> Prediction: ...
    @overload
    def predict(self, texts: list[str]) -> list[Prediction]: ...
    def predict(self, texts: str | list[str]) -> Prediction | list[Prediction]:
        """The answer to one text, or a list of answers to many; `label` is None where no rung was sure enough."""
        if isinstance(texts, str):
            return self.predict([texts])[0]
        start, opened = perf_counter_ns(), self._opening
        answers = self.answer(texts)
        best = answers.probs.argmax(1)
        # Opening a rung happens once in the life of a process and is no part of what an answer costs.
        each = (perf_counter_ns() - start - (self._opening - opened)) / 1e6 / max(1, len(texts))
        names = [rung.name for rung in self.manifest.rungs]
        return [Prediction(self.labels[b] if sure else None, float(p[b]), names[r], each, self.labels[b])
                for p, b, r, sure in zip(answers.probs, best, answers.rung, answers.answered, strict=True)]


def mixed(rung: Rung, heard: Mapping[str, np.ndarray]) -> np.ndarray:
    """Calibrated probabilities (n, k), float32, of a rung from the raw logits it adds."""
    total = np.sum([weight * heard[name].astype(np.float64) for name, weight in rung.mix.items()], axis=0)
    return softmax(total / rung.temperature).astype(np.float32)


def _mixed_one(rung: Rung, heard: Mapping[str, np.ndarray]) -> array[float]:
    """`mixed` for one text: so few numbers are faster without numpy, whose code a model has just driven out of the processor's cache.

    Both work in float64 and round at the end, so that a text gets the same answer alone and among others.
    """
    total: list[float] = []
    for name, weight in rung.mix.items():
        part = [weight * one for one in heard[name][0].tolist()]
        total = [one + other for one, other in zip(total, part, strict=True)] if total else part
    temperature, top = rung.temperature, max(total)
    odds = [exp((one - top) / temperature) for one in total]
    whole = sum(odds)
    return array("f", [one / whole for one in odds])


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Understudy:
    """Opens the bundle in the folder `path`, checked whole. `threads` spreads large batches over that many cores."""
    return Understudy(open_bundle(Path(path)), threads=threads)
