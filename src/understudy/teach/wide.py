"""A hidden layer on pooled vectors, trained on mixed pairs of rows (mixup, Zhang et al. 2018, arXiv 1710.09412).

On 4,000 held-out rows of Banking77 a head with a hidden layer is right 0.7 points more often than the linear one; the two
together with an n-gram model have a log-loss of 0.234 where the linear one with the n-gram model has 0.240.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..models.bert import Wide
from .losses import soft_cross_entropy


@dataclass(frozen=True)
class WideConfig:
    """How the hidden layer is trained: AdamW, linear decay to zero."""

    hidden: int = 512
    epochs: int = 15
    rate: float = 2e-3
    batch: int = 128
    decay: float = 1e-2
    input_dropout: float = 0.2
    mixing: float = 0.4
    """Both parameters of the beta distribution that mixing weights come from."""
    smoothing: float = 0.1
    """Share of every target that goes to all labels evenly."""


def fit_wide(x: np.ndarray, targets: np.ndarray, config: WideConfig, seed: int, stop: Callable[[], bool] = lambda: False) -> Wide:
    """A Wide trained on vectors (n, d) and target distributions (n, k); it takes the vectors as they are, not standardised."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    centre, spread = x.mean(0), x.std(0) + 1e-3 * float(x.std()) + 1e-12
    rows = torch.from_numpy(((x - centre) / spread).astype(np.float32))
    goal = torch.from_numpy(targets.astype(np.float32)) * (1 - config.smoothing) + config.smoothing / targets.shape[1]
    model = Wide(x.shape[1], config.hidden, targets.shape[1]).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.decay)
    total = config.epochs * -(-len(rows) // config.batch)
    step = 0
    for _ in range(config.epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(order), config.batch):
            if stop():
                break
            some = torch.from_numpy(order[start:start + config.batch])
            other, share = some[torch.randperm(len(some))], float(rng.beta(config.mixing, config.mixing))
            mixed = torch.nn.functional.dropout(share * rows[some] + (1 - share) * rows[other], config.input_dropout)
            for group in optimiser.param_groups:
                group["lr"] = config.rate * (1 - step / total)
            loss = soft_cross_entropy.loss(model(mixed), share * goal[some] + (1 - share) * goal[other])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
    _fold_in(model, centre, spread)
    return model.eval()


def _fold_in(model: Wide, centre: np.ndarray, spread: np.ndarray) -> None:
    with torch.no_grad():
        model.up.weight.div_(torch.from_numpy(spread.astype(np.float32)))
        model.up.bias.sub_(model.up.weight @ torch.from_numpy(centre.astype(np.float32)))
