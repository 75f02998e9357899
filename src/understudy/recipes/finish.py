"""The end of every recipe: measure the staged bundle, write the receipt, and put the finished bundle in place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle import Manifest, model_card, write_bundle
from ..proof.bench import Speed, measure
from ..proof.certify import Certificate
from ..proof.receipt import Entry, Receipt, build_receipt
from ..run.answer import Understudy, mixed
from .ground import Ground
from .guarded import one_thread
from .memory import serving_memory, teacher_memory
from .prepare import Prepared
from .student import Student
from .teacher import BundleTeacher, Signal

_PROBES = ("", "hello", "thank you very much", "ok 👍", "?", "I have a question about my last message")
_MEASURED_TEXTS = 400
_ASKED = 32
"""Texts that a teacher is timed on: it may be a hundred times slower than its students."""


def measure_rungs(staged: Understudy, texts: Sequence[str]) -> dict[str, Speed]:
    """Latency and throughput of each rung's model on its own, on one thread."""
    some = list(texts[:_MEASURED_TEXTS])
    out = {}
    for rung in staged.manifest.rungs:
        def one(text: str, name: str = rung.name) -> np.ndarray:
            return staged.raw_logits(name, [text])

        def many(batch: list[str], name: str = rung.name) -> np.ndarray:
            return staged.raw_logits(name, batch)

        out[rung.name] = replace(measure(one, many, some, seconds=0.6), rss_mb=serving_memory(staged, some, rung.name))
    return out


def receipt_of(prepared: Prepared, ground: Ground, signal: Signal, students: Sequence[Student], staged: Understudy, final: Understudy,
               speeds: dict[str, Speed], certificate: Certificate | None, seed: int, seconds: float) -> Receipt:
    """Teacher, every rung before and after int8, and the cascade, all on the test rows that nothing else touched."""
    texts, gold = [e.text for e in prepared.test], prepared.gold(prepared.test)
    left_out = [student.name for student in students if student.name not in {rung.name for rung in final.manifest.rungs}]
    entries = _teacher_entry(ground, signal, texts)
    floats = {student.name: student.float_logits(texts) for student in students}
    for student, rung in zip(students, staged.manifest.rungs, strict=True):
        if student.helper:
            continue
        entries.append(Entry(name=student.name, role="rung", precision="float32", probs=mixed(rung, floats),
                             parameters=student.parameters))
        entries.append(Entry(name=student.name, role="rung", precision=student.precision, probs=staged.answer(texts, force=student.name).probs,
                             bytes=student.bytes, parameters=student.parameters, speed=speeds[student.name],
                             train_seconds=student.seconds))
    answers = final.answer(texts)
    speed = measure(lambda text: final.predict(text), lambda batch: final.predict(batch), texts[:_MEASURED_TEXTS * 3], seconds=2.0)
    speed = replace(speed, rss_mb=serving_memory(final, texts[:_MEASURED_TEXTS]))
    entries.append(Entry(name="cascade", role="cascade", precision="mixed", probs=answers.probs, rung=answers.rung, answered=answers.answered,
                         bytes=sum(entry.bytes for entry in final.manifest.files.values()),
                         parameters=sum(rung.parameters for rung in final.manifest.rungs), speed=speed, train_seconds=seconds))
    measured = {student.name: dict(student.measured) for student in students if student.measured}
    return build_receipt(task="classify", name=prepared.provenance["data"]["file"], labels=prepared.labels, texts=texts, gold=gold, entries=entries,
                         rung_names=[rung.name for rung in final.manifest.rungs], certificate=certificate,
                         data=prepared.provenance["data"], seed=seed,
                         notes=[*(f"measured but not in the bundle, because it would answer nothing: {name}" for name in left_out),
                                *(f"{student.name} never answers; its logits are added to the last rung's" for student in students if student.helper)],
                         provenance={"teacher": signal.name, "teacher_seconds": signal.seconds, "parity": measured,
                                     "notes": {student.name: list(student.notes) for student in students},
                                     "held_rows": len(ground.held), "evaluated_folds": ground.evaluated})


def _teacher_entry(ground: Ground, signal: Signal, texts: list[str]) -> list[Entry]:
    speaker = signal.speaker
    if speaker is None or signal.test is None:
        return []

    def one(text: str) -> np.ndarray:
        return ground.teacher_probs(speaker.vectors([text], lambda done: None))

    def many(batch: list[str]) -> np.ndarray:
        return ground.teacher_probs(speaker.vectors(batch, lambda done: None))

    with one_thread():
        speed = measure(one, many, texts[:_ASKED], seconds=1.0, batch=_ASKED)
    if isinstance(speaker, BundleTeacher):
        made = speaker.bundle.manifest
        size, parameters, precision = sum(entry.bytes for entry in made.files.values()), sum(rung.parameters for rung in made.rungs), "mixed"
        memory = serving_memory(speaker.bundle, texts[:_ASKED])
    else:
        assert signal.teacher is not None, "whoever speaks is a bundle or a checkpoint"
        size, parameters, precision = signal.teacher.bytes, sum(p.numel() for p in signal.teacher.model.parameters()), "float32"
        memory = teacher_memory(signal.teacher.folder, texts[:_ASKED])
    return [Entry(name="teacher", role="teacher", precision=precision, probs=ground.teacher_probs(signal.test), bytes=size, parameters=parameters,
                  speed=replace(speed, rss_mb=memory), train_seconds=signal.seconds if signal.fresh else None)]


def checks_of(bundle: Understudy, prepared: Prepared) -> bytes:
    """checks.json: texts and the answers they must give. Made from label names and stock phrases, never from the user's rows."""
    texts = list(dict.fromkeys([*_PROBES, *(label.replace("_", " ") for label in prepared.labels[:10]), *list(prepared.descriptions.values())[:6]]))
    checks = [{"text": text, "label": said.label, "confidence": round(said.confidence, 6), "rung": said.rung}
              for text, said in zip(texts, bundle.predict(texts), strict=True)]
    return (json.dumps({"tolerance": 0.02, "checks": checks}, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def finish(out: Path, staged: Understudy, receipt: Receipt, checks: bytes) -> Manifest:
    """Writes the bundle with receipt, page, card and checks; the old one stays whole until the new one is."""
    scores = {key: receipt.headline.get(key) for key in ("accuracy", "macro_f1", "retention", "coverage", "ece")}
    manifest = replace(staged.manifest, name=out.resolve().name, scores=scores, files={})
    files = {name: staged.bundle.read(name) for name in staged.bundle.files()}
    files |= {"checks.json": checks, "receipt.json": receipt.to_json(), "receipt.html": receipt.html().encode(),
              "README.md": model_card(manifest, receipt.data).encode()}
    return write_bundle(out, files, manifest)
