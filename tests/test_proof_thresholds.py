"""Thresholds: the exhaustive search against brute force, and the choice it makes."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from understudy.errors import GateError, UsageError
from understudy.proof.thresholds import NEVER, Ladder, choose_thresholds, configurations, route


def ladder(n: int = 300, rungs: int = 3, seed: int = 0, decimals: int = 2, skippable: bool = False) -> Ladder:
    draw = np.random.default_rng(seed)
    confidences, wrong = [], []
    for r in range(rungs):
        conf = draw.beta(4 + 2 * r, 1, n).round(decimals)
        confidences.append(conf)
        wrong.append(draw.random(n) > conf)
    return Ladder(confidences, wrong, [0.05, 0.6, 3.0, 9.0, 20.0][:rungs], skippable)


def score(steps: Ladder, thresholds: tuple[float, ...]) -> tuple[float, float]:
    """Accuracy and cost of one configuration, row by row, as serving does it."""
    right = cost = 0.0
    for row in range(len(steps.wrong[0])):
        for r in range(len(steps.cost)):
            asked = not (steps.skippable and r < len(thresholds) and thresholds[r] > 1)
            cost += steps.cost[r] if asked else 0
            if r == len(thresholds) or steps.confidences[r][row] >= thresholds[r]:
                right += not steps.wrong[r][row]
                break
    return right / len(steps.wrong[0]), cost / len(steps.wrong[0])


@pytest.mark.parametrize("skippable", [False, True])
def test_what_it_expects_is_what_serving_gives(skippable):
    for seed in range(5):
        steps = ladder(seed=seed, skippable=skippable)
        choice = choose_thresholds(steps)
        assert (choice.expected_accuracy, choice.expected_cost) == pytest.approx(score(steps, choice.thresholds))
        for cost, accuracy, thresholds in choice.frontier[:: max(1, len(choice.frontier) // 5)]:
            assert (accuracy, cost) == pytest.approx(score(steps, thresholds))


def test_nothing_on_the_grid_is_better():
    steps = ladder(n=60, decimals=1)
    values = [sorted({0.0, *np.asarray(c).tolist(), NEVER}) for c in steps.confidences[:-1]]
    every = [score(steps, t) for t in itertools.product(*values)]
    best = max(a for a, _ in every)
    choice = choose_thresholds(steps)
    assert choice.expected_cost == pytest.approx(min(c for a, c in every if a >= best - 0.0005))
    budget = choose_thresholds(steps, max_cost=1.0)
    assert budget.expected_cost <= 1.0
    assert budget.expected_accuracy == pytest.approx(max(a for a, c in every if c <= 1.0))


def test_the_frontier_rises_with_cost():
    costs, accuracies, _ = zip(*choose_thresholds(ladder(n=2000, decimals=6)).frontier, strict=True)
    assert len(costs) > 10
    assert all(np.diff(costs) > 0) and all(np.diff(accuracies) > 0)


def test_a_perfect_first_rung_answers_everything():
    n = 50
    steps = Ladder([np.full(n, 0.4), np.full(n, 0.9)], [np.zeros(n, bool), np.zeros(n, bool)], [0.1, 5.0])
    choice = choose_thresholds(steps)
    assert choice.share == (1.0, 0.0) and choice.expected_cost == pytest.approx(0.1)


def test_a_useless_first_rung_answers_nothing():
    n = 50
    steps = Ladder([np.ones(n), np.full(n, 0.9)], [np.ones(n, bool), np.zeros(n, bool)], [0.1, 5.0], skippable=True)
    choice = choose_thresholds(steps)
    assert choice.thresholds == (NEVER,)
    assert choice.share == (0.0, 1.0) and choice.expected_cost == pytest.approx(5.0)


def test_one_rung_has_nothing_to_choose():
    choice = choose_thresholds(Ladder([np.array([0.9, 0.2])], [np.array([False, True])], [0.3]))
    assert choice.thresholds == () and choice.share == (1.0,)
    assert (choice.expected_accuracy, choice.expected_cost) == (0.5, pytest.approx(0.3))


def test_a_looser_tolerance_is_never_dearer():
    steps = ladder(n=1000, decimals=6)
    costs = [choose_thresholds(steps, tolerance=t).expected_cost for t in (0.0, 0.001, 0.01, 0.1)]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]


def test_five_rungs_still_search_everything_quickly():
    steps = ladder(n=500, rungs=5, decimals=6)
    choice = choose_thresholds(steps)
    assert (choice.expected_accuracy, choice.expected_cost) == pytest.approx(score(steps, choice.thresholds))


def test_choices_are_repeatable_and_json_safe():
    first, second = choose_thresholds(ladder()), choose_thresholds(ladder())
    assert first == second
    json.dumps([first.thresholds, first.frontier], allow_nan=False)


def test_single_precision_confidences_meet_their_own_threshold():
    conf = np.random.default_rng(0).random(500).astype(np.float32)
    steps = Ladder([conf, np.ones(500)], [conf < 0.5, np.zeros(500, bool)], [0.1, 1.0])
    choice = choose_thresholds(steps)
    assert route([conf, np.ones(500)], choice.thresholds)[0].tolist() == np.where(conf >= np.float32(choice.thresholds[0]), 0, 1).tolist()


def test_an_impossible_budget_says_what_the_cheapest_costs():
    with pytest.raises(GateError, match=r"no configuration costs at most 0.01 ms; the cheapest costs 0.05 ms"):
        choose_thresholds(ladder(), max_cost=0.01)


def test_a_crooked_ladder_is_refused():
    with pytest.raises(UsageError, match="2 confidences, 1 error arrays and 2 costs"):
        choose_thresholds(Ladder([np.ones(3), np.ones(3)], [np.ones(3, bool)], [1, 2]))
    with pytest.raises(UsageError, match=r"answer the same rows, but there are \[2, 3\] of them"):
        choose_thresholds(Ladder([np.ones(3)], [np.ones(2, bool)], [1]))
    with pytest.raises(UsageError, match="confidences must be finite"):
        choose_thresholds(Ladder([np.array([np.nan])], [np.ones(1, bool)], [1]))
    with pytest.raises(UsageError, match="3 thresholds do not fit 2 rungs"):
        route([np.ones(1), np.ones(1)], (0.1, 0.2, 0.3))


def test_route_by_hand():
    first, second = np.array([0.9, 0.5, 0.2, 0.2]), np.array([0.1, 0.8, 0.8, 0.3])
    rung, answered = route([first, second], (0.5,))
    assert rung.tolist() == [0, 0, 1, 1] and answered.all()
    rung, answered = route([first, second], (0.9, 0.8))
    assert rung.tolist() == [0, 1, 1, 1] and answered.tolist() == [True, True, True, False]


def test_configurations_run_from_strict_to_the_cascade_as_chosen():
    steps = ladder(n=1000, decimals=6)
    chosen = choose_thresholds(steps).thresholds
    runs = configurations(steps.confidences, chosen)
    coverage = [route(steps.confidences, t)[1].mean() for t in runs]
    assert coverage == sorted(coverage) and coverage[0] < 0.5 and coverage[-1] == 1.0
    assert runs[-1] == (*chosen, 0.0)
    rung, _ = route(steps.confidences, runs[-1])
    assert rung.tolist() == route(steps.confidences, chosen)[0].tolist()
