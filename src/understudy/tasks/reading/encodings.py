"""Which encoding a file is in, and its text in pieces.

    byte order mark ──► UTF-16/32 without one, known by its NULs ──► UTF-8, checked to the last byte
    ──► an older encoding, guessed by charset_normalizer among the usual ones and checked to the last byte

A file that is mostly UTF-8 with a few stray bytes is damaged, not Windows-1252: guessing would garble the rest.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import DataError, UsageError
from .problems import or_skip
from .source import Reader, Source

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030",
               "big5", "cp949", "koi8_r"]
_PIECE = 1 << 18
_REGION = 4096
_DAMAGED_FROM = 3
_HINT = "name the file's encoding, for example --encoding cp1252, or save it again as UTF-8"


@dataclass(frozen=True)
class Encoding:
    """A codec by Python's name, how bytes that are not in it are treated, and a note for the reader of the report."""

    name: str
    errors: str = "strict"
    note: str | None = None


@dataclass(frozen=True)
class _Fault:
    """The first byte that is not in an encoding: its offset, its line, the bytes around it, and how many bytes more
    than characters there are before it (multi-byte characters that were right)."""

    offset: int
    line: int
    byte: int
    region: bytes
    extra_before: int


def find_encoding(source: Source, named: str | None, *, skipping: bool, max_line: int | None) -> Encoding:
    """The encoding of `source`; `named` is the user's word for it.

    A file is checked to its end; standard input only as far as its head goes. With `skipping`, stray bytes in UTF-8
    are let through as lone surrogates, so that their rows are skipped and counted. `max_line`: bytes without a line
    break after which DataError is raised, for formats made of lines. Raises UsageError for an unknown encoding,
    DataError naming the offset and the line where no encoding fits.
    """
    lenient = "surrogateescape" if skipping else "strict"
    if named is not None:
        return _named(source, named, lenient)
    for mark, name in _BOMS:
        if source.head.startswith(mark):
            return Encoding(name, lenient if name == "utf-8-sig" else "strict")
    wide = _wide(source.head)
    if wide:
        return Encoding(wide, note=f"no byte order mark; the pattern of NUL bytes shows {wide}")
    fault = _first_fault(source, "utf-8", max_line)
    if fault is None:
        return Encoding("utf-8", lenient)
    if fault.extra_before >= _DAMAGED_FROM:
        if skipping:
            return Encoding("utf-8", lenient)
        raise DataError(f"{source.name}, line {fault.line}: byte 0x{fault.byte:02x} at offset {fault.offset:,} is not "
                        "UTF-8, though the text before it is", hint="mend that row; " + _HINT)
    return _older(source, fault)


def decoded(reader: Reader, encoding: Encoding, name: str) -> Iterator[str]:
    """The text in pieces. Raises DataError with offset and line at a byte that is not in the encoding."""
    decoder = codecs.getincrementaldecoder(encoding.name)(encoding.errors)
    offset, line, data = 0, 1, b"-"
    while data:
        data = reader.read(_PIECE)
        try:
            text = decoder.decode(data, not data)
        except UnicodeDecodeError as error:
            whole = error.object
            at = offset + len(data) - len(whole) + error.start
            line += whole[: error.start].decode(error.encoding, "ignore").count("\n")
            raise DataError(f"{name}, line {line}: byte 0x{whole[error.start]:02x} at offset {at:,} is not "
                            f"{encoding.name}", hint=_HINT) from error
        except ValueError as error:
            raise DataError(f"{name}, near line {line}: cannot be read as {encoding.name}: {error}", hint=_HINT) from error
        offset += len(data)
        line += text.count("\n")
        if text:
            yield text


def head_text(source: Source, encoding: Encoding) -> str:
    """The text of the source's head; a character cut off at its end is left out."""
    decoder = codecs.getincrementaldecoder(encoding.name)("replace")
    try:
        return decoder.decode(source.head, source.whole)
    except ValueError as error:
        raise DataError(f"{source.name}: cannot be read as {encoding.name}: {error}", hint=_HINT) from error


class LongLine(str):
    """Stands for a line over the limit; its text was let go."""


def lines(pieces: Iterator[str], limit: int) -> Iterator[str]:
    """Lines with their ends (LF, CRLF or CR); one over `limit` characters comes as a LongLine and is never held."""
    carry, dropping = "", False
    for piece in pieces:
        parts = list(io.StringIO(carry + piece, newline=""))
        # a CR at the end of a piece may be half of a CRLF
        carry = "" if parts[-1].endswith("\n") else parts.pop()
        for part in parts:
            yield LongLine() if dropping or len(part) > limit else part
            dropping = False
        if len(carry) > limit:
            carry, dropping = carry[-1] if carry[-1] == "\r" else "", True
    if carry or dropping:
        yield LongLine() if dropping else carry


def _named(source: Source, named: str, lenient: str) -> Encoding:
    try:
        info = codecs.lookup(named)
    except (LookupError, ValueError) as error:
        raise UsageError(f"there is no encoding {named!r}", hint="for example utf-8, utf-16, cp1252, shift_jis") from error
    if not getattr(info, "_is_text_encoding", True) or info.incrementaldecoder is None or info.name in _NOT_FOR_FILES:
        raise UsageError(f"{named!r} is not a text encoding for files", hint="for example utf-8, utf-16, cp1252")
    if info.name == "utf-8":
        mark = source.head.startswith(codecs.BOM_UTF8)
        return Encoding("utf-8-sig" if mark else "utf-8", lenient)
    return Encoding(info.name, lenient if info.name == "utf-8-sig" else "strict")


_NOT_FOR_FILES = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: mostly Latin text has its NULs at regular places."""
    sample = head[: len(head) // 4 * 4][:4096]
    if b"\0" not in sample or len(sample) < 8:
        return None
    share = [sample[place::4].count(0) * 4 / len(sample) for place in range(4)]
    for name, zeros in (("utf-32-le", (1, 2, 3)), ("utf-32-be", (0, 1, 2)), ("utf-16-le", (1, 3)), ("utf-16-be", (0, 2))):
        others = [share[place] for place in range(4) if place not in zeros]
        if min(share[place] for place in zeros) > 0.7 and max(others) < 0.1:
            return name
    return None


def _first_fault(source: Source, encoding: str, max_line: int | None) -> _Fault | None:
    """The first byte of `source` that `encoding` does not know; of standard input only the head is looked at."""
    reader: Reader = _Head(source.head) if source.is_stdin else source.open()
    try:
        return _scan(reader, encoding, max_line, source)
    finally:
        reader.close()


def _scan(reader: Reader, encoding: str, max_line: int | None, source: Source) -> _Fault | None:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset, line, run, extra, data = 0, 1, 0, 0, b"-"
    while data:
        data = reader.read(_PIECE)
        final = not data and not (source.is_stdin and not source.whole)
        try:
            text = decoder.decode(data, final)
        except UnicodeDecodeError as error:
            whole = error.object
            good = whole[: error.start].decode(error.encoding, "ignore")
            region = whole[max(0, error.start - _REGION): error.start + _REGION]
            return _Fault(offset + len(data) - len(whole) + error.start, line + good.count("\n"), whole[error.start],
                          region, extra + len(good.encode()) - len(good))
        run = run + len(data) if b"\n" not in data and b"\r" not in data else 0
        if max_line is not None and run > max_line:
            raise DataError(f"{source.name}, line {line}: a line of more than {max_line:,} bytes",
                            hint=or_skip("is this the right kind of file? one row per line is expected"))
        offset += len(data)
        line += data.count(b"\n")
        extra += len(data) - len(text)
    return None


class _Head:
    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()


def _older(source: Source, fault: _Fault) -> Encoding:
    """An encoding from before Unicode that fits the whole file, the likeliest first."""
    for name in _likely(_whole_lines(source, fault)):
        if _first_fault(source, name, None) is None:
            return Encoding(name, note=f"not UTF-8 (byte 0x{fault.byte:02x} at offset {fault.offset:,}, line {fault.line}); "
                                       f"read as {name}, which is a guess: check a text, and give --encoding if it is wrong")
    raise DataError(f"{source.name}, line {fault.line}: byte 0x{fault.byte:02x} at offset {fault.offset:,} is not UTF-8, "
                    "and no other encoding fits the whole file", hint=_HINT)


def _whole_lines(source: Source, fault: _Fault) -> bytes:
    """The head and what stands around the fault, without lines that are cut off: half a character fits no encoding."""
    head = source.head if source.whole else source.head[: source.head.rfind(b"\n") + 1] or source.head
    if fault.offset < len(head):
        return head
    inside = fault.region.split(b"\n")[1:-1]
    return b"\n".join([head, *inside]) if inside else head + b"\n" + fault.region


def _likely(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes

    # lines of plain ASCII say nothing, and would drown the few that do
    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii()) or sample
    matches = list(from_bytes(telling, cp_isolation=_CANDIDATES))
    ordered = [name for match in matches for name in match.could_be_from_charset if name in _CANDIDATES]
    best = matches[0] if matches else None
    for match in matches:
        # short Western texts fit many code pages equally well; Windows-1252 is by far the commonest
        if "cp1252" in match.could_be_from_charset and best is not None \
                and match.chaos <= best.chaos + 0.02 and match.coherence >= best.coherence - 0.1:
            ordered.insert(0, "cp1252")
    return list(dict.fromkeys(ordered))
