"""Which number format each tensor of a GGUF file is stored in, and the step from float32 to it.

q4_k_m keeps more bits where errors spread furthest: the output matrix (or the embedding, where it is both), and the values and
the feed-forward output of the first and last eighth of the layers and of every third one between (llama.cpp's usual mix).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from .kquants import encode_k

# format: (name in the gguf package, values per block, bytes per block)
FORMATS = {"f32": (1, 4), "f16": (1, 2), "q8_0": (32, 34), "q4_0": (32, 18), "q5_0": (32, 22), "q5_1": (32, 24),
           "q4_k": (256, 144), "q5_k": (256, 176), "q6_k": (256, 210)}
PRECISIONS = {"f32": ("f32", 0), "f16": ("f16", 1), "q4_0": ("q4_0", 2), "q8_0": ("q8_0", 7), "q4_k_m": ("q4_k", 15)}
# What takes a format's place in rows that are not a multiple of its block: the next one up in bits with blocks of 32, then f16.
_INSTEAD = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "q8_0": "f16", "q4_0": "f16", "q5_0": "f16", "q5_1": "f16"}
_ALWAYS_F32 = ("rope_freqs", "rope_factors_long", "rope_factors_short")


@dataclass(frozen=True)
class Choice:
    """The format a tensor is stored in, and the one the precision asked for where rows did not fit it."""

    format: str
    wanted: str


def check_precision(precision: str) -> None:
    """Raises UsageError unless the precision is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r}", hint=f"choose one of {', '.join(PRECISIONS)}")


def _part(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias").split(".")[-1]


class Mix:
    """What a precision means for each tensor of one model."""

    def __init__(self, precision: str, *, layers: int, tied: bool, keep_float: Iterable[str] = ()) -> None:
        check_precision(precision)
        self.precision, self.layers, self.tied, self.keep = precision, layers, tied, frozenset(keep_float)

    def check_names(self, names: Iterable[str]) -> None:
        """Raises UsageError for a name in keep_float that is no tensor among `names`, and no part of one."""
        known = {form for name in names for form in (name, name.removesuffix(".weight"), _part(name))}
        if self.keep - known:
            parts = ", ".join(sorted({_part(name) for name in names}))
            raise UsageError(f"keep_float names {min(self.keep - known)!r}, and the model has no such tensor",
                             hint=f"use a GGUF name such as blk.0.attn_v, or its last part: {parts}")

    def choose(self, name: str, shape: tuple[int, ...]) -> Choice:
        """The format of the tensor called `name` in the GGUF file."""
        part = _part(name)
        if len(shape) < 2 or part in _ALWAYS_F32 or part.endswith("_norm"):
            return Choice("f32", "f32")
        wanted = PRECISIONS[self.precision][0]
        if self.keep & {name, name.removesuffix(".weight"), part}:
            wanted = "f32" if wanted == "f32" else "f16"
        elif self.precision == "q4_k_m":
            wanted = self._mixed(name, part)
        elif self.precision == "q4_0" and (part == "output" or (part == "token_embd" and self.tied)):
            wanted = "q8_0"
        used = wanted
        while shape[-1] % FORMATS[used][0]:
            used = _INSTEAD[used]
        return Choice(used, wanted)

    def _mixed(self, name: str, part: str) -> str:
        if part == "output" or (part == "token_embd" and self.tied):
            return "q6_k"
        if part == "attn_qkv":
            return "q5_k"
        if part in ("attn_v", "ffn_down"):
            layer, eighth = int(name.split(".")[1]), self.layers // 8
            return "q6_k" if layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2 else "q4_k"
        return "q4_k"


def stored_bytes(format: str, shape: tuple[int, ...]) -> int:
    """The bytes that a tensor takes in a format."""
    values, size = FORMATS[format]
    return int(np.prod(shape, dtype=np.int64)) // values * size


def encode(values: np.ndarray, format: str) -> np.ndarray:
    """A float32 array in a stored format: float32, float16, or uint8 with rows of blocks."""
    if format == "f32":
        return np.ascontiguousarray(values, np.float32)
    if format == "f16":
        return np.ascontiguousarray(values, np.float16)
    if format in ("q4_k", "q5_k", "q6_k"):
        return encode_k(values, format)
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    with np.errstate(all="ignore"):
        return quantize(np.ascontiguousarray(values, np.float32), GGMLQuantizationType[format.upper()])
