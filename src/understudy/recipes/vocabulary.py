"""The teacher's vocabulary trimmed to the task's texts, worked out once for the students that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import TeacherError
from ..models.tiny import TinyConfig, fitted, most_pieces
from ..run.tokens import TextTokenizer, open_tokenizer
from ..shrink.vocabulary import trim
from .ground import Ground


@dataclass(frozen=True)
class Pieces:
    """The trimmed tokenizer (`tokenizer` bytes of tokenizer.json), the teacher's id of each new id (`keep`), how often each
    occurs (`counts`), and the new ids of every training and extra text, special tokens included."""

    tokenizer: bytes
    keep: np.ndarray
    counts: np.ndarray
    ids: list[list[int]]
    reader: TextTokenizer
    training: int
    folds: np.ndarray

    @property
    def cls(self) -> int:
        """The teacher's id of the first special token."""
        return int(self.keep[self.ids[0][0]])

    @property
    def sep(self) -> int:
        """The teacher's id of the last special token."""
        return int(self.keep[self.ids[0][-1]])

    def content(self, row: int) -> list[int]:
        """New ids of a text without its special tokens."""
        return self.ids[row][1:-1]

    def rows_for(self, fold: int | None) -> np.ndarray:
        """Rows that the model without `fold` is trained on, the extra texts last, as `Ground.targets` orders them."""
        rows = np.arange(self.training) if fold is None else np.flatnonzero(self.folds != fold)
        return np.concatenate([rows, np.arange(self.training, len(self.ids))])

    def encode(self, texts: Sequence[str], *, specials: bool) -> list[list[int]]:
        """New ids of other texts."""
        return self.reader.batch(texts, specials=specials)


def pieces_of(ground: Ground) -> Pieces | None:
    """The task's pieces, or None without a teacher whose vocabulary can be trimmed (WordPiece of the BERT family)."""
    if not ground.memo:
        ground.memo.append(_make(ground))
    return ground.memo[0]


def _make(ground: Ground) -> Pieces | None:
    if ground.teacher is None or ground.teacher.encoder is None:
        return None
    whole = ground.teacher.tokenizer.backend_tokenizer.to_str()
    reader = open_tokenizer(whole.encode(), "the teacher's tokenizer")
    texts = ground.texts + ground.extra
    old = reader.batch(texts, specials=True)
    frequency = np.bincount(np.concatenate([np.array(ids) for ids in old]), minlength=ground.teacher.encoder.shape.vocabulary)
    room = most_pieces(fitted(TinyConfig(), ground.teacher.encoder.shape), ground.classes) - 600
    # Pieces of the texts first, then the vocabulary's own order, which is by general frequency: a word that the training
    # texts lack should not fall to letters.
    order = np.argsort(-frequency, kind="stable")
    latin = {index for piece, index in ground.teacher.tokenizer.get_vocab().items() if piece.isascii() and not piece.startswith("[")}
    wanted = [index for index in order.tolist() if frequency[index] or index in latin][:room]
    try:
        trimmed, keep = trim(whole, [wanted])
    except TeacherError:
        return None
    small = open_tokenizer(trimmed, "the trimmed tokenizer")
    ids = small.batch(texts, specials=True)
    counts = np.bincount(np.concatenate([np.array(one) for one in ids]), minlength=len(keep))
    return Pieces(trimmed, keep, counts, ids, small, len(ground.texts), ground.folds)

