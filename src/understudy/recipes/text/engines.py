"""A running model from whatever names one: a bundle, a `.gguf`."""

from __future__ import annotations

from pathlib import Path

from ...bundle import open_bundle
from ...errors import UsageError
from ...run.generate.engine import Engine
from ...run.writing import MODEL


def gguf_of(model: str) -> Path:
    """The `.gguf` that a name means: the file itself, or the one inside a bundle, checked. Raises UsageError for anything else."""
    path = Path(model)
    if path.suffix == ".gguf":
        return path
    if not (path / "manifest.json").is_file():
        raise UsageError(f"{model} is no bundle and no .gguf file", hint="understudy export turns a Hugging Face folder into one")
    bundle = open_bundle(path)
    rung = bundle.manifest.rungs[-1]
    if rung.kind != "gguf":
        raise UsageError(f"{model} was made for the task {bundle.manifest.task} and holds no model that continues text")
    return path / rung.path / MODEL


def open_engine(model: str, **settings) -> Engine:
    """The engine of a bundle or a `.gguf`. Close it, or use it in a `with` statement."""
    return Engine.open(gguf_of(model), **{"threads": 1, **settings})
