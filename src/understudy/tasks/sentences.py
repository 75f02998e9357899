"""Where the sentences of a text are: rules over its full stops, for English, German, French, Spanish and texts alike.

    text ── blocks ──► paragraphs, items, headings ── full stops that end something ──► spans

A full stop ends no sentence after an abbreviation, an initial, inside a number or an address, or before a small letter; a CJK full
stop always does. Every part of the text is covered; spans never overlap. The time grows with the length of the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ..errors import UsageError
from .abbreviations import COMMON, MAYBE, MONTHS, NEVER, NUMBER, STARTERS, listed
from .blocks import Section, Span, blocks, paragraphs, sections

__all__ = ["LONGEST", "Section", "Span", "language_of", "paragraphs", "sections", "sentences", "words_of"]

LONGEST = 2000
"""Characters of a sentence; what runs on for longer without an end is cut where a clause, a word, or nothing ends."""
_STOP = re.compile(
    r"(?P<wide>[。！？｡．]+[」』”’）】〉》]*)"
    r"|(?P<mark>(?:\.{2,}|[.!?…؟۔।॥]+)[.!?…]*)(?P<close>(?:[\"'”’»›)\]}*_`]|(?:\u00a0|\u202f)»|\[\d{1,3}\])*)")
_NEXT = re.compile(r"\s*[\"'“‘«‹(\[{¿¡*_`„»—–-]*\s?(\w?)(\w*)")
_WORD = re.compile(r"[^\s(\[{\"'“‘«‹„/—]*$")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[^\W\d_]{2}\.[^\W\d_]")
_GLUED = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]*(?:[\s,;]|[.!?](?:\s|$))")
_SHORT_WORDS = listed("it is me us on in to so up do go we he of at by or")
_LOOKBACK, _LOOKAHEAD = 48, 64
_WORDS = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(text: str) -> tuple[str, ...]:
    """The lower-case words of a text."""
    return tuple(_WORDS.findall(text.lower()))


def language_of(text: str) -> str:
    """en, de, fr or es, whichever's commonest words the beginning of the text holds most of; en where none is found."""
    words = Counter(re.findall(r"[^\W\d_]+", text[:4000].lower()))
    totals = {language: sum(words[word] for word in common) for language, common in COMMON.items()}
    return max(totals, key=lambda language: totals[language])


def sentences(text: str, language: str | None = None) -> list[Span]:
    """The sentences of the text, in order, as spans into it; headings, code blocks and tables are one span each.

    `language` (en, de, fr, es; others are treated as en) decides about full stops after numbers; None looks at the text.
    Raises UsageError for something that is not a string.
    """
    if not isinstance(text, str):
        raise UsageError(f"sentences are found in a string, and this is {type(text).__name__}", hint="decode bytes first")
    spoken = language.split("-")[0].split("_")[0].lower() if language else language_of(text)
    out: list[Span] = []
    for block in blocks(text):
        if block.kind in ("code", "table", "heading"):
            out.append(block)
        else:
            out.extend(_of_block(text, block, spoken))
    return out


def _of_block(text: str, block: Span, language: str) -> Iterator[Span]:
    small = not any(c.isupper() for c in text[block.start:min(block.end, block.start + LONGEST)])
    start = block.start
    for stop in _STOP.finditer(text, block.start, block.end):
        end = stop.end()
        if end >= block.end or stop["wide"] or _ends(text, stop, block, language, small):
            yield from _cut(text, start, end, block.kind)
            start = end
    yield from _cut(text, start, block.end, block.kind)


def _cut(text: str, start: int, end: int, kind: str) -> Iterator[Span]:
    """The span without white space around it, in pieces of at most LONGEST characters."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > LONGEST:
        window = text[start:start + LONGEST]
        place = max(window.rfind(mark, LONGEST // 2) + len(mark) - 1 for mark in ("; ", ": ", ", ", "，", "、"))
        if place < LONGEST // 2:
            place = max(window.rfind(mark, LONGEST // 2) for mark in " \n\t")
        cut = start + (place if place > 0 else LONGEST)
        yield Span(start, start + len(text[start:cut].rstrip()), kind)
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield Span(start, end, kind)


def _ends(text: str, stop: re.Match[str], block: Span, language: str, small: bool) -> bool:
    """Whether the full stop, question mark or dots at `stop` end a sentence that others follow."""
    at, end = stop.start("mark"), stop.end()
    following = _NEXT.match(text, end, min(block.end, end + _LOOKAHEAD))
    first, rest = following.groups() if following else ("", "")
    glued = not text[end].isspace()
    mark = stop["mark"]
    before = _WORD.search(text, max(block.start, at - _LOOKBACK), at)
    word = before[0].rstrip(",;") if before else ""
    if glued:
        return _glued_end(text, end, mark, word)
    if first.islower() and not small and not any(c.isupper() for c in rest[:3]):
        return False
    if mark != ".":
        return bool(first) or mark[0] in "!?؟۔।॥"
    return _after_word(word, first, first.lower() + rest.lower(), language)


def _glued_end(text: str, end: int, mark: str, word: str) -> bool:
    """A full stop with no space behind it: the next sentence must look like one, and the word before like no address."""
    if not _GLUED.match(text, end, min(len(text), end + _LOOKAHEAD)):
        return False
    if mark[0] in "!?":
        return "/" not in word and "=" not in word
    return (len(word) > 2 or word in _SHORT_WORDS) and word.isalpha() and word[1:].islower() and word.lower() not in NEVER


def _after_word(word: str, first: str, following: str, language: str) -> bool:
    """Whether a single full stop after `word`, with a space behind it, ends a sentence."""
    plain = word.lower().lstrip("-*_")
    begins = following in STARTERS and (first.isupper() or not first.isalpha())
    if not word:
        return bool(first)
    if len(word) == 1 and word.isalpha():
        return begins and (word.isupper() or plain not in NEVER | NUMBER)
    if plain in NUMBER and first.isdigit():
        return False
    if plain in NEVER or _DOTTED.fullmatch(plain):
        return begins and plain not in NEVER and plain[-1] not in "gj" and plain not in ("i.e", "z.b", "d.h", "p.ex", "p.ej", "n.b")
    if plain in MAYBE:
        return begins or not first
    if plain.isdigit() and len(plain) <= 2 and first.isupper() and language == "de":
        return following not in MONTHS and begins
    return True
