"""XML as spans of text: where every element begins and ends, so that a value can be replaced and nothing else moves.

Expat says first whether the file is well-formed and free of declarations; after that a simple scan for tags is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from ...errors import DataError
from .document import MAX_ENTRIES
from .textfile import Encoded, decode

MAX_DEPTH = 100
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_TOKEN = re.compile(r"""<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<![^>]*>|"""
                    r"""<(?P<close>/?)(?P<name>[^\s/>!?][^\s/>]*+)(?P<attrs>(?:[^>"'/]|"[^"]*"|'[^']*'|/(?!>))*+)(?P<empty>/?)>""", re.S)
_ATTRIBUTE = re.compile(r"""([^\s=/]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#x([0-9a-fA-F]{1,6})|(lt|gt|amp|quot|apos));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_COMMENT = re.compile(r"<!--.*?-->|<\?.*?\?>", re.S)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BARE = re.compile(r"&(?!(?:lt|gt|amp|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")


@dataclass(slots=True, eq=False)
class Node:
    """One element: text[start:end] with its tags, text[inner_start:inner_end] without; `attrs_at` is where attributes begin."""

    name: str
    start: int
    attrs_at: int
    attrs: str
    inner_start: int
    inner_end: int = -1
    end: int = -1
    empty: bool = False
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def local(self) -> str:
        """The name without its namespace prefix."""
        return self.name.rpartition(":")[2]

    def attribute(self, name: str) -> str | None:
        """The value of an attribute (prefix and all), references resolved, or None."""
        for found in _ATTRIBUTE.finditer(self.attrs):
            if found[1] == name:
                return unescape(found[2] if found[2] is not None else found[3])
        return None

    def attribute_span(self, name: str) -> tuple[int, int] | None:
        """Where in the document the value of an attribute stands, without its quotes, or None."""
        for found in _ATTRIBUTE.finditer(self.attrs):
            if found[1] == name:
                start, end = found.span(2 if found[2] is not None else 3)
                return self.attrs_at + start, self.attrs_at + end
        return None

    def child(self, local: str) -> Node | None:
        """The first direct child of that local name."""
        return next((node for node in self.children if node.local == local), None)

    def walk(self) -> Iterator[Node]:
        """This element and all below it, in the order of the document."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += reversed(node.children)


@dataclass(frozen=True)
class Content:
    """What an element holds: plain text (references resolved), or a fragment with mark-up (verbatim)."""

    text: str
    markup: bool
    cdata: bool


def read_xml(raw: bytes, name: str, *, doctype: bool = False) -> tuple[Encoded, Node]:
    """Decoded text and root element. Raises DataError where it is broken, declares a DTD or entities, or is too deep or large.

    `doctype=True` lets a DOCTYPE pass that only names an outside DTD (TMX files have one); it is never fetched.
    """
    declared = _DECLARED.match(raw.removeprefix(b"\xef\xbb\xbf")[:400])
    encoded = decode(raw, name, declared[1].decode("ascii") if declared else None)
    _check(encoded.text, name, doctype)
    return encoded, _scan(encoded.text)


def _check(text: str, name: str, doctype: bool) -> None:
    parser = expat.ParserCreate("utf-8")
    depth = count = 0

    def refuse(what: str, hint: str) -> None:
        raise DataError(f"{name}, line {parser.CurrentLineNumber}: {what}", hint=hint)

    def start(_name: str, _attributes: object) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > MAX_DEPTH:
            refuse(f"elements are nested more than {MAX_DEPTH} deep", "is this a localisation file?")
        if count > MAX_ENTRIES:
            refuse(f"more than {MAX_ENTRIES:,} elements", "split the file")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def declared(_name: str, _system: str | None, _public: str | None, internal: bool) -> None:
        if internal or not doctype:
            refuse("a document type declaration (DTD) is not read: entities in it can blow a file up",
                   "remove the <!DOCTYPE …> part and write entities out")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = declared
    parser.EntityDeclHandler = lambda *_: refuse("entity declarations are not read", "remove the <!ENTITY …> part")
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise DataError(f"{name}, line {error.lineno}: not well-formed XML: {expat.ErrorString(error.code)}",
                        hint="open the file in an XML editor and mend this place") from error


def _scan(text: str) -> Node:
    top = Node("", 0, 0, "", 0, len(text), len(text))
    current = top
    for found in _TOKEN.finditer(text):
        if found["name"] is None:
            continue
        if found["close"]:
            current.inner_end, current.end = found.start(), found.end()
            current = current.parent or top
            continue
        node = Node(found["name"], found.start(), found.start("attrs"), found["attrs"], found.end(), parent=current)
        current.children.append(node)
        if found["empty"]:
            node.inner_end, node.end, node.empty = found.end(), found.end(), True
        else:
            current = node
    root = top.children[0]
    root.parent = None
    return root


def unescape(raw: str) -> str:
    """Character references and the five named entities resolved; line ends become \\n."""
    def one(found: re.Match[str]) -> str:
        if found[3]:
            return _NAMED[found[3]]
        code = int(found[1]) if found[1] else int(found[2], 16)
        return chr(code) if code < 0x110000 else found[0]

    return _REFERENCE.sub(one, raw.replace("\r\n", "\n").replace("\r", "\n"))


def escape(text: str) -> str:
    """Text for between tags or in double quotes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read_content(text: str, node: Node) -> Content:
    """What an element holds. With elements inside it stays an XML fragment, verbatim: `<`, `>`, `&` are mark-up there."""
    inner = text[node.inner_start:node.inner_end]
    if node.children:
        return Content(inner.replace("\r\n", "\n"), True, False)
    pieces, at = [], 0
    for found in _CDATA.finditer(inner):
        pieces += [unescape(_COMMENT.sub("", inner[at:found.start()])), found[1].replace("\r\n", "\n")]
        at = found.end()
    pieces.append(unescape(_COMMENT.sub("", inner[at:])))
    return Content("".join(pieces), False, at > 0 and not inner[at:].strip() and inner.lstrip().startswith("<![CDATA["))


def write_content(value: str, content: Content, newline: str) -> str:
    """`value` as it stands between the tags of an element that held `content`."""
    if content.markup:
        out = tidy(value)
    elif content.cdata:
        out = "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
    else:
        out = escape(value)
    return out.replace("\n", newline) if newline != "\n" else out


def tidy(fragment: str) -> str:
    """A fragment with its bare `&` and `<` escaped: those that begin no reference and no tag."""
    return re.sub(r"<(?![/A-Za-z!?_])", "&lt;", _BARE.sub("&amp;", fragment))


def content_objection(value: str, content: Content) -> str | None:
    """Why `value` cannot stand in an element that held `content`, in words, or None."""
    found = _NOT_XML.search(value)
    if found:
        return f"its character {found[0]!a} is not allowed in XML"
    if not content.markup:
        return None
    try:
        _check("<r>" + tidy(value) + "</r>", "the fragment", False)
    except DataError as error:
        return f"its tags do not fit together ({str(error).rpartition(': ')[2]})"
    return None
