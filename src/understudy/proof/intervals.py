"""Intervals and tests that hold for small samples, with numpy and whole numbers only.

    accuracy        wilson             macro-F1 and the like   bootstrap_interval
    two models      mcnemar            an error rate           binom_cdf, cp_upper

Example: 0 errors among 45 labels gives `cp_upper(0, 45, 0.10)` = 0.0499: at 90 % confidence, fewer than 5 % are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval (low, high) for a share of k out of n (Wilson 1927); (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)


def bootstrap_interval(fn: Callable[[np.ndarray], float], n: int, seed: int, reps: int = 1000,
                       level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (low, high) of `fn(rows)` over `reps` resamples of n rows with replacement.

    `fn` is given row numbers, (n,) int64. Same seed, same interval. (NaN, NaN) when n is 0.
    """
    if n == 0:
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    values = [fn(draw.integers(0, n, n)) for _ in range(reps)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[float, int, int]:
    """Exact two-sided p that a and b are equally often right, with the rows only a and only b got right.

    (p, b, c): b rows where only a was right, c rows where only b was. Counted in whole numbers, so exact at any n;
    p is 1 when they never differ.
    """
    first, second = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    n, term, total = b + c, 1, 0
    for i in range(min(b, c) + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return (min(1.0, 2 * total / 2**n) if n else 1.0), b, c


def binom_cdf(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X ~ Binomial(n, p), summed term by term in logs, so that small tails keep their relative precision."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    i = np.arange(1, k + 1, dtype=np.float64)
    step = np.log((n - i + 1) / i) + (math.log(p) - math.log1p(-p))
    terms = n * math.log1p(-p) + np.r_[0.0, np.cumsum(step)]
    top = float(terms.max())
    return min(1.0, math.exp(top) * float(np.sum(np.exp(terms - top))))


def cp_upper(k: int, n: int, delta: float) -> float:
    """One-sided upper bound of an error rate at confidence 1 − delta, after k errors in n (Clopper & Pearson 1934).

    1 when n is 0 or everything was wrong. Found by bisection on the exact binomial, from above.
    """
    if n == 0 or k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if binom_cdf(k, n, middle) > delta:
            low = middle
        else:
            high = middle
    return high
