"""A random Llama-type GGUF made on the spot, tiny unless asked otherwise: two layers, width 64, a byte-level vocabulary of 300 tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ing", "the", "and", "ion", "tion", "is", "it", "or", "es", "al"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TINY = (64, 2, 4, 128)
"""Width, layers, heads and width of the feed-forward part."""


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


def write_tiny_gguf(path: Path, *, seed: int = 0, context: int = 256, shape: tuple[int, int, int, int] = TINY, q8: bool = False,
                    endless: bool = False) -> Path:
    """Writes the model to `path`; with `q8` its matrices in Q8_0, and one that is `endless` never says that it is done."""
    import gguf

    width, layers, heads, hidden = shape
    tokens, kinds, merges = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
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

    def tensor(name: str, *sizes: int, scale: float = 0.15) -> None:
        data = np.ones(sizes, np.float32) if len(sizes) == 1 else draw.normal(0, scale, sizes).astype(np.float32)
        if endless and name == "output.weight":
            data[-len(CONTROL):] = 0
        if q8 and len(sizes) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, data)

    tensor("token_embd.weight", len(tokens), width, scale=1.0)
    tensor("output_norm.weight", width)
    tensor("output.weight", len(tokens), width, scale=0.5)
    for layer in range(layers):
        tensor(f"blk.{layer}.attn_norm.weight", width)
        tensor(f"blk.{layer}.ffn_norm.weight", width)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{part}.weight", width, width)
        tensor(f"blk.{layer}.ffn_gate.weight", hidden, width)
        tensor(f"blk.{layer}.ffn_up.weight", hidden, width)
        tensor(f"blk.{layer}.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
