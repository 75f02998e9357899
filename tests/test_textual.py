"""Scores of text: ROUGE with intervals, BLEU and chrF through sacrebleu, coverage of attributes, unsupported facts."""

from __future__ import annotations

import builtins
import contextlib
from time import perf_counter

import numpy as np
import pytest

from understudy.errors import DataError, MissingExtraError
from understudy.proof.textual import bleu, chrf, coverage_score, mean_score, paired, rouge_scores
from understudy.tasks.attributes import attributes, coverage, mentions
from understudy.tasks.faithful import unsupported

SAID = ["the cat sat on the mat", "hello there my friend", "a third text stands here"]
WANTED = [["the cat sat on a mat", "a cat is on the mat"], "hello there my good friend", ["a third text is here"]]


def test_rouge_with_intervals():
    scores = rouge_scores(SAID, WANTED, seed=3)
    # 5 of 6 and 6; 4 of 4 and 5; 4 of 5 and 5.
    assert scores["rouge1"].value == pytest.approx(100 * (5 / 6 + 8 / 9 + 4 / 5) / 3)
    assert scores["rouge1"].low <= scores["rouge1"].value <= scores["rouge1"].high
    assert scores["rouge1"] == rouge_scores(SAID, WANTED, seed=3)["rouge1"]
    assert scores["rougeL"].signature == "F|stem:no|tokens:a-z0-9|refs:max by rouge1" and scores["rouge2"].n == 3


def test_bleu_and_chrf_are_sacrebleus():
    sacrebleu = pytest.importorskip("sacrebleu")
    streams = [[one if isinstance(one, str) else one[0] for one in WANTED], [None if isinstance(one, str) or len(one) < 2 else one[1] for one in WANTED]]
    found = bleu(SAID, WANTED, reps=50)
    assert found.value == pytest.approx(sacrebleu.metrics.BLEU().corpus_score(SAID, streams).score)
    assert found.low <= found.value <= found.high and "tok:13a" in found.signature and "version:" in found.signature
    again = chrf(SAID, WANTED, reps=50)
    assert again.value == pytest.approx(sacrebleu.metrics.CHRF().corpus_score(SAID, streams).score)
    assert "nc:6" in again.signature
    assert bleu(SAID, SAID, reps=10).value == pytest.approx(100) == bleu(SAID, SAID, reps=10).low


def test_without_sacrebleu_the_error_names_the_extra(monkeypatch):
    whole = builtins.__import__

    def without(name, *rest):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="BLEU needs the extra 'generate'"):
        bleu(SAID, WANTED)


@pytest.mark.parametrize(("texts", "references", "said"), [(["a"], [], "1 texts cannot be scored against 0 rows"), ([], [], "no text to score")])
def test_rows_that_do_not_fit_are_refused(texts, references, said):
    for score in (rouge_scores, bleu, chrf):
        with pytest.raises(DataError, match=said):
            score(texts, references)


def test_a_row_without_reference_is_named():
    pytest.importorskip("sacrebleu")
    with pytest.raises(DataError, match="row 2 has no reference"):
        bleu(["a", "b"], [["a"], []])
    with pytest.raises(DataError, match="row 1 has no reference"):
        bleu(["a"], [[]])


def test_a_paired_difference():
    first = np.array([3.0, 4.0, 5.0, 4.0])
    assert paired(first, first - 1).low == pytest.approx(1.0)
    assert mean_score("x", first, "s").value == 4
    with pytest.raises(DataError, match="4 and 3 values"):
        paired(first, first[:3])


MR = "name[The Eagle], eatType[coffee shop], food[French], priceRange[less than £20], customer rating[low], area[city centre], familyFriendly[no], near[Burger King]"


def test_attributes_are_read():
    assert attributes(MR)[:2] == [("name", "The Eagle"), ("eatType", "coffee shop")] and attributes(MR)[-2:] == [("familyFriendly", "no"), ("near", "Burger King")]
    assert attributes("") == []
    for broken in ("name The Eagle", "name[The", "[x]", "a[b] c[d]"):
        with pytest.raises(DataError, match="cannot be read from"):
            attributes(broken)


def test_coverage_finds_values_and_their_phrases():
    good = "The Eagle is a cheap, poorly rated French coffee shop downtown near Burger King. It is not family friendly."
    assert coverage(MR, good).share == 1
    found = coverage(MR, "The Eagle is a family-friendly French coffee shop.")
    assert found.missing == ("priceRange", "customer rating", "area", "familyFriendly", "near") and found.share == pytest.approx(3 / 8)
    assert coverage("", "anything").share == 1


@pytest.mark.parametrize(("value", "text", "expected"), [
    ("yes", "Bring the kids!", True), ("yes", "It is not child-friendly.", False), ("yes", "A pub.", False),
    ("no", "It isn't for families.", True), ("no", "Adults only.", True), ("no", "A family pub.", False), ("no", "A pub.", False)])
def test_yes_and_no(value, text, expected):
    assert mentions("familyFriendly", value, text) is expected


def test_other_slots_and_own_aliases():
    assert mentions("color", "dark blue", "in DARK-blue cloth")
    assert not mentions("color", "red", "a bored man")
    assert mentions("color", "red", "a crimson coat", {("color", "red"): ["crimson"]})
    assert mentions("has wifi", "no", "there is no has wifi") and mentions("parking", "yes", "with parking") and mentions("parking", "no", "no parking")


def test_the_coverage_score():
    score = coverage_score(["food[French], area[riverside]", "food[Thai]"], ["French food by the river", "nothing"])
    assert score.value == pytest.approx(50) and score.low <= 50 <= score.high


SOURCE = "On 3 May 2020 Ada Lovelace paid 1,000 euros to two men in Paris. The World Health Organization reported 3.5 %. The costs grew."


@pytest.mark.parametrize(("summary", "flags"), [
    ("Ada Lovelace paid 1000 euros on May 3, 2020.", []),
    ("In May 2020, 2 men got money; the WHO reported 3.5%.", []),
    ("Lovelace's costs grew by 3,5 percent.", []),
    ("Ada paid 2,000 euros.", ["number: 2,000"]),
    ("It happened on 4 May 2020 in Berlin.", ["date: 4 May 2020", "name: Berlin"]),
    ("The men met Ada Byron and NASA on 2020-05-03.", ["name: Ada Byron", "name: NASA"]),
    ("Charles Babbage paid. Charles Babbage left.", ["name: Babbage"]),
    ("", []),
])
def test_unsupported_facts(summary, flags):
    assert unsupported(summary, SOURCE) == flags


def test_unsupported_in_german_does_not_flag_every_noun():
    assert unsupported("Das Haus ist groß und der Garten liegt in der Sonne.", "Die Villa hat einen Park.") == []


def test_unsupported_is_quick():
    assert unsupported("Nothing of note. " * 200, "Some words, 1.5 and 2020. " * 4000) == []


@pytest.mark.parametrize("text", [" " * 50_000, "a " * 25_000, "a[" * 25_000, "1 " * 25_000, "1" + " " * 50_000, "May " * 12_000, "1,1" * 20_000, "Ab of " * 8000])
def test_hostile_text_takes_no_time(text):
    """What backtracks would take minutes."""
    started = perf_counter()
    unsupported(text, "x")
    with contextlib.suppress(DataError):
        attributes(text)
    assert perf_counter() - started < 3


def test_a_text_receipt_folds_into_a_terminal():
    """Every figure is in the table, and no line is longer than 100 columns."""
    from understudy.proof.text_receipt import NAMES, build_text_receipt

    scores = {name: {"value": 12.345, "low": 10.111, "high": 14.999, "signature": "x"} for name in NAMES}
    speed = {"first_ms": 12.5, "answer_ms": 1234.0, "prefill_tokens_per_s": 45678.0, "tokens_per_s": 987.0, "rss_mb": 321.0}
    entries = [{"name": name, "precision": "q8_0", "rows": 1000, "scores": scores, "bytes": 3_800_000, "speed": speed} for name in ("teacher", "writer")]
    receipt = build_text_receipt(task="summarize", name="x", entries=entries, rows=1000)
    lines = receipt.table().splitlines()
    assert max(map(len, lines)) <= 100
    for word in (*NAMES.values(), "read tok/s", "45,678", "write tok/s", "987", "3.8", "321"):
        assert any(word in line for line in lines), word
    assert sum(line.startswith("teacher") for line in lines) > 2
