"""Strings from strangers, made safe to print: no control characters, no tricks with direction, a known width.

Example: a label "re\\x1b[31mfund" prints as "re�[31mfund".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def plain(value: object, most: int = 120) -> str:
    """One line without control, direction-changing or unassigned characters, cut to `most` characters with an ellipsis."""
    text = str(value)
    clean = "".join(" " if c in "\n\t\r" else "\ufffd" if unicodedata.category(c) in HIDDEN else c for c in text[:most + 1])
    return clean[:most - 1] + "…" if len(clean) > most else clean


def width(text: str) -> int:
    """Columns the text takes in a terminal; East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """The text cut to this many terminal columns, with an ellipsis where something went."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def align(rows: Sequence[Sequence[str]], left: int = 1, gap: str = "  ") -> list[str]:
    """Lines of a table: the first `left` columns flush left, the others flush right."""
    wide = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c + " " * (w - width(c)) if i < left else " " * (w - width(c)) + c
                 for i, (c, w) in enumerate(zip(row, wide, strict=True))]
        lines.append(gap.join(cells).rstrip())
    return lines


def share(value: float | None, digits: int = 1) -> str:
    """A share as a bare percentage number, 0.943 is '94.3'; a dash when unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits without an exponent, thousands separated; a dash when unknown."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{float(text):f}".rstrip("0").rstrip(".") if "e" in text else text


def p_value(p: float | None) -> str:
    """A p-value to two digits; below 0.001 only that."""
    return "–" if p is None else "<.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def seconds(value: float | None) -> str:
    """A duration in the unit that reads best."""
    if value is None:
        return "–"
    if value < 100:
        return f"{number(value)} s"
    return f"{value / 60:.1f} m" if value < 6000 else f"{value / 3600:.1f} h"
