"""Real weights of a quarter of a million parameters: the runtime continues a story as its authors' own program does."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from understudy.run.generate.engine import Engine
from understudy.run.generate.sampling import Sampling

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
FOLDER = Path(os.environ.get("UNDERSTUDY_SHARED", Path(__file__).parents[2] / "shared")) / "models" / "stories260k"


def convert(folder: Path, target: Path) -> Path:
    """llama2.c's 'version 0' weights and tokenizer as one GGUF."""
    import gguf

    data = (folder / "stories260K.bin").read_bytes()
    dim, hidden, layers, heads, kv_heads, size, length = struct.unpack_from("<7i", data)
    values, at = np.frombuffer(data, "<f4", offset=28), 0
    writer = gguf.GGUFWriter(str(target), "llama")
    for add, value in ((writer.add_context_length, length), (writer.add_embedding_length, dim), (writer.add_block_count, layers),
                       (writer.add_feed_forward_length, hidden), (writer.add_head_count, heads), (writer.add_head_count_kv, kv_heads),
                       (writer.add_rope_dimension_count, dim // heads), (writer.add_vocab_size, size)):  # fmt: skip
        add(value)
    writer.add_layer_norm_rms_eps(1e-5)
    add_vocabulary(writer, folder, size)
    kv = dim * kv_heads // heads
    plan = [("token_embd.weight", None, (size, dim)), ("attn_norm", layers, (dim,)), ("attn_q", layers, (dim, dim)), ("attn_k", layers, (kv, dim)),
            ("attn_v", layers, (kv, dim)), ("attn_output", layers, (dim, dim)), ("ffn_norm", layers, (dim,)), ("ffn_gate", layers, (hidden, dim)),
            ("ffn_down", layers, (dim, hidden)), ("ffn_up", layers, (hidden, dim)), ("output_norm.weight", None, (dim,))]  # fmt: skip
    for name, count, shape in plan:
        for layer in range(count or 1):
            writer.add_tensor(f"blk.{layer}.{name}.weight" if count else name, values[at : at + np.prod(shape)].reshape(shape).copy())
            at += int(np.prod(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def add_vocabulary(writer, folder: Path, size: int) -> None:
    """Sentencepiece tokens: 0 unknown, 1 begin, 2 end, then the 256 bytes."""
    data, at = (folder / "tok512.bin").read_bytes(), 4
    tokens, scores = [], []
    for _ in range(size):
        score, length = struct.unpack_from("<fi", data, at)
        scores.append(score)
        tokens.append(data[at + 8 : at + 8 + length].decode().strip("\n").replace(" ", "▁"))
        at += 8 + length
    tokens[:259] = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (size - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    if not FOLDER.is_dir():
        pytest.skip(f"no real weights at {FOLDER}; set UNDERSTUDY_SHARED to the folder that holds models/stories260k")
    with Engine.open(convert(FOLDER, tmp_path_factory.mktemp("stories") / "stories.gguf"), threads=1, slots=2) as engine:
        yield engine


def test_the_published_story_is_told(engine):
    expected = json.loads((FOLDER / "expected_greedy.json").read_text("utf-8"))
    answer = engine.complete([1], Sampling(max_tokens=len(expected["token_ids"]) - 1))
    assert answer.text.strip() == expected["text"].strip()
    assert list(answer.ids) == expected["token_ids"][1:]


def test_english_is_likelier_than_its_letters_shuffled(engine):
    story = engine.score("Once upon a time, there was a little girl named Lily.")
    noise = engine.score("cnOe poun a emit, erhet saw a elttil lrig deman yliL.")
    assert story.tokens[0].logprob is not None
    assert story.perplexity < 5 < noise.perplexity and story.bits_per_byte < 1 < noise.bits_per_byte
    assert engine.next_words("Once upon a", 1)[0][0] == " time"


def test_a_schema_and_choices_on_real_weights(engine):
    prompt = "Once upon a time, there was a little girl named"
    assert engine.complete(prompt, Sampling(choices=(" Lily", " Zyx"))).text == " Lily"
    answer = engine.complete(prompt, Sampling(json_schema={"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}},
                                                           "required": ["name"], "additionalProperties": False}))  # fmt: skip
    assert answer.finish == "end" and len(json.loads(answer.text)["name"]) <= 8
