"""Bytes to text and back without losing one: the encoding and the byte-order mark are kept."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from ...errors import DataError

MAX_BYTES = 64 * 2**20
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SURROGATE = re.compile("[\ud800-\udfff]")
_HINT = "save the file as UTF-8"


@dataclass(frozen=True)
class Encoded:
    """A decoded file: its text, and what turns the text back into the same bytes."""

    text: str
    encoding: str
    bom: bytes

    @property
    def newline(self) -> str:
        """The line ending that the file uses; the first one counts."""
        at = self.text.find("\n")
        return "\r\n" if at > 0 and self.text[at - 1] == "\r" else "\n"

    def encode(self, text: str) -> bytes:
        """`text` in the encoding of the file, with its byte-order mark."""
        return self.bom + text.encode(self.encoding)

    def objection(self, text: str) -> str | None:
        """Why the encoding cannot hold `text`, or None."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError as error:
            return f"its character {text[error.start]!a} does not exist in the file's encoding {self.encoding}"
        return None


def decode(raw: bytes, name: str, declared: str | None = None) -> Encoded:
    """Text of `raw`: by byte-order mark, else as `declared`, else UTF-16 where every other byte is zero, else UTF-8.

    Raises DataError above 64 MiB, for bytes that are not in the encoding (with the line), and for an unknown encoding.
    """
    if len(raw) > MAX_BYTES:
        raise DataError(f"{name} has {len(raw):,} bytes; a localisation file may have {MAX_BYTES:,}", hint="split the file")
    bom, encoding = next(((mark, codec) for mark, codec in _BOMS if raw.startswith(mark)), (b"", ""))
    encoding = encoding or _canonical(declared, name) or _bare_utf16(raw) or "utf-8"
    try:
        text = raw[len(bom):].decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start + len(bom)) + 1
        raise DataError(f"{name}, line {line}: bytes at offset {error.start + len(bom):,} are not {encoding}", hint=_HINT) from error
    encoded = Encoded(text, encoding, bom)
    try:
        same = encoded.encode(text) == raw
    except UnicodeEncodeError:
        same = False
    if not same:
        raise DataError(f"{name}: its encoding {encoding} does not give the same bytes back when written", hint=_HINT)
    return encoded


def read_bytes(path: str) -> bytes:
    """The bytes of a file of at most 64 MiB; DataError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read: {reason}", hint="is the path right?") from error
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes", hint="split the file")
    return raw


def has_lone_surrogate(text: str) -> bool:
    """Whether half of a surrogate pair stands alone: no encoding can hold it."""
    return _SURROGATE.search(text) is not None


def _canonical(declared: str | None, name: str) -> str | None:
    if declared is None:
        return None
    try:
        info = codecs.lookup(declared)
    except (LookupError, ValueError) as error:
        raise DataError(f"{name} says that its encoding is '{declared[:40]}', which is not known", hint=_HINT) from error
    # Without a byte-order mark "utf-16" would write one; and codecs such as rot13 or zlib are no text encodings.
    if not getattr(info, "_is_text_encoding", True) or info.name in ("utf-7", "punycode", "idna", "unicode_escape", "raw_unicode_escape"):
        raise DataError(f"{name} says that its encoding is '{declared[:40]}', which is none for text files", hint=_HINT)
    return {"utf-16": None, "utf-8-sig": "utf-8", "utf-32": None}.get(info.name, info.name)


def _bare_utf16(raw: bytes) -> str | None:
    head = raw[:200]
    if len(head) < 4 or len(raw) % 2:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd > len(head) * 0.35 and not even:
        return "utf-16-le"
    return "utf-16-be" if even > len(head) * 0.35 and not odd else None
