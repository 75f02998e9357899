"""What must survive a translation as it is: found, masked before a model sees the text, and put back behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .icu import IcuError, blocks, is_icu

# Losing one of these can break a program or a page at run time; the other kinds are a matter for a reader.
BREAKING = frozenset({"printf", "brace", "icu", "reference", "tag"})
KINDS = (*sorted(BREAKING), "url", "email", "entity", "number")

_PATTERN = re.compile(r"""
    (?P<url>(?:https?|ftp|file)://[^\s<>"'`|]*[^\s<>"'`|.,;:!?)\]}*]
       | (?<![\w@.])www\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>"']*[^\s<>"'.,;:!?)\]])?)
  | (?P<email>(?<![\w.+-])(?:mailto:)?[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})
  | (?P<tag><!--.*?--> | </?[A-Za-z0-9_][\w:.-]*+(?:\s(?:[^<>"']|"[^"]{0,1000}"|'[^']{0,1000}'){0,1000}+)?/?>)
  | (?P<entity>&(?:[A-Za-z][A-Za-z0-9]{1,30}|\#[0-9]{1,7}|\#x[0-9A-Fa-f]{1,6});)
  | (?P<reference>\$t\([^()\n]{1,200}\) | [$%\#]\{[^{}\n]{1,100}\} | \$[A-Z][A-Z0-9_]*\$ | %\#@\w+@)
  | (?P<brace>\{\{\{?[^{}\n]{1,100}\}\}\}? | \{[^{}\n]{0,100}\})
  | (?P<printf>%% | %\([^()\n]{1,60}\)[-+\#0]*\d*(?:\.\d+)?l?[diouxXeEfFgGaAcCrs]
       | (?<!\d)%(?:\d{1,2}\$)?[-+\#0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?
       (?:hh|h|ll|l|L|q|j|z|t)?[diouxXeEfFgGaAcCsSp@n] | %(?:\d{1,2}\$)?[-+\#0]*\d*(?:\.\d+)?(?:ll?)?[diouxXeEfFgGaAcCsSp@n](?![A-Za-z]{3})
       | %L?\d{1,2}(?!\d) | %[A-Za-z](?![A-Za-z]))
  | (?P<number>\d+(?:[.,'’\u00a0\u2009\u202f]\d+)*)
""", re.X | re.S)
_AMPERSAND = re.compile(r"(?:(?<![&\w])|(?<=\w)(?=&[^\W\d_A-Z]))&(?=[^\W_])(?!\w+;)")
_UNDERSCORE = re.compile(r"(?:(?<!\w)|(?<=\b[A-Z]))_(?=[^\W\d_][^\W\d_A-Z]+\b)(?![^\W_]*[(.])")
_LONGEST_LABEL = 60  # labels of menus and buttons are short; a longer text with one underscore names something
_MASK = re.compile(r"[{｛]\s*(\d{1,4})\s*[}｝]")
_LEAD, _TRAIL = re.compile(r"\s*"), re.compile(r"\s*$")


@dataclass(frozen=True)
class Span:
    """text[start:end], which must survive; `kind` is one of KINDS."""

    kind: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Tokens:
    """What `protect` took out: `{0}`, `{1}`, … stand for `masked`; white space at the edges; the keyboard accelerator."""

    masked: tuple[str, ...] = ()
    lead: str = ""
    trail: str = ""
    accelerator: str = ""
    letter: str = ""


def find(text: str) -> list[Span]:
    """Everything in `text` that must survive, in order and without overlaps. A whole ICU plural or select is one span."""
    out: list[Span] = []
    at = 0
    if is_icu(text):
        try:
            for block in blocks(text):
                out += _between(text, at, block.start)
                out.append(Span("icu", block.start, block.end, text[block.start:block.end]))
                at = block.end
        except IcuError:
            out, at = [], 0
    return out + _between(text, at, len(text))


def _between(text: str, start: int, end: int) -> list[Span]:
    return [Span(found.lastgroup or "", *found.span(), found[0]) for found in _PATTERN.finditer(text, start, end)]


def has_words(text: str) -> bool:
    """Whether anything is left to translate: a letter outside of everything that must survive."""
    at, rest = 0, []
    for span in find(text):
        rest.append(text[at:span.start])
        at = span.end
    return any(char.isalpha() for piece in [*rest, text[at:]] for char in piece)


def accelerator(text: str) -> tuple[str, int] | None:
    """The keyboard accelerator's mark (`&` or `_`) and its place, or None. Two of them are none."""
    if len(text) > _LONGEST_LABEL:
        return None
    covered = [(span.start, span.end) for span in find(text) if span.kind != "number"]
    for mark, pattern in (("&", _AMPERSAND), ("_", _UNDERSCORE)):
        places = [found.start() for found in pattern.finditer(text)]
        places = [place for place in places if not any(start <= place < end for start, end in covered)]
        if len(places) == 1 and (mark == "&" or text.count("_") == 1):
            return mark, places[0]
    return None


def protect(text: str, *, mask: bool = True, forced: Iterable[tuple[int, int, str]] = ()) -> tuple[str, Tokens]:
    """`text` as a model should see it, and what `restore` needs to undo that.

    Masked as `{0}`, `{1}`, … is everything of `find` but numbers (with `mask`), and each `forced` (start, end, replacement),
    which comes back as its replacement. White space at the edges and the mark of a keyboard accelerator are taken out.
    """
    spans = [(span.start, span.end, span.text) for span in find(text) if mask and span.kind != "number"]
    spans += [one for one in forced if not any(one[0] < end and start < one[1] for start, end, _ in spans)]
    key = accelerator(text)
    if key is not None:
        spans.append((key[1], key[1] + 1, ""))
    found_lead, found_trail = _LEAD.match(text), _TRAIL.search(text)
    lead = found_lead[0] if found_lead else ""
    trail = found_trail[0] if found_trail and len(lead) < len(text) else ""
    pieces: list[str] = []
    masked: list[str] = []
    at = len(lead)
    for start, end, back in sorted(spans):
        pieces.append(text[at:start])
        if not (key is not None and start == key[1]):
            pieces.append(f"{{{len(masked)}}}")
            masked.append(back)
        at = max(at, end)
    pieces.append(text[at:len(text) - len(trail)])
    letter = text[key[1] + 1] if key else ""
    return "".join(pieces), Tokens(tuple(masked), lead, trail, key[0] if key else "", letter)


def restore(translated: str, tokens: Tokens) -> str:
    """A translation of a protected text with everything back in its place. Masks that never were stay as they are."""
    text = translated.strip()
    if tokens.accelerator:
        text = _put_accelerator(text, tokens.accelerator, tokens.letter)
    if tokens.masked:
        text = _MASK.sub(lambda found: tokens.masked[int(found[1])] if int(found[1]) < len(tokens.masked) else found[0], text)
    return tokens.lead + text + tokens.trail


def _put_accelerator(text: str, mark: str, letter: str) -> str:
    """The mark before the same letter at the start of a word, else before that letter, else before the first letter."""
    if accelerator(text) is not None:
        return text
    masks = [found.span() for found in _MASK.finditer(text)]

    def free(place: int) -> bool:
        return not any(start <= place < end for start, end in masks)

    same = [place for place, char in enumerate(text) if char.casefold() == letter.casefold() and free(place)]
    initial = [place for place in same if place == 0 or not text[place - 1].isalnum()]
    letters = [place for place, char in enumerate(text) if char.isalpha() and free(place)]
    chosen = (initial or (same if mark == "&" else []) or letters)[:1]
    return text[:chosen[0]] + mark + text[chosen[0]:] if chosen else text
