"""Timing: right order of magnitude, warm-up, slow and fast callables, and a machine described without importing it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from understudy.errors import UsageError
from understudy.proof.bench import machine, measure, peak_rss_mb


def test_a_known_duration_is_measured():
    speed = measure(lambda text: time.sleep(0.004), lambda texts: time.sleep(0.02), ["a", "b"], seconds=0.15)
    assert 4.0 <= speed.p50_ms < 12
    assert speed.p50_ms <= speed.p95_ms <= speed.p99_ms
    assert 256 / 0.06 < speed.rows_per_s <= 256 / 0.02
    assert speed.n >= 5 and speed.threads == 1


def test_without_batches_the_rate_is_that_of_single_requests():
    speed = measure(lambda text: time.sleep(0.002), None, ["a"], seconds=0.05, threads=3)
    assert speed.rows_per_s == pytest.approx(1000 / speed.mean_ms)
    assert speed.threads == 3


def test_slow_answers_are_timed_five_times_at_least():
    assert measure(lambda text: time.sleep(0.02), None, ["a"], seconds=0.01).n == 5


def test_it_cycles_through_all_texts_and_batches_are_full():
    asked, batches = set(), set()

    def many(texts):
        batches.add(len(texts))

    measure(asked.add, many, [str(i) for i in range(300)], seconds=0.05)
    assert len(asked) == 300 and batches == {256}
    batches.clear()
    measure(asked.add, many, ["only one"], seconds=0.01)
    assert batches == {256}


def test_nothing_to_time_is_an_error():
    with pytest.raises(UsageError, match="there is no text to time"):
        measure(str.upper, None, [])


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_peak_memory_grows_with_what_is_held():
    before = peak_rss_mb()
    held = bytearray(before_and := int((before + 40) * 1e6))
    held[::4096] = b"x" * len(held[::4096])
    assert peak_rss_mb() >= before + 30 and len(held) == before_and


def test_the_machine_is_described_without_importing_anything_heavy():
    code = ("import sys; from understudy.proof.bench import machine; m = machine(); "
            "assert m['versions']['numpy'] and m['cores'] >= 1 and m['cpu'] and m['python'];"
            "print(sorted({'torch', 'onnxruntime', 'scipy', 'matplotlib', 'tokenizers'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert machine() == machine()
