"""Joining students into a cascade: what each rung adds up, its temperature, and when it may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..bundle import Rung
from ..proof.calibrate import fit_temperature
from ..proof.certify import Certificate, certify_joint, nothing_certified
from ..proof.thresholds import NEVER, Choice, Ladder, choose_thresholds, configurations, route
from ..run.answer import mixed
from ..tasks.classify import softmax
from .ground import Ground, nll
from .student import Student


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
        heard = [student] if student.helper else students[: index + 1]
        weights, temperature = _fit_mix([one.held_logits for one in heard], gold)
        mix = {one.name: weight for one, weight in zip(heard, weights, strict=True) if weight}
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


def join(ground: Ground, rungs: Sequence[Rung], students: Sequence[Student], costs: Sequence[float], max_cost: float | None) -> Joined:
    """Thresholds for every rung but the last. Helpers, and rungs that would never answer, get the threshold 1.01.

    A rung's answer counts as wrong by what the last rung's calibrated held-out probabilities leave for other labels, not
    by the gold label: the expectation is the same, while gold labels add the noise of 0s and 1s (and of mislabelled rows),
    in which a cheap rung that loses half a point looks as good as the last one.
    """
    logits = {student.name: student.held_logits for student in students}
    rows = np.arange(len(ground.held))
    answering = [index for index, student in enumerate(students) if not student.helper]
    probs = [mixed(rungs[index], logits) for index in answering]
    ladder = Ladder([p.max(1) for p in probs], [1.0 - probs[-1][rows, p.argmax(1)] for p in probs], [costs[index] for index in answering])
    choice = choose_thresholds(ladder, max_cost=max_cost)
    bars = dict(zip(answering, [*choice.thresholds, 0.0], strict=True))
    return Joined(tuple(replace(rung, threshold=float(bars.get(index, NEVER))) for index, rung in enumerate(rungs)), choice)


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


def certified(rungs: Sequence[Rung], held: Mapping[str, np.ndarray], fresh: Mapping[str, np.ndarray], gold: np.ndarray,
              alpha: float) -> tuple[tuple[Rung, ...], Certificate | None, str]:
    """The thresholds that the certification rows allow, the certificate, and the sentence about it.

    Configurations are laid out on `held` and tested once on `fresh` (raw logits by student name, gold (n,)). Where
    nothing passes, every threshold is 1.01: everything is handed over.
    """
    tuned = [mixed(rung, held).max(1) for rung in rungs]
    laid = configurations(tuned, [rung.threshold for rung in rungs[:-1]])
    probs = [mixed(rung, fresh) for rung in rungs]
    confident = [p.max(1) for p in probs]
    accepted, wrong = [], []
    for thresholds in laid:
        who, sure = route(confident, thresholds)
        said = np.stack([p.argmax(1) for p in probs])[who, np.arange(len(who))]
        accepted.append(sure)
        wrong.append(said != gold)
    certificate = certify_joint(accepted, wrong, alpha)
    chosen = laid[certificate.index] if certificate else (NEVER,) * len(rungs)
    sentence = certificate.promise if certificate else nothing_certified(accepted, wrong, alpha)
    return tuple(replace(rung, threshold=float(t)) for rung, t in zip(rungs, chosen, strict=True)), certificate, sentence
