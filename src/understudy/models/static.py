"""The static student: one trained vector per token, averaged; started from what the teacher says of each token alone.

As in Model2Vec (distil by running the vocabulary through the encoder, then PCA), but with the task's own vocabulary,
soft labels, and the table trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Static(nn.Module):
    """`forward(ids, offsets)`: flat token ids and row starts -> logits (rows, classes)."""

    def __init__(self, vectors: np.ndarray, classes: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(vectors.copy()))
        self.head = nn.Linear(vectors.shape[1], classes)

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.embedding_bag(ids, self.table, offsets, mode="mean"))


def principal(vectors: np.ndarray, counts: np.ndarray, width: int) -> np.ndarray:
    """The vectors (V, w) on their `width` main directions, rarer tokens longer (smooth inverse frequency), (V, width) float32."""
    centred = vectors - np.average(vectors, axis=0, weights=counts + 1)
    _, turn = np.linalg.eigh(centred.T @ centred)
    turned = centred @ turn[:, ::-1][:, :width]
    share = (counts + 1) / (counts + 1).sum()
    weighted = turned * (1e-3 / (1e-3 + share))[:, None]
    return (weighted / weighted.std()).astype(np.float32)


def runtime_tensors(model: Static) -> dict[str, np.ndarray]:
    """The tensors of the rung: int8 rows with a scale each, float head."""
    table = model.table.detach().numpy()
    scale = (np.maximum(np.abs(table).max(1), 1e-8) / 127).astype(np.float32)
    return {"embeddings": np.clip(np.rint(table / scale[:, None]), -127, 127).astype(np.int8), "scale": scale,
            "weight": np.ascontiguousarray(model.head.weight.detach().numpy().T), "bias": model.head.bias.detach().numpy().copy()}
