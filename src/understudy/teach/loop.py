"""The one training loop: any torch model, any loss over row numbers, a schedule that ends in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class LoopConfig:
    """How a network is trained: AdamW, linear warm-up, cosine to zero."""

    epochs: float = 3
    rate: float = 1e-3
    head_rate: float = 1e-3
    batch: int = 32
    warm_up: float = 0.06
    decay: float = 0.01
    clip: float = 1.0
    seconds: float | None = None
    """Wall clock the loop may take; the schedule is shortened after the first steps show how fast they are."""


@dataclass(frozen=True)
class LoopReport:
    """What the loop did: optimiser steps, epochs seen, seconds, mean loss of the last tenth."""

    steps: int
    epochs: float
    seconds: float
    loss: float


def train(model: nn.Module, head: Sequence[nn.Parameter], loss_of: Callable[[np.ndarray], torch.Tensor], lengths: np.ndarray,
          config: LoopConfig, seed: int, stop: Callable[[], bool] = lambda: False,
          progress: Callable[[float, float], None] = lambda share, loss: None) -> LoopReport:
    """Trains every parameter of `model` that requires a gradient; those in `head` at `head_rate`.

    `loss_of(rows)` gives the mean loss over row numbers 0..n-1; `lengths` (n,) groups rows that pad well together.
    `stop` ends the loop early, at the weights reached.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    heads = {id(parameter) for parameter in head}
    body = [p for p in model.parameters() if p.requires_grad and id(p) not in heads]
    optimiser = torch.optim.AdamW([{"params": body}, {"params": list(head)}], weight_decay=config.decay)
    per_epoch = -(-len(lengths) // config.batch)
    total = max(1, round(config.epochs * per_epoch))
    model.train()
    started, step, losses = monotonic(), 0, []
    while step < total and not stop():
        for rows in _epoch(rng, lengths, config.batch):
            if step >= total or stop():
                break
            _set_rates(optimiser, config, step, total)
            loss = loss_of(rows)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*body, *head], config.clip)
            optimiser.step()
            losses.append(float(loss.detach()))
            step += 1
            if step == 20 and config.seconds is not None:
                total = max(step, min(total, int(step * config.seconds / max(1e-6, monotonic() - started))))
            progress(step / total, losses[-1])
    model.eval()
    last = losses[-max(1, len(losses) // 10):]
    return LoopReport(step, step / per_epoch, monotonic() - started, float(np.mean(last)) if last else float("nan"))


def _epoch(rng: np.random.Generator, lengths: np.ndarray, batch: int) -> list[np.ndarray]:
    """Every row once, in batches of similar length and in random order."""
    order = rng.permutation(len(lengths))
    chunks = []
    for start in range(0, len(order), batch * 16):
        pool = order[start:start + batch * 16]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        chunks += [pool[i:i + batch] for i in range(0, len(pool), batch)]
    return [chunks[i] for i in rng.permutation(len(chunks))]


def _set_rates(optimiser: torch.optim.Optimizer, config: LoopConfig, step: int, total: int) -> None:
    warm = max(1.0, config.warm_up * total)
    share = min(1.0, (step + 1) / warm) * 0.5 * (1 + np.cos(np.pi * min(1.0, step / total)))
    optimiser.param_groups[0]["lr"] = config.rate * share
    optimiser.param_groups[1]["lr"] = config.head_rate * share
