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
_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def unpack(packed: Path, folder: Path) -> None:
    """Writes `folder`, weights in float32 as precise as the GGUF holds them. Raises UsageError for a model of another shape."""
    reader = open_gguf(packed)
    from gguf import dequantize

    told = {name: field.contents() for name, field in reader.fields.items()}
    if told.get("general.architecture") != "llama" or told.get("tokenizer.ggml.model") != "gpt2" or told.get("tokenizer.ggml.pre") != "gpt-2":
        raise UsageError(f"{packed} is not of the shape that Understudy trains, and only that is written back", hint="its Hugging Face original is the better source")
    shape = _shape(told)
    import torch

    model = Decoder(shape)
    state = {_name(tensor.name): torch.from_numpy(_plain(dequantize(tensor.data, tensor.tensor_type), tensor.name, shape)) for tensor in reader.tensors}
    model.load_state_dict(state)
    ids = {mark: int(told[f"tokenizer.ggml.{name}_token_id"]) for mark, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    special = {number for number, kind in enumerate(told["tokenizer.ggml.token_type"]) if kind == 3}
    save_hub(model, rebuilt(told["tokenizer.ggml.tokens"], told["tokenizer.ggml.merges"], special), folder, **ids)


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
