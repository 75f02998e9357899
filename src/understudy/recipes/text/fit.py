"""From checked rows to a trained decoder: sequences, what a teacher says about them, the loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import time

import numpy as np

from ...errors import DataError
from ...home import cache_dir
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ...teach.distil import Distil
from ...teach.language import LanguageConfig, Progress, evaluate, train_language
from ...teach.sequences import Sequences, joined
from ..events import Event, Listener
from .config import TextConfig
from .distilling import distilled, heard
from .encoding import Marks, Split, encoded
from .opened import Opened
from .starting import Start

_HELD = 400
_STATES = 4 << 30
"""Bytes of states of runs that are kept, the newest first: a finished run that is asked for again costs no training."""
_OWN_SHARE = 0.4
"""Of the tokens of a pass: the user's own rows beside further ones. They are passed several times where they are fewer."""


@dataclass(frozen=True)
class Fitted:
    """A trained decoder: `save(folder)` writes it as a Hugging Face checkpoint, `split` makes ids of texts as it does.

    `nats` is the held-out loss per predicted token, `tokens` what it was trained on.
    """

    save: Callable[[Path], None]
    split: Split
    marks: Marks
    parameters: int
    context: int
    nats: float
    tokens: int
    steps: int


def fit(rows: Sequence[Pair | Conversation], start: Start, config: TextConfig, seconds: float | None, teacher: Opened | None, listen: Listener,
        stop: Callable[[], bool], more: Sequence[Pair | Conversation] = ()) -> Fitted:
    """Trains a decoder on pairs (an empty source: plain text) or on conversations, and on the probabilities of a teacher where there is one.

    `more` are further pairs, which the run does not end with; the held-out loss is of `rows` alone. Interrupted runs go on where they were.
    """
    context = min(start.context, teacher.context) if teacher else start.context
    sequences = encoded(rows, start.split, start.marks, context)
    own = len(sequences)
    if not own:
        raise DataError("no row is short enough for the context", hint=f"raise --context above {context}")
    if left := len(rows) - len(sequences) if any(isinstance(row, Conversation) or row.source for row in rows) else 0:
        listen(Event("write", f"{left:,} of {len(rows):,} rows are longer than {context} tokens and are left out; --context allows more"))
    rng = np.random.default_rng([config.seed, 7])
    held_rows = rng.permutation(own)[: min(_HELD, own // 20)]
    # A pair that is shown with several matches is several rows, and one of them must not give away what the others are asked.
    known = alike(sequences, held_rows) if config.mend else held_rows
    rest_rows = mine = np.setdiff1d(np.arange(own), known)
    if more:
        sequences = joined(sequences, encoded(more, start.split, start.marks, context))
        rest_rows = _mixed(sequences, rest_rows, own)
    held, rest = sequences.subset(held_rows), sequences.subset(rest_rows)
    # Asked about all rows: another seed keeps others back.
    distil = distilled(heard(teacher, sequences, config, listen, stop), teacher, sequences, rest_rows, config) if teacher else None
    listen(Event("write", f"{len(rest.ids):,} tokens to learn from"))
    loop = replace(start.loop, seconds=seconds)
    key = _key(rest, start.what, loop, config.seed, distil)
    last = train_language(start.model, rest, loop, config.seed, state=cache_dir("runs") / f"{key[:32]}.safetensors", key=key, stop=stop, distil=distil,
                          ending=sequences.subset(mine) if more and not distil else None,
                          progress=lambda now: listen(Event("write", _line(now), now.share)), note=lambda text: listen(Event("write", text)))
    _bounded(cache_dir("runs"))
    nats = evaluate(start.model, held) if len(held) else float("nan")
    listen(Event("write", f"{last.step:,} steps, loss {last.loss:.3f}" + (f", held-out loss {nats:.3f} nats a token" if len(held) else "")))
    return Fitted(start.save, start.split, start.marks, start.parameters, context, nats, len(rest.ids), last.step)


def alike(sequences: Sequences, rows: np.ndarray) -> np.ndarray:
    """All sequences that have the same wanted tokens as one of `rows`, themselves among them."""
    answers = [sequences.ids[at:end][sequences.wanted[at:end]].tobytes() for at, end in pairwise(sequences.starts)]
    asked = {answers[row] for row in rows}
    return np.array([row for row, answer in enumerate(answers) if answer in asked], np.int64)


def _mixed(sequences: Sequences, mine: np.ndarray, own: int) -> np.ndarray:
    """The rows of one pass: `mine` as often as gives them their share, and every further one (from number `own` on) once."""
    others = np.arange(own, len(sequences))
    tokens, further = int(sequences.lengths[mine].sum()), int(sequences.lengths[others].sum())
    times = max(1, round(_OWN_SHARE / (1 - _OWN_SHARE) * further / max(1, tokens)))
    return np.concatenate([np.tile(mine, times), others])


def _key(sequences: Sequences, what: str, loop: LanguageConfig, seed: int, distil: Distil | None = None) -> str:
    # Without the time: what reading took differs from run to run, and a run that goes on may be given more.
    told = json.dumps([what, {**asdict(loop), "seconds": None}, seed, distil.key if distil else None], sort_keys=True).encode()
    return hashlib.sha256(told + sequences.ids.tobytes() + sequences.wanted.tobytes() + sequences.starts.tobytes()).hexdigest()


def _line(now: Progress) -> str:
    left = f"{now.left / 60:.0f} min" if now.left >= 100 else f"{now.left:.0f} s"
    return f"loss {now.loss:.3f}, {now.rate:,.0f} tokens/s, {left} left"


def _bounded(folder: Path) -> None:
    """Takes the oldest states of earlier runs away, and halves that a killed run left, until what is kept has a bounded size."""
    found = sorted(((one.stat().st_mtime, one) for one in folder.glob("*.safetensors*")), reverse=True)
    kept = 0
    for written, path in found:
        kept += path.stat().st_size
        # A half that was written to a moment ago may be another run's.
        if kept > _STATES or (path.suffix == ".tmp" and time() - written > 3600):
            path.unlink(missing_ok=True)
