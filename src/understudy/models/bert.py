"""The one transformer shape we train, shrink and export: a BERT encoder with a mean-pooled classification head.

Post-norm layers with GELU, learned positions; the token-type row 0 is folded into the positions, which is exact.
Devlin et al. 2018 (arXiv 1810.04805); mean pooling and optional L2 norm as in Sentence-BERT (arXiv 1908.10084).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The size of an encoder."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int
    eps: float = 1e-12
    normalise: bool = False
    """Whether the pooled vector is scaled to length 1 before the head, as sentence encoders do."""
    tap: int = 0
    """A lower layer whose pooled vector goes to the head too, 0 for none: what it knows, the last layer has half forgotten."""


class Layer(nn.Module):
    """One post-norm transformer layer over (batch, tokens, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.up = nn.Linear(shape.width, shape.hidden)
        self.down = nn.Linear(shape.hidden, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps)

    def forward(self, h: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = h.shape
        q, k, v = self.qkv(h).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        h = self.norm1(h + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width)))
        return self.norm2(h + self.down(F.gelu(self.up(h))))


class Wide(nn.Module):
    """A hidden layer beside the linear head, on the same pooled vectors (batch, inputs) -> (batch, classes)."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, classes)
        self.dropout = 0.4

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.down(F.dropout(F.gelu(self.up(pooled)), self.dropout, self.training))


class Classifier(nn.Module):
    """Encoder and head. `forward(ids, mask)`: (batch, tokens) int64 and bool -> logits (batch, classes)."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)
        self.layers: Any = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.width * (2 if shape.tap else 1), classes)
        self.wide: Wide | None = None
        self.dropout = 0.1

    def states(self, ids: torch.Tensor, mask: torch.Tensor, upto: int) -> torch.Tensor:
        """Hidden states (batch, tokens, width) after the embeddings and the first `upto` layers."""
        h = self.norm(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        return self.continue_states(h, mask, 0, upto)

    def continue_states(self, h: torch.Tensor, mask: torch.Tensor, first: int, upto: int) -> torch.Tensor:
        """Runs layers first..upto-1 on hidden states."""
        bias = torch.zeros(mask.shape, dtype=h.dtype).masked_fill(~mask, -1e4)[:, None, None, :]
        for layer in self.layers[first:upto]:
            h = layer(h, bias)
        return h

    def pooled(self, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of each text, (batch, width)."""
        weight = mask[..., None].to(h.dtype)
        mean = (h * weight).sum(1) / weight.sum(1)
        return F.normalize(mean, dim=-1) if self.shape.normalise else mean

    def features(self, h: torch.Tensor, mask: torch.Tensor, first: int) -> torch.Tensor:
        """What the head sees of hidden states after `first` layers (at most `tap`): pooled vectors, (batch, head width)."""
        tap = self.shape.tap
        if not tap:
            return self.pooled(self.continue_states(h, mask, first, len(self.layers)), mask)
        middle = self.continue_states(h, mask, first, tap)
        last = self.continue_states(middle, mask, tap, len(self.layers))
        return torch.cat([self.pooled(middle, mask), self.pooled(last, mask)], 1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits of pooled vectors."""
        logits = self.head(F.dropout(pooled, self.dropout, self.training))
        return logits if self.wide is None else logits + self.wide(pooled)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(self.states(ids, mask, 0), mask, 0))


def parameters_of(model: nn.Module) -> int:
    """How many numbers the model has learned."""
    return sum(p.numel() for p in model.parameters())


def load_bert(state: dict[str, torch.Tensor], config, classes: int, *, normalise: bool, tap: int = 0) -> Classifier:
    """A Classifier with the weights of a Hugging Face BERT or DistilBERT encoder (`state` without prefix); a fresh head.

    Raises KeyError where the state lacks a tensor of the family.
    """
    distil = config.model_type == "distilbert"
    shape = Shape(vocabulary=config.vocab_size, width=config.dim if distil else config.hidden_size,
                  layers=config.n_layers if distil else config.num_hidden_layers,
                  heads=config.n_heads if distil else config.num_attention_heads,
                  hidden=config.hidden_dim if distil else config.intermediate_size,
                  positions=config.max_position_embeddings, eps=1e-12 if distil else config.layer_norm_eps, normalise=normalise, tap=tap)
    model = Classifier(shape, classes)
    names = _DISTILBERT if distil else _BERT
    with torch.no_grad():
        model.tokens.weight.copy_(state["embeddings.word_embeddings.weight"])
        positions = state["embeddings.position_embeddings.weight"]
        kinds = state.get("embeddings.token_type_embeddings.weight")
        model.positions.weight.copy_(positions if kinds is None else positions + kinds[0])
        _copy(model.norm, state, "embeddings.LayerNorm")
        for index, layer in enumerate(model.layers):
            at = {part: names[part].format(index) for part in names}
            for kind in ("weight", "bias"):
                parts = [state[f"{at[part]}.{kind}"] for part in ("q", "k", "v")]
                getattr(layer.qkv, kind).copy_(torch.cat(parts))
            for part in ("out", "norm1", "up", "down", "norm2"):
                _copy(getattr(layer, part), state, at[part])
    return model


def _copy(module: Any, state: dict[str, torch.Tensor], name: str) -> None:
    module.weight.copy_(state[f"{name}.weight"])
    module.bias.copy_(state[f"{name}.bias"])


_BERT = {"q": "encoder.layer.{}.attention.self.query", "k": "encoder.layer.{}.attention.self.key",
         "v": "encoder.layer.{}.attention.self.value", "out": "encoder.layer.{}.attention.output.dense",
         "norm1": "encoder.layer.{}.attention.output.LayerNorm", "up": "encoder.layer.{}.intermediate.dense",
         "down": "encoder.layer.{}.output.dense", "norm2": "encoder.layer.{}.output.LayerNorm"}
_DISTILBERT = {"q": "transformer.layer.{}.attention.q_lin", "k": "transformer.layer.{}.attention.k_lin",
               "v": "transformer.layer.{}.attention.v_lin", "out": "transformer.layer.{}.attention.out_lin",
               "norm1": "transformer.layer.{}.sa_layer_norm", "up": "transformer.layer.{}.ffn.lin1",
               "down": "transformer.layer.{}.ffn.lin2", "norm2": "transformer.layer.{}.output_layer_norm"}
