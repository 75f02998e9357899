"""From one .gguf to another precision, tensor by tensor; the tokenizer and all metadata pass through untouched."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, UsageError, missing_extra
from .header import check_gguf
from .precision import Mix, check_precision
from .write import GgufReport, Plan, write_plan

_DERIVED = ("general.file_type", "general.quantization_version", "general.architecture", "GGUF.")


def requantise(gguf_in: Path, out: Path, precision: str, *, keep_float: frozenset[str] = frozenset()) -> GgufReport:
    """Writes `gguf_in` to `out` in another precision (f32, f16, q8_0, q4_0 or q4_k_m) and says what was done.

    What an earlier quantisation lost does not come back: start from f32 or f16 where there is one.
    Raises DataError for a file that is not a complete .gguf, UsageError for an unknown precision or where `out` is `gguf_in`.
    """
    gguf_in, out = Path(gguf_in), Path(out)
    check_precision(precision)
    if out.resolve() == gguf_in.resolve():
        raise UsageError(f"{out} is the file to read from", hint="write to another name")
    reader = open_gguf(gguf_in)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith(_DERIVED)}
    try:
        arch = str(reader.fields["general.architecture"].contents())
        layers = int(reader.fields[f"{arch}.block_count"].contents())
        plan = Plan(arch, {name: field.contents() for name, field in fields.items()}, layers=layers)
        types = {name: (field.types[0], field.types[-1] if len(field.types) > 1 else None) for name, field in fields.items()}
        for tensor in reader.tensors:
            plan.shapes[tensor.name] = tuple(int(size) for size in tensor.shape[::-1])
            plan.values[tensor.name] = partial(_decoded, tensor)
    except (KeyError, ValueError, TypeError, UnicodeDecodeError) as problem:
        raise DataError(f"{gguf_in} has metadata that cannot be read: {str(problem)[:200]}") from None
    mix = Mix(precision, layers=plan.layers, tied="output.weight" not in plan.shapes, keep_float=keep_float)
    return write_plan(plan, out, mix, types=types)


def open_gguf(path: Path) -> Any:
    """A .gguf opened for reading, its tensors mapped and not loaded. Raises DataError for a file that is broken or cut short."""
    if find_spec("gguf") is None:
        raise missing_extra("reading a .gguf", "generate")
    from gguf import GGUFReader

    check_gguf(path)
    try:
        with np.errstate(all="ignore"):
            return GGUFReader(path)
    except Exception as problem:
        raise DataError(f"{path} is damaged or was cut short: {str(problem)[:200]}", hint="fetch or write it again") from None


def _decoded(tensor: Any) -> np.ndarray:
    """The float32 values of a stored tensor."""
    from gguf.quants import dequantize

    try:
        values = np.asarray(dequantize(np.asarray(tensor.data), tensor.tensor_type), np.float32)
    except NotImplementedError:
        raise DataError(f"the tensor {tensor.name} is stored as {tensor.tensor_type.name}, which cannot be decoded here") from None
    if not np.isfinite(values).all():
        raise DataError(f"the tensor {tensor.name} holds a value that is not a finite number")
    return values.reshape(tuple(int(size) for size in tensor.shape[::-1]))
