"""A decoder that somebody else trained, in the shape that our loop trains: a Hugging Face checkpoint of a family that we can pack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import TeacherError
from .families import find_family
from .lora import add_adapters, merge_adapters

BESIDE = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json", "chat_template.jinja")


class Based(nn.Module):
    """`forward(ids)` gives hidden states, `logits(h)` scores the vocabulary. Rows hold one sequence each: there are no segments."""

    def __init__(self, folder: Path, *, full: bool = False, rank: int = 16) -> None:
        super().__init__()
        self.folder = folder
        self.config = _config(folder)
        self.family = find_family(self.config)
        self.model = _opened(folder)
        self.dropout = 0.0
        self.adapters = 0 if full else add_adapters(self.model, rank)

    @property
    def context(self) -> int:
        """The longest sequence that the checkpoint was trained for."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    def forward(self, ids: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states (batch, tokens, width); padding stands behind and is not seen by what comes before it."""
        if segments is not None:
            raise ValueError("a checkpoint's own attention cannot keep packed documents apart")
        return self.model.model(input_ids=ids, use_cache=False).last_hidden_state

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Scores (…, vocabulary) of the next token."""
        scores = self.model.lm_head(h)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return scores if not cap else cap * torch.tanh(scores / cap)

    def save(self, folder: Path) -> None:
        """The checkpoint with what was learned merged in, its tokenizer beside it."""
        if self.adapters:
            merge_adapters(self.model)
            self.adapters = 0
        self.model.save_pretrained(folder)
        for name in BESIDE:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)


def _config(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as problem:
        raise TeacherError(f"{folder}/config.json cannot be read: {problem}") from None
    if not isinstance(told, dict):
        raise TeacherError(f"{folder}/config.json should hold a JSON object, not {type(told).__name__}")
    return told


def _opened(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM, utils

    utils.logging.set_verbosity_error()
    utils.logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    except Exception as problem:
        first = str(problem).strip().splitlines()
        raise TeacherError(f"the model {folder} cannot be opened: {first[0] if first else problem!r}",
                           hint="a decoder of the Llama, Phi-3, Gemma or Qwen families will do") from None
