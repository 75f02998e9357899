"""Delimiter, quoting and header of a delimited file, told from its first lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import DataError
from .columns import is_known, simple

DELIMITERS = (",", "\t", ";", "|")
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
MAX_COLUMNS = 10_000
_SAMPLE_LINES = 1000
_HINT = "add a first line with column names, for example: text,label"


@dataclass(frozen=True)
class Layout:
    """How the cells are told apart, and what they are called. `header` is False where the first line is data."""

    delimiter: str
    quoting: int
    columns: tuple[str, ...]
    header: bool
    notes: tuple[str, ...]


def find_layout(lines: Iterable[str], name: str, *, preferred: str, named: Sequence[str]) -> Layout:
    """The layout of a file whose first complete lines are `lines`; `named` are column names the user gave.

    A first line that is data is accepted as such only in a file of two columns where exactly one of its two values
    comes again below (the label). Raises DataError for a header with a name twice, with over 10,000 columns, or where
    the first line looks like data and the columns cannot be told.
    """
    sample = [line for line in lines if line.strip()][:_SAMPLE_LINES]
    if not sample:
        raise DataError(f"{name} has no rows: there is nothing but blank lines", hint=_HINT)
    delimiter = _delimiter(sample, preferred, named)
    quoting = _quoting(sample, delimiter)
    rows = _cells(sample, delimiter, quoting)
    if not rows:
        raise DataError(f"{name}, line 1: the header cannot be read: a quote is not closed or has text after it",
                        hint="in a quoted name, double the quotes inside it")
    columns, header, notes = _columns(rows, name, named)
    if delimiter != preferred:
        notes.insert(0, f"cells are separated by a {NAMES[delimiter]}")
    if quoting == csv.QUOTE_NONE:
        notes.append("quotation marks are read as part of the text, since they do not come in pairs")
    return Layout(delimiter, quoting, columns, header, tuple(notes))


def known_cells(line: str, named: Sequence[str]) -> tuple[int, str]:
    """How many cells of `line` are known column names, and under which delimiter, at best."""
    return max(((_known(_first(line, mark), named), mark) for mark in DELIMITERS), key=lambda pair: pair[0])


def _first(line: str, delimiter: str) -> list[str]:
    rows = _cells([line], delimiter, csv.QUOTE_MINIMAL)
    return rows[0] if rows else []


def _known(cells: Sequence[str], named: Sequence[str]) -> int:
    wanted = {simple(name) for name in named}
    return sum(is_known(cell) or simple(cell) in wanted for cell in cells)


def _delimiter(sample: Sequence[str], preferred: str, named: Sequence[str]) -> str:
    def score(delimiter: str) -> tuple[int, float, bool, int]:
        rows = _cells(sample, delimiter, _quoting(sample, delimiter))
        width = len(rows[0]) if rows else 0
        if width < 2:
            return 0, 0.0, delimiter == preferred, 0
        return _known(rows[0], named), sum(len(row) == width for row in rows) / len(rows), delimiter == preferred, width

    return max(DELIMITERS, key=score)


def _quoting(sample: Sequence[str], delimiter: str) -> int:
    """Tab-separated files often know no quoting: then a cell may begin with a quotation mark that nothing closes."""
    if delimiter != "\t" or len(_cells(sample, delimiter, csv.QUOTE_MINIMAL)) == len(sample):
        return csv.QUOTE_MINIMAL
    widths = {line.count("\t") for line in sample}
    return csv.QUOTE_NONE if len(widths) == 1 else csv.QUOTE_MINIMAL


def _cells(lines: Sequence[str], delimiter: str, quoting: int) -> list[list[str]]:
    """The rows that can be parsed, up to the first that cannot."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True):  # type: ignore[arg-type]
            rows.append(row)
    except csv.Error:
        pass
    return rows


def _columns(rows: list[list[str]], name: str, named: Sequence[str]) -> tuple[tuple[str, ...], bool, list[str]]:
    first = [cell.strip() for cell in rows[0]]
    if len(first) > MAX_COLUMNS:
        raise DataError(f"{name}, line 1: {len(first):,} columns; the limit is {MAX_COLUMNS:,}",
                        hint="is this the right kind of file?")
    again = [any(row[place] == cell for row in rows[1:] if place < len(row)) for place, cell in enumerate(rows[0])]
    known = [place for place, cell in enumerate(first) if _known([cell], named)]
    if len(known) > 1 or any(not again[place] for place in known):
        return _named_columns(first, name)
    if not any(again) and not any(_is_data(cell) for cell in first):
        columns, header, notes = _named_columns(first, name)
        return columns, header, [*notes, "no column name is known; the first line was taken as the header"]
    label = _label_place(rows) if len(first) == 2 else None
    if label is None:
        raise DataError(f"{name}, line 1: the first line looks like data, not like a header: {_short(rows[0])}", hint=_HINT)
    columns = ("label", "text") if label == 0 else ("text", "label")
    return columns, False, [f"no header: the first line is data, and the columns were taken as {', '.join(columns)}"]


def _named_columns(first: list[str], name: str) -> tuple[tuple[str, ...], bool, list[str]]:
    empty = [place + 1 for place, cell in enumerate(first) if not cell]
    filled = [cell or f"column {place + 1}" for place, cell in enumerate(first)]
    for place, cell in enumerate(filled):
        if cell in filled[:place]:
            raise DataError(f"{name}, line 1: the header has the name {cell[:80]!r} twice, in columns "
                            f"{filled.index(cell) + 1} and {place + 1}", hint="give each column a name of its own")
    notes = [f"the header has no name for column {', '.join(map(str, empty[:5]))}"] if empty else []
    return tuple(filled), True, notes


def _label_place(rows: list[list[str]]) -> int | None:
    """The one of two columns whose first value comes again while the other's does not, and which has fewer values."""
    pairs = [row for row in rows if len(row) == 2]
    again = [any(row[place] == pairs[0][place] for row in pairs[1:]) for place in (0, 1)]
    distinct = [len({row[place] for row in pairs}) for place in (0, 1)]
    if again[0] == again[1] or not all(pairs[0]):
        return None
    label = 0 if again[0] else 1
    return label if distinct[label] < distinct[1 - label] else None


def _is_data(cell: str) -> bool:
    if len(cell) > 60 or len(cell.split()) > 5 or cell.endswith((".", "?", "!")):
        return True
    return cell.replace(".", "", 1).replace("-", "", 1).isdigit()


def _short(cells: Sequence[str]) -> str:
    text = ", ".join(cells)
    return repr(text if len(text) <= 80 else text[:79] + "…")
