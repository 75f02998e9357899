"""Data-to-text: attribute lists such as `name[The Eagle], food[French], familyFriendly[no]`, and which of them a text mentions.

The notation is that of the E2E challenge (Novikova, Dušek & Rieser 2017). A value is mentioned when its words stand in the text, or one
of its usual phrases does: yes/no, prices and ratings are seldom said in the words of the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError

_PAIR = re.compile(r"([^\[\],\s][^\[\],]{0,79})\[([^\]]{0,1000})\]\s*(?:,\s*|$)")
_SPACE = re.compile(r"[^\w£$€+]+")
_LOW = ["cheap", "low price", "low cost", "inexpensive", "affordable", "low priced", "lower price", "prices are low", "budget"]
_MIDDLE = ["moderate", "mid price", "mid range", "medium price", "average price", "reasonabl", "moderately", "mid priced",
           "average priced", "middle price", "fair price", "fairly priced"]
_HIGH = ["high price", "expensive", "high cost", "pricey", "high priced", "higher price", "upscale", "costly",
         "above average price", "highly priced", "high end", "higher than average price", "prices are high", "higher priced"]
_GOOD = ["5 out of 5", "five out of five", "5 star", "five star", "5 5", "high customer", "high rating", "highly rated",
         "excellent", "high rated", "rated high", "rated highly", "rating is high", "rates high", "well rated", "top rated", "5 of 5", "rated 5",
         "great rating"]
_FAIR = ["3 out of 5", "three out of five", "3 star", "three star", "3 5", "average", "rated 3", "rating of 3", "3 of 5", "mediocre"]
_BAD = ["1 out of 5", "one out of five", "1 star", "one star", "1 5", "low rating", "low customer", "poor", "low rated",
        "poorly rated", "rated low", "rating is low", "rated 1", "rating of 1", "1 of 5", "lowly rated", "bad rating"]
_FAMILY = r"(?:famil\w+|kids?|child\w*)"
_NO = r"(?:not|non|no|isn t|aren t|doesn t|don t|never|un|without|unsuitable|unfriendly|inappropriate|nor|adults?|lacks|instead)"
_NOT_FOR = (rf"\b{_NO}\b(?: \w+){{0,6}} {_FAMILY}"
            rf"|{_FAMILY}(?: \w+){{0,4}} (?:not|isn t|aren t|unfriendly|unwelcome|discouraged|no)\b|\badults?\b|\bnon ?{_FAMILY}")
_FOR = rf"\b{_FAMILY}|\ball ages\b"
_ALIASES: dict[tuple[str, str], list[str]] = {
    ("price range", "cheap"): _LOW,
    ("price range", "less than £20"): [*_LOW, "under £20", "below £20", "less than 20", "under 20", "20 or less", "£20 or less"],
    ("price range", "moderate"): _MIDDLE,
    ("price range", "£20 25"): [*_MIDDLE, "20 to 25", "20 and 25", "£20 to £25", "20 £25", "£20 and £25", "20 25"],
    ("price range", "high"): _HIGH,
    ("price range", "more than £30"): [*_HIGH, "over £30", "above £30", "more than 30", "over 30", "£30", "above 30"],
    ("customer rating", "high"): _GOOD, ("customer rating", "5 out of 5"): _GOOD,
    ("customer rating", "average"): _FAIR, ("customer rating", "3 out of 5"): _FAIR,
    ("customer rating", "low"): _BAD, ("customer rating", "1 out of 5"): _BAD,
    ("area", "city centre"): ["city center", "centre of the city", "center of the city", "city s centre", "city s center",
                              "downtown", "town centre", "centre of town", "center of town", "inner city", "centrally", "town center",
                              "middle of the city", "heart of the city"],
    ("area", "riverside"): ["river", "waterfront"],
    ("food", "english"): ["british"], ("food", "fast food"): ["burger", "fast"],
    ("eat type", "coffee shop"): ["coffee", "café", "cafe"],
    ("eat type", "pub"): ["pubs", "bar"], ("eat type", "restaurant"): ["restaurants", "dining", "eatery"],
}
YES, NO = ("yes", "true"), ("no", "false")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which attributes of a list a text mentions. `share` is 1 for an empty list."""

    mentioned: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def share(self) -> float:
        total = len(self.mentioned) + len(self.missing)
        return len(self.mentioned) / total if total else 1.0


def attributes(listed: str) -> list[tuple[str, str]]:
    """The (name, value) pairs of `name[value], name[value]`, in order. Raises DataError showing where it cannot be read on."""
    out, at = [], 0
    listed = listed.strip()
    while at < len(listed):
        match = _PAIR.match(listed, at)
        if not match:
            raise DataError(f"the attribute list cannot be read from {listed[at:at + 40]!r} on", hint="write name[value], name[value], …")
        out.append((match[1].strip(), match[2].strip()))
        at = match.end()
    return out


def mentions(name: str, value: str, text: str, aliases: Mapping[tuple[str, str], Sequence[str]] | None = None) -> bool:
    """Whether the text says the value. `aliases` gives further phrases for (name, value), both in lower case."""
    said = f" {_plain(text)} "
    key = _plain(name), _plain(value)
    if key[1] in YES + NO:
        return _boolean(key[0], key[1] in YES, said)
    extra = (aliases or {}).get((name.lower(), value.lower()), ())
    return any(f" {phrase}" in said for phrase in (key[1], *_ALIASES.get(key, ()), *map(_plain, extra)) if phrase)


def _boolean(name: str, wanted: bool, said: str) -> bool:
    if "famil" in name or "kid" in name or "child" in name:
        refused = bool(re.search(_NOT_FOR, said))
        return (bool(re.search(_FOR, said)) and not refused) if wanted else refused
    word = re.escape(name)
    refused = bool(re.search(rf"\b(?:no|not|non|without|isn t|doesn t|never)\b(?: \w+){{0,3}} {word}", said))
    return (f" {name}" in said and not refused) if wanted else refused


def _plain(text: str) -> str:
    """Lower case, words parted by one space; capitals inside a name part words (familyFriendly)."""
    return _SPACE.sub(" ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text) if " " not in text and "[" not in text else text).strip().lower()


def coverage(listed: str, text: str, aliases: Mapping[tuple[str, str], Sequence[str]] | None = None) -> Coverage:
    """Which attributes of the list the text mentions. Raises DataError for a list that cannot be read."""
    mentioned: list[str] = []
    missing: list[str] = []
    for name, value in attributes(listed):
        (mentioned if mentions(name, value, text, aliases) else missing).append(name)
    return Coverage(tuple(mentioned), tuple(missing))
