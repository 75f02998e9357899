"""The texts that a vocabulary is kept for: read from files as a stream, and read again as often as it takes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UsageError
from ..tasks.reading import stream_rows

_BATCH, _CHARACTERS = 512, 1_000_000


class Texts:
    """The texts of some data files, one after the other, from the first again at every `iter`; no file is ever held."""

    def __init__(self, paths: list[str], column: str | None, encoding: str | None, on_bad_row: str) -> None:
        self.paths, self.column, self.encoding, self.on_bad_row = paths, column, encoding, on_bad_row

    def __iter__(self) -> Iterator[str]:
        for path in self.paths:
            _, column, rows = stream_rows(path, text_column=self.column, encoding=self.encoding, on_bad_row=self.on_bad_row)
            for row in rows:
                yield str(row.values[column])


def texts_of(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, column: str | None = None,
             encoding: str | None = None, on_bad_row: str = "fail") -> Texts:
    """The texts in `paths`: lines of plain text, or the text column of CSV, TSV, JSON, JSONL and Parquet (`column` names it).

    Files are opened when they are read, and errors come then: DataError for a file or a row that cannot be used, UsageError
    for a column that is not there. Raises UsageError now for no path at all and for '-', which could be read only once.
    """
    named = [os.fspath(one) for one in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not named:
        raise UsageError("no file of texts was named", hint="pass --keep-for FILE with texts like those the model will see")
    if "-" in named:
        raise UsageError("the texts are read twice, and standard input can be read once", hint="save them to a file and name that")
    return Texts(named, column, encoding, on_bad_row)


@contextmanager
def replayable(texts: Iterable[str]) -> Iterator[Iterable[str]]:
    """`texts` as something that can be read more than once: an iterator goes through a temporary file, not through memory."""
    if isinstance(texts, str):
        raise UsageError("the texts are one string", hint="pass a list of texts, or texts_of(path) for a file")
    if iter(texts) is not texts:
        yield texts
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps(text) + "\n")
        yield _Spooled(file)


class _Spooled:
    def __init__(self, file: Any) -> None:
        self.file = file

    def __iter__(self) -> Iterator[str]:
        self.file.seek(0)
        for line in self.file:
            yield json.loads(line)


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts by the batch, as much as is worth one call of the tokenizer; a lone surrogate, which is no text, becomes '?'."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"a text is {type(text).__name__}, not a string")
        waiting.append(text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8"))
        size += len(text)
        if len(waiting) >= _BATCH or size >= _CHARACTERS:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
