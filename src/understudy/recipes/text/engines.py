"""A `.gguf`, or a running model, from whatever names one: a bundle, a `.gguf`, a Hugging Face folder or a hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle import open_bundle
from ...errors import UsageError
from ...home import cache_dir
from ...run.chatting import Chat, open_chat
from ...run.generate.engine import Engine
from ...run.generate.results import Score
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


@dataclass(frozen=True)
class Scored:
    """How likely a model finds a text, and the pieces that it would write next with their probabilities, likeliest first."""

    score: Score
    next: tuple[tuple[str, float], ...]


def score(model: str, text: str, *, top: int = 10) -> Scored:
    """Perplexity and bits per byte of a text, and the `top` likeliest next pieces, by whatever `gguf_of` takes."""
    with open_engine(model) as engine:
        return Scored(engine.score(text), tuple(engine.next_words(text, top)))


def chat(model: str, *, system: str | None = None, **settings: Any) -> Chat:
    """A conversation with a bundle made for chat, a `.gguf`, or a Hugging Face folder or hub id. Close it, or use it in a `with` statement."""
    path = Path(model)
    return open_chat(path if path.suffix == ".gguf" or (path / "manifest.json").is_file() else gguf_of(model), system=system, **settings)
