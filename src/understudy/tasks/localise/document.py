"""A localisation file as entries to translate, written back by cutting into the text it was read from.

A `Document` keeps the whole decoded file. Writing replaces spans of that text and touches nothing else, so a document
written without targets has the very bytes it was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import DataError
from .textfile import Encoded

MAX_ENTRIES = 500_000


@dataclass(frozen=True)
class Entry:
    """One text to translate.

    key         how the file names it; need not be unique
    source      the text in the source language, escapes undone
    target      what the file holds in the target language; None where it holds nothing or has no place for it
    context     comments, notes and contexts for the translator, one a line
    plural      plural category ("one", "other"; the index "0", "1" in PO) or None
    translatable  False where the file says so, or where the text is a reference
    fuzzy       the file says that the target waits for review
    markup      the text is an XML fragment: `<`, `>` and `&` in it are mark-up
    line        1-based line of the text in the file
    """

    key: str
    source: str
    target: str | None = None
    context: str = ""
    plural: str | None = None
    translatable: bool = True
    fuzzy: bool = False
    markup: bool = False
    line: int = 0


@dataclass(frozen=True)
class Target:
    """A translation to write; `review` is why a person should look at it, or None."""

    text: str
    review: str | None = None


@dataclass(frozen=True, order=True)
class Edit:
    """Replace text[start:end]; edits at one place are made in the order of `rank`."""

    start: int
    end: int
    rank: int
    text: str


@dataclass(frozen=True)
class Document:
    """A parsed file.

    bilingual   the file holds source and target side by side (PO, XLIFF); otherwise a target replaces its source
    reviewable  the format can mark an entry for review
    plan        targets by entry number -> edits; made by the format
    check       (entry number, text) -> why the format cannot hold the text, or None; made by the format
    """

    name: str
    format: str
    encoded: Encoded
    entries: list[Entry]
    plan: Callable[[Mapping[int, Target]], list[Edit]] = field(repr=False)
    check: Callable[[int, str], str | None] = field(default=lambda _index, _text: None, repr=False)
    bilingual: bool = False
    reviewable: bool = False

    def objection(self, index: int, text: str) -> str | None:
        """Why `text` cannot be written into entry `index`, in words, or None where it can."""
        return self.encoded.objection(text) or self.check(index, text)

    def write(self, targets: Mapping[int, Target]) -> bytes:
        """The file with these entries translated (entry number -> Target); byte for byte the input when there are none.

        Raises DataError for a number that has no entry and for a text that the file cannot hold (see `objection`).
        """
        for index, target in targets.items():
            if not 0 <= index < len(self.entries):
                raise DataError(f"{self.name} has no entry {index}; it has {len(self.entries):,}",
                                hint="targets are numbered by their place in document.entries, from 0")
            reason = self.objection(index, target.text)
            if reason:
                entry = self.entries[index]
                raise DataError(f"{self.name}, line {entry.line}: '{entry.key}' cannot be written: {reason}",
                                hint="change the translation, or leave this entry out")
        return self.encoded.encode(splice(self.encoded.text, self.plan(targets)))


def splice(text: str, edits: list[Edit]) -> str:
    """`text` with all edits made; they must not overlap."""
    pieces, at = [], 0
    for edit in sorted(edits):
        if edit.start < at:
            raise DataError("two entries lie one inside the other, and cannot both be written", hint="is the file well formed?")
        pieces += [text[at:edit.start], edit.text]
        at = edit.end
    return "".join([*pieces, text[at:]])


class Lines:
    """Line numbers of offsets that only grow: one pass over the text in all."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def at(self, offset: int) -> int:
        """1-based line of `offset`; an earlier offset than the last one starts over."""
        if offset < self._at:
            self._at, self._line = 0, 1
        self._line += self._text.count("\n", self._at, offset)
        self._at = offset
        return self._line
