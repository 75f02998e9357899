"""Cosine distance between what the student pools and what the teacher pooled: 1 − cos(s, t).

Needs cached teacher vectors and a projection of the student to their width. The representation stage of stage-wise
distillation (XtremeDistil, arXiv 2004.05686), with the direction instead of the squared error.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean over the batch; both (batch, width)."""
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()
