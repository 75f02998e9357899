"""Pairs of texts from files: TSV with escapes, and TMX 1.4."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import DataError
from .document import MAX_ENTRIES, Lines
from .textfile import decode, read_bytes
from .xmlspans import Node, read_xml, unescape

_ESCAPE = re.compile(r"\\([tnr\\])")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPED = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
_ANY_TAG = re.compile(r"<!--.*?-->|<(?:[^>\"']|\"[^\"]*\"|'[^']*')*+>", re.S)


def tsv_line(source: str, target: str) -> str:
    """One pair as a line."""
    return "\t".join("".join(_ESCAPES.get(char, char) for char in text) for text in (source, target)) + "\n"


def read_tsv(path: str) -> Iterator[tuple[str, str]]:
    """(source, target) of every line that is not empty. Raises DataError with the line where it has not two cells."""
    text = decode(read_bytes(path), path).text
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.removesuffix("\r").split("\t")
        if cells == [""]:
            continue
        count += 1
        if len(cells) != 2:
            raise DataError(f"{path}, line {number}: {len(cells)} cells, not 2",
                            hint="a line is source, tab, target; a tab in a text is written \\t")
        if count > MAX_ENTRIES:
            raise DataError(f"{path} has more than {MAX_ENTRIES:,} pairs", hint="split the file")
        source, target = (_ESCAPE.sub(lambda found: _UNESCAPED[found[1]], cell) for cell in cells)
        yield source, target


def read_tmx(path: str, source_language: str | None = None, target_language: str | None = None) -> Iterator[tuple[str, str]]:
    """(source, target) of every `tu` that has both languages.

    Without `source_language` the header's `srclang` counts; without `target_language` there may be one other language only.
    A region is left out of the comparison where the language asked for has none. Raises DataError for a broken file.
    """
    encoded, root = read_xml(read_bytes(path), path, doctype=True)
    if root.local != "tmx":
        raise DataError(f"{path}: the root element is <{root.name}>, not <tmx>", hint="is this a TMX file?")
    header = root.child("header")
    wanted = source_language or (header.attribute("srclang") if header else None) or "en"
    lines = Lines(encoded.text)
    for unit in root.walk():
        if unit.local != "tu":
            continue
        texts = [(_language(node), _text(encoded.text, node)) for node in unit.children if node.local == "tuv"]
        sources = [text for language, text in texts if _is(language, wanted)]
        others = [text for language, text in texts if (_is(language, target_language) if target_language else not _is(language, wanted))]
        if target_language is None and len({language for language, _text in texts if not _is(language, wanted)}) > 1:
            raise DataError(f"{path}, line {lines.at(unit.start)}: more than one language beside {wanted}",
                            hint="say which: target_language=\"de\"")
        if sources and others and sources[0] and others[0]:
            yield sources[0], others[0]


def _language(node: Node) -> str:
    return (node.attribute("xml:lang") or node.attribute("lang") or "").lower().replace("_", "-")


def _is(language: str, wanted: str) -> bool:
    wanted = wanted.lower().replace("_", "-")
    return language == wanted or ("-" not in wanted and language.partition("-")[0] == wanted)


def _text(document: str, node: Node) -> str:
    seg = node.child("seg")
    if seg is None:
        return ""
    return unescape(_ANY_TAG.sub("", document[seg.inner_start:seg.inner_end]))
