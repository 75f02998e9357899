"""What an extractive summariser learns from: its documents cut and measured once, and how good each sentence would be in a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...errors import DataError
from ...run.salience import BUCKETS, Document, cues, features, read_document, sketches
from ...tasks.rouge import overlap, score_tokens, tokens
from ...tasks.sentences import language_of, sentences
from ...tasks.summarise import Budget, select
from ...teach.linear import Sparse
from .documents import Pair

MOST_SENTENCES = 400
"""Sentences of a document that training looks at; the whole document is read in answering."""


@dataclass(frozen=True)
class Lessons:
    """The documents as matrices: `dense` (n, features), `cues` (n, buckets), `member` (n,) says whose sentence a row is.

    `gains` (n,) tells how much of a reference a sentence holds, `references` and `said` are token lists of a document's references and
    sentences, `sketches` say which sentences repeat each other, `length` is the usual number of sentences of a reference.
    """

    documents: list[Document]
    references: list[list[list[str]]]
    said: list[list[list[str]]]
    sketches: list[np.ndarray]
    dense: np.ndarray
    cues: Sparse
    member: np.ndarray
    gains: np.ndarray
    length: int

    def rows(self, documents: np.ndarray) -> np.ndarray:
        """The rows of some documents, ascending."""
        return np.flatnonzero(np.isin(self.member, documents))


def prepare(pairs: Sequence[Pair], *, stem: bool = True, titles: bool = True) -> Lessons:
    """Cuts, measures and marks the documents; those in which no sentence is found are left out."""
    documents, references = [], []
    # Beyond ASCII the standard tokens would lose every accented letter.
    unicode = language_of(" ".join(pair.document[:200] for pair in pairs[:50])) != "en"
    for pair in pairs:
        document = read_document(pair.document, pair.title if titles else "")
        if document.pieces:
            documents.append(document)
            references.append([tokens(one, stem=stem, unicode=unicode) for one in pair.summaries])
    if not documents:
        raise DataError("no document holds a sentence")
    usual = int(np.median([len(sentences(one)) for pair in pairs for one in pair.summaries]))
    dense, buckets, member, gains, spoken, sketched = [], [], [], [], [], []
    for place, (document, wanted) in enumerate(zip(documents, references, strict=True)):
        size = min(len(document.pieces), MOST_SENTENCES)
        dense.append(features(document)[:size])
        buckets += [cues(piece) for piece in document.pieces[:size]]
        member.append(np.full(size, place))
        spoken.append([tokens(piece.text, stem=stem, unicode=unicode) for piece in document.pieces[:size]])
        sketched.append(sketches(document)[:size])
        gains.append(gains_of(spoken[-1], wanted, usual))
    return Lessons(documents, references, spoken, sketched, np.concatenate(dense), cue_matrix(buckets), np.concatenate(member),
                   np.concatenate(gains), max(1, usual))


def cue_matrix(buckets: Sequence[Sequence[int]]) -> Sparse:
    """The cue words as a matrix whose rows have length 1."""
    starts = np.concatenate([[0], np.cumsum([len(one) for one in buckets])]).astype(np.int64)
    columns = np.array([bucket for one in buckets for bucket in one], np.int64)
    lengths = np.diff(starts)
    values = np.repeat(1 / np.sqrt(np.maximum(1, lengths)), lengths).astype(np.float32)
    return Sparse(starts, columns, values, BUCKETS)


def gains_of(said: Sequence[Sequence[str]], references: Sequence[Sequence[str]], length: int) -> np.ndarray:
    """How good each sentence would be, (n,) in 0..1: mean of ROUGE-1 and -2 F alone, against the best reference.

    Where a reference has several sentences, half of it is what the sentence adds in a greedy oracle: sentences added one after the other
    as long as the mean of ROUGE-1 and -2 recall grows the most (Nallapati et al. 2017), the first counting most.
    """
    if length <= 1:
        return np.array([max(_mean(score_tokens(one, ref), "f") for ref in references) for one in said], np.float32)
    alone = np.array([max(_mean(score_tokens(one, ref), "precision") for ref in references) for one in said], np.float32)
    added = np.max([greedy_gains(said, ref, length) for ref in references], axis=0)
    return (0.5 * alone + 0.5 * added / max(1e-9, float(added.max(initial=0)))).astype(np.float32)


def _mean(found, part: str) -> float:
    return (getattr(found.rouge1, part) + getattr(found.rouge2, part)) / 2


def greedy_gains(said: Sequence[Sequence[str]], reference: Sequence[str], most: int) -> np.ndarray:
    """What each sentence adds to ROUGE-1 and -2 recall at its turn in the greedy oracle of at most `most` sentences; 0 for the others."""
    words, pairs, whole = Counter(reference), Counter(pairwise(reference)), max(1, len(reference))
    have = [(Counter(one), Counter(pairwise(one))) for one in said]
    out = np.zeros(len(said), np.float32)
    for _ in range(min(most, len(said))):
        gains = [0.0 if out[row] else (one & words).total() / whole + (two & pairs).total() / max(1, whole - 1)
                 for row, (one, two) in enumerate(have)]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        out[best] = gains[best] / 2
        words, pairs = words - have[best][0], pairs - have[best][1]
    return out


def shares_of(gains: np.ndarray, member: np.ndarray, heat: float) -> np.ndarray:
    """The gains as shares that add up to 1 within each document; the smaller `heat`, the more the best sentence gets."""
    raised = np.exp((gains - gains.max(initial=0)) / heat).astype(np.float64)
    return (raised / np.bincount(member, raised)[member]).astype(np.float32)


def judged(lessons: Lessons, documents: np.ndarray, scores: np.ndarray, redundancy: float) -> np.ndarray:
    """ROUGE-1 F in percent of each document's summary of the usual length by `scores` (rows of `documents`), best reference."""
    out = np.zeros(len(documents))
    starts = np.concatenate([[0], np.cumsum(np.bincount(lessons.member, minlength=len(lessons.documents))[documents])])
    for place, index in enumerate(documents):
        said = lessons.said[index]
        costs, limit = Budget(sentences=lessons.length).costs([1] * len(said))
        groups = [some for group in lessons.documents[index].groups() if (some := [row for row in group if row < len(said)])]
        rows = select(scores[starts[place]:starts[place + 1]], costs, limit, groups, lessons.sketches[index], redundancy)
        words = Counter(word for row in rows for word in said[row])
        out[place] = 100 * max(overlap((words & Counter(ref)).total(), words.total(), len(ref)).f for ref in lessons.references[index])
    return out
