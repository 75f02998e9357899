"""Which column holds the texts and which the labels: by name first, then by what is in them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from ...errors import UsageError
from .problems import Row
from .values import is_missing

TEXT_NAMES = ("text", "texts", "sentence", "message", "utterance", "query", "question", "review", "body", "content",
              "comment", "input", "description", "document", "tweet", "post", "prompt", "title", "subject")
LABEL_NAMES = ("label", "labels", "intent", "category", "class", "target", "sentiment", "tag", "topic", "emotion",
               "label_text", "label_name", "class_name", "gold", "answer", "output", "y")
SAMPLE_ROWS = 200
_LABEL_LENGTH = 60
_BY_CONTENT = "by its content"


@dataclass(frozen=True)
class Columns:
    """The columns found; `label` is None where none is needed and none was named. `why` says how, for the report."""

    text: str
    label: str | None
    why: str

    def notes(self) -> tuple[str, ...]:
        """`why`, where a column was told by its content and may be the wrong one."""
        return (self.why,) if _BY_CONTENT in self.why else ()


class Sampled(Protocol):
    """A table whose first rows can be looked at without losing them."""

    @property
    def path(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    def sample(self, rows: int = SAMPLE_ROWS) -> list[Row]: ...


def simple(name: str) -> str:
    """A column name as it is compared: `Class Name` and `class-name` are `class_name`."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def is_known(name: str) -> bool:
    """Whether a column of this name is taken for texts or labels without looking further."""
    return simple(name) in TEXT_NAMES or simple(name) in LABEL_NAMES


def find_columns(table: Sampled, *, text_column: str | None = None, label_column: str | None = None,
                 need_label: bool = True) -> Columns:
    """The text and the label column of `table`.

    Named columns must exist (letter case aside); others are found by name, then by content in the first 200 rows
    (labels: short, few distinct values; text: the longest). Without `need_label` the label is found only when named.
    Raises UsageError, with close names as the hint, when a column is missing or cannot be told.
    """
    text = _named(table, text_column, "text")
    label = _named(table, label_column, "label")
    if text is not None and text == label:
        raise UsageError(f"{table.path}: the column {text!r} cannot be both text and label")
    why = []
    if text is None:
        text = _by_name(table.columns, TEXT_NAMES, label)
        why += [f"text column {text!r} by its name"] if text is not None else []
    if label is None and need_label:
        label = _by_name(table.columns, LABEL_NAMES, text)
        why += [f"label column {label!r} by its name"] if label is not None else []
    if label is None and need_label:
        label = _label_by_content(table, text)
        why.append(f"label column {label!r} {_BY_CONTENT}: short, few distinct values")
    if text is None:
        text = _text_by_content(table, label)
        why.append(f"text column {text!r} {_BY_CONTENT}: the longest")
    return Columns(text, label, "; ".join(why) or "as named")


def _named(table: Sampled, name: str | None, role: str) -> str | None:
    if name is None or name in table.columns:
        return name
    alike = [column for column in table.columns if simple(column) == simple(name)]
    if len(alike) == 1:
        return alike[0]
    near = difflib.get_close_matches(name, table.columns, n=3, cutoff=0.5)
    _missing(table, f"there is no column {name!r}", role, [repr(column) for column in near])


def _missing(table: Sampled, what: str, role: str, near: Sequence[str] = ()) -> NoReturn:
    have = ", ".join(repr(column) for column in table.columns[:20]) + (", …" if len(table.columns) > 20 else "")
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"{table.path}: {what}; the columns are {have}", hint=f"{hint}name it with --{role}-column NAME")


def _by_name(columns: Sequence[str], names: Sequence[str], taken: str | None) -> str | None:
    for name in names:
        for column in columns:
            if column != taken and simple(column) == name:
                return column
    return None


def _cells(table: Sampled, column: str) -> list[str]:
    return [str(value) for row in table.sample() if not is_missing(value := row.values.get(column))]


def _label_by_content(table: Sampled, text: str | None) -> str:
    best: tuple[float, str] | None = None
    for column in table.columns:
        cells = _cells(table, column) if column != text else []
        if not cells or max(map(len, cells)) > _LABEL_LENGTH:
            continue
        share = len(set(cells)) / len(cells)
        # one distinct value is a class that was filtered for; as many values as rows is a key
        if share < 1 and (share <= 0.5 or len(cells) < 20) and (best is None or share < best[0]):
            best = share, column
    if best is None:
        _missing(table, "no column looks like labels", "label")
    return best[1]


def _text_by_content(table: Sampled, label: str | None) -> str:
    best: tuple[float, str] | None = None
    for column in table.columns:
        cells = _cells(table, column) if column != label else []
        if not cells or all(_is_number(cell) for cell in cells):
            continue
        length = sum(map(len, cells)) / len(cells)
        if best is None or length > best[0]:
            best = length, column
    if best is None:
        _missing(table, "no column looks like texts", "text")
    return best[1]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
