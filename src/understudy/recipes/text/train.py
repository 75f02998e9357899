"""Text in, text out, the whole way: data files → checked pairs → pieces → a decoder → GGUF → proof → bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from ...bundle import Manifest, check_target
from ...errors import UsageError
from ...proof.gate import parse_gate
from ...proof.text_receipt import TextReceipt
from ...tasks.reading import read_examples
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ..config import with_dials
from ..events import Event, Listener, Minutes, silent
from ..guarded import interruptible, need_training, one_machine
from .config import TextConfig
from .delexical import found_slots, masked
from .distilling import probable_teacher
from .extract import summariser
from .finish import Made, prove_and_write
from .fit import Fitted, fit
from .mending import mending
from .opened import Opened, open_decoder
from .prepare import PreparedText, prepare
from .starting import Start, from_base, from_scratch, smaller, texts_of
from .teacher_row import TeacherRow
from .teaching import taught

_SHARE = 0.95
"""Share of the time budget that training itself may take; the rest is for packing and proving."""


@dataclass(frozen=True)
class TextResult:
    """A finished bundle: where it is, its manifest and receipt, what a person should have read, and how long it took."""

    path: Path
    manifest: Manifest
    receipt: TextReceipt
    lines: list[str]
    seconds: float


def train_text(data: str | Path | Sequence[str | Path], task: str, *, out: str | Path, config: TextConfig | None = None,
               listen: Listener = silent, **dials: Any) -> TextResult:
    """Trains a small decoder for `task` (translate, summarize, generate, lm, chat) and writes the bundle `out`.

    Dials of TextConfig may be given by name. Raises UnderstudyError.
    Ctrl-C ends training early, with what was learned so far; an interrupted or killed run goes on from
    its last saved state when it is started again.
    """
    need_training()
    config = with_dials(config or TextConfig(), dials)
    files = [data] if isinstance(data, str | Path) else list(data)
    rules = parse_gate(config.gate) if config.gate else ()
    check_target(out)
    started, minutes = monotonic(), Minutes(listen)
    with one_machine(config.threads, config.seed), interruptible(minutes) as stop:
        prepared = prepare(files, task, config)
        for line in prepared.lines:
            minutes(Event("read", line))
        if config.mend:
            prepared = mending(prepared, config.seed, minutes)
        if task == "summarize" and config.method == "extractive":
            manifest, receipt = summariser(prepared, Path(out), config, _provenance(prepared, config), rules, minutes)
            return TextResult(Path(out), manifest, receipt, minutes.lines, monotonic() - started)
        seconds = None if config.time_budget is None else max(1.0, config.time_budget * _SHARE - (monotonic() - started))
        rows: list[Pair | Conversation] = [*prepared.train, *prepared.train_turns]
        slots = found_slots(prepared.train, task, minutes)
        rows, more = masked(rows, slots), masked(prepared.more, slots)
        start, teacher = _ready([*rows, *more], config, task, minutes)
        if config.teacher and teacher is None:
            rows += masked(_taught(prepared, task, config, minutes, stop), slots)
        fitted = fit(rows, start, config, seconds, teacher, minutes, stop, more)
        made = Made(fitted, task, _provenance(prepared, config), list(texts_of([*rows, *prepared.more])), [*prepared.test, *prepared.test_turns],
                    monotonic() - started, _longest(rows, fitted), slots, config.mend)
        row = TeacherRow(config.teacher, config.instruction) if config.teacher else None
        manifest, receipt = prove_and_write(Path(out), made, config, row, rules, minutes)
    return TextResult(Path(out), manifest, receipt, minutes.lines, monotonic() - started)


def _ready(rows: Sequence[Pair | Conversation], config: TextConfig, task: str, listen: Listener) -> tuple[Start, Opened | None]:
    """(what training starts from, the teacher whose probabilities are to be learned or None)."""
    base = open_decoder(config.base) if config.base else None
    texts = list(islice(texts_of(rows), 1000))
    teacher = probable_teacher(config, task, base, texts, listen)
    if config.trim and not base and not teacher:
        raise UsageError("--trim is for the pieces of a base or a teacher: those learned from the texts at hand hold nothing else", hint="leave --trim out")
    if base is None:
        return from_scratch(rows, config, teacher, listen), teacher
    whole = base
    if config.keep_layers or config.keep_width:
        base = smaller(base, config, texts, listen)
    return from_base(base, isinstance(rows[0], Conversation), config, listen, pruned=base is not whole), teacher


def _taught(prepared: PreparedText, task: str, config: TextConfig, listen: Listener, stop) -> list[Pair]:
    if task in ("lm", "chat"):
        raise UsageError(f"a teacher's answers are learned as pairs, and {task} has none", hint="--distil logits, or --task generate with a column of prompts")
    extra = [e.text for e in read_examples(config.unlabelled, encoding=config.encoding, need_label=False).examples] if config.unlabelled else []
    asked = {pair.source for pair in prepared.test}
    return taught(prepared.train, [text for text in extra if text not in asked], str(config.teacher), task, config.instruction, config.context // 2,
                  listen, stop)


def _provenance(prepared: PreparedText, config: TextConfig) -> dict[str, Any]:
    told = {key: value for key, value in asdict(config).items() if key not in ("test", "threads", "attribution")}
    return {**prepared.provenance, "config": told, **({"attribution": config.attribution} if config.attribution else {})}


def _longest(rows: Sequence[Pair | Conversation], fitted: Fitted) -> int:
    """Tokens that an answer may have: twice the longest of a sample of the training answers, 64 at least."""
    some = rows[:: max(1, len(rows) // 2000)]
    sample = [row.target if isinstance(row, Pair) else row.before_last_answer()[1] for row in some]
    most = max(len(ids) for ids in fitted.split(sample))
    return int(min(fitted.context, max(64, 2 * most)))
