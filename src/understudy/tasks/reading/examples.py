"""Labelled and unlabelled examples out of a data file, with a report of what was found and what was left out.

`read_examples` holds all rows (training needs them); `stream_rows` never holds more than a sample (predicting).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import DataError
from ..types import Example
from .columns import Columns, find_columns
from .problems import BadValue, Row, counted
from .table import Table, open_table
from .values import NULL_WORDS, as_label, as_text, is_missing

MUCH_TEXT = 1_000_000_000
"""Characters of text from which on the report warns of the memory they take."""
MAX_TEXT = 8_000_000_000
"""Characters of text that are refused: with labels and objects they need over 16 GB."""
_INVISIBLE = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_SHOWN = 5


@dataclass(frozen=True)
class ReadReport:
    """What was found in a file: `rows` used plus `skipped_count` are all its rows; `skipped` has the first 20 reasons."""

    path: str
    format: str
    encoding: str
    delimiter: str | None
    text_column: str
    label_column: str | None
    rows: int
    skipped_count: int
    skipped: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]
    sha256: str
    unit: str = "line"

    def lines(self) -> list[str]:
        """The report as lines of text, most important first."""
        kind = self.format if self.encoding == "binary" else f"{self.format}, {self.encoding}"
        label = f", labels from {self.label_column!r}" if self.label_column is not None else ""
        found = [f"{self.path}: {counted(self.rows, 'row')} ({kind}); texts from {self.text_column!r}{label}"]
        if self.skipped_count:
            found.append(f"skipped {counted(self.skipped_count, 'row')} that cannot be used:")
            found += [f"  {self.unit} {line}: {reason}" for line, reason in self.skipped[:_SHOWN]]
            if self.skipped_count > _SHOWN:
                found.append(f"  … and {self.skipped_count - _SHOWN:,} more")
        return found + [f"note: {note}" for note in self.notes]


@dataclass(frozen=True)
class Dataset:
    """The examples of one file, in file order, and the report on how they were read."""

    examples: list[Example]
    report: ReadReport


def read_examples(path: str | os.PathLike[str], *, text_column: str | None = None, label_column: str | None = None,
                  encoding: str | None = None, on_bad_row: str = "fail", need_label: bool = True, most: int | None = None) -> Dataset:
    """All examples of a data file. Texts are unchanged; labels lose their outer white space.

    A row without a text or (with `need_label`) without a label is a bad row. Without `need_label` labels are read only
    from a named column. `most` is how many characters of text there is memory for. Raises UsageError for a column that is
    missing, DataError for a file or row that cannot be used, for a file without rows, and for more text than `most` or
    8 billion characters.
    """
    table, columns = _open(path, text_column, label_column, encoding, on_bad_row, need_label)
    most = min(MAX_TEXT, most or MAX_TEXT)
    _foresee(table, columns.text, most)
    tally = _Tally(most)
    examples = []
    for row in table.rows():
        try:
            text = as_text(row.values.get(columns.text))
            label = _label(row, columns, need_label)
        except BadValue as error:
            table.bad.add(row.line, str(error), error.hint)
            continue
        examples.append(Example(text, label, row.line))
        tally.add(text, label, row.values.get(columns.label) if columns.label else None, table.path)
    if not examples:
        raise _no_rows(table)
    report = ReadReport(table.path, table.format, table.encoding, table.delimiter, columns.text, columns.label,
                        len(examples), table.skipped_count, tuple(table.skipped),
                        (*columns.notes(), *table.notes, *tally.notes()), table.sha256(), table.bad.unit)
    return Dataset(examples, report)


def stream_rows(path: str | os.PathLike[str], *, text_column: str | None = None, encoding: str | None = None,
                on_bad_row: str = "fail") -> tuple[Table, str, Iterator[Row]]:
    """(the open table, the text column, its rows one after the other); the text in each row is a non-empty string.

    The file is never held: at most the first 200 rows are looked at to find the column. Raises as read_examples does,
    for a bad row when it is reached.
    """
    table, columns = _open(path, text_column, None, encoding, on_bad_row, False)
    return table, columns.text, _texts(table, columns.text)


def _texts(table: Table, column: str) -> Iterator[Row]:
    empty = True
    for row in table.rows():
        empty = False
        try:
            row.values[column] = as_text(row.values.get(column))
        except BadValue as error:
            table.bad.add(row.line, str(error), error.hint)
        else:
            yield row
    if empty:
        raise _no_rows(table)


def _open(path: str | os.PathLike[str], text_column: str | None, label_column: str | None, encoding: str | None,
          on_bad_row: str, need_label: bool) -> tuple[Table, Columns]:
    named = [name for name in (text_column, label_column) if name is not None]
    table = open_table(path, encoding=encoding, on_bad_row=on_bad_row, named=named)
    if not table.columns:
        raise _no_rows(table)
    if need_label and table.format == "text":
        raise DataError(f"{table.path} is plain text, one text per line, and has no labels",
                        hint="give CSV, TSV, JSON, JSONL, Parquet or fastText lines (__label__card where is my card?); "
                             "a table is known by its suffix or by a header such as text,label")
    # a file without rows has no content to tell its columns by
    if not table.sample(1):
        raise _no_rows(table)
    return table, find_columns(table, text_column=text_column, label_column=label_column, need_label=need_label)


def _label(row: Row, columns: Columns, needed: bool) -> str | None:
    if columns.label is None:
        return None
    value = row.values.get(columns.label)
    return None if not needed and is_missing(value) else as_label(value)


def _foresee(table: Table, column: str, most: int) -> None:
    """Refuses at once a file that by its size and its first rows holds twice the text that there is memory for, or more."""
    if table.size is None or table.size <= 2 * most:
        return
    whole = text = 0
    for row in table.sample():
        lengths = {name: len(value) if isinstance(value, str) else 8 for name, value in row.values.items()}
        whole += sum(lengths.values()) + len(lengths)
        text += lengths.get(column, 0)
    expected = table.size * text // max(1, whole)
    if expected > 2 * most:
        raise _too_much(table.path, f"about {expected:,}", most)


def _too_much(path: str, found: str, most: int) -> DataError:
    return DataError(f"{path} holds {found} characters of text; all of it is held in memory, and there is room for {most:,} here",
                     hint="take a random part of the rows, for example with `shuf -n 1000000`, or a machine with more memory")


def _no_rows(table: Table) -> DataError:
    if table.skipped_count:
        line, reason = table.skipped[0]
        return DataError(f"{table.path}: none of its {counted(table.skipped_count, 'row')} can be used; "
                         f"the first, {table.bad.unit} {line}: {reason}", hint="is this the right file and encoding?")
    header = " below its header" if table.format in ("csv", "tsv") else ""
    return DataError(f"{table.path} has no rows{header}", hint="is the file cut off, or the wrong one?")


class _Tally:
    """Counts what the reader of the report should know about the rows that were used."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.characters = self.invisible = self.trimmed = 0
        self.null_words: Counter[str] = Counter()

    def add(self, text: str, label: str | None, cell: object, path: str) -> None:
        self.characters += len(text)
        if self.characters > self._most:
            raise _too_much(path, f"more than {self._most:,}", self._most)
        if _INVISIBLE.search(text):
            self.invisible += 1
        if label is not None:
            self.trimmed += isinstance(cell, str) and cell != label
            if label.lower() in NULL_WORDS:
                self.null_words[label] += 1

    def notes(self) -> list[str]:
        found = []
        if self.characters > MUCH_TEXT:
            found.append(f"{self.characters:,} characters of text are held in memory, about "
                         f"{self.characters / 2**29:.0f} GB at work")
        if self.invisible:
            found.append(f"{counted(self.invisible, 'text')} with control, direction or zero-width characters, kept as they are")
        if self.trimmed:
            found.append(f"white space was removed around the label in {counted(self.trimmed, 'row')}")
        for word, count in self.null_words.most_common(_SHOWN):
            found.append(f"the label {word!r} ({counted(count, 'row')}) is kept as a label; leave the cell empty if it means none")
        return found
