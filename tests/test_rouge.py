"""ROUGE against values worked out by hand, and the stemmer against Porter's own examples."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.tasks.porter import stem
from understudy.tasks.rouge import lcs, rouge, tokens

PORTER = {"caresses": "caress", "ponies": "poni", "cats": "cat", "feed": "feed", "agreed": "agre", "plastered": "plaster", "bled": "bled",
          "motoring": "motor", "sing": "sing", "conflated": "conflat", "sized": "size", "hopping": "hop", "falling": "fall", "hissing": "hiss",
          "failing": "fail", "filing": "file", "happy": "happi", "sky": "sky", "relational": "relat", "conditional": "condit",
          "rational": "ration", "digitizer": "digit", "vietnamization": "vietnam", "operator": "oper", "feudalism": "feudal",
          "decisiveness": "decis", "hopefulness": "hope", "callousness": "callous", "sensibiliti": "sensibl", "triplicate": "triplic",
          "formative": "form", "electrical": "electr", "goodness": "good", "revival": "reviv", "allowance": "allow", "inference": "infer",
          "gyroscopic": "gyroscop", "adjustable": "adjust", "replacement": "replac", "adoption": "adopt", "communism": "commun",
          "effective": "effect", "bowdlerize": "bowdler", "probate": "probat", "rate": "rate", "cease": "ceas", "controll": "control", "roll": "roll"}


def test_porters_examples():
    assert {word: stem(word) for word in PORTER} == PORTER


def test_one_reference_by_hand():
    # said: the cat sat on the mat (6); wanted: the cat is on the mat (6). Shared words: the the cat on mat = 5; pairs: "the cat",
    # "on the", "the mat" = 3 of 5; longest common subsequence: the cat on the mat = 5.
    found = rouge("The cat sat on the mat.", "the cat is on the mat")
    assert found.rouge1.f == pytest.approx(5 / 6)
    assert found.rouge2.f == pytest.approx(3 / 5)
    assert found.rougeL.f == pytest.approx(5 / 6)


def test_precision_and_recall_by_hand():
    # said has 2 words, both in the 5 of the reference; one pair of 1, of 4; order is kept.
    found = rouge("police killed", "police killed the gunman today")
    assert (found.rouge1.precision, found.rouge1.recall) == (1.0, pytest.approx(2 / 5))
    assert found.rouge1.f == pytest.approx(2 * 0.4 / 1.4)
    assert (found.rouge2.precision, found.rouge2.recall) == (1.0, pytest.approx(1 / 4))
    # Lin's own example: "police kill the gunman" and "the gunman kill police" share three words out of order in pairs: LCS 2 of 4.
    assert rouge("the gunman kill police", "police killed the gunman").rougeL.f == pytest.approx(2 / 4)


def test_repeats_count_as_often_as_both_have_them():
    assert rouge("a a a a", "a a b").rouge1.precision == pytest.approx(2 / 4)


def test_the_best_of_several_references():
    refs = ["completely different words", "the cat sat"]
    assert rouge("the cat sat", refs).rouge1.f == 1
    # By ROUGE-1 the first is better, by ROUGE-2 the second: "each" takes both bests.
    said, first, second = "a b c d", "d c b a", "a b x y"
    assert rouge(said, [first, second]).rouge2.f == pytest.approx(0.0)
    each = rouge(said, [first, second], pick="each")
    assert (each.rouge1.f, each.rouge2.f) == (1.0, pytest.approx(1 / 3))


def test_tokens_and_stems():
    assert tokens("It's 3.5x—Café!") == ["it", "s", "3", "5x", "caf"]
    assert tokens("Café_1", unicode=True) == ["café", "1"]
    assert tokens("The running was useful", stem=True) == ["the", "run", "was", "us"]
    assert rouge("running models", "run model", stem=True).rouge1.f == 1
    assert rouge("running models", "run model").rouge1.f == 0


@pytest.mark.parametrize(("text", "references"), [("", "a b"), ("a b", ""), ("", ""), ("a", []), ("...", "!!")])
def test_nothing_scores_nothing(text, references):
    found = rouge(text, references)
    assert (found.rouge1.f, found.rouge2.f, found.rougeL.f) == (0, 0, 0)


@given(st.lists(st.sampled_from("abcd"), max_size=14), st.lists(st.sampled_from("abcd"), max_size=14))
def test_lcs_is_that_of_the_definition(first, second):
    @lru_cache(None)
    def slow(i: int, j: int) -> int:
        if not i or not j:
            return 0
        return slow(i - 1, j - 1) + 1 if first[i - 1] == second[j - 1] else max(slow(i - 1, j), slow(i, j - 1))

    assert lcs(first, second) == slow(len(first), len(second))
