"""The one decoder that we train from scratch: the Llama shape, with tensors named as Hugging Face names them.

RMSNorm before every block, rotary positions, grouped queries, SwiGLU, tied embeddings, no biases (Touvron et al. 2023,
arXiv 2302.13971). `state_dict()` of a Decoder is a `LlamaForCausalLM` checkpoint as it stands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from .attention import angles, attend, turned, visible
from .dropout import added
from .norm import Norm


@dataclass(frozen=True)
class DecoderShape:
    """The size of a decoder; `context` is the longest sequence in tokens."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    context: int
    theta: float = 10_000.0
    eps: float = 1e-5

    @property
    def parameters(self) -> int:
        """How many numbers a decoder of this shape learns."""
        head = self.width // self.heads
        attention = self.width * head * (2 * self.heads + 2 * self.kv_heads)
        return self.vocabulary * self.width + self.layers * (attention + 3 * self.width * self.hidden + 2 * self.width) + self.width


class _Attention(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head = shape.heads, shape.kv_heads, shape.width // shape.heads
        self.q_proj = nn.Linear(shape.width, shape.heads * self.head, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(shape.heads * self.head, shape.width, bias=False)

    def forward(self, h: torch.Tensor, turn: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (x.unflatten(-1, (-1, self.head)) for x in
                   F.linear(h, self._joined()).split([self.heads * self.head, self.kv_heads * self.head, self.kv_heads * self.head], -1))
        mixed = attend(turned(q, turn * self.head ** -0.5), turned(k, turn), v.transpose(1, 2), mask)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))

    def _joined(self) -> torch.Tensor:
        """The three weights as one. Rotary positions turn channels i and i + head / 2 of Hugging Face's Llama as one number: they become neighbours."""
        q, k = (weight.unflatten(0, (-1, 2, self.head // 2)).transpose(1, 2).flatten(0, 2) for weight in (self.q_proj.weight, self.k_proj.weight))
        return torch.cat([q, k, self.v_proj.weight])


class _Mlp(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class _Layer(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.mlp = _Mlp(shape)
        self.input_layernorm = Norm(shape.width, eps=shape.eps)
        self.post_attention_layernorm = Norm(shape.width, eps=shape.eps)

    def forward(self, h: torch.Tensor, turn: torch.Tensor, mask: torch.Tensor | None, dropout: float = 0.0) -> torch.Tensor:
        h = added(h, self.self_attn(self.input_layernorm(h), turn, mask), dropout)
        return added(h, self.mlp(self.post_attention_layernorm(h)), dropout)


class _Body(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers: Any = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width, eps=shape.eps)


class Decoder(nn.Module):
    """`forward(ids, segments)` gives hidden states (batch, tokens, width); `logits(h)` scores the vocabulary."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape)
        self.dropout = 0.0
        """Share of what a block adds that is left out while training."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02)

    @property
    def context(self) -> int:
        """The longest sequence in tokens."""
        return self.shape.context

    def forward(self, ids: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states of ids (batch, tokens). `segments` (batch, tokens) int keeps packed documents apart: a token sees the
        earlier tokens of its own segment only, and positions start at 0 in each. None: every row is one document."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        if segments is not None:
            positions = positions - first_of(segments)
        mask = visible(segments, ids.shape[1], ids.device)
        h = self.model.embed_tokens(ids)
        turn = angles(positions, self.shape.width // self.shape.heads, self.shape.theta)
        for layer in self.model.layers:
            h = layer(h, turn, mask, self.dropout if self.training else 0.0)
        return self.model.norm(h)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Scores (…, vocabulary) of the next token, with the tied embedding."""
        return F.linear(h, self.model.embed_tokens.weight)


def first_of(segments: torch.Tensor) -> torch.Tensor:
    """(batch, tokens): where the segment of each token begins."""
    place = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return torch.where(begins, place, 0).cummax(1).values


def hub_config(shape: DecoderShape, *, bos: int | None, eos: int, pad: int | None) -> dict[str, Any]:
    """config.json of a LlamaForCausalLM with this shape."""
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": shape.vocabulary, "hidden_size": shape.width,
            "intermediate_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads, "head_dim": shape.width // shape.heads, "max_position_embeddings": shape.context,
            "rope_theta": shape.theta, "rms_norm_eps": shape.eps, "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": bos,
            "eos_token_id": eos, "pad_token_id": pad, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32"}


def save_hub(model: Decoder, tokenizer_json: str, folder: Path, *, bos: int | None, eos: int, pad: int | None) -> None:
    """A Hugging Face folder of the decoder: config, weights and tokenizer, as `AutoModelForCausalLM` opens it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = hub_config(model.shape, bos=bos, eos=eos, pad=pad)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    named = Tokenizer.from_str(tokenizer_json)
    special = {f"{name}_token": named.id_to_token(number) for name, number in (("bos", bos), ("eos", eos), ("pad", pad)) if number is not None}
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.shape.context, "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
