"""Every family all the way: opened from a Hugging Face folder, fine-tuned with adapters and whole, trimmed, packed, run by llama.cpp."""

from __future__ import annotations

import pytest
import torch

from decoders import CORPUS, FAMILIES, NASTY, make_decoder
from understudy.models.based import Based
from understudy.recipes.text.encoding import Marks, encoded
from understudy.recipes.text.opened import Opened, open_decoder
from understudy.tasks.reading.pairs import Pair
from understudy.teach.language import LanguageConfig, evaluate, train_language
from understudy.teach.sequences import Sequences

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")


def tuned(opened: Opened, made: Sequences, folder, full: bool) -> None:
    """Trains the checkpoint on the sequences; what is saved is what was trained, adapters merged."""
    model = Based(opened.folder, full=full)
    before = evaluate(model, made)
    rate = 1e-3 if full else 5e-3
    train_language(model, made, LanguageConfig(epochs=12, rate=rate, embedding_rate=rate, muon=False, tokens=512, warm_up=0.05), 0)
    learned = evaluate(model, made)
    assert learned < before - 0.5
    model.save(folder)
    assert evaluate(Based(folder, full=True), made) == pytest.approx(learned, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_opened_tuned_trimmed_packed_and_run(tmp_path, family):
    import transformers

    from understudy.run.generate.engine import Engine
    from understudy.run.generate.sampling import Sampling
    from understudy.shrink.decoder_checkpoint import trim_checkpoint
    from understudy.shrink.gguf.parity import compare
    from understudy.shrink.gguf.write import write_gguf

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    opened = open_decoder(str(make_decoder(tmp_path / "model", family)))
    ids = torch.arange(5, 35)[None]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(opened.folder, dtype=torch.float32).eval()
    ours = Based(opened.folder, full=True).eval()
    with torch.inference_mode():
        assert (theirs(ids).logits - ours.logits(ours(ids))).abs().max() < 1e-4, "what a student hears is what the teacher says"
    begin, end = opened.ends()
    made = encoded([Pair("", text) for text in CORPUS[:3] * 2], opened.split, Marks(begin, None, end, {}), opened.context)
    tuned(opened, made, tmp_path / "adapted", full=False)
    tuned(opened, made, tmp_path / "tuned", full=True)
    report = trim_checkpoint(tmp_path / "tuned", CORPUS[:3], tmp_path / "small")
    assert report.pieces_after < report.pieces_before and report.changed == 0
    write_gguf(tmp_path / "small", tmp_path / "small.gguf", precision="f32")
    found = compare(tmp_path / "small", tmp_path / "small.gguf", [NASTY[0], CORPUS[0][:60]], tokens=8, context=256)
    assert found.tokens == () and found.gap < 3e-2, found
    write_gguf(tmp_path / "adapted", tmp_path / "adapted.gguf", precision="q8_0")
    with Engine.open(tmp_path / "adapted.gguf", threads=1) as engine:
        assert engine.complete(CORPUS[0][:20], Sampling(max_tokens=8)).tokens > 0
        assert 0 < engine.score(CORPUS[0]).bits_per_byte < 20
