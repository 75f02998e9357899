"""Trimming vocabularies of well-known models, where their files lie beside the project; skipped aloud where they do not."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trim_helpers import WIDE, sentences, write_safetensors
from understudy.shrink.decoder_vocabulary import trim_tokenizer

REAL = Path(__file__).parents[2] / "shared" / "models" / "tokenizers"
HARD = [*WIDE[-6:], "日本語 עברית", "👩‍👩‍👧  two  spaces", " lead", "▁ visible", "<0x41>", "<|user|>\nhi<|end|>", "caf\u0065\u0301"]


def there(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"{path} is absent: this real vocabulary was NOT tested")
    return path


def check(data: str, fewer: int = 5) -> int:
    """Trims exactly, and with `fewer` pieces; both give back what the whole tokenizer gives back. Returns the pieces that were kept."""
    whole, texts = Tokenizer.from_str(data), sentences(150, 5)
    exact = trim_tokenizer(data.encode(), texts)
    capped = trim_tokenizer(data.encode(), texts, most=len(exact.keep) - fewer)
    assert exact.changed == 0 < capped.changed and len(capped.keep) == len(exact.keep) - fewer
    for done in (exact, capped):
        small = Tokenizer.from_str(done.tokenizer.decode())
        for text in [*texts, *HARD]:
            assert small.decode(small.encode(text).ids, skip_special_tokens=False) == whole.decode(whole.encode(text).ids, skip_special_tokens=False)
    return len(exact.keep)


def added(pieces: list[tuple[str, int]], rstrip: bool = False) -> list[dict[str, Any]]:
    return [{"id": old, "content": piece, "single_word": False, "lstrip": False, "rstrip": rstrip, "normalized": False, "special": True}
            for piece, old in pieces]


def test_gpt2():
    folder = there("gpt2")
    reader = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    reader.pre_tokenizer, reader.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    reader.add_special_tokens(["<|endoftext|>"])
    assert reader.get_vocab_size() == 50257 and check(reader.to_str(), 100) < 800


def test_phi3():
    gguf = pytest.importorskip("gguf", reason="the package gguf is absent: the real Phi-3 vocabulary was NOT tested")
    fields = gguf.GGUFReader(there("gguf/ggml-vocab-phi-3.gguf")).fields
    tokens, scores, types = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    pieces = [bytes(tokens.parts[place]).decode() for place in tokens.data][:32011]
    score = [float(scores.parts[place][0]) for place in scores.data]
    special = [old for old in range(len(pieces)) if types.parts[types.data[old]][0] == 3]
    vocabulary = {piece: old for old, piece in enumerate(pieces[:32000])}
    # SentencePiece merges towards the piece of the best score.
    merges = sorted((-score[old], vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:]) for piece, old in vocabulary.items()
                    if types.parts[types.data[old]][0] == 1 for cut in range(1, len(piece)) if piece[:cut] in vocabulary and piece[cut:] in vocabulary)
    told = {"version": "1.0", "added_tokens": added([(pieces[old], old) for old in special], rstrip=True),
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                                               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                                         {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
                      "merges": [[left, right] for *_, left, right in merges]}}
    assert len(merges) > 50_000 and check(json.dumps(told), 100) < 900


def protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field, value) of a protobuf message: what little a SentencePiece model needs."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte, place = data[place], place + 1
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(data):
        key = number()
        size = {0: 0, 2: -1, 5: 4, 1: 8}[key & 7]
        if not size:
            yield key >> 3, number()
            continue
        size = number() if size < 0 else size
        yield key >> 3, data[place:place + size]
        place += size


@pytest.mark.parametrize("name", ["test_model.model", "test_ja_model.model"])
def test_sentencepiece_unigram(name):
    told = [dict(protobuf(value)) for field, value in protobuf(there(f"sentencepiece/{name}").read_bytes()) if field == 1]
    pieces = [[one[1].decode(), struct.unpack("<f", one[2])[0] if 2 in one else 0.0] for one in told]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    data = {"version": "1.0", "added_tokens": added([(pieces[old][0], old) for old in range(3)]), "normalizer": {"type": "NFKC"}, "pre_tokenizer": space,
            "decoder": space, "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces}}
    assert check(json.dumps(data)) < len(pieces) / 2


def stories(folder: Path, source: Path) -> str:
    """The published 260 thousand-parameter model in `source` as a Llama folder; returns the text that it is known to write."""
    data = (source / "stories260K.bin").read_bytes()
    wide, inner, layers, heads, pairs, rows, length = struct.unpack("<7i", data[:28])
    numbers, place, tensors = np.frombuffer(data, np.float32, offset=28), 0, {}
    short = wide // heads * pairs
    layout = [("model.embed_tokens", (rows, wide), 1), ("input_layernorm", (wide,), layers), ("self_attn.q_proj", (wide, wide), layers),
              ("self_attn.k_proj", (short, wide), layers), ("self_attn.v_proj", (short, wide), layers), ("self_attn.o_proj", (wide, wide), layers),
              ("post_attention_layernorm", (wide,), layers), ("mlp.gate_proj", (inner, wide), layers), ("mlp.down_proj", (wide, inner), layers),
              ("mlp.up_proj", (inner, wide), layers), ("model.norm", (wide,), 1)]
    for name, shape, times in layout:
        for layer in range(times):
            size = int(np.prod(shape))
            value = numbers[place:place + size].reshape(shape)
            place += size
            if name.endswith(("q_proj", "k_proj")):  # rotary pairs are neighbours there and halves apart in transformers
                value = value.reshape(-1, wide // heads // 2, 2, wide).swapaxes(1, 2).reshape(shape)
            tensors[f"{name}.weight" if times == 1 else f"model.layers.{layer}.{name}.weight"] = np.ascontiguousarray(value)
    packed, at, pieces = (source / "tok512.bin").read_bytes(), 4, []
    while at < len(packed):
        score, size = struct.unpack("<fi", packed[at:at + 8])
        pieces.append((packed[at + 8:at + 8 + size].decode().replace("\n<s>\n", "<s>").replace("\n</s>\n", "</s>").replace(" ", "▁"), score))
        at += 8 + size
    vocabulary = {piece: old for old, (piece, _) in enumerate(pieces)}
    assert len(vocabulary) == rows
    merges = sorted((-score, piece[:cut], piece[cut:]) for piece, score in pieces[259:] for cut in range(1, len(piece))
                    if piece[:cut] in vocabulary and piece[cut:] in vocabulary)
    write_llama_tokenizer(folder, vocabulary, merges)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows, "hidden_size": wide, "intermediate_size": inner,
         "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": pairs, "max_position_embeddings": length, "rms_norm_eps": 1e-5,
         "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True}))
    return str(json.loads((source / "expected_greedy.json").read_text("utf-8"))["text"])


def write_llama_tokenizer(folder: Path, vocabulary: dict[str, int], merges: list[tuple[float, str, str]]) -> None:
    """tokenizer.json in Llama 2's manner, with <s> in front of texts."""
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(
        {"version": "1.0", "added_tokens": added([(piece, old) for piece, old in vocabulary.items() if old < 3]),
         "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
         "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
         "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                                      {"type": "Fuse"}]},
         "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
                   "merges": [[left, right] for _, left, right in merges]}}), "utf-8")


def test_real_weights_tell_the_same_story(tmp_path):
    from understudy.shrink.decoder_checkpoint import trim_checkpoint
    from understudy.shrink.same_generation import same_generation

    story = stories(tmp_path / "whole", there("../stories260k"))
    report = trim_checkpoint(tmp_path / "whole", story.split("\n"), tmp_path / "small")
    assert report.changed == 0 and report.pieces_after < 400 < report.pieces_before
    result = same_generation(tmp_path / "whole", tmp_path / "small", [story[:16]], tokens=150)
    assert result.same and result.difference < 1e-4, result.lines()
    assert result.runs[0].steps == 150 and story[16:].startswith(result.runs[0].text)
