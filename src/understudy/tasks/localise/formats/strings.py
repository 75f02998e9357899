"""iOS and macOS `.strings`: `"key" = "value";` with C comments, in UTF-8 or UTF-16; a target takes the place of its source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ....errors import DataError
from ..document import MAX_ENTRIES, Document, Edit, Entry, Lines, Target
from ..textfile import decode, has_lone_surrogate

NAME = "iOS strings"
EXTENSIONS = (".strings",)
_TOKEN = re.compile(r"""(?P<space>[\s\u2028\u2029]++)|/\*(?P<block>.*?)\*/|//(?P<line>[^\n\r]*+)|"(?P<quoted>(?:[^"\\]|\\.)*+)\""""
                    r"""|(?P<bare>(?!/\*)[A-Za-z0-9_.$:/-]++)|(?P<mark>[=;])""", re.S)
_ESCAPE = re.compile(r"\\(?:[Uu]([0-9a-fA-F]{4})|([0-7]{1,3})|(.))", re.S)
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\U0000"}


def claims(head: str) -> bool:
    """Does text that begins so look like a .strings file?"""
    bare = re.sub(r"/\*.*?\*/|//[^\n]*", "", head, flags=re.S).lstrip()
    return re.match(r'(?:"(?:[^"\\]|\\.)*+"|[\w.]++)\s*+=\s*+"', bare) is not None


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """An entry for every pair. Raises DataError with the line where the pairs break off, and for property lists."""
    if raw.startswith(b"bplist"):
        raise DataError(f"{name} is a binary property list",
                        hint="convert it to text first: plutil -p shows it, the source .strings is text")
    encoded = decode(raw, name)
    if encoded.text.lstrip()[:1] in ("<", "{"):
        raise DataError(f"{name}, line 1: this is a property list, not \"key\" = \"value\"; lines", hint="use the .strings source file")
    spans: list[tuple[int, int]] = []
    entries: list[Entry] = []
    for entry, start, end in _pairs(encoded.text, name):
        if len(entries) >= MAX_ENTRIES:
            raise DataError(f"{name} has more than {MAX_ENTRIES:,} entries", hint="split the file")
        spans.append((start, end))
        entries.append(entry)

    def plan(targets: Mapping[int, Target]) -> list[Edit]:
        return [Edit(*spans[index], 0, f'"{escape_strings(target.text)}"') for index, target in targets.items()]

    return Document(name, NAME, encoded, entries, plan)


def _pairs(text: str, name: str) -> Iterator[tuple[Entry, int, int]]:
    lines, at, comment = Lines(text), 0, []
    pending: list[re.Match[str]] = []  # key, "=", value
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise DataError(f"{name}, line {lines.at(at)}: cannot be read at '{' '.join(text[at:at + 20].split())}'",
                            hint="is a quote missing, a comment left open, or a quote inside a text not written \\\"?")
        at = found.end()
        kind = found.lastgroup
        if kind in ("block", "line"):
            comment.append((found["block"] if found["line"] is None else found["line"]).strip())
        elif kind == "mark" and found["mark"] == ";":
            if not _complete(pending):
                raise DataError(f"{name}, line {lines.at(found.start())}: ';' without a whole \"key\" = \"value\" before it",
                                hint='write "key" = "value";')
            if len(pending) == 3:
                yield _entry(pending, "\n".join(comment), lines)
            pending, comment = [], []
        elif kind != "space":
            pending.append(found)
            if len(pending) > 3:
                raise DataError(f"{name}, line {lines.at(pending[3].start())}: expected ';' before '{found[0][:20]}'",
                                hint='every pair ends in ";"; a quote inside a text is written \\"')
    if pending:
        raise DataError(f"{name}, line {lines.at(pending[0].start())}: the last pair has no ';'", hint='write "key" = "value";')


def _complete(pending: list[re.Match[str]]) -> bool:
    kinds = ["mark" if found.lastgroup == "mark" else "text" for found in pending]
    return kinds in (["text"], ["text", "mark", "text"])


def _entry(pending: list[re.Match[str]], context: str, lines: Lines) -> tuple[Entry, int, int]:
    key, _, value = pending
    quoted = value["quoted"] is not None
    text = unescape_strings(value["quoted"] if quoted else value["bare"])
    name = unescape_strings(key["quoted"]) if key["quoted"] is not None else key["bare"]
    entry = Entry(name, text, None, context, translatable=quoted and not has_lone_surrogate(text), line=lines.at(value.start()))
    return entry, *value.span()


def unescape_strings(raw: str) -> str:
    r"""`\"`, `\n`, `\U00e9`, `\101` undone; pairs of surrogates joined."""
    def one(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return chr(int(found[2], 8) & 0xFF) if found[2] else _UNESCAPED.get(found[3], found[3])

    text = _ESCAPE.sub(one, raw)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if has_lone_surrogate(text) else text


def escape_strings(text: str) -> str:
    """`text` for between double quotes."""
    return "".join(_ESCAPES.get(char, char) for char in text)
