"""Application Resource Bundle (Flutter): flat JSON with ICU messages; `@key` holds what the translator should know."""

from __future__ import annotations

from ....errors import DataError
from ..document import Document, Entry
from ..jsonspans import json_document, scan, usable
from ..textfile import decode

NAME = "ARB"
EXTENSIONS = (".arb",)


def claims(head: str) -> bool:
    """Can text that begins so be ARB? Only its `@@` keys tell it from other JSON, and it need not have one."""
    return head.lstrip()[:1] == "{"


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """An entry for every message; `@` keys are context. Raises DataError with the line where it is no JSON object."""
    encoded = decode(raw, name)
    if encoded.text.lstrip()[:1] != "{":
        raise DataError(f"{name}, line 1: an ARB file is one JSON object", hint="is this an ARB file?")
    leaves = scan(encoded, name)
    about = {str(leaf.path[0])[1:]: leaf.value for leaf in leaves
             if len(leaf.path) == 2 and str(leaf.path[0]).startswith("@") and leaf.path[1] == "description"}
    kept = [leaf for leaf in leaves if len(leaf.path) == 1 and not str(leaf.path[0]).startswith("@")]
    entries = [Entry(leaf.key, leaf.value, None, about.get(leaf.key, ""), None, translatable=usable(leaf.value), line=leaf.line)
               for leaf in kept]
    return json_document(name, NAME, encoded, kept, entries)
