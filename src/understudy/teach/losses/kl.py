"""Forward Kullback–Leibler divergence KL(p ‖ q) = Σ p·(log p − log q), teacher p, student q: the student covers all that the teacher says.

Needs a Dense or Sparse signal. Differs from soft_cross_entropy by the entropy of p, so that 0 means equal. Hinton et al. 2015
(arXiv 1503.02531).
"""

from __future__ import annotations

import torch

from ..distributions import Signal


def loss(logits: torch.Tensor, said: Signal) -> torch.Tensor:
    """Mean over the rows; logits (n, pieces or more), nats."""
    p, q = said.against(logits)
    return (p.exp() * (p - q)).sum(1).mean()
