"""Texts to translations: memory, then rounds of asking a model in different ways until the checks are content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .checks import Finding, findings
from .glossary import Glossary
from .memory import Memory
from .mending import asked
from .placeholders import Tokens, has_words, protect, restore

MAX_FAILURES = 8  # failed calls after which a batch is no longer halved to find the text at fault
_LINE = re.compile(r"(\n+)")


class Cut(str):
    """A translation that its translator broke off at its longest: it is never taken for a whole one."""

    __slots__ = ()


@dataclass(frozen=True)
class Answer:
    """A translation (None: there is none), where it is from (a counter of Report), why it is doubtful, and what checks say."""

    text: str | None
    how: str
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    trusted: bool = False  # a person's translation of this very text: only what breaks, or breaks the glossary, counts

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is better."""
        return sum(finding.breaks for finding in self.findings), len(self.findings)


@dataclass(frozen=True)
class _Question:
    """What the model is asked for one text, and how its answers become a translation."""

    inputs: tuple[str, ...]
    build: Callable[[list[str]], str]


class Solver:
    """Collects texts (`want`), translates them together (`solve`), and gives each its answer."""

    def __init__(self, translate: Callable[[list[str]], list[str]] | None, memory: Memory | None, glossary: Glossary | None,
                 least: float, batch_size: int, *, mends: bool = False) -> None:
        self._translate, self._memory, self._glossary = translate, memory, glossary
        self._least, self._batch = least, max(1, batch_size)
        self._mends = mends and memory is not None
        self._wanted: dict[str, None] = {}
        self._answers: dict[str, Answer] = {}
        self._said: dict[str, str | None] = {}
        self._why: dict[str, str] = {}
        self._failed_calls = 0
        self.failures: list[str] = []

    def remembered(self, text: str) -> Answer | None:
        """An answer from the memory that the checks are content with, or None."""
        match = self._memory.lookup(text, self._least) if self._memory is not None else None
        if match is None:
            return None
        lead, trail = text[:len(text) - len(text.lstrip())], text[len(text.rstrip()):]
        target = lead + match.target.strip() + trail
        found = self._check(text, target)
        if any(finding.breaks for finding in found) or (found and not match.exact):
            return None
        if match.exact or match.repaired:
            return Answer(target, "exact", trusted=match.exact)
        return Answer(target, "fuzzy", f"from a similar text ({match.score:.2f}): '{' '.join(match.source.split())[:120]}'")

    def want(self, texts: Iterable[str]) -> None:
        """Texts to be solved."""
        self._wanted.update(dict.fromkeys(texts))

    def answer(self, text: str) -> Answer:
        """The answer for a text that was wanted, after `solve`."""
        return self._answers[text]

    def solve(self) -> None:
        """Answer everything that was wanted."""
        open_texts = []
        for text in self._wanted:
            known = Answer(text, "copied") if not has_words(text) else self.remembered(text)
            if known is not None:
                self._answers[text] = known
            else:
                open_texts.append(text)
        for ask in (*([self._mended] if self._mends else []), _masked, _plain, _by_line, self._with_terms):
            if not open_texts:
                break
            self._round(open_texts, ask)
            open_texts = [text for text in open_texts if self._answers[text].text is None or self._answers[text].findings]

    def _round(self, texts: list[str], ask: Callable[[str], _Question | None]) -> None:
        questions = {text: question for text in texts if (question := ask(text)) is not None}
        self._say([one for question in questions.values() for one in question.inputs])
        for text in texts:
            if text in questions:
                self._consider(text, questions[text])
            self._answers.setdefault(text, Answer(None, "model", "no translation"))

    def _consider(self, text: str, question: _Question) -> None:
        said = [self._said[one] for one in question.inputs]
        good = [one for one in said if one is not None]
        if len(good) < len(said):
            reason = next(self._why[one] for one in question.inputs if self._said[one] is None)
            self._answers.setdefault(text, Answer(None, "model", reason))
            return
        target = question.build(good)
        old = self._answers.get(text)
        if not target.strip():
            self._answers.setdefault(text, Answer(None, "model", "the translation is empty"))
            return
        broken = [Finding("the translation was cut at its longest", True)] if any(isinstance(one, Cut) for one in good) else []
        answer = Answer(target, "model", "", (*broken, *self._check(text, target)))
        if old is None or old.text is None or answer.rank < old.rank:
            self._answers[text] = answer

    def _check(self, text: str, target: str) -> list[Finding]:
        out = findings(text, target)
        out += [Finding(one, False) for one in self._glossary.check(text, target)] if self._glossary is not None else []
        if len(target) > 3 * len(text) + 40:
            out.append(Finding(f"the translation is {len(target) / len(text):.0f} times as long as its source", False))
        return out

    def _mended(self, text: str) -> _Question | None:
        """The text with what the memory says to similar ones: the model was taught to mend that."""
        found = asked(text, self._memory) if self._memory is not None else None
        return _one(*found) if found else None

    def _with_terms(self, text: str) -> _Question | None:
        forced = self._glossary.forced(text) if self._glossary is not None else []
        if not forced:
            return None
        masked, tokens = protect(text, forced=forced)
        return _one(masked, tokens)

    def _say(self, texts: list[str]) -> None:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._said]
        for start in range(0, len(fresh), self._batch):
            self._call(fresh[start:start + self._batch])

    def _call(self, texts: list[str]) -> None:
        """Ask once; where that fails ask for each half, until a call for one text fails or too many calls did."""
        reason = self._ask(texts)
        if reason is None:
            return
        self._failed_calls += 1
        if len(texts) > 1 and self._failed_calls < MAX_FAILURES:
            self._call(texts[:len(texts) // 2])
            self._call(texts[len(texts) // 2:])
            return
        self.failures.append(f"{len(texts)} texts: {reason}")
        for text in texts:
            self._said[text], self._why[text] = None, f"the translator failed: {reason}"

    def _ask(self, texts: list[str]) -> str | None:
        if self._translate is None:
            self._said.update(dict.fromkeys(texts))
            self._why.update(dict.fromkeys(texts, "not in the memory"))
            return None
        try:
            said = list(self._translate(list(texts)))
        except Exception as error:  # whatever a translator raises, the other batches and the file must not suffer
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if len(said) != len(texts) or not all(isinstance(one, str) for one in said):
            return f"it gave {len(said)} answers for {len(texts)} texts" if len(said) != len(texts) else "an answer is no text"
        self._said.update(zip(texts, said, strict=True))
        return None


def _one(masked: str, tokens: Tokens) -> _Question:
    return _Question((masked,), lambda said: restore(said[0], tokens))


def _masked(text: str) -> _Question:
    return _one(*protect(text))


def _plain(text: str) -> _Question:
    return _one(*protect(text, mask=False))


def _by_line(text: str) -> _Question | None:
    """Each line on its own: models like to swallow line breaks."""
    lead, trail = text[:len(text) - len(text.lstrip())], text[len(text.rstrip()):]
    pieces = _LINE.split(text.strip())
    if len(pieces) < 2:
        return None
    protected = {place: protect(piece) for place, piece in enumerate(pieces) if place % 2 == 0 and has_words(piece)}
    asked = list(protected)

    def build(said: list[str]) -> str:
        out = list(pieces)
        for place, one in zip(asked, said, strict=True):
            out[place] = restore(one, protected[place][1])
        return lead + "".join(out) + trail

    return _Question(tuple(protected[place][0] for place in asked), build)
