"""Duplicates, contradictions and leaks are counted and removed; the split stays put when rows are added."""

from __future__ import annotations

import pytest

from understudy.errors import DataError, UsageError
from understudy.tasks.reading import check_labels, check_singles, clean, split
from understudy.tasks.reading.cleaning import key
from understudy.tasks.types import Example


def rows(*pairs):
    return [Example(text, label, line) for line, (text, label) in enumerate(pairs, 2)]


def many(labels=4, each=100, start=0):
    return rows(*((f"text {label} number {row}", f"label {label}") for row in range(start, start + each) for label in range(labels)))


def test_the_same_text():
    assert key("Where is\u00a0 MY cafe\u0301?\n") == key("where is my café?") != key("where is my cafe?")


def test_duplicates_are_removed_and_counted():
    cleaned = clean(rows(("a b", "x"), ("c", "y"), ("A  b ", "x"), ("a b", "x"), ("d", "y")))
    assert [(row.text, row.line) for row in cleaned.train] == [("a b", 2), ("c", 3), ("d", 6)]
    assert cleaned.duplicates == 2 and "removed 2 duplicate training rows" in cleaned.lines()


def test_contradictions_go_by_majority_and_ties_are_dropped():
    cleaned = clean(rows(("a", "x"), ("A", "y"), ("a ", "x"), ("b", "x"), ("b", "y"), ("c", "y")))
    assert [(row.text, row.label) for row in cleaned.train] == [("a", "x"), ("c", "y")]
    majority, tie = cleaned.conflicts
    assert (majority.text, majority.labels, majority.lines, majority.kept) == ("a", ("x", "y"), (2, 3, 4), "x")
    assert (tie.text, tie.kept) == ("b", None)
    assert (cleaned.duplicates, cleaned.contradicted) == (1, 3)
    said = "\n".join(cleaned.lines())
    assert "2 texts with more than one label; the majority was kept, ties were dropped, 3 rows in all" in said
    assert "'b': x, y (lines 5, 6)" in said


def test_three_way_ties_and_clear_majorities():
    assert clean(rows(("a", "x"), ("a", "y"), ("a", "z"))).train == []
    kept = clean(rows(("a", "x"), ("a", "y"), ("a", "y"), ("a", "z"))).train
    assert [row.label for row in kept] == ["y"]


def test_leaks_leave_the_training_side_only():
    test = rows(("hello  you", "x"), ("other", "y"))
    cleaned = clean(rows(("Hello you", "x"), ("hello you", "y"), ("fine", "y"), ("good", "x")), test)
    assert [row.text for row in cleaned.train] == ["fine", "good"] and cleaned.test == test
    assert cleaned.leaks == 2 and cleaned.conflicts == ()
    assert "removed 2 training rows whose text is in the test data" in cleaned.lines()


def test_the_test_data_is_looked_at_but_not_changed():
    test = rows(("a", "x"), ("A", "y"), ("b", "z"))
    cleaned = clean(rows(("c", "x"), ("d", "y"), ("e", "w")), test)
    said = "\n".join(cleaned.lines())
    assert cleaned.test == test
    assert "1 row of the test data with a text that came before" in said
    assert "1 text of the test data with more than one label" in said
    assert "1 label of the test data without a training row: 'z'" in said
    assert "1 label without a test row: 'w'" in said


@pytest.mark.parametrize(("one", "two"), [("Card", "card"), ("lost card", "lost  card"), ("café", "cafe\u0301"),
                                          ("card_lost", "card-lost"), ("1", "1.0")])
def test_labels_that_are_nearly_the_same_are_kept_apart_and_mentioned(one, two):
    cleaned = clean(rows(("a", one), ("b", two), ("c", "other")))
    assert len(cleaned.train) == 3
    note, = cleaned.notes
    assert "differ only in" in note and repr(one) in note and repr(two) in note


def test_labels_that_differ_are_not_mentioned():
    assert clean(rows(("a", "card"), ("b", "cards"), ("c", "1"), ("d", "10"), ("e", "--"), ("f", "__"))).notes == ()


def test_nothing_to_say():
    cleaned = clean(many())
    assert cleaned.lines() == [] and len(cleaned.train) == 400


def test_single_rows_are_listed():
    cleaned = clean(rows(("a", "x"), ("b", "x"), ("c", "y"), ("C", "y"), ("d", "z")))
    assert cleaned.singletons == ("y", "z")
    assert "2 labels with a single training row: 'y', 'z'" in cleaned.lines()
    assert check_labels(cleaned, "a.csv") == ("x", "y", "z")


def test_a_label_with_one_text_is_refused_or_skipped_and_counted():
    cleaned = clean(rows(("a", "x"), ("b", "x"), ("c", "y"), ("C", "y"), ("d", "z"), ("e", "x")))
    with pytest.raises(DataError, match=r"a.csv, line 4: the label 'y' has a single text, and so has 1 other label; a label needs at least two") as caught:
        check_singles(cleaned, "a.csv", "fail")
    assert caught.value.hint == "bring more rows with it, or give it another label; or skip and count such rows: --on-bad-row skip"
    kept = check_singles(cleaned, "a.csv", "skip")
    assert [row.text for row in kept.train] == ["a", "b", "e"] and len(kept.train) + kept.duplicates + 2 == 6
    assert "note: skipped 2 rows whose label has no other text: 'y' (line 4), 'z' (line 6)" in kept.lines()
    assert check_singles(kept, "a.csv", "fail") is kept
    with pytest.raises(DataError) as caught:
        check_singles(clean(rows(*((f"text {n}", f"id {n}") for n in range(9)))), "a.csv", "fail")
    assert caught.value.hint == "is the label column the right one? name it with --label-column"


def test_ten_thousand_labels():
    cleaned = clean(rows(*((f"text {n}", f"label {n % 10_000}") for n in range(20_000))))
    assert len(check_labels(cleaned, "a.csv")) == 10_000 and cleaned.singletons == ()


@pytest.mark.parametrize(("pairs", "message"), [
    ([("a", "x"), ("b", "x")], "a.csv, line 2: the only label is 'x', on 2 training rows; a classifier needs at least two"),
    ([("a", "x"), ("a", "y")], "a.csv: no labelled training rows remain after cleaning"),
    ([("a", None)], "a.csv: no labelled training rows remain")])
def test_too_few_labels_are_refused(pairs, message):
    with pytest.raises(DataError, match=message):
        check_labels(clean(rows(*pairs)), "a.csv")


def test_the_hint_says_what_cleaning_removed():
    with pytest.raises(DataError, match="the only label is 'y'") as caught:
        check_labels(clean(rows(("a", "x"), ("b", "y")), rows(("A", "x"))), "a.csv")
    assert "removed 1 training row whose text is in the test data" in caught.value.hint


def test_the_split_has_about_the_share_asked_for():
    train, test = split(many(each=500), 0.2)
    assert len(train) + len(test) == 2000 and 340 < len(test) < 460
    assert {row.label for row in test} == {row.label for row in train}


def test_the_split_does_not_depend_on_order_case_or_line():
    examples = many()
    moved = [Example(f" {row.text.upper()}", row.label, row.line + 7) for row in reversed(examples)]
    chosen = {row.text for row in split(examples, 0.3)[1]}
    assert chosen == {row.text.strip().lower() for row in split(moved, 0.3)[1]}


def test_adding_rows_moves_at_most_one_text_per_label():
    before = {row.text for row in split(many(each=40), 0.1)[1]}
    old = {row.text for row in many(each=40)}
    after = {row.text for row in split(many(each=400), 0.1)[1]} & old
    assert len(before ^ after) <= 4 and len(before & after) >= 8


def test_equal_texts_are_never_torn_apart():
    examples = rows(*((f"text {n % 50}", f"label {n % 3}") for n in range(500)))
    train, test = split(examples, 0.4)
    assert test and not {row.text for row in train} & {row.text for row in test}


def test_every_label_keeps_a_training_row_and_gets_a_test_row_when_it_can():
    examples = rows(*((f"t{n}", "rare") for n in range(5)), ("only", "single"), *((f"u{n}", "many") for n in range(300)))
    for share in (0.2, 0.5, 0.9):
        train, test = split(examples, share)
        assert {row.label for row in train} == {"rare", "single", "many"}
        assert {row.label for row in test} == {"rare", "many"}


def test_splitting_twice_needs_another_salt():
    train, _ = split(many(), 0.3)
    same, other = split(train, 0.2)[1], split(train, 0.2, salt="certify")[1]
    assert len(same) <= 4 and 30 < len(other) < 90


def test_no_share_and_no_such_share():
    assert split(many(), 0) == (many(), [])
    for share in (1, -0.1, 2.0, float("nan")):
        with pytest.raises(UsageError, match=r"the test share is .*; it must be at least 0 and below 1"):
            split(many(), share)
