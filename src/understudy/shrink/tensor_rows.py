"""Copying .safetensors files with some rows of some tensors: raw bytes, so that any dtype comes through bit for bit.

One block of rows is held at a time. Layout: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..bundle.jsonio import shown
from ..bundle.safetensors_check import MAX_HEADER, check_safetensors
from ..errors import BundleError, TeacherError

_BLOCK = 8 * 1024 * 1024
# What the families of decoders call their tables of pieces: Llama, Gemma, Qwen | GPT-2, MPT | Bloom, Falcon | GPT-NeoX | Mamba.
_TABLES = re.compile(r"(?:.*\.)?(?:embed_tokens|wte|word_embeddings|embed_in|embed_out|embeddings?|lm_head|score_head)\.(?:weight|bias)")
_IN_LAYER = re.compile(r".*\.\d+\..*")


@dataclass(frozen=True)
class Shard:
    """The header of one .safetensors file: tensors as {name: {dtype, shape, data_offsets}}, and where its data begin."""

    path: Path
    tensors: dict[str, dict[str, Any]]
    metadata: dict[str, str]
    begin: int

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(entry["shape"]) for entry in self.tensors.values())


def open_shard(path: Path) -> Shard:
    """The checked header. Raises TeacherError for a file that is cut short or is not safetensors."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_safetensors(data, str(path))  # type: ignore[arg-type]
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8:8 + length])
    except BundleError as problem:
        raise TeacherError(str(problem), hint="the download may have been cut off; fetch the file again") from None
    except (OSError, ValueError) as problem:
        raise TeacherError(f"{path} cannot be read: {problem}", hint="the download may have been cut off; fetch the file again") from None
    metadata = header.pop("__metadata__", {})
    return Shard(path, header, metadata, 8 + length)


def tables(shards: Iterable[Shard], rows: int) -> set[str]:
    """The tensors with one row per piece, which is `rows` rows: embeddings, and the output layer where it is separate.

    Raises TeacherError when there is none, when one has another number of rows, or when another tensor outside the layers
    has as many rows and might be about pieces too.
    """
    found, sizes = set(), {}
    for shard in shards:
        for name, entry in shard.tensors.items():
            shape = entry["shape"]
            if _TABLES.fullmatch(name) and shape:
                if shape[0] == rows:
                    found.add(name)
                else:
                    sizes[name] = shape[0]
            elif rows in shape and not _IN_LAYER.fullmatch(name):
                raise TeacherError(f"the tensor {shown(name)} has the shape {shape}, as wide as the vocabulary, and is not known here",
                                   hint="a model of this family cannot be trimmed yet")
    if not any(name.endswith(".weight") for name in found):
        other = f"; {shown(next(iter(sizes)))} has {next(iter(sizes.values())):,}" if sizes else ""
        raise TeacherError(f"config.json says vocab_size={rows:,} and no embedding has as many rows{other}")
    # Position embeddings are called embeddings in some families; anything else of another height is a mistake.
    for name, size in sizes.items():
        if not re.search(r"embeddings?\.weight$", name):
            raise TeacherError(f"config.json says vocab_size={rows:,} and {shown(name)} has {size:,} rows")
    return found


def write_rows(shard: Shard, target: Path, names: set[str], keep: np.ndarray) -> tuple[int, int]:
    """Writes the file anew with only the rows `keep`, (V,) int64, of the tensors in `names`; returns (bytes, parameters).

    Other tensors are copied byte for byte. Raises OSError; `target` must not be there.
    """
    header: dict[str, Any] = {"__metadata__": shard.metadata} if shard.metadata else {}
    order = sorted(shard.tensors, key=lambda name: tuple(shard.tensors[name]["data_offsets"]))
    end = parameters = 0
    for name in order:
        entry = shard.tensors[name]
        start, stop = entry["data_offsets"]
        size, shape = stop - start, entry["shape"]
        if name in names:
            size, shape = size // shape[0] * len(keep), [len(keep), *shape[1:]]
        header[name] = {"dtype": entry["dtype"], "shape": shape, "data_offsets": [end, end + size]}
        end, parameters = end + size, parameters + math.prod(shape)
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)
    if len(packed) > MAX_HEADER:
        raise TeacherError(f"{shard.path} has a header of {len(packed):,} bytes (the limit is {MAX_HEADER:,})")
    with open(shard.path, "rb") as source, open(target, "xb") as out:
        out.write(len(packed).to_bytes(8, "little") + packed)
        for name in order:
            entry = shard.tensors[name]
            start, stop = (shard.begin + offset for offset in entry["data_offsets"])
            if name in names:
                _gather(source, out, start, (stop - start) // entry["shape"][0], keep)
            else:
                _copy(source, out, start, stop - start)
    return 8 + len(packed) + end, parameters


def _copy(source: BinaryIO, out: BinaryIO, start: int, size: int) -> None:
    source.seek(start)
    while size:
        block = source.read(min(size, _BLOCK))
        if not block:
            raise OSError(5, "the file became shorter while it was read")
        out.write(block)
        size -= len(block)


def _gather(source: BinaryIO, out: BinaryIO, start: int, width: int, keep: np.ndarray) -> None:
    """Runs of neighbouring rows are read at once; `keep` is ascending nearly everywhere, so this is nearly sequential."""
    breaks = np.flatnonzero(np.diff(keep) != 1) + 1
    for run in np.split(keep, breaks):
        _copy(source, out, start + int(run[0]) * width, len(run) * width)


def check_index(weight_map: Mapping[str, str], shards: Iterable[Shard]) -> None:
    """Raises TeacherError when an index and its shards disagree."""
    there = {name: shard.path.name for shard in shards for name in shard.tensors}
    for name, file in weight_map.items():
        if there.get(name) != file:
            raise TeacherError(f"the index says that {shown(name)} is in {shown(file)}, and it is not there")
    if extra := sorted(there.keys() - weight_map.keys()):
        raise TeacherError(f"the tensor {shown(extra[0])} is in {there[extra[0]]} and not in the index")
