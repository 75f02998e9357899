"""Trimming a WordPiece vocabulary to the texts at hand, with an exact remap of ids.

WordPiece takes the longest piece that matches, so dropping pieces that the texts never use changes no tokenisation of
those texts; single characters stay, so unseen words still split instead of becoming [UNK].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import TeacherError


def trim(tokenizer_json: str, used: Iterable[Sequence[int]]) -> tuple[bytes, np.ndarray]:
    """The trimmed tokenizer.json and `keep`: the old id of each new id, (V,) int64, ascending.

    `used` holds the token ids of the texts. Raises TeacherError for a tokenizer that is not WordPiece.
    """
    told: dict[str, Any] = json.loads(tokenizer_json)
    if told["model"]["type"] != "WordPiece":
        raise TeacherError(f"a vocabulary of the type {told['model']['type']} cannot be trimmed; WordPiece can")
    vocabulary: dict[str, int] = told["model"]["vocab"]
    prefix = told["model"].get("continuing_subword_prefix", "##")
    keep = {one["id"] for one in told["added_tokens"]} | {vocabulary[told["model"]["unk_token"]]}
    for ids in used:
        keep.update(ids)
    keep |= {index for piece, index in vocabulary.items() if len(core := piece.removeprefix(prefix)) == 1 and core < "\u0180"}
    order = np.array(sorted(keep), np.int64)
    new_id = {int(old): new for new, old in enumerate(order)}
    told["model"]["vocab"] = {piece: new_id[index] for piece, index in vocabulary.items() if index in new_id}
    for one in told["added_tokens"]:
        one["id"] = new_id[one["id"]]
    if told.get("post_processor"):
        _remap(told["post_processor"], new_id)
    told["truncation"] = told["padding"] = None
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(), order


def _remap(processor: dict[str, Any], new_id: dict[int, int]) -> None:
    """Special tokens carry ids of their own in the post-processor, in one of two shapes."""
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [new_id[index] for index in special["ids"]]
    for end in ("sep", "cls"):
        if end in processor:
            processor[end] = [processor[end][0], new_id[processor[end][1]]]
    for inner in processor.get("processors") or ():
        _remap(inner, new_id)
