"""The decoders that we train ourselves as GGUF: a Llama shape with a byte-level vocabulary, as llama.cpp reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import missing_extra
from ..models.decoder import Decoder

_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
          "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
          "post_attention_layernorm": "ffn_norm"}
_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7}


def write_own(model: Decoder, tokenizer_json: str, out: Path, *, precision: str, bos: int, eos: int, pad: int, name: str = "understudy") -> None:
    """Writes `out` whole or not at all. `precision`: f32, f16, q8_0 or q4_0; norms stay in float32."""
    try:
        import gguf
    except ImportError:
        raise missing_extra("writing GGUF files", "generate") from None
    half = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        writer = gguf.GGUFWriter(half, "llama")
        _metadata(writer, model, precision, name)
        _vocabulary(writer, json.loads(tokenizer_json), bos, eos, pad)
        for key, tensor in model.state_dict().items():
            _tensor(gguf, writer, model, key, tensor.detach().numpy().astype(np.float32), precision)
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
            write()
        os.replace(half, out)
    finally:
        half.unlink(missing_ok=True)


def _metadata(writer: Any, model: Decoder, precision: str, name: str) -> None:
    shape = model.shape
    writer.add_name(name)
    writer.add_file_type(_TYPES[precision])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.theta)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_vocab_size(shape.vocabulary)


def _vocabulary(writer: Any, tokenizer: dict[str, Any], bos: int, eos: int, pad: int) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    control = {added["id"] for added in tokenizer["added_tokens"] if added["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types([3 if number in control else 1 for number in range(len(pieces))])
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_pad_token_id(pad)
    writer.add_add_bos_token(True)


def _tensor(gguf: Any, writer: Any, model: Decoder, key: str, value: np.ndarray, precision: str) -> None:
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if key in fixed:
        name = fixed[key]
    else:
        _, _, layer, *rest = key.split(".")
        part = ".".join(rest[:-1])
        name = f"blk.{layer}.{_NAMES[part]}.weight"
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            value = _interleaved(value, model.shape.heads if "q_proj" in part else model.shape.kv_heads)
    if value.ndim == 1 or precision == "f32":
        writer.add_tensor(name, value)
        return
    kind = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}[precision]
    # A table of four-bit embeddings costs more quality than the bytes it saves.
    kind = gguf.GGMLQuantizationType.Q8_0 if name == "token_embd.weight" and precision == "q4_0" else kind
    writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows from halves side by side (Hugging Face) to neighbouring pairs (llama.cpp's llama)."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
