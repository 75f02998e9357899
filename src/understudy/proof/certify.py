"""The certificate: P(answered and wrong) ≤ alpha over all traffic, with probability at least 1 − delta.

    tuning rows          ──► an ordered list of whole configurations, strict to lax, fixed from here on
    certification rows   ──► exact binomial p-value of each in that order; stop at the first that fails
    last one that passed ──► Certificate, void as soon as anything in its key changes;  none passed ──► defer everything

Learn-then-Test with a fixed sequence (Angelopoulos et al. 2021, arXiv 2110.01052). The certification rows must be a
random sample of the traffic, labelled whether or not they were answered, and used once.

Example: 45 rows, none answered wrongly: p = 0.95^45 = 0.099 ≤ 0.10, so alpha = 5 % is certified; with 44 it is not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from .intervals import binom_cdf, cp_upper

MOST_LABELS = 1_000_000


@dataclass(frozen=True)
class Certificate:
    """A finite-sample promise on one configuration.

    `index` is the configuration's place in the tested list, `errors` the rows among all `n` that it answered wrongly,
    `coverage` the share it answered, `upper` the exact one-sided bound on its joint error at confidence 1 − delta.
    `reference` says what "wrong" was measured against; `key` fingerprints everything the promise depends on.
    """

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
        return (f"With {percent(1 - self.delta)} confidence, at most {percent(self.alpha)} of all requests are answered "
                f"wrongly (measured against {self.reference}: {self.errors} of {self.n} rows answered wrongly, "
                f"{percent(self.coverage)} answered, upper bound {percent(self.upper)}).")

    def holds_for(self, key: str) -> bool:
        """Whether the promise was made about exactly this model, calibration, thresholds and reference."""
        return bool(self.key) and self.key == key

    def to_dict(self) -> dict[str, Any]:
        """JSON-plain fields and the promise."""
        return {**asdict(self), "promise": self.promise}


def certificate_key(parts: Mapping[str, Any]) -> str:
    """sha256 over the named JSON-plain parts a promise depends on (file hashes, thresholds, reference, label policy)."""
    plain = json.dumps(dict(parts), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def certify_joint(accepted: Sequence[np.ndarray], wrong: np.ndarray | Sequence[np.ndarray], alpha: float,
                  delta: float = 0.1, *, reference: str = "gold labels", key: str = "") -> Certificate | None:
    """The certificate of the configuration that answers most among those that pass, or None: defer everything.

    `accepted` holds one (n,) bool array per configuration, strict to lax, in an order fixed before these rows were
    seen; `wrong` is (n,), or one (n,) per configuration where they answer differently. All that pass hold together, so
    taking the one with the largest coverage costs nothing.
    """
    yes, bad = _checked(accepted, wrong, alpha, delta)
    n = yes.shape[1]
    found: tuple[float, int, int] | None = None
    for index, (answers, misses) in enumerate(zip(yes, bad, strict=True)):
        errors = int(np.sum(answers & misses))
        if not n or binom_cdf(errors, n, alpha) > delta:
            break
        coverage = float(answers.mean())
        if coverage > 0 and (found is None or coverage >= found[0]):
            found = coverage, index, errors
    if found is None:
        return None
    coverage, index, errors = found
    return Certificate(alpha, delta, n, index, errors, coverage, cp_upper(errors, n, delta), reference, key)


def crc(accepted: Sequence[np.ndarray], wrong: np.ndarray | Sequence[np.ndarray], alpha: float) -> int | None:
    """Index of the laxest configuration whose joint error is at most alpha on average over calibrations, or None.

    Conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814): (errors + 1)/(n + 1) ≤ alpha along nested
    configurations. About half of all calibrations end slightly above alpha, so this initialises and never certifies.
    """
    yes, bad = _checked(accepted, wrong, alpha, 0.5)
    passed = None
    for index, errors in enumerate(np.sum(yes & bad, axis=1)):
        if (int(errors) + 1) / (yes.shape[1] + 1) > alpha:
            break
        passed = index
    return passed


def labels_needed(alpha: float, delta: float = 0.1, error_rate: float = 0.0) -> int | None:
    """How many labels certify `alpha` when this share of all rows is answered wrongly.

    None when no number of labels will do (the rate is not below alpha) or it would take more than a million.
    """
    _check_levels(alpha, delta)
    if error_rate >= alpha:
        return None
    low, high = -1, 0
    while (n := _labels_for(high, alpha, delta)) * error_rate > high:
        if n > MOST_LABELS:
            return None
        low, high = high, max(1, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        if _labels_for(middle, alpha, delta) * error_rate > middle:
            low = middle
        else:
            high = middle
    n = _labels_for(high, alpha, delta)
    return n if n <= MOST_LABELS else None


def nothing_certified(accepted: Sequence[np.ndarray], wrong: np.ndarray | Sequence[np.ndarray], alpha: float,
                      delta: float = 0.1) -> str:
    """Why `certify_joint` returned None for the same arguments, and what would change that, in plain sentences."""
    yes, bad = _checked(accepted, wrong, alpha, delta)
    n = yes.shape[1]
    said = (f"Nothing can be certified: P(answered and wrong) ≤ {percent(alpha)} at {percent(1 - delta)} confidence. ")
    if not n:
        return said + f"No labels were kept back; at least {labels_needed(alpha, delta)} are needed."
    some = np.flatnonzero(yes.any(axis=1))
    if not len(some):
        return said + "No configuration answers anything."
    errors = int(np.sum(yes[some[0]] & bad[some[0]]))
    seen = f"The strictest configuration that answers was wrong on {errors} of {n} rows. "
    needed = labels_needed(alpha, delta, errors / n)
    if needed is None:
        return said + seen + "More labels will not change that: the model has to get better, or the promise weaker."
    return said + seen + f"If that share holds, about {max(1, needed - n)} more labels are needed."


def percent(share: float) -> str:
    """A share as people read it: 0.05 is '5 %', 0.0123 is '1.23 %'."""
    return f"{100 * share:.3g} %"


def _labels_for(errors: int, alpha: float, delta: float) -> int:
    """The fewest rows at which this many errors still certify alpha."""
    low, high = errors, max(1, math.ceil((errors + 1) / alpha))
    while binom_cdf(errors, high, alpha) > delta:
        low, high = high, 2 * high
        if high > 4 * MOST_LABELS:
            return high
    while high - low > 1:
        middle = (low + high) // 2
        if binom_cdf(errors, middle, alpha) > delta:
            low = middle
        else:
            high = middle
    return high


def _check_levels(alpha: float, delta: float) -> None:
    for name, level in (("alpha", alpha), ("delta", delta)):
        if not 0 < level < 1:
            raise UsageError(f"{name} is a share strictly between 0 and 1, not {level:g}")


def _checked(accepted: Sequence[np.ndarray], wrong: np.ndarray | Sequence[np.ndarray], alpha: float,
             delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Both as (configurations, n) bool."""
    _check_levels(alpha, delta)
    if not len(accepted):
        raise UsageError("there is no configuration to certify")
    yes, bad = np.stack([np.asarray(a, dtype=bool) for a in accepted]), np.asarray(wrong, dtype=bool)
    if bad.shape not in (yes.shape, yes.shape[1:]):
        raise UsageError(f"`wrong` has shape {bad.shape}, the accepted rows {yes.shape}",
                         hint="give one entry per row, or one such array per configuration")
    return yes, np.broadcast_to(bad, yes.shape)
