"""From files to clean, split pairs: for plain text a pair has an empty source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...errors import DataError, UsageError
from ...tasks.reading.pairs import Pair, PairSet, folded, grouped, read_pairs, share_of
from ...tasks.reading.plain_text import blocks, read_text
from ...tasks.reading.problems import counted
from ...tasks.reading.turns import Conversation, read_conversations
from .config import TASKS, TextConfig


@dataclass(frozen=True)
class PreparedText:
    """Training and test pairs, what a person should read, and where it came from. Test pairs have every reference of a source."""

    train: list[Pair]
    test: list[Pair]
    lines: list[str]
    provenance: dict[str, Any]
    train_turns: tuple[Conversation, ...] = ()
    test_turns: tuple[Conversation, ...] = ()
    more: tuple[Pair, ...] = ()


def prepare(data: Sequence[str | Path], task: str, config: TextConfig) -> PreparedText:
    """Reads, cleans and splits. Raises DataError or UsageError naming file, line and a way out."""
    _check(data, task, config)
    if task == "chat":
        return _conversing(data, config)
    return _plain(data, config) if task == "lm" else _paired(data, config)


def _check(data: Sequence[str | Path], task: str, config: TextConfig) -> None:
    if task not in TASKS:
        raise UsageError(f"the task is {task!r}", hint=f"one of classify, {', '.join(TASKS)}")
    if not data:
        raise UsageError("no data file is named")
    if len(data) > 1 and task != "lm":
        raise UsageError(f"{len(data)} data files are named, and {task} takes one", hint="put the pairs into one file")
    if not 0 < config.test_share < 0.9:
        raise UsageError(f"test_share is {config.test_share}, which is not between 0 and 0.9")
    if config.pieces is not None and not 300 <= config.pieces <= 64_000:
        raise UsageError(f"pieces is {config.pieces}", hint="from 300 to 64,000; 1,000 to 16,000 are usual")
    if not 16 <= config.context <= 32_768:
        raise UsageError(f"context is {config.context}", hint="from 16 to 32,768 tokens")
    if config.epochs <= 0 or (config.time_budget is not None and config.time_budget <= 0):
        raise UsageError("epochs and time_budget are above zero")
    for name, value in (("dropout", config.dropout), ("smoothing", config.smoothing)):
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"--{name} is {value:g}, and nothing would be learned", hint="a share from 0 to below 1; 0.1 is usual")
    if config.more and (task in ("lm", "chat") or (task == "summarize" and config.method == "extractive")):
        raise UsageError(f"--more is for further pairs, and {'an extractive summariser' if task == 'summarize' else task} learns from none",
                         hint="name several text files instead" if task == "lm" else "leave it out")
    if config.mend and task != "translate":
        raise UsageError(f"--mend is for translations, and the task is {task}", hint="leave it out")
    if config.mend and config.teacher:
        raise UsageError("--mend learns from the translations of a memory, and not from a teacher as well", hint="have the teacher answer first: predict --input")
    _check_models(config)


def _check_models(config: TextConfig) -> None:
    """Dials about a base and a teacher that mean nothing without one."""
    for name in ("full", "keep_layers", "keep_width"):
        if getattr(config, name) and not config.base:
            raise UsageError(f"--{name.replace('_', '-')} is about a base, and none is named", hint="--base MODEL")
    if config.base and config.dropout:
        raise UsageError(f"--dropout {config.dropout:g} is for models from scratch; a base keeps its layers as they are", hint="leave it out")
    given = next((name for name in ("distil", "instruction", "unlabelled") if getattr(config, name)), None)
    if given and not config.teacher:
        raise UsageError(f"--{given} is for a teacher, and none is named", hint="--teacher MODEL")
    if not 0 < config.distil_share <= 1:
        raise UsageError(f"distil_share is {config.distil_share}", hint="a share above 0 and up to 1")
    if config.distil_top < 0:
        raise UsageError(f"distil_top is {config.distil_top}", hint="a number of pieces, or 0 for all of them and no cache")


def _paired(data: Sequence[str | Path], config: TextConfig) -> PreparedText:
    whole = _read(data[0], config)
    lines = whole.report.lines()
    given = _read(config.test, config) if config.test else None
    if given:
        lines += given.report.lines()
    distinct = list(dict.fromkeys((pair.source, pair.references) for pair in whole.pairs))
    if len(distinct) < len(whole.pairs):
        lines.append(f"removed {len(whole.pairs) - len(distinct):,} pairs that came before")
    pairs = [Pair(source, targets[0], 0, targets[1:]) for source, targets in distinct]
    if given:
        known = {folded(pair.source) for pair in given.pairs}
        train = [pair for pair in pairs if folded(pair.source) not in known]
        if len(train) < len(pairs):
            lines.append(f"removed {len(pairs) - len(train):,} training pairs whose source is in the test data")
        test = given.pairs
    else:
        train = [pair for pair in pairs if share_of(pair.source) >= config.test_share]
        test = [pair for pair in pairs if share_of(pair.source) < config.test_share]
    test = grouped(test)
    if len(train) < 10 or not test:
        raise DataError(f"{data[0]}: {len(train):,} pairs are left to train on and {len(test):,} to test on", hint="bring more pairs, or --test FILE")
    lines.append(f"{len(train):,} pairs to train on, {len(test):,} sources to test on")
    more = _further(pairs, test, config, lines) if config.more else ()
    provenance = {"data": {"file": Path(data[0]).name, "sha256": whole.report.sha256, "rows": whole.report.rows, "train": len(train),
                           "test": len(test), "source": whole.report.text_column, "target": whole.report.label_column}}
    if config.more:
        provenance["more"] = {"file": Path(config.more).name, "pairs": len(more)}
    return PreparedText(train, test, lines, provenance, more=more)


def _further(own: Sequence[Pair], test: Sequence[Pair], config: TextConfig, lines: list[str]) -> tuple[Pair, ...]:
    """The pairs of --more: neither any that stands among the user's own, nor one whose source is tested."""
    read = _read_further(config)
    known, asked = {(pair.source, pair.target) for pair in own}, {folded(pair.source) for pair in test}
    found = dict.fromkeys((pair.source, pair.target) for pair in read.pairs if folded(pair.source) not in asked)
    more = tuple(Pair(source, target) for source, target in found if (source, target) not in known)
    if not more:
        raise DataError(f"{config.more} holds no pair that is not among your own already", hint="leave --more out")
    lines += [line for line in read.report.lines() if "skipped" in line]
    lines.append(f"{len(more):,} further pairs from {Path(str(config.more)).name}")
    return more


def _conversing(data: Sequence[str | Path], config: TextConfig) -> PreparedText:
    whole = read_conversations(data[0], column=config.source, encoding=config.encoding, on_bad_row=config.on_bad_row)
    lines = whole.report.lines()[:1]
    distinct = list(dict.fromkeys(one.turns for one in whole.conversations))
    given = read_conversations(config.test, column=config.source, encoding=config.encoding, on_bad_row=config.on_bad_row) if config.test else None
    if given:
        known = {one.turns for one in given.conversations}
        train, test = [one for one in distinct if one not in known], [one.turns for one in given.conversations]
    else:
        # By the opening: conversations that begin with one question stay on one side. A system prompt may be the same in all.
        drawn = [(share_of(next((text for role, text in one if role != "system"), "")), one) for one in distinct]
        train = [one for share, one in drawn if share >= config.test_share]
        test = [one for share, one in drawn if share < config.test_share]
    if len(train) < 10 or not test:
        raise DataError(f"{data[0]}: {len(train):,} conversations are left to train on and {len(test):,} to test on", hint="bring more, or --test FILE")
    lines.append(f"{len(train):,} conversations to train on, {len(test):,} to test on")
    provenance = {"data": {"file": Path(data[0]).name, "sha256": whole.report.sha256, "rows": whole.report.rows, "train": len(train), "test": len(test)}}
    return PreparedText([], [], lines, provenance, tuple(map(Conversation, train)), tuple(map(Conversation, test)))


def _read(path: str | Path, config: TextConfig) -> PairSet:
    return read_pairs(path, source=config.source, target=config.target, encoding=config.encoding, on_bad_row=config.on_bad_row)


def _read_further(config: TextConfig) -> PairSet:
    """The file of --more, by the columns that the user's own file has or, where it has none of those names, by its own."""
    path = str(config.more)
    try:
        return read_pairs(path, source=config.source, target=config.target, on_bad_row=config.on_bad_row)
    except UsageError:
        return read_pairs(path, on_bad_row=config.on_bad_row)


def _plain(data: Sequence[str | Path], config: TextConfig) -> PreparedText:
    train: list[Pair] = []
    test: list[Pair] = []
    digest, size = sha256(), 0
    for path in data:
        text = read_text(path, config.encoding)
        digest.update(text.encode("utf-8", "surrogatepass"))
        size += len(text)
        pieces = blocks(text)
        # The end of each file is the test: neighbouring blocks share names and phrases, so that blocks drawn here and there would flatter.
        kept = max(1, round(len(pieces) * config.test_share)) if len(pieces) > 1 else 0
        train += [Pair("", block) for block in pieces[: len(pieces) - kept]]
        test += [Pair("", block) for block in pieces[len(pieces) - kept:]]
    if config.test:
        train, test = train + test, [Pair("", block) for block in blocks(read_text(config.test, config.encoding))]
    if not train or not test:
        raise DataError(f"{data[0]}: {size:,} characters are too few to train and test a language model on", hint="bring some 10,000 at least")
    lines = [f"{counted(len(data), 'file')}, {size:,} characters; {len(train):,} blocks to train on, {len(test):,} to test on"]
    return PreparedText(train, test, lines, {"data": {"file": Path(data[0]).name, "files": len(data), "sha256": digest.hexdigest(),
                                                      "characters": size, "train": len(train), "test": len(test)}})
