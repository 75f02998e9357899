"""From a trained Classifier to the files of an encoder rung, refusing to finish unless the answers are the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import ParityError
from ..models.bert import Classifier
from ..run.kinds.encoder import open_session
from .graph import build, linears


@dataclass(frozen=True)
class ExportConfig:
    """When an export is good enough."""

    tolerance: float = 1e-3
    """Largest absolute difference between a torch logit and the float ONNX one."""
    agreement: float = 0.99
    """Least share of texts on which int8 gives the float model's label; layers go back to float until it holds."""
    most_restored: float = 0.5
    """Share of the layers that may go back to float before int8 is given up."""


@dataclass(frozen=True)
class Exported:
    """The two graphs and how far they are from the torch model."""

    whole: bytes
    quantised: bytes
    restored: tuple[str, ...]
    difference: float
    int8_difference: float
    agreement: float


def onnx_logits(model: bytes, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits of token-id rows, one at a time as in answering: (n, k)."""
    session = open_session(model, "the exported model")
    out = []
    for ids in rows:
        array = np.array([ids], np.int64)
        out.append(session.run(["logits"], {"input_ids": array, "attention_mask": np.ones_like(array)})[0][0])
    return np.stack(out)


def torch_logits(model: Classifier, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """The same from the torch model."""
    with torch.inference_mode():
        return np.stack([model(torch.tensor([list(ids)]), torch.ones(1, len(ids), dtype=torch.bool))[0].numpy() for ids in rows])


def export(model: Classifier, probe: Sequence[Sequence[int]], config: ExportConfig) -> Exported:
    """Writes both graphs and compares them on the token rows `probe`. Raises ParityError when the float graph differs."""
    model.eval()
    truth = torch_logits(model, probe)
    whole = build(model)
    difference = float(np.abs(onnx_logits(whole, probe) - truth).max())
    if not difference <= config.tolerance:
        raise ParityError(f"the exported model differs from the trained one by {difference:.2g} (the tolerance is {config.tolerance:g})")
    restored: list[str] = []
    candidates = linears(model)
    while True:
        quantised = build(model, whole=restored)
        said = onnx_logits(quantised, probe)
        agreement = float((said.argmax(1) == truth.argmax(1)).mean())
        if agreement >= config.agreement or len(restored) >= config.most_restored * len(candidates):
            break
        restored.append(_most_harmful(model, probe, truth, restored))
    return Exported(whole, quantised, tuple(restored), difference, float(np.abs(said - truth).max()), agreement)


def _most_harmful(model: Classifier, probe: Sequence[Sequence[int]], truth: np.ndarray, restored: list[str]) -> str:
    """The int8 layer whose return to float brings the logits closest to the float model's."""
    few = probe[:64]
    left = [name for name in linears(model) if name not in restored]
    errors = [float(np.square(onnx_logits(build(model, whole=[*restored, name]), few) - truth[: len(few)]).mean()) for name in left]
    return left[int(np.argmin(errors))]


def hub_files(model: Classifier, labels: Sequence[str], tokenizer: bytes, longest: int, exported: Exported) -> dict[str, bytes]:
    """The rung's folder as a Hugging Face model folder that Optimum and transformers.js open."""
    shape = model.shape
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": shape.vocabulary,
              "hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
              "intermediate_size": shape.hidden, "max_position_embeddings": shape.positions, "layer_norm_eps": shape.eps,
              "hidden_act": "gelu", "id2label": {str(i): label for i, label in enumerate(labels)},
              "label2id": {label: i for i, label in enumerate(labels)}, "problem_type": "single_label_classification"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, "model_input_names": ["input_ids", "attention_mask"],
                "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    return {"config.json": _json(config), "tokenizer_config.json": _json(settings), "tokenizer.json": tokenizer,
            "onnx/model_quantized.onnx": exported.quantised}


def _json(told: dict) -> bytes:
    return (json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
