"""What an opened text bundle scores on rows that it was not trained on, and how fast it is. Runs in the base install: no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ...errors import DataError
from ...proof.bench import rss_mb
from ...proof.intervals import bootstrap_interval
from ...proof.text_receipt import TextReceipt, build_text_receipt
from ...run.generate.sampling import Sampling
from ...run.opening import load
from ...run.summarising import Summariser
from ...run.writing import Writer, Written
from ...tasks.reading.pairs import Pair, grouped, read_pairs
from ...tasks.reading.plain_text import blocks, read_text
from ...tasks.reading.turns import Conversation, read_conversations
from ...tasks.sentences import sentences
from .metrics import scores_of


def prove_text(opened: Writer | Summariser, data: str | os.PathLike[str], *, source: str | None = None, target: str | None = None,
               encoding: str | None = None, on_bad_row: str = "fail", seed: int = 0) -> TextReceipt:
    """The receipt of a bundle that writes or summarises, on new data of the kind it was trained on."""
    task = opened.task
    rows: Sequence[Pair | Conversation]
    if task == "lm":
        rows = [Pair("", block) for block in blocks(read_text(data, encoding))]
    elif task == "chat":
        rows = read_conversations(data, column=source, encoding=encoding, on_bad_row=on_bad_row).conversations
    else:
        rows = grouped(read_pairs(data, source=source, target=target, encoding=encoding, on_bad_row=on_bad_row).pairs)
    if not rows:
        raise DataError(f"{data} holds nothing to measure on")
    if isinstance(opened, Summariser):
        pairs = [row for row in rows if isinstance(row, Pair)]
        entries = [measured_lead(pairs, opened.usual_length, seed), measured_summariser(opened, pairs, seed)]
    else:
        entries = [measured_writer(opened, rows, seed)]
    manifest = opened.manifest
    return build_text_receipt(task=task, name=manifest.name, entries=entries, rows=len(rows), data={"file": Path(data).name, "rows": len(rows)}, seed=seed,
                              provenance={"bundle": manifest.id, "trained": manifest.provenance.get("data", {})})


def speed_of(path: str | os.PathLike[str], texts: Sequence[str]) -> dict[str, float | None]:
    """Medians over single requests with these texts (at most 30): first_ms, answer_ms, tokens_per_s, rss_mb; None where there is no such thing."""
    opened = load(path)
    if isinstance(opened, Summariser):
        return _summarised(opened, texts)[1]
    assert isinstance(opened, Writer)
    with opened:
        return _speed(opened, [Pair(text, "") for text in texts])


def measured_summariser(model: Summariser, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """The receipt's entry of an extractive summariser."""
    rung = model.manifest.rungs[-1]
    said, speed = _summarised(model, [pair.source for pair in pairs])
    return {"name": rung.name, "precision": rung.precision, "rows": len(pairs), "scores": scores_of("summarize", pairs, said, seed), "bytes": _size(model),
            "parameters": rung.parameters, "speed": speed}


def _summarised(model: Summariser, texts: Sequence[str]) -> tuple[list[str], dict[str, float | None]]:
    """The summaries of texts one by one, and the median of what each took."""
    said, times = [], []
    for text in texts:
        started = perf_counter()
        said.append(model.predict(text).text)
        times.append((perf_counter() - started) * 1e3)
    return said, {"first_ms": None, "answer_ms": median(times), "tokens_per_s": None, "rss_mb": None}


def measured_lead(pairs: Sequence[Pair], count: int, seed: int) -> dict[str, Any]:
    """The first sentences: what any summariser has to beat."""
    said = []
    for pair in pairs:
        spans = sentences(pair.source)[:count]
        said.append(pair.source[spans[0].start:spans[-1].end] if spans else pair.source)
    return {"name": f"lead-{count}", "precision": "–", "rows": len(pairs), "scores": scores_of("summarize", pairs, said, seed), "bytes": None, "speed": None}


def measured_writer(writer: Writer, rows: Sequence[Pair | Conversation], seed: int) -> dict[str, Any]:
    """The receipt's entry of a model that writes."""
    task, rung = writer.task, writer.manifest.rungs[-1]
    pairs = [row for row in rows if isinstance(row, Pair)]
    said: list[Written] = []
    if task == "lm":
        scores = _bits(writer, pairs, seed)
    elif task == "chat":
        asked = [row.before_last_answer() for row in rows if isinstance(row, Conversation)]
        said = [writer.reply(before) for before, _ in asked]
        pairs = [Pair(before[-1]["content"], answer) for before, answer in asked]
        scores = scores_of(task, pairs, [one.text for one in said], seed)
    else:
        said = writer.predict([pair.source for pair in pairs])
        scores = scores_of(task, pairs, [one.text for one in said], seed)
    cut = sum(one.finish == "length" for one in said)
    return {"name": rung.name, "precision": rung.precision, "rows": len(rows), "scores": scores, "bytes": _size(writer),
            "parameters": rung.parameters, "speed": _speed(writer, pairs), "cut": cut}


def _bits(writer: Writer, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """Bits per byte with an interval over blocks."""
    bits, sizes = [], []
    for pair in pairs[:40]:
        text = pair.target[:1500]
        score = writer.score(text)
        sizes.append(len(text.encode()))
        bits.append(score.bits_per_byte * sizes[-1])
    total, weight = np.array(bits), np.array(sizes, float)
    low, high = bootstrap_interval(lambda rows: float(total[rows].sum() / weight[rows].sum()), len(bits), seed)
    return {"bits_per_byte": {"value": float(total.sum() / weight.sum()), "low": low, "high": high}}


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
    return {"first_ms": median(firsts), "answer_ms": median(wholes), "tokens_per_s": median(rates) if rates else None, "rss_mb": rss_mb(writer.engine.worker_pid)}


def _size(opened: Writer | Summariser) -> int:
    rung = opened.manifest.rungs[-1]
    return sum(entry.bytes for path, entry in opened.manifest.files.items() if path.startswith(f"{rung.path}/"))
