"""Multinomial logistic regression on soft targets, by L-BFGS.

Minimises mean cross-entropy(target, softmax(xW + b)) + l2/2·|W|². The problem is convex, so there is no seed and no
learning rate. Features are dense (n, d) or CSR (n, d).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class LinearConfig:
    """How a linear head is fitted."""

    l2: float = 1e-5
    iterations: int = 100


@dataclass(frozen=True)
class Linear:
    """A fitted head: `weight` (d, k) and `bias` (k,), float32."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Logits (n, k) of dense features (n, d)."""
        return features @ self.weight + self.bias


@dataclass(frozen=True)
class Sparse:
    """Rows of a sparse matrix: row i holds values[starts[i]:starts[i+1]] at columns[...]; `width` columns in all."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    width: int

    def rows(self, index: np.ndarray) -> Sparse:
        """The rows at `index`, in that order."""
        lengths = np.diff(self.starts)[index]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.repeat(self.starts[:-1][index] - starts[:-1], lengths) + np.arange(starts[-1])
        return Sparse(starts, self.columns[picked], self.values[picked], self.width)

    def transposed(self) -> Sparse:
        """The same matrix with rows and columns exchanged."""
        order = np.argsort(self.columns, kind="stable")
        rows = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))[order]
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.columns, minlength=self.width))]).astype(np.int64)
        return Sparse(starts, rows.astype(np.int64), self.values[order], len(self.starts) - 1)

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        return _bag(self, dense)


def _bag(sparse: Sparse, dense: torch.Tensor) -> torch.Tensor:
    # embedding_bag is several times faster here than torch's own CSR product, and gives the same sums every time.
    return torch.nn.functional.embedding_bag(
        torch.from_numpy(sparse.columns), dense, torch.from_numpy(sparse.starts[:-1]), mode="sum",
        per_sample_weights=torch.from_numpy(sparse.values))


def fit_linear(features: np.ndarray | Sparse, targets: np.ndarray, config: LinearConfig,
               stop: Callable[[], bool] = lambda: False) -> Linear:
    """The head for `features` (n, d) and soft `targets` (n, k), rows summing to 1. `stop` ends it early, at the best so far."""
    soft = torch.from_numpy(np.ascontiguousarray(targets, np.float32))
    if isinstance(features, Sparse):
        width, back = features.width, features.transposed()
        forward, backward = (lambda w: _bag(features, w)), (lambda g: _bag(back, g))
    else:
        dense = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        width = dense.shape[1]
        forward, backward = (lambda w: dense @ w), (lambda g: dense.T @ g)
    weight = torch.zeros(width, soft.shape[1], requires_grad=True)
    bias = torch.zeros(soft.shape[1], requires_grad=True)

    def closure() -> torch.Tensor:
        with torch.no_grad():
            log_probs = torch.log_softmax(forward(weight) + bias, 1)
            gradient = (log_probs.exp() - soft) / len(soft)
            weight.grad = backward(gradient) + config.l2 * weight
            bias.grad = gradient.sum(0)
            return -(log_probs * soft).sum() / len(soft) + 0.5 * config.l2 * (weight * weight).sum()

    done = 0
    # max_eval's default, 25, would end a chunk inside a line search and look like convergence.
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=20, max_eval=1000, history_size=8, line_search_fn="strong_wolfe",
                                  tolerance_grad=1e-7, tolerance_change=1e-9)
    while done < config.iterations and not stop():
        before = optimiser.state[weight].get("n_iter", 0)
        optimiser.step(closure)
        steps = optimiser.state[weight]["n_iter"] - before
        done += steps
        if steps < 20:
            break
    return Linear(weight.detach().numpy().copy(), bias.detach().numpy().copy())
