"""The one shape everything that answers has: teacher, student, bundle, cascade and remote model are Predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data file: a text and, where it is labelled, its gold label. `line` is where it stood (1 = first)."""

    text: str
    label: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer.

    `label` is None when the model abstains; `confidence` is the calibrated probability of the best label, `rung` the
    model of the cascade that answered, `milliseconds` the time this answer took (a batch shares its time evenly).
    """

    label: str | None
    confidence: float
    rung: str
    milliseconds: float
    best: str
    """The most probable label, also when the model abstains."""


@runtime_checkable
class Predictor(Protocol):
    """Anything that answers a classification task."""

    labels: tuple[str, ...]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, shape (len(texts), len(labels)), float32, rows summing to 1."""
        ...
