"""The tokenizer to be trimmed: what its texts use, what must stay, and the file that a choice of pieces gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..bundle.jsonio import shown, strict_json
from ..errors import BundleError, DataError, TeacherError
from .corpus import batches
from .piece_models import PieceModel, piece_model
from .token_fields import marks_of, processor_ids, rename_processor

MAX_TOKENIZER = 256 * 1024 * 1024
_RESERVED = re.compile(r"[<\[]\|?(?:unused|reserved|reserved_special_token|placeholder|extra)_?\d+\|?[>\]]")


class Whole:
    """The untrimmed tokenizer: the parsed file, its model, and the library's own tokenizer made from it."""

    def __init__(self, data: bytes, where: str) -> None:
        if len(data) > MAX_TOKENIZER:
            raise TeacherError(f"{where} is {len(data):,} bytes (the limit is {MAX_TOKENIZER:,})")
        try:
            self.told: dict[str, Any] = strict_json(data, where)
        except BundleError as problem:
            raise TeacherError(str(problem)) from None
        if not isinstance(self.told, dict):
            raise TeacherError(f"{where} holds {type(self.told).__name__}, not a tokenizer")
        self.where = where
        self.model: PieceModel = piece_model(self.told, where)
        self.reader = opened(data, where)
        self.pieces = {old: piece for piece, old in self.model.ids.items()}
        # The library numbers added tokens itself and may disagree with the file; the library is what models were run with.
        # It takes no empty ones.
        ids = {one["content"]: self.reader.token_to_id(one["content"]) for one in self.told.get("added_tokens") or ()}
        self.added: dict[str, int] = {piece: old for piece, old in ids.items() if old is not None}
        for piece, old in self.added.items():
            if self.pieces.get(old, piece) != piece:
                raise TeacherError(f"{where}: the added token {shown(piece)} and the piece {shown(self.pieces[old])} share the id {old}")
        self.size = len(self.pieces.keys() | set(self.added.values()))
        self.top = max(max(self.pieces), *self.added.values(), 0) + 1

    def count(self, texts: Iterable[str]) -> tuple[np.ndarray, int]:
        """How often each old id occurs, (top,) int64, and the number of texts."""
        counts, number = np.zeros(self.top, np.int64), 0
        for batch in batches(texts):
            number += len(batch)
            ids = encoded(self.reader, batch, self.where)
            counts += np.bincount(np.fromiter((old for one in ids for old in one), np.int64), minlength=self.top)
        return counts, number

    def check_used(self, counts: np.ndarray, number: int) -> None:
        """Raises DataError for texts that say nothing about which pieces to keep."""
        if not number:
            raise DataError("there is no text to keep pieces for", hint="give texts like those that the model will read and write")
        ordinary = counts.copy()
        ordinary[list(self.added.values())] = 0
        if not ordinary.any():
            what = "hold special tokens only" if counts.any() else "are empty"
            raise DataError(f"the {number:,} texts {what}, so they say nothing about which pieces to keep",
                            hint="give texts like those that the model will read and write")

    def idle(self, counts: np.ndarray, reserved: bool, rows: int | None) -> set[int]:
        """Added tokens that may go: those without an embedding and, if `reserved`, placeholders that the texts do not use.

        Raises TeacherError when texts use, or the vocabulary proper has, a piece without an embedding.
        """
        placeholders = {old for piece, old in self.added.items() if reserved and not counts[old] and _RESERVED.fullmatch(piece)}
        if rows is None:
            return placeholders
        outside = {old for old in self.added.values() if old >= rows}
        if counts[rows:].any() or any(old >= rows and old not in outside for old in self.pieces):
            raise TeacherError(f"{self.where} has pieces up to the id {self.top - 1:,} and the model has {rows:,} rows of embeddings",
                               hint="the tokenizer and the weights belong to different models")
        return placeholders | outside

    def base(self, required: Iterable[int], idle: set[int]) -> set[int]:
        """What stays whatever the texts are: letters, added tokens except the idle, `required` where there are such pieces."""
        added, around = set(self.added.values()), set(processor_ids(self.told.get("post_processor")))
        for old in around:
            if old not in self.pieces and old not in added:
                raise TeacherError(f"{self.where} puts the id {old} around texts and has no such piece")
        named = around | (set(required) & (self.pieces.keys() | added))
        return ((self.model.base(marks_of(self.told)) | added) - idle) | named

    def closed(self, ids: Iterable[int]) -> set[int]:
        """The pieces and all that their making passes through."""
        kept = set(ids)
        for old in tuple(kept):
            if old in self.pieces:
                kept |= self.model.path(self.pieces[old])
        return kept

    def by_use(self, counts: np.ndarray, stay: set[int]) -> list[int]:
        """Pieces that the texts use or pass through, outside `stay`, most used first. Any beginning of it is closed: what a
        piece passes through is used as often as the piece, and is shorter.
        """
        weight = counts.copy()
        for old in np.flatnonzero(counts).tolist():
            if old in self.pieces:
                weight[list(self.model.path(self.pieces[old]))] += counts[old]
        found = [old for old in np.flatnonzero(weight).tolist() if old not in stay]
        return sorted(found, key=lambda old: (-weight[old], len(self.pieces[old]), old))

    def rebuilt(self, kept: set[int]) -> tuple[bytes, np.ndarray]:
        """tokenizer.json with the kept pieces, and the old id of each new id."""
        added_only = {old for old in self.added.values() if old not in self.pieces}
        # Tokens outside the model's vocabulary are numbered after it, whatever ids they had.
        order = sorted(kept - added_only) + sorted(kept & added_only)
        new_id = {old: new for new, old in enumerate(order)}
        told = json.loads(json.dumps({**self.told, "model": None}))
        told["model"] = self.model.rebuilt(new_id)
        told["added_tokens"] = sorted(({**one, "id": new_id[self.added[one["content"]]]} for one in told.get("added_tokens") or ()
                                       if self.added.get(one["content"]) in new_id), key=lambda one: one["id"])
        rename_processor(told.get("post_processor"), new_id)
        if isinstance(told.get("padding"), dict):
            told["padding"]["pad_id"] = new_id.get(told["padding"].get("pad_id"), 0)
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(), np.array(order, np.int64)


def encoded(tokenizer: Any, batch: list[str], where: str) -> list[list[int]]:
    """The ids of texts, without special tokens around them. Raises TeacherError where the library gives up."""
    try:
        return [one.ids for one in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
    except BaseException as problem:  # a Rust panic is a BaseException
        if isinstance(problem, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise TeacherError(f"{where} cannot tokenise the texts: {shown(str(problem))}") from None


def opened(data: bytes, where: str) -> Any:
    """The library's tokenizer, with truncation, padding and dropout off. Raises TeacherError."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except BaseException as problem:  # a Rust panic is a BaseException, and hostile files cause them
        if isinstance(problem, KeyboardInterrupt | SystemExit):
            raise
        raise TeacherError(f"{where} cannot be opened as a tokenizer: {shown(str(problem))}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer
