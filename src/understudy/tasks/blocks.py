"""The parts of a plain or Markdown text: headings, paragraphs, list items, tables, code; and its sections.

    blocks       every part, in order          paragraphs   the running text among them
    sections     what stands under each heading, the text before the first heading included

One pass over the lines, so the time grows with the length of the text. Positions are characters of the text as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})")
_ATX = re.compile(r"[ \t]{0,3}(#{1,6})(?:[ \t]+|$)")
_RULE = re.compile(r"[ \t]{0,3}([=\-~^*_+#])\1{2,}[ \t]*$")
_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦▪–]|\d{1,3}[.)]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{2,5})\))[ \t]+(?=\S)")
_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,4})\.?[ \t]+(?=[^\W\d_])")
_QUOTE = re.compile(r"[ \t]{0,3}>[ \t]?")
_ENDS = tuple(".!?…:;,。！？")
_LONGEST_HEADING = 120
_SCAN = 400


@dataclass(frozen=True, slots=True)
class Span:
    """Characters start..end of a text. `kind`: text, item, heading, table or code."""

    start: int
    end: int
    kind: str = "text"

    def of(self, text: str) -> str:
        """The characters themselves."""
        return text[self.start:self.end]


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading: the text from `start` (of the heading) to `end`, the body from `body`.

    `title` is "" for what precedes the first heading; `level` is 1 for the outermost headings, 0 without one.
    """

    title: str
    level: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    head: str
    """The first characters: what a line is shows there, and a line may be the whole text."""


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield _Line(start, end, text[start:min(end, start + _SCAN)])
        start = end + 1


def _heading(line: _Line, before: _Line | None, after: _Line | None) -> bool:
    """Whether a plain line between blank lines is a heading: numbered, or in capitals, and short."""
    words = line.head.strip()
    if not 2 < len(words) <= _LONGEST_HEADING or line.end - line.start > _SCAN or (before and before.head.strip()):
        return False
    if after is not None and after.head.strip():
        return False
    if words.endswith(_ENDS):
        return False
    return bool(_NUMBERED.match(words)) or (words.isupper() and sum(c.isalpha() for c in words) > 3)


def _spare(text: str, start: int, end: int, kind: str) -> Span | None:
    """The span without white space at its ends, or None where nothing is left."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left == len(piece):
        return None
    return Span(start + left, end - (len(piece) - len(piece.rstrip())), kind)


def blocks(text: str) -> list[Span]:
    """Every part of the text, in order. Markers (#, -, 1., >) and rules stand outside; a code block is one part, fences and all."""
    return [span for span, _ in _blocks(text)]


def _blocks(text: str) -> list[tuple[Span, int]]:
    """The parts with the level of each heading (0 elsewhere)."""
    return _Reader(text).read()


class _Reader:
    """Walks over the lines once; `start`, `kind` are those of the part that is open."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.out: list[tuple[Span, int]] = []
        self.start, self.end, self.kind = -1, -1, ""
        self.underlines: dict[str, int] = {}

    def close(self) -> None:
        if self.start >= 0 and (span := _spare(self.text, self.start, self.end, self.kind)):
            self.out.append((span, 0))
        self.start = -1

    def add(self, start: int, end: int, kind: str, level: int = 0) -> None:
        if span := _spare(self.text, start, end, kind):
            self.out.append((span, level))

    def read(self) -> list[tuple[Span, int]]:
        before: _Line | None = None
        fence = ""
        lines = _lines(self.text)
        line = next(lines, None)
        while line is not None:
            after = next(lines, None)
            if fence:
                self.end = line.end
                if line.head.strip().startswith(fence) and not line.head.strip().strip(fence[0]):
                    self.close()
                    fence = ""
            elif found := _FENCE.match(line.head):
                self.close()
                fence, self.start, self.end, self.kind = found[1], line.start, line.end, "code"
            else:
                self._plain(line, before, after)
            before, line = line, after
        self.close()
        return self.out

    def _plain(self, line: _Line, before: _Line | None, after: _Line | None) -> None:
        head = line.head
        if not head.strip():
            self.close()
        elif found := _ATX.match(head):
            self.close()
            self.add(line.start + found.end(), line.end, "heading", len(found[1]))
        elif found := _RULE.match(head):
            self._rule(found[1], before)
        elif head.lstrip().startswith("|"):
            self._more(line, 0, "table")
        elif _heading(line, before, after):
            self.close()
            found = _NUMBERED.match(head.strip())
            self.add(line.start, line.end, "heading", found[1].count(".") + 1 if found else 1)
        elif found := _ITEM.match(head):
            self.close()
            self._more(line, found.end(), "item")
        else:
            mark = _QUOTE.match(head)
            self._more(line, mark.end() if mark and self.start < 0 else 0, "text")

    def _more(self, line: _Line, skip: int, kind: str) -> None:
        if self.start >= 0 and (kind == "table") != (self.kind == "table"):
            self.close()
        if self.start < 0:
            self.start, self.kind = line.start + skip, kind
        self.end = line.end

    def _rule(self, mark: str, before: _Line | None) -> None:
        """A line of one character: under a single short line it makes that line a heading, elsewhere it is a rule."""
        lone = self.start >= 0 and before is not None and self.kind == "text" and before.start <= self.start
        if lone and self.end - self.start <= _LONGEST_HEADING:
            level = self.underlines.setdefault(mark, 1 if mark == "=" else len(self.underlines) + 1)
            self.add(self.start, self.end, "heading", level)
            self.start = -1
        self.close()


def paragraphs(text: str) -> list[Span]:
    """The running text and the list items, in order; headings, tables and code are left out."""
    return [span for span in blocks(text) if span.kind in ("text", "item")]


def sections(text: str) -> list[Section]:
    """The sections in order; together they are the whole text. A text without headings is one section."""
    heads = [(span, level) for span, level in _blocks(text) if span.kind == "heading"]
    starts = [text.rfind("\n", 0, span.start) + 1 for span, _ in heads]
    out = []
    if not heads or text[: starts[0]].strip():
        out.append(Section("", 0, 0, 0, starts[0] if heads else len(text)))
    for place, ((span, level), start) in enumerate(zip(heads, starts, strict=True)):
        end = starts[place + 1] if place + 1 < len(heads) else len(text)
        out.append(Section(span.of(text), level, 0 if not out else start, min(span.end, end), end))
    return out
