"""A TensorProto, read as far as its size: what it declares must be what it brings."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import BundleError
from .jsonio import shown
from .onnx_wire import BYTES, FIXED32, FIXED64, count_varints, fields, integers, message, signed, string

MAX_RANK = 16
MAX_VALUES = 64
"""Integer tensors of at most this many entries are read, because they may be the shape of something large."""

# TensorProto.DataType -> bits per element; 8 is a string, whose size is not its count. Source: onnx.proto of ONNX 1.23.
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 0, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
        17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
STRING, INT32, INT64, FLOAT, DOUBLE = 8, 6, 7, 1, 11
_COMPLEX = (14, 15)


@dataclass(frozen=True)
class Tensor:
    """Shape, bits per element and, where it is a short one of numbers, the values."""

    name: str
    shape: tuple[int, ...]
    bits: int
    values: tuple[int | float, ...] | None = None

    @property
    def count(self) -> int:
        """The number of elements."""
        return product(self.shape)


def product(sizes: tuple[int, ...]) -> int:
    """The product of sizes; 1 for none. Exact, for Python's integers do not overflow."""
    result = 1
    for size in sizes:
        result *= size
    return result


def read_tensor(data: memoryview, where: str) -> Tensor:
    """Raises BundleError for external data, an unknown type, a negative dimension, or data that is not as large as declared."""
    dims: list[int] = []
    name, kind, held = "", 0, {"raw": -1, "float": 0, "int32": 0, "string": 0, "int64": 0, "double": 0, "uint64": 0}
    raw: memoryview | None = None
    loose: list[int] = []
    for number, wire, value in fields(data, where):
        if number == 1:
            dims += integers(wire, value, where, MAX_RANK)
        elif number == 2:
            kind = signed(value, where)
        elif number == 8:
            name = string(value, where)
        elif number == 9:
            if raw is not None:
                raise BundleError(f"{where}: the tensor {shown(name)} brings its bytes twice")
            raw = message(value, where)
            held["raw"] = len(raw)
        elif number == 13 or (number == 14 and value != 0):
            raise BundleError(f"{where}: the tensor {shown(name)} takes its data from another file (external_data), which a bundle may not")
        elif number == 3:
            raise BundleError(f"{where}: the tensor {shown(name)} is cut into segments, which a bundle may not hold")
        elif number in (4, 5, 6, 7, 10, 11):
            if number == 7 and len(loose) <= MAX_VALUES and (wire != BYTES or len(message(value, where)) <= 10 * MAX_VALUES):
                loose += integers(wire, value, where, MAX_VALUES)
            _count(number, wire, value, held, where)
    return _sized(name, tuple(dims), kind, held, _values(kind, dims, raw, loose), where)


def _count(number: int, wire: int, value: int | memoryview, held: dict[str, int], where: str) -> None:
    kind = {4: "float", 5: "int32", 6: "string", 7: "int64", 10: "double", 11: "uint64"}[number]
    if number == 6 or wire != BYTES:
        held[kind] += 1
    elif number in (4, 10):
        held[kind] += len(message(value, where)) // (4 if number == 4 else 8)
    else:
        held[kind] += count_varints(message(value, where))


def _sized(name: str, dims: tuple[int, ...], kind: int, held: dict[str, int], values: tuple[int | float, ...] | None, where: str) -> Tensor:
    what = f"{where}: the tensor {shown(name)}"
    if kind not in BITS:
        raise BundleError(f"{what} has the unknown element type {kind}")
    if len(dims) > MAX_RANK or any(size < 0 for size in dims):
        raise BundleError(f"{what} has the impossible shape {shown(str(list(dims[:MAX_RANK + 1])))}")
    count, bits = product(dims), BITS[kind]
    lists = {key: size for key, size in held.items() if key != "raw" and size}
    if held["raw"] >= 0:
        if lists or kind == STRING:
            raise BundleError(f"{what} brings its data in two ways at once")
        declared, brought = -(-count * bits // 8), held["raw"]
    elif len(lists) > 1:
        raise BundleError(f"{what} brings its data in two ways at once")
    else:
        declared, brought = _elements(kind, bits, count), sum(lists.values())
    if declared != brought:
        unit = "bytes" if held["raw"] >= 0 else "elements"
        raise BundleError(f"{what} declares the shape {shown(str(list(dims)))}, that is {declared:,} {unit}, and brings {brought:,}")
    return Tensor(name, dims, bits or 8, values)


def _elements(kind: int, bits: int, count: int) -> int:
    """How many entries the typed list of a tensor has: complex numbers take two, sub-byte ones share an entry."""
    if kind in _COMPLEX:
        return 2 * count
    return -(-count * bits // 8) if bits and bits < 8 else count


def _values(kind: int, dims: list[int], raw: memoryview | None, loose: list[int]) -> tuple[int | float, ...] | None:
    if len(dims) > MAX_RANK or any(size < 0 for size in dims) or product(tuple(dims)) > MAX_VALUES:
        return None
    form = {INT32: "i", INT64: "q", FLOAT: "f", DOUBLE: "d"}.get(kind)
    if form and raw is not None and len(raw) % struct.calcsize(form) == 0:
        return struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw)
    return tuple(loose) if kind == INT64 and raw is None and loose else None


def read_float(wire: int, value: int | memoryview, what: str) -> float:
    """The float of a fixed32 or fixed64 field."""
    if wire not in (FIXED32, FIXED64):
        raise BundleError(f"{what} is not protobuf of a model: something else stands where a float belongs")
    return float(struct.unpack("<f" if wire == FIXED32 else "<d", message(value, what))[0])
