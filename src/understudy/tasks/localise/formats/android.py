"""Android `strings.xml`: `string`, `string-array` and `plurals`; a target takes the place of its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ....errors import DataError
from ..document import Document, Edit, Entry, Lines, Target
from ..textfile import has_lone_surrogate
from ..xmlspans import Content, Node, content_objection, read_content, read_xml, write_content

NAME = "Android strings"
EXTENSIONS = (".xml",)
_REFERENCE = re.compile(r"[@?](?:\+?[a-z][\w.]*:)?[a-z]+/[\w.]+|@null|@empty")
_PIECE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)|(\")|([ \t\n\r\f\v]+)|([^\\\" \t\n\r\f\v]+)|\\", re.S)
_UNESCAPED = {"n": "\n", "t": "\t"}
_TAG = re.compile(r"(<!--.*?-->|<!\[CDATA\[.*?\]\]>|<(?=[/A-Za-z_])(?:[^>\"']|\"[^\"]*\"|'[^']*')*+>)", re.S)
_ESCAPES = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\u000d", "\f": "\\u000c", "\v": "\\u000b"}
_SPACES = re.compile(" +")


def claims(head: str) -> bool:
    """Does text that begins so look like an Android resource file?"""
    return ("<resources" in head and "<?xml" in head) or head.lstrip("\ufeff \r\n\t").startswith("<resources")


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """Entries of every string, array item and plural. Raises DataError for broken XML, a DTD, or another root."""
    encoded, root = read_xml(raw, name)
    text = encoded.text
    if root.local != "resources":
        raise DataError(f"{name}: the root element is <{root.name}>, not <resources>", hint="is this an Android strings.xml?")
    slots: list[tuple[Node, Content]] = []
    entries, lines, comments = [], Lines(text), _comments(text, root)
    for node in root.children:
        for key, plural, holder in _values(node):
            content = read_content(text, holder)
            value = _by_text(content, content.text, unescape_android)
            slots.append((holder, content))
            fixed = node.attribute("translatable") == "false" or holder.attribute("translatable") == "false"
            entries.append(Entry(key, value, None, comments.get(node.start, ""), plural,
                                 translatable=not fixed and not _REFERENCE.fullmatch(value) and not has_lone_surrogate(value),
                                 markup=content.markup, line=lines.at(holder.start)))

    def plan(targets: Mapping[int, Target]) -> list[Edit]:
        out = []
        for index, target in targets.items():
            node, content = slots[index]
            inner = write_content(_by_text(content, target.text, escape_android), content, encoded.newline)
            if node.empty:
                out.append(Edit(text.rindex("/", node.start, node.end), node.end, 0, f">{inner}</{node.name}>"))
            else:
                out.append(Edit(node.inner_start, node.inner_end, 0, inner))
        return out

    return Document(name, NAME, encoded, entries, plan, lambda index, value: content_objection(value, slots[index][1]))


def _values(node: Node) -> list[tuple[str, str | None, Node]]:
    key = node.attribute("name") or ""
    items = [child for child in node.children if child.local == "item"]
    if node.local == "string":
        return [(key, None, node)]
    if node.local in ("string-array", "array"):
        return [(f"{key}[{place}]", None, item) for place, item in enumerate(items)]
    if node.local == "plurals":
        return [(key, item.attribute("quantity"), item) for item in items]
    return []


def _comments(text: str, root: Node) -> dict[int, str]:
    """Start of an element -> the comments right before it."""
    out, at = {}, root.inner_start
    for node in root.children:
        found = re.findall(r"<!--(.*?)-->", text[at:node.start], re.S)
        if found:
            out[node.start] = "\n".join(one.strip() for one in found)
        at = node.end
    return out


def _by_text(content: Content, value: str, change: Callable[[str, bool, bool], str]) -> str:
    """`change(piece, a tag before it, a tag behind it)` on the text between tags, the tags themselves left alone."""
    if not content.markup:
        return change(value, False, False)
    pieces = _TAG.split(value)
    last = len(pieces) - 1
    return "".join(piece if place % 2 or not piece else change(piece, place > 0, place < last) for place, piece in enumerate(pieces))


def unescape_android(raw: str, before: bool = False, behind: bool = False) -> str:
    r"""The text that an app shows: white space outside quotes is one space, `\'`, `\n`, `\u0041` are undone.

    White space at the edges goes, but not where a tag stands `before` or `behind`.
    """
    out: list[str] = []
    quoted = False
    for found in _PIECE.finditer(raw):
        if found[1]:
            out.append(chr(int(found[1], 16)))
        elif found[2]:
            out.append(_UNESCAPED.get(found[2], found[2]))
        elif found[3]:
            quoted = not quoted
        elif found[4] and not quoted:
            inside = (found.start() > 0 or before) and (found.end() < len(raw) or behind)
            out.append(" " if inside else "")
        else:
            out.append(found[0])
    text = "".join(out)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if has_lone_surrogate(text) else text


def escape_android(text: str, before: bool = False, behind: bool = False) -> str:
    r"""`text` so that `unescape_android` gives it back: `'`, `"`, `\`, line ends, spaces at the edges, a leading `@` or `?`."""
    raw = "".join(_ESCAPES.get(char, char) for char in text)
    out = _SPACES.sub(lambda found: _keep(found, len(raw), before, behind), raw)
    return "\\" + out if out[:1] in ("@", "?") and not before else out


def _keep(found: re.Match[str], length: int, before: bool, behind: bool) -> str:
    """A run of spaces: one stays as it is where it would survive, the rest is written out."""
    kept = (found.start() > 0 or before) and (found.end() < length or behind)
    return (" " if kept else "\\u0020") + "\\u0020" * (len(found[0]) - 1)
