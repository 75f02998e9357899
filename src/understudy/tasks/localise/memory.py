"""Translation memory: what was translated before, found again exactly or by likeness.

Likeness is the Dice coefficient of character trigrams (as multisets) of the two texts, in lower case and with numbers and
placeholders as one sign each. An inverted index finds candidates; only those that share enough of the text's rarest
trigrams can reach the score asked for, and only they are compared (prefix filtering for set similarity joins).
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import DataError, UsageError
from .placeholders import Span, find
from .tmx import read_tmx, read_tsv, tsv_line

_MORE = 4  # trigrams looked at beyond what is needed to meet every candidate once; measured: 0 costs four times as much
_TOP = 8  # candidates whose placeholders are looked at
_ALMOST = 0.99


@dataclass(frozen=True)
class Match:
    """A text of the memory with its translation.

    score     1 for an exact match, else below it
    exact     the same text but for white space
    repaired  only numbers or placeholders differed, and they were put in place: as good as exact
    """

    source: str
    target: str
    score: float
    exact: bool
    repaired: bool = False


class Memory:
    """Pairs of texts. Of several translations of one text the most frequent counts, of equally frequent ones the first."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._sources: list[str] = []
        self._targets: list[dict[str, int]] = []
        self._exact: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._grams: list[array[int]] = []  # by place: numbers of the trigrams
        self._postings: list[array[int]] = []  # by number: ranks of the texts that have it, growing
        self._places = self._sizes = array("I")  # by rank: place and number of trigrams
        for source, target in pairs:
            self.add(source, target)

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, source: str, target: str) -> None:
        """Remember a pair; nothing is kept where either side is empty."""
        key = normalise(source)
        if not key or not target.strip():
            return
        place = self._exact.setdefault(key, len(self._sources))
        if place == len(self._sources):
            self._sources.append(source)
            self._targets.append({})
        self._targets[place][target] = self._targets[place].get(target, 0) + 1

    def lookup(self, text: str, least: float = 0.75) -> Match | None:
        """The best match of at least the score `least` (above 0, at most 1), or None. The same every time."""
        if not 0 < least <= 1:
            raise UsageError(f"least={least} is no score", hint="give a number above 0 and at most 1")
        place = self._exact.get(normalise(text))
        if place is not None:
            return Match(self._sources[place], self._best(place), 1.0, True)
        if least > _ALMOST or not text.strip():
            return None
        return next(iter(self._matches(text, least, _TOP)), None)

    def matches(self, text: str, least: float, most: int, *, itself: bool = True) -> list[Match]:
        """Up to `most` matches of at least the score `least`, best first; without `itself` none that is the same text but for case."""
        key = normalise(text)
        place = self._exact.get(key) if itself else None
        exact = [Match(self._sources[place], self._best(place), 1.0, True)] if place is not None else []
        found = self._matches(text, least, most + _TOP) if text.strip() else []
        alike = [match for match in found if normalise(match.source).casefold() != key.casefold()]
        return [*exact, *alike][:most]

    def _matches(self, text: str, least: float, looked_at: int) -> list[Match]:
        spans = find(text)
        candidates = self._alike(grams_of(text, spans), least)
        matches = [self._match(place, likeness, text, spans) for likeness, place in candidates[:looked_at]]
        return sorted((match for match in matches if match.score >= least), key=lambda match: -match.score)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write TSV (source, tab, target; tabs, line ends and backslashes as \\t, \\n, \\\\). Raises DataError where that fails."""
        try:
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                for source, targets in zip(self._sources, self._targets, strict=True):
                    file.writelines(tsv_line(source, target) for target, count in targets.items() for _ in range(count))
        except (OSError, UnicodeEncodeError) as error:
            raise DataError(f"{os.fspath(path)} cannot be written: {error}", hint="is the folder there, and the disk not full?") from error

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, source_language: str | None = None, target_language: str | None = None) -> Memory:
        """Read TSV, or TMX by its ending. The languages (as "en", "de") are for TMX files with more than two.

        Raises DataError with the line for a broken file.
        """
        name = os.fspath(path)
        return cls(read_tmx(name, source_language, target_language) if name.lower().endswith(".tmx") else read_tsv(name))

    def _best(self, place: int) -> str:
        targets = self._targets[place]
        return max(targets, key=lambda target: targets[target])

    def _index(self) -> None:
        """Index what was added since the last look-up. Ranks go by the number of trigrams: a posting list is cut by size."""
        if len(self._grams) == len(self._sources):
            return
        for source in self._sources[len(self._grams):]:
            self._grams.append(array("I", (self._ids.setdefault(gram, len(self._ids)) for gram in grams_of(source))))
        self._places = array("I", sorted(range(len(self._grams)), key=lambda place: (len(self._grams[place]), place)))
        self._sizes = array("I", (len(self._grams[place]) for place in self._places))
        self._postings = [array("I") for _ in self._ids]
        for rank, place in enumerate(self._places):
            for number in self._grams[place]:
                self._postings[number].append(rank)

    def _alike(self, grams: list[str], least: float) -> list[tuple[float, int]]:
        """(likeness, place) of every text that is alike enough, best first, then earliest.

        With n trigrams here and s there the likeness needs least * (n + s) / 2 in common. A text whose first common trigram,
        rarest first, is number i has at most n - i of them, so number i matters for s <= 2 (n - i) / least - n only. With
        _MORE numbers looked at beyond that, a text must turn up _MORE + 1 times: fewer texts are left to compare.
        """
        self._index()
        size = len(grams)
        known = sorted((number for number in map(self._ids.get, grams) if number is not None),
                       key=lambda number: (len(self._postings[number]), number))
        missing = size - len(known)
        low = bisect_left(self._sizes, least / (2 - least) * size - 1e-6)
        hits: Counter[int] = Counter()
        for place, number in enumerate(known, missing):
            high = bisect_right(self._sizes, 2 * (size - max(0, place - _MORE)) / least - size + 1e-6)
            if high <= low:
                break
            posting = self._postings[number]
            hits.update(posting[bisect_left(posting, low):bisect_left(posting, high)])
        mine, out = frozenset(known), []
        for rank, count in hits.items():
            other, place = self._sizes[rank], self._places[rank]
            wanted = least * (size + other) / 2
            # With few trigrams all of them were looked at, and `count` is what the two have in common.
            if count <= _MORE and count < wanted - 1e-6:
                continue
            likeness = 2 * len(mine.intersection(self._grams[place])) / (size + other)
            if likeness >= least - 1e-9:
                out.append((likeness, place))
        return sorted(out, key=lambda one: (-one[0], one[1]))

    def _match(self, place: int, likeness: float, text: str, spans: list[Span]) -> Match:
        source, target = self._sources[place], self._best(place)
        fixed, whole = repair(text, spans, source, target)
        same = _bare(text, spans) == _bare(source, find(source))
        score = min(likeness, _ALMOST) * (1.0 if fixed is not None else 0.9)
        if not same:
            score = min(score, _ALMOST - 0.01)
        return Match(source, target if fixed is None else fixed, round(score, 4), False, same and whole)


def normalise(text: str) -> str:
    """The text with runs of white space as one space, and none at the edges."""
    return " ".join(text.split())


def skeleton(text: str, spans: list[Span]) -> str:
    """The text in lower case, with a sign for every number (0) and placeholder ({})."""
    return _bare(text, spans).casefold()


def _bare(text: str, spans: list[Span]) -> str:
    pieces, at = [], 0
    for span in spans:
        pieces += [text[at:span.start], "0" if span.kind == "number" else span.text if span.kind == "icu" else "{}"]
        at = span.end
    return normalise("".join([*pieces, text[at:]]))


def grams_of(text: str, spans: list[Span] | None = None) -> list[str]:
    """Character trigrams of a text's skeleton; the second of the same kind is another one, so that sets count like multisets."""
    padded = f"  {skeleton(text, find(text) if spans is None else spans)} "
    seen: dict[str, int] = {}
    out = []
    for at in range(len(padded) - 2):
        gram = padded[at:at + 3]
        count = seen[gram] = seen.get(gram, 0) + 1
        out.append(gram if count == 1 else f"{gram}{count}")
    return out


def repair(text: str, spans: list[Span], source: str, target: str) -> tuple[str | None, bool]:
    """`target` (a translation of `source`) with the numbers and placeholders of `text`, and whether that is sure to be right.

    (None, False) where they do not pair off. Not sure where a number is 1: other words may have to change with it.
    """
    old, places = find(source), find(target)
    if [span.kind for span in old] != [span.kind for span in spans]:
        return None, False
    swaps: dict[int, str] = {}
    sure = True
    for before, after in zip(old, spans, strict=True):
        if before.text == after.text:
            continue
        if before.kind == "icu":
            return None, False  # a plural or select holds words
        at = [number for number, span in enumerate(places) if span.kind == before.kind and span.text == before.text]
        if len(at) != 1 or sum(span.text == before.text for span in old) != 1:
            return None, False
        swaps[at[0]] = after.text
        sure = sure and (before.kind != "number" or ("1" not in (before.text, after.text) and after.text.isdigit()))
    pieces, end = [], 0
    for number, span in enumerate(places):
        pieces += [target[end:span.start], swaps.get(number, span.text)]
        end = span.end
    return "".join([*pieces, target[end:]]), sure
