"""Terms that a team has settled on: checked in translations, and put in place where a model is masked from choosing."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ...errors import DataError
from .placeholders import find
from .textfile import decode, read_bytes

_LONGEST = 131_072
MAX_TERMS = 100_000
_TERM = {"term", "source", "en", "english"}
_TRANSLATION = {"translation", "target"}
_CASE, _FORBIDDEN = {"case", "case_sensitive", "case-sensitive", "case sensitive"}, {"forbidden", "forbid"}
_YES, _NO = {"yes", "true", "1", "x", "y", "forbidden"}, {"", "no", "false", "0", "n"}
_WORD = re.compile(r"\w+")


@dataclass
class Term:
    """A term with its allowed and its forbidden translations; the first allowed one is preferred."""

    term: str
    case: bool
    allowed: list[str]
    forbidden: list[str]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The term as a whole word, in the plural too; compiled when a text may hold it."""
        ending = r"(?:s|es)?" if self.term[-1:].isalpha() and len(self.term) > 2 else ""
        return re.compile(rf"(?<!\w){re.escape(self.term)}{ending}(?!\w)".replace(r"\ ", r"\s+"), 0 if self.case else re.I)


class Glossary:
    """Terms by their first word: a check costs what the text is long, not what the glossary is."""

    def __init__(self, rows: Iterable[tuple[str, str, bool, bool]]) -> None:
        """`rows`: (term, translation, case-sensitive, forbidden); rows of one term are alternatives."""
        self._terms: dict[str, Term] = {}
        self._by_word: dict[str, list[Term]] = {}
        for term, translation, case, forbidden in rows:
            self._add(" ".join(term.split()), " ".join(translation.split()), case, forbidden)

    def __len__(self) -> int:
        return len(self._terms)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Glossary:
        """Read CSV or TSV: term and translation, then optionally case and forbidden (yes or no), with or without a header.

        Raises DataError with the line for a row without a term, for a value that is neither yes nor no, or too many rows.
        """
        name = os.fspath(path)
        text = decode(read_bytes(name), name).text
        first = text.partition("\n")[0]
        delimiter = max("\t;,", key=lambda mark: (first.count(mark), mark == ","))
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        rows: list[tuple[str, str, bool, bool]] = []
        columns = {"term": 0, "translation": 1, "case": 2, "forbidden": 3}
        try:
            for number, cells in enumerate(reader):
                header = _header(cells) if not number else None
                columns = header or columns
                # csv has a limit of its own, but one for the whole process, which other readers raise.
                if any(len(cell) > _LONGEST for cell in cells):
                    raise csv.Error(f"field larger than {_LONGEST:,} characters")
                if header is None and any(cell.strip() for cell in cells):
                    rows.append(_row(cells, columns, name, reader.line_num))
                if len(rows) > MAX_TERMS:
                    raise DataError(f"{name} has more than {MAX_TERMS:,} terms",
                                    hint="a glossary holds terms; a translation memory holds texts")
        except csv.Error as error:
            raise DataError(f"{name}, line {reader.line_num}: {error}", hint="is a quote left open?") from error
        return cls(rows)

    def check(self, source: str, target: str) -> list[str]:
        """Which terms of `source` are not translated in `target` as agreed, in words."""
        terms = {id(term): term for _start, _end, term in self._occurrences(source)}
        return [problem for term in terms.values() for problem in _verdict(term, target)]

    def forced(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, translation) of every term in `text`, for `protect`. Terms inside placeholders are left alone."""
        covered = [(span.start, span.end) for span in find(text) if span.kind != "number"]
        out = []
        for start, end, term in self._occurrences(text):
            if term.allowed and not any(one < end and start < other for one, other in covered):
                best = term.allowed[0]
                out.append((start, end, best[:1].upper() + best[1:] if not text[:start].strip() and text[start].isupper() else best))
        return out

    def _add(self, text: str, translation: str, case: bool, forbidden: bool) -> None:
        key = text if case else text.casefold()
        if key not in self._terms:
            term = self._terms[key] = Term(text, case, [], [])
            word = _WORD.search(text)
            self._by_word.setdefault(_stem(word[0]) if word else "", []).append(term)
        term = self._terms[key]
        (term.forbidden if forbidden else term.allowed).append(translation)

    def _occurrences(self, text: str) -> list[tuple[int, int, Term]]:
        """Where terms stand, in order; inside a longer term a shorter one does not count."""
        words = dict.fromkeys(["", *(_stem(word) for word in _WORD.findall(text))])
        found = [(*one.span(), term) for word in words for term in self._by_word.get(word, ()) for one in term.pattern.finditer(text)]
        out: list[tuple[int, int, Term]] = []
        for start, end, term in sorted(found, key=lambda one: (one[0] - one[1], one[0])):
            if not any(start < other_end and other_start < end for other_start, other_end, _term in out):
                out.append((start, end, term))
        return sorted(out, key=lambda one: one[0])


def _stem(word: str) -> str:
    word = word.casefold()
    return word.removesuffix("es").removesuffix("s").removesuffix("e") if len(word) > 3 else word


def _verdict(term: Term, target: str) -> list[str]:
    flags = 0 if term.case else re.I
    out = [f"'{one}' is a forbidden translation of '{term.term}'"
           for one in term.forbidden if re.search(rf"(?<!\w){re.escape(one)}", target, flags)]
    if term.allowed and not any(re.search(re.escape(one), target, flags) for one in term.allowed):
        out.append(f"'{term.term}' is to be translated as '" + "' or '".join(term.allowed) + "'")
    return out


def _header(cells: list[str]) -> dict[str, int] | None:
    names = [cell.strip().lower() for cell in cells]
    if len(names) < 2 or not (set(names) & _TERM) or not (set(names) & _TRANSLATION):
        return None
    out: dict[str, int] = {}
    for place, name in enumerate(names):
        for column, known in (("term", _TERM), ("translation", _TRANSLATION), ("case", _CASE), ("forbidden", _FORBIDDEN)):
            if name in known:
                out.setdefault(column, place)
    return out


def _row(cells: list[str], columns: dict[str, int], name: str, line: int) -> tuple[str, str, bool, bool]:
    def cell(column: str) -> str:
        place = columns.get(column)
        return cells[place].strip() if place is not None and place < len(cells) else ""

    if not cell("term") or not cell("translation"):
        raise DataError(f"{name}, line {line}: a term needs a translation; the row has {len(cells)} cells",
                        hint="columns: term, translation, case (yes/no), forbidden (yes/no)")
    flags = []
    for column in ("case", "forbidden"):
        value = cell(column).lower()
        if value not in _YES | _NO:
            raise DataError(f"{name}, line {line}: '{value[:40]}' under {column} is neither yes nor no",
                            hint="write yes or no, or leave it empty")
        flags.append(value in _YES)
    return cell("term"), cell("translation"), flags[0], flags[1]
