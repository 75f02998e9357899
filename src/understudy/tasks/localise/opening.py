"""Open a localisation file: the format is found by extension and content."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import PurePath
from pkgutil import iter_modules
from types import ModuleType

from ...errors import DataError, UsageError
from . import formats
from .document import Document
from .textfile import MAX_BYTES, decode, read_bytes

_HEAD = 4000


def known_formats() -> list[ModuleType]:
    """The modules in `formats/`, by name."""
    return [import_module(f"{formats.__name__}.{found.name}") for found in iter_modules(formats.__path__)]


def extensions() -> list[str]:
    """Every file name ending that some format reads, with the dot, sorted."""
    return sorted({ending for module in known_formats() for ending in module.EXTENSIONS})


def open_document(path_or_bytes: str | os.PathLike[str] | bytes, name: str | None = None) -> Document:
    """Parse a file (a path) or its bytes (then `name` gives the extension and stands in messages).

    The extension decides where the content agrees; otherwise the content does, or the extension where nothing fits.
    Raises DataError for a file that cannot be read, is too large or broken, and UsageError where no format fits.
    """
    if isinstance(path_or_bytes, bytes):
        raw, name = path_or_bytes, name or "<bytes>"
    else:
        path = os.fspath(path_or_bytes)
        raw, name = read_bytes(path), name or path
    return _format_of(raw, name).parse(raw, name)


def _format_of(raw: bytes, name: str) -> ModuleType:
    if len(raw) > MAX_BYTES:
        raise DataError(f"{name} has {len(raw):,} bytes; a localisation file may have {MAX_BYTES:,}", hint="split the file")
    ending = PurePath(name).suffix.lower()
    modules = known_formats()
    named = [module for module in modules if ending in module.EXTENSIONS]
    head = _head(raw, name)
    claimed = [module for module in modules if head is not None and module.claims(head)]
    for choice in ([module for module in named if module in claimed], claimed, named):
        if len(choice) == 1:
            return choice[0]
    raise UsageError(f"{name}: '{ending or name}' is no localisation file that is known, and its beginning does not tell",
                     hint=f"known endings: {', '.join(extensions())}")


def _head(raw: bytes, name: str) -> str | None:
    try:
        return decode(raw, name).text[:_HEAD]
    except DataError:
        # The format may know the encoding better (a PO header, an XML declaration): ASCII is enough to recognise it.
        return raw[:_HEAD].decode("ascii", "replace")
