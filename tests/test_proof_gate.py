"""Units and gates: what people type, what is refused, and what a failed gate says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import GateError, UnderstudyError, UsageError
from understudy.proof.bench import Speed
from understudy.proof.gate import METRICS, check_gate, parse_gate, raise_if_failed
from understudy.proof.receipt import Entry, Receipt, build_receipt
from understudy.units import parse_duration, parse_share, parse_size, show_size


@pytest.mark.parametrize(("text", "size"), [("5MB", 5_000_000), ("5 mb", 5_000_000), ("4MiB", 4 * 2**20), ("700KB", 700_000),
                                            ("1.5GB", 1_500_000_000), ("2KiB", 2048), ("123", 123), ("9B", 9), (".5MB", 500_000)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("1ms", 0.001), ("90s", 90), ("2h", 7200), ("1.5 min", 90), ("30", 30),
                                               ("250us", 0.00025)])
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0), ("1", 1.0), ("0", 0.0), ("97.5 %", 0.975)])
def test_shares(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5XB", "1,5MB", "nan", "inf", "5MB!", "1e999", "٣MB"])
def test_what_is_not_a_size_is_named(text):
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value) and "5MB" in caught.value.hint


def test_what_is_not_a_duration_or_a_share_is_named():
    with pytest.raises(UsageError, match="'5MB' is not a duration"):
        parse_duration("5MB")
    with pytest.raises(UsageError, match="'five' is not a share"):
        parse_share("five")
    with pytest.raises(UsageError, match="'5' is more than everything") as caught:
        parse_share("5")
    assert "did you mean 5%?" in caught.value.hint
    with pytest.raises(UsageError, match="'101%' is more than everything"):
        parse_share("101%")


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_one_clean_error(text):
    for parse in (parse_size, parse_duration, parse_share):
        try:
            assert parse(text) >= 0
        except UsageError as error:
            assert error.hint


@given(st.text(max_size=30) | st.builds("{}{}{}".format, st.sampled_from(sorted(METRICS)), st.sampled_from([">=", "<="]), st.text(max_size=8)))
def test_any_gate_parses_or_is_one_clean_error(text):
    try:
        assert parse_gate(text)
    except UnderstudyError as error:
        assert isinstance(error, UsageError)
        assert error.hint or "plain number" in str(error)


def test_sizes_read_well():
    assert [show_size(s) for s in (5_200_000, 999, 1_000, 2.5e9)] == ["5.2 MB", "999 B", "1 KB", "2.5 GB"]


@pytest.fixture(scope="module")
def receipt() -> Receipt:
    """Teacher 100 %, cascade 90 % right on 20 rows; 5.2 MB, 0.5 ms; one row in four unanswered, both errors among those."""
    gold = np.tile([0, 1], 10)
    sure = np.eye(2, dtype=np.float32)[gold] * 0.8 + 0.1
    cascade = sure.copy()
    cascade[:2] = cascade[:2, ::-1]
    answered = np.arange(20) >= 5
    speed = Speed(0.5, 0.7, 0.9, 0.52, 2000.0, 180.0, 1, 100)
    return build_receipt(task="classify", name="t", labels=("a", "b"), texts=["x"] * 20, gold=gold, machine={}, entries=[
        Entry("teacher", "teacher", "float32", sure),
        Entry("cascade", "cascade", "int8", cascade, answered=answered, bytes=5_200_000, speed=speed)])


@pytest.mark.parametrize(("rule", "passes"), [
    ("accuracy>=0.9", True), ("accuracy>0.9", False), ("accuracy>=91%", False), ("retention>=0.9", True), ("retention>=97%", False),
    ("size<=5.2MB", True), ("size<5.2MB", False), ("size<=5MiB", True), ("p50<=1ms", True), ("p50<=0.5", True), ("p50<=400us", False),
    ("p95<=0.0007s", True), ("coverage>=75%", True), ("coverage>=0.8", False), ("answered_error<=0", True), ("joint error<=1%", True),
    ("memory<=200MB", True), ("memory<=150MB", False), ("rows_per_s>=1000", True), ("Macro-F1 >= 0.8", True), ("ece<=5%", False),
    ("mean<=0.52ms", True), ("log_loss<=0.4", True), ("p99<0.9", False)])
def test_gates_pass_and_fail(receipt, rule, passes):
    assert [o.passed for o in check_gate(parse_gate(rule), receipt)] == [passes]


def test_a_failed_gate_names_every_failed_rule_with_both_figures(receipt):
    outcomes = check_gate(parse_gate("retention>=0.97, size<=5MB, accuracy>=0.9, p50<=0.1ms"), receipt)
    with pytest.raises(GateError, match=r"^3 of 4 gate rules failed: retention>=0.97 \(0.9\); size<=5MB \(5.2 MB\); p50<=0.1ms \(0.5 ms\)$"):
        raise_if_failed(outcomes)
    assert GateError.exit_code == 3


def test_a_passed_gate_is_silent(receipt):
    assert raise_if_failed(check_gate(parse_gate("accuracy>=0.9"), receipt)) is None


def test_what_was_not_measured_does_not_pass(receipt):
    outcome, = check_gate(parse_gate("train_time<=10m"), receipt)
    assert not outcome.passed and outcome.measured == "not measured"
    outcome, = check_gate(parse_gate("parameters<=1000000"), receipt)
    assert not outcome.passed


def test_an_unknown_metric_suggests_near_ones():
    with pytest.raises(UsageError, match="there is no metric 'acuracy' to hold a gate to") as caught:
        parse_gate("acuracy>=0.9")
    assert "accuracy" in caught.value.hint
    with pytest.raises(UsageError, match="no metric 'zzz'") as caught:
        parse_gate("zzz>=1")
    assert "retention" in caught.value.hint


@pytest.mark.parametrize(("gate", "words"), [
    ("size<=5ms", "gate rule 'size<=5ms': '5ms' is not a size"), ("p50<=5MB", "'5MB' is not a duration"),
    ("accuracy>=97", "gate rule 'accuracy>=97': '97' is more than everything"), ("log_loss<=5%", "'5%' is not a plain number"),
    ("accuracy=0.9", "'accuracy=0.9' is not a gate rule"), ("accuracy>=", "'accuracy>=' is not a gate rule"), (" , ", "the gate is empty")])
def test_bad_rules_are_named(gate, words):
    with pytest.raises(UsageError, match=words):
        parse_gate(gate)
