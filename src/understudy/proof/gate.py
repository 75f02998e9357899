"""Quality gates: rules like 'retention>=0.97,size<=5MB' held against the headline entry of a receipt.

    parse_gate(text) ──► rules ──► check_gate(rules, receipt) ──► outcomes ──► raise_if_failed: GateError, exit 3

Example: 'p50<=1ms' passes when the median request takes 1 ms or less; a plain number is milliseconds there too.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import GateError, UsageError
from ..units import parse_duration, parse_share, parse_size, show_size, split_number
from .plain import number
from .receipt import Receipt
from .text_receipt import TextReceipt

OPERATORS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
RULE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_ -]*?)\s*(>=|<=|>(?!=)|<(?!=))\s*(\S.*?)\s*")

# metric -> (kind of its value, where the headline entry keeps it)
METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "accuracy": ("share", ("accuracy", "value")), "macro_f1": ("share", ("macro_f1", "value")),
    "retention": ("ratio", ("retention",)), "coverage": ("share", ("coverage",)),
    "answered_error": ("share", ("answered_error",)), "joint_error": ("share", ("joint_error",)),
    "agreement": ("share", ("agreement_with_teacher",)), "ece": ("share", ("ece",)), "aurc": ("share", ("aurc",)),
    "log_loss": ("plain", ("log_loss",)), "size": ("size", ("bytes",)), "parameters": ("plain", ("parameters",)),
    "p50": ("ms", ("speed", "p50_ms")), "p95": ("ms", ("speed", "p95_ms")), "p99": ("ms", ("speed", "p99_ms")),
    "mean": ("ms", ("speed", "mean_ms")), "rows_per_s": ("plain", ("speed", "rows_per_s")),
    "memory": ("size", ("speed", "rss_mb")), "train_time": ("seconds", ("train_seconds",)),
    **{name.lower(): ("plain", ("scores", name, "value")) for name in ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "supported", "bits_per_byte")},
    "attributes": ("plain", ("scores", "coverage", "value")), "first_token": ("ms", ("speed", "first_ms")),
    "answer": ("ms", ("speed", "answer_ms")), "tokens_per_s": ("plain", ("speed", "tokens_per_s")),
    "prefill_tokens_per_s": ("plain", ("speed", "prefill_tokens_per_s")),
}


@dataclass(frozen=True)
class Rule:
    """`metric` compared by `sign` with `bound`, a share, bytes, ms or s by the metric's kind; `text` as it was typed."""

    metric: str
    sign: str
    bound: float
    text: str


@dataclass(frozen=True)
class Outcome:
    """What a rule found; `actual` is None when it was not measured, which never passes."""

    rule: Rule
    actual: float | None
    passed: bool

    @property
    def measured(self) -> str:
        """The measured value as people read it."""
        return "not measured" if self.actual is None else _show(self.actual, METRICS[self.rule.metric][0])


def parse_gate(text: str) -> tuple[Rule, ...]:
    """The rules of a comma-separated gate. Raises UsageError for a metric, sign or unit that does not exist."""
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("the gate is empty", hint="write it like 'accuracy>=0.9,size<=5MB'")
    return tuple(_rule(part) for part in parts)


def check_gate(rules: Sequence[Rule], receipt: Receipt | TextReceipt) -> list[Outcome]:
    """One outcome per rule, in order, on the receipt's headline entry; of a text receipt that is the last, the shipped model."""
    outcomes = []
    for rule in rules:
        value: Any = receipt.data["entries"][receipt.data.get("headline", -1)]
        for key in METRICS[rule.metric][1]:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and rule.metric == "memory":
            value *= 1e6
        outcomes.append(Outcome(rule, value, value is not None and OPERATORS[rule.sign](value, rule.bound)))
    return outcomes


def raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    """GateError naming each failed rule with what was asked and what was measured; silent when all passed."""
    failed = [o for o in outcomes if not o.passed]
    if failed:
        told = "; ".join(f"{o.rule.text} ({o.measured})" for o in failed)
        raise GateError(f"{len(failed)} of {len(outcomes)} gate rules failed: {told}",
                        hint="loosen the rule, or give more data, time or size")


def _rule(part: str) -> Rule:
    found = RULE.fullmatch(part)
    if not found:
        raise UsageError(f"{part.strip()!r} is not a gate rule", hint="a rule is a metric, one of >= <= > <, and a value")
    metric = re.sub(r"[ -]", "_", found[1].lower())
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, n=3, cutoff=0.5)
        raise UsageError(f"there is no metric {found[1]!r} to hold a gate to",
                         hint=f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(METRICS)}")
    try:
        bound = _bound(found[3], METRICS[metric][0])
    except UsageError as error:
        raise UsageError(f"gate rule {part.strip()!r}: {error}", hint=error.hint) from None
    return Rule(metric, found[2], bound, f"{metric}{found[2]}{found[3]}")


def _bound(text: str, kind: str) -> float:
    if kind == "share":
        return parse_share(text)
    if kind == "size":
        return float(parse_size(text))
    split = split_number(text)
    if kind in ("ms", "seconds"):
        if kind == "ms" and split is not None and split[1] in ("", "ms"):
            return split[0]
        return parse_duration(text) * (1000.0 if kind == "ms" else 1.0)
    if split is None or split[1] not in (("", "%") if kind == "ratio" else ("",)):
        raise UsageError(f"{text!r} is not a plain number")
    return split[0] / 100 if split[1] == "%" else split[0]


def _show(value: float, kind: str) -> str:
    if kind == "size":
        return show_size(value)
    unit = {"ms": " ms", "seconds": " s"}.get(kind, "")
    return f"{value:.4g}{unit}" if kind in ("share", "ratio") else f"{number(value)}{unit}"
