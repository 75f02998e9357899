"""A linear score over the members of lists, so that its softmax within each list comes close to given shares, by L-BFGS.

Minimises Σ over lists of cross-entropy(shares, softmax of (x·w + Σ cue weights)) / lists + l2/2·|w|² + cue_l2/2·|v|² (the
listwise loss of Cao et al. 2007, top one). Convex: no seed, no learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .linear import Sparse


@dataclass(frozen=True)
class ListwiseConfig:
    """How the score is fitted."""

    l2: float = 1e-3
    cue_l2: float = 1e-3
    iterations: int = 200


@dataclass(frozen=True)
class Listwise:
    """`weight` (d,) of the dense features and `cues` (buckets,), both float32."""

    weight: np.ndarray
    cues: np.ndarray

    def __call__(self, dense: np.ndarray, cues: Sparse | None = None) -> np.ndarray:
        """Scores (n,)."""
        said = dense @ self.weight
        return said if cues is None else said + (cues @ torch.from_numpy(self.cues[:, None])).numpy()[:, 0]


def list_softmax(scores: torch.Tensor, member: torch.Tensor, lists: int) -> torch.Tensor:
    """log softmax within each list; `member` (n,) int64 says which list a row belongs to."""
    top = torch.full((lists,), -torch.inf).scatter_reduce(0, member, scores.detach(), "amax")
    shifted = scores - top[member]
    total = torch.zeros(lists).index_add(0, member, shifted.exp())
    return shifted - total.log()[member]


def fit_listwise(dense: np.ndarray, cues: Sparse | None, member: np.ndarray, shares: np.ndarray, config: ListwiseConfig) -> Listwise:
    """The score for `dense` (n, d) and `cues` (n, buckets), where row i belongs to list `member[i]` and should get `shares[i]` of it."""
    x = torch.from_numpy(np.ascontiguousarray(dense, np.float32))
    groups, aim = torch.from_numpy(np.asarray(member, np.int64)), torch.from_numpy(np.asarray(shares, np.float32))
    lists = int(groups.max()) + 1 if len(groups) else 0
    back = cues.transposed() if cues is not None else None
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bag = torch.zeros(cues.width if cues is not None else 0, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bag], max_iter=config.iterations, max_eval=4 * config.iterations, history_size=10,
                                  line_search_fn="strong_wolfe", tolerance_grad=1e-6, tolerance_change=1e-9)

    def closure() -> torch.Tensor:
        with torch.no_grad():
            scores = x @ weight
            if cues is not None:
                scores = scores + (cues @ bag[:, None])[:, 0]
            logs = list_softmax(scores, groups, lists)
            mass = torch.zeros(lists).index_add(0, groups, aim)
            slope = (logs.exp() * mass[groups] - aim) / lists
            weight.grad = x.T @ slope + config.l2 * weight
            bag.grad = torch.zeros_like(bag) if back is None else (back @ slope[:, None])[:, 0] + config.cue_l2 * bag
            return -(logs * aim).sum() / lists + 0.5 * (config.l2 * weight.square().sum() + config.cue_l2 * bag.square().sum())

    if lists:
        optimiser.step(closure)
    return Listwise(weight.detach().numpy().copy(), bag.detach().numpy().copy())
