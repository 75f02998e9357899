"""Trimming the vocabulary of a decoder to the texts at hand: the same pieces for those texts, the same string for any other.

Kept are the pieces that the texts use, what their merges pass through, special and added tokens, and whatever unseen text
is spelt with (256 bytes, or every character where there is no falling back on bytes). Why that is exact for the texts is
told in piece_models.py, and every text is tokenised again to check it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bundle.jsonio import shown
from ..errors import ParityError, UsageError
from .corpus import batches, replayable
from .whole_tokenizer import Whole, encoded, opened


@dataclass(frozen=True)
class Trimmed:
    """A trimmed tokenizer and what became of the texts.

    `tokenizer` are the bytes of tokenizer.json; `keep` is the old id of each new id, (V,) int64; `pieces_before` is the old
    number of pieces. Of `texts` texts, `changed` are split differently now (none without `most`), which took `tokens_before`
    tokens, special tokens around texts not counted, and take `tokens_after`.
    """

    tokenizer: bytes
    keep: np.ndarray
    pieces_before: int
    texts: int
    changed: int
    tokens_before: int
    tokens_after: int

    @property
    def new_id(self) -> dict[int, int]:
        """Old id -> new id of the kept pieces."""
        return {int(old): new for new, old in enumerate(self.keep)}


def trim_tokenizer(tokenizer_json: bytes, texts: Iterable[str], *, most: int | None = None, spare: Iterable[str] = (),
                   multiple: int = 1, required: Iterable[int] = (), drop_reserved: bool = False, rows: int | None = None,
                   where: str = "tokenizer.json") -> Trimmed:
    """The tokenizer with the pieces that `texts` use, and those of `spare`, which stay whatever `most` says.

    `most` caps the pieces: the rarest go, and texts that used them are spelt with smaller ones. `multiple` rounds the number
    of pieces up (under `most`, down) to a multiple by keeping more or fewer of them. `required` are old ids that stay if
    there are such pieces. `rows` is the number of embeddings: added tokens beyond it, which the model cannot read, go.
    `drop_reserved` lets go of placeholders (<unused7>, <|reserved_special_token_7|>) that no text uses.

    Raises TeacherError for a tokenizer that cannot be opened or trimmed, DataError for texts that use no piece, UsageError
    for a `most` that is too small, ParityError when a text would come out differently (nothing known does that).
    """
    if (most is not None and most < 1) or multiple < 1:
        raise UsageError(f"most={most} and multiple={multiple} should be at least 1")
    whole = Whole(tokenizer_json, where)
    with replayable(texts) as again:
        counts, number = whole.count(again)
        whole.check_used(counts, number)
        stay = whole.base(required, whole.idle(counts, drop_reserved, rows))
        stay |= whole.closed(np.flatnonzero(whole.count(spare)[0]).tolist())
        order = whole.by_use(counts, stay)
        size = _size(len(stay), len(order), whole.size, most, multiple)
        taken = (order + sorted(set(whole.model.ids.values()) - stay - set(order)))[:size - len(stay)]
        data, keep = whole.rebuilt(stay.union(taken))
        trimmed = Trimmed(data, keep, whole.size, number, 0, 0, 0)
        return _compared(whole, trimmed, again, exact=len(taken) >= len(order))


def _size(stay: int, used: int, whole: int, most: int | None, multiple: int) -> int:
    """How many pieces to keep; raises UsageError when those that must stay are more."""
    size = stay + used if most is None else min(stay + used, most)
    up = -(-size // multiple) * multiple
    size = up if up <= min(whole, most or whole) else max(size // multiple * multiple, 0 if most else size)
    if size < stay:
        raise UsageError(f"most={most} is less than the {stay:,} pieces that must stay: bytes or letters, "
                         "special and added tokens, spare texts",
                         hint=f"allow at least {-(-stay // multiple) * multiple:,}")
    return size


def _compared(whole: Whole, trimmed: Trimmed, texts: Iterable[str], exact: bool) -> Trimmed:
    """The figures filled in, after every text was tokenised with both: the same pieces, or at least the same string again."""
    small = opened(trimmed.tokenizer, f"the trimmed {whole.where}")
    new_id = np.full(whole.top, -1, np.int64)
    new_id[trimmed.keep] = np.arange(len(trimmed.keep))
    _check_names(whole, small, new_id)
    changed = before = after = 0
    for batch in batches(texts):
        for text, old, new in zip(batch, encoded(whole.reader, batch, whole.where), encoded(small, batch, whole.where), strict=True):
            before, after = before + len(old), after + len(new)
            if new_id[old].tolist() == new:
                continue
            changed += 1
            if exact or _decoded(whole.reader, old) != _decoded(small, new):
                raise ParityError(f"the trimmed tokenizer splits the text {shown(text)} differently" if exact else
                                  f"the text {shown(text)} does not come back from the trimmed tokenizer as from the whole one")
    return replace(trimmed, changed=changed, tokens_before=before, tokens_after=after)


def _check_names(whole: Whole, small: Any, new_id: np.ndarray) -> None:
    """Every kept piece must have the new id in the library's eyes too, added tokens above all."""
    told = small.get_vocab(with_added_tokens=True)
    for piece, old in [*whole.model.ids.items(), *whole.added.items()]:
        if new_id[old] >= 0 and told.get(piece) != new_id[old]:
            raise ParityError(f"the piece {shown(piece)} should have the id {new_id[old]} and has {told.get(piece)}")


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)
