"""JSON as spans of text: every string with its path and its place. Our own scan, as `json` says nothing about places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import DataError
from .document import MAX_ENTRIES, Document, Edit, Entry
from .textfile import Encoded, has_lone_surrogate

MAX_DEPTH = 32
_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null")
CATEGORIES = ("zero", "one", "two", "few", "many", "other")
_SUFFIX = re.compile(r"_(zero|one|two|few|many|other)$")


@dataclass(frozen=True)
class Leaf:
    """One string value: path from the root (names and positions), value, text[start:end] with its quotes, line."""

    path: tuple[str | int, ...]
    value: str
    start: int
    end: int
    line: int

    @property
    def key(self) -> str:
        """The path as people write it: `menu.items[0]`."""
        out = ""
        for step in self.path:
            out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
        return out


def scan(encoded: Encoded, name: str) -> list[Leaf]:
    """Every string value, in order. Raises DataError with the line where it is no JSON, too deep, or has too many values."""
    return list(_Scanner(encoded.text, name).run())


class _Scanner:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at, self.line, self._counted = text, name, 0, 1, 0

    def run(self) -> Iterator[Leaf]:
        """Walk the text once, with a stack of our own: depth costs no recursion."""
        text = self.text
        path: list[str | int] = []  # one step for every open object or array
        closers: list[str] = []
        count = 0
        while True:
            self._skip()
            char = text[self.at:self.at + 1]
            if char in ("{", "["):
                if len(closers) >= MAX_DEPTH:
                    raise self._error(f"nested more than {MAX_DEPTH} deep", "is this a localisation file?")
                self.at += 1
                closers.append("}" if char == "{" else "]")
                if not self._closes(closers[-1]):
                    path.append(self._name() if char == "{" else 0)
                    continue
                closers.pop()
            elif char == '"':
                start, line = self.at, self._line()
                value = self._string("a string")
                yield Leaf(tuple(path), value, start, self.at, line)
            else:
                self._scalar()
            count += 1
            if count > MAX_ENTRIES:
                raise self._error(f"more than {MAX_ENTRIES:,} values", "split the file")
            if not self._next(path, closers):
                return

    def _next(self, path: list[str | int], closers: list[str]) -> bool:
        """Go on behind a value; False at the end of the file."""
        while closers:
            self._skip()
            if self.text[self.at:self.at + 1] == ",":
                self.at += 1
                step = path[-1]
                if self._closes(closers[-1]):
                    raise self._error("a comma before the closing bracket", "JSON allows none there: remove it")
                path[-1] = step + 1 if isinstance(step, int) else self._name()
                return True
            if not self._closes(closers[-1]):
                raise self._error(f"expected ',' or '{closers[-1]}'", "is a comma or a quote missing?")
            closers.pop()
            path.pop()
        self._skip()
        if self.at < len(self.text):
            raise self._error("something follows the end of the JSON value", "one file holds one JSON value")
        return False

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _closes(self, closer: str) -> bool:
        self._skip()
        if self.text[self.at:self.at + 1] != closer:
            return False
        self.at += 1
        return True

    def _name(self) -> str:
        self._skip()
        out = self._string("a name in double quotes")
        self._skip()
        if self.text[self.at:self.at + 1] != ":":
            raise self._error("expected ':' after a name", 'write "name": "text"')
        self.at += 1
        return out

    def _string(self, what: str) -> str:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise self._error(f"expected {what}", "is a quote missing, or a line break or backslash not escaped? JSON has no comments")
        self.at = found.end()
        value = json.loads(found[0])
        return str(value)

    def _scalar(self) -> None:
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            raise self._error("expected a value",
                              "JSON has strings in double quotes, numbers, true, false, null, {…} and […], and no comments")
        self.at = found.end()

    def _line(self) -> int:
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line

    def _error(self, what: str, hint: str) -> DataError:
        near = " ".join(self.text[self.at:self.at + 20].split())
        place = f"at '{near}'" if near else "at the end of the file"
        return DataError(f"{self.name}, line {self._line()}: {what}, {place}", hint=hint)


def json_document(name: str, kind: str, encoded: Encoded, leaves: list[Leaf], entries: list[Entry]) -> Document:
    """A document whose entry i is written at leaf i."""
    ascii_only = encoded.text.isascii() and re.search(r"\\u[0-9a-fA-F]{4}", encoded.text) is not None
    slashes = "\\/" in encoded.text

    def text_of(value: str) -> str:
        out = json.dumps(value, ensure_ascii=ascii_only)
        return out.replace("/", "\\/") if slashes else out

    return Document(name, kind, encoded, entries,
                    lambda targets: [Edit(leaves[index].start, leaves[index].end, 0, text_of(target.text))
                                     for index, target in targets.items()])


def plural_of(path: tuple[str | int, ...], siblings: set[tuple[str | int, ...]]) -> str | None:
    """The plural category that a path names: `items_one` beside `items_other`, or `items.one` beside `items.other`."""
    last = path[-1] if path else 0
    if not isinstance(last, str):
        return None
    found = _SUFFIX.search(last)
    if found and (*path[:-1], last[:found.start()] + "_other") in siblings:
        return found[1]
    return last if last in CATEGORIES and (*path[:-1], "other") in siblings else None


def usable(value: str) -> bool:
    """Whether a value is a text that can be handed on: half surrogate pairs cannot."""
    return not has_lone_surrogate(value)
