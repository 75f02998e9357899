"""Scores of generated text against references, each with a 95 % interval: ROUGE, BLEU, chrF, attribute coverage.

    one value per row (ROUGE, coverage)   mean, bootstrap over rows
    one value per corpus (BLEU, chrF)     by sacrebleu, bootstrap over rows from its sufficient statistics, with its signature

A difference between two systems is real when the interval of the paired difference (`paired`) leaves out 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, missing_extra
from ..tasks.attributes import coverage
from ..tasks.rouge import KINDS, rouge
from .intervals import bootstrap_interval

References = Sequence[str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class TextScore:
    """A score of n texts with its 95 % interval; `name` says which, `signature` how it was computed."""

    name: str
    value: float
    low: float
    high: float
    n: int
    signature: str


def _checked(texts: Sequence[str], references: Sequence[object]) -> None:
    if len(texts) != len(references):
        raise DataError(f"{len(texts)} texts cannot be scored against {len(references)} rows of references",
                        hint="give one row of references per text")
    if not len(texts):
        raise DataError("there is no text to score")


def mean_score(name: str, values: np.ndarray, signature: str, *, seed: int = 0, reps: int = 1000) -> TextScore:
    """The mean of one value per row, (n,), and its bootstrap interval."""
    values = np.asarray(values, np.float64)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), len(values), seed, reps)
    return TextScore(name, float(values.mean()), low, high, len(values), signature)


def rouge_values(texts: Sequence[str], references: References, *, stem: bool = False, unicode: bool = False,
                 pick: str = "rouge1") -> np.ndarray:
    """ROUGE-1, -2 and -L F of each text in percent, (n, 3); of several references the one that `pick` says (`tasks.rouge.rouge`)."""
    _checked(texts, references)
    out = np.zeros((len(texts), len(KINDS)))
    for row, (text, refs) in enumerate(zip(texts, references, strict=True)):
        found = rouge(text, refs, stem=stem, unicode=unicode, pick=pick)
        out[row] = [100 * getattr(found, kind).f for kind in KINDS]
    return out


def rouge_scores(texts: Sequence[str], references: References, *, stem: bool = False, unicode: bool = False, pick: str = "rouge1",
                 seed: int = 0) -> dict[str, TextScore]:
    """rouge1, rouge2 and rougeL: mean F in percent over the texts. Raises DataError for lengths that differ, and for nothing."""
    values = rouge_values(texts, references, stem=stem, unicode=unicode, pick=pick)
    told = f"F|stem:{'porter' if stem else 'no'}|tokens:{'unicode' if unicode else 'a-z0-9'}|refs:max by {pick}"
    return {kind: mean_score(kind, values[:, place], told, seed=seed) for place, kind in enumerate(KINDS)}


def bleu(texts: Sequence[str], references: References, *, seed: int = 0, reps: int = 1000, tokenize: str = "13a") -> TextScore:
    """Corpus BLEU, 0..100. Rows may have different numbers of references. Raises MissingExtraError without sacrebleu."""
    return _corpus("BLEU", texts, references, lambda metrics: metrics.BLEU(tokenize=tokenize), seed, reps)


def chrf(texts: Sequence[str], references: References, *, seed: int = 0, reps: int = 1000, word_order: int = 0) -> TextScore:
    """Corpus chrF2 (chrF++ with `word_order=2`), 0..100. Raises MissingExtraError without sacrebleu."""
    return _corpus("chrF", texts, references, lambda metrics: metrics.CHRF(word_order=word_order), seed, reps)


def _corpus(name: str, texts: Sequence[str], references: References, make: Callable, seed: int, reps: int) -> TextScore:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise missing_extra(f"the score {name}", "generate") from None
    _checked(texts, references)
    rows = [[one] if isinstance(one, str) else list(one) for one in references]
    bare = next((place for place, refs in enumerate(rows) if not refs), None)
    if bare is not None:
        raise DataError(f"row {bare + 1} has no reference")
    streams = [[refs[k] if k < len(refs) else None for refs in rows] for k in range(max(map(len, rows)))]
    try:
        metric = make(metrics)
        whole = metric.corpus_score(list(texts), streams)
        statistics = np.array(metric._extract_corpus_statistics(list(texts), streams), np.float64)

        def resampled(some: np.ndarray) -> float:
            return metric._compute_score_from_stats(statistics[some].sum(0).tolist()).score

        low, high = bootstrap_interval(resampled, len(texts), seed, reps)
    except Exception as problem:
        raise DataError(f"{name} cannot be computed: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}") from None
    return TextScore(name, float(whole.score), low, high, len(texts), str(metric.get_signature()))


def coverage_score(lists: Sequence[str], texts: Sequence[str], *, seed: int = 0) -> TextScore:
    """Mean share of each list's attributes that its text mentions, in percent (`tasks.attributes`)."""
    _checked(texts, lists)
    values = np.array([100 * coverage(listed, text).share for listed, text in zip(lists, texts, strict=True)])
    return mean_score("coverage", values, "literal or alias", seed=seed)


def paired(first: np.ndarray, second: np.ndarray, *, seed: int = 0, reps: int = 1000) -> TextScore:
    """Mean difference first - second of two systems' values on the same rows, (n,) each, with its interval."""
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} values cannot be paired")
    return mean_score("difference", np.asarray(first) - np.asarray(second), "paired bootstrap", seed=seed, reps=reps)
