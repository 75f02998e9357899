"""Asking whoever knows better: a sentence encoder, a checkpoint with a head, an earlier bundle, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from ..errors import TeacherError
from ..models.checkpoint import find_checkpoint
from ..models.teachers import Teacher, open_teacher
from ..run.answer import Understudy, load
from ..teach.signals import Speaks, ask
from .events import Event, Listener

_FLOOR = 1e-6


@dataclass(frozen=True)
class Signal:
    """What the teacher says of each text, (n, width): vectors of an encoder, logits of a head, log-probabilities of a bundle."""

    name: str
    speaker: Speaks | None
    teacher: Teacher | None
    train: np.ndarray | None
    test: np.ndarray | None
    extra: np.ndarray | None
    seconds: float
    fresh: bool = False
    """Whether all of it was asked for now, so that `seconds` is what it takes; otherwise some came from the cache."""

    @property
    def said(self) -> bool:
        """Whether there is a teacher at all."""
        return self.speaker is not None


class _Counted:
    """Counts the texts that a teacher was really asked about."""

    def __init__(self, speaker: Speaks) -> None:
        self.speaker, self.key, self.count = speaker, speaker.key, 0

    def vectors(self, texts: Sequence[str], progress: Callable[[int], None]) -> np.ndarray:
        self.count += len(texts)
        return self.speaker.vectors(texts, progress)


class BundleTeacher:
    """An earlier bundle as a teacher: its log-probabilities."""

    def __init__(self, bundle: Understudy) -> None:
        self.bundle = bundle
        self.key: str = f"bundle {bundle.manifest.id}"

    def vectors(self, texts: Sequence[str], progress: Callable[[int], None]) -> np.ndarray:
        """(n, labels of the bundle) float32."""
        said = np.log(np.maximum(self.bundle.predict_proba(texts), _FLOOR)).astype(np.float32)
        progress(len(texts))
        return said


def hear(name: str, texts: tuple[list[str], list[str], list[str]], labels: Sequence[str], listen: Listener, stop: Callable[[], bool]) -> Signal:
    """Opens the teacher and asks it about (training, test, extra) texts. Raises TeacherError when it cannot be had."""
    started = monotonic()
    if name == "none":
        if texts[2]:
            raise TeacherError("unlabelled texts need a teacher, and --teacher is none", hint="leave --unlabelled out, or name a teacher")
        return Signal("none", None, None, None, None, None, 0.0)
    teacher: Teacher | None = None
    speaker: Speaks
    if (Path(name).expanduser() / "manifest.json").is_file():
        bundle = load(Path(name).expanduser())
        speaker = BundleTeacher(bundle)
        known: Sequence[str] = bundle.labels
    else:
        listen(Event("teacher", f"opening {name}", 0.0))
        teacher = speaker = open_teacher(name, find_checkpoint(name))
        known = list(teacher.labels.values()) if teacher.labels else labels
    if shared := set(known) & set(labels):
        missing = sorted(set(labels) - shared)
        if missing:
            listen(Event("teacher", f"note: the teacher does not know {len(missing)} of {len(labels)} labels, e.g. {missing[0]!r}; a head is fitted on what it says"))
    else:
        listen(Event("teacher", "note: the teacher has other labels; a head is fitted on what it says"))
    total, done = sum(map(len, texts)), 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        rate = done / max(1e-6, monotonic() - started)
        listen(Event("teacher", f"{done:,} of {total:,} texts, {rate:,.0f} a second", done / total))

    counted = _Counted(speaker)
    said = [ask(counted, some, progress, stop) if some else None for some in texts]
    listen(Event("teacher", f"{name}: {total:,} texts in {monotonic() - started:.0f} s"))
    return Signal(name, speaker, teacher, said[0], said[1], said[2], monotonic() - started, counted.count == total)
