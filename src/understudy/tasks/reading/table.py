"""A table that is open for reading: what kind of file it is, its columns, and its rows one after the other.

    Source ──► encoding ──► format ──► columns ──► rows
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...errors import DataError, UsageError
from .columns import SAMPLE_ROWS
from .delimited import LINES_PER_CELL, delimited_rows
from .encodings import Encoding, decoded, find_encoding, head_text, lines
from .header import Layout, find_layout, known_cells
from .jsonrows import json_rows, jsonl_rows
from .magic import EMPTY_HINT, PARQUET
from .parquet import parquet_columns, parquet_rows
from .plain import PREFIX, fasttext_rows, plain_rows
from .problems import MAX_CELL, BadRows, Row
from .source import Source

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
             ".parquet": "parquet", ".pq": "parquet", ".txt": "text", ".ft": "fasttext", ".fasttext": "fasttext"}
_JSON_START = re.compile(r'\[\s*(\{|\]|$)|\{\s*("|\}|$)')
_PREFERRED = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True)
class _Opened:
    """What is known of a table before its first row is read."""

    format: str
    encoding: Encoding
    columns: tuple[str, ...] | None
    start: Callable[[], Iterator[Row]]
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


class Table:
    """An open table.

    `path` is the name used in messages, `format` one of csv, tsv, json, jsonl, parquet, fasttext, text; `encoding`
    Python's name of the codec ("binary" for Parquet); `delimiter` the character between cells or None; `columns` the
    names in order (for JSON those of the first rows); `notes` what a reader of the report should know. `bad` collects the
    rows that cannot be used; what reads the rows may add to it.
    """

    def __init__(self, source: Source, bad: BadRows, opened: _Opened) -> None:
        self.path = source.name
        self.format = opened.format
        self.encoding = opened.encoding.name
        self.delimiter = opened.delimiter
        self.notes = tuple(note for note in (opened.encoding.note, *opened.notes) if note)
        self.bad = bad
        self._source = source
        self._start = opened.start
        self._rows: Iterator[Row] | None = None
        self._ahead: list[Row] = []
        self._given = False
        # from a pipe one row must do: the others may not have been written yet
        self.columns = opened.columns or _keys(self.sample(1 if source.is_stdin else SAMPLE_ROWS))

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """(line, reason) of the first 20 rows skipped so far."""
        return self.bad.kept

    @property
    def skipped_count(self) -> int:
        """How many rows have been skipped so far."""
        return self.bad.count

    @property
    def size(self) -> int | None:
        """The size of the file; None for standard input and for what is packed."""
        return None if self.format == "parquet" else self._source.size

    @property
    def share(self) -> float | None:
        """How much of the file has been read, 0–1; None where that cannot be told (standard input, Parquet)."""
        return None if self.format == "parquet" else self._source.share

    def sample(self, rows: int = SAMPLE_ROWS) -> list[Row]:
        """The first rows, up to `rows` of them; they are not lost to `rows()`. UsageError after that was called."""
        if self._given:
            raise UsageError(f"{self.path}: a sample can be taken only before the rows are read")
        if self._rows is None:
            self._rows = self._start()
        while len(self._ahead) < rows and (row := next(self._rows, None)) is not None:
            self._ahead.append(row)
        return self._ahead[:rows]

    def rows(self) -> Iterator[Row]:
        """The rows in order, streamed. A file may be read again from the start; standard input gives UsageError.

        Raises DataError at the first row that cannot be used (unless skipping) and when the file changes meanwhile.
        """
        if self._given:
            self.bad.reset()
            self._rows, self._ahead = self._start(), []
        self._given = True
        return self._stream(self._rows or self._start(), self._ahead)

    def sha256(self) -> str:
        """The hash of the file as it lies on disk; for standard input of what was read so far."""
        return self._source.sha256()

    def _stream(self, rows: Iterator[Row], ahead: list[Row]) -> Iterator[Row]:
        yield from ahead
        yield from rows
        self._source.check_unchanged()


def open_table(path: str | os.PathLike[str], *, encoding: str | None = None, on_bad_row: str = "fail",
               max_cell: int = MAX_CELL, named: Sequence[str] = ()) -> Table:
    """Open a data file, plain or gzipped, or "-" for standard input, and tell its format, encoding and columns.

    `encoding` overrides the detection, `on_bad_row` is "fail" or "skip", `max_cell` the characters a cell may hold,
    `named` are column names the caller knows of, which help to tell a header. The suffix says the format where it is
    known, the content where it is not. Raises UsageError for a path, an encoding or a policy that does not exist,
    DataError for a file that cannot be used, MissingExtraError for Parquet without pyarrow.
    """
    bad = BadRows("standard input" if os.fspath(path) == "-" else str(path), on_bad_row)
    source = Source(path)
    suffix = _suffix(source)
    if source.head.startswith(PARQUET):
        bad.unit = "row"
        if source.is_stdin:
            raise UsageError("Parquet cannot be read from standard input, since it is read from its end",
                             hint="save it to a file and give that")
        return Table(source, bad, _Opened("parquet", Encoding("binary"), parquet_columns(source),
                                          lambda: parquet_rows(source, bad, max_cell)))
    if suffix == "parquet":
        raise DataError(f"{source.name} is named like a Parquet file but is none", hint="rename it after what is in it")
    max_line = max_cell * LINES_PER_CELL
    by_line = suffix != "json" and source.head.lstrip()[:1] != b"["
    found = find_encoding(source, encoding, skipping=bad.skipping, max_line=2 * max_line if by_line and not bad.skipping
                          else None)
    return Table(source, bad, _text_format(source, suffix, found, bad, max_cell, named))


def _suffix(source: Source) -> str | None:
    if source.path is None:
        return None
    name = source.path.name.lower().removesuffix(".gz")
    return _SUFFIXES.get(os.path.splitext(name)[1])


def _text_format(source: Source, suffix: str | None, encoding: Encoding, bad: BadRows, max_cell: int,
                 named: Sequence[str]) -> _Opened:
    head = head_text(source, encoding)
    if not head.strip() and source.whole:
        raise DataError(f"{source.name} is empty: there is nothing but white space", hint=EMPTY_HINT)
    kind, delimiter = _kind(head, suffix, named)

    def pieces() -> Iterator[str]:
        reader = source.open()
        try:
            yield from decoded(reader, encoding, source.name)
        finally:
            reader.close()

    def by_line() -> Iterator[str]:
        return lines(pieces(), max_cell * LINES_PER_CELL)

    if kind == "json":
        return _Opened(kind, encoding, None, lambda: json_rows(pieces(), head, bad, max_cell))
    if kind == "jsonl":
        return _Opened(kind, encoding, None, lambda: jsonl_rows(by_line(), bad, max_cell))
    if kind == "fasttext":
        return _Opened(kind, encoding, ("text", "label"), lambda: fasttext_rows(by_line(), bad, max_cell))
    if kind == "text":
        return _Opened(kind, encoding, ("text",), lambda: plain_rows(by_line(), bad, max_cell),
                       notes=("read as plain text, one text per line",))
    layout = _layout(source, head, bad.name, delimiter, named, max_cell)
    return _Opened("tsv" if layout.delimiter == "\t" else "csv", encoding, layout.columns,
                   lambda: delimited_rows(by_line(), layout, bad, max_cell), layout.delimiter, layout.notes)


def _layout(source: Source, head: str, name: str, delimiter: str, named: Sequence[str], max_cell: int) -> Layout:
    sample = list(lines(iter([head]), max(len(head), max_cell)))
    if not source.whole and not sample[-1].endswith("\n"):
        sample.pop()
    if not sample:
        raise DataError(f"{name}, line 1: the first line, which names the columns, is longer than {len(head):,} characters",
                        hint="is this the right kind of file?")
    return find_layout(sample, name, preferred=delimiter, named=named)


def _kind(head: str, suffix: str | None, named: Sequence[str]) -> tuple[str, str]:
    """The format and, for delimited files, the delimiter that is expected."""
    start = head.lstrip()
    first = start.split("\n", 1)[0]
    if suffix in ("json", "jsonl") or (suffix is None and _JSON_START.match(start)):
        return _json_kind(start, first, suffix), ","
    if suffix == "fasttext" or start.startswith(PREFIX):
        return "fasttext", ","
    if suffix in _PREFERRED:
        return suffix, _PREFERRED[suffix]
    # without a telling suffix only a header of known names makes a table: a comma is also a comma in a sentence
    known, delimiter = known_cells(first, named)
    if known > (1 if suffix == "text" else 0):
        return "csv", delimiter
    return "text", ","


def _json_kind(start: str, first: str, suffix: str | None) -> str:
    if start[:1] == "[":
        return "json"
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return "jsonl" if suffix == "jsonl" else "json"
    if suffix == "jsonl" or not isinstance(value, dict):
        return "jsonl" if suffix == "jsonl" else "json"
    table = isinstance(value.get("data"), list) or (bool(value) and all(isinstance(cell, list) for cell in value.values()))
    alone = start.strip() == first.strip()
    return "json" if alone and table else "jsonl"


def _keys(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row.values))
