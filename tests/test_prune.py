"""Smaller decoders out of larger ones: every family stays one that transformers opens and llama.cpp answers from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from decoders import FAMILIES, NASTY, make_decoder
from understudy.errors import UsageError
from understudy.models.prune import prune

IDS = np.random.default_rng(0).integers(5, 300, (6, 40)).tolist()


@pytest.fixture(autouse=True)
def quiet():
    """transformers draws progress bars and repeats advice for these made-up configs."""
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def opened(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(folder, ids) -> torch.Tensor:
    with torch.inference_mode():
        return opened(folder)(torch.tensor(ids)).logits


def deadened(folder) -> None:
    """Half of the channels, of the head groups and a third of the neurons of a checkpoint say nothing any more."""
    model = opened(folder)
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rng = torch.Generator().manual_seed(1)
    channels = torch.randperm(config.hidden_size, generator=rng)[: config.hidden_size // 2]
    with torch.no_grad():
        model.model.embed_tokens.weight[:, channels] = 0
        for layer in model.model.layers:
            dead = int(torch.randint(2, (), generator=rng)) * 2 * head
            layer.self_attn.o_proj.weight[:, dead:dead + 2 * head] = 0
            layer.mlp.down_proj.weight[:, torch.randperm(config.intermediate_size, generator=rng)[: 32]] = 0
            for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
                part.weight[channels] = 0
                if part.bias is not None:
                    part.bias[channels] = 0
    model.save_pretrained(folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_says_nothing_goes_without_a_trace(tmp_path, name):
    """Dropped channels, heads and neurons that are zero change no logit; norms, scaled embeddings and soft caps stay what they were."""
    folder = make_decoder(tmp_path / "model", name, rms_norm_eps=1e-9)
    deadened(folder)
    before, after = prune(folder, tmp_path / "small", IDS, share=0.5)
    assert (after.width, after.heads, after.kv_heads, after.inner) == (before.width // 2, before.heads // 2, before.kv_heads // 2, 64)
    assert after.parameters == sum(p.numel() for p in opened(tmp_path / "small").parameters()) < before.parameters
    assert (logits(folder, IDS) - logits(tmp_path / "small", IDS)).abs().max() < 2e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pruned_checkpoint_opens_and_answers_as_gguf(tmp_path, name):
    pytest.importorskip("xllamacpp")
    from understudy.shrink.gguf.parity import compare
    from understudy.shrink.gguf.write import write_gguf

    folder = make_decoder(tmp_path / "model", name)
    _, after = prune(folder, tmp_path / "small", IDS, layers=2, share=0.5)
    assert opened(tmp_path / "small").config.num_hidden_layers == after.layers == 2
    write_gguf(tmp_path / "small", tmp_path / "small.gguf", precision="f32")
    found = compare(tmp_path / "small", tmp_path / "small.gguf", NASTY[:2], tokens=8, context=256)
    assert found.same and found.gap < 3e-2, found


def test_the_layers_that_matter_stay_and_a_pattern_of_windows_stays_one(tmp_path):
    folder = make_decoder(tmp_path / "model", "gemma3_text", layer_types=[("full" if at % 3 == 2 else "sliding") + "_attention" for at in range(7)])
    model = opened(folder)
    with torch.no_grad():
        for at in (1, 2, 4):  # these add nothing to the stream
            for norm in (model.model.layers[at].post_attention_layernorm, model.model.layers[at].post_feedforward_layernorm):
                norm.weight.fill_(-1)
    model.save_pretrained(folder)
    prune(folder, tmp_path / "small", IDS, layers=4)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention",
                                                                                           "sliding_attention"]
    # 0 and 3 slide, 5 looks at everything, 6 slides: exactly the layers that do something.
    assert (logits(folder, IDS) - logits(tmp_path / "small", IDS)).abs().max() < 1e-3


def test_importance_beats_chance(tmp_path):
    """Keeping by importance is nearer to the whole model than keeping as many by chance."""
    folder = make_decoder(tmp_path / "model", "llama", num_hidden_layers=6, initializer_range=0.1)
    wanted = logits(folder, IDS).log_softmax(-1)

    def far(out) -> float:
        return float((wanted.exp() * (wanted - logits(out, IDS).log_softmax(-1))).sum(-1).mean())

    prune(folder, tmp_path / "best", IDS, layers=4)
    best = far(tmp_path / "best")
    worse = 0
    for seed in range(4):
        kept = sorted(np.random.default_rng(seed).choice(6, 4, replace=False).tolist())
        model = opened(folder)
        model.model.layers = torch.nn.ModuleList(model.model.layers[at] for at in kept)
        model.config.num_hidden_layers = 4
        model.save_pretrained(tmp_path / f"chance{seed}")
        worse += far(tmp_path / f"chance{seed}") >= best - 1e-6
    assert worse >= 3


def test_what_cannot_be_kept_is_refused_in_words(tmp_path):
    folder = make_decoder(tmp_path / "model", "llama")
    with pytest.raises(UsageError, match=r"9 layers are to be kept, and .* has 3"):
        prune(folder, tmp_path / "out", IDS, layers=9)
    with pytest.raises(UsageError, match=r"1\.5 of the width is to be kept"):
        prune(folder, tmp_path / "out", IDS, share=1.5)
    assert not (tmp_path / "out").exists()
