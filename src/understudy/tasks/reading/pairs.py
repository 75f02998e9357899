"""Pairs of texts out of a data file: what goes in and what should come out, for translating, summarising and writing.

Example: `read_pairs("pairs.tsv").pairs[0]` is Pair("Where is the station?", "Wo ist der Bahnhof?", 2).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ...errors import DataError, UsageError
from ..abbreviations import COMMON
from ..sentences import language_of
from .examples import ReadReport
from .problems import BadValue, counted
from .table import Table, open_table
from .values import as_text, is_missing

_SOURCES = ("source", "src", "input", "prompt", "instruction", "question", "document", "article", "text", "mr", "meaning_representation",
            "attributes", "body", "abstract", "en")
_TARGETS = ("target", "tgt", "output", "completion", "response", "answer", "summary", "summaries", "tldr", "abstract", "title", "ref",
            "reference", "references", "human_reference", "description", "translation")
_SURE = 20
"""Pairs from which on what most of them look like is no accident."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: `source` goes in, `target` should come out; `more` are further acceptable outputs, `line` where it stood."""

    source: str
    target: str
    line: int = 0
    more: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """Every acceptable output."""
        return (self.target, *self.more)


@dataclass(frozen=True)
class PairSet:
    """The pairs of a file in file order, and the report on how they were read."""

    pairs: list[Pair]
    report: ReadReport


def read_pairs(path: str | os.PathLike[str], *, source: str | None = None, target: str | None = None, encoding: str | None = None,
               on_bad_row: str = "fail") -> PairSet:
    """All pairs of a data file. Columns are named, or known by their names, or are the only two there.

    A target may be a list (JSON): the first is learned, all count as right. A row with an empty side is a bad row. Raises
    UsageError for a column that is missing, DataError for a file or row that cannot be used.
    """
    table = open_table(path, encoding=encoding, on_bad_row=on_bad_row, named=[name for name in (source, target) if name])
    columns = _columns(table, source, target)
    pairs = []
    for row in table.rows():
        try:
            pairs.append(_pair(row.values, columns, row.line))
        except BadValue as error:
            table.bad.add(row.line, str(error), error.hint)
    if not pairs:
        raise DataError(f"{table.path} has no pair of texts that can be used", hint="the file needs two columns with text in both")
    notes = [*table.notes, *_mixed_up(table.path, pairs, columns, source, target)]
    report = ReadReport(table.path, table.format, table.encoding, table.delimiter, columns[0], columns[1], len(pairs), table.skipped_count,
                        tuple(table.skipped), tuple(notes), table.sha256(), table.bad.unit)
    return PairSet(pairs, report)


def _columns(table: Table, source: str | None, target: str | None) -> tuple[str, str]:
    names = list(table.columns)
    if len(names) < 2:
        raise DataError(f"{table.path} has {counted(len(names), 'column')}: {', '.join(names) or 'none'}; pairs need two",
                        hint="TSV or CSV with a header such as source,target, or JSON lines with two fields")
    folded = {name.strip().lower(): name for name in reversed(names)}
    given = [_named(table, name, folded) for name in (source, target)]
    first = given[0] or next((folded[name] for name in _SOURCES if name in folded and folded[name] != given[1]), None)
    second = given[1] or next((folded[name] for name in _TARGETS if name in folded and folded[name] != first), None)
    if (first is None or second is None) and len(names) == 2:
        first = first or next(name for name in names if name != second)
        second = second or next(name for name in names if name != first)
    if first is None or second is None or first == second:
        raise UsageError(f"{table.path}: which columns hold the pairs is not clear from their names: {', '.join(names[:12])}",
                         hint="name them: --source NAME --target NAME")
    return first, second


def _named(table: Table, name: str | None, folded: dict[str, str]) -> str | None:
    if name is None or name in table.columns:
        return name
    if name.lower() in folded:
        return folded[name.lower()]
    # A language code names the language of the usual columns where no column is called so.
    if len(name) <= 7 and (("source" in folded and "target" in folded) or len(table.columns) == 2):
        return None
    raise UsageError(f"{table.path} has no column {name!r}", hint=f"it has {', '.join(list(table.columns)[:12])}")


def _pair(values: dict[str, Any], columns: tuple[str, str], line: int) -> Pair:
    said = values.get(columns[1])
    wanted: Sequence[Any] = said if isinstance(said, list) else [said]
    texts = []
    for one in wanted:
        if is_missing(one) or not str(one).strip():
            continue
        texts.append(as_text(one))
    came = values.get(columns[0])
    if is_missing(came) or not str(came).strip():
        raise BadValue(f"the column {columns[0]!r} is empty")
    if not texts:
        raise BadValue(f"the column {columns[1]!r} is empty")
    return Pair(as_text(came), texts[0], line, tuple(texts[1:]))


def _mixed_up(path: object, pairs: Sequence[Pair], columns: tuple[str, str], source: str | None, target: str | None) -> list[str]:
    """Signs that the two columns are not what they are taken for, as notes. Raises DataError where there is no doubt."""
    same = sum(pair.source == pair.target for pair in pairs)
    said = f"{same:,} of {len(pairs):,} rows have the same text in {columns[0]!r} and {columns[1]!r}"
    if same * 10 > len(pairs) * 9 and len(pairs) >= _SURE:
        raise DataError(f"{path}: {said}", hint="name the right columns: --source NAME --target NAME")
    _not_swapped(path, pairs, columns, (source or columns[0]).lower(), (target or columns[1]).lower())
    return [f"{said}; are these the right columns?"] if same * 2 > len(pairs) else []


def _not_swapped(path: object, pairs: Sequence[Pair], columns: tuple[str, str], source: str, target: str) -> None:
    """Raises DataError where the texts of each side are in the language that the other side is said to be in."""
    if source == target or not {source, target} <= COMMON.keys() or len(pairs) < _SURE:
        return
    some = pairs[:: max(1, len(pairs) // 200)]
    found = language_of(" ".join(pair.source[:200] for pair in some)), language_of(" ".join(pair.target[:200] for pair in some))
    if found == (target, source):
        raise DataError(f"{path}: the texts in {columns[0]!r} are in the language {found[0]} and those in {columns[1]!r} in {found[1]}, "
                        f"and {source} to {target} was asked for", hint=f"--source {target} --target {source}, or name the columns the other way round")


def folded(text: str) -> str:
    """The text without letter case and with single blanks: two sources that fold alike are one."""
    return " ".join(text.lower().split())


def share_of(text: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on the text alone: rows with one source stay in one split, whatever the order."""
    digest = blake2b(f"{salt}\0{folded(text)}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def grouped(pairs: Sequence[Pair]) -> list[Pair]:
    """One pair per source, with every target of that source as a reference."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        found.setdefault(pair.source, []).extend(pair.references)
    return [Pair(source, targets[0], 0, tuple(dict.fromkeys(targets[1:]))) for source, targets in found.items()]
