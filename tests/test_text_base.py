"""Starting from somebody's checkpoint, and learning from what a teacher writes."""

from __future__ import annotations

import json

import pytest
import torch

from decoders import make_decoder
from test_text_recipe import PAIRS, QUICK
from understudy.errors import DataError, TeacherError, UsageError
from understudy.models.based import Based
from understudy.models.lora import Adapter
from understudy.recipes.text.train import train_text
from understudy.run.opening import load

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
BASE = {key: value for key, value in QUICK.items() if key not in ("size", "pieces")}


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS[:60]), encoding="utf-8")
    return tmp_path / "pairs.tsv"


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "qwen3"])
def test_a_checkpoint_with_adapters_is_the_checkpoint_until_it_learns_and_merges_exactly(tmp_path, family):
    folder = make_decoder(tmp_path / family, family)
    based = Based(folder).eval()
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        assert (based.logits(based(ids)) - theirs(ids).logits).abs().max() < 1e-4
    for module in based.modules():
        if isinstance(module, Adapter):
            torch.nn.init.normal_(module.up.weight, std=0.02)
    with torch.inference_mode():
        wanted = based.logits(based(ids))
    based.save(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.inference_mode():
        assert (again(ids).logits - wanted).abs().max() < 1e-4
        assert (theirs(ids).logits - wanted).abs().max() > 1e-3
    assert (tmp_path / "merged" / "tokenizer.json").is_file()


@pytest.mark.parametrize(("family", "full"), [("llama", False), ("gemma3_text", True)])
def test_a_base_learns_and_answers_as_gguf(tmp_path, pairs, family, full):
    folder = make_decoder(tmp_path / "base", family)
    losses = []
    for epochs in (0.01, 40.0):
        heard: list = []
        result = train_text(pairs, "translate", out=tmp_path / "out", base=str(folder), full=full, epochs=epochs, precision="f16",
                            listen=heard.append, **BASE)
        losses += [float(event.text.split("held-out loss ")[1].split()[0]) for event in heard if "held-out" in event.text]
    assert losses[1] < losses[0] - 0.5
    with load(result.path) as writer:
        assert writer.prompt.mark is not None
        assert isinstance(writer.predict("The red door is new.").text, str)


def test_what_cannot_be_a_base_is_refused_in_words(tmp_path, pairs):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"], "eos_token_id": 1}))
    with pytest.raises((TeacherError, DataError), match=r"tokenizer\.json|model_type"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(tmp_path / "bert"), **BASE)
    with pytest.raises(TeacherError, match="not a folder"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(tmp_path / "missing"), **BASE)
    with pytest.raises(UsageError, match=r"--dropout 0\.2 is for models from scratch"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(tmp_path / "bert"), dropout=0.2, **BASE)
    with pytest.raises(UsageError, match="--smoothing is 1, and nothing would be learned"):
        train_text(pairs, "translate", out=tmp_path / "out", smoothing=1.0, **QUICK)


def test_a_teacher_bundle_teaches_new_sources_and_is_asked_once(tmp_path, pairs):
    teacher = train_text(pairs, "translate", out=tmp_path / "teacher", epochs=2, **QUICK)
    (tmp_path / "more.txt").write_text("The black car is gone.\nThe white cup is old.\n")
    heard = []
    more = {"teacher": str(teacher.path), "unlabelled": str(tmp_path / "more.txt"), "epochs": 1, **QUICK}
    train_text(pairs, "translate", out=tmp_path / "student", listen=heard.append, **more)
    first = [event.text for event in heard if event.stage == "teacher" and "answers to learn from" in event.text]
    train_text(pairs, "translate", out=tmp_path / "student", listen=heard.append, **more)
    again = [event.text for event in heard if event.stage == "teacher" and "answers to learn from" in event.text][1:]
    assert "0 asked now" not in first[0] and again[0].endswith("0 asked now")
    with pytest.raises(TeacherError, match="made for the task translate"):
        train_text(pairs, "generate", out=tmp_path / "no", teacher=str(teacher.path), epochs=1, **QUICK)
    with pytest.raises(UsageError, match="has to be told what to do"):
        train_text(pairs, "translate", out=tmp_path / "no", teacher=str(make_decoder(tmp_path / "base", "llama")), epochs=1, **QUICK)


def test_a_teacher_that_chats_follows_an_instruction(tmp_path, pairs):
    folder = make_decoder(tmp_path / "base", "llama")
    heard = []
    result = train_text(pairs, "translate", out=tmp_path / "student", teacher=str(folder), instruction="Say it in German.", epochs=1, listen=heard.append,
               **{**QUICK, "context": 32})
    assert any("answers to learn from" in event.text for event in heard)
    entry = result.receipt.data["entries"][0]
    assert entry["name"] == "teacher" and entry["parameters"] > 0 and {"bleu", "chrf"} <= entry["scores"].keys() and entry["speed"]["first_ms"] > 0
