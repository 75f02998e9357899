"""Metrics against values worked out by hand, and against scikit-learn where it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.tasks import metrics

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
GOLD = np.array([0, 1, 2, 2])


def sample(n: int = 400, k: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(n, k))
    gold = draw.integers(0, k, n)
    z[np.arange(n), gold] += 1.5
    p = np.exp(z)
    return p / p.sum(axis=1, keepdims=True), gold


def test_by_hand():
    assert metrics.accuracy(PROBS, GOLD) == 0.75
    scores = metrics.per_label(PROBS, GOLD)
    assert scores["precision"].tolist() == [1.0, 0.5, 1.0]
    assert scores["recall"].tolist() == [1.0, 1.0, 0.5]
    assert scores["f1"] == pytest.approx([1, 2 / 3, 2 / 3])
    assert scores["support"].tolist() == [1, 1, 2]
    assert metrics.macro_f1(PROBS, GOLD) == pytest.approx(7 / 9)
    assert metrics.confusion(PROBS, GOLD).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert metrics.log_loss(PROBS, GOLD) == pytest.approx(-np.log([0.7, 0.6, 0.3, 0.4]).mean())
    assert metrics.brier(PROBS, GOLD) == pytest.approx((0.14 + 0.26 + 0.78 + 0.54) / 4)


def test_ece_by_hand():
    # Two bins of equal mass: {0.4 right, 0.5 wrong} and {0.6 right, 0.7 right}.
    assert metrics.ece(PROBS, GOLD, bins=2) == pytest.approx(0.5 * abs(0.45 - 0.5) + 0.5 * abs(0.65 - 1.0))


def test_ece_of_honest_confidence_is_small_and_of_boasting_large():
    draw = np.random.default_rng(1)
    sure = draw.uniform(0.5, 1, 20_000)
    gold = (draw.random(20_000) > sure).astype(int)
    honest = np.stack([sure, 1 - sure], axis=1)
    assert metrics.ece(honest, gold) < 0.015
    assert metrics.ece(np.tile([0.999, 0.001], (20_000, 1)), gold) == pytest.approx(gold.mean() - 0.001, abs=1e-9)


def test_risk_coverage_by_hand():
    coverage, risk = metrics.risk_coverage(np.array([0.9, 0.5, 0.7]), np.array([False, True, True]))
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk == pytest.approx([0, 1 / 2, 2 / 3])
    assert metrics.aurc(np.array([0.9, 0.5, 0.7]), np.array([False, True, True])) == pytest.approx((0 + 1 / 2 + 2 / 3) / 3)


def test_risk_coverage_does_not_depend_on_the_order_of_ties():
    conf, wrong = np.array([0.8, 0.8, 0.8, 0.2]), np.array([True, False, False, True])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]):
        assert metrics.risk_coverage(conf[order], wrong[order])[1] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 2])


def test_auroc_by_hand():
    assert metrics.auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert metrics.auroc(np.array([0.5, 0.5]), np.array([0, 1])) == 0.5
    assert np.isnan(metrics.auroc(np.array([0.1, 0.2]), np.array([1, 1])))


def test_label_numbers_do_instead_of_probabilities():
    answers = metrics.best(PROBS)
    assert metrics.macro_f1(answers, GOLD) == metrics.macro_f1(PROBS, GOLD)
    assert metrics.accuracy(answers, GOLD) == metrics.accuracy(PROBS, GOLD)
    assert metrics.confusion(answers, GOLD).tolist() == metrics.confusion(PROBS, GOLD).tolist()


def test_no_rows_are_nan():
    none, empty = np.zeros((0, 3)), np.zeros(0, dtype=int)
    for metric in (metrics.accuracy, metrics.macro_f1, metrics.log_loss, metrics.brier, metrics.ece):
        assert np.isnan(metric(none, empty))
    assert np.isnan(metrics.aurc(np.zeros(0), np.zeros(0, dtype=bool)))


def test_a_certain_mistake_costs_a_finite_log_loss():
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_the_mean_over_labels_seen(pairs):
    gold, answered = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    per_label = []
    for label in sorted({*gold.tolist(), *answered.tolist()}):
        hit = np.sum((gold == label) & (answered == label))
        per_label.append(2 * hit / (np.sum(gold == label) + np.sum(answered == label)))
    assert metrics.macro_f1(answered, gold) == pytest.approx(np.mean(per_label))


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="a second opinion; the tests above stand alone")
def test_against_scikit_learn():
    from sklearn import metrics as theirs

    probs, gold = sample()
    answers = probs.argmax(axis=1)
    right = answers == gold
    assert metrics.macro_f1(probs, gold) == pytest.approx(theirs.f1_score(gold, answers, average="macro"))
    precision, recall, f1, support = theirs.precision_recall_fscore_support(gold, answers)
    ours = metrics.per_label(probs, gold)
    for mine, other in zip((ours["precision"], ours["recall"], ours["f1"], ours["support"]), (precision, recall, f1, support), strict=True):
        assert mine == pytest.approx(other)
    assert metrics.log_loss(probs, gold) == pytest.approx(theirs.log_loss(gold, probs))
    assert metrics.confusion(probs, gold).tolist() == theirs.confusion_matrix(gold, answers).tolist()
    score = probs.max(axis=1).round(2)
    assert metrics.auroc(score, right) == pytest.approx(theirs.roc_auc_score(right, score))
