"""What a summariser sees of a document: its sentences, what is measured of each, and the hashes of its words.

The same code in training and in answering. Features are relative to the document (position, length, overlap with the title, closeness
to the rest), so that a model learnt on abstracts can read reports; cue words ("we propose", "in conclusion") are hashed and learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from zlib import crc32

import numpy as np

from ..errors import UsageError
from ..tasks.abbreviations import listed
from ..tasks.sentences import Span, sections, sentences, words_of

BUCKETS = 1 << 15
WINDOW = 60
"""Sentences that are compared with each other; a longer section is read in windows of this many."""
LONGEST = 20_000_000
MOST = 200_000
"""Characters and sentences of a document; a longer one is refused, since it would need gigabytes."""
_REFERS = listed("""this these that those it they he she such here there however moreover furthermore also therefore thus hence then but and
dies diese dieser dieses er sie es dabei damit deshalb daher jedoch aber und ce cette ces il elle ils elles cependant donc mais et
este esta esto estos estas ese esa él ella ellos sin embargo además pero y""")
NAMES = ("place", "first", "second", "third", "last", "before_last", "inverse_place", "from_end", "section_place", "alone",
         "words_log", "short", "very_short", "long", "very_long", "centrality", "to_mean", "to_first", "to_others_max", "title_share",
         "title_has", "digits", "capitals", "question", "colon", "quote", "bracket", "refers_back", "item", "rare_words", "novel", "relative_length",
         "centrality_rank")


@dataclass(frozen=True, slots=True)
class Piece:
    """One sentence: where it stands, its text, its lower-case words, the window it belongs to."""

    span: Span
    text: str
    words: tuple[str, ...]
    window: int


@dataclass(frozen=True)
class Document:
    """A text cut into sentences. `windows` counts the parts that each get their share of a summary."""

    pieces: tuple[Piece, ...]
    windows: int
    title: tuple[str, ...]

    def rows(self, window: int) -> list[int]:
        """The sentences of one window."""
        return [row for row, piece in enumerate(self.pieces) if piece.window == window]

    def groups(self) -> list[list[int]]:
        """The sentences of every window, in order; no window is empty."""
        out: list[list[int]] = [[] for _ in range(self.windows)]
        for row, piece in enumerate(self.pieces):
            out[piece.window].append(row)
        return out


def read_document(text: str, title: str | None = None, language: str | None = None) -> Document:
    """Cuts a text. Headings, tables and code are never summary sentences; a heading above everything is the title where none is given.

    Raises UsageError for what is no string, and for more than 20 million characters or 200,000 sentences.
    """
    if not isinstance(text, str):
        raise UsageError(f"a document is a string, and this is {type(text).__name__}", hint="decode bytes first")
    if len(text) > LONGEST:
        raise UsageError(f"the document has {len(text):,} characters (the limit is {LONGEST:,})", hint="summarise its parts")
    parts = sections(text)
    if title is None and parts and parts[0].title:
        title = parts[0].title
    pieces: list[Piece] = []
    place, window, count = 0, -1, 0
    part = -1
    for span in sentences(text, language):
        if span.kind not in ("text", "item"):
            continue
        words = words_of(span.of(text))
        while place + 1 < len(parts) and parts[place + 1].start <= span.start:
            place += 1
        if place != part or count == WINDOW:
            window, part, count = window + 1, place, 0
        count += 1
        pieces.append(Piece(span, span.of(text), words, window))
    if len(pieces) > MOST:
        raise UsageError(f"the document has {len(pieces):,} sentences (the limit is {MOST:,})", hint="summarise its parts")
    return Document(tuple(pieces), window + 1, words_of(title or ""))


def cues(piece: Piece) -> list[int]:
    """Buckets of a sentence's words and pairs, and once more of how it begins: that is where cues stand."""
    words = piece.words[:200]
    found = {f"1{word}" for word in words} | {f"2{a} {b}" for a, b in pairwise(words)}
    found |= {f"^{' '.join(words[:n])}" for n in (1, 2, 3)}
    return sorted({crc32(one.encode("utf-8", "replace")) % BUCKETS for one in found})


def vectors(document: Document, rows: Sequence[int]) -> np.ndarray:
    """Unit tf-idf vectors (len(rows), terms) of sentences over their own words; weights come from these sentences alone."""
    counts = [Counter(word for word in document.pieces[row].words if len(word) > 2) for row in rows]
    spread = Counter(word for one in counts for word in one)
    column = {word: place for place, word in enumerate(spread)}
    out = np.zeros((len(rows), max(1, len(column))), np.float32)
    for row, one in enumerate(counts):
        for word, times in one.items():
            out[row, column[word]] = (1 + log(times)) * log((1 + len(rows)) / spread[word] + 0.2)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def features(document: Document) -> np.ndarray:
    """What is measured of each sentence, (n, len(NAMES)) float32, each about 0..1."""
    out = np.zeros((len(document.pieces), len(NAMES)), np.float32)
    for rows in document.groups():
        out[rows] = _of_window(document, rows)
    return out


def _of_window(document: Document, rows: Sequence[int]) -> np.ndarray:
    n = len(rows)
    unit = vectors(document, rows)
    near = unit @ unit.T
    mean = unit.mean(0)
    to_mean = unit @ (mean / max(1e-9, float(np.linalg.norm(mean))))
    others = near - np.eye(n, dtype=np.float32) * near
    centrality = others.sum(1) / max(1, n - 1)
    rank = np.argsort(np.argsort(-centrality, kind="stable"), kind="stable") / max(1, n - 1)
    lengths = np.array([len(document.pieces[row].words) for row in rows], np.float32)
    typical = max(1.0, float(np.median(lengths)))
    title = {word for word in document.title if len(word) > 3}
    seen: set[str] = set()
    out = np.zeros((n, len(NAMES)), np.float32)
    for place, row in enumerate(rows):
        piece = document.pieces[row]
        content = {word for word in piece.words if len(word) > 3}
        out[place] = [*_place(place, n, row, document), *_length(float(lengths[place])),
                      centrality[place] * 4, to_mean[place], near[place, 0], others[place].max(initial=0.0),
                      *_title(content, title), *_look(piece), sum(len(word) > 9 for word in piece.words) / max(1.0, lengths[place]),
                      len(content - seen) / max(1, len(content)), min(3.0, float(lengths[place]) / typical) / 3, rank[place]]
        seen |= content
    return out


def _place(place: int, n: int, row: int, document: Document) -> list[float]:
    whole = max(1, len(document.pieces) - 1)
    ends = [place == 0, place == 1, place == 2, place == n - 1, place == n - 2]
    return [row / whole, *ends, 1 / (1 + place), 1 / (n - place), place / max(1, n - 1), n == 1]


def _length(words: float) -> list[float]:
    return [log(1 + words) / 5, words < 12, words < 6, words > 30, words > 45]


def _title(content: set[str], title: set[str]) -> list[float]:
    shared = len(content & title)
    return [shared / max(1, len(title)), shared / max(1.0, sqrt(len(content)))]


def _look(piece: Piece) -> list[float]:
    text, words = piece.text, piece.words
    size = max(1, len(words))
    quoted, bracketed = any(c in text for c in "\"“„«"), "(" in text or "[" in text
    return [min(1.0, sum(map(str.isdigit, text)) / 10), min(1.0, sum(map(str.isupper, text)) / size), "?" in text, ":" in text,
            quoted, bracketed, bool(words) and words[0] in _REFERS, piece.span.kind == "item"]


def sketches(document: Document) -> np.ndarray:
    """Unit vectors (n, 256) of hashed words, whose products tell how much two sentences repeat each other; narrower beyond 4,000
    sentences, for the memory."""
    width = 256 if len(document.pieces) <= 4000 else 128
    spread = Counter(word for piece in document.pieces for word in set(piece.words))
    whole = len(document.pieces)
    out = np.zeros((whole, width), np.float32)
    for row, piece in enumerate(document.pieces):
        for word, times in Counter(piece.words).items():
            code = crc32(word.encode("utf-8", "replace"))
            out[row, code % width] += (1 if code >> 20 & 1 else -1) * (1 + log(times)) * log((1 + whole) / spread[word] + 0.1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def refers_back(piece: Piece) -> bool:
    """Whether a sentence begins with a word that points at what came before it (this, he, however, …)."""
    return bool(piece.words) and piece.words[0] in _REFERS and piece.words[0] not in ("and", "und", "et", "y", "here", "there")
