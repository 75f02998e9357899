"""How a decoder shares a machine: its threads, how long they look for each other, and how often a stream wakes its readers."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tiny_gguf import write_tiny_gguf
from tiny_writer import make_writer
from understudy.bundle import open_bundle
from understudy.run.generate.engine import Engine
from understudy.run.generate.sampling import Sampling
from understudy.run.generate.starting import environment
from understudy.run.writing import Writer

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")


@pytest.mark.parametrize(("parameters", "beside", "threads"), [
    (1_000_000, False, 1), (8_000_000, False, 1), (11_000_000, False, None), (11_000_000, True, 1), (31_000_000, True, None)])
def test_a_second_thread_is_for_models_that_gain_by_it(tmp_path, monkeypatch, parameters, beside, threads):
    bundle = open_bundle(make_writer(tmp_path / "talk"))
    rung = replace(bundle.manifest.rungs[-1], parameters=parameters)
    bundle = replace(bundle, manifest=replace(bundle.manifest, rungs=(rung,)))
    asked: list[dict] = []
    monkeypatch.setattr(Engine, "open", lambda path, **given: asked.append(given))
    with pytest.raises(AttributeError):  # no engine was opened
        Writer(bundle, beside=beside).engine  # noqa: B018
    assert [one["threads"] for one in asked] == [threads]
    asked.clear()
    with pytest.raises(AttributeError):
        Writer(bundle, beside=beside, threads=2).engine  # noqa: B018
    assert [one["threads"] for one in asked] == [2]


def test_threads_look_for_each_other_for_a_moment_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    with Engine.open(write_tiny_gguf(tmp_path / "tiny.gguf"), context=64, threads=1) as engine:
        engine.tokenize("a")
        assert b"GOMP_SPINCOUNT=2000\0" in Path(f"/proc/{engine.worker_pid}/environ").read_bytes()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert environment()["GOMP_SPINCOUNT"] == "7"


def test_a_stream_is_told_in_pieces_that_somebody_can_read(tmp_path):
    sampling = Sampling(max_tokens=400, temperature=0.8, seed=1, logprobs=2)
    with Engine.open(write_tiny_gguf(tmp_path / "endless.gguf", context=1024, endless=True), context=1024, threads=1, slots=2) as engine:
        whole = engine.complete("the", sampling)
        began = time.perf_counter()
        pieces = list(engine.generate("the", sampling))
        took = time.perf_counter() - began
    assert "".join(piece.text for piece in pieces) == whole.text and len(whole.ids) == 400 == pieces[-1].timings.tokens
    assert 1 < len(pieces) <= took / 0.03 + 3 < 400
