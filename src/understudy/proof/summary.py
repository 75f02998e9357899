"""From probabilities on the test rows to the plain figures a receipt holds.

    Entry ──► figures (scores, intervals, against the teacher)
          └─► curve (risk–coverage)      headline Entry ──► reliability, confused pairs, slices

Example: an entry that gets 9 of 10 rows right where the teacher gets all of them has retention 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..tasks import metrics
from .bench import Speed
from .intervals import bootstrap_interval, mcnemar, wilson

POINTS = 100
PAIRS = 15
REPS = 1000
Role = Literal["teacher", "rung", "cascade", "peer"]


@dataclass(frozen=True, eq=False)
class Entry:
    """One answerer on the test rows.

    `probs` (n, k) float32 are calibrated. For a cascade, `rung` (n,) int says which rung answered; `answered` (n,) bool
    where it did not abstain. `bytes` is the size on disk with the tokenizer, `train_seconds` wall time.
    """

    name: str
    role: Role
    precision: str
    probs: np.ndarray
    rung: np.ndarray | None = None
    answered: np.ndarray | None = None
    bytes: int | None = None
    parameters: int | None = None
    speed: Speed | None = None
    train_seconds: float | None = None


def figures(entry: Entry, gold: np.ndarray, teacher: Entry | None, rung_names: Sequence[str], seed: int) -> dict[str, Any]:
    """Everything measured about one entry, JSON-plain."""
    k, n, answers = entry.probs.shape[1], len(gold), metrics.best(entry.probs)
    right, sure = answers == gold, entry.probs.max(axis=1)
    low, high = wilson(int(right.sum()), n)
    f1_low, f1_high = bootstrap_interval(lambda rows: metrics.macro_f1(answers[rows], gold[rows], k), n, seed, REPS)
    yes = np.ones(n, dtype=bool) if entry.answered is None else np.asarray(entry.answered, dtype=bool)
    return {
        "name": entry.name, "role": entry.role, "precision": entry.precision,
        "accuracy": {"value": tidy(right.mean()), "low": tidy(low), "high": tidy(high)},
        "macro_f1": {"value": tidy(metrics.macro_f1(answers, gold, k)), "low": tidy(f1_low), "high": tidy(f1_high)},
        **_against(right, answers, gold, None if teacher is entry else teacher),
        "ece": tidy(metrics.ece(entry.probs, gold)), "log_loss": tidy(metrics.log_loss(entry.probs, gold)),
        "brier": tidy(metrics.brier(entry.probs, gold)),
        "aurc": tidy(metrics.aurc(sure, ~right)), "auroc": tidy(metrics.auroc(sure, right)),
        "coverage": tidy(yes.mean()), "answered_error": tidy((~right)[yes].mean()) if yes.any() else None,
        "joint_error": tidy((yes & ~right).mean()), "share": _shares(entry, rung_names, right),
        "bytes": None if entry.bytes is None else int(entry.bytes),
        "parameters": None if entry.parameters is None else int(entry.parameters),
        "speed": None if entry.speed is None else {f: tidy(v) for f, v in entry.speed.to_dict().items()},
        "train_seconds": tidy(entry.train_seconds),
    }


def curve(entry: Entry, gold: np.ndarray) -> dict[str, list[float | None]]:
    """The risk–coverage curve at up to 100 coverages."""
    coverage, risk = metrics.risk_coverage(entry.probs.max(axis=1), metrics.best(entry.probs) != gold)
    keep = np.unique(np.linspace(0, len(risk) - 1, min(POINTS, len(risk))).round().astype(int))
    return {"coverage": [tidy(c) for c in coverage[keep]], "risk": [tidy(r) for r in risk[keep]]}


def reliability_bins(entry: Entry, gold: np.ndarray) -> list[dict[str, Any]]:
    """Confidence against accuracy in up to 15 bins of equal mass, unsure to sure, with a 95 % interval each."""
    bins = []
    for sure, right, count in zip(*metrics.reliability(entry.probs, gold), strict=True):
        low, high = wilson(round(float(right * count)), int(count))
        bins.append({"confidence": tidy(sure), "accuracy": tidy(right), "low": tidy(low), "high": tidy(high), "count": int(count)})
    return bins


def confused(entry: Entry, gold: np.ndarray, labels: Sequence[str], texts: Sequence[str] | None) -> list[dict[str, Any]]:
    """The 15 most frequent mistakes as gold and answered label; with up to two example texts each where texts are given."""
    table = metrics.confusion(entry.probs, gold, len(labels))
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:PAIRS]
    answers, pairs = metrics.best(entry.probs), []
    for row, column in zip(*np.unravel_index(order, table.shape), strict=True):
        if not table[row, column]:
            break
        pair: dict[str, Any] = {"gold": labels[row], "answered": labels[column], "count": int(table[row, column]),
                                "of": int(np.sum(gold == row))}
        if texts is not None:
            pair["examples"] = [texts[i] for i in np.flatnonzero((gold == row) & (answers == column))[:2]]
        pairs.append(pair)
    return pairs


def label_slices(entry: Entry, gold: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of every label, in label order."""
    scores = metrics.per_label(entry.probs, gold, len(labels))
    return [{"label": label, "precision": tidy(scores["precision"][i]), "recall": tidy(scores["recall"][i]),
             "f1": tidy(scores["f1"][i]), "support": int(scores["support"][i])} for i, label in enumerate(labels)]


def length_slices(entry: Entry, gold: np.ndarray, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Accuracy by quarter of the rows from the shortest to the longest text, in characters."""
    length, right = np.array([len(t) for t in texts]), metrics.best(entry.probs) == gold
    cuts = np.quantile(length, [0.25, 0.5, 0.75])
    quarter = np.searchsorted(cuts, length, side="left")
    slices = []
    for q in range(4):
        rows = quarter == q
        if rows.any():
            low, high = wilson(int(right[rows].sum()), int(rows.sum()))
            slices.append({"shortest": int(length[rows].min()), "longest": int(length[rows].max()), "rows": int(rows.sum()),
                           "accuracy": {"value": tidy(right[rows].mean()), "low": tidy(low), "high": tidy(high)}})
    return slices


def tidy(value: Any) -> Any:
    """A JSON-plain number: floats to six significant digits, None where there is no number."""
    if value is None or isinstance(value, int | np.integer):
        return None if value is None else int(value)
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _against(right: np.ndarray, answers: np.ndarray, gold: np.ndarray, teacher: Entry | None) -> dict[str, Any]:
    if teacher is None:
        return {"retention": None, "versus_teacher": None, "agreement_with_teacher": None}
    said = metrics.best(teacher.probs)
    p, better, worse = mcnemar(right, said == gold)
    reached = float(np.mean(said == gold))
    return {"retention": tidy(right.mean() / reached) if reached else None,
            "versus_teacher": {"p": tidy(p), "better": better, "worse": worse},
            "agreement_with_teacher": tidy(np.mean(answers == said))}


def _shares(entry: Entry, names: Sequence[str], right: np.ndarray) -> list[dict[str, Any]] | None:
    """How much of the traffic each rung answered, and how well."""
    if entry.rung is None:
        return None
    rung = np.asarray(entry.rung)
    if entry.answered is not None:
        rung = np.where(entry.answered, rung, -1)
    return [{"rung": name, "share": tidy((rung == i).mean()),
             "accuracy": tidy(right[rung == i].mean()) if (rung == i).any() else None} for i, name in enumerate(names)]
