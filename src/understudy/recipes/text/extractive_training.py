"""From documents with summaries to an extractive summariser: the files of an `extract` rung, and what it scores on unseen folds.

    data file ──► sentences, features, gains ──► cheap score, settings chosen out of fold ──► files
                          └─► vectors of the teacher ──► encoder's score, kept only where it helps out of fold ──┘

Everything is chosen on folds of the training file. Deterministic: same file, same seed, same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import BundleError, DataError, UsageError
from ...models.teachers import Teacher
from ...run.kinds.extract import ExtractConfig, ExtractModel, open_files
from ...teach.listwise import Listwise, ListwiseConfig, fit_listwise
from .documents import read_pairs
from .extract_encoder import help_of
from .extractive import Lessons, judged, prepare, shares_of

_HEATS = (0.05, 0.1)
_CUES = (1e-4, 3e-4, 1e-3)
_LEAST_SPREAD = 0.05
_REDUNDANCIES = (0.0, 0.2, 0.4)


@dataclass(frozen=True)
class ExtractiveConfig:
    """How a summariser is trained. `encoder` is "auto" (kept where it helps), "no" or "yes" (kept whatever it does)."""

    folds: int = 5
    seed: int = 0
    encoder: str = "auto"
    least_gain: float = 0.3
    """ROUGE-1 points that the encoder must add out of fold to be worth its size and time ("auto")."""
    stem: bool = True
    titles: bool = True
    """Whether documents are read with their titles, where the file has them; then they should be given in answering too."""


@dataclass(frozen=True)
class Extractive:
    """A trained summariser: `files` by relative path (what an `extract` rung is made of), and what was found on unseen folds.

    `rouge1`, `lead` and `oracle` are mean ROUGE-1 F in percent over the training file's documents, out of fold: of the summariser, of
    the first sentences, and of the sentences with the highest gains. `chosen` holds the settings, `parameters` the count of numbers.
    """

    files: dict[str, bytes]
    rouge1: float
    lead: float
    oracle: float
    documents: int
    skipped: int
    chosen: dict[str, float]
    parameters: int

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files.values()))

    def open(self) -> ExtractModel:
        """The model that answers from the files."""
        return open_model(self.files)


def open_model(files: Mapping[str, bytes]) -> ExtractModel:
    """A summariser from its files by name. Raises BundleError where they do not fit together."""
    def read(name: str) -> bytes:
        if name not in files:
            raise BundleError(f"the summariser has no file {name}")
        return files[name]

    return open_files(read, "the summariser")


def train_extractive(data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, document_column: str | None = None,
                     summary_column: str | None = None, title_column: str | None = None, teacher: Teacher | None = None,
                     config: ExtractiveConfig | None = None, say: Callable[[str], None] = lambda line: None) -> Extractive:
    """Trains a summariser on a data file of documents with one or several reference summaries; writes its files into the folder `out`.

    `teacher` is a sentence encoder (`models.teachers.open_teacher`); without one the score is features and cue words alone. Raises
    UsageError for settings and columns that do not exist, DataError for a file that cannot be used or holds fewer documents than folds.
    """
    how = config or ExtractiveConfig()
    if how.encoder not in ("auto", "no", "yes") or not 2 <= how.folds <= 50:
        raise UsageError(f"encoder is {how.encoder!r} and folds {how.folds}", hint="encoder is auto, no or yes; folds are 2 to 50")
    if how.encoder == "yes" and teacher is None:
        raise UsageError("encoder='yes' needs a teacher, and none was given", hint="pass teacher=open_teacher(…)")
    found = read_pairs(data, document_column=document_column, summary_column=summary_column, title_column=title_column)
    lessons = prepare(found.rows, stem=how.stem, titles=how.titles)
    if len(lessons.documents) < 2 * how.folds:
        raise DataError(f"{data} holds {len(lessons.documents)} documents with sentences; {how.folds} folds need at least {2 * how.folds}")
    say(f"{len(lessons.documents):,} documents, {len(lessons.member):,} sentences, summaries of {lessons.length} sentences")
    result = Training(lessons, how, say).run(teacher if how.encoder != "no" else None, found.skipped)
    if out is not None:
        write_files(Path(out), result.files)
    return result


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files into a folder, which is made. Raises DataError where that cannot be done."""
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as problem:
        raise DataError(f"{folder} cannot be written: {problem.strerror or problem}") from None


class Training:
    """The lessons with their folds; every score that decides something is out of fold."""

    def __init__(self, lessons: Lessons, how: ExtractiveConfig, say: Callable[[str], None]) -> None:
        self.lessons, self.how, self.say = lessons, how, say
        self.mean = lessons.dense.mean(0)
        # A feature that hardly varies here may vary elsewhere: lists and titles must not swamp the rest in other documents.
        self.scale = np.maximum(lessons.dense.std(0), _LEAST_SPREAD).astype(np.float32)
        self.dense = (lessons.dense - self.mean) / self.scale
        order = np.random.default_rng(how.seed).permutation(len(lessons.documents))
        fold = np.empty(len(order), np.int64)
        fold[order] = np.arange(len(order)) % how.folds
        self.fold = fold[lessons.member]
        self.every = np.arange(len(order))

    def judge(self, scores: np.ndarray, redundancy: float = 0.3) -> float:
        return float(judged(self.lessons, self.every, scores, redundancy).mean())

    def fit(self, rows: np.ndarray, shares: np.ndarray, cue_l2: float) -> Listwise:
        _, member = np.unique(self.lessons.member[rows], return_inverse=True)
        return fit_listwise(self.dense[rows], self.lessons.cues.rows(rows), member, shares[rows], ListwiseConfig(1e-2, cue_l2, 100))

    def unseen(self, fit: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
        """Scores of every row by a model that did not see its document: `fit(rows)` gives `score(rows)`."""
        out = np.zeros(len(self.fold), np.float32)
        for fold in range(self.how.folds):
            held = np.flatnonzero(self.fold == fold)
            out[held] = fit(np.flatnonzero(self.fold != fold))(held)
        return out

    def cheap(self, shares: np.ndarray, cue_l2: float) -> np.ndarray:
        def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            model = self.fit(rows, shares, cue_l2)
            return lambda held: model(self.dense[held], self.lessons.cues.rows(held))
        return self.unseen(fit)

    def run(self, teacher: Teacher | None, skipped: int) -> Extractive:
        tried = []
        for heat in _HEATS:
            shares = shares_of(self.lessons.gains, self.lessons.member, heat)
            for cue_l2 in _CUES:
                said = self.cheap(shares, cue_l2)
                tried.append((self.judge(said), heat, cue_l2, said))
                self.say(f"heat {heat}, cues {cue_l2:g}: ROUGE-1 {tried[-1][0]:.2f} on unseen folds")
        best, heat, cue_l2, said = max(tried, key=lambda one: one[0])
        shares = shares_of(self.lessons.gains, self.lessons.member, heat)
        chosen: dict[str, float] = {"heat": heat, "cue_l2": cue_l2, "cheap_rouge1": best}
        model = self.fit(np.arange(len(self.fold)), shares, cue_l2)
        tensors = self._cheap_tensors(model)
        files: dict[str, bytes] = {}
        width, longest, mix, parameters = 0, 128, 0.0, int(sum(part.size for part in tensors.values()))
        if teacher is not None:
            reading, tried_encoder = help_of(self, teacher, shares, said, best)
            chosen |= tried_encoder
            if reading is not None:
                tensors |= reading.tensors
                files, width, longest, mix, said = reading.files, reading.width, reading.longest, reading.mix, reading.said
                parameters += reading.parameters
        redundancy, final = self._redundancy(said)
        config = ExtractConfig(sentences=self.lessons.length, redundancy=redundancy, mix=mix, width=width, longest=longest)
        files = files | {"extract.json": config.to_json(), "model.safetensors": _saved(tensors)}
        lead = self.judge(-np.arange(len(said), dtype=np.float64), 0.0)
        return Extractive(files, final, lead, self.judge(self.lessons.gains, 0.0), len(self.lessons.documents), skipped,
                          chosen | {"redundancy": redundancy, "mix": mix}, parameters)

    def _redundancy(self, said: np.ndarray) -> tuple[float, float]:
        if self.lessons.length == 1:
            return 0.3, self.judge(said)
        tried = [(self.judge(said, one), one) for one in _REDUNDANCIES]
        final, redundancy = max(tried)
        return redundancy, final

    def _cheap_tensors(self, model: Listwise) -> dict[str, np.ndarray]:
        step = max(float(np.abs(model.cues).max()), 1e-8) / 127
        return {"mean": self.mean.astype(np.float32), "scale": self.scale, "weight": model.weight.astype(np.float32),
                "cues": np.rint(model.cues / step).astype(np.int8), "cue_scale": np.array([step], np.float32)}


def _saved(tensors: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(part) for name, part in tensors.items()})
