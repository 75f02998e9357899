"""Plain text out of a file, whole, and cut into blocks that stay together."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from ...errors import DataError, UsageError

_BLOCK = 4000
"""Characters of plain text that stay together in one split."""
_MOST = 2_000_000_000


def read_text(path: str | os.PathLike[str], encoding: str | None = None) -> str:
    """The text of a file, `.gz` unpacked; UTF-8, or UTF-16 with a byte order mark, where no encoding is named.

    Raises UsageError for a file that cannot be opened, DataError for one that is empty, too long or not text.
    """
    try:
        with gzip.open(path) if os.fspath(path).endswith(".gz") else Path(path).open("rb") as file:
            raw = file.read(_MOST + 1)
    except (OSError, EOFError) as problem:
        raise UsageError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    if len(raw) > _MOST:
        raise DataError(f"{path} has more than {_MOST:,} bytes, and plain text is read whole", hint="split it")
    if not raw.strip():
        raise DataError(f"{path} is empty")
    if b"\0" in raw[:100_000] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is not text: it holds NUL bytes")
    if encoding is None:
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except (UnicodeDecodeError, LookupError) as problem:
        raise DataError(f"{path} is not {encoding.removesuffix('-sig')}: {problem}", hint="name its encoding: --encoding windows-1252") from None


def blocks(text: str) -> list[str]:
    """Stretches of some 4,000 characters that end at a blank line where there is one."""
    found, at = [], 0
    while at < len(text):
        end = at + _BLOCK
        if end < len(text):
            border = max(text.rfind("\n\n", at + _BLOCK // 2, end), text.rfind("\n", at + _BLOCK * 3 // 4, end))
            end = border + 1 if border > 0 else end
        block = text[at:end].strip("\n")
        if block.strip():
            found.append(block)
        at = end
    return found
