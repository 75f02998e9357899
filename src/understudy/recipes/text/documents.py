"""Documents with their reference summaries out of a data file: jsonl, csv, tsv or any other table that can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import DataError, UsageError
from ...tasks.reading import Row, Table, open_table

DOCUMENTS = ("document", "text", "article", "body", "source", "content", "abstract")
SUMMARIES = ("summaries", "summary", "references", "reference", "highlights", "tldr", "target", "abstract")
TITLES = ("title", "headline")


@dataclass(frozen=True, slots=True)
class Pair:
    """A document, its reference summaries (one at least), its title or None, and the line it stood on."""

    document: str
    summaries: tuple[str, ...]
    title: str | None
    line: int


@dataclass(frozen=True)
class Pairs:
    """The pairs of a file in order, the columns they came from (title last, or None) and how many rows were left out."""

    rows: list[Pair]
    columns: tuple[str, str, str | None]
    skipped: int
    sha256: str


def read_pairs(path: str | os.PathLike[str], *, document_column: str | None = None, summary_column: str | None = None,
               title_column: str | None = None, on_bad_row: str = "fail") -> Pairs:
    """All pairs of a data file. A summary cell is a text or, in JSON, a list of texts: several references of one document.

    Rows without a document or a summary are left out and counted. Raises UsageError for a column that is not there or cannot be told,
    DataError for a file that cannot be read or has no pair.
    """
    named = [name for name in (document_column, summary_column, title_column) if name]
    table = open_table(path, on_bad_row=on_bad_row, named=named or [*DOCUMENTS[:3], *SUMMARIES[:3]])
    document = _column(table, document_column, DOCUMENTS, "document")
    summary = _column(table, summary_column, [name for name in SUMMARIES if name != document], "summary")
    title = _column(table, title_column, TITLES, "title", needed=title_column is not None)
    assert document and summary
    rows, bare = [], 0
    for row in table.rows():
        pair = _pair(row, document, summary, title, table)
        if pair is None:
            bare += 1
        else:
            rows.append(pair)
    if not rows:
        raise DataError(f"{table.path} has no row with both a document in {document!r} and a summary in {summary!r}")
    return Pairs(rows, (document, summary, title), bare + table.skipped_count, table.sha256())


def _column(table: Table, wanted: str | None, usual: Sequence[str], role: str, *, needed: bool = True) -> str | None:
    if wanted is not None:
        if wanted not in table.columns:
            raise UsageError(f"{table.path} has no column {wanted!r}", hint=f"its columns are {', '.join(table.columns)}")
        return wanted
    lower = {name.lower(): name for name in reversed(table.columns)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None and needed:
        raise UsageError(f"which column of {table.path} holds the {role}? Its columns are {', '.join(table.columns)}",
                         hint=f"name it: {role}_column=…")
    return found


def _pair(row: Row, document: str, summary: str, title: str | None, table: Table) -> Pair | None:
    text, said = row.values.get(document), row.values.get(summary)
    head = row.values.get(title) if title else None
    if isinstance(text, list | dict) or isinstance(said, dict):
        what = document if isinstance(text, list | dict) else summary
        raise DataError(f"{table.path}, line {row.line}: the {what!r} is no text",
                        hint="a document is a string, a summary a string or a list of strings")
    several = said if isinstance(said, list) else [said]
    if not all(one is None or isinstance(one, str) for one in several):
        raise DataError(f"{table.path}, line {row.line}: the list in {summary!r} holds something that is no text")
    summaries = tuple(one for one in several if isinstance(one, str) and one.strip())
    if not isinstance(text, str) or not text.strip() or not summaries:
        return None
    return Pair(text, summaries, head if isinstance(head, str) and head.strip() else None, row.line)
