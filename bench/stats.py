"""The bench's own arithmetic, apart from the product's, so that it cannot flatter it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def wilson(right: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), both ends 0–1."""
    share = right / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return centre - half, centre + half


def macro_f1(gold: np.ndarray, said: np.ndarray) -> float:
    """Mean F1 over the classes that stand in `gold`; a class never answered counts 0."""
    scores = []
    for label in np.unique(gold):
        hit = int(((gold == label) & (said == label)).sum())
        scores.append(2 * hit / (int((gold == label).sum()) + int((said == label).sum())))
    return float(np.mean(scores))


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int, float]:
    """Rows only ours got right, rows only theirs, and the exact two-sided p (binomial, both given as right/wrong)."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    n = only_ours + only_theirs
    if n == 0:
        return 0, 0, 1.0
    tail = sum(math.comb(n, i) for i in range(min(only_ours, only_theirs) + 1))
    return only_ours, only_theirs, min(1.0, 2 * tail / 2**n)


def scores(gold: Sequence[str], said: Sequence[str], outside: str) -> dict[str, Any]:
    """Accuracy, its interval and macro-F1; where the label `outside` is in the test, accuracy is of the other rows.

    `outside_recall` is then the share of the `outside` rows answered so; macro-F1 covers all classes and rows.
    """
    truth, answer = np.asarray(gold), np.asarray(said)
    inside = truth != outside
    right = int((truth == answer)[inside].sum())
    low, high = wilson(right, int(inside.sum()))
    out: dict[str, Any] = {"accuracy": right / int(inside.sum()), "low": low, "high": high, "rows": int(inside.sum()),
                           "macro_f1": macro_f1(truth, answer)}
    if not inside.all():
        out["outside_rows"] = int((~inside).sum())
        out["outside_recall"] = float((answer[~inside] == outside).mean())
    return out
