"""Rows of CSV, TSV and their relatives, with line numbers that stay right and no silently swallowed lines."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

from .encodings import LongLine
from .header import Layout
from .problems import BadRows, BadValue, Row, check_string, has_surrogate

LONG_ROW = 100
"""A row over more lines than this is looked at: an unclosed quote swallows rows, a long letter holds other lines."""
MAX_ROW_LINES = 20_000
LINES_PER_CELL = 4
"""A line may be this many times as long as a cell."""
_FIELD_LIMIT = 2**31 - 1


class _Runaway(Exception):
    """A row that does not end."""


class _Feed:
    """Hands lines to csv.reader, and can take back those of a row that turned out broken."""

    def __init__(self, lines: Iterator[str], max_row: int) -> None:
        self._lines, self._max_row = lines, max_row
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.first = 1
        self._size = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        if type(line) is LongLine:
            raise _Runaway
        self._size += len(line)
        if len(self.taken) > 1 and (len(self.taken) > MAX_ROW_LINES or self._size > self._max_row):
            raise _Runaway
        return line

    def begin(self) -> None:
        """A new row starts at the next line."""
        self.first += len(self.taken)
        self.taken.clear()
        self._size = 0

    def keep_first(self) -> None:
        """Only the first line of this row is given up; the others are read again as rows of their own."""
        self._back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def delimited_rows(lines: Iterator[str], layout: Layout, bad: BadRows, max_cell: int) -> Iterator[Row]:
    """The rows below the header. Blank lines are no rows; everything else is a row or is given to `bad`."""
    # the limit belongs to the whole process and is too low for one long text; our own is checked below
    if csv.field_size_limit() < _FIELD_LIMIT:
        csv.field_size_limit(_FIELD_LIMIT)
    feed = _Feed(lines, max_cell * LINES_PER_CELL)
    reader = csv.reader(feed, delimiter=layout.delimiter, quoting=layout.quoting, strict=True)  # type: ignore[arg-type]
    names, width, heading = layout.columns, len(layout.columns), layout.header
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Runaway) as error:
            _broken(feed, error, bad, heading, max_cell)
            continue
        if len(feed.taken) > LONG_ROW and _swallowed(feed.taken, layout):
            _broken(feed, _Runaway(), bad, heading, max_cell)
            continue
        raw = feed.taken[0] if len(feed.taken) == 1 else "".join(feed.taken)
        if (heading or len(cells) < 2) and not raw.strip():
            continue
        if heading:
            _check_header(raw, feed.first, bad)
            heading = False
            continue
        fault = _fault(raw, cells, width, layout, max_cell)
        if fault is None:
            yield Row(feed.first, dict(zip(names, cells, strict=True)))
        else:
            bad.add(feed.first, *fault)


def _swallowed(taken: list[str], layout: Layout) -> bool:
    """Whether most lines inside a long row would be rows themselves."""
    inner = taken[1:-1]
    if len(layout.columns) < 2:
        return True
    return 2 * sum(line.count(layout.delimiter) == len(layout.columns) - 1 for line in inner) > len(inner)


def _check_header(raw: str, line: int, bad: BadRows) -> None:
    if "\0" in raw or has_surrogate(raw):
        bad.stop(line, "the header contains a NUL character or bytes that are not in the file's encoding",
                 "is the file damaged, or in another encoding (--encoding)?")


def _fault(raw: str, cells: list[str], width: int, layout: Layout, max_cell: int) -> tuple[str, str | None] | None:
    """Why a row cannot be used, with a hint where there is a better one than the usual."""
    if len(cells) != width:
        found = f"{len(cells)} cell{'s' if len(cells) != 1 else ''} where the header has {width}"
        extra = f"a cell with {layout.delimiter!r} in it needs quotes around it" if len(cells) > width else None
        return found, extra
    if "\0" in raw:
        return "the row contains a NUL character", "is the file damaged, or in another encoding (--encoding)?"
    if not raw.isascii() and has_surrogate(raw):
        return "the row contains bytes that are not in the file's encoding", None
    if len(raw) > max_cell:
        try:
            for cell in cells:
                check_string(cell, max_cell)
        except BadValue as error:
            return str(error), None
    return None


def _broken(feed: _Feed, error: Exception, bad: BadRows, heading: bool, max_cell: int) -> None:
    line, count = feed.first, len(feed.taken)
    if type(feed.taken[-1]) is LongLine and count == 1:
        reason, hint = f"a line of more than {max_cell * LINES_PER_CELL:,} characters", "is this the right kind of file?"
    elif isinstance(error, _Runaway):
        reason = f"a quote opened in the row that starts here is not closed: it runs over {count:,} lines and swallows rows"
        hint = "close the quote, or double the quotes inside the cell"
    elif "end of data" in str(error):
        reason, hint = "a quote opened in the row that starts here is never closed", "close the quote at the end of the cell"
    else:
        reason, hint = "text follows the closing quote of a cell", "double the quotes inside a quoted cell"
    if heading:
        bad.stop(line, f"the header cannot be read: {reason}", hint)
    bad.add(line, reason, hint)
    feed.keep_first()
