"""The receipt: figures by hand, determinism, the table's width, and the refusal of broken or hostile files."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import BundleError, UnderstudyError, UsageError
from understudy.proof.bench import Speed
from understudy.proof.certify import certify_joint
from understudy.proof.plain import plain, width
from understudy.proof.receipt import Entry, Receipt, build_receipt

LABELS = ("card", "refund", "other")


def probs(answers: list[int], sure: float = 0.8) -> np.ndarray:
    k = len(LABELS)
    p = np.full((len(answers), k), (1 - sure) / (k - 1), dtype=np.float32)
    p[np.arange(len(answers)), answers] = sure
    return p


GOLD = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
TEACHER = [0, 0, 0, 0, 1, 1, 1, 2, 2, 0]  # 9 of 10
RUNG = [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]  # 8 of 10; right where the teacher is wrong once, wrong where it is right twice
TEXTS = ["a" * (3 * i + 1) for i in range(10)]
SPEED = Speed(0.05, 0.07, 0.11, 0.052, 17_000.0, 120.5, 1, 4000)


def make(**changes) -> Receipt:
    entries = [Entry("MiniLM", "teacher", "float32", probs(TEACHER), bytes=91_000_000, speed=Speed(8, 9, 10, 8.1, 120, None, 1, 50)),
               Entry("ngram", "rung", "int8", probs(RUNG, 0.6), bytes=2_400_000, parameters=600_000, speed=SPEED, train_seconds=11.5),
               Entry("cascade", "cascade", "mixed", probs(RUNG, 0.7), rung=np.array([0] * 6 + [1] * 4), answered=np.arange(10) != 2)]
    values = {"task": "classify", "name": "support", "labels": LABELS, "texts": TEXTS, "gold": GOLD, "entries": entries,
              "rung_names": ("ngram", "encoder"), "machine": {"cpu": "some cpu"}, "data": {"rows": 10}, "provenance": {"licence": "own"}}
    return build_receipt(**{**values, **changes})


def test_figures_by_hand():
    teacher, rung, cascade = make().data["entries"]
    assert rung["accuracy"] == {"value": 0.8, "low": pytest.approx(0.4902, abs=1e-4), "high": pytest.approx(0.9433, abs=1e-4)}
    assert rung["macro_f1"]["value"] == pytest.approx((4 / 6 + 6 / 8 + 1) / 3, abs=1e-6)
    assert rung["macro_f1"]["low"] < rung["macro_f1"]["value"] < rung["macro_f1"]["high"]
    assert rung["retention"] == pytest.approx(8 / 9, abs=1e-6)
    assert rung["versus_teacher"] == {"p": 1.0, "better": 1, "worse": 2}
    assert rung["agreement_with_teacher"] == 0.7
    assert rung["ece"] == pytest.approx(0.44, abs=1e-6)  # ten bins of one row: 0.4 off when right, 0.6 when wrong
    assert rung["log_loss"] == pytest.approx(-(8 * np.log(0.6) + 2 * np.log(0.2)) / 10, abs=1e-5)
    assert (rung["coverage"], rung["answered_error"], rung["joint_error"], rung["share"]) == (1.0, 0.2, 0.2, None)
    assert (rung["bytes"], rung["parameters"], rung["train_seconds"], rung["speed"]["p50_ms"]) == (2_400_000, 600_000, 11.5, 0.05)
    assert teacher["retention"] is None and teacher["versus_teacher"] is None
    assert cascade["coverage"] == 0.9
    assert cascade["answered_error"] == pytest.approx(1 / 9, abs=1e-6) and cascade["joint_error"] == 0.1
    assert cascade["share"] == [{"rung": "ngram", "share": 0.5, "accuracy": 0.8}, {"rung": "encoder", "share": 0.4, "accuracy": 1.0}]


def test_the_rest_by_hand():
    data = make().data
    assert data["headline"] == 2
    assert data["confused"] == [{"gold": "card", "answered": "refund", "count": 2, "of": 4}]
    assert data["slices"]["labels"][1] == {"label": "refund", "precision": 0.6, "recall": 1.0, "f1": 0.75, "support": 3}
    lengths = data["slices"]["lengths"]
    assert [(s["shortest"], s["longest"], s["rows"]) for s in lengths] == [(1, 7, 3), (10, 13, 2), (16, 19, 2), (22, 28, 3)]
    assert [s["accuracy"]["value"] for s in lengths] == pytest.approx([2 / 3, 1 / 2, 1, 1], abs=1e-6)
    assert [c["entry"] for c in data["risk_coverage"]] == [0, 1, 2]
    assert data["risk_coverage"][1]["risk"][-1] == pytest.approx(0.2)
    assert sum(b["count"] for b in data["reliability"]) == 10
    assert any("Only 10 test rows: the intervals are wide" in n for n in data["notes"])


def test_without_a_cascade_the_last_rung_is_the_headline():
    entries = [Entry("a", "rung", "float32", probs(RUNG)), Entry("b", "rung", "int8", probs(TEACHER)), Entry("c", "peer", "", probs(RUNG))]
    made = make(entries=entries)
    assert made.headline["name"] == "b" and made.headline["retention"] is None
    assert any("No teacher was measured" in n for n in made.data["notes"])


def test_texts_stay_out_unless_asked_for():
    texts = [f"secret number {i}" for i in range(10)]
    assert b"secret" not in make(texts=texts).to_json() and "secret" not in make(texts=texts).html()
    told = make(texts=texts, include_texts=True)
    assert told.data["confused"][0]["examples"] == ["secret number 2", "secret number 3"]
    assert "secret number 2" in told.html()


def test_same_input_same_bytes():
    first, second = make(seed=3), make(seed=3)
    assert first.to_json() == second.to_json() and first.table() == second.table() and first.html() == second.html()
    assert make(seed=4).to_json() != first.to_json()


def test_json_goes_there_and_back():
    made = make(certificate=certify_joint([np.ones(60, bool)], np.zeros(60, bool), 0.05, key="k" * 64))
    again = Receipt.from_json(made.to_json())
    assert again == made and again.to_json() == made.to_json()
    assert made.data["receipt"] == 1 and "certified: With 90 % confidence" in made.table()


def test_lone_surrogates_survive_json_and_never_break_a_page():
    made = make(labels=("card", "re\ud800fund", "other"))
    assert Receipt.from_json(made.to_json()) == made
    made.html().encode("utf-8")
    made.table().encode("utf-8")


def test_the_table_says_what_matters_within_100_columns():
    table = make().table()
    assert max(width(line) for line in table.splitlines()) <= 100
    row = next(line for line in table.splitlines() if line.startswith("ngram"))
    assert re.split(r"\s+", row) == ["ngram", "int8", "80.0", "49.0–94.3", "80.6", "88.9%", "1.00", "2.4", "0.05", "0.07", "17,000", "120", "11.5", "s"]
    assert "answered by: ngram 50.0 %, encoder 40.0 %" in table
    assert "answers 90.0 % of the rows, 11.1 % of those wrongly" in table


def test_the_table_keeps_its_width_and_its_terminal_whatever_the_names():
    names = ["a very long name of a model " * 9, "日本語の分類器" * 9, "\x1b[31mred\x1b[0m\u202e\x07\r\n", "e\u0301" * 99]
    entries = [Entry(n, "rung", "p" * 50, probs(RUNG), bytes=10**15, speed=Speed(12345.6, 99999.9, 9e5, 1e5, 9.9e9, 1e5, 1, 5),
                     train_seconds=1e7) for n in names]
    table = make(entries=entries, name="x" * 500, notes=["\x1b]0;title\x07 " + "word " * 80]).table()
    assert max(width(line) for line in table.splitlines()) <= 100
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", table)


def test_plain_keeps_ordinary_text_as_it_is():
    assert plain("Größe: 5 €, 日本語 👍") == "Größe: 5 €, 日本語 👍"
    assert plain("a\x1b[2Jb\nc\u202ed") == "a�[2Jb c�d"
    assert plain("x" * 500, 10) == "x" * 9 + "…"


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match=r"b: probabilities of shape \(10, 2\) are not 10 rows of 3 finite numbers"):
        make(entries=[Entry("b", "rung", "", np.ones((10, 2)))])
    bad = probs(RUNG)
    bad[0, 0] = np.nan
    with pytest.raises(UsageError, match="b: probabilities"):
        make(entries=[Entry("b", "rung", "", bad)])
    with pytest.raises(UsageError, match="not 0 rows and 3 entries"):
        make(gold=[], texts=[])
    with pytest.raises(UsageError, match="9 texts, 10 gold labels from 0 to 2 and 3 label names do not fit"):
        make(texts=TEXTS[:9])
    with pytest.raises(UsageError, match="rung 1 answered, but 1 rungs are named"):
        make(rung_names=("ngram",))
    with pytest.raises(UsageError, match=r"b: \(3,\) is not one value per test row \(10,\)"):
        make(entries=[Entry("b", "rung", "", probs(RUNG), answered=np.ones(3, bool))])


@pytest.mark.parametrize(("change", "words"), [
    (lambda d: d.pop("entries"), "receipt.entries is missing"),
    (lambda d: d["entries"][0].update(accuracy="high"), r"receipt.entries\[0\].accuracy is not an object"),
    (lambda d: d["entries"][1]["accuracy"].update(low=None), r"receipt.entries\[1\].accuracy.low is not a number"),
    (lambda d: d["entries"][0].update(bytes=True), r"receipt.entries\[0\].bytes is not a whole number"),
    (lambda d: d["entries"][0].update(bytes=10**400), r"receipt.entries\[0\].bytes is not a whole number"),
    (lambda d: d.update(headline=7), "receipt.headline points at entry 7, but there are 3"),
    (lambda d: d.update(headline=-1), "receipt.headline points at entry -1"),
    (lambda d: d["risk_coverage"][0]["risk"].pop(), "receipt.risk_coverage has 10 coverages and 9 risks"),
    (lambda d: d.update(machine=[]), "receipt.machine is not an object"),
    (lambda d: d.update(notes=[5]), r"receipt.notes\[0\] is not text"),
    (lambda d: d.update(certificate={}), "receipt.certificate.promise is missing"),
    (lambda d: d.update(receipt=2), "the receipt has version 2; this understudy reads up to 1")])
def test_a_changed_receipt_is_refused_by_name(change, words):
    data = copy.deepcopy(make().data)
    change(data)
    with pytest.raises(BundleError, match=words):
        Receipt.from_json(json.dumps(data).encode())


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b"null", b"{", b"[" * 100_000, b'{"receipt": NaN}', b"9" * 5000])
def test_what_is_not_a_receipt_is_refused(raw):
    with pytest.raises(BundleError, match=r"the receipt is not JSON|^receipt is not an object"):
        Receipt.from_json(raw)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_to_any_field_is_refused_or_rendered(data):
    """A stranger's receipt either ends in one clean error or in a table and a page: never in a traceback."""
    tree = copy.deepcopy(BASE)
    node, depth = tree, data.draw(st.integers(1, 5))
    while True:
        at = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        depth -= 1
        if not depth or not isinstance(node[at], dict | list) or not node[at]:
            break
        node = node[at]
    node[at] = data.draw(JSON)
    try:
        receipt = Receipt.from_json(json.dumps(tree).encode())
    except UnderstudyError:
        return
    assert max(width(line) for line in receipt.table().splitlines()) <= 100
    page = pages(receipt.data)
    assert "<script" not in page


BASE = make(certificate=certify_joint([np.ones(60, bool)], np.zeros(60, bool), 0.05, key="k" * 64)).data


def pages(data: dict) -> str:
    """The page without its figures, which have tests of their own and take longest."""
    from understudy.proof import html

    return "".join(part(data) for part in (html._header, html._tiles, html._certificate, html._results, html._confused,
                                           html._lengths, html._labels, html._facts, html._notes))
