"""Trimming the vocabulary of a decoder's checkpoint: a model folder in, a smaller model folder out, the same answers.

Rows of the embedding and of the output layer are gathered as raw bytes, so every kept piece has the very numbers it had.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import swap
from ..errors import UnderstudyError, UsageError
from .decoder_vocabulary import Trimmed, trim_tokenizer
from .model_folder import (
    INDEX,
    WHOLE,
    chat_words,
    embedding_rows,
    files_beside,
    open_shards,
    read_file,
    read_settings,
    resized,
    to_json,
)
from .tensor_rows import Shard, tables, write_rows
from .token_fields import needed_ids, remapped
from .whole_tokenizer import MAX_TOKENIZER

# Line ends stay pieces: files of one text per line hold none, and the model writes them all the same.
LINE_ENDS = ("\n", "\n\n", "\n\n\n", "a.\n", "a.\n\n", "a:\n", "a:\n\n", "a?\n", "a!\n", "a,\n")


@dataclass(frozen=True)
class TrimReport:
    """What trimming did. Sizes in pieces, parameters and bytes of weights and tokenizer; `tokens_*` over all texts.

    `changed` of `texts` texts are split differently (none without `most`). `dropped` are settings whose piece is gone,
    `left_out` files that were not carried over.
    """

    pieces_before: int
    pieces_after: int
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    texts: int
    changed: int
    tokens_before: int
    tokens_after: int
    dropped: tuple[str, ...]
    left_out: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        out = [f"pieces      {self.pieces_before:>14,} -> {self.pieces_after:,}",
               f"parameters  {self.parameters_before:>14,} -> {self.parameters_after:,} "
               f"({_less(self.parameters_before, self.parameters_after)})",
               f"bytes       {self.bytes_before:>14,} -> {self.bytes_after:,} ({_less(self.bytes_before, self.bytes_after)})"]
        if self.changed:
            out.append(f"tokens      {self.tokens_before:>14,} -> {self.tokens_after:,}; "
                       f"{self.changed:,} of {self.texts:,} texts are split differently")
        else:
            out.append(f"tokens      all {self.texts:,} texts keep their {self.tokens_before:,} tokens")
        out += [f"taken out of the settings, its piece is gone: {one}" for one in self.dropped]
        return out + ([f"not carried over: {', '.join(self.left_out)}"] if self.left_out else [])


def _less(before: int, after: int) -> str:
    return f"{100 * (before - after) / before:.1f}% less" if before else "nothing there"


def trim_checkpoint(folder: Path | str, texts: Iterable[str], out: Path | str, *, most: int | None = None, spare: Iterable[str] = (),
                    multiple: int = 1, drop_reserved: bool = False) -> TrimReport:
    """Writes to `out` the decoder in `folder` (a Hugging Face model folder) with the pieces that `texts` use, and returns the report.

    `out` appears whole or not at all and must not be there before. Other arguments are those of `trim_tokenizer`; texts in
    the chat template and line ends are spared by themselves.

    Raises TeacherError for a folder that is incomplete, broken, contradicts itself or is not a decoder, UsageError for an
    `out` that is there, and what `trim_tokenizer` raises.
    """
    folder, out = Path(folder), Path(os.path.abspath(out))
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", hint="name a new folder, or take this one away")
    settings = read_settings(folder)
    rows = embedding_rows(settings["config.json"], folder)
    shards = open_shards(folder)
    names = tables(shards, rows)
    where = folder / "tokenizer.json"
    data = read_file(where, MAX_TOKENIZER)
    trimmed = trim_tokenizer(data, texts, most=most, spare=[*spare, *LINE_ENDS, *chat_words(folder)], multiple=multiple,
                             required=[old for fields in settings.values() for old in needed_ids(fields)],
                             drop_reserved=drop_reserved, rows=rows, where=str(where))
    return _write(folder, out, settings, shards, names, trimmed, len(data))


def _write(folder: Path, out: Path, settings: dict[str, dict[str, Any]], shards: list[Shard], names: set[str], trimmed: Trimmed,
           tokenizer_before: int) -> TrimReport:
    """Everything into a hidden sibling first, which then takes the name `out`."""
    dropped: list[str] = []
    rows = embedding_rows(settings["config.json"], folder)
    small = {name: to_json(resized(remapped(fields, trimmed.new_id, dropped), rows, len(trimmed.keep)))
             for name, fields in settings.items()}
    small |= {"tokenizer.json": trimmed.tokenizer, **files_beside(folder, trimmed.new_id)}
    carried = {*small, INDEX, *(shard.path.name for shard in shards)}
    left_out = tuple(sorted(one.name for one in folder.iterdir() if one.name not in carried and not one.name.startswith(".")))
    sizes = _saved(out, small, shards, names, trimmed.keep)
    return TrimReport(trimmed.pieces_before, len(trimmed.keep), sum(shard.parameters for shard in shards), sizes[1],
                      sum(os.path.getsize(shard.path) for shard in shards) + tokenizer_before, sizes[0] + len(trimmed.tokenizer),
                      trimmed.texts, trimmed.changed, trimmed.tokens_before, trimmed.tokens_after, tuple(dict.fromkeys(dropped)), left_out)


def _saved(out: Path, small: dict[str, bytes], shards: list[Shard], names: set[str], keep: np.ndarray) -> tuple[int, int]:
    """(bytes, parameters) of the weights that were written. Raises UnderstudyError for a disk that will not take them."""
    fresh = swap.sibling(out, "tmp", swap.new_tag())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        swap.sweep(out)
        fresh.mkdir()
        held = swap.lock(fresh)
        try:
            written = [write_rows(shard, fresh / shard.path.name, names, keep) for shard in shards]
            total = sum(size for size, _ in written), sum(parameters for _, parameters in written)
            if len(shards) > 1 or shards[0].path.name != WHOLE:
                mapped = {name: shard.path.name for shard in shards for name in sorted(shard.tensors)}
                small[INDEX] = to_json({"metadata": {"total_size": total[0], "total_parameters": total[1]}, "weight_map": mapped})
            for name, data in small.items():
                (fresh / name).write_bytes(data)
            _sync(fresh)
            os.rename(fresh, out)
            swap.sync_folder(out.parent)
        finally:
            if held is not None:
                os.close(held)
    except BaseException as problem:
        swap.remove(fresh)
        if isinstance(problem, OSError):
            raise UnderstudyError(f"{out} cannot be written: {swap.reason_of(problem)}", hint="name a folder on a disk with room") from None
        raise
    return total


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    swap.sync_folder(folder)
