"""What a decoder's vocabulary is made of: byte pair merges or a unigram list, and what neither can do without.

Why trimming can be exact. BPE applies, again and again, the lowest-ranked merge that a word offers. Take pieces away, and
with them the merges that need them: if every merge which the text really took is still there, then at each step the
lowest-ranked merge is still offered and nothing lower has been added, so the same steps follow. A piece of a text was
built inside its own span, where the whole word's order of merges is the order that the span alone would take; so the path
to a piece can be worked out from the piece, without the text. Unigram takes the best path through a lattice: taking away
edges that the best path does not use leaves it the best, as long as the score of the unknown edge does not rise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol

from ..bundle.jsonio import shown
from ..errors import TeacherError

LONGEST = 4096
"""Characters of a piece whose merges are followed; the work grows with the square of it. Real pieces end near 1,000."""
MOST_PIECES = 1 << 23
"""Ids must be below this; tables are made as long as the highest id. Real vocabularies end near 2^18."""

_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))


class PieceModel(Protocol):
    """The `model` of a tokenizer.json, as trimming sees it."""

    told: dict[str, Any]
    ids: dict[str, int]
    """Piece -> old id."""

    def base(self, marks: Iterable[str]) -> set[int]:
        """Old ids that stay whatever the texts are; `marks` are characters that other parts of the tokenizer write."""

    def path(self, piece: str) -> set[int]:
        """Old ids of the pieces that the making of `piece` passes through, itself not included."""

    def rebuilt(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """The model with the pieces in `new_id` (old id -> new id) alone."""


def piece_model(told: dict[str, Any], where: str) -> PieceModel:
    """The model of a parsed tokenizer.json. Raises TeacherError, naming `where`, for one that cannot be trimmed."""
    model = told.get("model")
    if not isinstance(model, dict):
        raise TeacherError(f"{where} has no 'model'")
    # Early files leave the type out.
    kind = model.get("type") or ("BPE" if "merges" in model else "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece")
    if kind == "BPE":
        return Bpe(model, where)
    if kind == "Unigram":
        return Unigram(model, where)
    raise TeacherError(f"{where} has a vocabulary of the type {shown(kind)}, which cannot be trimmed here; BPE and Unigram can",
                       hint="WordPiece belongs to encoders: `understudy train` trims it by itself" if kind == "WordPiece" else None)


class Bpe:
    """Byte pair encoding: over bytes as letters (GPT-2, Llama 3, Qwen), or over characters with bytes to fall back on."""

    def __init__(self, told: dict[str, Any], where: str) -> None:
        self.told, self.where = told, where
        self.ids = _checked_ids(told.get("vocab"), where)
        self.prefix: str = told.get("continuing_subword_prefix") or ""
        self.suffix: str = told.get("end_of_word_suffix") or ""
        self.merges = list(_pairs(told.get("merges"), where))

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def _joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self.prefix)

    def _letters(self, piece: str) -> list[str]:
        """The symbols that merging starts from when it makes `piece`."""
        first = not (self.prefix and piece.startswith(self.prefix) and len(piece) > len(self.prefix))
        core = piece if first else piece[len(self.prefix):]
        last = bool(self.suffix) and core.endswith(self.suffix) and len(core) > len(self.suffix)
        letters = list(core[:-len(self.suffix)] if last else core)
        letters = [letter if first and not place else self.prefix + letter for place, letter in enumerate(letters)]
        return [*letters[:-1], letters[-1] + self.suffix] if last else letters

    def base(self, marks: Iterable[str]) -> set[int]:
        """Bytes where there are all 256, otherwise every character that the vocabulary can spell."""
        kept = _spelling(self.ids, bool(self.told.get("byte_fallback")), marks, lambda piece: len(self._letters(piece)) == 1)
        unknown = self.told.get("unk_token")
        return kept | ({self.ids[unknown]} if unknown in self.ids else set())

    def path(self, piece: str) -> set[int]:
        """Letters and pieces on the way to `piece`; empty for one that merges never make (`ignore_merges` hands it out whole)."""
        if len(piece) > LONGEST:
            raise TeacherError(f"{self.where} has a piece of {len(piece):,} characters (the limit is {LONGEST:,})")
        parts = self._letters(piece)
        seen = set(parts)
        while len(parts) > 1:
            offers = [(rank, place) for place in range(len(parts) - 1)
                      if (rank := self._ranks.get((parts[place], parts[place + 1]))) is not None]
            if not offers:
                return set()
            place = min(offers)[1]
            parts[place:place + 2] = [self._joined(*parts[place:place + 2])]
            seen.add(parts[place])
        return {self.ids[one] for one in seen if one in self.ids and one != piece}

    def rebuilt(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """Survivors keep their order, which is their rank; a merge survives with both its parts and its result."""
        vocabulary = {piece: new_id[old] for piece, old in self.ids.items() if old in new_id}
        paired = not self.merges or not isinstance(self.told["merges"][0], str)
        merges = [[left, right] if paired else f"{left} {right}" for left, right in self.merges
                  if left in vocabulary and right in vocabulary and self._joined(left, right) in vocabulary]
        return {**self.told, "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])), "merges": merges}


class Unigram:
    """A list of pieces with log probabilities; a text takes the most probable path."""

    def __init__(self, told: dict[str, Any], where: str) -> None:
        self.told, self.where = told, where
        pieces = told.get("vocab")
        if not isinstance(pieces, list) or not pieces or not all(_is_scored(one) for one in pieces):
            raise TeacherError(f"{where}: a Unigram vocabulary should be a list of [piece, score]")
        self.ids = {piece: old for old, (piece, _) in enumerate(pieces)}
        if len(self.ids) != len(pieces):
            raise TeacherError(f"{where}: a piece of the Unigram vocabulary is there twice")
        unknown = told.get("unk_id")
        if unknown is not None and not (isinstance(unknown, int) and 0 <= unknown < len(pieces)):
            raise TeacherError(f"{where}: 'unk_id' is {shown(unknown)} and there are {len(pieces):,} pieces")

    def base(self, marks: Iterable[str]) -> set[int]:
        """Bytes or characters, the unknown piece, and one piece of the lowest score."""
        pieces = self.told["vocab"]
        kept = _spelling(self.ids, bool(self.told.get("byte_fallback")), marks, lambda piece: len(piece) == 1)
        # The unknown edge costs the lowest score of all and a fixed penalty: without this piece it would become cheaper.
        lowest = min(range(len(pieces)), key=lambda old: pieces[old][1])
        return kept | {lowest} | ({self.told["unk_id"]} if self.told.get("unk_id") is not None else set())

    def path(self, piece: str) -> set[int]:
        """Nothing: a piece stands for itself."""
        return set()

    def rebuilt(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """Pieces in their new order, scores untouched."""
        pieces = self.told["vocab"]
        old_ids = sorted((old for old in self.ids.values() if old in new_id), key=lambda old: new_id[old])
        unknown = self.told.get("unk_id")
        return {**self.told, "vocab": [pieces[old] for old in old_ids], "unk_id": None if unknown is None else new_id[unknown]}


def falls_back_on_bytes(model: PieceModel) -> bool:
    """Whether a character without a piece of its own is spelt in bytes: all 256 must be there."""
    return bool(model.told.get("byte_fallback")) and all(piece in model.ids for piece in _BYTES)


def _spelling(ids: dict[str, int], fallback: bool, marks: Iterable[str], is_letter: Any) -> set[int]:
    """What unseen text is spelt with, so that it comes back from decoding as it would have from the whole vocabulary."""
    kept = {ids[mark] for mark in marks if mark in ids}
    if fallback:
        kept |= {ids[piece] for piece in _BYTES if piece in ids}
        if all(piece in ids for piece in _BYTES):
            return kept
    letters = [piece for piece in ids if piece and is_letter(piece)]
    kept |= {ids[piece] for piece in letters}
    alone = set("".join(letters))
    # A character that only longer pieces hold would be lost with them.
    return kept | {old for piece, old in ids.items() if not alone.issuperset(piece)}


def _checked_ids(vocabulary: Any, where: str) -> dict[str, int]:
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise TeacherError(f"{where}: a BPE vocabulary should map pieces to ids")
    for piece, old in vocabulary.items():
        if not isinstance(old, int) or isinstance(old, bool) or not 0 <= old < MOST_PIECES:
            raise TeacherError(f"{where}: the piece {shown(piece)} has the id {shown(old)}")
    if len(set(vocabulary.values())) != len(vocabulary):
        raise TeacherError(f"{where}: two pieces share one id")
    return vocabulary


def _pairs(merges: Any, where: str) -> Iterator[tuple[str, str]]:
    """Merges as pairs; files write them as pairs or, earlier, as two pieces with a space between."""
    for rank, merge in enumerate(merges if isinstance(merges, list) else [merges]):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):
            raise TeacherError(f"{where}: merge {rank} is {shown(merge)}, not two pieces")
        yield pair[0], pair[1]


def _is_scored(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], int | float)
