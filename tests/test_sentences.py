"""Where sentences, paragraphs and sections begin and end, on clean and on nasty text."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import UsageError
from understudy.tasks.blocks import blocks
from understudy.tasks.sentences import LONGEST, language_of, paragraphs, sections, sentences


def cut(text: str, language: str | None = None) -> list[str]:
    return [span.of(text) for span in sentences(text, language)]


CASES = [
    ("en", "Dr. Smith paid $3.50 to J. R. R. Tolkien. He left at 5 p.m. The U.S. economy grew.",
     ["Dr. Smith paid $3.50 to J. R. R. Tolkien.", "He left at 5 p.m.", "The U.S. economy grew."]),
    ("en", "See Fig. 3 for details, e.g. This one. Smith et al. (2016) agree. Acme Inc. The rest etc. is clear.",
     ["See Fig. 3 for details, e.g. This one.", "Smith et al. (2016) agree.", "Acme Inc.", "The rest etc. is clear."]),
    ("en", "Visit www.example.com. Or https://a.b/c?d=e.f!x now! File a.txt is 2.5 MB.",
     ["Visit www.example.com.", "Or https://a.b/c?d=e.f!x now!", "File a.txt is 2.5 MB."]),
    ("en", 'He said "Stop!" Then he left. "Really?" he asked. (It was late.) We cite it.[12] Then we go.',
     ['He said "Stop!"', "Then he left.", '"Really?" he asked.', "(It was late.)", "We cite it.[12]", "Then we go."]),
    ("en", "Wait... what? Well… Yes. I met Yahoo! engineers. So do I. The end.",
     ["Wait... what?", "Well…", "Yes.", "I met Yahoo! engineers.", "So do I.", "The end."]),
    ("en", "This is it.Next one follows.And more!Yes. os.path.join is a function.",
     ["This is it.", "Next one follows.", "And more!", "Yes. os.path.join is a function."]),
    ("en", "this is lower. another one. and more", ["this is lower.", "another one.", "and more"]),
    ("en", "It costs No. 5 money. He said no. Then he left.", ["It costs No. 5 money.", "He said no.", "Then he left."]),
    ("de", "Am 3. Oktober 1990 kam z. B. Herr Dr. Müller. Das ist z.B. gut. Im 21. Jahrhundert usw. Der Rest folgt.",
     ["Am 3. Oktober 1990 kam z. B. Herr Dr. Müller.", "Das ist z.B. gut.", "Im 21. Jahrhundert usw.", "Der Rest folgt."]),
    ("fr", "M. Dupont est arrivé. « Bonjour ! » dit-il. Il pleut, p. ex. à Paris. Vraiment ? Oui.",
     ["M. Dupont est arrivé.", "« Bonjour ! » dit-il.", "Il pleut, p. ex. à Paris.", "Vraiment ?", "Oui."]),
    ("es", "El Sr. López llegó. ¿Cómo está? ¡Bien! Vive en la Avda. Mayor, núm. 5. Fin.",
     ["El Sr. López llegó.", "¿Cómo está?", "¡Bien!", "Vive en la Avda. Mayor, núm. 5.", "Fin."]),
    (None, "今天天气很好。我们去公园吧！好吗？「是的。」他说。", ["今天天气很好。", "我们去公园吧！", "好吗？", "「是的。」", "他说。"]),
    (None, "هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
]


@pytest.mark.parametrize(("language", "text", "expected"), CASES)
def test_sentences_of_several_languages(language, text, expected):
    assert cut(text, language) == expected


MARKDOWN = """Intro before any heading.

# Title here

First para. Second
wrapped line here.

- item one
- item two. More.
1. Numbered

2.1 Method

Text under it.

```
code. Here. x
```

Underlined
==========

> A quote. And on.

| a | b |
|---|---|

RESULTS AND MORE

Body.
"""


def test_markdown_and_plain_headings():
    assert cut(MARKDOWN) == [
        "Intro before any heading.", "Title here", "First para.", "Second\nwrapped line here.", "item one", "item two.", "More.", "Numbered",
        "2.1 Method", "Text under it.", "```\ncode. Here. x\n```", "Underlined", "A quote.", "And on.", "| a | b |\n|---|---|",
        "RESULTS AND MORE", "Body."]
    assert [(part.title, part.level) for part in sections(MARKDOWN)] == [
        ("", 0), ("Title here", 1), ("2.1 Method", 2), ("Underlined", 1), ("RESULTS AND MORE", 1)]
    assert "".join(MARKDOWN[part.start:part.end] for part in sections(MARKDOWN)) == MARKDOWN
    assert [span.kind for span in paragraphs(MARKDOWN)] == ["text", "text", "item", "item", "item", "text", "text", "text"]


def test_a_short_line_in_a_paragraph_is_no_heading():
    text = "Some words\n1 more line without an end\nand it goes on.\n\nA normal short line\n\nEnd."
    assert [span.kind for span in blocks(text)] == ["text", "text", "text"]


def test_a_long_unbroken_text_is_cut():
    spans = sentences("x" * 5001 + " " + "word, " * 900)
    assert max(span.end - span.start for span in spans) <= LONGEST
    assert spans[0] == type(spans[0])(0, LONGEST)
    assert all(span.of("x" * 5001 + " " + "word, " * 900).endswith(",") for span in spans[3:])


@pytest.mark.parametrize("text", ["", "   \n\t ", "\n" * 50])
def test_nothing_in_nothing_out(text):
    assert sentences(text) == [] and paragraphs(text) == []


def test_bytes_are_refused():
    with pytest.raises(UsageError, match="this is bytes"):
        sentences(b"Hello.")  # type: ignore[arg-type]


def test_the_language_is_told_by_its_commonest_words():
    assert language_of("Das ist der Hund und die Katze") == "de"
    assert language_of("le chat est dans la maison et pour vous") == "fr"
    assert language_of("12345") == "en"


_MARKS = set("#>*+-•‣◦▪–=~^_`|()[].0123456789") | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("aB.!? \n\"')(#-1。»…中,:;`|=>")), max_size=200))
def test_spans_are_in_order_and_lose_only_markers(text):
    spans = sentences(text)
    end = 0
    for span in spans:
        assert end <= span.start < span.end <= len(text)
        assert not text[end:span.start].strip() or set("".join(text[end:span.start].split())) <= _MARKS
        assert span.of(text) == span.of(text).strip() != ""
        end = span.end
    assert set("".join(text[end:].split())) <= _MARKS


@pytest.mark.parametrize("unit", ["Hello world. It is 3.5 p.m. now. ", ".", "a.\n", ". ", "x", '("\'', '."', "# ", "A. B. ", "```\n", "1. ", "e.g. "])
def test_the_time_grows_with_the_length(unit):
    """300 KB within a second or so: what is quadratic would take minutes."""
    text = unit * (300_000 // len(unit))
    started = perf_counter()
    sentences(text)
    sections(text)
    assert perf_counter() - started < 3
