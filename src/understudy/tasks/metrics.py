"""What "right" comes to over many rows, in numpy.

    probs (n, k)  ──►  best label (n,)  ──►  accuracy, macro-F1, per label, confusion      is it right?
          └──────►  confidence (n,)     ──►  log loss, Brier, ECE                          does it know how sure to be?
                                        ──►  risk–coverage, AURC, AUROC                    do its doubts find its errors?

Throughout, `probs` is (n, k) with rows summing to 1 and `gold` is (n,) label numbers. Where only the answers matter,
`probs` may also be the (n,) answered label numbers. A metric of no rows at all is NaN.

Example: probs [[.9, .1], [.6, .4]] with gold [0, 1] has accuracy 0.5 and a risk of 0 at coverage 0.5.
"""

from __future__ import annotations

import numpy as np

TINY = 1e-12


def best(probs: np.ndarray) -> np.ndarray:
    """The answered label of each row, (n,) int64; the first one where several tie. Label numbers pass through."""
    probs = np.asarray(probs)
    return probs.argmax(axis=1).astype(np.int64) if probs.ndim == 2 else probs.astype(np.int64)


def accuracy(probs: np.ndarray, gold: np.ndarray) -> float:
    """Share of rows whose best label is the gold one, 0–1."""
    gold = np.asarray(gold)
    return float(np.mean(best(probs) == gold)) if len(gold) else float("nan")


def per_label(probs: np.ndarray, gold: np.ndarray, k: int | None = None) -> dict[str, np.ndarray]:
    """`precision`, `recall`, `f1` (float64) and `support` (int64), each (k,).

    A ratio without anything in its denominator is 0, as in scikit-learn. `k` is the number of labels; without it, the
    width of `probs`, or one more than the largest label number.
    """
    gold, answered = np.asarray(gold, dtype=np.int64), best(probs)
    k = _width(probs, gold, answered) if k is None else k
    hit = np.bincount(gold[gold == answered], minlength=k).astype(np.float64)
    support, claimed = np.bincount(gold, minlength=k), np.bincount(answered, minlength=k)
    return {"precision": hit / np.maximum(claimed, 1), "recall": hit / np.maximum(support, 1),
            "f1": 2 * hit / np.maximum(support + claimed, 1), "support": support}


def macro_f1(probs: np.ndarray, gold: np.ndarray, k: int | None = None) -> float:
    """Mean F1 over the labels that are gold or answered at least once (scikit-learn's default), 0–1."""
    gold, answered = np.asarray(gold, dtype=np.int64), best(probs)
    if not len(gold):
        return float("nan")
    k = _width(probs, gold, answered) if k is None else k
    hit = np.bincount(gold[gold == answered], minlength=k)
    either = np.bincount(gold, minlength=k) + np.bincount(answered, minlength=k)
    seen = either > 0
    return float(np.mean(2 * hit[seen] / either[seen]))


def confusion(probs: np.ndarray, gold: np.ndarray, k: int | None = None) -> np.ndarray:
    """Counts (k, k) int64: row = gold label, column = answered label."""
    gold, answered = np.asarray(gold, dtype=np.int64), best(probs)
    k = _width(probs, gold, answered) if k is None else k
    return np.bincount(gold * k + answered, minlength=k * k).reshape(k, k)


def log_loss(probs: np.ndarray, gold: np.ndarray) -> float:
    """Mean negative log probability of the gold label, in nats; a probability below 1e-12 counts as 1e-12."""
    gold = np.asarray(gold, dtype=np.int64)
    if not len(gold):
        return float("nan")
    given = np.asarray(probs, dtype=np.float64)[np.arange(len(gold)), gold]
    return float(-np.mean(np.log(np.maximum(given, TINY))))


def brier(probs: np.ndarray, gold: np.ndarray) -> float:
    """Mean squared distance between the probabilities and the one-hot gold label, 0–2 (Brier 1950)."""
    gold = np.asarray(gold, dtype=np.int64)
    if not len(gold):
        return float("nan")
    off = np.array(probs, dtype=np.float64)
    off[np.arange(len(gold)), gold] -= 1.0
    return float(np.mean(np.sum(off**2, axis=1)))


def reliability(probs: np.ndarray, gold: np.ndarray, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and row count of up to `bins` bins of equal mass, from unsure to sure."""
    probs, gold = np.asarray(probs, dtype=np.float64), np.asarray(gold, dtype=np.int64)
    if not len(gold):
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    sure, right = probs.max(axis=1), best(probs) == gold
    groups = np.array_split(np.argsort(sure, kind="stable"), min(bins, len(gold)))
    return (np.array([sure[g].mean() for g in groups]), np.array([right[g].mean() for g in groups]),
            np.array([len(g) for g in groups]))


def ece(probs: np.ndarray, gold: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the best label over bins of equal mass, 0–1 (Nguyen & O'Connor 2015)."""
    sure, right, count = reliability(probs, gold, bins)
    return float(np.sum(count * np.abs(sure - right)) / count.sum()) if len(count) else float("nan")


def risk_coverage(conf: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk (share wrong among the answered), each (n,), answering the surest rows first.

    Rows of equal confidence share their errors evenly, so that the order of the file does not matter (El-Yaniv &
    Wiener 2010).
    """
    conf, wrong = np.asarray(conf, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    order = np.argsort(-conf, kind="stable")
    _, start, group = np.unique(-conf[order], return_index=True, return_inverse=True)
    size = np.diff(np.r_[start, len(conf)])
    even = (np.add.reduceat(wrong[order], start) / size)[group] if len(conf) else wrong
    rank = np.arange(1, len(conf) + 1)
    return rank / max(1, len(conf)), np.cumsum(even) / rank


def aurc(conf: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the risk–coverage curve, 0–1, lower is better (Geifman, Uziel & El-Yaniv 2019)."""
    risk = risk_coverage(conf, wrong)[1]
    return float(np.mean(risk)) if len(risk) else float("nan")


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive row scores above a negative one, ties counting half; NaN when one side is empty."""
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    up, down = int(positive.sum()), int((~positive).sum())
    if not up or not down:
        return float("nan")
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2.0)[group]
    return float((rank[positive].sum() - up * (up + 1) / 2) / (up * down))


def _width(probs: np.ndarray, gold: np.ndarray, answered: np.ndarray) -> int:
    probs = np.asarray(probs)
    if probs.ndim == 2:
        return int(probs.shape[1])
    return int(max(gold.max(initial=-1), answered.max(initial=-1))) + 1
