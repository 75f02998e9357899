"""ROUGE-1, ROUGE-2 and ROUGE-L between a text and its references (C.-Y. Lin, ROUGE: A Package for Automatic Evaluation of
Summaries, 2004): overlap of words, of word pairs, and the longest common subsequence.

Tokens are runs of a-z and 0-9 of the lower-cased text, as the reference implementations have it; with `stem=True` words of
more than three letters are stemmed (Porter). `unicode=True` takes any letter or digit, for languages beyond ASCII.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .porter import stem as stemmed

_ASCII = re.compile("[a-z0-9]+")
_UNICODE = re.compile(r"[^\W_]+")
KINDS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Precision, recall and their harmonic mean, each in 0..1."""

    precision: float
    recall: float
    f: float


@dataclass(frozen=True, slots=True)
class Rouge:
    """The three overlaps of one text with one reference, or the best of several."""

    rouge1: Overlap
    rouge2: Overlap
    rougeL: Overlap


def tokens(text: str, *, stem: bool = False, unicode: bool = False) -> list[str]:
    """The words that ROUGE compares, in order."""
    words = (_UNICODE if unicode else _ASCII).findall(text.lower())
    return [stemmed(word) if len(word) > 3 and word.isascii() else word for word in words] if stem else words


def overlap(shared: int, said: int, wanted: int) -> Overlap:
    """Precision shared/said, recall shared/wanted and F; 0 where nothing is shared."""
    if not shared:
        return Overlap(0.0, 0.0, 0.0)
    precision, recall = shared / said, shared / wanted
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


def lcs(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (H. Hyyrö 2004): a machine word of cells at a time."""
    where: dict[str, int] = {}
    for place, word in enumerate(first):
        where[word] = where.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        hit = row & where.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    return len(first) - row.bit_count()


def _grams(words: Sequence[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    return Counter(words), Counter(pairwise(words))


def score_tokens(said: Sequence[str], wanted: Sequence[str]) -> Rouge:
    """ROUGE of two token lists."""
    (one, two), (gold_one, gold_two) = _grams(said), _grams(wanted)
    pairs = max(0, len(said) - 1), max(0, len(wanted) - 1)
    return Rouge(overlap((one & gold_one).total(), len(said), len(wanted)), overlap((two & gold_two).total(), *pairs),
                 overlap(lcs(said, wanted), len(said), len(wanted)))


def rouge(text: str, references: str | Sequence[str], *, stem: bool = False, unicode: bool = False, pick: str = "rouge1") -> Rouge:
    """ROUGE of a text against the reference with the highest F of the kind `pick` (SciTLDR's protocol picks by ROUGE-1).

    `pick="each"` takes every kind's own best reference instead. Zero everywhere without references.
    """
    refs = [references] if isinstance(references, str) else list(references)
    said = tokens(text, stem=stem, unicode=unicode)
    scored = [score_tokens(said, tokens(one, stem=stem, unicode=unicode)) for one in refs]
    if not scored:
        return Rouge(*[Overlap(0.0, 0.0, 0.0)] * 3)
    if pick == "each":
        return Rouge(*(max((getattr(one, kind) for one in scored), key=lambda found: found.f) for kind in KINDS))
    return max(scored, key=lambda one: getattr(one, pick).f)
