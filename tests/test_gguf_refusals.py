"""Broken, hostile and inexpressible checkpoints end in one clear sentence, and leave no file behind."""

from __future__ import annotations

import json
import shutil
import struct

import pytest

from decoders import NASTY, byte_level, make_decoder, pieces
from understudy.errors import DataError
from understudy.models.families import Config, find_family
from understudy.shrink.gguf.tokens import read_vocabulary
from understudy.shrink.gguf.write import write_gguf

pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_decoder(tmp_path_factory.mktemp("refusals") / "llama", "llama")


@pytest.fixture
def folder(llama, tmp_path):
    """A checkpoint to spoil."""
    return shutil.copytree(llama, tmp_path / "model")


def _edit(folder, name, change):
    data = json.loads((folder / name).read_text("utf-8"))
    change(data)
    (folder / name).write_text(json.dumps(data), "utf-8")


def _refused(folder, words):
    with pytest.raises(DataError, match=words):
        write_gguf(folder, folder / "out.gguf")
    assert not list(folder.glob("*.gguf")) and not list(folder.glob(".*part"))


@pytest.mark.parametrize(("change", "words"), [
    ({"model_type": "mamba"}, "model_type 'mamba', which is not a family"),
    ({"model_type": None}, "model_type 'None'"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "names the architectures"),
    ({"hidden_size": None}, "has no hidden_size"),
    ({"hidden_size": "64"}, "hidden_size = 64, which should be a whole number"),
    ({"hidden_size": -64}, "hidden_size = -64"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
    ({"num_hidden_layers": 5000}, "at most 1,024"),
    ({"num_key_value_heads": 3}, "a divisor of the 4"),
    ({"num_attention_heads": 2, "head_dim": None}, "the shape .* and config.json makes it"),
    ({"intermediate_size": 97}, "the shape"),
    ({"num_hidden_layers": 4}, "no tensor model.layers.3"),
    ({"num_hidden_layers": 2}, "holds the tensor model.layers.2"),
    ({"hidden_act": "gelu"}, "llama.cpp computes silu here"),
    ({"rms_norm_eps": 0}, "rms_norm_eps = 0, which should be a positive number"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type = yarn"),
    ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "has no factor"),
    ({"rope_parameters": 7}, "rope_parameters = 7, which should be an object"),
    ({"vocab_size": 100}, "the shape .* and config.json makes it .100, 64"),
    ({"vocab_size": 1 << 24}, "the shape"),
    ({"tie_word_embeddings": "yes"}, "which should be true or false"),
])
def test_configs(folder, change, words):
    _edit(folder, "config.json", lambda config: config.update(change))
    _refused(folder, words)


def test_json_files(folder):
    for name in ("config.json", "tokenizer.json"):
        text = (folder / name).read_bytes()
        for broken, words in ((b"{", "is not JSON"), (b"[]", "should hold a JSON object"), (b'{"a":' * 5000, "cannot be read"),
                              (b"\xff\xfe{}", "byte order mark")):
            (folder / name).write_bytes(broken)
            _refused(folder, words)
        (folder / name).unlink()
        _refused(folder, f"has no {name}")
        (folder / name).write_bytes(text)


def test_weights(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    for broken, words in ((data[:-10], "the tensors take"), (data[: length // 2], "declares a header"), (b"", "cannot be read"),
                          (struct.pack("<Q", 1 << 60) + data[8:], "declares a header"), (data + b"more", "the tensors take"),
                          (b"PK\x03\x04" + data[4:], "declares a header"), (data.replace(b'"F32"', b'"F8?"', 1), "unknown dtype"),
                          (data.replace(b'"F32"', b'"I32"'), "not a floating-point type"),
                          (data[: 8 + length] + b"\x00\x00\xc0\x7f" * ((len(data) - 8 - length) // 4), "not a finite number")):
        path.write_bytes(broken)
        _refused(folder, words)
    path.unlink()
    _refused(folder, "neither model.safetensors nor")


def test_the_index_of_shards(folder):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    for map_, words in (({"a": "../part.safetensors"}, "not a .safetensors file of this folder"),
                        ({"a": "part.safetensors"}, "does not hold it"), ({}, "no weight_map"),
                        ({"a": "absent.safetensors"}, "cannot be read"),
                        ({"a": "/etc/passwd"}, "not a .safetensors file")):
        index.write_text(json.dumps({"weight_map": map_}))
        _refused(folder, words)


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t["model"].update(type="Unigram"), "the model is 'Unigram', and only BPE"),
    (lambda t: t.pop("model"), "the model is missing"),
    (lambda t: t["model"].update(vocab=3), "has no vocabulary"),
    (lambda t: t["model"].update(dropout=0.1), "dropout = 0.1"),
    (lambda t: t["model"]["vocab"].update(zz=-1), "is not an id"),
    (lambda t: t["model"]["vocab"].update(zz=10**12), "is not an id"),
    (lambda t: t["model"]["vocab"].update(zz=5), "gives the id 5 to"),
    (lambda t: t["model"]["merges"].append(["q", "zzz"]), "which is not in the vocabulary"),
    (lambda t: t["model"]["merges"].append("q"), "not a pair of tokens"),
    (lambda t: t["added_tokens"].append({"id": 9999, "content": "<x>", "special": True}), "token ids up to 9,999"),
    (lambda t: t.update(pre_tokenizer=None), "neither byte-level BPE nor"),
    (lambda t: t.update(normalizer={"type": "Lowercase"}), "normalizes text with 'Lowercase'"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "add_prefix_space"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False), "llama.cpp has no name for"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"].__setitem__(0, {"type": "Split", "pattern": {"Regex": []}, "behavior": "Isolated"})
     or t["pre_tokenizer"]["pretokenizers"][1].update(use_regex=False), "splits text by the expression"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"].reverse(), "ByteLevel is not the last step"),
    (lambda t: t["model"].update(ignore_merges=True, vocab={**t["model"]["vocab"], "qqq": 403}), "'qqq' would be read differently"),
])
def test_tokenizers(folder, change, words):
    _edit(folder, "tokenizer.json", change)
    _refused(folder, words)


def test_an_unknown_expression_is_not_guessed(tmp_path):
    size = byte_level(tmp_path, "qwen2")
    _edit(tmp_path, "tokenizer.json", lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\w+|\W+"}))
    with pytest.raises(DataError, match="splits text by the expression"):
        read_vocabulary(tmp_path, {"vocab_size": size})


def test_special_tokens(folder):
    original = (folder / "generation_config.json").read_text()
    (folder / "generation_config.json").write_text('{"eos_token_id": ["x"]}')
    _refused(folder, "should be a token id or a list")
    (folder / "generation_config.json").write_text("{}")
    _edit(folder, "config.json", lambda config: config.update(eos_token_id=None))
    _edit(folder, "tokenizer_config.json", lambda config: config.pop("eos_token"))
    _refused(folder, "names an end-of-text token")
    (folder / "generation_config.json").write_text(original)
    _edit(folder, "tokenizer.json", lambda t: t.update(post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<pad>", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (("<pad>", 2), ("<s>", 0))}}))
    _refused(folder, "adds one beginning")


def test_pieces_that_llama_cpp_would_join(tmp_path):
    """bc is merged before ab, so 'abc' stays a|bc: llama.cpp would make it one token."""
    size = pieces(tmp_path, "gemma")
    assert read_vocabulary(tmp_path, {"vocab_size": size}).metadata["tokenizer.ggml.model"] == "llama"

    def spoil(tokenizer):
        for text in ("XY", "YZ", "XYZ", "Y", "Z", "X"):
            tokenizer["model"]["vocab"].setdefault(text, len(tokenizer["model"]["vocab"]))
        tokenizer["model"]["merges"][:0] = [["Y", "Z"], ["X", "Y"], ["XY", "Z"]]

    _edit(tmp_path, "tokenizer.json", spoil)
    with pytest.raises(DataError, match="'XYZ' as one token where tokenizer"):
        read_vocabulary(tmp_path, {"vocab_size": size + 10})


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.update(normalizer={"type": "NFKC"}), "normalizes text with 'NFKC'"),
    (lambda t: t.update(normalizer=None), "cuts text with 'Split'"),
    (lambda t: t.update(normalizer=None, pre_tokenizer={"type": "Metaspace", "replacement": "_"}), "cuts text with 'Metaspace'"),
    (lambda t: t["model"]["vocab"].pop("<0x41>"), "no token <0x41>"),
])
def test_pieces_refused(tmp_path, change, words):
    size = pieces(tmp_path, "gemma")
    _edit(tmp_path, "tokenizer.json", change)
    with pytest.raises(DataError, match=words):
        read_vocabulary(tmp_path, {"vocab_size": size})


def test_incomplete_merges_are_accepted_where_nothing_can_differ(tmp_path):
    """A trained BPE lists one merge per token; llama.cpp joins other pairs too, but those never meet."""
    from understudy.shrink.gguf.parity import serving
    from understudy.shrink.gguf.tokens import open_tokenizer

    size = pieces(tmp_path / "tokens", "gemma", complete=False)
    folder = make_decoder(tmp_path / "model", "llama", vocab_size=size, num_hidden_layers=1)
    shutil.copy(tmp_path / "tokens" / "tokenizer.json", folder)
    shutil.copy(tmp_path / "tokens" / "tokenizer_config.json", folder)
    write_gguf(folder, tmp_path / "out.gguf")
    tokenizer = open_tokenizer(folder)
    tokenizer.encode_special_tokens = True
    with serving(tmp_path / "out.gguf", context=64) as ask:
        for text in NASTY:
            assert ask("/tokenize", {"content": text, "add_special": True, "parse_special": False})["tokens"] == tokenizer.encode(text).ids


@pytest.mark.parametrize(("family", "change", "words"), [
    ("gemma2", {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}, "every other layer"),
    ("gemma2", {"tie_word_embeddings": False}, "always ties them"),
    ("gemma3_text", {"final_logit_softcapping": 30.0}, "caps no logits"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "left to right"),
    ("qwen2", {"use_sliding_window": True}, "no windows in this family"),
    ("qwen3", {"attention_bias": True}, "no attention biases"),
    ("phi3", {"head_dim": 32}, "have to fill the width"),
])
def test_what_llama_cpp_cannot_express(tmp_path, family, change, words):
    folder = make_decoder(tmp_path, family, num_hidden_layers=3)
    config = json.loads((folder / "config.json").read_text()) | change
    with pytest.raises(DataError, match=words):
        find_family(config).metadata(Config(config))
