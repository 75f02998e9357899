"""The extractive summariser, the whole way: documents with summaries → a rung that chooses sentences → proof → bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any

from ..._version import __version__
from ...bundle import Manifest, Rung, write_bundle
from ...bundle.text_card import text_card
from ...errors import DataError, TeacherError
from ...models.checkpoint import DEFAULT, find_checkpoint
from ...models.teachers import Teacher, open_teacher
from ...proof.text_receipt import TextReceipt, build_text_receipt
from ...tasks.reading.pairs import Pair
from ...tasks.sentences import sentences
from ..documents import Pair as Document
from ..events import Event, Listener
from ..extractive import prepare
from ..summarise import Extractive, ExtractiveConfig, Training
from .config import TextConfig
from .metrics import scores_of
from .prepare import PreparedText

RUNG = "extract"
_PROBES = ("We sell tea. The shop opens at nine. Dogs are welcome.", "This paper shows that small models do. We tried four.", "")


def summariser(prepared: PreparedText, out: Path, config: TextConfig, provenance: dict[str, Any], listen: Listener) -> tuple[Manifest, TextReceipt]:
    """Trains on the training pairs, measures on the test pairs beside their first sentences, and writes the bundle."""
    started = monotonic()
    rows = [Document(pair.source, pair.references, None, pair.line) for pair in prepared.train]
    how = ExtractiveConfig(seed=config.seed, encoder=config.encoder, titles=False)
    lessons = prepare(rows, stem=how.stem, titles=False)
    if len(lessons.documents) < 2 * how.folds:
        raise DataError(f"{len(lessons.documents)} documents have sentences; a summariser needs at least {2 * how.folds}")
    trained = Training(lessons, how, lambda line: listen(Event("extract", line))).run(_teacher(config, listen), 0)
    seconds = monotonic() - started
    listen(Event("prove", f"summarising {len(prepared.test):,} test documents"))
    entries = [_lead(prepared.test, lessons.length, config.seed), _chosen(prepared.test, trained, seconds, config.seed)]
    receipt = build_text_receipt(task="summarize", name=out.name, entries=entries, rows=len(prepared.test), data=provenance["data"], seed=config.seed,
                                 provenance={"train_seconds": seconds, "chosen": trained.chosen, "out_of_fold_rouge1": trained.rouge1})
    rung = Rung(name=RUNG, kind="extract", path=RUNG, parameters=trained.parameters, precision="int8", mix={RUNG: 1.0})
    manifest = Manifest(name=out.resolve().name, version=__version__, labels=(), rungs=(rung,), task="summarize", provenance=provenance,
                        scores=receipt.headline)
    model = trained.open()
    checks = [{"text": text, "answer": model.summarise(text, sentences=1).text} for text in _PROBES]
    told = json.dumps({"checks": checks}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    files = {**{f"{RUNG}/{name}": data for name, data in trained.files.items()}, "checks.json": told.encode(), "receipt.json": receipt.to_json(),
             "receipt.html": receipt.html().encode(), "README.md": text_card(manifest, receipt.rows()).encode()}
    return write_bundle(out, files, manifest), receipt


def _teacher(config: TextConfig, listen: Listener) -> Teacher | None:
    if config.encoder == "no":
        return None
    try:
        return open_teacher(DEFAULT, find_checkpoint(DEFAULT))
    except TeacherError as problem:
        if config.encoder == "yes":
            raise
        listen(Event("extract", f"no encoder: {problem}"))
        return None


def _lead(test: Sequence[Pair], count: int, seed: int) -> dict[str, Any]:
    """The first sentences: what any summariser has to beat."""
    said = []
    for pair in test:
        spans = sentences(pair.source)[:count]
        said.append(pair.source[spans[0].start:spans[-1].end] if spans else pair.source)
    return {"name": f"lead-{count}", "precision": "–", "rows": len(test), "scores": scores_of("summarize", test, said, seed), "bytes": None, "speed": None}


def _chosen(test: Sequence[Pair], trained: Extractive, seconds: float, seed: int) -> dict[str, Any]:
    model = trained.open()
    said, times = [], []
    for pair in test:
        started = perf_counter()
        said.append(model.summarise(pair.source).text)
        times.append((perf_counter() - started) * 1e3)
    return {"name": RUNG, "precision": "int8", "rows": len(test), "scores": scores_of("summarize", test, said, seed), "bytes": trained.bytes,
            "parameters": trained.parameters, "speed": {"first_ms": None, "answer_ms": median(times), "tokens_per_s": None, "rss_mb": None},
            "train_seconds": seconds}
