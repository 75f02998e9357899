"""What a row is, and what happens to one that cannot be used: one clear error, or a counted skip."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from ...errors import DataError, UsageError

MAX_CELL = 1_000_000
"""Characters a cell may hold unless the caller says otherwise."""
KEPT_REASONS = 20
"""Skipped rows whose reason is kept; all of them are counted."""
POLICIES = ("fail", "skip")


class Row(NamedTuple):
    """One row of a table: the 1-based line it starts on (the row number where a format has no lines) and its cells."""

    line: int
    values: dict[str, object]


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class BadValue(ValueError):
    """A cell that cannot be used; the message is the reason shown to the user."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class BadRows:
    """Collects the rows of one file that cannot be used, or stops at the first, as `policy` says."""

    def __init__(self, name: str, policy: str = "fail", unit: str = "line") -> None:
        if policy not in POLICIES:
            raise UsageError(f"on_bad_row is {policy!r}; it must be one of {', '.join(POLICIES)}")
        self.name = name
        self.skipping = policy == "skip"
        self.unit = unit
        self.reset()

    def reset(self) -> None:
        """Forget what was skipped: the file is read again from its start."""
        self.count = 0
        self.kept: list[tuple[int, str]] = []

    def add(self, line: int, reason: str, hint: str | None = None) -> None:
        """One row that cannot be used. Raises DataError with file and line unless such rows are skipped."""
        if not self.skipping:
            self.stop(line, reason, or_skip(hint or "mend the row"))
        self.count += 1
        if len(self.kept) < KEPT_REASONS:
            self.kept.append((line, reason))

    def stop(self, line: int, reason: str, hint: str | None = None) -> NoReturn:
        """A fault that makes the rest of the file unreadable. Raises DataError under either policy."""
        raise DataError(f"{self.name}, {self.unit} {line}: {reason}", hint=hint)


def or_skip(hint: str) -> str:
    """A hint with the other way out of a bad row."""
    skip = "skip and count such rows: --on-bad-row skip"
    return f"{hint} Or {skip}" if hint.endswith("?") else f"{hint}, or {skip}" if len(hint) < 20 else f"{hint}; or {skip}"


def check_string(value: str, max_cell: int) -> None:
    """Raises BadValue for a string that no tokenizer or store may see: NUL, lone surrogate, over the cell limit."""
    if len(value) > max_cell:
        raise BadValue(f"a cell of {len(value):,} characters; the limit is {max_cell:,}")
    if "\0" in value:
        raise BadValue("a cell contains a NUL character")
    if not value.isascii() and has_surrogate(value):
        raise BadValue("a cell contains half of a surrogate pair, which is not a character")


def has_surrogate(text: str) -> bool:
    """True where `text` cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def checked(values: dict[str, object], max_cell: int) -> dict[str, object]:
    """`values`, or BadValue where one of its strings or names cannot be used."""
    for name, value in values.items():
        check_string(name, max_cell)
        if isinstance(value, str):
            check_string(value, max_cell)
    return values
