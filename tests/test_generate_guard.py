"""A GGUF is looked at before native code is: what is broken or hostile is refused in words, quickly."""

from __future__ import annotations

import os
import struct
import time

import numpy as np
import pytest

from tiny_gguf import CONTROL, vocabulary, write_tiny_gguf
from understudy.errors import BundleError
from understudy.run.generate.guard import ARCHITECTURES, TENSOR_TYPES, inspect_gguf


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("guard") / "tiny.gguf")


@pytest.fixture
def edit(model, tmp_path):
    """Writes the model with its bytes changed by a function and says why it is refused."""

    def refusal(change) -> str:
        path = tmp_path / "edited.gguf"
        path.write_bytes(change(bytearray(model.read_bytes())))
        with pytest.raises(BundleError) as caught:
            inspect_gguf(path)
        assert caught.value.hint
        return str(caught.value)

    return refusal


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def test_it_says_what_the_file_is(model):
    info = inspect_gguf(model)
    tokens, _, _ = vocabulary()
    assert (info.architecture, info.name, info.vocabulary, info.context) == ("llama", "tiny", len(tokens), 256)
    assert info.control == {tokens.index(one) for one in CONTROL}
    assert info.size == model.stat().st_size
    assert info.metadata["llama.block_count"] == 2
    embedding = next(one for one in info.tensors if one.name == "token_embd.weight")
    assert (embedding.kind, embedding.shape, embedding.bytes) == ("F32", (64, len(tokens)), 64 * len(tokens) * 4)
    assert max(one.offset + one.bytes for one in info.tensors) <= info.size
    assert info.parameters == sum(one.bytes for one in info.tensors) // 4


def test_the_type_table_is_that_of_the_format():
    import gguf

    for number, (name, block, width) in TENSOR_TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, *gguf.GGML_QUANT_SIZES[kind]) == (name, block, width)


def test_a_large_vocabulary_is_read_quickly(tmp_path):
    import gguf

    count, path = 262_144, tmp_path / "large.gguf"
    writer = gguf.GGUFWriter(str(path), "gemma3")
    writer.add_context_length(8192)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token{at}" + "x" * (at % 7 == 0) * 300 for at in range(count)])
    writer.add_token_types([1] * count)
    writer.add_tensor("token_embd.weight", np.zeros((count, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    began = time.process_time()
    assert inspect_gguf(path).vocabulary == count
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(("change", "words"), [
    (lambda data: b"GGML" + data[4:], "does not begin with the letters GGUF"),
    (lambda data: b"", "ends at byte 0"),
    (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version 1"),
    (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "little-endian"),
    (lambda data: data[:8] + struct.pack("<Q", 2**60) + data[16:], "tensors and"),
    (lambda data: data[:16] + struct.pack("<Q", 2**60) + data[24:], "keys"),
    (lambda data: data[:24] + struct.pack("<Q", 2**62) + data[32:], "a string of 4611686018427387904 bytes"),
    (lambda data: data[:-100], "ends at byte"),
    (lambda data: data[:300], "inside its header"),
    (lambda data: data.replace(string("llama"), string("lambo"), 1), "'lambo', which is not one of gemma"),
    (lambda data: data.replace(b"llama.context_length", b"llama.embeddinglengt", 1), "llama.context_length is None"),
    (lambda data: data.replace(b"tokenizer.ggml.model", b"llama.context_length", 1), "'llama.context_length' twice"),
    (lambda data: data.replace(b"attn_q.weight", b"attn_k.weight", 1), "same name"),
    (lambda data: data.replace(b"token_embd.weight", b"token_embx.weight", 1), "does not fit its vocabulary"),
    (lambda data: data.replace(string("gpt2"), string("bert"), 1), "tokenizer type 'bert'"),
])  # fmt: skip
def test_what_is_broken_is_refused_in_words(edit, change, words):
    assert words in edit(change)


def test_lying_values_are_refused(edit):
    def value(key: str, kind: str, new: int):
        def change(data):
            at = data.index(string(key)) + 8 + len(key) + 4
            return data[:at] + struct.pack(kind, new) + data[at + struct.calcsize(kind) :]

        return change

    def count(key: str, new: int):
        def change(data):
            at = data.index(string(key)) + 8 + len(key) + 8
            return data[:at] + struct.pack("<Q", new) + data[at + 8 :]

        return change

    assert "llama.block_count is 4294967295" in edit(value("llama.block_count", "<I", 2**32 - 1))
    assert "llama.attention.head_count is 0" in edit(value("llama.attention.head_count", "<I", 0))
    assert "outside its vocabulary" in edit(value("tokenizer.ggml.eos_token_id", "<I", 5000))
    assert "more than the file has room for" in edit(count("tokenizer.ggml.tokens", 2**61))
    assert "more than the file has bytes" in edit(count("tokenizer.ggml.token_type", 2**61))
    assert edit(count("tokenizer.ggml.tokens", 283))


def test_tensors_stay_apart_and_inside(edit):
    def place(name: str, field: int, new: int, kind: str = "<Q"):
        def change(data):
            at = data.index(string(name)) + 8 + len(name) + field
            return data[:at] + struct.pack(kind, new) + data[at + struct.calcsize(kind) :]

        return change

    # After the name: dimensions (4 bytes), two sizes (16), type (4), offset (8).
    assert "overlaps" in edit(place("blk.0.attn_q.weight", 24, 0))
    assert "ends at byte" in edit(place("blk.0.attn_q.weight", 24, 2**40))
    assert "not a multiple" in edit(place("blk.0.attn_q.weight", 24, 7))
    assert "5 dimensions" in edit(place("blk.0.attn_q.weight", 0, 5, "<I"))
    assert "more than the file can hold" in edit(place("blk.0.attn_q.weight", 4, 2**31))
    assert "type 99" in edit(place("blk.0.attn_q.weight", 20, 99, "<I"))
    assert "do not divide" in edit(place("blk.0.attn_q.weight", 20, 12, "<I"))


def test_only_a_plain_file_is_read(model, tmp_path):
    (tmp_path / "link.gguf").symlink_to(model)
    os.mkfifo(tmp_path / "pipe.gguf")
    for name, words in (("link.gguf", "symbolic link"), ("pipe.gguf", "not a plain file"), (".", "not a plain file"), ("gone.gguf", "cannot be opened")):
        with pytest.raises(BundleError, match=words):
            inspect_gguf(tmp_path / name)


def test_a_file_that_shrinks_while_it_is_read_is_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "shrinking.gguf"
    path.write_bytes(model.read_bytes())
    real = os.pread

    def pread(fd, count, at):
        os.truncate(path, 1000)
        return real(fd, count, at)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(BundleError, match="became shorter"):
        inspect_gguf(path)


def test_flipped_bytes_are_refused_or_harmless(model, tmp_path):
    """Any changed header byte: refused, or the values are still within their bounds; never slow, never another error."""
    data, draw = model.read_bytes(), np.random.default_rng(5)
    header = min(one.offset for one in inspect_gguf(model).tensors)
    path, refused = tmp_path / "flipped.gguf", 0
    path.write_bytes(data)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(1500):
            places = sorted({int(at) for at in draw.integers(0, header, draw.integers(1, 4))})
            for at in places:
                os.pwrite(file.fileno(), bytes([int(draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.integers(256)]))]), at)
            try:
                info = inspect_gguf(path)
            except BundleError:
                refused += 1
            else:
                assert info.architecture in ARCHITECTURES and 0 < info.vocabulary <= 1 << 20 and 0 < info.context <= 1 << 24
                assert all(one.offset > 0 and one.offset + one.bytes <= len(data) for one in info.tensors)
            for at in places:
                os.pwrite(file.fileno(), data[at : at + 1], at)
    assert 100 < refused < 1400
    assert inspect_gguf(path).vocabulary == 282


def test_every_truncation_is_refused(model, tmp_path):
    path = tmp_path / "short.gguf"
    data = model.read_bytes()
    for length in [*range(0, 200), *range(200, len(data), 1999), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BundleError):
            inspect_gguf(path)
