"""Summaries made of a document's own sentences: how long one may be, which sentences go in, and what it says about itself.

    scores, costs, groups ──► every group its share ──► what is left, best first ──► document order

Nothing is rewritten, so nothing can be invented; `flags` name what a reader should know all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

_WIDE = 4000
"""Sentences up to which every chosen sentence is compared with all others; beyond, with those of its own group."""
SAME = 0.95
"""Similarity from which a sentence says nothing new and is never added."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A sentence of the summary: characters start..end of the document, its text and its score (higher is better)."""

    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary: its text, the sentences it is made of in document order, its words, its share of the document's words, and flags."""

    text: str
    sentences: tuple[Chosen, ...]
    words: int
    share: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a summary may be: exactly one of `words`, `sentences` (at least 1) or `share` of the document's words (0..1].

    Raises UsageError for anything else.
    """

    words: int | None = None
    sentences: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in ("words", "sentences", "share") if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            said = ", ".join(f"{name}={value}" for name, value in given.items()) or "nothing"
            raise UsageError(f"the length of a summary is given by one of words, sentences or share; given was {said}",
                             hint="for example sentences=3")
        name, value = next(iter(given.items()))
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name == "share":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise UsageError(f"share is {value!r}; it is above 0 and at most 1", hint="share=0.2 keeps a fifth of the words")
        elif not whole or value < 1:
            raise UsageError(f"{name} is {value!r}; it is a whole number of at least 1")

    def costs(self, words: Sequence[int]) -> tuple[np.ndarray, float]:
        """What each sentence costs, (n,), and how much may be spent, for sentences of so many words."""
        if self.sentences is not None:
            return np.ones(len(words)), float(self.sentences)
        counted = np.maximum(1, np.asarray(words, np.float64)) if len(words) else np.zeros(0)
        return counted, float(self.words) if self.words is not None else math.ceil((self.share or 0) * counted.sum())


class _Selection:
    """What is chosen so far, what it cost, and how close every sentence is to something chosen."""

    def __init__(self, scores: np.ndarray, costs: np.ndarray, groups: Sequence[Sequence[int]], vectors: np.ndarray,
                 redundancy: float) -> None:
        self.costs, self.vectors, self.redundancy = costs, vectors, redundancy
        spread = float(scores.std()) or 1.0
        # Scores of any model on one scale, 0..1, so that the weight of redundancy means the same for all.
        self.worth = 1 / (1 + np.exp(-np.clip((scores - scores.mean()) / spread, -30, 30)))
        self.near = np.zeros(len(scores))
        self.free = np.ones(len(scores), bool)
        self.chosen: list[int] = []
        self.spent = 0.0
        every = np.arange(len(scores))
        self.compared = [every if len(scores) <= _WIDE else np.asarray(group) for group in groups]

    def best(self, rows: np.ndarray, room: float) -> int | None:
        """The most valuable free row among `rows` that costs at most `room`."""
        fits = rows[self.free[rows] & (self.costs[rows] <= room) & (self.near[rows] < SAME)]
        if not len(fits):
            return None
        return int(fits[np.argmax((1 - self.redundancy) * self.worth[fits] - self.redundancy * self.near[fits])])

    def take(self, row: int, group: int) -> None:
        self.chosen.append(row)
        self.free[row] = False
        self.spent += self.costs[row]
        rows = self.compared[group]
        self.near[rows] = np.maximum(self.near[rows], self.vectors[rows] @ self.vectors[row])


def select(scores: np.ndarray, costs: np.ndarray, limit: float, groups: Sequence[Sequence[int]], vectors: np.ndarray,
           redundancy: float = 0.3) -> list[int]:
    """The rows of a summary, ascending, costing at most `limit` together (one row, the cheapest, where nothing fits).

    `groups` are the parts of the document (each row in one): every part first spends its own share of the limit, which is its share of
    all costs; what remains goes to the best rows anywhere, the parts that have got least first. A row's value is
    (1 - redundancy)·score - redundancy·similarity to what is chosen (maximal marginal relevance, Carbonell & Goldstein 1998), with scores
    brought to 0..1 and similarity the product of the unit `vectors` (n, d). No row too like a chosen one is taken.
    """
    if not len(scores):
        return []
    picked = _Selection(np.asarray(scores, np.float64), costs, groups, vectors, redundancy)
    total = float(costs.sum())
    left = []
    for place, group in enumerate(groups):
        rows = np.asarray(group, np.int64)
        quota = limit * float(costs[rows].sum()) / total if len(groups) > 1 else limit
        room = quota
        while (row := picked.best(rows, min(room, limit - picked.spent))) is not None:
            picked.take(row, place)
            room -= costs[row]
        left.append(room)
    _spend_rest(picked, groups, left, limit)
    if not picked.chosen:
        return [int(np.lexsort((-np.asarray(scores), costs))[0])]
    return sorted(picked.chosen)


def _spend_rest(picked: _Selection, groups: Sequence[Sequence[int]], left: list[float], limit: float) -> None:
    """One round over the parts with an unspent share, each part's best row, most valuable first; then anywhere."""
    if len(groups) > 1:
        waiting = [(place, row) for place, group in enumerate(groups)
                   if (row := picked.best(np.asarray(group, np.int64), limit - picked.spent)) is not None]
        for place, row in sorted(waiting, key=lambda one: -(picked.worth[one[1]] + min(1.0, left[one[0]] / max(1.0, limit)))):
            if picked.costs[row] <= limit - picked.spent and picked.near[row] < SAME:
                picked.take(row, place)
    owner = np.zeros(len(picked.free), np.int64)
    for place, group in enumerate(groups):
        owner[list(group)] = place
    every = np.arange(len(picked.free))
    while (row := picked.best(every, limit - picked.spent)) is not None:
        picked.take(row, int(owner[row]))


def joined(texts: Sequence[str]) -> str:
    """The sentences as one text, their inner line breaks made spaces."""
    return " ".join(" ".join(text.split()) for text in texts)
