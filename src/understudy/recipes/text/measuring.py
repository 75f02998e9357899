"""What an opened text bundle scores on rows that it was not trained on, and how fast it is. Runs in the base install: no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ...errors import DataError, UsageError
from ...proof.bench import rss_mb
from ...proof.intervals import bootstrap_interval
from ...proof.text_receipt import TextReceipt, build_text_receipt
from ...run.generate.engine import Engine
from ...run.generate.sampling import Sampling
from ...run.opening import load
from ...run.summarising import Summariser
from ...run.writing import Writer, Written
from ...tasks.reading.pairs import Pair, grouped, read_pairs
from ...tasks.reading.plain_text import blocks, read_text
from ...tasks.reading.turns import Conversation, read_conversations
from ...tasks.sentences import sentences
from ...tasks.slots import mask_pair
from .metrics import scores_of

_SCORED, _LETTERS = 30, 600
"""Rows, and characters of each, whose bits per byte are measured: every token is a request."""


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
    """Medians over single requests with these texts (at most 30): first_ms, answer_ms, tokens_per_s, prefill_tokens_per_s, rss_mb; None where there is no such thing."""
    opened = load(path)
    if isinstance(opened, Summariser):
        return _summarised(opened, texts)[1]
    assert isinstance(opened, Writer)
    with opened:
        return speed_of_engine(opened.engine, [opened.ids(text) for text in texts], opened.prompt.max_tokens)


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
    return said, {"first_ms": None, "answer_ms": median(times), "tokens_per_s": None, "prefill_tokens_per_s": None, "rss_mb": None}


def measured_lead(pairs: Sequence[Pair], count: int, seed: int) -> dict[str, Any]:
    """The first sentences: what any summariser has to beat."""
    said = []
    for pair in pairs:
        spans = sentences(pair.source)[:count]
        said.append(pair.source[spans[0].start:spans[-1].end] if spans else pair.source)
    return {"name": f"lead-{count}", "precision": "–", "rows": len(pairs), "scores": scores_of("summarize", pairs, said, seed), "bytes": None, "speed": None}


def measured_writer(writer: Writer, rows: Sequence[Pair | Conversation], seed: int) -> dict[str, Any]:
    """The receipt's entry of a model that writes. A question that its context does not hold counts as answered with nothing, and as cut.

    Raises DataError where it holds none.
    """
    task, rung = writer.task, writer.manifest.rungs[-1]
    known = [_question(writer, row) for row in rows]
    beyond = [pair for pair, ids in known if ids is None]
    asked = [(pair, ids) for pair, ids in known if ids is not None]
    talks = [row for row, (_, ids) in zip(rows, known, strict=True) if isinstance(row, Conversation) and ids is not None]
    if not asked:
        raise DataError(f"none of {len(rows):,} test rows fits into a context of {writer.engine.context} tokens", hint="raise --context")
    said: list[Written] = []
    scores: dict[str, Any] = {}
    if task != "lm":
        said = [writer.reply(row.before_last_answer()[0]) for row in talks] or writer.predict([pair.source for pair, _ in asked])
        scores = scores_of(task, [*(pair for pair, _ in asked), *beyond], [*(one.text for one in said), *("" for _ in beyond)], seed)
    scores |= _bits(writer, asked, seed)
    prompts = [ids if pair.source else writer.ids(pair.target[:200]) for pair, ids in asked]
    cut = sum(one.finish == "length" for one in said) + len(beyond)
    return {"name": rung.name, "precision": rung.precision, "rows": len(rows), "scores": scores, "bytes": _size(writer),
            "parameters": rung.parameters, "speed": speed_of_engine(writer.engine, prompts, writer.prompt.max_tokens), "cut": cut}


def _question(writer: Writer, row: Pair | Conversation) -> tuple[Pair, list[int] | None]:
    """(what is asked and the references, the prompt's ids or None where they are more than fit); of plain text the beginning of the prompt only."""
    if isinstance(row, Pair):
        ids = writer.ids(row.source)
        # What is translated or summarised goes in parts, where it is long.
        return row, ids if writer.task in ("translate", "summarize") or len(ids) < writer.engine.context else None
    before, answer = row.before_last_answer()
    try:
        return Pair(before[-1]["content"], answer), writer.chat_ids(writer.fit(before)[0])
    except UsageError:
        return Pair(before[-1]["content"], answer), None


def _bits(writer: Writer, asked: Sequence[tuple[Pair, list[int]]], seed: int) -> dict[str, Any]:
    """Bits per byte of what should be written, after what is asked, with an interval over rows; nothing where no row fits into the context."""
    bits, sizes = [], []
    for pair, prompt in [one for one in asked if len(one[1]) < writer.engine.context - 8][:_SCORED]:
        target = mask_pair(pair.source, pair.target, writer.prompt.slots.filled)[1]
        score = writer.engine.score(target[:_LETTERS], prompt or None)
        known = sum(token.bytes for token in score.tokens if token.logprob is not None)
        if known:
            sizes.append(known)
            bits.append(score.bits_per_byte * known)
    if not bits:
        return {}
    total, weight = np.array(bits), np.array(sizes, float)
    low, high = bootstrap_interval(lambda rows: float(total[rows].sum() / weight[rows].sum()), len(bits), seed)
    return {"bits_per_byte": {"value": float(total.sum() / weight.sum()), "low": low, "high": high}}


def speed_of_engine(engine: Engine, prompts: Sequence[list[int]], longest: int) -> dict[str, float | None]:
    """Medians over single requests with at most `longest` tokens: milliseconds to the first token and for a whole answer, decoded tokens
    a second; and tokens a second of reading long prompts, made of these."""
    most = min(64, longest)
    firsts, rates, wholes = [], [], []
    for prompt in prompts[:30]:
        started = perf_counter()
        said = engine.complete(prompt[: engine.context // 2], Sampling(max_tokens=most))
        wholes.append((perf_counter() - started) * 1e3)
        firsts.append(said.seconds_first * 1e3)
        if said.tokens > 3:
            rates.append(said.tokens_per_second)
    return {"first_ms": median(firsts), "answer_ms": median(wholes), "tokens_per_s": median(rates) if rates else None,
            "prefill_tokens_per_s": _prefill(engine, prompts), "rss_mb": rss_mb(engine.worker_pid)}


def _prefill(engine: Engine, prompts: Sequence[list[int]]) -> float | None:
    """Tokens a second of reading a prompt of 256 tokens, or of half the context; None where there are not as many."""
    size = min(256, engine.context // 2)
    stream = [one for prompt in prompts for one in prompt]
    rates = []
    for begin in range(0, min(len(stream), 8 * size) - size + 1, size):
        told = engine.complete(stream[begin:begin + size], Sampling(max_tokens=1)).timings
        if told.seconds_prompt > 0:
            rates.append((told.prompt_tokens - told.cached) / told.seconds_prompt)
    return median(rates) if rates else None


def _size(opened: Writer | Summariser) -> int:
    rung = opened.manifest.rungs[-1]
    return sum(entry.bytes for path, entry in opened.manifest.files.items() if path.startswith(f"{rung.path}/"))
