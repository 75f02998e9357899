"""The shape of receipt.json, written down once and checked before a stranger's receipt is shown.

Example: an entry whose accuracy is "high" is refused as "receipt.entries[0].accuracy is not an object".
"""

from __future__ import annotations

from typing import Any

from ..errors import BundleError

NUMBER = (int, float)
INTERVAL = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
MAYBE = object()

SPEED = {**dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "mean_ms", "rows_per_s"), NUMBER),
         "rss_mb": (MAYBE, NUMBER), "threads": int, "n": int}
ENTRY = {
    "name": str, "role": str, "precision": str, "accuracy": INTERVAL, "macro_f1": INTERVAL,
    **dict.fromkeys(("retention", "agreement_with_teacher", "ece", "log_loss", "brier", "aurc", "auroc", "coverage",
                     "answered_error", "joint_error", "train_seconds"), (MAYBE, NUMBER)),
    "bytes": (MAYBE, int), "parameters": (MAYBE, int), "speed": (MAYBE, SPEED),
    "versus_teacher": (MAYBE, {"p": NUMBER, "better": int, "worse": int}),
    "share": (MAYBE, [{"rung": str, "share": NUMBER, "accuracy": (MAYBE, NUMBER)}]),
}
RECEIPT = {
    "receipt": int, "name": str, "task": str, "rows": int, "labels": [str], "seed": int, "headline": int,
    "entries": [ENTRY], "risk_coverage": [{"entry": int, "coverage": [NUMBER], "risk": [NUMBER]}],
    "reliability": [{"confidence": NUMBER, "accuracy": NUMBER, "low": NUMBER, "high": NUMBER, "count": int}],
    "confused": [{"gold": str, "answered": str, "count": int, "of": int}],
    "slices": {"labels": [{"label": str, "precision": NUMBER, "recall": NUMBER, "f1": NUMBER, "support": int}],
               "lengths": [{"shortest": int, "longest": int, "rows": int, "accuracy": INTERVAL}]},
    "certificate": (MAYBE, {"promise": str, "alpha": NUMBER, "delta": NUMBER, "n": int, "key": str}),
    "machine": dict, "data": dict, "provenance": dict, "notes": [str],
}
WORDS = {str: "text", int: "a whole number", NUMBER: "a number", dict: "an object"}
LARGEST = 1e18


def check_receipt(data: Any) -> None:
    """Raises BundleError naming the first place that is not as `RECEIPT` says. Fields not named there are let be."""
    _check(data, RECEIPT, "receipt")
    entries = len(data["entries"])
    for where, index in (("headline", data["headline"]), *(("risk_coverage", c["entry"]) for c in data["risk_coverage"])):
        if not 0 <= index < entries:
            raise BundleError(f"receipt.{where} points at entry {index}, but there are {entries}")
    for line in data["risk_coverage"]:
        if len(line["coverage"]) != len(line["risk"]):
            raise BundleError(f"receipt.risk_coverage has {len(line['coverage'])} coverages and {len(line['risk'])} risks")


def _check(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, tuple) and shape[0] is MAYBE:
        if value is None:
            return
        shape = shape[1]
    if isinstance(shape, dict):
        _refuse_unless(isinstance(value, dict), where, "an object")
        for key, inner in shape.items():
            if key not in value:
                raise BundleError(f"{where}.{key} is missing")
            _check(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        _refuse_unless(isinstance(value, list), where, "a list")
        for i, item in enumerate(value):
            _check(item, shape[0], f"{where}[{i}]")
    else:
        fits = isinstance(value, shape) and not isinstance(value, bool)
        _refuse_unless(fits and (not isinstance(value, NUMBER) or abs(value) <= LARGEST), where, WORDS[shape])


def _refuse_unless(fits: bool, where: str, what: str) -> None:
    if not fits:
        raise BundleError(f"{where} is not {what}", hint="the receipt was changed or written by something else")
