"""Where each rung of a cascade may answer, chosen over whole configurations from out-of-fold confidences.

    rung 0 ── conf ≥ t0 ──► answers
       └─ else rung 1 ── conf ≥ t1 ──► answers
                └─ else … the last rung answers, or abstains below its own threshold

Each rung's confidences fall into the bins between its candidate thresholds, so the rows form one joint histogram, and
running sums along its axes give the errors and the cost of every configuration at once: an exhaustive, exact search.

Example: costs (0.05, 1.0) ms and a threshold that lets rung 0 answer 70 % of the rows cost 0.05 + 0.3 = 0.35 ms a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import GateError, UsageError

NEVER = 1.01
ALWAYS = 0.0
GRID = 40
CELLS = 200_000
FRONTIER = 100


@dataclass(frozen=True, eq=False)
class Ladder:
    """What every rung would answer on the same n rows, out of fold.

    `confidences` and `wrong` (0 or 1, or a probability) hold one (n,) array per rung, cheapest first; `cost` the milliseconds
    that asking this rung adds to whatever was asked before. `skippable` says that a rung which never answers is not asked
    either; leave it off where later rungs use an earlier one's logits.
    """

    confidences: Sequence[np.ndarray]
    wrong: Sequence[np.ndarray]
    cost: Sequence[float]
    skippable: bool = False


@dataclass(frozen=True)
class Choice:
    """Thresholds of all rungs but the last, and what they gave on the rows they were chosen from.

    `expected_accuracy` 0–1 and `expected_cost` in ms per row are therefore slightly flattering. `share` is each rung's
    part of the answers. `frontier` holds (cost, accuracy, thresholds), cheapest first, each better than all before it.
    """

    thresholds: tuple[float, ...]
    expected_accuracy: float
    expected_cost: float
    share: tuple[float, ...]
    frontier: tuple[tuple[float, float, tuple[float, ...]], ...]


def route(confidences: Sequence[np.ndarray], thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Which rung has the last word on each row, (n,) int64, and whether it answers, (n,) bool.

    A rung answers where its confidence is at or above (>=) its threshold. With one threshold fewer than rungs the last
    rung always answers; with as many, rows below the last threshold are abstained from.
    """
    rungs = len(confidences)
    if len(thresholds) not in (rungs - 1, rungs):
        raise UsageError(f"{len(thresholds)} thresholds do not fit {rungs} rungs", hint=f"give {rungs - 1} or {rungs}")
    rung = np.full(len(confidences[0]), rungs - 1, dtype=np.int64)
    open_ = np.ones(len(rung), dtype=bool)
    for i, threshold in enumerate(thresholds):
        taken = open_ & (np.asarray(confidences[i]) >= threshold)
        rung[taken] = i
        open_ &= ~taken
    return rung, (~open_ if len(thresholds) == rungs else np.ones(len(rung), dtype=bool))


def choose_thresholds(ladder: Ladder, *, max_cost: float | None = None, tolerance: float = 0.0005) -> Choice:
    """The cheapest configuration within `tolerance` of the best accuracy; with `max_cost`, the best that costs no more.

    Candidates are up to 40 confidence quantiles per rung (fewer from five rungs on), plus "answers everything" (0.0) and
    "answers nothing" (1.01). Ties go to the cheaper, then the more accurate, then the laxer at the first rung.
    Raises GateError when nothing costs as little as `max_cost`, UsageError when the ladder's arrays do not fit.
    """
    _check(ladder)
    rungs, n = len(ladder.cost), len(ladder.wrong[0])
    per_rung = GRID if rungs <= 4 else max(3, int(CELLS ** (1 / (rungs - 1))) - 3)
    grids = [_grid(np.asarray(c), per_rung) for c in ladder.confidences[:-1]]
    errors, cost = _surface(ladder, grids)
    accuracy, cost = 1.0 - errors.ravel() / n, cost.ravel()
    if max_cost is None:
        fits = accuracy >= accuracy.max() - tolerance - 1e-12
        order = np.lexsort((-accuracy, cost))
    else:
        fits = cost <= max_cost + 1e-12
        order = np.lexsort((cost, -accuracy))
        if not fits.any():
            raise GateError(f"no configuration costs at most {max_cost:g} ms; the cheapest costs {cost.min():.3g} ms",
                            hint="raise the latency budget or choose a smaller size")
    shape = tuple(len(g) for g in grids)
    at = int(order[fits[order]][0])
    chosen = _thresholds(grids, shape, at)
    rung, _ = route(ladder.confidences, chosen)
    share = tuple(float(s) for s in np.bincount(rung, minlength=rungs) / n)
    return Choice(chosen, float(accuracy[at]), float(cost[at]), share, _frontier(cost, accuracy, grids, shape))


def configurations(confidences: Sequence[np.ndarray], thresholds: Sequence[float], m: int = 25) -> list[tuple[float, ...]]:
    """Whole configurations, strict to lax, for `certify_joint`: one threshold per rung, the last one abstaining.

    From TUNING rows only, before the certification rows are looked at. Every rung must reach at least a floor, which
    falls from the surest tenth of the answers to nothing at all; the laxest configuration is the cascade as chosen.
    """
    rung, _ = route(confidences, thresholds)
    sure = np.stack([np.asarray(c, dtype=np.float64) for c in confidences])[rung, np.arange(len(rung))]
    floors = [float(np.quantile(sure, 1 - q, method="higher")) for q in np.linspace(0.1, 1.0, m)[:-1]]
    base = (*(float(t) for t in thresholds), ALWAYS)
    return list(dict.fromkeys(tuple(max(t, floor) for t in base) for floor in [*floors, ALWAYS]))


def _check(ladder: Ladder) -> None:
    sizes = {len(a) for a in (*ladder.confidences, *ladder.wrong)}
    if not (len(ladder.confidences) == len(ladder.wrong) == len(ladder.cost)) or len(ladder.cost) == 0:
        raise UsageError(f"a ladder of {len(ladder.confidences)} confidences, {len(ladder.wrong)} error arrays and "
                         f"{len(ladder.cost)} costs: there must be one of each per rung")
    if len(sizes) != 1 or 0 in sizes:
        raise UsageError(f"the rungs of a ladder answer the same rows, but there are {sorted(sizes)} of them")
    if any(not np.isfinite(c).all() for c in ladder.confidences):
        raise UsageError("a ladder's confidences must be finite")


def _grid(conf: np.ndarray, size: int) -> np.ndarray:
    cuts = np.quantile(conf.astype(np.float64), np.linspace(0, 1, size), method="higher")
    return np.unique(np.r_[ALWAYS, cuts, NEVER])


def _surface(ladder: Ladder, grids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and mean cost of every configuration, both with one axis per rung but the last."""
    shape = tuple(len(g) for g in grids)
    bins = [np.searchsorted(g, np.asarray(c, dtype=np.float64), side="right")
            for g, c in zip(grids, ladder.confidences[:-1], strict=True)]
    n, rungs = len(ladder.wrong[0]), len(ladder.cost)
    errors, cost = np.zeros(shape), np.zeros(shape)
    for r in range(rungs):
        wrong = np.asarray(ladder.wrong[r], dtype=np.float64)
        own = _passed_on(bins[:r], shape[:r], wrong)
        if r < rungs - 1:
            own = own[..., None] - _passed_on(bins[:r + 1], shape[:r + 1], wrong)
        errors += _spread(own, rungs - 1)
        price = _spread(_passed_on(bins[:r], shape[:r], np.ones(n)) * (ladder.cost[r] / n), rungs - 1)
        if ladder.skippable and r < rungs - 1:
            asked = (grids[r] <= 1.0).astype(np.float64)
            price = price * asked.reshape([-1 if i == r else 1 for i in range(rungs - 1)])
        cost += price
    return errors, cost


def _passed_on(bins: list[np.ndarray], shape: tuple[int, ...], weight: np.ndarray) -> np.ndarray:
    """Total weight of the rows that no rung of `bins` answers, for every choice of their thresholds."""
    if not bins:
        return np.asarray(weight.sum())
    wide = tuple(s + 1 for s in shape)
    table = np.bincount(np.ravel_multi_index(bins, wide), weights=weight, minlength=int(np.prod(wide))).reshape(wide)
    for axis in range(len(wide)):
        table = np.cumsum(table, axis=axis)
    return table[tuple(slice(0, s) for s in shape)]


def _spread(part: np.ndarray, axes: int) -> np.ndarray:
    return part.reshape(part.shape + (1,) * (axes - part.ndim))


def _thresholds(grids: list[np.ndarray], shape: tuple[int, ...], at: int) -> tuple[float, ...]:
    return tuple(float(g[i]) for g, i in zip(grids, np.unravel_index(at, shape), strict=True)) if grids else ()


def _frontier(cost: np.ndarray, accuracy: np.ndarray, grids: list[np.ndarray],
              shape: tuple[int, ...]) -> tuple[tuple[float, float, tuple[float, ...]], ...]:
    order = np.lexsort((-accuracy, cost))
    before = np.r_[-np.inf, np.maximum.accumulate(accuracy[order])[:-1]]
    order = order[accuracy[order] > before + 1e-12]
    if len(order) > FRONTIER:
        order = order[np.unique(np.linspace(0, len(order) - 1, FRONTIER).round().astype(int))]
    return tuple((float(cost[i]), float(accuracy[i]), _thresholds(grids, shape, int(i))) for i in order)
