"""A finite-sample promise about automatic answers: P(answered and wrong) ≤ alpha, with probability at least 1 − delta.

Learn-then-Test with a fixed sequence (Angelopoulos et al. 2021, arXiv 2110.01052): whole configurations, ordered from
strict to lax before the certification rows are seen, are tested in turn with exact binomial p-values until one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, exp, lgamma, log, log1p

import numpy as np

DELTA = 0.1


@dataclass(frozen=True)
class Certificate:
    """The promise: configuration `index` was the laxest to pass on `n` rows with `errors` answered and wrong; `upper` bounds the risk."""

    alpha: float
    delta: float
    n: int
    index: int
    errors: int
    coverage: float
    upper: float
    reference: str
    key: str

    @property
    def promise(self) -> str:
        """The promise in one sentence."""
        return (f"P(answered and wrong) ≤ {self.alpha:.3g} against {self.reference}, with probability ≥ {1 - self.delta:.0%} "
                f"over the draw of {self.n:,} certification rows ({self.errors} answered and wrong, {self.coverage:.1%} answered)")

    def as_dict(self) -> dict[str, object]:
        """JSON-plain, with the promise spelled out."""
        return {**asdict(self), "promise": self.promise}


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X ≤ k) of a binomial, summed in logarithms; exact to about 1e-12."""
    if k >= n:
        return 1.0
    if k < 0 or p >= 1:
        return 0.0
    if p <= 0:
        return 1.0
    whole = lgamma(n + 1)
    terms = [whole - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log1p(-p) for i in range(k + 1)]
    largest = max(terms)
    return min(1.0, exp(largest) * sum(exp(term - largest) for term in terms))


def upper_bound(k: int, n: int, delta: float) -> float:
    """One-sided Clopper–Pearson bound: the largest rate at which k of n errors has probability above delta."""
    if n == 0 or k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(k, n, middle) > delta else (low, middle)
    return high


def certify_joint(accepted: Sequence[np.ndarray], wrong: Sequence[np.ndarray], alpha: float, *, delta: float = DELTA,
                  reference: str = "gold labels", key: str = "") -> Certificate | None:
    """Tests configurations in their given order (strict → lax), each (n,) bool: which rows it answers, which answers are wrong.

    None when not even the first passes: then nothing may be answered.
    """
    best: Certificate | None = None
    for index, (answered, mistaken) in enumerate(zip(accepted, wrong, strict=True)):
        n, errors = len(answered), int((answered & mistaken).sum())
        if n == 0 or binomial_cdf(errors, n, alpha) > delta:
            break
        best = Certificate(alpha, delta, n, index, errors, float(answered.mean()), upper_bound(errors, n, delta), reference, key)
    return best


def labels_needed(alpha: float, error: float, *, delta: float = DELTA, most: int = 1_000_000) -> int | None:
    """About how many certification rows the promise needs when answers are wrong at the joint rate `error`; None when no number will do."""
    if error >= alpha:
        return None
    n = ceil(log(delta) / log(1 - alpha))
    while n <= most:
        if binomial_cdf(round(error * n), n, alpha) <= delta:
            return n
        n = ceil(n * 1.1)
    return None
