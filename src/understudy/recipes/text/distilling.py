"""A teacher's probabilities: whether they or its answers are learned, whether its pieces are the student's, and what it says, asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import TeacherError, UnderstudyError, UsageError
from ...models.based import Based
from ...models.pieces import difference
from ...teach.distil import Distil, find_loss
from ...teach.kept import Kept, ask
from ...teach.live import Live
from ...teach.sequences import Sequences
from ..events import Event, Listener
from .config import TextConfig
from .opened import Opened, open_decoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROBED = 200
"""Texts that both tokenizers split, to see that they split alike."""


def probable_teacher(config: TextConfig, task: str, base: Opened | None, texts: Sequence[str], listen: Listener) -> Opened | None:
    """The teacher whose probabilities are to be learned, or None where its answers are (or there is none).

    Unless the config says which, probabilities are learned where a base has the teacher's pieces, and for plain text and conversations,
    of which there are no answers. Raises UsageError for a config that contradicts itself, TeacherError for pieces that differ.
    """
    found = _teacher(config, task, base, texts, listen) if config.teacher and config.distil != "answers" else None
    usual = TextConfig()
    changed = next((name for name in ("distil_loss", "distil_share", "distil_top") if getattr(config, name) != getattr(usual, name)), None)
    if found is None and changed:
        raise UsageError(f"--{changed.replace('_', '-')} is about a teacher's probabilities, and none are learned here", hint="--teacher MODEL --distil logits")
    return found


def _teacher(config: TextConfig, task: str, base: Opened | None, texts: Sequence[str], listen: Listener) -> Opened | None:
    never = {"--instruction": config.instruction, "--unlabelled": config.unlabelled}
    given = next((flag for flag, value in never.items() if value), None)
    needed = config.distil == "logits" or task in ("lm", "chat")
    if needed and given:
        raise UsageError(f"{given} is for a teacher's answers, and its probabilities are to be learned", hint=f"leave {given} out, or take --distil answers")
    if not needed and (given or base is None):
        return None
    try:
        teacher = open_decoder(str(config.teacher))
        if base:
            check_pieces(base, teacher, texts)
    except UnderstudyError as problem:
        if not needed:
            listen(Event("teacher", f"its answers are learned, not its probabilities: {problem}"))
            return None
        raise
    return teacher


def check_pieces(base: Opened, teacher: Opened, texts: Sequence[str] = ()) -> None:
    """Raises TeacherError unless every id is the same piece in both vocabularies, and both split `texts` alike."""
    where = difference(_copy(base), _copy(teacher), texts[:_PROBED])
    if where:
        raise TeacherError(f"the base {base.name} and the teacher {teacher.name} have other vocabularies: {where}",
                           hint="--distil answers learns from what the teacher writes; without --base the student takes the teacher's pieces")


def _copy(opened: Opened) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(opened.tokenizer.to_str())


def heard(teacher: Opened, sequences: Sequences, config: TextConfig, listen: Listener, stop: Callable[[], bool]) -> Live | Kept:
    """What the teacher says about the wanted tokens of the sequences: kept on disk, or live where the config keeps none."""
    live = Live(lambda: Based(teacher.folder, full=True), teacher.fingerprint, teacher.pieces, teacher.context)
    if not config.distil_top:
        listen(Event("teacher", f"{teacher.name} is asked at every step, about all {teacher.pieces:,} pieces"))
        return live
    kept = ask(live, sequences, config.distil_top, stop=stop,
               progress=lambda done, total: listen(Event("teacher", f"{done:,} of {total:,} tokens", done / max(1, total))))
    listen(Event("teacher", f"{teacher.name}: its {min(config.distil_top, teacher.pieces):,} likeliest pieces of {int(sequences.before[-1]):,} tokens, "
                            + (f"{kept.asked:,} files asked now" if kept.asked else "all known from before, nothing asked")
                            + (f", {kept.damaged:,} of them because what was kept is damaged" if kept.damaged else "")))
    return kept


def distilled(said: Live | Kept, teacher: Opened, sequences: Sequences, rows: np.ndarray, config: TextConfig) -> Distil:
    """How the `rows` of the sequences are learned from what was heard about all of them."""
    part = said.subset(sequences, rows) if isinstance(said, Kept) else said
    key = f"{teacher.fingerprint} {config.distil_loss} {config.distil_share} {config.distil_top}"
    return Distil(part, find_loss(config.distil_loss), config.distil_share, key)
