"""A bundle that writes, made on the spot around a tiny random decoder: it chats, translates or goes on, without any sense."""

from __future__ import annotations

from pathlib import Path

from tiny_gguf import CONTROL, TINY, vocabulary, write_tiny_gguf
from understudy.bundle import Manifest, Rung, write_bundle
from understudy.run.prompts import Prompt

_FORMS = {"chat": "chat", "translate": "pair", "lm": "text", "summarize": "pair"}


def make_writer(path: Path, task: str = "chat", *, seed: int = 0, context: int = 512, name: str | None = None,
                shape: tuple[int, int, int, int] = TINY, q8: bool = False, endless: bool = False) -> Path:
    """Writes the bundle; one with another seed says other things. `shape`, `q8` and `endless`: of the decoder."""
    tokens = vocabulary()[0]
    begin, start, end = (tokens.index(one) for one in CONTROL)
    form = _FORMS[task]
    roles = {"user": tokens.index("a"), "assistant": start, "system": tokens.index("b")} if form == "chat" else {}
    prompt = Prompt(form, begin, start if form == "pair" else None, end, roles, 24)
    made = path.parent / f"{path.name}.gguf"
    write_tiny_gguf(made, seed=seed, context=context, shape=shape, q8=q8, endless=endless)
    files = {"writer/model.gguf": made.read_bytes(), "writer/generation.json": prompt.to_json()}
    made.unlink()
    width, layers, _, hidden = shape
    parameters = 2 * width * len(tokens) + layers * width * (4 * width + 3 * hidden)
    rung = Rung(name="writer", kind="gguf", path="writer", parameters=parameters, precision="q8_0" if q8 else "f32", mix={"writer": 1.0}, max_tokens=context)
    write_bundle(path, files, Manifest(name=name or path.name, version="0.1.0", labels=(), rungs=(rung,), task=task))
    return path
