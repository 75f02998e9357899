"""The extractive summariser, the whole way: documents with summaries → a rung that chooses sentences → proof → bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from ..._version import __version__
from ...bundle import Manifest, Rung, open_bundle, write_bundle
from ...errors import DataError, TeacherError
from ...models.checkpoint import DEFAULT, find_checkpoint
from ...models.teachers import Teacher, open_teacher
from ...proof.gate import Rule
from ...proof.text_receipt import TextReceipt
from ...run.summarising import Summariser
from ..events import Event, Listener
from .config import TextConfig
from .documents import Pair as Document
from .extractive import prepare
from .extractive_training import ExtractiveConfig, Training
from .measuring import measured_lead, measured_summariser
from .prepare import PreparedText
from .sealing import seal

RUNG = "extract"
_PROBES = ("We sell tea. The shop opens at nine. Dogs are welcome.", "This paper shows that small models do. We tried four.", "")


def summariser(prepared: PreparedText, out: Path, config: TextConfig, provenance: dict[str, Any], rules: Sequence[Rule],
               listen: Listener) -> tuple[Manifest, TextReceipt]:
    """Trains on the training pairs, measures on the test pairs beside their first sentences, and writes the bundle."""
    started = monotonic()
    rows = [Document(pair.source, pair.references, None, pair.line) for pair in prepared.train]
    how = ExtractiveConfig(seed=config.seed, encoder=config.encoder, titles=False)
    lessons = prepare(rows, stem=how.stem, titles=False)
    if len(lessons.documents) < 2 * how.folds:
        raise DataError(f"{len(lessons.documents)} documents have sentences; a summariser needs at least {2 * how.folds}")
    trained = Training(lessons, how, lambda line: listen(Event("extract", line))).run(_teacher(config, listen), 0)
    seconds = monotonic() - started
    rung = Rung(name=RUNG, kind="extract", path=RUNG, parameters=trained.parameters, precision="int8", mix={RUNG: 1.0})
    manifest = Manifest(name=out.resolve().name, version=__version__, labels=(), rungs=(rung,), task="summarize", provenance=provenance)
    files = {f"{RUNG}/{name}": data for name, data in trained.files.items()}
    listen(Event("prove", f"summarising {len(prepared.test):,} test documents"))
    with tempfile.TemporaryDirectory(prefix="understudy-") as scratch:
        write_bundle(Path(scratch) / "staged", files, manifest)
        model = Summariser(open_bundle(Path(scratch) / "staged"))
        entries = [measured_lead(prepared.test, model.usual_length, config.seed),
                   {**measured_summariser(model, prepared.test, config.seed), "train_seconds": seconds}]
        checks = [{"text": text, "answer": model.predict(text, sentences=1).text} for text in _PROBES]
    told = {"train_seconds": seconds, "chosen": trained.chosen, "out_of_fold_rouge1": trained.rouge1}
    return seal(out, files, manifest, entries, checks, told, len(prepared.test), config.seed, rules)


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
