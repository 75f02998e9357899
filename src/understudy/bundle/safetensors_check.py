"""The header of a .safetensors file, checked to its last byte: no hole and no overlap for a second format to hide in."""

from __future__ import annotations

from typing import Any

from ..errors import BundleError
from .jsonio import shown, strict_json

MAX_HEADER = 25_000_000
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
        "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64}


def check_safetensors(data: bytes, name: str) -> None:
    """Raises BundleError unless `data` is a header of JSON and then exactly the tensors that it declares, in order.

    Layout: https://github.com/huggingface/safetensors#format.
    """
    if len(data) < 8:
        raise BundleError(f"{name} is {len(data)} bytes, too short for safetensors")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER or length > len(data) - 8:
        raise BundleError(f"{name} is not safetensors: it declares a header of {length:,} bytes in a file of {len(data):,}")
    if data[8:9] != b"{":
        raise BundleError(f"{name} is not safetensors: its header does not start with '{{'")
    header = strict_json(data[8:8 + length], f"the header of {name}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BundleError(f"{name}: '__metadata__' should map text to text")
    spans = sorted(_span(f"{name}: the tensor {shown(key)}", value) for key, value in header.items())
    end = 0
    for start, stop in spans:
        if start != end:
            raise BundleError(f"{name}: the tensors leave a hole or overlap at byte {min(start, end):,}")
        end = stop
    if end != len(data) - 8 - length:
        raise BundleError(f"{name}: the tensors take {end:,} bytes and the file has {len(data) - 8 - length:,}")


def _span(what: str, entry: Any) -> tuple[int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{what} should have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise BundleError(f"{what} has the unknown dtype {shown(dtype)}")
    if not _sizes(shape) or len(shape) > 8 or not _sizes(offsets) or len(offsets) != 2:
        raise BundleError(f"{what} has a shape or offsets that are not lists of sizes")
    needed = BITS[dtype] // 8
    for size in shape:
        needed *= size
    if offsets[1] - offsets[0] != needed:
        raise BundleError(f"{what} declares {needed:,} bytes and spans {offsets[1] - offsets[0]:,}")
    return offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in value)
