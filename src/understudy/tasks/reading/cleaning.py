"""Duplicates, contradictions and leaks between training and test texts; and a split that stays put.

Two texts are the same when their keys are: NFC, letter case and runs of white space aside.
Example: "Where is  my card?" and "where is my card?" are one text.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...errors import DataError, UsageError
from ..types import Example
from .problems import counted, or_skip

_SHOWN = 5


@dataclass(frozen=True)
class Conflict:
    """One text with several labels: its first spelling, the labels, the lines, and the label kept (None: all dropped)."""

    text: str
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    kept: str | None


@dataclass(frozen=True)
class Cleaned:
    """The examples that remain. `len(train) + duplicates + contradicted + leaks` is the number that came in.

    `duplicates` repeat a text with its label, `contradicted` are rows removed because of `conflicts`, `leaks` are
    training rows whose text is in the test data, `singletons` the labels with one training row, `notes` warnings.
    The test data is never changed.
    """

    train: list[Example]
    test: list[Example]
    duplicates: int
    contradicted: int
    leaks: int
    conflicts: tuple[Conflict, ...]
    singletons: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What was removed and what to look at, as lines of text; empty when there is nothing to say."""
        found = []
        if self.duplicates:
            found.append(f"removed {counted(self.duplicates, 'duplicate training row')}")
        if self.leaks:
            found.append(f"removed {counted(self.leaks, 'training row')} whose text is in the test data")
        if self.conflicts:
            found.append(f"{counted(len(self.conflicts), 'text')} with more than one label; the majority was kept, ties were "
                         f"dropped, {counted(self.contradicted, 'row')} in all:")
            found += [f"  {_short(c.text)}: {', '.join(c.labels)} (lines {', '.join(map(str, c.lines[:6]))})"
                      for c in self.conflicts[:_SHOWN]]
            if len(self.conflicts) > _SHOWN:
                found.append(f"  … and {len(self.conflicts) - _SHOWN:,} more")
        if self.singletons:
            found.append(f"{counted(len(self.singletons), 'label')} with a single training row: {_some(self.singletons)}")
        return found + [f"note: {note}" for note in self.notes]


def key(text: str) -> str:
    """What makes two texts the same: NFC, case-folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def clean(examples: Iterable[Example], test: Iterable[Example] = ()) -> Cleaned:
    """Remove from `examples` what would teach wrongly or spoil the test; see Cleaned for what is counted."""
    test = list(test)
    test_labels = _by_key(test)
    leaks = duplicates = contradicted = 0
    train: list[Example] = []
    conflicts: list[Conflict] = []
    for same_text, rows in _by_key(examples).items():
        if same_text in test_labels:
            leaks += len(rows)
            continue
        counts = Counter(row.label for row in rows)
        if len(counts) == 1:
            train.append(rows[0])
            duplicates += len(rows) - 1
            continue
        kept = _majority(counts)
        conflicts.append(Conflict(rows[0].text, tuple(sorted(map(str, counts))), tuple(row.line for row in rows), kept))
        agreeing = [row for row in rows if kept is not None and row.label == kept]
        train += agreeing[:1]
        duplicates += max(0, len(agreeing) - 1)
        contradicted += len(rows) - len(agreeing)
    # rows were grouped by text; the order of the file comes back through the lines
    order = {id(row): place for place, row in enumerate(train)}
    train.sort(key=lambda row: (row.line, order[id(row)]))
    sizes = Counter(row.label for row in train if row.label is not None)
    singletons = tuple(sorted(label for label, size in sizes.items() if size == 1))
    notes = _label_notes(sizes, {row.label for row in test if row.label is not None}, conflicts)
    return Cleaned(train, test, duplicates, contradicted, leaks, tuple(conflicts), singletons,
                   tuple(notes + _test_notes(test, test_labels)))


def check_labels(cleaned: Cleaned, name: str) -> tuple[str, ...]:
    """The labels of the training rows of the file `name`, sorted. Raises DataError where there are none or only one."""
    sizes = Counter(row.label for row in cleaned.train if row.label is not None)
    if not sizes:
        raise DataError(f"{name}: no labelled training rows remain after cleaning", hint=_removed(cleaned))
    if len(sizes) == 1:
        (label, rows), = sizes.items()
        first = next(row.line for row in cleaned.train if row.label == label)
        raise DataError(f"{name}, line {first}: the only label is {label!r}, on {counted(rows, 'training row')}; a classifier needs at least two",
                        hint=_removed(cleaned) if cleaned.conflicts or cleaned.leaks else "is the label column the right one? name it with --label-column")
    return tuple(sorted(sizes))


def check_singles(cleaned: Cleaned, name: str, on_bad_row: str) -> Cleaned:
    """Refuses a label with one training text, from which nothing can be learned that could be tested; with "skip" the row goes, counted.

    Raises DataError naming the first such row of the file `name`.
    """
    if not cleaned.singletons:
        return cleaned
    alone = [row for row in cleaned.train if row.label in set(cleaned.singletons)]
    if on_bad_row == "fail":
        more = f", and so {'has' if len(alone) == 2 else 'have'} {counted(len(alone) - 1, 'other label')}" if len(alone) > 1 else ""
        raise DataError(f"{name}, line {alone[0].line}: the label {alone[0].label!r} has a single text{more}; a label needs at least two",
                        hint=or_skip("bring more rows with it, or give it another label") if 2 * len(alone) < len(cleaned.train)
                        else "is the label column the right one? name it with --label-column")
    told = ", ".join(f"{row.label!r} (line {row.line})" for row in alone[:_SHOWN]) + (", …" if len(alone) > _SHOWN else "")
    return replace(cleaned, train=[row for row in cleaned.train if row.label not in set(cleaned.singletons)], singletons=(),
                   notes=(f"skipped {counted(len(alone), 'row')} whose label has no other text: {told}", *cleaned.notes))


def split(examples: Sequence[Example], test_share: float, *, salt: str = "test") -> tuple[list[Example], list[Example]]:
    """(training, test): a row's side follows from the hash of its text, so new rows do not reshuffle the old ones.

    A text is in the test when its hash is below `test_share` (0–1). Then each label without a test row that has rows
    for at least one gives its lowest-hashed text, and each label without a training row takes its highest-hashed text
    back: at most one text per label depends on other rows. Every label keeps a training row. Splitting a part again
    needs another `salt`, or the same texts would be chosen. Raises UsageError for a share outside 0–1.
    """
    if not 0 <= test_share < 1:
        raise UsageError(f"the test share is {test_share}; it must be at least 0 and below 1")
    if test_share == 0:
        return list(examples), []
    keys = [key(example.text) for example in examples]
    place = {text: _hash(text, salt) for text in set(keys)}
    in_test = {text for text, value in place.items() if value < test_share}
    texts: dict[str | None, set[str]] = defaultdict(set)
    for text, example in zip(keys, examples, strict=True):
        texts[example.label].add(text)
    ordered = [sorted(group, key=lambda text: place[text]) for _, group in sorted(texts.items(), key=lambda g: str(g[0]))]
    for group in ordered:
        if len(group) * test_share >= 1 and not in_test.intersection(group):
            in_test.add(group[0])
    for group in ordered:
        if in_test.issuperset(group):
            in_test.discard(group[-1])
    train = [example for text, example in zip(keys, examples, strict=True) if text not in in_test]
    return train, [example for text, example in zip(keys, examples, strict=True) if text in in_test]


def _hash(text: str, salt: str) -> float:
    digest = hashlib.sha256(f"{salt}\0{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _by_key(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(key(example.text), []).append(example)
    return groups


def _majority(counts: Counter[str | None]) -> str | None:
    (first, most), (_, next_most) = counts.most_common(2)
    return first if most > next_most else None


def _label_notes(sizes: Counter[str], in_test: set[str], conflicts: Sequence[Conflict]) -> list[str]:
    alike: dict[str, set[str]] = defaultdict(set)
    for label in [*sizes, *in_test, *(label for conflict in conflicts for label in conflict.labels)]:
        alike[_label_key(label)].add(label)
    notes = [f"these labels differ only in letter case, white space, accents' encoding or as numbers: "
             f"{', '.join(map(repr, sorted(group)))}; they are kept apart" for group in alike.values() if len(group) > 1]
    unseen = sorted(in_test - set(sizes)) if sizes else []
    if unseen:
        notes.append(f"{counted(len(unseen), 'label')} of the test data without a training row: {_some(unseen)}")
    untested = sorted(set(sizes) - in_test) if in_test else []
    if untested:
        notes.append(f"{counted(len(untested), 'label')} without a test row: {_some(untested)}")
    return notes


def _label_key(label: str) -> str:
    plain = key(label).replace("_", " ").replace("-", " ").strip() or label
    return plain.removesuffix(".0") if plain.removesuffix(".0").isdigit() else plain


def _test_notes(test: Sequence[Example], groups: dict[str, list[Example]]) -> list[str]:
    notes = []
    if len(test) > len(groups):
        notes.append(f"{counted(len(test) - len(groups), 'row')} of the test data with a text that came before; it was not changed")
    torn = sum(len({row.label for row in rows}) > 1 for rows in groups.values())
    if torn:
        notes.append(f"{counted(torn, 'text')} of the test data with more than one label: no model can reach 100 %")
    return notes


def _removed(cleaned: Cleaned) -> str | None:
    return "; ".join(cleaned.lines()[:3]) or None


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
