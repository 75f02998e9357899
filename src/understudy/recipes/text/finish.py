"""From a trained decoder to a proved bundle: vocabulary, weights as GGUF, every model's answers to the test rows, the receipt, the folder."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._version import __version__
from ...bundle import Manifest, Rung, open_bundle, write_bundle
from ...errors import DataError
from ...proof.gate import Rule
from ...proof.text_receipt import TextReceipt
from ...run.generate.sampling import Sampling
from ...run.generate.turns import Turn
from ...run.prompts import SPEC, Prompt
from ...run.writing import MODEL, Writer
from ...shrink.decoder_checkpoint import trim_checkpoint
from ...shrink.gguf.write import write_gguf
from ...tasks.localise.mending import MARK
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ...tasks.slots import NONE, Slots
from ..events import Event, Listener
from .config import TextConfig
from .encoding import Marks
from .fit import Fitted
from .measuring import measured_writer
from .sealing import seal
from .teacher_row import TeacherRow

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RUNG = "writer"
_COMPARED = 500
"""Test rows that models which are not shipped answer too."""
_PRECISIONS = ("f16", "q8_0", "q4_0")
"""What the receipt compares, beside the precision that is shipped."""
_PROBES = ("Hello!", "Where is the station?", "name[Blue Spice], food[Italian]", "Open file", "1, 2, 3", "Thank you.")
"""Stock phrases, never the user's rows: their answers travel with the bundle."""


@dataclass(frozen=True)
class Made:
    """What is to be proved and written: the trained decoder, its task, where it comes from, the texts it learned, the test rows, the seconds
    it took, how many tokens an answer may have unless the caller says otherwise, which attributes are said how, and whether it was taught to
    mend a memory's near matches."""

    fitted: Fitted
    task: str
    provenance: dict[str, Any]
    texts: Sequence[str]
    test: Sequence[Pair | Conversation]
    seconds: float
    answer_tokens: int
    slots: Slots = NONE
    mends: bool = False


@dataclass(frozen=True)
class _Model:
    """A checkpoint in a folder, what the receipt calls it, and how its prompts are made."""

    name: str
    folder: Path
    marks: Marks
    parameters: int


def prove_and_write(out: Path, made: Made, config: TextConfig, teacher: TeacherRow | None, rules: Sequence[Rule],
                    listen: Listener) -> tuple[Manifest, TextReceipt]:
    """Measures the teacher, the model before and after trimming, and its precisions, and writes the shipped one as the bundle `out`."""
    entries: list[dict[str, Any]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="understudy-") as scratch:
        if teacher:
            listen(Event("prove", "asking the teacher about test rows"))
            entry, trouble = teacher.measured(made.test, prompt_for(made, made.fitted.marks), made.task, Path(scratch), config.seed)
            entries += [entry] if entry else []
            notes += [trouble] if trouble else []
        models = _models(made, config, Path(scratch), listen)
        plan = [(model, "f16") for model in models[:-1]] + [(models[-1], one) for one in _PRECISIONS if one != config.precision]
        for model, precision in plan:
            entries.append(_measured(_staged(model, made, precision, Path(scratch)), model, made, made.test[:_COMPARED], config, Path(scratch), listen)[0])
        files, manifest = shipped = _staged(models[-1], made, config.precision, Path(scratch))
        entry, checks = _measured(shipped, models[-1], made, made.test, config, Path(scratch), listen)
    fitted = made.fitted
    told = {"train_seconds": made.seconds, "steps": fitted.steps, "train_tokens": fitted.tokens,
            "held_out_nats": fitted.nats if math.isfinite(fitted.nats) else None}
    return seal(out, files, manifest, [*entries, entry], checks, told, len(made.test), config.seed, rules, notes)


def prompt_for(made: Made, marks: Marks) -> Prompt:
    """How a bundle for the task makes its prompts."""
    form = {"lm": "text", "chat": "chat"}.get(made.task, "pair")
    turns = dict(marks.turns) if marks.turns is not None and form == "chat" else None
    return Prompt(form, marks.begin, marks.mark if form == "pair" else None, marks.end, marks.roles, made.answer_tokens, turns, made.slots, MARK if made.mends else "")


def _models(made: Made, config: TextConfig, scratch: Path, listen: Listener) -> list[_Model]:
    """The model as it was trained and, where the config says so, with its vocabulary trimmed."""
    fitted = made.fitted
    fitted.save(scratch / "hub")
    found = [_Model(RUNG, scratch / "hub", fitted.marks, fitted.parameters)]
    if config.trim:
        from tokenizers import Tokenizer

        # Pieces of the marks, in the contexts that they are tokenised in.
        whole = Tokenizer.from_file(str(scratch / "hub" / "tokenizer.json"))
        around = [ids for turn in (fitted.marks.turns or {}).values() if turn for ids in (turn.before, turn.after)]
        report = trim_checkpoint(scratch / "hub", made.texts, scratch / "trimmed", spare=[whole.decode(list(ids), skip_special_tokens=False) for ids in around])
        listen(Event("trim", f"{report.pieces_before:,} pieces -> {report.pieces_after:,}, {report.parameters_before:,} parameters -> {report.parameters_after:,}"))
        small = Tokenizer.from_file(str(scratch / "trimmed" / "tokenizer.json"))
        found.append(_Model("trimmed", scratch / "trimmed", renamed(fitted.marks, whole, small), report.parameters_after))
    return found


def renamed(marks: Marks, whole: Tokenizer, small: Tokenizer) -> Marks:
    """The same marks in a trimmed vocabulary. Raises DataError for a mark whose piece is gone."""

    def new(number: int) -> int:
        piece = whole.id_to_token(number) or ""
        found = small.token_to_id(piece)
        if found is None:
            raise DataError(f"trimming took the piece {piece!r}, which every prompt needs", hint="leave --trim out")
        return found

    turns = None if marks.turns is None else {role: turn and Turn(tuple(map(new, turn.before)), tuple(map(new, turn.after)))
                                              for role, turn in marks.turns.items()}
    return replace(marks, begin=None if marks.begin is None else new(marks.begin), mark=None if marks.mark is None else new(marks.mark),
                   end=new(marks.end), roles={role: new(number) for role, number in marks.roles.items()}, turns=turns)


def _staged(model: _Model, made: Made, precision: str, scratch: Path) -> tuple[dict[str, bytes], Manifest]:
    """The model at `precision` as the files and the manifest of a bundle whose receipt is not known yet."""
    packed = scratch / f"{precision}.gguf"
    write_gguf(model.folder, packed, precision=precision)
    rung = Rung(name=RUNG, kind="gguf", path=RUNG, parameters=model.parameters, precision=precision, mix={RUNG: 1.0}, max_tokens=made.fitted.context)
    manifest = Manifest(name="staged", version=__version__, labels=(), rungs=(rung,), task=made.task, provenance=made.provenance)
    return {f"{RUNG}/{MODEL}": packed.read_bytes(), f"{RUNG}/{SPEC}": prompt_for(made, model.marks).to_json()}, manifest


def _measured(staged: tuple[dict[str, bytes], Manifest], model: _Model, made: Made, rows: Sequence[Pair | Conversation], config: TextConfig,
              scratch: Path, listen: Listener) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """(the receipt's entry on some rows, answers to stock phrases)."""
    precision = staged[1].rungs[0].precision
    write_bundle(scratch / f"{model.name}-{precision}", *staged)
    with Writer(open_bundle(scratch / f"{model.name}-{precision}")) as writer:
        listen(Event("prove", f"answering {len(rows):,} test rows at {precision}"))
        entry = {**measured_writer(writer, rows, config.seed), "name": model.name, "train_seconds": made.seconds}
        return entry, [{"text": text, "answer": writer.predict(text, Sampling(max_tokens=24)).text} for text in _PROBES]
