"""Trimming a decoder's checkpoint: gathered rows, renamed ids, the same answers; and errors for folders that are broken."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from tokenizers import Tokenizer

from trim_helpers import DOMAIN, byte_level, checkpoint, read_safetensors, sentencepiece, write_safetensors
from understudy.errors import TeacherError, UnderstudyError, UsageError
from understudy.shrink import decoder_checkpoint, tensor_rows
from understudy.shrink.decoder_checkpoint import trim_checkpoint
from understudy.shrink.token_fields import needed_ids, remapped, template_words

TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def keep_of(folder, out) -> np.ndarray:
    """Old ids in new order, by the names of the pieces."""
    old = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    new = Tokenizer.from_file(str(out / "tokenizer.json")).get_vocab()
    return np.array([old[piece] for piece in sorted(new, key=new.get)])


@pytest.mark.parametrize(("options", "config"), [({}, {}), ({"bfloat": True}, {"tie_word_embeddings": True}),
                                                 ({"shards": True, "padding": 13}, {}), ({"shards": True, "bfloat": True}, {})])
def test_rows_are_gathered_bit_for_bit_and_the_rest_is_copied(tmp_path, options, config):
    folder = checkpoint(tmp_path / "whole", sentencepiece(), **options, **config)
    report = trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    keep = keep_of(folder, tmp_path / "small")
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == sorted(path.name for path in (tmp_path / "small").glob("*.safetensors"))
    seen = 0
    for file in files:
        before, after = read_safetensors(folder / file), read_safetensors(tmp_path / "small" / file)
        assert before.keys() == after.keys()
        for name, (dtype, rows) in before.items():
            seen += name in TABLES
            assert after[name][0] == dtype and np.array_equal(after[name][1], rows[keep] if name in TABLES else rows)
    assert seen == (1 if config else 2)
    assert report.pieces_after == len(keep) < report.pieces_before and report.parameters_after < report.parameters_before
    assert report.bytes_after == sum(os.path.getsize(path) for path in [*(tmp_path / "small").glob("*.safetensors"), tmp_path / "small/tokenizer.json"])
    assert report.changed == 0 and report.left_out == ("notes.txt",)
    if options.get("shards"):
        index = json.loads((tmp_path / "small" / "model.safetensors.index.json").read_text())
        assert index["weight_map"].keys() == {name for file in files for name in read_safetensors(folder / file)}
        assert index["metadata"]["total_parameters"] == report.parameters_after


def test_every_id_is_renamed(tmp_path):
    folder, out = checkpoint(tmp_path / "whole", byte_level(), padding=3), tmp_path / "small"
    report = trim_checkpoint(folder, DOMAIN, out)
    small = Tokenizer.from_file(str(out / "tokenizer.json"))
    begin, end, turn = (small.token_to_id(piece) for piece in ("<|begin|>", "<|end|>", "<|turn|>"))
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (report.pieces_after, begin, [end, turn], None)
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["suppress_tokens"][0] == begin and generation["bad_words_ids"] == [[begin]]
    assert list(json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]) == [str(begin)]
    assert small.encode("the baker").ids[0] == begin
    assert (out / "LICENSE").read_text() == "ours"
    assert any("->" in line for line in report.lines())


def test_transformers_opens_it_and_says_the_same(tmp_path):
    from transformers import AutoTokenizer

    from understudy.shrink.same_generation import same_generation

    folder = checkpoint(tmp_path / "whole", byte_level(), padding=5)
    trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    reader = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert reader(DOMAIN[0]).input_ids == Tokenizer.from_file(str(tmp_path / "small" / "tokenizer.json")).encode(DOMAIN[0]).ids
    result = same_generation(folder, tmp_path / "small", DOMAIN[:4], tokens=6)
    assert result.difference < 1e-4 and all(run.differs_at is None and not run.resplit for run in result.runs)
    assert len(result.lines()) == 1 + sum(run.left_at is not None for run in result.runs)
    # A random model soon says a piece that is gone; one whose rows for those are all smaller never does.
    weights = {name: rows.copy().view(np.float32) for name, (_, rows) in read_safetensors(folder / "model.safetensors").items()}
    gone = np.setdiff1d(np.arange(len(weights["lm_head.weight"])), keep_of(folder, tmp_path / "small"))
    assert any(run.left_at is not None for run in result.runs)
    weights["lm_head.weight"][gone] = 0
    shapes = {"model.norm.weight": (-1,)}
    write_safetensors(folder / "model.safetensors", {name: value.reshape(shapes.get(name, value.shape if "norm" not in name else (-1,)))
                                                      for name, value in weights.items()})
    again = same_generation(folder, tmp_path / "small", DOMAIN[:4], tokens=6)
    assert again.same and all(run.steps for run in again.runs) and len(again.lines()) == 1


def test_a_model_that_differs_is_found(tmp_path):
    from understudy.shrink.same_generation import same_generation

    folder = checkpoint(tmp_path / "whole", byte_level())
    trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    path = tmp_path / "small" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-40000:] = bytes(40000)
    path.write_bytes(data)
    assert same_generation(folder, tmp_path / "small", DOMAIN[:1], tokens=2).difference > 0.1
    other = checkpoint(tmp_path / "other", sentencepiece())
    with pytest.raises(TeacherError, match="it was not trimmed from it"):
        same_generation(folder, other, DOMAIN[:1])
    (path.parent / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(TeacherError, match="cannot be opened by transformers"):
        same_generation(folder, path.parent, DOMAIN[:1])


def test_an_added_token_without_an_embedding_goes(tmp_path):
    folder = checkpoint(tmp_path / "whole", byte_level())
    reader = Tokenizer.from_str(byte_level())
    reader.add_special_tokens(["<image>"])
    (folder / "tokenizer.json").write_text(reader.to_str(), "utf-8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_token_id": reader.token_to_id("<image>")}))
    report = trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    assert Tokenizer.from_file(str(tmp_path / "small" / "tokenizer.json")).token_to_id("<image>") is None
    assert "image_token_id" not in json.loads((tmp_path / "small" / "config.json").read_text())
    assert any(one.startswith("image_token_id") for one in report.dropped)
    with pytest.raises(TeacherError, match="rows of embeddings"):
        trim_checkpoint(folder, [*DOMAIN, "see <image>"], tmp_path / "other")


def _edit(folder, name, **change):
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**told, **change}))


def _add_tensor(folder, name, shape):
    tensors = {key: np.ascontiguousarray(rows).view(np.float32) for key, (_, rows) in read_safetensors(folder / "model.safetensors").items()}
    write_safetensors(folder / "model.safetensors", {**tensors, name: np.zeros(shape, np.float32)})


def _cut(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:len(data) // 2])


ROWS = Tokenizer.from_str(byte_level()).get_vocab_size()


@pytest.mark.parametrize(("harm", "words"), [
    (_cut, "the tensors take .* bytes and the file has"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be read"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100), "is not safetensors"),
    (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "should hold an object"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    (lambda folder: _edit(folder, "config.json", vocab_size=ROWS + 9), "no embedding has as many rows"),
    (lambda folder: _edit(folder, "config.json", vocab_size="many"), "has the vocab_size 'many'"),
    (lambda folder: _edit(folder, "config.json", is_encoder_decoder=True), "is an encoder-decoder"),
    (lambda folder: _edit(folder, "config.json", vocab_size_per_layer_input=3), "embeddings in every layer"),
    (lambda folder: _add_tensor(folder, "prompt.table", (4, ROWS)), "as wide as the vocabulary"),
    (lambda folder: (folder / "tokenizer.json").write_text(sentencepiece(), "utf-8"), "rows of embeddings"),
    (lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "has no 'weight_map'"),
    (lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}}'), "not a .safetensors file beside it"),
    (lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors"}}'), "it is not there"),
], ids=range(17))
def test_a_broken_folder_is_an_error_in_words_and_leaves_nothing(tmp_path, harm, words):
    folder = checkpoint(tmp_path / "whole", byte_level())
    harm(folder)
    with pytest.raises(TeacherError, match=words):
        trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    assert sorted(os.listdir(tmp_path)) == ["whole"]


def test_what_is_there_is_not_replaced_and_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "whole", byte_level())
    with pytest.raises(UsageError, match="is there already"):
        trim_checkpoint(folder, DOMAIN, folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_rows, "_copy", full)
    with pytest.raises(UnderstudyError, match=r"no space left on device \(ENOSPC\)"):
        trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    monkeypatch.undo()
    monkeypatch.setattr(decoder_checkpoint.os, "rename", full)
    with pytest.raises(UnderstudyError, match="ENOSPC"):
        trim_checkpoint(folder, DOMAIN, tmp_path / "small")
    assert sorted(os.listdir(tmp_path)) == ["whole"]


def test_the_words_of_the_chat_template_stay():
    words = template_words("{% for m in messages %}{{ '<|turn|>' + m.role + \"\\n\" }} says {% endfor %}")
    assert {"<|turn|>", "\n", " says ", "user\n", "assistant"} <= set(words)
    assert template_words("") == []


def test_fields_in_odd_shapes_are_no_crash():
    fields = {"eos_token_id": [1, "x", True], "pad_token_id": -1, "bos_token_id": "1", "text_config": {"bos_token_id": 2, "name": "n"}, "suppress_tokens": 4,
              "forced_decoder_ids": [[1, 2], [3], "x"], "bad_words_ids": [[1], [9], 3, []], "sequence_bias": [[[1, 2], 0.5], [[9], 1.0]], "image_token_index": 9}
    dropped: list[str] = []
    assert remapped(fields, {1: 0, 2: 1}, dropped) == {"eos_token_id": [0], "text_config": {"bos_token_id": 1, "name": "n"}, "forced_decoder_ids": [[1, 1]],
                                                       "bad_words_ids": [[0]], "sequence_bias": [[[0, 1], 0.5]]}
    assert [one.split(" ")[0] for one in dropped] == ["pad_token_id", "bos_token_id", "suppress_tokens", "image_token_index"]
    assert sorted(needed_ids(fields)) == [-1, 1, 2, 2]
