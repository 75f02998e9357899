"""From a bundle's GGUF back to a Hugging Face folder: the Llama shape with the byte-level vocabulary that we train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..models.decoder import Decoder, DecoderShape, save_hub
from ..models.pieces import rebuilt
from .gguf.quantise import open_gguf

_PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
          "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
          "ffn_norm": "post_attention_layernorm"}
_NORMAL, _CONTROL = 1, 3
"""Token types of the GGUF format."""
_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def unpack(packed: Path, folder: Path) -> None:
    """Writes `folder`, weights in float32 as precise as the GGUF holds them. Raises UsageError for a model of another shape."""
    reader = open_gguf(packed)
    from gguf import dequantize

    told = {name: field.contents() for name, field in reader.fields.items()}
    if not _ours(told, {tensor.name for tensor in reader.tensors}):
        raise UsageError(f"{packed} is not of the shape that Understudy trains, and only that is written back", hint="its Hugging Face original is the better source")
    shape = _shape(told)
    import torch

    model = Decoder(shape)
    state = {_name(tensor.name): torch.from_numpy(_plain(dequantize(tensor.data, tensor.tensor_type), tensor.name, shape)) for tensor in reader.tensors}
    model.load_state_dict(state)
    begin, end, pad = told.get("tokenizer.ggml.bos_token_id"), told["tokenizer.ggml.eos_token_id"], told.get("tokenizer.ggml.padding_token_id")
    special = {number for number, kind in enumerate(told["tokenizer.ggml.token_type"]) if kind == _CONTROL}
    save_hub(model, rebuilt(told["tokenizer.ggml.tokens"], told["tokenizer.ggml.merges"], special), folder, bos=begin, eos=int(end), pad=pad)


def _ours(told: dict[str, Any], tensors: set[str]) -> bool:
    """Whether a GGUF is a Llama shape with tied embeddings and plain rope, and byte-level pieces split as GPT-2's."""
    said = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": False}
    if any(told.get(key) != value for key, value in said.items()) or "llama.rope.scaling.type" in told or "tokenizer.ggml.eos_token_id" not in told:
        return False
    wanted = {*_TOP, *(f"blk.{layer}.{part}.weight" for layer in range(int(told["llama.block_count"])) for part in _PARTS)}
    head = told.get("llama.attention.key_length", 0) * told["llama.attention.head_count"]
    return tensors == wanted and head in (0, told["llama.embedding_length"]) and set(told["tokenizer.ggml.token_type"]) <= {_NORMAL, _CONTROL}


def _shape(told: dict[str, Any]) -> DecoderShape:
    def size(key: str) -> int:
        return int(told[f"llama.{key}"])

    return DecoderShape(len(told["tokenizer.ggml.tokens"]), size("embedding_length"), size("block_count"), size("attention.head_count"),
                        size("attention.head_count_kv"), size("feed_forward_length"), size("context_length"),
                        float(told["llama.rope.freq_base"]), float(told["llama.attention.layer_norm_rms_epsilon"]))


def _name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.weight"


def _plain(value: np.ndarray, name: str, shape: DecoderShape) -> np.ndarray:
    """float32, and rows of queries and keys from neighbouring pairs (llama.cpp) to halves side by side (Hugging Face)."""
    out = np.array(value, np.float32)
    for part, heads in ((".attn_q.", shape.heads), (".attn_k.", shape.kv_heads)):
        if part in name:
            out = np.ascontiguousarray(out.reshape(heads, -1, 2, out.shape[1]).swapaxes(1, 2).reshape(out.shape))
    return out
