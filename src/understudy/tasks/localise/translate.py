"""Translate what is missing in a document: memory first, then a model, then checks; what is doubtful is marked, never hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .checks import Finding, findings
from .document import Document, Entry, Target
from .glossary import Glossary
from .icu import Exploded, IcuError, explode, is_icu
from .memory import Memory
from .placeholders import has_words
from .solving import Answer, Solver

LEAST = 0.9
_SAME_FORMS = "the same text stands for several plural forms"
MAX_TEXT = 20_000  # characters: what is longer is no text of a user interface, and is left alone


@dataclass(frozen=True)
class Mark:
    """An entry that a person should look at; `written` is False where the file keeps what it had."""

    index: int
    key: str
    line: int
    reason: str
    written: bool


@dataclass
class Report:
    """What became of every entry: exact + fuzzy + model + copied + left + skipped is the number of entries.

    exact    from the memory as it is, or with nothing but numbers and placeholders changed
    fuzzy    from the memory by likeness (always marked)
    model    from the translator
    copied   nothing in it to translate
    left     a translation was needed, and none is good enough to write
    skipped  translated already, not translatable, or empty; by reason in `skipped_for`
    marked   entries for a person to look at: len(marks)
    targets  what to hand to `document.write`
    """

    exact: int = 0
    fuzzy: int = 0
    model: int = 0
    copied: int = 0
    left: int = 0
    skipped: int = 0
    skipped_for: dict[str, int] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    targets: dict[int, Target] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def marked(self) -> int:
        """How many entries a person should look at."""
        return len(self.marks)


def translate_document(document: Document, translate: Callable[[list[str]], list[str]] | None, *, memory: Memory | None = None,
                       glossary: Glossary | None = None, overwrite: bool = False, redo_fuzzy: bool = False,
                       least: float = LEAST, batch_size: int = 32, mends: bool = False) -> Report:
    """Translations for every entry of `document` that needs one; `document.write(report.targets)` gives the file.

    translate   texts -> as many translations; called with at most `batch_size` texts. What it raises is met: its batch is
                halved, and the texts that still fail are left and marked. None: the memory alone
    overwrite   also translate entries that have a target; `redo_fuzzy` only those that wait for review
    least       likeness from which a text of the memory is taken (and marked) before the model is asked
    mends       the model was taught to mend what a memory says to similar texts, and is shown it

    A translation that lost a placeholder, and the like, is tried again in other ways. If it stays so it is written only
    where the format can mark it for review; elsewhere the source stays, and the report says why.
    """
    report = Report()
    units = _units(document, report, overwrite, redo_fuzzy)
    solver = Solver(translate, memory, glossary, least, batch_size, mends=mends)
    for unit in units:
        unit.whole = solver.remembered(unit.text)
        if unit.whole is None and unit.exploded is not None:
            solver.want(leaf for leaf in unit.exploded.leaves)
    solver.solve()
    report.failures = solver.failures
    for unit in units:
        _finish(document, unit, solver, glossary, report)
    report.marks.sort(key=lambda mark: mark.index)
    return report


@dataclass
class _Unit:
    """One distinct source text with the entries that have it."""

    text: str
    entries: list[int]
    exploded: Exploded | None
    broken: str = ""
    whole: Answer | None = None


def _units(document: Document, report: Report, overwrite: bool, redo_fuzzy: bool) -> list[_Unit]:
    units: dict[str, _Unit] = {}
    for index, entry in enumerate(document.entries):
        reason = _skip(entry, overwrite, redo_fuzzy)
        if reason:
            report.skipped += 1
            report.skipped_for[reason] = report.skipped_for.get(reason, 0) + 1
        elif not is_icu(entry.source) and not has_words(entry.source):
            report.copied += 1
            if document.bilingual:
                report.targets[index] = Target(entry.source)
        elif entry.source in units:
            units[entry.source].entries.append(index)
        else:
            units[entry.source] = _unit(entry.source, index)
    return list(units.values())


def _skip(entry: Entry, overwrite: bool, redo_fuzzy: bool) -> str:
    if not entry.translatable:
        return "not translatable"
    if not entry.source.strip():
        return "empty"
    if len(entry.source) > MAX_TEXT:
        return f"longer than {MAX_TEXT:,} characters"
    if entry.target and not overwrite:
        if not entry.fuzzy:
            return "translated already"
        return "" if redo_fuzzy else "waits for review"
    return ""


def _unit(text: str, index: int) -> _Unit:
    if not is_icu(text):
        return _Unit(text, [index], Exploded((text,), lambda texts: texts[0]))
    try:
        return _Unit(text, [index], explode(text))
    except IcuError as error:
        return _Unit(text, [index], None, f"the source is no message that can be read: {error}")


def _finish(document: Document, unit: _Unit, solver: Solver, glossary: Glossary | None, report: Report) -> None:
    """Decide for one text: write it, write and mark it, or leave the entry as it is."""
    answer = unit.whole or _assemble(unit, solver)
    if answer.text is None:
        _leave(document, unit, answer.reason, report)
        return
    found = findings(unit.text, answer.text)
    reasons = [finding.text for finding in found if finding.breaks or not answer.trusted]
    reasons += [text for text in (glossary.check(unit.text, answer.text) if glossary else []) if text not in reasons]
    reasons += [finding.text for finding in answer.findings if finding.text not in reasons]
    reasons += [answer.reason] if answer.reason else []
    if not document.reviewable and any(finding.breaks for finding in [*found, *answer.findings]):
        _leave(document, unit, "; ".join(reasons), report)
        return
    alike = _same_forms(document, unit.entries)
    for index in unit.entries:
        objection = document.objection(index, answer.text)
        if objection:
            _leave(document, _Unit(unit.text, [index], None), "; ".join([*reasons, objection]), report)
            continue
        review = "; ".join([*reasons, *([_SAME_FORMS] if index in alike else [])]) or None
        report.targets[index] = Target(answer.text, review)
        setattr(report, answer.how, getattr(report, answer.how) + 1)
        if review:
            report.marks.append(Mark(index, document.entries[index].key, document.entries[index].line, review, True))


def _same_forms(document: Document, entries: list[int]) -> set[int]:
    """The plural forms of one message that share a source text here: they get one translation, and may need several."""
    forms: dict[str, list[int]] = {}
    for index in entries:
        if document.entries[index].plural is not None:
            forms.setdefault(document.entries[index].key, []).append(index)
    return {index for group in forms.values() if len(group) > 1 for index in group}


def _leave(document: Document, unit: _Unit, reason: str, report: Report) -> None:
    report.left += len(unit.entries)
    report.marks += [Mark(index, document.entries[index].key, document.entries[index].line, reason, False) for index in unit.entries]


def _assemble(unit: _Unit, solver: Solver) -> Answer:
    """The text from its parts: as good as the worst of them."""
    if unit.exploded is None:
        return Answer(None, "model", unit.broken)
    parts = [solver.answer(leaf) for leaf in unit.exploded.leaves]
    texts = [part.text for part in parts if part.text is not None]
    if len(texts) < len(parts):
        return Answer(None, "model", next(part.reason for part in parts if part.text is None))
    hows = {part.how for part in parts}
    how = next((one for one in ("model", "fuzzy", "exact") if one in hows), "copied")
    reasons = list(dict.fromkeys(part.reason for part in parts if part.reason))
    broken: list[Finding] = [finding for part in parts for finding in part.findings]
    return Answer(unit.exploded.build(texts), how, "; ".join(reasons), tuple(broken))
