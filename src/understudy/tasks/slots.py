"""Values that are said word for word (a name, a kind of food) left out of what a model learns and writes, and put back into its answers.

`name[Blue Spice], food[Thai]` is learned as `name[⟨name⟩], food[⟨food⟩]`: a model that never read "Thai" writes it all the same. Known as
delexicalisation (Wen et al. 2015, arXiv 1508.01745). A mark tells how its value begins, because the words around it depend on that
("an Italian", "l'Italien", "of 3 out of 5"): `⟨food~⟩` before a vowel, `⟨rating#⟩` before a digit.

    mask("name[Blue Spice], area[riverside]", ("name",))    →  "name[⟨name⟩], area[riverside]", {"name": "Blue Spice"}
    fill("⟨name⟩ is a riverside pub.", {"name": "Blue Spice"})  →  "Blue Spice is a riverside pub."
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError
from .attributes import attributes, coverage, mentions

_MARK = re.compile("⟨([^⟨⟩]{1,80})⟩")
_SAID = 0.6
"""Share of the texts that must say a value as it stands, for its attribute to be filled in; the others teach other words for it."""
_MENTIONED = 0.8
_LONGEST = 84


def _stands(name: str, value: str, listed: Sequence[tuple[str, str]], target: str) -> bool:
    """Whether the target says the value in these words, and nothing else with them."""
    if not value or any(value == its and name != other for other, its in listed):
        return False
    times = len(_words(value).findall(target))
    return times == 1 or (times > 1 and not value.islower())


def _words(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")


def _label(name: str, value: str) -> str:
    first = unicodedata.normalize("NFD", value[:1])[:1].lower()
    return name + ("~" if first and first in "aeiou" else "#" if first.isdigit() else "")


@dataclass(frozen=True)
class Slots:
    """Of a model that writes from attribute lists: the attributes whose values are `filled` in word for word, and those that are
    `checked`, because nearly every text it learned from says them in words that `tasks.attributes` knows."""

    filled: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

    def missing(self, source: str, text: str) -> tuple[str, ...]:
        """The checked attributes of the list `source` that `text` does not mention; none where the source is no list."""
        if not self.checked:
            return ()
        try:
            return tuple(name for name in coverage(source, text).missing if name in self.checked)
        except DataError:
            return ()

    def flags(self, source: str, text: str) -> tuple[str, ...]:
        """The same in words, with the values."""
        missing = self.missing(source, text)
        return tuple(f"{name}[{value}] is not mentioned" for name, value in attributes(source) if name in missing) if missing else ()


NONE = Slots()


def slots_of(pairs: Iterable[tuple[str, str]]) -> Slots:
    """What can be filled in and what can be checked, by the pairs that a model learns from; nothing where a source is no attribute list."""
    asked, stands, mentioned = Counter[str](), Counter[str](), Counter[str]()
    for source, target in pairs:
        try:
            listed = attributes(source)
        except DataError:
            return NONE
        for name, value in listed:
            asked[name] += 1
            stands[name] += _stands(name, value, listed, target)
            mentioned[name] += mentions(name, value, target)
    return Slots(tuple(sorted(name for name, times in asked.items() if stands[name] >= _SAID * times and len(name) <= 78)),
                 tuple(sorted(name for name, times in asked.items() if mentioned[name] >= _MENTIONED * times and len(name) <= 80)))


def mask(source: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The attribute list with marks for the values of `names`, and those values by mark. A text that is no attribute list stays as it is."""
    if not names:
        return source, {}
    try:
        listed = attributes(source)
    except DataError:
        return source, {}
    marks = {name: _label(name, value) for name, value in listed if name in names and value}
    if not marks:
        return source, {}
    return (", ".join(f"{name}[{f'⟨{marks[name]}⟩' if name in marks else value}]" for name, value in listed),
            {marks[name]: value for name, value in listed if name in marks})


def mask_pair(source: str, target: str, names: Sequence[str]) -> tuple[str, str]:
    """What is learned of a pair: marks in place of those values that the target says as they stand."""
    try:
        listed = attributes(source)
    except DataError:
        return source, target
    masked, values = mask(source, [name for name, value in listed if name in names and _stands(name, value, listed, target)])
    for label, value in sorted(values.items(), key=lambda one: -len(one[1])):
        target = _words(value).sub(f"⟨{label}⟩".replace("\\", r"\\"), target)
    return masked, target


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with the values in place of their marks, also where a mark tells another beginning; a mark without a value is left out."""
    named = {label.rstrip("~#"): value for label, value in values.items()}
    return _MARK.sub(lambda found: named.get(found[1].rstrip("~#"), ""), text)


class Filler:
    """`fill` for a text that comes in pieces: what may be the beginning of a mark is held back until it is clear."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values, self._held = values, ""

    def feed(self, piece: str) -> str:
        """What can be said now."""
        text = self._held + piece
        begin = text.rfind("⟨")
        if begin >= 0 and "⟩" not in text[begin:] and len(text) - begin < _LONGEST:
            text, self._held = text[:begin], text[begin:]
        else:
            self._held = ""
        return fill(text, self._values)

    def flush(self) -> str:
        """The rest."""
        text, self._held = self._held, ""
        return text
