"""Soft cross-entropy: −Σ p·log softmax(z). Equals KL(p ‖ q) up to the entropy of p, which has no gradient.

Needs soft labels p (gold and teacher mixed beforehand). Hinton et al. 2015 (arXiv 1503.02531), temperature folded into p.
"""

from __future__ import annotations

import torch


def loss(logits: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """Mean over the batch; both (batch, k), rows of `soft` summing to 1."""
    return -(torch.log_softmax(logits, 1) * soft).sum(1).mean()
