"""Training a decoder on token sequences: a schedule that ends with the time budget, and a state that survives kill -9.

Matrices inside the layers are trained by Muon (Jordan et al. 2024; scaled to AdamW's step as in arXiv 2502.16982), the embedding
and the norms by AdamW. The rate rises, stays, and falls to zero over the last part of the run.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch.nn import functional as F

from ..models.based import Based
from ..models.decoder import Decoder
from .device import device, halves, moved
from .distil import Distil
from .losses import next_piece
from .sequences import Batch, Sequences, count_batches, epoch

Model = Decoder | Based
_ROWS, _FULL = 8192, 256
"""Hidden states scored against the vocabulary at once: bounds the memory of the logits."""


@dataclass(frozen=True)
class LanguageConfig:
    """How a decoder is trained. `seconds` ends the run early; `epochs` ends it in any case."""

    epochs: float = 10.0
    seconds: float | None = None
    tokens: int = 4096
    """Tokens in a batch."""
    rate: float = 2.5e-3
    """Of the matrices inside the layers."""
    muon: bool = True
    """Whether those are trained by Muon; adapters are trained by AdamW, whose steps suit low ranks."""
    embedding_rate: float = 2.5e-3
    decay: float = 0.05
    warm_up: float = 0.02
    cool_down: float = 0.5
    ending: float = 0.75
    """Share of the run from which on it learns what it is to end with, where there is such a thing."""
    clip: float = 1.0
    dropout: float = 0.0
    smoothing: float = 0.0
    save_every: float = 60.0
    """Seconds between saved states."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: share done 0–1, steps, mean loss in nats per predicted token since the last report, tokens per second,
    seconds left."""

    share: float
    step: int
    loss: float
    rate: float
    left: float


@dataclass
class _State:
    step: int = 0
    epoch: int = 0
    position: int = 0
    elapsed: float = 0.0
    ending: bool = False

    def ends(self) -> bool:
        """Begins an epoch over what the run ends with, unless that has begun already; whether it did."""
        begins = not self.ending
        if begins:
            self.ending, self.epoch, self.position = True, self.epoch + 1, 0
        return begins


def train_language(model: Model, sequences: Sequences, config: LanguageConfig, seed: int, *, state: Path | None = None,
                   key: str = "", stop: Callable[[], bool] = lambda: False, distil: Distil | None = None, ending: Sequences | None = None,
                   progress: Callable[[Progress], None] = lambda now: None, note: Callable[[str], None] = lambda text: None) -> Progress:
    """Trains `model` in place. `state` is a file that a second call with the same `key` goes on from, to the same losses. With `distil` it
    learns what that teacher says beside the text itself; `ending` is what the run ends with (of `sequences` the part that matters).

    `note` hears where an earlier run is gone on with. A state that cannot be saved (a full disk) does not end the run: `note` hears of that,
    too, and no more saving is tried.
    """
    model.to(device())
    optimisers = _optimisers(model, config)
    now = _begun(state, key, model, optimisers, note)
    model.dropout = config.dropout
    pack = isinstance(model, Decoder) and (distil is None or distil.teacher.packs)
    total = max(1, round(config.epochs * count_batches(sequences, config.tokens, model.context, np.random.default_rng([seed, 0]), pack=pack)))
    began, before, saved = monotonic(), now.elapsed, monotonic()
    window: deque[tuple[float, int, float]] = deque(maxlen=50)
    last = Progress(0.0, now.step, float("nan"), 0.0, 0.0)
    model.train()
    done = now.step >= total
    while not done:
        for batch in epoch(ending if ending and now.ending else sequences, config.tokens, model.context, np.random.default_rng([seed, now.epoch]), pack=pack, first=now.position):
            now.elapsed = before + monotonic() - began
            share = _share(now, total, config)
            done = share >= 1.0 or stop()
            if done:
                break
            if ending and share >= config.ending and now.ends():
                break
            torch.manual_seed(seed * 1_000_003 + now.step)
            window.append((_step(model, moved(batch), optimisers, config, share, distil), batch.tokens, monotonic()))
            now.step += 1
            now.position += 1
            if now.step % 10 == 0:
                last = _report(now, share, window)
                progress(last)
            if state is not None and monotonic() - saved > config.save_every:
                state = _saved(state, key, model, optimisers, now, note)
                saved = monotonic()
        else:
            now.epoch, now.position = now.epoch + 1, 0
    if window:
        last = _report(now, min(1.0, _share(now, total, config)), window)
    model.eval()
    model.dropout = 0.0
    if state is not None:
        _saved(state, key, model, optimisers, now, note)
    model.to("cpu")
    return last


def loss_of(model: Model, batch: Batch, smoothing: float = 0.0, distil: Distil | None = None) -> torch.Tensor:
    """Mean over the wanted tokens in nats: cross-entropy, or its mixture with the divergence from a teacher."""
    h = model(batch.ids, batch.segments)
    h = h.reshape(-1, h.shape[-1])[batch.at]
    if distil is None and isinstance(model, Decoder) and h.device.type == "cpu":
        return next_piece.loss(h, model.model.embed_tokens.weight, batch.next, smoothing)
    said, share = (distil.teacher.of(batch), distil.share) if distil else (None, 0.0)
    parts = []
    for begin in range(0, len(h), _ROWS):
        some, wanted = h[begin:begin + _ROWS], batch.next[begin:begin + _ROWS]
        # As few shapes as can be: see `sequences`.
        logits = model.logits(F.pad(some, (0, 0, 0, -len(some) % _FULL)))[:len(some)]
        if share < 1:
            parts.append((1 - share) * F.cross_entropy(logits, wanted, reduction="sum", label_smoothing=smoothing))
        if distil and said is not None:
            parts.append(share * distil.loss(logits, said.rows(begin, begin + len(some))) * len(some))
    return torch.stack(parts).sum() / len(batch.next)


def evaluate(model: Model, sequences: Sequences, tokens: int = 8192) -> float:
    """Mean nats per wanted token, without training."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in epoch(sequences, tokens, model.context, np.random.default_rng([0]), pack=isinstance(model, Decoder)):
            total += float(loss_of(model, batch)) * len(batch.next)
            count += len(batch.next)
    return total / max(1, count)


def _optimisers(model: Model, config: LanguageConfig) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and p.requires_grad]
    others = [p for name, p in model.named_parameters() if (p.ndim != 2 or "embed" in name) and p.requires_grad]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=config.rate, weight_decay=config.decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
                    if config.muon else torch.optim.AdamW(matrices, lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.98)))
    if others:
        made.append(torch.optim.AdamW(others, lr=config.embedding_rate, weight_decay=0.0, betas=(0.9, 0.98)))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["highest"] = group["lr"]
    return made


def _share(now: _State, total: int, config: LanguageConfig) -> float:
    # Not at the first step, where any time at all is more than no step: the same data would not give the same weights twice.
    by_time = now.elapsed / config.seconds if config.seconds and now.step else 0.0
    return max(now.step / total, by_time)


def _step(model: Model, batch: Batch, optimisers: list[torch.optim.Optimizer], config: LanguageConfig, share: float,
          distil: Distil | None) -> float:
    factor = min(1.0, (share + 1e-4) / config.warm_up, (1 - share) / config.cool_down)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * factor
        optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device(), torch.bfloat16, enabled=halves()):
        loss = loss_of(model, batch, config.smoothing, distil)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    for optimiser in optimisers:
        optimiser.step()
    return float(loss.detach())


def _report(now: _State, share: float, window: deque[tuple[float, int, float]]) -> Progress:
    first, last = window[0], window[-1]
    speed = sum(tokens for _, tokens, _ in list(window)[1:]) / max(1e-9, last[2] - first[2])
    return Progress(share, now.step, float(np.mean([loss for loss, _, _ in window])), speed, now.elapsed * (1 - share) / max(share, 1e-6))


def _saved(path: Path, key: str, model: Model, optimisers: list[torch.optim.Optimizer], now: _State, note: Callable[[str], None]) -> Path | None:
    """Where the state lies, or None where it could not be saved."""
    try:
        _save(path, key, model, optimisers, now)
    except Exception as problem:  # safetensors has errors of its own for a disk that is full
        note(f"the state of the run cannot be saved, and training goes on without: {problem}")
        return None
    return path


def _save(path: Path, key: str, model: Model, optimisers: list[torch.optim.Optimizer], now: _State) -> None:
    from safetensors.torch import save_file

    tensors = {f"model/{name}": parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    for number, optimiser in enumerate(optimisers):
        for index, kept in optimiser.state_dict()["state"].items():
            tensors.update({f"{number}/{index}/{name}": torch.as_tensor(value) for name, value in kept.items() if value is not None})
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half, metadata={"key": key, "now": json.dumps(asdict(now))})
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def _begun(path: Path | None, key: str, model: Model, optimisers: list[torch.optim.Optimizer], note: Callable[[str], None]) -> _State:
    """Where the run stands: at its beginning, or where an earlier one was saved."""
    now = _restore(path, key, model, optimisers) or _State()
    if now.step:
        note(f"going on after step {now.step:,} of an earlier run")
    return now


def _restore(path: Path | None, key: str, model: Model, optimisers: list[torch.optim.Optimizer]) -> _State | None:
    """The saved state, or None where there is none of this run: a broken file costs time, not the run."""
    from safetensors import safe_open

    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata()
            if told["key"] != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        model.load_state_dict({name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")},
                              strict=False)
        for number, optimiser in enumerate(optimisers):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                place, _, rest = name.partition("/")
                if place == str(number):
                    index, _, field = rest.partition("/")
                    state.setdefault(int(index), {})[field] = tensor
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return _State(**json.loads(told["now"]))
    except Exception:
        return None
