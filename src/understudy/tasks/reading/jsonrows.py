"""Rows of JSON and JSONL: one object per row, decoded strictly, a document never held whole where it can be avoided.

    [{…}, {…}]               read object by object
    {"data": [{…}, {…}]}     the same
    {"text": […], "label": […]}   columns; held whole, up to 256 million characters
    {…}\\n{…}\\n                JSONL
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .encodings import LongLine
from .problems import BadRows, BadValue, Row, checked, has_surrogate

MAX_DOCUMENT = 256_000_000
LINES_PER_CELL = 4
_MAX_DIGITS = 1000
_SPACE = re.compile(r"[ \t\n\r]*")
_DATA = re.compile(r'\s*\{\s*"data"\s*:\s*\[')
_TOO_DEEP = "the JSON is nested too deeply"
_FLAT = 'write flat rows like {"text": "…", "label": "…"}'


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValue(f"the key {twice[:80]!r} stands twice in one object", "keep one of them")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise BadValue(f"an integer of {len(digits):,} digits", "write it as a string")
    return int(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=lambda _: math.nan)
"""Refuses keys that stand twice and monstrous integers (BadValue); NaN and Infinity are missing values."""


def jsonl_rows(lines: Iterator[str], bad: BadRows, max_cell: int) -> Iterator[Row]:
    """One object per line; blank lines are no rows."""
    for number, line in enumerate(lines, 1):
        if type(line) is LongLine:
            bad.add(number, f"a line of more than {max_cell * LINES_PER_CELL:,} characters",
                    "is this one JSON document? then name it .json")
        elif line.strip():
            try:
                yield Row(number, _row(_decode_line(line), max_cell))
            except BadValue as error:
                bad.add(number, str(error), error.hint)


def json_rows(pieces: Iterator[str], head: str, bad: BadRows, max_cell: int) -> Iterator[Row]:
    """The rows of one JSON document, whose first characters are `head`. Raises DataError where it is malformed."""
    buffer = _Buffer(pieces, max_cell * LINES_PER_CELL, bad)
    wrapped = _DATA.match(head)
    if wrapped:
        buffer.advance(wrapped.end())
        yield from _elements(buffer, max_cell)
        _rest_of_object(buffer)
    elif buffer.peek() == "[":
        buffer.advance(1)
        yield from _elements(buffer, max_cell)
    else:
        yield from _whole(buffer, max_cell)
    if buffer.peek():
        bad.stop(buffer.line, "something follows the end of the JSON document",
                 "one object per line is JSONL: name the file .jsonl")


class _Buffer:
    """The part of a document that is not yet decoded, and the line it starts on."""

    def __init__(self, pieces: Iterator[str], limit: int, bad: BadRows) -> None:
        self._pieces, self.limit, self.bad = pieces, limit, bad
        self.text, self.at, self.line = "", 0, 1

    def more(self) -> bool:
        """Append the next piece; False at the end of the document."""
        piece = next(self._pieces, "")
        self.text, self.at = self.text[self.at:] + piece, 0
        return bool(piece)

    def advance(self, count: int) -> None:
        while len(self.text) - self.at < count and self.more():
            pass
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def peek(self) -> str:
        """The next character that is not white space, which is then the first; "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.advance(match.end() - self.at if match else 0)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> object:
        """The JSON value that starts here. Raises DataError where it is malformed, refused or over the limit."""
        while True:
            try:
                found, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > self.limit:
                    self.bad.stop(self.line, f"one object is longer than {self.limit:,} characters, or a quote in it "
                                             "is never closed", "write it with a JSON library, or shorten the text")
                if _may_go_on(error) and self.more():
                    continue
                self.bad.stop(self.line + self.text.count("\n", self.at, error.pos), *_why(error))
            except BadValue as error:
                self.bad.stop(self.line, str(error), error.hint)
            except RecursionError:
                self.bad.stop(self.line, _TOO_DEEP, _FLAT)
            # a number that ends with the piece may go on in the next
            if end < len(self.text) or not self.more():
                self.advance(end - self.at)
                return found

    def rest(self) -> str:
        """Everything from here on, consumed."""
        while self.more():
            if len(self.text) > MAX_DOCUMENT:
                self.bad.stop(self.line, f"one JSON object of more than {MAX_DOCUMENT:,} characters",
                              "write one object per line (JSONL), which is read piece by piece")
        text, self.text = self.text, ""
        return text


def _may_go_on(error: json.JSONDecodeError) -> bool:
    """Whether more text could mend it: an open string, or a fault within the last characters."""
    return error.msg.startswith("Unterminated string") or len(error.doc) - error.pos < 16


def _why(error: json.JSONDecodeError) -> tuple[str, str | None]:
    """What is wrong with the JSON and, for the usual slips, what to do."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos: error.pos + 1]
    if error.msg == "Extra data":
        if after == ",":
            return "a comma follows the object", "one object per line, without commas between them"
        return "more than one JSON value on the line", "put each object on a line of its own"
    if error.msg.startswith("Illegal trailing comma") or (before.endswith(",") and after in ("}", "]")):
        return "a comma stands before a closing bracket", "remove the comma"
    if after == "'":
        return "not valid JSON: names and strings need double quotes, not single ones", "write it with a JSON library"
    return f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}", "write it with a JSON library"


def _decode_line(line: str) -> object:
    """The value on one line, or BadValue."""
    if has_surrogate(line):
        raise BadValue("the line contains bytes that are not in the file's encoding")
    try:
        return DECODER.decode(line)
    except json.JSONDecodeError as error:
        reason, hint = _why(error)
        raise BadValue(f"{reason} (column {error.colno})", hint) from error
    except RecursionError as error:
        raise BadValue(_TOO_DEEP, _FLAT) from error


def _row(value: object, max_cell: int) -> dict[str, object]:
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a number")
        raise BadValue(f"the row is {kind}, not an object", _FLAT)
    return checked(value, max_cell)


def _elements(buffer: _Buffer, max_cell: int) -> Iterator[Row]:
    """The objects of an array up to its closing bracket, which is consumed."""
    bad, following = buffer.bad, buffer.peek()
    while following != "]":
        if not following:
            bad.stop(buffer.line, "the file ends before the JSON array is closed", "is the file cut off?")
        line, found = buffer.line, buffer.value()
        try:
            row = Row(line, _row(found, max_cell))
        except BadValue as error:
            bad.add(line, str(error), error.hint)
        else:
            yield row
        following = buffer.peek()
        if following == ",":
            buffer.advance(1)
            following = buffer.peek()
            if following == "]":
                bad.stop(buffer.line, "a comma stands before the closing bracket of the array", "remove the comma")
        elif following not in ("]", ""):
            bad.stop(buffer.line, "a comma is missing between two elements of the array",
                     "one object per line, without brackets, is JSONL: name the file .jsonl")
    buffer.advance(1)


def _rest_of_object(buffer: _Buffer) -> None:
    """What stands behind the rows of {"data": […]}; it must be JSON, and is not used."""
    line, following = buffer.line, buffer.peek()
    if following == "}":
        buffer.advance(1)
    elif following == ",":
        buffer.advance(1)
        _document("{" + buffer.rest(), line, buffer.bad)
    else:
        buffer.bad.stop(buffer.line, "the JSON object around the rows is not closed", "is the file cut off?")


def _document(text: str, line: int, bad: BadRows) -> object:
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        bad.stop(line + error.lineno - 1, *_why(error))
    except BadValue as error:
        bad.stop(line, str(error), error.hint)
    except RecursionError:
        bad.stop(line, _TOO_DEEP, _FLAT)


def _whole(buffer: _Buffer, max_cell: int) -> Iterator[Row]:
    """The rows of a document that is one object: its "data", or its columns. Their "line" is the row's number."""
    bad, line = buffer.bad, buffer.line
    found = _document(buffer.rest(), line, bad)
    rows = _as_rows(found, bad)
    bad.unit = "row"
    for number, value in enumerate(rows, 1):
        try:
            row = Row(number, _row(value, max_cell))
        except BadValue as error:
            bad.add(number, str(error), error.hint)
        else:
            yield row


def _as_rows(found: object, bad: BadRows) -> Iterable[object]:
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        return found["data"]
    if not isinstance(found, dict) or not found or not all(isinstance(value, list) for value in found.values()):
        what = f"an object with the keys {', '.join(map(repr, list(found)[:5]))}" if isinstance(found, dict) else "one value"
        bad.stop(1, f"the JSON is {what}, not rows",
                 'write [{"text": "…", "label": "…"}, …], {"data": […]}, or {"text": […], "label": […]}')
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        bad.stop(1, f"the columns have different lengths: {', '.join(f'{n[:40]!r} {c:,}' for n, c in lengths.items())}",
                 "every column needs a value for every row")
    return (dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True))
