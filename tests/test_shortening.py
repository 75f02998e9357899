"""Lengths of written summaries, and how long texts come apart: by hand and for all that hypothesis can think of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import UsageError
from understudy.run.stretches import by_section, by_sentence
from understudy.tasks.faithful import flags_of
from understudy.tasks.sentences import sentences, words_of
from understudy.tasks.shortening import shortened
from understudy.tasks.summarise import Budget

PARTS = ["One two three. Four five. Six.", "Seven eight.", "Nine ten eleven twelve. Thirteen."]
TEXTS = st.text(st.sampled_from("aB .!?\n#-é中😀"), max_size=300)


@pytest.mark.parametrize(("budget", "wanted"), [
    (Budget(sentences=1), ["One two three.", "", ""]), (Budget(sentences=2), ["One two three.", "", "Nine ten eleven twelve."]),
    (Budget(sentences=4), ["One two three. Four five.", "Seven eight.", "Nine ten eleven twelve."]), (Budget(sentences=99), PARTS),
    (Budget(words=9), ["One two three.", "Seven eight.", "Nine ten eleven twelve."]), (Budget(words=5), ["One two three.", "Seven eight.", ""]),
    (Budget(words=14), PARTS)])
def test_every_part_gives_a_sentence_in_turn_the_longest_first(budget, wanted):
    assert shortened(PARTS, budget) == (wanted, [])


def test_where_no_sentence_fits_its_beginning_is_given_and_said():
    kept, flags = shortened(["A well-known — fact is told here.", "Short but still too long."], Budget(words=2))
    assert kept == ["A well-known —", ""] and flags == ["no sentence fits into 2 words; this is the beginning of one"]


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 12), st.booleans())
def test_a_budget_is_never_exceeded_and_nothing_is_made_up(parts, most, by_words):
    kept, _ = shortened(parts, Budget(words=most) if by_words else Budget(sentences=most))
    assert (sum(len(words_of(one)) for one in kept) if by_words else sum(len(sentences(one)) for one in kept)) <= most
    assert all(" ".join(whole.split()).startswith(" ".join(one.split())) for one, whole in zip(kept, parts, strict=True))


@given(TEXTS, st.integers(4, 60))
def test_parts_of_a_translation_and_their_gaps_are_the_text(text, room):
    parts = by_sentence(text, lambda some: len(some) <= room)
    assert "".join(part + gap for part, gap in parts) == text
    assert all(len(part) <= room for part, _ in parts)


@given(TEXTS, st.integers(4, 60))
def test_stretches_fit_and_keep_every_letter(text, room):
    parts = by_section(text, lambda some: len(some) <= room)
    assert all(len(part) <= room for part, _ in parts)
    if len(parts) == 1 and parts[0][0] == text:
        return
    places = [text.index(part) for part, _ in parts]
    assert places[0] >= 0 and parts[-1][1] == ""


def test_a_long_document_is_cut_at_its_sections_and_those_at_their_sentences():
    text = "# One\n\nA first sentence here. A second one here.\n\n## Empty\n\n## Two\n\nShort.\n"
    assert by_section(text, lambda some: len(some) < 30) == [
        ("# One\n\nA first sentence here.", " "), ("A second one here.", "\n\n"), ("## Two\n\nShort.", "")]
    assert by_section(text, lambda some: True) == [(text, "")]


def test_the_longest_sentence_is_cut_at_white_space():
    assert [part for part, _ in by_sentence("aaaa bbbb cccc dddd", lambda some: len(some) < 10)] == ["aaaa bbbb", "cccc dddd"]


def test_a_million_words_come_apart_in_linear_time():
    text = "word and more. " * 250_000
    asked = []
    parts = by_section(text, lambda some: len(some) < 2000 and not asked.append(len(some)))
    assert len(parts) > 1800 and sum(asked) < 2 * len(text)


def test_what_a_summary_makes_up_is_named():
    assert flags_of("Then Ada Lovelace sold 43 engines.", "She sold 42 engines.") == ["not in the document: number 43", "not in the document: name Ada Lovelace"]
    assert flags_of("She sold 42.", "She sold 42 engines.") == []


def test_words_and_sentences_are_not_given_together():
    with pytest.raises(UsageError, match="one of words, sentences or share"):
        Budget(words=3, sentences=2)
