"""A model in the form that another program opens: GGUF in a chosen precision, an Ollama folder, a Hugging Face folder, ONNX."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ...bundle import open_bundle
from ...errors import UsageError
from ...models.checkpoint import find_checkpoint
from ...run.generate.engine import Engine
from ...run.generate.sampling import Sampling
from ...run.prompts import SPEC
from ...shrink.gguf.quantise import requantise
from ...shrink.gguf.write import write_gguf
from ...shrink.unpack import unpack
from .config import FORMS
from .engines import gguf_of

PROMPTS = ("The", "Where is the", "In the beginning", "name[Blue Spice]", "1, 2, 3,")
_TOKENS = 32


@dataclass(frozen=True)
class Exported:
    """What was written, how big it is against what it came from, and whether it answers alike. Speeds in tokens a second.

    `same` of `asked` prompts are continued by the same 32 greedy tokens.
    """

    path: Path
    bytes: int
    bytes_before: int
    precision: str
    same: int
    asked: int
    tokens_per_s: float
    tokens_per_s_before: float
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        out = [f"{self.path}: {self.bytes / 1e6:.2f} MB ({self.precision}), from {self.bytes_before / 1e6:.2f} MB"]
        if self.asked:
            out.append(f"{self.same} of {self.asked} prompts continued alike; {self.tokens_per_s:,.0f} tokens/s, before {self.tokens_per_s_before:,.0f}")
        return out + [f"note: {note}" for note in self.notes]


def quantize(model: str, out: str | Path, to: str) -> Exported:
    """Writes `model` (bundle, `.gguf`, Hugging Face folder or hub id) as a `.gguf` at precision `to`, and compares the two."""
    out = Path(out)
    if out.suffix != ".gguf":
        raise UsageError(f"{out} is no name for a GGUF file", hint=f"--out {out}.gguf")
    before = gguf_of(model)
    if Path(model).is_dir() and not (Path(model) / "manifest.json").is_file():
        report = write_gguf(find_checkpoint(model, "model"), out, precision=to)
    else:
        report = requantise(before, out, to)
    notes = [*report.notes, *(f"{name} is kept in {used}, because its rows do not fit {wanted}" for name, wanted, used in report.fallbacks[:5])]
    same, now, was = _compared(before, out)
    return Exported(out, out.stat().st_size, before.stat().st_size, to, same, len(PROMPTS), now, was, tuple(notes))


def _compared(before: Path, after: Path) -> tuple[int, float, float]:
    said, speeds = [], []
    for path in (before, after):
        with Engine.open(path, threads=1) as engine:
            done = [engine.complete(prompt, Sampling(max_tokens=_TOKENS)) for prompt in PROMPTS]
        said.append([one.ids for one in done])
        speeds.append(median([one.tokens_per_second for one in done if one.tokens_per_second] or [0.0]))
    return sum(a == b for a, b in zip(*said, strict=True)), speeds[1], speeds[0]


def export(model: str, out: str | Path, to: str) -> Exported:
    """Writes `model` in the form `to` (gguf, ollama, hf or onnx). Raises UsageError where the model has no such form."""
    if to not in FORMS:
        raise UsageError(f"there is no form {to!r}", hint=f"one of {', '.join(FORMS)}")
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} is there already", hint="name another place, or take it away")
    if to == "onnx":
        return _onnx(model, out)
    source = gguf_of(model)
    if to == "gguf":
        if out.suffix != ".gguf":
            raise UsageError(f"{out} is no name for a GGUF file", hint=f"--out {out}.gguf")
        shutil.copyfile(source, out)
    elif to == "ollama":
        _ollama(model, source, out)
    else:
        return _hub(source, out)
    same, now, was = _compared(source, out if to == "gguf" else out / "model.gguf")
    return Exported(out, _size(out), source.stat().st_size, "as it was", same, len(PROMPTS), now, was)


def _ollama(model: str, source: Path, out: Path) -> None:
    """A folder for `ollama create`: the model and a Modelfile whose template spells the prompt that the bundle was trained with."""
    out.mkdir(parents=True)
    shutil.copyfile(source, out / "model.gguf")
    lines = ["FROM ./model.gguf", "PARAMETER temperature 0"]
    spec = Path(model) / source.parent.name / SPEC
    if spec.is_file() and json.loads(spec.read_bytes())["form"] == "pair":
        lines.append('TEMPLATE """{{ .Prompt }}<|answer|>"""')
    (out / "Modelfile").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _hub(source: Path, out: Path) -> Exported:
    """A Hugging Face folder, its weights in float32, and whether llama.cpp answers from it as from the source."""
    try:
        unpack(source, out)
        with TemporaryDirectory(prefix="understudy-") as scratch:
            write_gguf(out, Path(scratch) / "again.gguf", precision="f32")
            same, now, was = _compared(source, Path(scratch) / "again.gguf")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(out, _size(out), source.stat().st_size, "float32", same, len(PROMPTS), now, was)


def _onnx(model: str, out: Path) -> Exported:
    """The transformer of a classifier as a Hugging Face folder with ONNX inside, which transformers.js opens."""
    if not (Path(model) / "manifest.json").is_file():
        raise UsageError(f"{model} is no bundle", hint="ONNX is the form of a classifier's transformer")
    bundle = open_bundle(model)
    found = [rung for rung in bundle.manifest.rungs if rung.kind == "encoder"]
    if not found:
        raise UsageError(f"{model} has no transformer in ONNX: its models are {', '.join(rung.kind for rung in bundle.manifest.rungs)}",
                         hint="--to gguf, ollama or hf" if bundle.manifest.rungs[-1].kind == "gguf" else "ONNX is the form of a classifier's transformer")
    names = [name for name in bundle.files() if name.startswith(f"{found[-1].path}/")]
    for name in names:
        path = out / name.removeprefix(f"{found[-1].path}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bundle.read(name))
    size = _size(out)
    return Exported(out, size, size, found[-1].precision, 0, 0, 0.0, 0.0, (f"the transformer '{found[-1].name}' alone, without what other models add to it",))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
