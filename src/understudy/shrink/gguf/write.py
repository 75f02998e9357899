"""A checkpoint folder becomes a .gguf: tensor by tensor, so that memory stays at about one tensor, and all at once or not at all."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, UnderstudyError, UsageError, missing_extra
from ...models.families import Config, Tensor, find_family
from .precision import FORMATS, PRECISIONS, Mix, check_precision, encode, stored_bytes
from .tokens import read_vocabulary
from .weights import Weights, read_json

_IGNORED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class GgufReport:
    """What was written. formats: tensors by format. fallbacks: tensors whose rows did not fit: (name, wanted, used).

    notes: sentences about what llama.cpp will do differently from transformers.
    """

    path: Path
    arch: str
    precision: str
    bytes: int
    tensors: int
    formats: dict[str, int]
    pre: str
    fallbacks: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Plan:
    """A GGUF file before it is written: metadata by full key, and per tensor its shape and how to get its float32 values."""

    arch: str
    metadata: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    layers: int = 0


def write_gguf(folder: Path, out: Path, *, precision: str = "q8_0", keep_float: frozenset[str] = frozenset()) -> GgufReport:
    """Writes the checkpoint in `folder` to `out` and says what was done.

    precision: f32, f16, q8_0, q4_0 or q4_k_m. keep_float: tensors stored as float16 all the same, by their GGUF name
    (`blk.0.attn_v.weight`) or its last part (`attn_v`). Norms and rope factors are always float32.

    Raises DataError for a checkpoint that is broken or that llama.cpp cannot follow, UsageError for an unknown precision or
    an `out` that is not a .gguf path, MissingExtraError without the package gguf.
    """
    folder, out = Path(folder), Path(out)
    check_precision(precision)
    config = read_json(folder / "config.json")
    family = find_family(config)
    settings = Config(config)
    keys = {f"{family.arch}.{key}": value for key, value in family.metadata(settings).items()}
    with Weights(folder) as weights:
        plan = Plan(family.arch, layers=settings.size("num_hidden_layers"))
        for name, array in family.extra(settings).items():
            plan.shapes[name], plan.values[name] = array.shape, partial(np.asarray, array)
        _check_tensors(list(family.tensors(settings)), weights, plan)
        vocabulary = read_vocabulary(folder, config)
        plan.metadata = {"general.name": _name(folder, vocabulary.texts), **keys, **vocabulary.metadata}
        mix = Mix(precision, layers=plan.layers, tied="output.weight" not in plan.shapes, keep_float=keep_float)
        return write_plan(plan, out, mix, notes=(*family.notes(settings), *vocabulary.notes))


def _name(folder: Path, texts: list[str]) -> str:
    """The folder's name. llama.cpp knows Phi-3 by its name, and then fails to open a file without that model's special tokens."""
    name = folder.resolve().name or "model"
    return name if {"</s>", "<unk>", "<s>", "<|endoftext|>"} <= set(texts) else re.sub("(?i)(phi)-?(?=3)", r"\1 ", name)


def _check_tensors(wanted: list[Tensor], weights: Weights, plan: Plan) -> None:
    """Puts every tensor into the plan. Raises DataError for one that is missing, misshapen or unknown."""
    for tensor in wanted:
        shape = weights.shape(tensor.source)
        if shape is None:
            raise DataError(f"the checkpoint has no tensor {tensor.source}",
                            hint="config.json belongs to another model, or a file is missing")
        if shape != tensor.shape:
            raise DataError(f"the tensor {tensor.source} has the shape {shape}, and config.json makes it {tensor.shape}")
        plan.shapes[tensor.target] = shape
        plan.values[tensor.target] = partial(_values, tensor, weights)
    known = {tensor.source for tensor in wanted}
    tied = "lm_head.weight" not in known
    for name in weights.names():
        if name not in known and not name.endswith(_IGNORED) and not (tied and name == "lm_head.weight"):
            raise DataError(f"the checkpoint holds the tensor {name[:100]}, which this family does not have",
                            hint="a fine-tuned adapter has to be merged into the model first")


def _values(tensor: Tensor, weights: Weights) -> np.ndarray:
    values = weights.read(tensor.source)
    return values if tensor.change is None else np.ascontiguousarray(tensor.change(values), np.float32)


def write_plan(plan: Plan, out: Path, mix: Mix, *, notes: tuple[str, ...] = (), types: Mapping[str, Any] | None = None) -> GgufReport:
    """Writes a plan to `out` in the formats of `mix`; the file appears under its name only when it is complete.

    types: (value type, element type) by metadata key, where they are known from a file; else they follow from the values.
    """
    if out.suffix != ".gguf":
        raise UsageError(f"{out} does not end in .gguf", hint=f"write to {out.with_suffix('.gguf')}")
    mix.check_names(plan.shapes)
    choices = {name: mix.choose(name, shape) for name, shape in plan.shapes.items()}
    metadata = plan.metadata | {"general.file_type": PRECISIONS[mix.precision][1], "general.quantization_version": 2}
    with writing(out) as part:
        writer = _writer(plan.arch, metadata, part, types or {})
        try:
            _declare(writer, plan.shapes, {name: choice.format for name, choice in choices.items()})
            for name, make in plan.values.items():
                writer.write_tensor_data(_encoded(name, make(), choices[name].format))
        finally:
            writer.close()
    fallbacks = tuple((name, choice.wanted, choice.format) for name, choice in choices.items() if choice.format != choice.wanted)
    for (asked, used), count in Counter((asked, used) for _, asked, used in fallbacks).items():
        notes += (f"{count} tensors have rows that are not a multiple of {FORMATS[asked][0]}, the block of {asked}: {used} took its place",)
    formats = dict(Counter(choice.format for choice in choices.values()))
    return GgufReport(out, plan.arch, mix.precision, out.stat().st_size, len(choices), formats,
                      str(plan.metadata.get("tokenizer.ggml.pre", "")), fallbacks, notes)


def _encoded(name: str, values: np.ndarray, format: str) -> np.ndarray:
    if format != "f32" and max(values.max(initial=0), -values.min(initial=0)) > 65504:
        raise DataError(f"the tensor {name} holds a value above 65,504, which {format} cannot store", hint="write it with precision f32")
    return encode(values, format)


def _writer(arch: str, metadata: Mapping[str, Any], path: Path, types: Mapping[str, Any]) -> Any:
    """A gguf writer with all metadata. Lists of strings, bools, ints and floats keep their element type."""
    if find_spec("gguf") is None:
        raise missing_extra("writing a .gguf", "generate")
    from gguf import GGUFWriter

    writer = GGUFWriter(path, arch)
    for key, value in metadata.items():
        if key in types:
            writer.add_key_value(key, value, types[key][0], sub_type=types[key][1])
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    return writer


def _declare(writer: Any, shapes: Mapping[str, tuple[int, ...]], formats: Mapping[str, str]) -> None:
    from gguf import GGMLQuantizationType

    for name, shape in shapes.items():
        dtype = np.dtype(np.float16 if formats[name] == "f16" else np.float32)
        kind = GGMLQuantizationType[formats[name].upper()]
        writer.add_tensor_info(name, shape, dtype, stored_bytes(formats[name], shape), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """A temporary sibling of `out` that is synced and renamed to it when the block ends well, and removed when it does not."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(out)
        handle = os.open(out.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except UnderstudyError:
        raise
    except OSError as problem:
        raise DataError(f"{out} cannot be written: {problem.strerror or problem}") from None
    finally:
        part.unlink(missing_ok=True)
