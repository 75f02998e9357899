"""The certificate keeps its word: exact numbers, edge cases, and hundreds of synthetic calibrations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import UsageError
from understudy.proof.certify import certificate_key, certify_joint, crc, labels_needed, nothing_certified
from understudy.proof.intervals import binom_cdf
from understudy.proof.thresholds import route

GRID = np.quantile(np.random.default_rng(99).beta(5, 0.7, 300), np.linspace(0.9, 0.0, 25))  # a tuning split's own quantiles


def traffic(n: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated confidences with 12 % errors overall: P(wrong) = 1 − confidence."""
    conf = draw.beta(5, 0.7, n)
    return conf, draw.random(n) > conf


def accepted(conf: np.ndarray) -> list[np.ndarray]:
    return [conf >= t for t in GRID]


CONF, WRONG = traffic(1_000_000, np.random.default_rng(5))
TRUE_RISK = [float(np.mean(yes & WRONG)) for yes in accepted(CONF)]


@pytest.mark.parametrize(("n", "alpha"), [(150, 0.05), (600, 0.05), (600, 0.02)])
def test_the_promise_is_broken_no_more_often_than_delta(n, alpha):
    draw, runs, delta = np.random.default_rng(n), 200, 0.1
    broken, granted, covered = 0, 0, []
    for _ in range(runs):
        conf, wrong = traffic(n, draw)
        found = certify_joint(accepted(conf), wrong, alpha, delta)
        granted += found is not None
        covered.append(found.coverage if found else 0.0)
        broken += found is not None and TRUE_RISK[found.index] > alpha
    assert broken / runs <= delta + 3 * math.sqrt(delta * (1 - delta) / runs)
    assert granted > runs / 2  # a certificate that is never given would keep every promise
    assert np.mean(covered) > {(150, 0.05): 0.45, (600, 0.05): 0.6, (600, 0.02): 0.35}[n, alpha]


def test_the_promise_holds_at_the_boundary_itself():
    # Every configuration's true risk sits just above alpha: each certificate given is a broken one.
    draw, runs, alpha, delta = np.random.default_rng(1), 200, 0.05, 0.1
    given_ = 0
    for _ in range(runs):
        wrong = draw.random(300) < alpha * 1.0001
        given_ += certify_joint([np.ones(300, bool)] * 3, wrong, alpha, delta) is not None
    assert given_ / runs <= delta + 3 * math.sqrt(delta * (1 - delta) / runs)


def test_without_the_test_the_promise_would_be_broken():
    # The negative control: taking the laxest configuration that merely looks good breaks its word half of the time.
    draw, runs, alpha = np.random.default_rng(2), 200, 0.05
    broken = 0
    for _ in range(runs):
        conf, wrong = traffic(300, draw)
        looks_good = [i for i, yes in enumerate(accepted(conf)) if np.mean(yes & wrong) <= alpha]
        broken += bool(looks_good) and TRUE_RISK[looks_good[-1]] > alpha
    assert broken / runs > 0.25


def test_conformal_risk_control_keeps_its_average_but_not_each_time():
    draw, runs, alpha = np.random.default_rng(3), 200, 0.05
    risks = []
    for _ in range(runs):
        conf, wrong = traffic(300, draw)
        index = crc(accepted(conf), wrong, alpha)
        risks.append(0.0 if index is None else TRUE_RISK[index])
    spread = 3 * float(np.std(risks)) / math.sqrt(runs)
    assert np.mean(risks) <= alpha + spread
    assert np.mean(np.array(risks) > alpha) > 0.15


@pytest.mark.parametrize(("alpha", "delta", "errors", "n"), [
    (0.01, 0.10, 0, 230), (0.02, 0.10, 0, 114), (0.05, 0.10, 0, 45), (0.10, 0.10, 0, 22), (0.20, 0.10, 0, 11),
    (0.01, 0.10, 2, 531), (0.05, 0.10, 2, 105), (0.10, 0.10, 2, 52), (0.05, 0.10, 5, 184), (0.05, 0.05, 0, 59),
    (0.01, 0.05, 5, 1049), (0.20, 0.05, 5, 50)])
def test_fewest_rows_are_those_of_the_design_table(alpha, delta, errors, n):
    wrong = np.arange(n) < errors
    assert certify_joint([np.ones(n, bool)], wrong, alpha, delta) is not None
    assert certify_joint([np.ones(n - 1, bool)], wrong[:-1], alpha, delta) is None


def test_what_a_certificate_says():
    wrong = np.arange(600) < 12
    found = certify_joint([np.ones(600, bool)], wrong, 0.05, key="abc")
    assert (found.n, found.index, found.errors, found.coverage) == (600, 0, 12, 1.0)
    assert found.upper == pytest.approx(0.0295, abs=5e-4)
    assert found.promise == ("With 90 % confidence, at most 5 % of all requests are answered wrongly (measured against "
                             "gold labels: 12 of 600 rows answered wrongly, 100 % answered, upper bound 2.95 %).")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["promise"] == found.promise and plain["key"] == "abc"


def test_the_walk_stops_at_the_first_failure():
    n = 100
    good, bad = np.arange(n) < 50, np.ones(n, bool)
    wrong = np.arange(n) >= 60
    assert certify_joint([good, bad, good], wrong, 0.05).index == 0
    assert certify_joint([bad, good], wrong, 0.05) is None


def test_of_those_that_pass_the_one_that_answers_most_is_taken():
    n = 100
    some, more, fewer = np.arange(n) < 30, np.arange(n) < 60, np.arange(n) < 40
    assert certify_joint([some, more, fewer], np.zeros(n, bool), 0.05).index == 1


def test_one_row_never_certifies():
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert certify_joint([np.ones(1, bool)], np.zeros(1, bool), alpha) is None


def test_no_rows_never_certify():
    assert certify_joint([np.ones(0, bool)], np.zeros(0, bool), 0.05) is None


def test_all_wrong_never_certifies_and_all_right_does():
    yes = [np.arange(200) < m for m in (20, 100, 200)]
    assert certify_joint(yes, np.ones(200, bool), 0.05) is None
    assert certify_joint(yes, np.zeros(200, bool), 0.05).coverage == 1.0


def test_answering_nothing_is_not_worth_a_certificate():
    none = np.zeros(500, bool)
    assert certify_joint([none], np.ones(500, bool), 0.05) is None
    assert certify_joint([none, np.ones(500, bool)], np.zeros(500, bool), 0.05).index == 1


def test_ties_are_answered_together_as_in_serving():
    conf = np.array([0.5] * 300 + [0.9] * 300)
    for threshold, share in ((0.5, 1.0), (0.9, 0.5), (np.nextafter(0.9, 1), 0.0)):
        _, yes = route([conf], (threshold,))
        found = certify_joint([yes], np.zeros(600, bool), 0.05)
        assert (found.coverage if found else 0.0) == share


def test_configurations_may_answer_differently():
    n = 200
    yes = [np.ones(n, bool)] * 2
    found = certify_joint(yes, [np.zeros(n, bool), np.arange(n) < 50], 0.05)
    assert (found.index, found.errors) == (0, 0)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from([0.01, 0.05, 0.1, 0.3]), st.sampled_from([0.05, 0.1, 0.2]))
def test_a_certificate_is_given_exactly_when_its_bound_is_met(n, errors, alpha, delta):
    wrong = np.arange(n) < min(errors, n)
    found = certify_joint([np.ones(n, bool)], wrong, alpha, delta)
    assert (found is not None) == (binom_cdf(int(wrong.sum()), n, alpha) <= delta)
    if found:
        assert found.upper <= alpha + 1e-9


def test_any_change_voids_the_certificate():
    parts = {"model": "aa", "tokenizer": "bb", "temperature": 1.3, "thresholds": [0.8, 0.5], "reference": "gold labels", "labels": "v1"}
    key = certificate_key(parts)
    assert key == certificate_key(dict(reversed(parts.items())))
    found = certify_joint([np.ones(100, bool)], np.zeros(100, bool), 0.05, key=key)
    assert found.holds_for(key)
    for name in parts:
        assert not found.holds_for(certificate_key({**parts, name: "changed"}))
    assert not found.holds_for("")


def test_a_certificate_without_a_key_holds_for_nothing():
    assert not certify_joint([np.ones(100, bool)], np.zeros(100, bool), 0.05).holds_for("")


@pytest.mark.parametrize(("alpha", "rate", "n"), [(0.05, 0.0, 45), (0.01, 0.0, 230), (0.10, 0.0, 22)])
def test_labels_needed_without_errors_are_those_of_the_table(alpha, rate, n):
    assert labels_needed(alpha, 0.1, rate) == n


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.02, 0.04, 0.045])
def test_labels_needed_are_enough_and_not_wasteful(rate):
    n = labels_needed(0.05, 0.1, rate)
    assert binom_cdf(math.ceil(rate * n), n, 0.05) <= 0.1
    assert binom_cdf(math.ceil(rate * n * 0.8), int(n * 0.8), 0.05) > 0.1 or n < 120


def test_no_number_of_labels_helps_a_model_that_is_too_wrong():
    assert labels_needed(0.05, 0.1, 0.05) is None
    assert labels_needed(0.05, 0.1, 0.2) is None
    assert labels_needed(0.05, 0.1, 0.04999) is None


def test_nothing_certified_says_how_many_labels_are_missing():
    said = nothing_certified([np.ones(40, bool)], np.zeros(40, bool), 0.05)
    assert said == ("Nothing can be certified: P(answered and wrong) ≤ 5 % at 90 % confidence. The strictest configuration "
                    "that answers was wrong on 0 of 40 rows. If that share holds, about 5 more labels are needed.")
    assert "No labels were kept back; at least 45 are needed" in nothing_certified([np.ones(0, bool)], np.zeros(0, bool), 0.05)
    assert "answers anything" in nothing_certified([np.zeros(9, bool)], np.zeros(9, bool), 0.05)
    assert "More labels will not change that" in nothing_certified([np.ones(40, bool)], np.ones(40, bool), 0.05)


def test_as_many_labels_as_it_asks_for_certify():
    wrong = np.arange(100) < 3
    assert certify_joint([np.ones(100, bool)], wrong, 0.05) is None
    more = int(nothing_certified([np.ones(100, bool)], wrong, 0.05).split("about ")[1].split()[0])
    n = 100 + more
    assert certify_joint([np.ones(n, bool)], np.arange(n) < math.ceil(0.03 * n), 0.05) is not None


def test_bad_calls_are_named():
    with pytest.raises(UsageError, match="alpha is a share strictly between 0 and 1, not 5"):
        certify_joint([np.ones(3, bool)], np.zeros(3, bool), 5)
    with pytest.raises(UsageError, match="delta is a share strictly between 0 and 1, not 0"):
        certify_joint([np.ones(3, bool)], np.zeros(3, bool), 0.05, 0)
    with pytest.raises(UsageError, match="there is no configuration to certify"):
        certify_joint([], np.zeros(3, bool), 0.05)
    with pytest.raises(UsageError, match=r"`wrong` has shape \(2,\), the accepted rows \(1, 3\)"):
        certify_joint([np.ones(3, bool)], np.zeros(2, bool), 0.05)
