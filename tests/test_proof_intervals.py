"""Intervals, the exact tests and the temperature, against published and independently computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from understudy.errors import UsageError
from understudy.proof.calibrate import COLDEST, HOTTEST, apply_temperature, fit_temperature, softmax
from understudy.proof.intervals import binom_cdf, bootstrap_interval, cp_upper, mcnemar, wilson


def test_wilson_by_hand_and_at_the_edges():
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1
    assert wilson(0, 0) == (0.0, 1.0)
    theirs = stats.binomtest(283, 311).proportion_ci(method="wilson")
    assert wilson(283, 311) == pytest.approx((theirs.low, theirs.high))


def test_mcnemar_by_hand():
    # 1 row only a got right, 9 only b: 2 * (1 + 10) / 2**10.
    a = np.array([True] + [False] * 9 + [True] * 5)
    b = np.array([False] + [True] * 9 + [True] * 5)
    assert mcnemar(a, b) == (22 / 1024, 1, 9)
    assert mcnemar(b, a) == (22 / 1024, 9, 1)
    assert mcnemar(a, a) == (1.0, 0, 0)
    even = np.array([True, False])
    assert mcnemar(even, ~even) == (1.0, 1, 1)


def test_mcnemar_is_the_exact_binomial_also_for_many_rows():
    draw = np.random.default_rng(0)
    a, b = draw.random(20_000) < 0.80, draw.random(20_000) < 0.81
    p, only_a, only_b = mcnemar(a, b)
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue, rel=1e-9)
    p, _, _ = mcnemar(np.ones(5000, dtype=bool), np.zeros(5000, dtype=bool))
    assert p == 0.0


@pytest.mark.parametrize(("k", "n", "p"), [(0, 45, 0.05), (3, 10, 0.3), (12, 600, 0.05), (0, 1, 0.5), (500, 20_000, 0.03),
                                           (9_900, 10_000, 0.99), (5, 5000, 0.2)])
def test_binomial_tail_is_scipys(k, n, p):
    assert binom_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8)


def test_binomial_tail_at_the_edges():
    assert binom_cdf(-1, 5, 0.5) == 0.0
    assert binom_cdf(5, 5, 0.5) == 1.0
    assert binom_cdf(2, 5, 0.0) == 1.0
    assert binom_cdf(2, 5, 1.0) == 0.0


@pytest.mark.parametrize(("n", "bound"), [(100, 0.062), (200, 0.045), (500, 0.034), (1000, 0.029), (2000, 0.026)])
def test_clopper_pearson_matches_the_design_table(n, bound):
    k = round(0.02 * n)
    assert cp_upper(k, n, 0.05) == pytest.approx(bound, abs=6e-4)
    assert cp_upper(k, n, 0.05) == pytest.approx(stats.beta.ppf(0.95, k + 1, n - k), rel=1e-9)


def test_clopper_pearson_at_the_edges():
    assert cp_upper(0, 0, 0.1) == 1.0
    assert cp_upper(3, 3, 0.1) == 1.0
    assert cp_upper(0, 1, 0.1) == pytest.approx(0.9)


def test_bootstrap_is_repeatable_and_covers_the_mean_like_theory_says():
    values = np.random.default_rng(3).normal(size=500)
    interval = bootstrap_interval(lambda rows: float(values[rows].mean()), 500, seed=7)
    assert interval == bootstrap_interval(lambda rows: float(values[rows].mean()), 500, seed=7)
    assert interval != bootstrap_interval(lambda rows: float(values[rows].mean()), 500, seed=8)
    half = 1.96 * values.std() / math.sqrt(500)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)
    assert all(math.isnan(v) for v in bootstrap_interval(lambda rows: 0.0, 0, seed=0))


def logits(n: int, k: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose honest temperature is the given one."""
    draw = np.random.default_rng(seed)
    honest = draw.normal(size=(n, k)) * 2
    return honest * temperature, (honest + draw.gumbel(size=(n, k))).argmax(axis=1)


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_temperature_is_found_and_is_the_likeliest(truth):
    z, gold = logits(4000, 6, truth)
    found = fit_temperature(z, gold)
    assert found == pytest.approx(truth, rel=0.08)

    def loss(log_t: float) -> float:
        return float(-np.log(softmax(z / math.exp(log_t))[np.arange(len(gold)), gold]).mean())

    theirs = math.exp(optimize.minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded").x)
    assert found == pytest.approx(theirs, rel=0.005)


def test_temperature_makes_a_boaster_honest():
    from understudy.tasks.metrics import ece

    z, gold = logits(4000, 6, 5.0)
    assert ece(apply_temperature(z, 1.0), gold) > 0.15
    assert ece(apply_temperature(z, fit_temperature(z, gold)), gold) < 0.03


def test_temperature_of_few_perfect_rows_stays_modest():
    z = np.array([[5.0, 0.0], [0.0, 5.0], [4.0, 0.0]])
    assert 0.5 < fit_temperature(z, np.array([0, 1, 0])) <= 1.0
    many = np.tile(z, (2000, 1))
    assert COLDEST <= fit_temperature(many, np.tile([0, 1, 0], 2000)) < 0.6


def test_temperature_of_always_wrong_rows_stays_bounded():
    z = np.tile([[9.0, 0.0]], (5000, 1))
    assert 5 < fit_temperature(z, np.ones(5000, dtype=int)) <= HOTTEST
    assert fit_temperature(np.tile([[900.0, 0.0]], (5000, 1)), np.ones(5000, dtype=int)) == pytest.approx(HOTTEST)


def test_temperature_of_nothing_and_of_flat_logits_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)) == 1.0
    assert fit_temperature(np.zeros((10, 3)), np.zeros(10, dtype=int)) == pytest.approx(1.0)


def test_huge_logits_do_not_overflow():
    z = np.array([[1e6, -1e6], [-1e6, 1e6]])
    probs = apply_temperature(z, fit_temperature(z, np.array([0, 1])))
    assert probs.dtype == np.float32 and probs.sum(axis=1) == pytest.approx(1)


def test_bad_logits_are_named():
    with pytest.raises(UsageError, match=r"logits of shape \(2, 3\) do not go with gold labels of shape \(3,\)"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, dtype=int))
    with pytest.raises(UsageError, match="1 of 2 rows have logits that are not finite"):
        fit_temperature(np.array([[0.0, np.nan], [0.0, 1.0]]), np.array([0, 1]))
    with pytest.raises(UsageError, match="gold labels run from 0 to 5, but there are 2 labels"):
        fit_temperature(np.zeros((2, 2)), np.array([0, 5]))
