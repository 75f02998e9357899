"""A checkpoint of every family becomes a .gguf that llama.cpp answers from as transformers does from the checkpoint."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from decoders import CORPUS, FAMILIES, NASTY, byte_level, make_decoder, pieces
from understudy.errors import DataError, UsageError
from understudy.models.families import Config, families, find_family
from understudy.shrink.gguf.write import write_gguf

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
from understudy.shrink.gguf.parity import compare, serving
from understudy.shrink.gguf.quantise import open_gguf, requantise
from understudy.shrink.gguf.tokens import open_tokenizer

# Nats. llama.cpp looks GELU up in a float16 table, so families with GELU agree less closely.
TOLERANCE = {"gemma": 2e-2, "gemma2": 1e-2, "gemma3_text": 1e-2}
TEXTS = [NASTY[0], NASTY[7], " ".join(NASTY)[:110]]


@pytest.fixture(autouse=True)
def quiet():
    """transformers draws progress bars and repeats advice for these made-up configs."""
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    """A small Llama with a SmolLM tokenizer, made once."""
    return make_decoder(tmp_path_factory.mktemp("gguf") / "smollm", "llama")


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_answers_as_transformers_does(tmp_path, name):
    folder = make_decoder(tmp_path / "model", name)
    report = write_gguf(folder, tmp_path / "out.gguf", precision="f32")
    found = compare(folder, tmp_path / "out.gguf", NASTY[:2] if name == "phi3-long" else TEXTS, tokens=12, context=256)
    print(f"{name}: {found.gap:.1e} nats over {found.positions} positions, {report.tensors} tensors")
    assert found.tokens == () and found.greedy == () and found.same
    assert found.positions >= 10 and found.gap < TOLERANCE.get(name, 2e-4)


def test_long_rope_beyond_the_trained_context(tmp_path):
    folder = make_decoder(tmp_path / "model", "phi3-long")
    report = write_gguf(folder, tmp_path / "out.gguf", precision="f32")
    found = compare(folder, tmp_path / "out.gguf", [" ".join(CORPUS)], tokens=6)
    assert found.same and found.gap < 1e-3 and "long rope factors" in report.notes[0]


@pytest.mark.parametrize("changes", [{"sliding_window": 8}, {"query_pre_attn_scalar": 16}, {"layer_types": ["full_attention"] * 7}])
def test_a_wrong_setting_shows(tmp_path, changes):
    """The negative control: the comparison sees a window, a scale or a pattern that is not the checkpoint's."""
    folder = make_decoder(tmp_path / "model", "gemma3_text")
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | changes))
    write_gguf(other, tmp_path / "out.gguf", precision="f32")
    assert compare(folder, tmp_path / "out.gguf", TEXTS[2:], tokens=4).gap > 0.05


def test_other_window_patterns(tmp_path):
    kinds = [("full" if layer % 3 == 2 else "sliding") + "_attention" for layer in range(7)]
    folder = make_decoder(tmp_path / "model", "gemma3_text", layer_types=kinds)
    write_gguf(folder, tmp_path / "out.gguf", precision="f32")
    assert compare(folder, tmp_path / "out.gguf", TEXTS[2:], tokens=6).same
    config = json.loads((folder / "config.json").read_text())
    config["layer_types"] = kinds[1:] + kinds[:1]
    with pytest.raises(DataError, match="only in a repeating pattern"):
        find_family(config).metadata(Config(config))


def test_shards_and_half_precision(tmp_path, smollm):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smollm).bfloat16()
    sharded = shutil.copytree(smollm, tmp_path / "sharded", ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(sharded, max_shard_size="60KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    model.save_pretrained(tmp_path / "whole")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(smollm / name, tmp_path / "whole" / name)
    written = [write_gguf(folder, tmp_path / f"{at}.gguf", precision="f32") for at, folder in enumerate((sharded, tmp_path / "whole"))]
    first, second = (open_gguf(report.path) for report in written)
    assert {t.name: t.data.tobytes() for t in first.tensors} == {t.name: t.data.tobytes() for t in second.tensors}


def test_precisions_and_requantising(tmp_path, smollm):
    """Quantising while writing and quantising a float file give the same tensors; answers stay close, closer with more bits."""
    whole = write_gguf(smollm, tmp_path / "f32.gguf", precision="f32")
    gaps = {}
    for precision in ("f16", "q8_0", "q4_0", "q4_k_m"):
        direct = write_gguf(smollm, tmp_path / f"{precision}.gguf", precision=precision)
        again = requantise(whole.path, tmp_path / f"{precision}-again.gguf", precision)
        one, two = open_gguf(direct.path), open_gguf(again.path)
        assert [t.data.tobytes() for t in one.tensors] == [t.data.tobytes() for t in two.tensors]
        assert one.fields.keys() == two.fields.keys() and direct.formats == again.formats
        assert all(one.fields[key].contents() == two.fields[key].contents() for key in one.fields if not key.startswith("GGUF."))
        gaps[precision] = compare(smollm, direct.path, TEXTS[:1], tokens=1).gap
    assert gaps["f16"] < gaps["q8_0"] < min(gaps["q4_0"], gaps["q4_k_m"]) and gaps["q8_0"] < 1
    assert direct.fallbacks[0] == ("token_embd.weight", "q4_k", "q5_0") and "not a multiple" in direct.notes[0]


def test_q4_k_m_answers_as_its_decoded_weights(tmp_path):
    """llama.cpp and the gguf package decode our k-quants alike: the file and its decoded copy answer within what llama.cpp rounds."""
    folder = make_decoder(tmp_path / "model", "llama", hidden_size=256, intermediate_size=512, num_hidden_layers=4, initializer_range=0.04)
    report = write_gguf(folder, tmp_path / "small.gguf", precision="q4_k_m")
    assert report.formats == {"q4_k": 25, "q6_k": 5, "f32": 9} and not report.fallbacks
    requantise(report.path, tmp_path / "decoded.gguf", "f32")
    request = {"prompt": list(range(40)), "n_predict": 1, "temperature": 0, "n_probs": 20, "logit_bias": [[70, 1e6]]}
    said = []
    for name in ("small", "decoded"):
        with serving(tmp_path / f"{name}.gguf", context=128) as ask:
            top = ask("/completion", request)["completion_probabilities"][0]["top_logprobs"]
            said.append({item["id"]: item["logprob"] for item in top})
    shared = said[0].keys() & said[1].keys()
    assert len(shared) > 15 and max(abs(said[0][token] - said[1][token]) for token in shared) < 0.1


def test_keep_float_and_fused_layers(tmp_path):
    folder = make_decoder(tmp_path / "model", "phi3", hidden_size=256, intermediate_size=256, initializer_range=0.04)
    report = write_gguf(folder, tmp_path / "a.gguf", precision="q4_k_m", keep_float=frozenset({"ffn_down", "output.weight"}))
    stored = {tensor.name: tensor.tensor_type.name for tensor in open_gguf(report.path).tensors}
    assert stored["blk.0.attn_qkv.weight"] == "Q5_K" and stored["blk.2.ffn_down.weight"] == stored["output.weight"] == "F16"
    assert stored["blk.0.attn_norm.weight"] == "F32" and compare(folder, report.path, TEXTS[:1], tokens=1).gap < 1


@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe", "smaug-bpe", "gpt-4o", "gemma", "phi"])
def test_nasty_text_is_tokenized_alike(tmp_path, kind):
    """Special tokens that a user writes are text on both sides."""
    size = (pieces if kind in ("gemma", "phi") else byte_level)(tmp_path / "tokens", kind)
    folder = make_decoder(tmp_path / "model", "llama", vocab_size=size, num_hidden_layers=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "tokens" / name, folder / name)
    report = write_gguf(folder, tmp_path / "out.gguf")
    assert report.pre == (kind if kind not in ("gemma", "phi") else "default")
    tokenizer = open_tokenizer(folder)
    tokenizer.encode_special_tokens = True
    with serving(report.path, context=256) as ask:
        for text in NASTY + CORPUS:
            if kind == "phi" and text.startswith((" ", "\u2581")):
                continue  # llama.cpp puts a second space there, and the report says so
            theirs = ask("/tokenize", {"content": text, "add_special": True, "parse_special": False})["tokens"]
            assert theirs == tokenizer.encode(text).ids, text
    assert (kind == "phi") == any("begins with a space" in note for note in report.notes)


def test_metadata(tmp_path, smollm):
    report = write_gguf(smollm, tmp_path / "out.gguf")
    keys = {name: field.contents() for name, field in open_gguf(report.path).fields.items() if not name.startswith("tokenizer.ggml.t")}
    assert keys["general.architecture"] == "llama" and keys["general.file_type"] == 7 and keys["tokenizer.ggml.pre"] == "smollm"
    assert keys["tokenizer.chat_template"].startswith("{% for m in messages") and keys["tokenizer.ggml.eos_token_id"] == 1
    assert keys["tokenizer.ggml.add_bos_token"] is False and keys["llama.context_length"] == 256
    assert report.bytes == (tmp_path / "out.gguf").stat().st_size and sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf"]


def test_several_end_tokens(tmp_path, smollm):
    folder = shutil.copytree(smollm, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 1, 0, 7]}))
    report = write_gguf(folder, tmp_path / "out.gguf")
    keys = open_gguf(report.path).fields
    assert [keys[f"tokenizer.ggml.{word}_token_id"].contents() for word in ("eos", "eot", "eom")] == [1, 2, 0]
    assert "keeps three end tokens" in report.notes[0]


def test_every_family_is_a_file():
    assert set(families()) == {"llama", "phi3", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3"}


def test_refusals_of_the_call(tmp_path, smollm):
    with pytest.raises(UsageError, match="no precision 'q3'"):
        write_gguf(smollm, tmp_path / "a.gguf", precision="q3")
    with pytest.raises(UsageError, match="keep_float names 'attn_w'"):
        write_gguf(smollm, tmp_path / "a.gguf", keep_float=frozenset({"attn_w", "attn_v"}))
    with pytest.raises(UsageError, match="does not end in"):
        write_gguf(smollm, tmp_path / "a.bin")
    report = write_gguf(smollm, tmp_path / "a.gguf")
    with pytest.raises(UsageError, match="is the file to read from"):
        requantise(report.path, report.path, "f32")
    data = report.path.read_bytes()
    (tmp_path / "short.gguf").write_bytes(data[: len(data) // 2])
    (tmp_path / "no.gguf").write_bytes(b"hello")
    for name, words in (("short", "its tensors reach beyond its end"), ("no", "does not begin with GGUF"), ("absent", "there is no file")):
        with pytest.raises(DataError, match=words):
            requantise(tmp_path / f"{name}.gguf", tmp_path / "b.gguf", "f16")
    assert not (tmp_path / "b.gguf").exists()


def test_stored_values_are_what_the_report_says(tmp_path, smollm):
    """The Llama permutation undone and 8-bit rounding bounded: the file holds the checkpoint's own numbers."""
    from safetensors.numpy import load_file

    write_gguf(smollm, tmp_path / "a.gguf")
    requantise(tmp_path / "a.gguf", tmp_path / "b.gguf", "f32")
    stored = {tensor.name: np.array(tensor.data) for tensor in open_gguf(tmp_path / "b.gguf").tensors}
    original = load_file(smollm / "model.safetensors")
    query = stored["blk.0.attn_q.weight"].reshape(4, 8, 2, 64).swapaxes(1, 2).reshape(64, 64)
    for ours, theirs in ((query, "self_attn.q_proj"), (stored["blk.0.ffn_up.weight"], "mlp.up_proj")):
        assert np.abs(ours - original[f"model.layers.0.{theirs}.weight"]).max() < np.abs(ours).max() / 200


def test_hostile_counts_in_a_gguf(tmp_path, smollm):
    """A count that the file cannot hold is refused at once, not looped over."""
    import struct

    data = write_gguf(smollm, tmp_path / "a.gguf").path.read_bytes()
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    broken = {"list": head + struct.pack("<IIQ", 9, 0, 1 << 60) + b"x" * 64,
              "strings": head + struct.pack("<IIQ", 9, 8, 1 << 40) + b"x" * 64,
              "nested": head + struct.pack("<IIQ", 9, 9, 1) + b"x" * 64,
              "tensors": struct.pack("<4sIQQ", b"GGUF", 3, 1 << 62, 0) + b"\0" * 64,
              "entries": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 62) + b"\0" * 4000, "version": b"GGUF\x09" + data[5:], "empty": b"GGUF"}
    for name, content in broken.items():
        (tmp_path / f"{name}.gguf").write_bytes(content)
        with pytest.raises(DataError, match=r"damaged|version|cannot be read"):
            requantise(tmp_path / f"{name}.gguf", tmp_path / "b.gguf", "f16")
    for at in range(0, len(data), 9973):
        (tmp_path / "c.gguf").write_bytes(data[:at])
        with pytest.raises(DataError):
            requantise(tmp_path / "c.gguf", tmp_path / "b.gguf", "f16")


def test_runs_of_spaces_are_written_as_spaces(tmp_path):
    """Gemma lists runs of ▁ as added tokens; llama.cpp must still print spaces for them."""
    size = pieces(tmp_path / "tokens", "gemma")
    path = tmp_path / "tokens" / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    token = data["model"]["vocab"].setdefault("\u2581\u2581", size)
    data["model"]["merges"].insert(0, ["\u2581", "\u2581"])
    data["added_tokens"].append({"id": token, "content": "\u2581\u2581", "special": False, "normalized": False,
                                 "lstrip": False, "rstrip": False, "single_word": False})
    path.write_text(json.dumps(data), "utf-8")
    folder = make_decoder(tmp_path / "model", "llama", vocab_size=size + 1, num_hidden_layers=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "tokens" / name, folder / name)
    report = write_gguf(folder, tmp_path / "out.gguf")
    with serving(report.path, context=64) as ask:
        ids = ask("/tokenize", {"content": "a  b   c"})["tokens"]
        assert ids == open_tokenizer(folder).encode("a  b   c", add_special_tokens=False).ids and token in ids
        assert ask("/detokenize", {"tokens": ids})["content"] == "a  b   c"
