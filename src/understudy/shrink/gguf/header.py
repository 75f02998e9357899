"""The head of a .gguf file, walked with every count held against the size of the file, before a reader that trusts it opens it.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

from ...errors import DataError

# bytes per value of the fixed-size types, by their number in the format; 8 is a string, 9 a list
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _LIST = 8, 9
_MAX_SIDES = 4


class _Walk:
    """A place in the file; every step checks that the file reaches that far."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def take(self, count: int) -> bytes:
        self.skip(count)
        return self.data[self.at - count:self.at]

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise DataError(f"{self.path} is damaged or was cut short: it ends inside its header", hint="fetch or write it again")
        self.at += count

    def number(self, form: str) -> int:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def string(self) -> bytes:
        return self.take(self.number("Q"))

    def value(self, kind: int) -> None:
        """Steps over a value of a type."""
        if kind == _STRING:
            self.string()
        elif kind in _SIZES:
            self.skip(_SIZES[kind])
        else:
            raise DataError(f"{self.path} is damaged: it holds a value of the unknown type {kind}")

    def entry(self) -> bytes:
        """Steps over a metadata entry; its key."""
        key, kind = self.string(), self.number("I")
        if kind != _LIST:
            self.value(kind)
            return key
        inner, count = self.number("I"), self.number("Q")
        if inner in _SIZES:
            self.skip(count * _SIZES[inner])
        else:
            self.skip(0 if count <= len(self.data) else count)
            for _ in range(count):
                self.value(inner)
        return key


def check_gguf(path: Path) -> None:
    """Raises DataError unless `path` is a little-endian .gguf whose metadata and tensors lie inside the file."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise DataError(f"{path} is not a .gguf file: it does not begin with GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check(_Walk(data, path))
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from None


def _check(walk: _Walk) -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    walk.skip(4)
    version, tensors, entries = walk.number("I"), walk.number("Q"), walk.number("Q")
    if version not in (2, 3):
        raise DataError(f"{walk.path} is a .gguf of version {version}; versions 2 and 3 are known")
    keys = set()
    for _ in range(entries):
        keys.add(walk.entry())
        if len(keys) > 65_536:
            raise DataError(f"{walk.path} is damaged: it declares {entries:,} metadata entries")
    ends = 0
    for _ in range(tensors):
        walk.string()
        sides = walk.number("I")
        if not 0 < sides <= _MAX_SIDES:
            raise DataError(f"{walk.path} is damaged: it has a tensor of {sides} dimensions")
        shape = [walk.number("Q") for _ in range(sides)]
        kind, offset = walk.number("I"), walk.number("Q")
        if kind not in GGMLQuantizationType._value2member_map_:
            raise DataError(f"{walk.path} has a tensor of the unknown type {kind}")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        ends = max(ends, offset + math.prod(shape) // block * size)
    if walk.at + ends > len(walk.data):
        raise DataError(f"{walk.path} is damaged or was cut short: its tensors reach beyond its end", hint="fetch or write it again")
