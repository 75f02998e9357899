"""Files of lines: fastText's `__label__x text`, and plain text with one text per line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .encodings import LongLine
from .problems import BadRows, BadValue, Row, check_string, has_surrogate

PREFIX = "__label__"
_LABEL = re.compile(r"(?:^|(?<=\s))__label__(\S+)")


def fasttext_rows(lines: Iterator[str], bad: BadRows, max_cell: int) -> Iterator[Row]:
    """`text` and `label` of each line; the label may stand anywhere in it, and is None where there is none."""
    for number, line in _usable(lines, bad, max_cell):
        labels = _LABEL.findall(line)
        if len(labels) > 1:
            bad.add(number, f"{len(labels)} labels; several labels per text (multi-label) are not supported",
                    "keep one label per text")
        else:
            text = _LABEL.sub("", line).strip()
            yield Row(number, {"text": text, "label": labels[0] if labels else None})


def plain_rows(lines: Iterator[str], bad: BadRows, max_cell: int) -> Iterator[Row]:
    """The `text` on each line, without its line end; blank lines are no rows."""
    for number, line in _usable(lines, bad, max_cell):
        yield Row(number, {"text": line.rstrip("\r\n")})


def _usable(lines: Iterator[str], bad: BadRows, max_cell: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        if type(line) is LongLine:
            bad.add(number, f"a line of more than {max_cell:,} characters", "is this a file with one text per line?")
        elif line.strip():
            if not line.isascii() and has_surrogate(line):
                bad.add(number, "the line contains bytes that are not in the file's encoding")
                continue
            try:
                check_string(line, max_cell)
            except BadValue as error:
                bad.add(number, str(error), error.hint)
            else:
                yield number, line
