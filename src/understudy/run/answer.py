"""A bundle that answers: rungs asked in order, cheapest first, until one is sure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol, overload

import numpy as np

from ..bundle import Bundle, Manifest, Rung, open_bundle
from ..errors import BundleError
from ..tasks.classify import softmax
from ..tasks.types import Prediction


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
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self.labels: tuple[str, ...] = bundle.manifest.labels
        self._threads = threads
        self._models: dict[str, RawModel] = {}

    def _model(self, rung: Rung) -> RawModel:
        model = self._models.get(rung.name)
        if model is None:
            if find_spec(f"{__package__}.kinds.{rung.kind}") is None:
                raise BundleError(f"the rung '{rung.name}' is of the kind '{rung.kind}', which this version cannot run",
                                  hint=f"the bundle was written by Understudy {self.manifest.version}: pip install --upgrade understudy")
            kind = import_module(f"{__package__}.kinds.{rung.kind}")
            model = self._models[rung.name] = kind.open_rung(self.bundle, rung, self._threads)
        return model

    def raw_logits(self, rung: str, texts: Sequence[str]) -> np.ndarray:
        """What one rung's model says on its own, shape (n, k), before mixing and calibration."""
        return self._model(next(one for one in self.manifest.rungs if one.name == rung)).logits(texts)

    def answer(self, texts: Sequence[str], *, stop_at: str | None = None, force: str | None = None) -> Answers:
        """Asks the cascade. `force` names one rung that answers everything; `stop_at` the last rung that is asked."""
        rungs = self.manifest.rungs
        last = next((i for i, rung in enumerate(rungs) if rung.name in (stop_at, force)), len(rungs) - 1)
        count, classes = len(texts), len(self.labels)
        probs, who = np.zeros((count, classes), np.float32), np.full(count, last)
        answered, heard = np.zeros(count, bool), {}
        left = np.arange(count)
        for index, rung in enumerate(rungs[: last + 1]):
            if not len(left):
                break
            needed = force is None or any(rung.name in later.mix for later in rungs[index: last + 1] if later.name == force)
            if not needed or (force is None and rung.threshold > 1 and not _used_later(rungs[index + 1: last + 1], rung.name)):
                continue
            heard[rung.name] = self._model(rung).logits([texts[i] for i in left] if len(left) < count else texts)
            if force is not None and rung.name != force:
                continue
            mixed = sum(np.float32(weight) * heard[name] for name, weight in rung.mix.items())
            p = softmax(mixed / np.float32(rung.temperature))
            sure = p.max(1) >= rung.threshold
            done = sure | (index == last)
            probs[left[done]], who[left[done]], answered[left[done]] = p[done], index, sure[done]
            left = left[~done]
            heard = {name: logits[~done] for name, logits in heard.items()}
        return Answers(probs, who, answered)

    def predict_proba(self, texts: str | Sequence[str]) -> np.ndarray:
        """Calibrated probabilities of the rung that answered, shape (n, k), float32."""
        return self.answer([texts] if isinstance(texts, str) else texts).probs

    @overload
    def predict(self, texts: str) -> Prediction: ...
    @overload
    def predict(self, texts: Sequence[str]) -> list[Prediction]: ...
    def predict(self, texts):
        """The answer to one text, or a list of answers to many; `label` is None where no rung was sure enough."""
        if isinstance(texts, str):
            return self.predict([texts])[0]
        start = perf_counter_ns()
        answers = self.answer(texts)
        best = answers.probs.argmax(1)
        each = (perf_counter_ns() - start) / 1e6 / max(1, len(texts))
        names = [rung.name for rung in self.manifest.rungs]
        return [Prediction(self.labels[b] if sure else None, float(p[b]), names[r], each, self.labels[b])
                for p, b, r, sure in zip(answers.probs, best, answers.rung, answers.answered, strict=True)]


def _used_later(rungs: Sequence[Rung], name: str) -> bool:
    return any(name in rung.mix for rung in rungs)


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Understudy:
    """Opens the bundle in the folder `path`, checked whole. `threads` spreads large batches over that many cores."""
    return Understudy(open_bundle(Path(path)), threads=threads)
