"""The tensors of a checkpoint folder, read one at a time: model.safetensors, or its shards through their index.

Every header is checked to its last byte before a tensor is read, so a broken or hostile file costs an error and no memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ...bundle.jsonio import shown, strict_json
from ...bundle.safetensors_check import check_safetensors
from ...errors import BundleError, DataError

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_JSON = 64 << 20
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """A JSON object from a checkpoint folder, {} where the file is optional and absent. Raises DataError."""
    try:
        if path.stat().st_size > _MAX_JSON:
            raise DataError(f"{path.name} has {path.stat().st_size:,} bytes, more than the {_MAX_JSON:,} that such a file may have")
        value = strict_json(path.read_bytes(), path.name)
    except FileNotFoundError:
        if not required:
            return {}
        raise DataError(f"{path.parent} has no {path.name}", hint="name a Hugging Face model folder") from None
    except (OSError, BundleError) as problem:
        raise DataError(f"{path.name} cannot be read: {problem}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path.name} should hold a JSON object, not {type(value).__name__}")
    return value


class Weights:
    """The tensors of a checkpoint folder by name; a context manager. Raises DataError for files it cannot trust."""

    def __init__(self, folder: Path) -> None:
        self._open = ExitStack()
        self._where: dict[str, tuple[BinaryIO, dict[str, Any], int]] = {}
        try:
            for file, names in _files(folder).items():
                self._add(folder / file, names)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def names(self) -> Iterator[str]:
        """The names of all tensors."""
        return iter(self._where)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor, or None where there is none of that name."""
        return tuple(self._where[name][1]["shape"]) if name in self._where else None

    def read(self, name: str) -> np.ndarray:
        """A tensor as a float32 array. Raises DataError where it holds a value that is not finite."""
        file, entry, base = self._where[name]
        dtype, shape = entry["dtype"], entry["shape"]
        if dtype not in _FLOATS:
            raise DataError(f"the tensor {shown(name)} is stored as {dtype}, which is not a floating-point type",
                            hint="a quantised checkpoint has to be saved in full precision first")
        # Read, not mapped: pages of a map would count as this process's memory until the whole file is in it.
        start, stop = entry["data_offsets"]
        file.seek(base + start)
        data = file.read(stop - start)
        if len(data) != stop - start:
            raise DataError(f"the tensor {shown(name)} cannot be read: the file changed meanwhile")
        raw = np.frombuffer(data, _FLOATS[dtype])
        if dtype == "BF16":  # the upper half of a float32
            values = np.left_shift(raw, 16, out=np.empty(raw.shape, np.uint32), dtype=np.uint32).view(np.float32)
        else:
            values = raw.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise DataError(f"the tensor {shown(name)} holds a value that is not a finite number")
        return values.reshape(shape)

    def _add(self, path: Path, wanted: set[str] | None) -> None:
        try:
            file = self._open.enter_context(path.open("rb"))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check_safetensors(cast(bytes, data), path.name)
                length = int.from_bytes(data[:8], "little")
                header = strict_json(data[8:8 + length], path.name)
        except BundleError as problem:
            raise DataError(str(problem), hint="the file is damaged or was cut short: fetch it again") from None
        except (OSError, ValueError) as problem:
            raise DataError(f"{path} cannot be read: {problem}") from None
        header.pop("__metadata__", None)
        if wanted is not None and not wanted <= set(header):
            raise DataError(f"{_INDEX} places the tensor {shown(min(wanted - set(header)))} in {path.name}, which does not hold it")
        for name, entry in header.items():
            if wanted is None or name in wanted:
                self._where[name] = (file, entry, 8 + length)


def _files(folder: Path) -> dict[str, set[str] | None]:
    """{file name: names to take from it, or None for all}."""
    if (folder / _WHOLE).is_file():
        return {_WHOLE: None}
    if not (folder / _INDEX).is_file():
        raise DataError(f"{folder} has neither {_WHOLE} nor {_INDEX}",
                        hint="save the model with save_pretrained, which writes safetensors" if folder.is_dir() else "name a model folder")
    places = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise DataError(f"{_INDEX} has no weight_map")
    files: dict[str, set[str] | None] = {}
    for name, file in places.items():
        if not isinstance(file, str) or not file.endswith(".safetensors") or Path(file).name != file:
            raise DataError(f"{_INDEX} places {shown(name)} in {shown(file)}, which is not a .safetensors file of this folder")
        cast(set[str], files.setdefault(file, set())).add(name)
    return files
