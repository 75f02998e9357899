"""Classification, the whole way: data file → checked examples → teacher signal → students → cascade → proof → bundle."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

from .._version import __version__
from ..bundle import Manifest, Rung, check_target, write_bundle
from ..errors import GateError, TeacherError
from ..proof.bench import Speed, measure
from ..proof.certify import Certificate
from ..proof.gate import check_gate, parse_gate, raise_if_failed
from ..proof.receipt import Receipt
from ..run.answer import Understudy, load
from .cascade import certified, join, mixes, needed
from .certifying import key_of
from .config import TrainConfig, with_dials
from .events import Event, Listener, Minutes, silent
from .finish import checks_of, finish, measure_rungs, receipt_of
from .ground import Ground
from .guarded import interruptible, need_training, one_machine
from .prepare import CERTIFY_SHARE, Prepared, prepare
from .student import Student
from .teacher import Signal, hear

LADDERS = {"tiny": ("ngram",), "small": ("ngram", "static", "tiny"), "base": ("ngram", "static", "tiny", "gold", "encoder")}
_NGRAM_SHARE = 0.6


@dataclass(frozen=True)
class TrainResult:
    """A finished bundle: where it is, its manifest and receipt, what was said on the way (`stage: text`), and how long it took."""

    path: Path
    manifest: Manifest
    receipt: Receipt
    lines: list[str]
    seconds: float


def train(data: str | Path, *, out: str | Path, config: TrainConfig | None = None, listen: Listener = silent, **dials: Any) -> TrainResult:
    """Trains a classifier from a labelled file and writes the bundle `out`. Dials of TrainConfig may be given by name.

    Raises UnderstudyError: DataError and UsageError for what came in, GateError when a gate or a budget is not met (nothing
    is written then). Ctrl-C ends training early, with the best so far; a second one ends at once.
    """
    need_training()
    config = with_dials(config or TrainConfig(), dials)
    rules = parse_gate(config.gate) if config.gate else []
    check_target(out)
    started, minutes = monotonic(), Minutes(listen)
    with one_machine(config.threads, config.seed), interruptible(minutes) as stop:
        prepared = prepare(data, config)
        for line in prepared.lines:
            minutes(Event("read", line))
        deadline = started + config.time_budget if config.time_budget else None
        signal_ = _teacher(prepared, config, minutes, stop)
        ground = Ground([e.text for e in prepared.train], prepared.gold(prepared.train), prepared.labels, config.seed,
                        teacher=signal_.teacher, vectors=signal_.train, extra=prepared.extra if signal_.said else [],
                        extra_vectors=signal_.extra if prepared.extra and signal_.said else None, listen=minutes, stop=stop)
        students = _students(ground, config, deadline)
        ground.stop = lambda: False  # what is ready is measured whole, interrupted or not
        with tempfile.TemporaryDirectory(prefix="understudy-") as scratch:
            staged = _stage(prepared, students, mixes(ground, students), config, Path(scratch) / "staged")
            speeds = measure_rungs(staged, [e.text for e in prepared.test])
            rungs, certificate, lines = _join(ground, students, staged, speeds, prepared, config)
            for line in lines:
                minutes(Event("cascade", line))
            final = _stage(prepared, students, rungs, config, Path(scratch) / "final", certificate)
            minutes(Event("prove", "measuring on the test rows"))
            receipt = receipt_of(prepared, ground, signal_, students, staged, final, speeds, certificate, config.seed, monotonic() - started)
            _tell_slower(receipt.headline["speed"]["mean_ms"], config.max_latency, minutes)
            raise_if_failed(check_gate(rules, receipt))
            manifest = finish(Path(out), final, receipt, checks_of(final, prepared))
    return TrainResult(Path(out), manifest, receipt, minutes.lines, monotonic() - started)


def _teacher(prepared: Prepared, config: TrainConfig, listen: Listener, stop) -> Signal:
    """Asks the teacher; without one, training goes on from gold labels alone and says so."""
    texts = ([e.text for e in prepared.train], [e.text for e in prepared.test], prepared.extra)
    try:
        return hear(config.teacher, texts, prepared.labels, listen, stop)
    except KeyboardInterrupt:
        raise _nothing_yet(listen) from None
    except TeacherError as problem:
        if config.teacher != TrainConfig().teacher:
            raise
        listen(Event("teacher", f"no teacher: {problem}"))
        listen(Event("teacher", "training on gold labels alone: only the n-gram model can be made, typically 1–3 points less accurate"))
        return hear("none", texts, prepared.labels, listen, stop)


def _students(ground: Ground, config: TrainConfig, deadline: float | None) -> list[Student]:
    """The ladder that fits size and time, cheapest first."""
    students: list[Student] = []
    ladder = LADDERS[config.size]
    left = config.max_size
    for place, name in enumerate(ladder):
        if not students and ground.stop():
            raise _nothing_yet(ground.listen)
        if students and (ground.stop() or (deadline and monotonic() > deadline)):
            ground.say(name, "left out: " + ("interrupted" if ground.stop() else "the time budget is used up"))
            continue
        room = left if left is None or place or len(ladder) == 1 else int(left * _NGRAM_SHARE)
        ground.seconds = (deadline - monotonic()) / (len(ladder) - place) if deadline else None
        student = import_module(f".students.{name}", __package__).build(ground, room)
        if ground.stop():
            # Half trained: what was measured on the held rows need not hold for the final weights.
            if not students:
                raise _nothing_yet(ground.listen)
            ground.say(name, "left out: interrupted")
            continue
        if student is None:
            ground.say(name, "left out: " + ("it does not fit the size" if room is not None and ground.teacher else "it needs a teacher of the BERT family"))
            continue
        students.append(student)
        left = None if left is None else left - student.bytes
        ground.say(name, f"{'; '.join(student.notes)}; {student.bytes / 1e6:.2f} MB, {student.seconds:.0f} s")
    if students and students[-1].helper:
        students.pop()
    if not students:
        raise GateError(f"no student fits {config.max_size:,} bytes", hint="allow more, or bring fewer labels")
    return students


def _tell_slower(took: float, limit: float | None, listen: Listener) -> None:
    """A clock decides, so it does not refuse the bundle; a gate would."""
    if limit is not None and took > limit:
        listen(Event("prove", f"note: {took:.3g} ms a request, over the {limit:g} ms asked for: the test rows need later rungs more often, or the "
                              f"machine was busy; --gate 'mean<={limit:g}ms' refuses such a bundle"))


def _nothing_yet(listen: Listener) -> KeyboardInterrupt:
    listen(Event("train", "interrupted before the first model was ready; what the teacher said is kept, and a second run goes on from there"))
    return KeyboardInterrupt()


def _stage(prepared: Prepared, students: list[Student], rungs: tuple[Rung, ...], config: TrainConfig, folder: Path,
           certificate: Certificate | None = None) -> Understudy:
    """A whole bundle without receipt in a scratch folder, opened: what is measured is what will be answered with."""
    files = {f"{student.name}/{path}": data for student in students if student.name in {r.name for r in rungs} for path, data in student.files.items()}
    told = {key: value for key, value in asdict(config).items() if key not in ("test", "labels", "unlabelled", "threads")}
    manifest = Manifest(name=folder.name, version=__version__, labels=prepared.labels, rungs=rungs, descriptions=prepared.descriptions,
                        certificate=certificate.to_dict() if certificate else None, provenance={**prepared.provenance, "config": told})
    write_bundle(folder, files, manifest)
    return load(folder)


def _costs(students: list[Student], staged: Understudy, speeds: dict[str, Speed], texts: list[str], limit: float | None) -> list[float]:
    """What asking each student adds, in ms: nominal, so that a bundle depends on no clock; measured where a latency is asked for."""
    if limit is None:
        return [student.cost for student in students]
    # In the staged bundle the first rung answers everything: what it takes here is its model and all that goes around it.
    taken = [measure(staged.predict, None, texts, seconds=0.6), *(speeds[student.name] for student in students[1:])]
    # A mean over the 95th percentile is made of the pauses of a busy machine.
    measured = [speed.p50_ms if speed.mean_ms > speed.p95_ms else speed.mean_ms for speed in taken]
    if measured[0] > limit:
        raise GateError(f"no student fits {limit:g} ms: the fastest takes {measured[0]:.3f} ms here", hint="allow more time per request")
    return measured


def _join(ground: Ground, students: list[Student], staged: Understudy, speeds: dict[str, Speed], prepared: Prepared,
          config: TrainConfig) -> tuple[tuple[Rung, ...], Certificate | None, list[str]]:
    """Thresholds, budgets and the certificate; the rungs that the bundle needs, and what to tell about them."""
    costs = _costs(students, staged, speeds, [e.text for e in prepared.test], config.max_latency)
    joined = join(ground, staged.manifest.rungs, students, costs, config.max_latency)
    answering = [student.name for student in students if not student.helper]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(answering, joined.choice.share, strict=True) if share)
    lines = [f"expected out of fold: {joined.choice.expected_accuracy:.1%} right at {joined.choice.expected_cost:.2f} ms; answers: {shares}"]
    rungs = needed(joined.rungs)
    if config.max_error is None:
        return rungs, None, lines
    names = [rung.name for rung in rungs]
    texts, gold = [e.text for e in prepared.certify], prepared.gold(prepared.certify)
    fresh = {name: staged.raw_logits(name, texts) for name in names}
    held = {student.name: student.held_logits for student in students if student.name in names}
    rungs, certificate, sentence = certified(rungs, held, fresh, gold, config.max_error)
    if certificate:
        certificate = replace(certificate, key=key_of(replace(staged.manifest, rungs=rungs)))
    else:
        sentence += f" One row in {round(1 / CERTIFY_SHARE)} is kept back as such a label."
    return rungs, certificate, [*lines, sentence]
