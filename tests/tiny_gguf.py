"""A tiny random Llama-type GGUF made on the spot: two layers, width 64, a byte-level vocabulary of 300 tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ing", "the", "and", "ion", "tion", "is", "it", "or", "es", "al"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 128


def byte_letters() -> list[str]:
    """The printable letter that stands for each of the 256 bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def vocabulary() -> tuple[list[str], list[int], list[str]]:
    """Tokens, their kinds (1 normal, 3 control) and merges."""
    tokens, merges = byte_letters(), []
    known = set(tokens)

    def add(word: str) -> None:
        if word in known:
            return
        left, right = word[:-1], word[-1]
        add(left)
        tokens.append(word)
        known.add(word)
        merges.append(f"{left} {right}")

    for word in WORDS:
        add(word)
    tokens += CONTROL
    return tokens, [3 if token in CONTROL else 1 for token in tokens], merges


def write_tiny_gguf(path: Path, *, seed: int = 0, context: int = 256) -> Path:
    """Writes the model to `path`."""
    import gguf

    tokens, kinds, merges = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    draw = np.random.default_rng(seed)

    def tensor(name: str, *shape: int, scale: float = 0.15) -> None:
        data = np.ones(shape, np.float32) if len(shape) == 1 else draw.normal(0, scale, shape).astype(np.float32)
        writer.add_tensor(name, data)

    tensor("token_embd.weight", len(tokens), WIDTH, scale=1.0)
    tensor("output_norm.weight", WIDTH)
    tensor("output.weight", len(tokens), WIDTH, scale=0.5)
    for layer in range(LAYERS):
        tensor(f"blk.{layer}.attn_norm.weight", WIDTH)
        tensor(f"blk.{layer}.ffn_norm.weight", WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        tensor(f"blk.{layer}.ffn_gate.weight", HIDDEN, WIDTH)
        tensor(f"blk.{layer}.ffn_up.weight", HIDDEN, WIDTH)
        tensor(f"blk.{layer}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
