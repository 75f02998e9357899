"""From a trained decoder to a proved bundle: weights as GGUF, the answers measured on the test pairs, the receipt, the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..._version import __version__
from ...bundle import Manifest, Rung, open_bundle, write_bundle
from ...bundle.text_card import text_card
from ...models.decoder import save_hub
from ...models.pieces import BOS, EOS, PAD, SEP, special_id
from ...proof.text_receipt import TextReceipt, build_text_receipt
from ...run.generate.sampling import Sampling
from ...run.writing import MODEL, SPEC, Prompt, Writer, Written, spec_json
from ...shrink.gguf.write import write_gguf
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import ROLES, Conversation
from ..events import Event, Listener
from .config import TextConfig
from .fit import Fitted
from .metrics import scores_of

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


def stage(fitted: Fitted, task: str, config: TextConfig, provenance: dict[str, Any], name: str, scratch: Path, precision: str,
          answer_tokens: int) -> Staged:
    """The model at `precision` as bundle files. `answer_tokens` bounds an answer unless the caller says otherwise."""
    ids = {mark: special_id(fitted.tokenizer, mark) for mark in (BOS, EOS, PAD, SEP)}
    folder, packed = scratch / "hub", scratch / f"{precision}.gguf"
    save_hub(fitted.model, fitted.tokenizer.to_str(), folder, bos=ids[BOS], eos=ids[EOS], pad=ids[PAD])
    write_gguf(folder, packed, precision=precision)
    form = {"lm": "text", "chat": "chat"}.get(task, "pair")
    roles = {role: special_id(fitted.tokenizer, f"<|{role}|>") for role in ROLES} if form == "chat" else {}
    prompt = Prompt(form, ids[BOS], ids[SEP] if form == "pair" else None, ids[EOS], roles, answer_tokens)
    spec = json.dumps(spec_json(prompt), indent=1, sort_keys=True) + "\n"
    rung = Rung(name=RUNG, kind="gguf", path=RUNG, parameters=fitted.model.shape.parameters, precision=precision, mix={RUNG: 1.0},
                max_tokens=config.context)
    manifest = Manifest(name=name, version=__version__, labels=(), rungs=(rung,), task=task, provenance=provenance)
    return Staged({f"{RUNG}/{MODEL}": packed.read_bytes(), f"{RUNG}/{SPEC}": spec.encode()}, manifest)


def prove_and_write(out: Path, shipped: Staged, whole: Staged, test: Sequence[Pair | Conversation], seconds: float, fitted: Fitted,
                    scratch: Path, seed: int, listen: Listener) -> tuple[Manifest, TextReceipt]:
    """Measures both precisions on the test pairs and writes the bundle with receipt, card and checks."""
    entries = []
    checks: list[dict[str, str]] = []
    for staged, pairs in ((whole, list(test[:_COMPARED])), (shipped, list(test))):
        write_bundle(scratch / staged.manifest.rungs[0].precision, staged.files, staged.manifest)
        with Writer(open_bundle(scratch / staged.manifest.rungs[0].precision)) as writer:
            listen(Event("prove", f"answering {len(pairs):,} test rows at {staged.manifest.rungs[0].precision}"))
            entries.append(_entry(writer, staged, pairs, seconds, seed))
            if staged is shipped:
                checks = [{"text": text, "answer": writer.predict(text, Sampling(max_tokens=24)).text} for text in _PROBES]
    receipt = build_text_receipt(task=shipped.manifest.task, name=out.name, entries=entries, rows=len(test), data=shipped.manifest.provenance["data"],
                                 seed=seed, provenance={"train_seconds": seconds, "steps": fitted.steps, "train_tokens": fitted.tokens,
                                                        "held_out_nats": fitted.nats if math.isfinite(fitted.nats) else None})
    manifest = replace(shipped.manifest, name=out.resolve().name, scores=receipt.headline)
    told = json.dumps({"checks": checks}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    files = {**shipped.files, "checks.json": told.encode(), "receipt.json": receipt.to_json(), "receipt.html": receipt.html().encode(),
             "README.md": text_card(manifest, receipt.rows()).encode()}
    return write_bundle(out, files, manifest), receipt


def _entry(writer: Writer, staged: Staged, rows: Sequence[Pair | Conversation], seconds: float, seed: int) -> dict[str, Any]:
    task, rung = staged.manifest.task, staged.manifest.rungs[0]
    pairs = [row for row in rows if isinstance(row, Pair)]
    said: list[Written] = []
    if task == "lm":
        scores = _bits(writer, pairs)
    elif task == "chat":
        asked = [row.before_last_answer() for row in rows if isinstance(row, Conversation)]
        said = [writer.reply(before) for before, _ in asked]
        pairs = [Pair(before[-1]["content"], answer) for before, answer in asked]
        scores = scores_of(task, pairs, [one.text for one in said], seed)
    else:
        said = writer.predict([pair.source for pair in pairs])
        scores = scores_of(task, pairs, [one.text for one in said], seed)
    cut = sum(one.finish == "length" for one in said)
    return {"name": rung.name, "precision": rung.precision, "rows": len(rows), "scores": scores, "bytes": sum(map(len, staged.files.values())),
            "parameters": rung.parameters, "speed": _speed(writer, pairs), "train_seconds": seconds, "cut": cut}


def _bits(writer: Writer, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Bits per byte with an interval over blocks."""
    bits, sizes = [], []
    for pair in pairs[:40]:
        text = pair.target[:1500]
        score = writer.score(text)
        sizes.append(len(text.encode()))
        bits.append(score.bits_per_byte * sizes[-1])
    rng = np.random.default_rng(0)
    total, weight = np.array(bits), np.array(sizes, float)
    drawn = rng.integers(0, len(bits), (1000, len(bits)))
    spread = total[drawn].sum(1) / weight[drawn].sum(1)
    return {"bits_per_byte": {"value": float(total.sum() / weight.sum()), "low": float(np.quantile(spread, 0.025)), "high": float(np.quantile(spread, 0.975))}}


def _speed(writer: Writer, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Medians over single requests: seconds to the first token, decoded tokens a second, milliseconds for a whole answer."""
    prompts = [(pair.source or pair.target[:200]) for pair in pairs[:30]]
    firsts, rates, wholes = [], [], []
    for prompt in prompts:
        started = perf_counter()
        said = writer.engine.complete(writer.ids(prompt), Sampling(max_tokens=min(64, writer.prompt.max_tokens)))
        wholes.append((perf_counter() - started) * 1e3)
        firsts.append(said.seconds_first * 1e3)
        if said.tokens > 3:
            rates.append(said.tokens_per_second)
    return {"first_ms": median(firsts), "answer_ms": median(wholes), "tokens_per_s": median(rates) if rates else None, "rss_mb": _resident(writer)}


def _resident(writer: Writer) -> float | None:
    try:
        status = Path(f"/proc/{writer.engine.worker_pid}/status").read_text()
    except OSError:
        return None
    found = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0].split()[1]) / 1e3 if found else None


