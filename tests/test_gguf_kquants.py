"""The k-quant encoders, checked with the gguf package's own decoders."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.errors import UsageError
from understudy.shrink.gguf.precision import FORMATS, Mix, encode, stored_bytes

pytest.importorskip("gguf")
from gguf import GGMLQuantizationType
from gguf.quants import dequantize


def _there_and_back(values: np.ndarray, format: str) -> np.ndarray:
    stored = encode(values, format)
    assert stored.nbytes == stored_bytes(format, values.shape)
    return dequantize(stored, GGMLQuantizationType[format.upper()])


def _error(values: np.ndarray, format: str) -> float:
    return float(np.sqrt(np.mean((_there_and_back(values, format) - values) ** 2) / np.mean(values**2)))


def test_errors_of_bell_shaped_weights():
    """Relative root-mean-square error; each k-quant beats the plain format of its size."""
    values = np.random.default_rng(3).standard_normal((64, 512)).astype(np.float32) * 0.02
    found = {format: _error(values, format) for format in ("q8_0", "q6_k", "q5_k", "q5_0", "q4_k", "q4_0")}
    print(found)
    assert found["q8_0"] < 0.007 and found["q6_k"] < 0.02 and found["q5_k"] < 0.04 and found["q4_k"] < 0.08
    assert found["q4_k"] < found["q4_0"] and found["q5_k"] < found["q5_0"]


@pytest.mark.parametrize("format", ["q4_k", "q5_k", "q6_k"])
def test_odd_blocks(format):
    step = {"q4_k": 15, "q5_k": 31, "q6_k": 63}[format]
    for values in (np.zeros(512), np.full(256, 3.0), np.full(256, -3.0), np.eye(256)[7], np.linspace(-1, 1, 256), np.linspace(0.5, 1, 256),
                   np.full(256, 1e-30), np.repeat([1000.0, 1e-4], 128), np.where(np.arange(256) == 9, -60000.0, 0.01)):
        values = values.astype(np.float32).reshape(1, -1)
        back = _there_and_back(values, format)
        assert np.isfinite(back).all()
        assert np.abs(back - values).max() <= max(np.abs(values).max() * 2.2 / step, 1e-7)


@pytest.mark.parametrize("format", ["q4_k", "q5_k"])
def test_every_scale_comes_back(format):
    """Eight sub-blocks with ranges of their own: the 6-bit scales are packed where decoders look for them."""
    values = (np.random.default_rng(1).random((1, 8, 32)) * np.array([1, 2, 3, 5, 8, 13, 21, 34])[None, :, None]).astype(np.float32)
    back = _there_and_back(values.reshape(1, 256), format).reshape(1, 8, 32)
    assert (np.abs(back - values).max(-1) < values.max(-1) / (10 if format == "q4_k" else 15) + 0.3).all()


def test_the_mix_of_q4_k_m():
    mix = Mix("q4_k_m", layers=16, tied=True)
    wide = (256, 256)
    assert mix.choose("token_embd.weight", wide).format == "q6_k"
    assert Mix("q4_k_m", layers=16, tied=False).choose("token_embd.weight", wide).format == "q4_k"
    kinds = [mix.choose(f"blk.{layer}.attn_v.weight", wide).format for layer in range(16)]
    assert [layer for layer, kind in enumerate(kinds) if kind == "q6_k"] == [0, 1, 4, 7, 10, 13, 14, 15]
    assert mix.choose("blk.3.attn_q.weight", wide).format == "q4_k" and mix.choose("blk.3.attn_norm.weight", (256,)).format == "f32"
    assert mix.choose("rope_freqs.weight", (32,)).format == "f32"


def test_rows_that_do_not_fit():
    mix = Mix("q4_k_m", layers=8, tied=False)
    assert mix.choose("blk.1.attn_q.weight", (4, 96)) == type(mix.choose("x", (1,)))("q5_0", "q4_k")
    assert mix.choose("output.weight", (4, 96)).format == "q8_0" and mix.choose("blk.1.attn_qkv.weight", (4, 96)).format == "q5_1"
    assert mix.choose("blk.1.attn_q.weight", (4, 100)).format == "f16"
    assert all(stored_bytes(format, (2, values * 3)) == 6 * size for format, (values, size) in FORMATS.items())
    with pytest.raises(UsageError, match="no precision"):
        Mix("q9", layers=1, tied=True)
