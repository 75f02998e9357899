"""Porter's stemmer for English (M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980), steps 1a to 5b.

The stemmer that ROUGE's `-m` option stands for: `stem("relational")` is "relat".
"""

from __future__ import annotations

import re
from functools import lru_cache

_LONGEST = 60
_STEP2 = (("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("abli", "able"), ("alli", "al"),
          ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"),
          ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"))
_STEP3 = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""))
_STEP4 = ("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive",
          "ize")
# The longest suffix that fits decides, whether or not its condition then holds.
_ORDERED = {id(table): sorted(table, key=lambda rule: -len(rule[0])) for table in (_STEP2, _STEP3)}
_ENDINGS = sorted(_STEP4, key=len, reverse=True)
_VC = re.compile("v+c+")


def _shape(stem: str) -> str:
    """The word as v and c: a y is a vowel after a consonant."""
    out = ""
    for letter in stem:
        out += "v" if letter in "aeiou" or (letter == "y" and out[-1:] == "c") else "c"
    return out


def _measure(stem: str) -> int:
    return len(_VC.findall(_shape(stem)))


def _double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c"


def _short(word: str) -> bool:
    """Ends consonant, vowel, consonant, the last not w, x or y."""
    return _shape(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _step1(word: str) -> str:
    if word.endswith("sses") or word.endswith("ies"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _measure(word[:-3]) > 0 else word
    else:
        for ending in ("ed", "ing"):
            if word.endswith(ending):
                if "v" in _shape(word[: -len(ending)]):
                    word = _repaired(word[: -len(ending)])
                break
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    return word


def _repaired(word: str) -> str:
    """Step 1b's second half: what is left after -ed or -ing."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _double(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _short(word) else word


def _replaced(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ending, new in _ORDERED[id(rules)]:
        if word.endswith(ending):
            base = word[: -len(ending)]
            return base + new if _measure(base) > 0 else word
    return word


def _step4(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending):
            base = word[: -len(ending)]
            fits = _measure(base) > 1 and (ending != "ion" or base.endswith(("s", "t")))
            return base if fits else word
    return word


def _step5(word: str) -> str:
    if word.endswith("e"):
        base = word[:-1]
        size = _measure(base)
        if size > 1 or (size == 1 and not _short(base)):
            word = base
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of a lower-case ASCII word; words of one or two letters, and of more than 60, stay as they are."""
    if not 2 < len(word) <= _LONGEST:
        return word
    return _step5(_step4(_replaced(_replaced(_step1(word), _STEP2), _STEP3)))
