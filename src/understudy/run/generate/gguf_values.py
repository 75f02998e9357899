"""The values inside a GGUF header, read with every length checked against the file before it is believed.

Layout after the GGUF specification (ggml, docs/gguf.md): little-endian, strings as u64 length and bytes, arrays as
u32 type, u64 count and the elements.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import repeat

from ...errors import BundleError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, BOOL = 8, 9, 7
_LONGEST_STRING = 1 << 20
_LONGEST_HEADER = 256 << 20
_CHUNK = 1 << 20
_U64 = struct.Struct("<Q")


@dataclass(frozen=True)
class ArraySummary:
    """An array that was skipped: the GGUF type number of its elements and how many there are."""

    kind: int
    count: int


class Header:
    """Reads a header from an open file, in chunks and never beyond `size`, so that a lying length allocates nothing."""

    def __init__(self, fd: int, size: int, where: str) -> None:
        self.fd, self.size, self.where = fd, size, where
        self.data, self.at = bytearray(), 0

    def refuse(self, what: str, hint: str = "fetch or export the file again") -> BundleError:
        """The error for this file."""
        return BundleError(f"{self.where} is not a usable GGUF: {what}", hint=hint)

    def need(self, count: int) -> int:
        """Makes `count` more bytes available and steps over them; returns where they start in `data`."""
        start, end = self.at, self.at + count
        if end > self.size:
            raise self.refuse(f"it ends at byte {self.size}, inside its header")
        if end > _LONGEST_HEADER:
            raise self.refuse(f"its header is longer than {_LONGEST_HEADER >> 20} MiB")
        while len(self.data) < end:
            chunk = os.pread(self.fd, max(_CHUNK, end - len(self.data)), len(self.data))
            if not chunk:
                raise self.refuse(f"it became shorter than {self.size} bytes while it was read")
            self.data += chunk
        self.at = end
        return start

    def scalar(self, kind: str) -> int | float:
        """One number of struct type `kind`."""
        size = struct.calcsize("<" + kind)
        value = struct.unpack_from("<" + kind, self.data, self.need(size))[0]
        return value  # type: ignore[no-any-return]

    def count(self, kind: str = "Q") -> int:
        """One unsigned number."""
        return int(self.scalar(kind))

    def text(self, longest: int = _LONGEST_STRING) -> str:
        """One string; refuses what is longer than `longest` bytes or not UTF-8."""
        length = self.count()
        if length > longest:
            raise self.refuse(f"a string of {length} bytes at byte {self.at}, where at most {longest} are sane")
        start = self.need(length)
        try:
            return bytes(self.data[start : start + length]).decode("utf-8")
        except UnicodeDecodeError:
            raise self.refuse(f"a string at byte {start} that is not UTF-8") from None

    def value(self, key: str, keep: frozenset[str]) -> object:
        """The value of a key: a number, a boolean, a string, or an array (summarised; raw bytes where `key` is in `keep`)."""
        kind = self.count("I")
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array(key, keep)
        if kind not in SCALARS:
            raise self.refuse(f"the value type {kind} of {key!r}, which does not exist")
        value = self.scalar(SCALARS[kind])
        if kind == BOOL and value not in (0, 1):
            raise self.refuse(f"the boolean {key!r} with the value {value}")
        return bool(value) if kind == BOOL else value

    def _array(self, key: str, keep: frozenset[str]) -> object:
        kind, count = self.count("I"), self.count()
        if kind in SCALARS:
            width = struct.calcsize("<" + SCALARS[kind])
            if count > self.size:
                raise self.refuse(f"the array {key!r} with {count} elements, more than the file has bytes")
            start = self.need(width * count)
            return bytes(self.data[start : self.at]) if key in keep else ArraySummary(kind, count)
        if kind != STRING:
            raise self.refuse(f"the array {key!r} of type {kind}, which does not exist or is nested")
        if count * 8 > self.size - self.at:
            raise self.refuse(f"the array {key!r} with {count} strings, more than the file has room for")
        self._skip_strings(count)
        return ArraySummary(kind, count)

    def _skip_strings(self, count: int) -> None:
        """Steps over strings without decoding them: a quarter of a million in tens of milliseconds."""
        unpack, left = _U64.unpack_from, count
        while left:
            at, data = self.at, self.data
            try:
                for _ in repeat(None, left):
                    at += 8 + unpack(data, at)[0]
                    left -= 1
            except (struct.error, OverflowError):
                pass  # the next length lies beyond what has been read; `need` reads on, or refuses beyond the end of the file
            self.at = at
            if left:
                self.need(8)
                self.at -= 8
        self.need(0)
