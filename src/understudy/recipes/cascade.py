"""Joining students into a cascade: what each rung adds up, its temperature, and when it may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..bundle import Rung
from ..prove.calibrate import fit_temperature
from ..prove.certify import Certificate, certify_joint
from ..prove.thresholds import Choice, Ladder, choose_thresholds
from ..tasks.classify import softmax
from .ground import Ground, nll
from .student import Student

NEVER = 1.01
_CONFIGURATIONS = 25


@dataclass(frozen=True)
class Joined:
    """Rungs ready for a manifest, and the choice that set their thresholds."""

    rungs: tuple[Rung, ...]
    choice: Choice


def mixes(ground: Ground, students: Sequence[Student]) -> tuple[Rung, ...]:
    """A rung per student: weights over its own and all earlier logits by held-out likelihood, folded with a temperature."""
    gold = ground.gold[ground.held]
    rungs = []
    for index, student in enumerate(students):
        weights, temperature = _fit_mix([one.held_logits for one in students[: index + 1]], gold)
        mix = {one.name: weight for one, weight in zip(students, weights, strict=False) if weight}
        rungs.append(Rung(name=student.name, kind=student.kind, path=student.name, parameters=student.parameters,
                          precision=student.precision, mix=mix, temperature=temperature, threshold=0.0, max_tokens=student.max_tokens))
    return tuple(rungs)


def _fit_mix(logits: Sequence[np.ndarray], gold: np.ndarray) -> tuple[list[float], float]:
    """Non-negative weights (the last, the rung's own, is 1) and a temperature that minimise held-out log-loss."""
    from scipy.optimize import minimize

    own = [fit_temperature(one, gold) for one in logits]
    if len(logits) == 1:
        return [1.0], own[0]
    scaled = np.stack([one / temperature for one, temperature in zip(logits, own, strict=True)])
    rows = np.arange(len(gold))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.tensordot(weights.astype(np.float32), scaled, 1)
        error = softmax(mixed)
        error[rows, gold] -= 1
        return nll(mixed, gold), np.array([(error * one).sum() / len(gold) for one in scaled], np.float64)

    start = np.full(len(logits), 0.4 / (len(logits) - 1))
    start[-1] = 0.6
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, 5)] * (len(logits) - 1) + [(0.05, 5)]).x
    raw = found / np.array(own)
    raw[found < 0.02] = 0.0
    return [float(weight) for weight in np.round(raw / raw[-1], 6)], float(np.round(1 / raw[-1], 6))


def probabilities(rung: Rung, logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a rung answers from raw logits by student name, (n, k)."""
    mixed = sum(np.float32(weight) * logits[name] for name, weight in rung.mix.items())
    return softmax(mixed / np.float32(rung.temperature))


def join(ground: Ground, rungs: Sequence[Rung], students: Sequence[Student], costs: Sequence[float], max_cost: float | None) -> Joined:
    """Thresholds for every rung but the last. Rungs that would never answer get the threshold 1.01."""
    logits = {student.name: student.held_logits for student in students}
    gold = ground.gold[ground.held]
    probs = [probabilities(rung, logits) for rung in rungs]
    ladder = Ladder([p.max(1) for p in probs], [p.argmax(1) != gold for p in probs], list(costs))
    choice = choose_thresholds(ladder, max_cost=max_cost)
    thresholds = [*choice.thresholds, 0.0]
    return Joined(tuple(replace(rung, threshold=float(t)) for rung, t in zip(rungs, thresholds, strict=True)), choice)


def needed(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The rungs that answer something, and those whose logits they add; a rung that answers everything is the last."""
    answering = []
    for rung in rungs:
        if rung.threshold <= 1:
            answering.append(rung)
        if rung.threshold <= 0:
            break
    used = {name for rung in answering for name in rung.mix}
    return tuple(rung for rung in rungs if rung in answering or rung.name in used)


def certified(rungs: Sequence[Rung], held: Mapping[str, np.ndarray], held_gold: np.ndarray, fresh: Mapping[str, np.ndarray], gold: np.ndarray,
              alpha: float, key: str) -> tuple[tuple[Rung, ...], Certificate | None]:
    """The laxest configuration that the certification rows allow: thresholds raised together, chosen on `held`, tested once on `fresh`."""
    confident = _walk(rungs, held, 0.0)[0].max(1)
    steps = [float(np.quantile(confident, 1 - share)) for share in np.linspace(0.1, 1.0, _CONFIGURATIONS)]
    steps[-1] = 0.0
    accepted, wrong = [], []
    for step in steps:
        probs, sure = _walk(rungs, fresh, step)
        accepted.append(sure)
        wrong.append(probs.argmax(1) != gold)
    certificate = certify_joint(accepted, wrong, alpha, key=key)
    floor = NEVER if certificate is None else steps[certificate.index]
    return tuple(replace(rung, threshold=max(rung.threshold, floor)) for rung in rungs), certificate


def _walk(rungs: Sequence[Rung], logits: Mapping[str, np.ndarray], floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Who answers what when every threshold is at least `floor`: probabilities (n, k) and whether the answer counts (n,)."""
    probs: np.ndarray | None = None
    open_rows = sure = None
    for index, rung in enumerate(rungs):
        p = probabilities(rung, logits)
        if probs is None:
            probs, open_rows, sure = p.copy(), np.ones(len(p), bool), np.zeros(len(p), bool)
        now = open_rows & (p.max(1) >= max(rung.threshold, floor))
        take = now | (open_rows & (index == len(rungs) - 1))
        probs[take], sure[now] = p[take], True
        open_rows &= ~now
    return probs, sure


