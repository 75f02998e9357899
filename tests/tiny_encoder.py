"""A classifier whose only rung is a transformer with random weights, in ONNX: it sorts without sense, but it embeds."""

from __future__ import annotations

from pathlib import Path

from understudy.bundle import Manifest, Rung, write_bundle
from workshop import TOPICS, make_teacher


def make_encoder(path: Path, scratch: Path) -> Path:
    """Writes the bundle; `scratch` is for the checkpoint that it comes from."""
    import torch
    from transformers import AutoConfig, AutoModel

    from understudy.models.bert import load_bert
    from understudy.shrink.graph import build

    folder = make_teacher(scratch / "teacher")
    state = AutoModel.from_pretrained(folder).state_dict()
    torch.manual_seed(1)
    model = load_bert(state, AutoConfig.from_pretrained(folder), len(TOPICS), normalise=True).eval()
    files = {"encoder/onnx/model_quantized.onnx": build(model, whole=[]), "encoder/tokenizer.json": (folder / "tokenizer.json").read_bytes()}
    rung = Rung(name="encoder", kind="encoder", path="encoder", parameters=1_000_000, precision="int8", mix={"encoder": 1.0}, max_tokens=64)
    write_bundle(path, files, Manifest(name=path.name, version="0.1.0", labels=tuple(sorted(TOPICS)), rungs=(rung,)))
    return path
