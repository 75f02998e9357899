"""A transformer of at most about a million parameters, started from a teacher of the BERT family.

The teacher's token embeddings, trimmed to the task's pieces, are turned onto their principal directions; two of its
layers are read and written through the same rotation, keeping the heads and hidden units with the largest weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from .bert import Classifier, Layer, Shape


@dataclass(frozen=True)
class TinyConfig:
    """The size of the small transformer."""

    width: int = 128
    layers: int = 2
    hidden: int = 384
    positions: int = 64
    most_parameters: int = 1_000_000


def fitted(config: TinyConfig, teacher: Shape) -> TinyConfig:
    """The size that can be cut out of a teacher: whole heads of it, and nothing wider, deeper or longer than it is."""
    head = teacher.width // teacher.heads
    return replace(config, width=head * max(1, min(teacher.heads, config.width // head)), layers=min(config.layers, teacher.layers),
                   hidden=min(config.hidden, teacher.hidden), positions=min(config.positions, teacher.positions))


def most_pieces(config: TinyConfig, classes: int) -> int:
    """How many vocabulary rows fit beside the layers and the head."""
    layer = config.width * (4 * config.width + 2 * config.hidden + 9) + config.hidden
    fixed = config.layers * layer + (config.positions + 2) * config.width + classes * (config.width + 1)
    return max(0, (config.most_parameters - fixed) // config.width)


def start_tiny(teacher: Classifier, keep: np.ndarray, counts: np.ndarray, classes: int, config: TinyConfig) -> Classifier:
    """The student before training. `keep` (V,) are the teacher's ids of its vocabulary, `counts` (V,) how often each occurs;
    `config` is `fitted` to the teacher."""
    heads_of = teacher.shape.width // teacher.shape.heads
    shape = Shape(len(keep), config.width, config.layers, config.width // heads_of, config.hidden, config.positions, teacher.shape.eps)
    student = Classifier(shape, classes)
    with torch.no_grad():
        table = teacher.tokens.weight[torch.from_numpy(keep)]
        turn = _principal(table, torch.from_numpy(counts).float(), config.width)
        student.tokens.weight.copy_(table @ turn)
        student.positions.weight.copy_(teacher.positions.weight[: config.positions] @ turn)
        picks = np.linspace(0, len(teacher.layers) - 1, config.layers).round().astype(int)
        for layer, pick in zip(student.layers, picks, strict=True):
            _start_layer(layer, teacher.layers[pick], turn, heads_of)
    return student


def _principal(table: torch.Tensor, counts: torch.Tensor, width: int) -> torch.Tensor:
    """Orthonormal directions (teacher width, width) along which the used embeddings vary most, weighted by frequency."""
    weight = (counts + 1).sqrt()
    centred = (table - (table * weight[:, None]).sum(0) / weight.sum()) * weight[:, None].sqrt()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors[:, -width:].flip(1).contiguous()


def _start_layer(layer: Layer, source: Layer, turn: torch.Tensor, head: int) -> None:
    """Copies a layer through the rotation; norms shrink by √(width ratio), so what is read is scaled up and what is written down."""
    wide, narrow = turn.shape
    up = (wide / narrow) ** 0.5
    q, k, v = source.qkv.weight.view(3, -1, head, wide)
    strength = q.square().sum((1, 2)) * k.square().sum((1, 2)) + v.square().sum((1, 2)) * source.out.weight.view(wide, -1, head).square().sum((0, 2))
    heads = strength.topk(layer.heads).indices.sort().values
    rows = (heads[:, None] * head + torch.arange(head)).flatten()
    layer.qkv.weight.copy_(torch.cat([part[heads].reshape(-1, wide) @ turn * up for part in (q, k, v)]))
    layer.qkv.bias.copy_(source.qkv.bias.view(3, -1)[:, rows].flatten())
    layer.out.weight.copy_(turn.T @ source.out.weight[:, rows] / up)
    layer.out.bias.copy_(source.out.bias @ turn / up)
    units = (source.up.weight.norm(dim=1) * source.down.weight.norm(dim=0)).topk(layer.up.out_features).indices.sort().values
    layer.up.weight.copy_(source.up.weight[units] @ turn * up)
    layer.up.bias.copy_(source.up.bias[units])
    layer.down.weight.copy_(turn.T @ source.down.weight[:, units] / up)
    layer.down.bias.copy_(source.down.bias @ turn / up)
