"""Just enough of protobuf's wire format to walk a model without trusting it.

Source: https://protobuf.dev/programming-guides/encoding/. Nothing is copied but short text; lengths are checked
against what is there before anything is sliced. Groups and unknown wire types are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import BundleError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int | memoryview]
"""Field number, wire type, and the integer of a varint or the bytes of anything else."""

_HIGH = bytes(range(128, 256))


def fields(data: memoryview, where: str) -> Iterator[Field]:
    """Every field of one message in order. Raises BundleError for bytes that are not protobuf or end too early."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position, where)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise BundleError(f"{where} is not protobuf: field number {number} is out of range")
        if wire == VARINT:
            value, position = _varint(data, position, where)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, position = _varint(data, position, where)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise BundleError(f"{where} is not protobuf: wire type {wire} is unknown")
        if size > end - position:
            raise BundleError(f"{where} is cut short: field {number} declares {size:,} bytes and {end - position:,} are left")
        yield number, wire, data[position:position + size]
        position += size


def _varint(data: memoryview, position: int, where: str) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if position >= len(data):
            raise BundleError(f"{where} is cut short in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                raise BundleError(f"{where} is not protobuf: a number does not fit in 64 bits")
            return value, position
        shift += 7
        if shift > 63:
            raise BundleError(f"{where} is not protobuf: a number runs on for more than ten bytes")


def message(value: int | memoryview, what: str) -> memoryview:
    """The bytes of a field that must be a message or text. Raises BundleError when a number stands there."""
    if isinstance(value, int):
        raise BundleError(f"{what} is not protobuf of a model: a number stands where a message belongs")
    return value


def string(value: int | memoryview, what: str) -> str:
    """The text of a short field, with what is not UTF-8 replaced."""
    data = message(value, what)
    if len(data) > 4096:
        raise BundleError(f"{what} holds a name of {len(data):,} bytes (the limit is 4096)")
    return bytes(data).decode("utf-8", "replace")


def signed(value: int | memoryview, what: str) -> int:
    """The int64 of a varint field."""
    if not isinstance(value, int):
        raise BundleError(f"{what} is not protobuf of a model: bytes stand where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(wire: int, value: int | memoryview, what: str, limit: int) -> list[int]:
    """The int64s of one occurrence of a repeated field, packed or not; at most `limit` of them."""
    if wire == VARINT:
        return [signed(value, what)]
    data, found, position = message(value, what), [], 0
    if len(data) > 10 * limit:
        raise BundleError(f"{what} holds more than {limit} numbers")
    while position < len(data):
        number, position = _varint(data, position, what)
        found.append(signed(number, what))
    return found


def count_varints(data: memoryview) -> int:
    """How many varints a packed field holds, without reading them: each ends with one byte below 128."""
    return len(bytes(data).translate(None, _HIGH))
