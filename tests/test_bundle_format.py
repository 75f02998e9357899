"""FORMAT.md is the document of the format: its code runs, its figures are the code's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bundle_helpers import ONNX, save
from understudy.bundle import manifest, onnx_check, paths, tokenizer_check, tokenizer_vocab
from understudy.bundle.onnx_constants import MAX_GROWTH
from understudy.bundle.safetensors_check import MAX_HEADER

TEXT = Path(manifest.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")


def test_a_stranger_can_check_a_bundle_with_the_code_on_the_page(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    save(tmp_path / "support")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "FORMAT.md", "exec"), {})
    (tmp_path / "support" / ONNX).write_bytes(b"changed")
    with pytest.raises(AssertionError, match=ONNX):
        exec(compile(code, "FORMAT.md", "exec"), {})


def test_the_tables_list_every_field():
    listed = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    ours = [field.name for one in (manifest.Manifest, manifest.Rung) for field in dataclasses.fields(one)]
    assert sorted(listed) == sorted([*ours, "id", "seal"])


def test_the_figures_are_the_codes():
    figures = {
        f"version {manifest.FORMAT_VERSION}\n": 1, f"at most {manifest.MAX_MANIFEST >> 20} MiB": 1, f"more than {manifest.MAX_FILES:,} files": 1, f"more than {manifest.MAX_FILE >> 30} GiB": 1,
        f"at most {manifest.MAX_LABELS:,}": 1, f"1 to {manifest.MAX_RUNGS} models": 1, f"at most {paths.MAX_PATH} characters": 1, f"at most {paths.MAX_PART} ASCII": 1,
        " ".join(f"`{suffix}`" for suffix in paths.SUFFIXES): 1, f"header of more than {MAX_HEADER // 10**6} MB": 1, f"more than {onnx_check.MAX_NESTING} deep": 1, f"more than {onnx_check.MAX_NODES:,} nodes": 1,
        f"`ai.onnx` {onnx_check.MAX_OPSETS['']}": 1, f"`ai.onnx.ml` {onnx_check.MAX_OPSETS['ai.onnx.ml']}": 1, f"other than 3 to {onnx_check.MAX_IR}": 1, f"more than {MAX_GROWTH >> 20} MiB": 1,
        f"more than {tokenizer_check.MAX_TOKENIZER >> 20} MiB": 1, f"more than {tokenizer_vocab.MAX_VOCAB:,} tokens": 1, f"more than {tokenizer_vocab.MAX_TOKEN} bytes": 1,
        f"more than {tokenizer_check.MAX_GROWTH:g} times": 1, f"more than {tokenizer_check.MAX_PADDING:,} tokens": 1,
    }
    assert {words: TEXT.count(words) for words in figures} == figures
    assert all(f"`{op}`" in TEXT for op in onnx_check.REFUSED_OPS) and all(name in TEXT for name in paths.RESERVED_FILES)
    assert len(tokenizer_check.REGEXES) == 4
