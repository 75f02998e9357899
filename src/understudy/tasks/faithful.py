"""Facts that a summary states and its source does not: numbers, dates and proper names without support.

Literal on purpose: a name, a date or a number is supported when it stands in the source, in any of the usual spellings. What it finds
deserves a look; what it does not find is not proven. A paraphrase that inverts the meaning passes, and so does a name that opens a
sentence and is an ordinary capitalised word.
"""

from __future__ import annotations

import re

from .abbreviations import listed
from .sentences import language_of, sentences

_NUMBER = re.compile(r"(?<![^\W_])[-−]?\d+(?:[.,'\u202f\u00a0]\d+)*")
_MONTHS = {name: number for number, names in enumerate((
    "january jan januar janvier enero", "february feb februar février febrero", "march mar märz mars marzo", "april apr avril abril",
    "may mai mayo", "june jun juni juin junio", "july jul juli juillet julio", "august aug août agosto",
    "september sep sept septembre septiembre", "october oct oktober octobre octubre", "november nov novembre noviembre",
    "december dec dezember décembre diciembre"), 1) for name in names.split()}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_DATES = [re.compile(pattern, re.IGNORECASE) for pattern in (
    r"\b(?P<year>\d{4})[-/.](?P<number>\d{1,2})[-/.](?P<day>\d{1,2})\b",
    r"\b(?P<day>\d{1,2})(?:st|nd|rd|th|\.|er)?\s+(?:of\s+|de\s+)?" + _MONTH + r"(?:,?\s+(?:de\s+)?(?P<year>\d{4})\b)?",
    r"\b" + _MONTH + r"\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+(?P<year>\d{4})\b)?",
    r"\b" + _MONTH + r"\s+(?:de\s+)?(?P<year>\d{4})\b")]
_WORDS = {word: str(number) for number, words in enumerate((
    "zero null cero", "one eins un une uno una", "two zwei deux dos", "three drei trois tres", "four vier quatre cuatro",
    "five fünf cinq cinco", "six sechs seis", "seven sieben sept siete", "eight acht huit ocho", "nine neun neuf nueve",
    "ten zehn dix diez", "eleven elf onze once", "twelve zwölf douze doce")) for word in words.split()}
_TOKEN = re.compile(r"[^\W_]+(?:[.&'’-][^\W_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_PART = re.compile(r"[^\W_]+")
_SMALL = listed("of the and de la le du des der die von van und y del a al")
_LINKS = _SMALL - {"and", "und", "et", "y"}
_ALWAYS = listed("i i'm i've i'll i'd monday tuesday wednesday thursday friday saturday sunday english german french spanish")
_Date = tuple[int, int, int]


def unsupported(summary: str, source: str) -> list[str]:
    """What the summary states and the source lacks: "number: 42", "date: 3 May 2020", "name: Ada Lovelace", in order, each once.

    A number written out (two, zwei, …) up to twelve counts as its digits; 1,000 and 1000 are one number. A date may be less exact
    than the source's. In German, where every noun has a capital, only names of several words, with digits or with inner capitals count.
    """
    flags: dict[str, None] = {}
    known_dates = [found for found, _ in _dates(source)]
    rest = summary
    for found, span in _dates(summary):
        if not any(_agrees(found, known) for known in known_dates):
            flags[f"date: {summary[span[0]:span[1]]}"] = None
        rest = rest[:span[0]] + " " * (span[1] - span[0]) + rest[span[1]:]
    numbers = _numbers(source)
    for match in _NUMBER.finditer(rest):
        if not _same_number(match[0]) & numbers:
            flags[f"number: {match[0].lstrip('-−')}"] = None
    words = _source_words(source)
    known = frozenset(words)
    for name in _names(rest):
        if not _named(name, known) and not _initials(name, words):
            flags[f"name: {name}"] = None
    return list(flags)


def flags_of(summary: str, source: str) -> list[str]:
    """The same as notes for a reader: "not in the document: number 42"."""
    return [f"not in the document: {one.replace(': ', ' ', 1)}" for one in unsupported(summary, source)]


def _dates(text: str) -> list[tuple[_Date, tuple[int, int]]]:
    """(year, month, day) with 0 for what is not said, and where it stands; no two overlap."""
    out: list[tuple[_Date, tuple[int, int]]] = []
    taken: set[int] = set()
    for pattern in _DATES:
        for match in pattern.finditer(text):
            part = match.groupdict()
            month = int(part["number"]) if part.get("number") else _MONTHS[(part.get("month") or "").lower()]
            day, year = int(part.get("day") or 0), int(part.get("year") or 0)
            if month <= 12 and day <= 31 and not taken.intersection(range(*match.span())):
                out.append(((year, month, day), match.span()))
                taken.update(range(*match.span()))
    return out


def _agrees(said: _Date, known: _Date) -> bool:
    return all(not mine or mine == theirs for mine, theirs in zip(said, known, strict=True))


def _same_number(written: str) -> set[str]:
    """The values that a number may stand for: a comma or a point may part thousands or decimals."""
    bare = re.sub(r"['\u202f\u00a0]", "", written.lstrip("-−"))
    out = set()
    for mark in ",.":
        if re.fullmatch(rf"\d{{1,3}}(?:\{mark}\d{{3}})+(?:[.,]\d+)?", bare):
            out.add(_value(bare.replace(mark, "").replace(",", ".")))
    return out or {_value(bare.replace(",", "."))}


def _value(digits: str) -> str:
    """Without zeros that change nothing: 3.50 and 03.5 are 3.5."""
    if digits.count(".") == 1:
        digits = digits.rstrip("0").rstrip(".")
    return digits.lstrip("0") or "0"


def _numbers(text: str) -> set[str]:
    found = {value for match in _NUMBER.finditer(text) for value in _same_number(match[0])}
    glued = {_value(digits) for digits in re.findall(r"(?<=[^\W\d_])\d+", text)}
    return found | glued | {_WORDS[word] for word in _LETTERS.findall(text.lower()) if word in _WORDS}


def _names(text: str) -> list[str]:
    """Runs of capitalised words; an ordinary word that opens a sentence counts only as part of a run."""
    german = language_of(text) == "de"
    out: list[list[tuple[str, bool]]] = []
    for span in sentences(text):
        run: list[tuple[str, bool]] = []
        end = -1
        for place, match in enumerate(_TOKEN.finditer(text, span.start, span.end)):
            word = match[0]
            joined = run and text[end:match.start()].strip() == ""
            capital = word[0].isupper() or any(c.isupper() for c in word[1:])
            if not joined and run:
                out.append(run)
                run = []
            if capital and word.lower() not in _ALWAYS:
                run.append((word, place == 0 and not _odd(word)))
                end = match.end()
            elif run and word.lower() in _LINKS and joined:
                end = match.end()
            elif run:
                out.append(run)
                run = []
        out.append(run)
    runs = [[word for word, _ in run] for run in map(_without_opening, out) if run]
    return [" ".join(run) for run in runs if not german or len(run) > 1 or _odd(run[0])]


def _without_opening(run: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return run[1:] if run and run[0][1] else run


def _odd(word: str) -> bool:
    """Capitals or digits inside, as no ordinary word has them."""
    return any(c.isupper() or c.isdigit() for c in word[1:]) or word.endswith(("'s", "’s"))


def _source_words(source: str) -> list[str]:
    return [part.casefold() for part in _PART.findall(source)]


def _named(name: str, known: frozenset[str]) -> bool:
    parts = [part.casefold() for part in _PART.findall(re.sub(r"['’]s\b", "", name))]
    return all(part in _SMALL or part.isdigit() or {part, part.removesuffix("s"), part + "s"} & known for part in parts)


def _initials(name: str, words: list[str]) -> bool:
    """Whether a short name in capitals is made of the first letters of neighbouring words of the source, as WHO is."""
    return name.isupper() and name.isalpha() and 1 < len(name) < 8 and name.casefold() in "".join(word[0] for word in words)
