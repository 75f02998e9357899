"""A `.gguf`, or a running model, from whatever names one: a bundle, a `.gguf`, a Hugging Face folder or a hub id."""

from __future__ import annotations

from pathlib import Path

from ...bundle import open_bundle
from ...errors import UsageError
from ...home import cache_dir
from ...run.generate.engine import Engine
from ...run.writing import MODEL


def gguf_of(model: str) -> Path:
    """The `.gguf` that a name means: the file itself, the one inside a bundle, or one made (once) of a Hugging Face checkpoint.

    Raises UsageError for a bundle without one, TeacherError for a checkpoint that is not found, DataError for one that cannot be followed.
    """
    path = Path(model)
    if path.suffix == ".gguf":
        return path
    if (path / "manifest.json").is_file():
        bundle = open_bundle(path)
        rung = bundle.manifest.rungs[-1]
        if rung.kind != "gguf":
            raise UsageError(f"{model} was made for the task {bundle.manifest.task} and holds no model that continues text")
        return path / rung.path / MODEL
    return _made(model)


def _made(model: str) -> Path:
    from ...models.checkpoint import find_checkpoint, fingerprint
    from ...shrink.gguf.write import write_gguf

    folder = find_checkpoint(model, "model")
    made = cache_dir("gguf") / f"{fingerprint(folder)[:32]}.gguf"
    if not made.is_file():
        write_gguf(folder, made, precision="f16")
    return made


def open_engine(model: str, *, threads: int | None = 1) -> Engine:
    """The engine of whatever `gguf_of` takes. Close it, or use it in a `with` statement."""
    return Engine.open(gguf_of(model), threads=threads)
