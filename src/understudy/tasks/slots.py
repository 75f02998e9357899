"""Values that are said word for word (a name, a place) left out of what a model learns and writes, and put back into its answers.

`name[Blue Spice], near[Burger King]` is learned as `name[⟨name⟩], near[⟨near⟩]`: a model that never read "Burger King" writes it all
the same. Known as delexicalisation (Wen et al. 2015, arXiv 1508.01745).

    mask("name[Blue Spice], area[riverside]", ("name",))    →  "name[⟨name⟩], area[riverside]", {"name": "Blue Spice"}
    fill("⟨name⟩ is a riverside pub.", {"name": "Blue Spice"})  →  "Blue Spice is a riverside pub."
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataError
from .attributes import attributes

_MARK = re.compile("⟨([^⟨⟩]{1,80})⟩")
_SAID, _DISTINCT = 0.95, 6
_LONGEST = 84


def open_slots(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The attributes whose value stands as it is in nearly every target and has many forms, sorted; none where a source is no attribute list."""
    said: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    values: dict[str, set[str]] = defaultdict(set)
    for source, target in pairs:
        try:
            listed = attributes(source)
        except DataError:
            return ()
        for name, value in listed:
            said[name][0] += value in target and value != ""
            said[name][1] += 1
            values[name].add(value)
    return tuple(sorted(name for name, (there, asked) in said.items() if there >= _SAID * asked and len(values[name]) >= _DISTINCT and len(name) <= 80))


def mask(source: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The attribute list with marks for the values of `names`, and those values. A text that is no attribute list stays as it is."""
    try:
        listed = attributes(source)
    except DataError:
        return source, {}
    values = {name: value for name, value in listed if name in names and value}
    if not values:
        return source, {}
    return ", ".join(f"{name}[{f'⟨{name}⟩' if name in values else value}]" for name, value in listed), values


def mask_target(target: str, values: Mapping[str, str]) -> str:
    """The target with marks where the values stand, the longest value first."""
    for name, value in sorted(values.items(), key=lambda one: -len(one[1])):
        target = target.replace(value, f"⟨{name}⟩")
    return target


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with the values in place of their marks; a mark without a value is left out."""
    return _MARK.sub(lambda found: values.get(found[1], ""), text)


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
