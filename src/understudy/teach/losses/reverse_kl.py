"""Reverse Kullback–Leibler divergence KL(q ‖ p) = Σ q·(log q − log p), student q, teacher p: the student avoids what the teacher does not say.

Needs a Dense or Sparse signal; of a Sparse one everything outside the k pieces is one outcome. The sibling of kl for a student
too small to cover everything. Gu et al. 2023 (arXiv 2306.08543), here on the data's own text.
"""

from __future__ import annotations

import torch

from ..distributions import Signal


def loss(logits: torch.Tensor, said: Signal) -> torch.Tensor:
    """Mean over the rows; logits (n, pieces or more), nats."""
    p, q = said.against(logits)
    return (q.exp() * (q - p)).sum(1).mean()
