"""JSON: every string value, in nested objects and arrays; also Chrome's `message` and FormatJS's `defaultMessage` objects."""

from __future__ import annotations

from ..document import Document, Entry
from ..jsonspans import Leaf, json_document, plural_of, scan, usable
from ..textfile import decode

NAME = "JSON"
EXTENSIONS = (".json",)
_TEXT_KEYS = ("message", "defaultMessage")


def claims(head: str) -> bool:
    """Does text that begins so look like JSON that is no ARB?"""
    return head.lstrip()[:1] in ("{", "[") and '"@@' not in head


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """An entry for every string value. Raises DataError with the line where it is no JSON or nested too deep."""
    encoded = decode(raw, name)
    leaves = scan(encoded, name)
    paths = {leaf.path for leaf in leaves}
    about = {leaf.path[:-1]: leaf.value for leaf in leaves if leaf.path and leaf.path[-1] == "description"}
    messages = {leaf.path[:-1] for leaf in leaves if leaf.path and leaf.path[-1] in _TEXT_KEYS}
    described = {path for path in messages if path in about} | (messages & _with_placeholders(leaves))
    entries = []
    for leaf in leaves:
        data = _is_data(leaf, described)
        entries.append(Entry(leaf.key, leaf.value, None, about.get(leaf.path[:-1], "") if leaf.path[:-1] in described and not data else "",
                             plural_of(leaf.path, paths), translatable=not data and usable(leaf.value), line=leaf.line))
    return json_document(name, NAME, encoded, leaves, entries)


def _with_placeholders(leaves: list[Leaf]) -> set[tuple[str | int, ...]]:
    return {leaf.path[:leaf.path.index("placeholders")] for leaf in leaves if "placeholders" in leaf.path}


def _is_data(leaf: Leaf, described: set[tuple[str | int, ...]]) -> bool:
    """Descriptions and placeholders beside a described message are for developers."""
    for cut in range(len(leaf.path)):
        if leaf.path[:cut] in described:
            return leaf.path[cut] not in _TEXT_KEYS
    return False
