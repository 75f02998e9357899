"""How a text that is too long for one request is taken apart: at sentences to translate, at sections and sentences to summarise."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from ..tasks.sentences import Span, sections, sentences

Fits = Callable[[str], bool]
"""Whether a text fits into one request."""
Parts = list[tuple[str, str]]
"""(part, what stands between it and the next)."""


def by_sentence(text: str, fits: Fits) -> Parts:
    """Every sentence by itself, with what stands behind it; one that does not fit goes in halves. Parts and gaps together are the text.

    What stands before the first sentence, as the mark of a heading does, is the gap behind an empty part. An empty text is one, too.
    """
    spans = [part for span in sentences(text) for part in _halved(text, span, (), fits)]
    borders = [*(span.start for span in spans), len(text)]
    lead = [("", text[: borders[0]])] if borders[0] or not spans else []
    return [*lead, *((span.of(text), text[span.end:end]) for span, end in zip(spans, borders[1:], strict=True))]


def by_section(text: str, fits: Fits) -> Parts:
    """The whole text where it fits; else section by section, and a section that does not fit in stretches of whole sentences.

    Sections without a text of their own are left out. Between sections stands a blank line, between stretches of one a blank.
    """
    if fits(text):
        return [(text, "")]
    found: list[list[Span]] = []
    spans = sentences(text)
    borders = [(section.start, section.end) for section in sections(text) if text[section.body:section.end].strip()]
    for start, end in borders or [(0, len(text))]:
        inside = spans[bisect_left(spans, start, key=_place):bisect_left(spans, end, key=_place)]
        found.append(list(_halved(text, _stripped(text, Span(start, end)), inside, fits)))
    return [(span.of(text), " " if span is not section[-1] else "\n\n" if section is not found[-1] else "") for section in found for span in section]


def _place(span: Span) -> int:
    return span.start


def _halved(text: str, whole: Span, inside: Sequence[Span], fits: Fits) -> Iterator[Span]:
    """The span in parts that fit: cut in two at the border of a sentence nearest to its middle, and again. A lone sentence is cut at white space."""
    if whole.end - whole.start < 2 or fits(whole.of(text)):
        yield whole
        return
    middle = (whole.start + whole.end) // 2
    place = min((at for at in range(1, len(inside))), key=lambda at: abs(inside[at].start - middle), default=0)
    border = inside[place].start if place else _white(text, whole, middle)
    for part, some in ((Span(whole.start, border), inside[:place]), (Span(border, whole.end), inside[place:])):
        yield from _halved(text, _stripped(text, part), some, fits)


def _white(text: str, whole: Span, middle: int) -> int:
    """The place after the white space that stands last before the middle, or the middle where there is none in the second quarter."""
    quarter = (whole.start + middle) // 2
    return next((at + 1 for at in range(middle - 1, quarter, -1) if text[at].isspace()), middle)


def _stripped(text: str, part: Span) -> Span:
    said = part.of(text)
    left = len(said) - len(said.lstrip())
    return part if left == len(said) else Span(part.start + left, part.end - (len(said) - len(said.rstrip())))
