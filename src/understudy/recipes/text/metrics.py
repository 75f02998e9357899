"""What a task's answers are graded by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DataError
from ...proof.textual import TextScore, bleu, chrf, coverage_score, mean_score, rouge_scores
from ...tasks.attributes import attributes
from ...tasks.faithful import unsupported
from ...tasks.reading.pairs import Pair


def scores_of(task: str, pairs: Sequence[Pair], said: Sequence[str], seed: int) -> dict[str, Any]:
    """Name of the metric → value, low, high (95 %, bootstrap over rows) and the signature that makes it reproducible."""
    references = [list(pair.references) for pair in pairs]
    found: dict[str, TextScore]
    if task == "summarize":
        found = dict(rouge_scores(said, references, seed=seed))
        clean = np.array([not unsupported(text, pair.source) for pair, text in zip(pairs, said, strict=True)], float)
        found["supported"] = mean_score("supported", clean, "share of summaries without a number or name that the source lacks", seed=seed)
    else:
        found = {"bleu": bleu(said, references, seed=seed), "chrf": chrf(said, references, seed=seed)}
    if task == "generate" and all(_listed(pair.source) for pair in pairs):
        found["coverage"] = coverage_score([pair.source for pair in pairs], list(said), seed=seed)
    return {name: {"value": score.value, "low": score.low, "high": score.high, "signature": score.signature} for name, score in found.items()}


def _listed(text: str) -> bool:
    """Whether a source is a list of attributes, and no prompt in words."""
    try:
        return bool(attributes(text))
    except DataError:
        return False
