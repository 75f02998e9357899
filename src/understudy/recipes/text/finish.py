"""From a trained decoder to a proved bundle: weights as GGUF, the answers measured on the test pairs, the receipt, the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...bundle import Manifest, Rung, open_bundle, write_bundle
from ...proof.gate import Rule
from ...proof.text_receipt import TextReceipt
from ...run.generate.sampling import Sampling
from ...run.writing import MODEL, SPEC, Prompt, Writer
from ...shrink.gguf.write import write_gguf
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ..events import Event, Listener
from .fit import Fitted
from .measuring import measured_writer
from .sealing import seal

RUNG = "writer"
_COMPARED = 500
"""Test sources that the unquantised model answers too."""
_PROBES = ("Hello!", "Where is the station?", "name[Blue Spice], food[Italian]", "Open file", "1, 2, 3", "Thank you.")
"""Stock phrases, never the user's rows: their answers travel with the bundle."""


@dataclass(frozen=True)
class Staged:
    """A finished bundle's parts before its receipt is known."""

    files: dict[str, bytes]
    manifest: Manifest


def stage(fitted: Fitted, task: str, provenance: dict[str, Any], name: str, scratch: Path, precision: str,
          answer_tokens: int) -> Staged:
    """The model at `precision` as bundle files. `answer_tokens` bounds an answer unless the caller says otherwise."""
    folder, packed = scratch / "hub", scratch / f"{precision}.gguf"
    if not folder.exists():
        fitted.save(folder)
    write_gguf(folder, packed, precision=precision)
    marks = fitted.marks
    form = {"lm": "text", "chat": "chat"}.get(task, "pair")
    prompt = Prompt(form, marks.begin, marks.mark if form == "pair" else None, marks.end, marks.roles, answer_tokens)
    spec = json.dumps(asdict(prompt), indent=1, sort_keys=True) + "\n"
    rung = Rung(name=RUNG, kind="gguf", path=RUNG, parameters=fitted.parameters, precision=precision, mix={RUNG: 1.0},
                max_tokens=fitted.context)
    manifest = Manifest(name=name, version=__version__, labels=(), rungs=(rung,), task=task, provenance=provenance)
    return Staged({f"{RUNG}/{MODEL}": packed.read_bytes(), f"{RUNG}/{SPEC}": spec.encode()}, manifest)


def prove_and_write(out: Path, shipped: Staged, whole: Staged, test: Sequence[Pair | Conversation], seconds: float, fitted: Fitted,
                    scratch: Path, seed: int, rules: Sequence[Rule], listen: Listener) -> tuple[Manifest, TextReceipt]:
    """Measures both precisions on the test pairs and writes the bundle with receipt, card and checks."""
    entries = []
    checks: list[dict[str, str]] = []
    for staged, pairs in ((whole, list(test[:_COMPARED])), (shipped, list(test))):
        write_bundle(scratch / staged.manifest.rungs[0].precision, staged.files, staged.manifest)
        with Writer(open_bundle(scratch / staged.manifest.rungs[0].precision)) as writer:
            listen(Event("prove", f"answering {len(pairs):,} test rows at {staged.manifest.rungs[0].precision}"))
            entries.append({**measured_writer(writer, pairs, seed), "train_seconds": seconds})
            if staged is shipped:
                checks = [{"text": text, "answer": writer.predict(text, Sampling(max_tokens=24)).text} for text in _PROBES]
    told = {"train_seconds": seconds, "steps": fitted.steps, "train_tokens": fitted.tokens,
            "held_out_nats": fitted.nats if math.isfinite(fitted.nats) else None}
    return seal(out, shipped.files, shipped.manifest, entries, checks, told, len(test), seed, rules)
