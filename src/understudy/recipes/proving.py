"""The receipt of a finished bundle on new labelled data. Runs in the base install: no torch, no scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..proof.bench import Speed, measure
from ..proof.gate import check_gate, parse_gate, raise_if_failed
from ..proof.receipt import Entry, Receipt, build_receipt
from ..proof.text_receipt import TextReceipt
from ..run.answer import Answers, Understudy
from ..run.opening import load
from ..tasks.reading import read_examples
from .events import Event, Listener, silent
from .memory import serving_memory

if TYPE_CHECKING:
    from ..run.opening import Opened

_MEASURED_TEXTS = 400
_AT_ONCE = 512


def prove(bundle: str | Path | Opened, data: str | Path, *, text_column: str | None = None, label_column: str | None = None,
          encoding: str | None = None, on_bad_row: str = "fail", gate: str | None = None, seed: int = 0,
          listen: Listener = silent) -> Receipt | TextReceipt:
    """Measures every rung alone and the cascade on the labelled file `data`; for a text bundle the columns are its source and target.

    Raises DataError for labels that the bundle does not know, GateError when `gate` ('accuracy>=0.9,size<=5MB') is missed.
    """
    rules = parse_gate(gate) if gate else ()
    opened = load(bundle) if isinstance(bundle, str | Path) else bundle
    if not isinstance(opened, Understudy):
        from .text.measuring import prove_text

        listen(Event("prove", f"answering {data}", 0.0))
        try:
            told = prove_text(opened, data, source=text_column, target=label_column, encoding=encoding, on_bad_row=on_bad_row, seed=seed)
        finally:
            opened.close()
        raise_if_failed(check_gate(rules, told))
        return told
    listen(Event("prove", f"reading {data}", 0.0))
    dataset = read_examples(data, text_column=text_column, label_column=label_column, encoding=encoding, on_bad_row=on_bad_row)
    number = {label: index for index, label in enumerate(opened.labels)}
    strange = sorted({str(e.label) for e in dataset.examples} - set(number))
    if strange:
        first = next(e for e in dataset.examples if e.label == strange[0])
        raise DataError(f"{data}, line {first.line}: the label {strange[0]!r} is not one of the bundle's {len(number)}"
                        + (f" (and {len(strange) - 1} more such labels)" if len(strange) > 1 else ""),
                        hint="rename the labels to the bundle's, or leave those rows out; `understudy show` lists them")
    texts = [e.text for e in dataset.examples]
    gold = np.array([number[str(e.label)] for e in dataset.examples], np.int64)
    receipt = build_receipt(task=opened.manifest.task, name=opened.manifest.name, labels=opened.labels, texts=texts, gold=gold,
                            entries=[*_rungs(opened, texts, listen), _cascade(opened, texts, listen)], rung_names=[rung.name for rung in opened.manifest.rungs],
                            data={"file": Path(data).name, "sha256": dataset.report.sha256, "rows": len(texts), "skipped": dataset.report.skipped_count},
                            provenance={"bundle": opened.manifest.id, "trained": opened.manifest.provenance.get("data", {})}, seed=seed)
    raise_if_failed(check_gate(rules, receipt))
    return receipt


def _answers(opened: Understudy, texts: list[str], force: str | None, listen: Listener) -> Answers:
    """What one rung, or the cascade, says of all texts, telling how far it is."""
    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        listen(Event("prove", f"{force or 'cascade'}: {start:,} of {len(texts):,} rows", start / len(texts)))
        parts.append(opened.answer(texts[start:start + _AT_ONCE], force=force))
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("probs", "rung", "answered")))


def _rungs(opened: Understudy, texts: list[str], listen: Listener) -> list[Entry]:
    entries, rungs = [], opened.manifest.rungs
    promised = any(rung.threshold <= 1 for rung in rungs)
    for index, rung in enumerate(rungs):
        if promised and rung.threshold > 1 and any(rung.name in later.mix for later in rungs[index + 1:]):
            continue  # it never answers: a later rung adds its logits
        size = sum(entry.bytes for path, entry in opened.manifest.files.items() if path.startswith(f"{rung.path}/"))
        entries.append(Entry(name=rung.name, role="rung", precision=rung.precision, probs=_answers(opened, texts, rung.name, listen).probs, bytes=size,
                             parameters=rung.parameters, speed=_speed(opened, texts, rung.name, listen)))
    return entries


def _speed(opened: Understudy, texts: list[str], force: str | None, listen: Listener) -> Speed:
    listen(Event("prove", f"{force or 'cascade'}: timing", 1.0))
    some = texts[:_MEASURED_TEXTS]
    speed = measure(lambda text: opened.answer([text], force=force), lambda batch: opened.answer(batch, force=force), some,
                    seconds=0.6 if force else 2.0)
    return replace(speed, rss_mb=serving_memory(opened, some, force))


def _cascade(opened: Understudy, texts: list[str], listen: Listener) -> Entry:
    answers = _answers(opened, texts, None, listen)
    return Entry(name="cascade", role="cascade", precision="mixed", probs=answers.probs, rung=answers.rung, answered=answers.answered,
                 bytes=sum(entry.bytes for path, entry in opened.manifest.files.items() if "/" in path),
                 parameters=sum(rung.parameters for rung in opened.manifest.rungs), speed=_speed(opened, texts, None, listen))
