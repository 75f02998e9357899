"""What every student is trained on: texts, gold labels, folds, and soft labels that no row has seen itself in.

Rows of the evaluated folds (`held`) get logits from models that were trained without their fold; mixing, temperatures and
thresholds are tuned on those. A model trained without fold f learns from teacher signals that were fitted without fold f
as well: otherwise the held rows' own gold labels would reach it through the teacher, and everything tuned on them would
be too optimistic (seen on Banking77: 1.2 points).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..models.bert import Classifier
from ..models.teachers import Teacher
from ..tasks.classify import softmax
from ..teach.linear import Linear, LinearConfig, fit_linear
from .events import Event, Listener, silent

FOLDS = 5


@dataclass
class Ground:
    """The shared input of the students. n training rows, k labels; `extra` are unlabelled texts that only the teacher labels."""

    texts: list[str]
    gold: np.ndarray
    labels: tuple[str, ...]
    seed: int
    teacher: Teacher | None = None
    vectors: Any = None
    """What the teacher says of each text, (n, width) float32, or None without a teacher."""
    extra: list[str] = field(default_factory=list)
    extra_vectors: Any = None
    gold_share: float = 0.5
    seconds: float | None = None
    listen: Listener = silent
    stop: Callable[[], bool] = lambda: False
    memo: list = field(default_factory=list)
    """The trimmed vocabulary, once a student has asked for it."""

    def __post_init__(self) -> None:
        self.folds = make_folds(self.gold, self.seed)
        count = len(self.texts)
        # One fold of a large file says enough about a threshold; a small file needs more of its rows for that.
        self.evaluated = list(range(1 if count > 1000 else 2 if count > 400 else FOLDS))
        self.held = np.flatnonzero(np.isin(self.folds, self.evaluated))
        self._heads: dict[frozenset[int], Linear] = {}
        self._temperature = 1.0
        if self.vectors is not None:
            self._choose_head()

    @property
    def encoder(self) -> Classifier | None:
        """The teacher's encoder in our own shape, where it is of a family that students can start from."""
        return self.teacher.encoder if self.teacher else None

    @property
    def classes(self) -> int:
        """k."""
        return len(self.labels)

    def say(self, stage: str, text: str, done: float | None = None) -> None:
        """Tells whoever listens."""
        self.listen(Event(stage, text, done))

    def onehot(self, rows: np.ndarray) -> np.ndarray:
        """Gold labels of rows as (len(rows), k) float32."""
        return np.eye(self.classes, dtype=np.float32)[self.gold[rows]]

    def seconds_for(self, share: float) -> float | None:
        """A share of the time that one of a student's models has: one per evaluated fold, and the final one. None without a budget."""
        return None if self.seconds is None else share * self.seconds / (len(self.evaluated) + 1)

    def rows_without(self, fold: int | None) -> np.ndarray:
        """Training rows of the model that leaves out `fold`; None leaves out nothing."""
        return np.arange(len(self.texts)) if fold is None else np.flatnonzero(self.folds != fold)

    def targets(self, fold: int | None, gold_share: float | None = None) -> np.ndarray:
        """Soft labels for `rows_without(fold)` followed by the extra texts: (rows + extra, k); gold rows alone at share 1."""
        share = self.gold_share if gold_share is None else gold_share
        rows = self.rows_without(fold)
        gold = self.onehot(rows)
        if self.vectors is None or share == 1:
            return gold
        said = np.empty_like(gold)
        for other in sorted(set(self.folds[rows])):
            mine = self.folds[rows] == other
            said[mine] = self._says(frozenset({other} | ({fold} if fold is not None else set())), self.vectors[rows[mine]])
        soft = share * gold + (1 - share) * said
        if self.extra_vectors is not None and len(self.extra_vectors):
            left_out = frozenset() if fold is None else frozenset({fold})
            soft = np.concatenate([soft, self._says(left_out, self.extra_vectors)])
        return soft

    def teacher_head(self, left_out: frozenset[int] = frozenset()) -> Linear:
        """The teacher's linear head, fitted without the folds in `left_out`."""
        if left_out not in self._heads:
            rows = np.flatnonzero(~np.isin(self.folds, list(left_out)))
            head = fit_linear(self.vectors[rows], self.onehot(rows), self._head_config(len(rows)), self.stop)
            if self.stop():
                return head  # cut short, perhaps: good enough for a student that is left out, and for nothing else
            self._heads[left_out] = head
        return self._heads[left_out]

    def teacher_probs(self, vectors: np.ndarray) -> np.ndarray:
        """What the finished teacher says about vectors it was not trained on, (n, k)."""
        return self._says(frozenset(), vectors)

    def teacher_held_logits(self) -> np.ndarray:
        """The teacher's out-of-fold logits on the held rows, (held, k)."""
        out = np.empty((len(self.held), self.classes), np.float32)
        for fold in self.evaluated:
            mine = self.folds[self.held] == fold
            out[mine] = self.teacher_head(frozenset({fold}))(self.vectors[self.held[mine]])
        return out

    def _says(self, left_out: frozenset[int], vectors: np.ndarray) -> np.ndarray:
        return softmax(self.teacher_head(left_out)(vectors) / np.float32(self._temperature))

    def _head_config(self, rows: int) -> LinearConfig:
        return LinearConfig(l2=1 / (self._strength * rows), iterations=120)

    def _choose_head(self) -> None:
        """Regularisation and temperature of the teacher's head, by log-likelihood on the evaluated folds."""
        from ..proof.calibrate import fit_temperature

        best = (np.inf, 10.0)
        for strength in (3.0, 10.0, 30.0):
            self._strength, self._heads = strength, {}
            logits = self.teacher_held_logits()
            temperature = fit_temperature(logits, self.gold[self.held])
            loss = nll(logits / temperature, self.gold[self.held])
            if loss < best[0]:
                best, self._temperature, kept = (loss, strength), temperature, self._heads
        self._strength, self._heads = best[1], kept


def nll(logits: np.ndarray, gold: np.ndarray) -> float:
    """Mean negative log-likelihood of gold labels under softmax(logits)."""
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(gold)), gold]).mean())


def make_folds(gold: np.ndarray, seed: int) -> np.ndarray:
    """Fold number of each row, (n,), every label spread evenly."""
    rng = np.random.default_rng(seed)
    folds = np.empty(len(gold), np.int64)
    turn = 0
    for label in np.unique(gold):
        rows = rng.permutation(np.flatnonzero(gold == label))
        # Going on where the last label stopped keeps the folds the same size when labels are rare.
        folds[rows] = (np.arange(len(rows)) + turn) % FOLDS
        turn += len(rows)
    return folds
