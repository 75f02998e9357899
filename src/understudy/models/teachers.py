"""Teachers as torch modules: a sentence encoder that gives vectors, or a checkpoint with a head that gives logits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import TeacherError
from .bert import Classifier, load_bert
from .checkpoint import fingerprint, head_labels

TOP = 2
"""Layers above the tap: the head sees the pooled vectors below and above them."""
FAMILIES = ("bert", "distilbert")
"""Encoders that can also become a rung of their own."""


@dataclass(frozen=True)
class Teacher:
    """An opened checkpoint. `labels` is None for a plain encoder; `encoder` is None outside the families we can export."""

    name: str
    folder: Path
    key: str
    labels: dict[int, str] | None
    encoder: Classifier | None
    model: Any
    tokenizer: Any
    longest: int

    @property
    def width(self) -> int:
        """Numbers that `vectors` gives per text."""
        if self.labels:
            return len(self.labels)
        return self.encoder.head.in_features if self.encoder is not None else int(self.model.config.hidden_size)

    @property
    def bytes(self) -> int:
        """Size on disk of what it needs to answer, tokenizer included."""
        files = [path for path in self.folder.glob("*") if path.suffix in (".safetensors", ".bin", ".json", ".txt", ".model")]
        whole = any(path.suffix == ".safetensors" for path in files)
        return sum(path.stat().st_size for path in files if not (whole and path.suffix == ".bin"))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, cut at `longest`."""
        return self.tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"] if len(texts) else []

    def vectors(self, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Pooled vectors of an encoder, or logits of a checkpoint with a head: (n, width) float32."""
        ids = self.encode(texts)
        out = np.zeros((len(texts), self.width), np.float32)
        pad = self.tokenizer.pad_token_id or 0
        with torch.inference_mode():
            for rows in batches(ids, 4096):
                tokens, mask = padded([ids[row] for row in rows], pad)
                out[rows] = self._say(tokens, mask).numpy()
                progress(len(rows))
        return out

    def _say(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.labels:
            return self.model(input_ids=tokens, attention_mask=mask.long()).logits.float()
        if self.encoder is not None:
            return self.encoder.features(self.encoder.states(tokens, mask, 0), mask, 0)
        states = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        weight = mask[..., None].to(states.dtype)
        return torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1), dim=-1).float()


def batches(ids: Sequence[Sequence[int]], tokens: int) -> Iterator[np.ndarray]:
    """Row numbers grouped by length, so that a padded batch holds at most `tokens` tokens (one row at least)."""
    lengths = np.array([len(one) for one in ids])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - start) <= tokens:
            end += 1
        yield order[start:end]
        start = end


def padded(ids: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, longest) int64 ids and the bool mask of what is not padding."""
    longest = max(1, max(len(one) for one in ids))
    tokens = np.full((len(ids), longest), pad, np.int64)
    mask = np.zeros((len(ids), longest), bool)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = one
        mask[row, : len(one)] = True
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def open_teacher(name: str, folder: Path, *, longest: int = 128) -> Teacher:
    """Opens a checkpoint folder with `transformers`. Raises TeacherError when it is not one that can be opened."""
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, utils

    utils.logging.set_verbosity_error()
    utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    labels = head_labels(folder)
    try:
        kind = AutoModelForSequenceClassification if labels else AutoModel
        model = kind.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as problem:
        raise TeacherError(f"the teacher {name} cannot be opened: {str(problem).strip().splitlines()[0] if str(problem).strip() else problem!r}",
                           hint="any checkpoint that transformers' AutoModel opens will do") from None
    encoder = _encoder(model, 2)
    positions = getattr(model.config, "max_position_embeddings", longest) or longest
    return Teacher(name, folder, fingerprint(folder), labels, encoder, model, tokenizer, min(longest, positions))


def _encoder(model: Any, classes: int) -> Classifier | None:
    """The checkpoint's encoder in our own shape, where it is of a family that we can train further and export."""
    if model.config.model_type not in FAMILIES:
        return None
    prefix = f"{model.config.model_type}."
    state = {name.removeprefix(prefix): tensor for name, tensor in model.state_dict().items()}
    layers = getattr(model.config, "num_hidden_layers", 0) or 0
    try:
        return load_bert(state, model.config, classes, normalise=True, tap=max(0, layers - TOP)).eval()
    except (KeyError, RuntimeError):
        return None
