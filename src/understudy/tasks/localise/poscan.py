"""PO as spans of text: messages with the places of their comments, flags and strings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ...errors import DataError
from .document import MAX_ENTRIES

_QUOTED = re.compile(r'[ \t]*"((?:[^"\\]|\\.)*+)"[ \t]*$')
_KEYWORD = re.compile(r"(msgctxt|msgid_plural|msgid|msgstr|domain)(?:[ \t]*\[[ \t]*([0-9]{1,3})[ \t]*\])?[ \t]*(?=\")")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.S)
_UNESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_LINE = re.compile(r"([^\r\n]*+)(\r\n|\r|\n|$)")


@dataclass
class Field:
    """One `msgid`, `msgstr[1]`, …: its text, and text[start:end] from its first quote to its last."""

    pieces: list[str]
    start: int
    end: int
    line: int

    @cached_property
    def text(self) -> str:
        """The text of all its lines; to be read once the whole file is."""
        return "".join(self.pieces)


@dataclass
class Message:
    """One message; `comments` are (text after the mark, start, end with the line end) by kind: ' ' '.' ':' ',' '|'."""

    start: int = -1
    comments: list[tuple[str, str, int, int]] = field(default_factory=list)
    msgctxt: Field | None = None
    msgid: Field | None = None
    msgid_plural: Field | None = None
    msgstr: dict[int | None, Field] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """The flags of all `#,` lines."""
        return [flag.strip() for kind, text, _start, _end in self.comments if kind == "," for flag in text.split(",") if flag.strip()]


def scan(text: str, name: str) -> list[Message]:
    """Every message that is not obsolete, in order. Raises DataError with the line where the file breaks off its form."""
    scanner = _Scanner(text, name)
    scanner.run()
    return scanner.messages


def _lines(text: str) -> Iterator[tuple[int, int, str, int]]:
    """(number, start, text without its end, start of the next line)."""
    at = number = 0
    while at < len(text):
        found = _LINE.match(text, at)
        assert found is not None
        number += 1
        yield number, at, found[1], found.end()
        at = found.end()


class _Scanner:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.messages: list[Message] = []
        self.message = Message()
        self.last: Field | None = None

    def run(self) -> None:
        number = 0
        for number, start, line, after in _lines(self.text):
            bare = line.strip(" \t\f\v")
            if not bare:
                self._blank()
            elif bare[0] == "#":
                self._comment(bare, start, after)
            elif bare[0] == '"':
                self._continue(line, start, number)
            else:
                self._keyword(line, start, number)
        self._finish(number)

    def _blank(self) -> None:
        # Comments that end in a blank line stand for themselves (a header of the file, or the rest of an obsolete message).
        if self.message.msgid is None and self.message.msgctxt is None:
            self.message = Message()

    def _comment(self, bare: str, start: int, after: int) -> None:
        if self.message.msgstr:
            self._finish(0)
        self.last = None
        kind = bare[1:2] if bare[1:2] in (".", ":", ",", "|", "~") else " "
        if kind == "~":
            if self.message.msgid is None:
                self.message = Message()
            return
        self.message.comments.append((kind, bare[1 if kind == " " else 2:].strip(), start, after))

    def _continue(self, line: str, start: int, number: int) -> None:
        found = _QUOTED.match(line)
        if found is None:
            raise self._error(number, "a text in quotes that does not end", 'put " at its end; a quote inside is written \\"')
        if self.last is None:
            raise self._error(number, "a text in quotes that belongs to nothing", "it must follow msgid, msgstr or another such line")
        self.last.pieces.append(unescape(found[1]))
        self.last.end = start + found.end(1) + 1

    def _keyword(self, line: str, start: int, number: int) -> None:
        lead = len(line) - len(line.lstrip(" \t"))
        found = _KEYWORD.match(line, lead)
        quoted = _QUOTED.match(line, found.end()) if found else None
        if found is None or quoted is None:
            raise self._error(number, f"cannot be read: '{line.strip()[:40]}'",
                              'a line is a comment (#), msgctxt/msgid/msgid_plural/msgstr "…", or "…"')
        word, index = found[1], int(found[2]) if found[2] is not None else None
        if self.message.msgstr and word in ("msgctxt", "msgid", "domain"):
            self._finish(number)
        self.last = Field([unescape(quoted[1])], start + found.end(), start + quoted.end(1) + 1, number)
        if word != "domain":
            self._put(word, index, start + lead, number)

    def _put(self, word: str, index: int | None, start: int, number: int) -> None:
        assert self.last is not None
        message = self.message
        if message.start < 0:
            message.start = start
        if word == "msgstr":
            if message.msgid is None or index in message.msgstr or (index is None) != (message.msgid_plural is None):
                raise self._error(number, "msgstr where none fits", "msgid comes first; with msgid_plural it is msgstr[0], msgstr[1], …")
            message.msgstr[index] = self.last
        elif getattr(message, word) is not None or (word == "msgid_plural" and message.msgid is None):
            raise self._error(number, f"{word} where none fits", "is the msgstr of the message before missing?")
        else:
            setattr(message, word, self.last)

    def _finish(self, number: int) -> None:
        message, self.message, self.last = self.message, Message(), None
        if message.msgid is None and message.msgctxt is None:
            return
        if message.msgid is None or not message.msgstr:
            line = (message.msgid or message.msgctxt or Field([], 0, 0, number)).line
            raise self._error(line, "a message without " + ("msgid" if message.msgid is None else "msgstr"),
                              'add it; an empty one is msgstr ""')
        if len(self.messages) >= MAX_ENTRIES:
            raise self._error(number, f"more than {MAX_ENTRIES:,} messages", "split the file")
        self.messages.append(message)

    def _error(self, number: int, what: str, hint: str) -> DataError:
        return DataError(f"{self.name}, line {number}: {what}", hint=hint)


def unescape(raw: str) -> str:
    r"""C escapes undone: `\n`, `\"`, `\101`, `\x41`."""
    if "\\" not in raw:
        return raw

    def one(found: re.Match[str]) -> str:
        if found[1] or found[2]:
            return chr(int(found[1], 8) & 0xFF if found[1] else int(found[2], 16))
        return _UNESCAPED.get(found[3], found[3])

    return _ESCAPE.sub(one, raw)


def quote(text: str, newline: str, long: bool) -> str:
    """`text` as a PO string: one line, or (`long`, or with line breaks inside) an empty one and then a line for each."""
    lines = [escape(line) for line in text.splitlines(keepends=True)] if "\n" in text else [escape(text)]
    if len(lines) < 2 and not (long and len(text) > 60):
        return f'"{lines[0] if lines else ""}"'
    if len(lines) < 2:
        lines = [piece for piece in re.findall(r"(?:\S+\s*|\s+)", lines[0])]
        lines = _fill(lines)
    return newline.join(['""', *(f'"{line}"' for line in lines)])


def _fill(words: list[str]) -> list[str]:
    out = [""]
    for word in words:
        if out[-1] and len(out[-1]) + len(word.rstrip()) > 76:
            out.append("")
        out[-1] += word
    return out


def escape(text: str) -> str:
    r"""`text` for between quotes on one line."""
    out = "".join(_ESCAPES.get(char, char) for char in text).replace("\n", "\\n")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", out)
