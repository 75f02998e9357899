"""`train --teacher`: a student that learns a teacher's probabilities, from scratch, from a base, and from a base made smaller."""

from __future__ import annotations

import json

import pytest

from decoders import make_decoder
from test_text_recipe import COLOURS, PAIRS, QUICK, THINGS
from understudy.bundle import open_bundle
from understudy.errors import TeacherError, UsageError
from understudy.home import cache_dir
from understudy.recipes.text.opened import open_decoder
from understudy.recipes.text.train import train_text
from understudy.run.opening import load

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
BASE = {key: value for key, value in QUICK.items() if key not in ("size", "pieces")}


def corpus(count: int) -> str:
    """Sentences of a toy language with few words and many orders of them."""
    import random

    draw = random.Random(7)
    lines = []
    for _ in range(count):
        first, second = draw.choice(list(COLOURS)), draw.choice(list(COLOURS.values()))
        lines.append(f"The {first} {draw.choice(list(THINGS))} {draw.choice(['opens', 'stands', 'falls'])} near a {draw.choice(list(THINGS))}, "
                     f"and {draw.choice(['nobody', 'somebody', 'she'])} says {second} {draw.choice(list(THINGS.values()))}.")
    return "\n\n".join(lines)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A language model of a toy language, and a tenth of its text."""
    work = tmp_path_factory.mktemp("taught")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(work / "home"))
        text = corpus(900)
        (work / "much.txt").write_text(text, encoding="utf-8")
        (work / "little.txt").write_text(text[: len(text) // 10], encoding="utf-8")
        (work / "other.txt").write_text(corpus(940)[len(text):], encoding="utf-8")
        train_text([work / "much.txt"], "lm", out=work / "teacher", epochs=4, **QUICK)
        yield work


def heard_of(**dials):
    """(the result of a training, what it said about its teacher)."""
    heard = []
    result = train_text(**dials, listen=heard.append)
    return result, [event.text for event in heard if event.stage == "teacher" and event.done is None]


def bits(result) -> float:
    return result.receipt.headline["bits_per_byte"]


def test_a_student_of_a_teachers_probabilities_is_no_worse_than_one_without_and_a_rerun_asks_nothing(taught, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(taught / "home"))
    same = {"data": [taught / "little.txt"], "task": "lm", "test": str(taught / "other.txt"), "epochs": 3, **QUICK}
    alone, _ = heard_of(out=taught / "alone", **same)
    found, said = heard_of(out=taught / "student", teacher=str(taught / "teacher"), **same)
    assert "files asked now" in said[-1]
    print(bits(alone), bits(found))
    assert found.receipt.data["provenance"]["steps"] == alone.receipt.data["provenance"]["steps"]
    assert bits(found) < bits(alone) + 0.02
    _, said = heard_of(out=taught / "again", teacher=str(taught / "teacher"), **{**same, "seed": 1, "epochs": 0.01})
    assert said[-1].endswith("all known from before, nothing asked")
    entries = found.receipt.data["entries"]
    assert [(entry["name"], entry["precision"]) for entry in entries] == [("teacher", "q8_0"), ("writer", "f16"), ("writer", "q4_0"), ("writer", "q8_0")]
    assert entries[0]["scores"]["bits_per_byte"]["value"] < bits(found)
    for entry in entries:
        assert entry["bytes"] > 0 and entry["speed"]["tokens_per_s"] > 0 and entry["speed"]["prefill_tokens_per_s"] > 0 and entry["speed"]["first_ms"] > 0
    one = next(iter(cache_dir("logits").glob("*/*.npy")))
    one.write_bytes(one.read_bytes()[:-1] + b"?")
    _, said = heard_of(out=taught / "again", teacher=str(taught / "teacher"), **{**same, "epochs": 0.01})
    assert "1 files asked now, 1 of them because what was kept is damaged" in said[-1]


def test_reverse_kl_and_a_teacher_that_is_asked_at_every_step(taught, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(taught / "home"))
    _, said = heard_of(data=[taught / "little.txt"], task="lm", out=taught / "live", teacher=str(taught / "teacher"), epochs=0.2, distil_top=0,
                       distil_loss="reverse-kl", distil_share=1.0, **QUICK)
    assert "is asked at every step, about all 378 pieces" in said[-1]


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS[:60]), encoding="utf-8")
    return tmp_path / "pairs.tsv"


@pytest.mark.parametrize("family", ["llama-3", "gemma3_text"])
def test_a_teacher_is_distilled_to_a_smaller_sibling_of_itself(tmp_path, pairs, family):
    """Fewer layers and half the width, the teacher's probabilities without being asked for, a trimmed vocabulary: one command."""
    folder = make_decoder(tmp_path / "model", family)
    heard = []
    result = train_text(pairs, "translate", out=tmp_path / "out", base=str(folder), keep_layers=2, keep_width=0.5, teacher=str(folder), trim=True,
                        epochs=1, distil_top=8, listen=heard.append, **BASE)
    told = [event.text for event in heard if event.done is None]
    assert any("3 layers, 64 channels" in text and "-> 2 layers, 32 channels" in text for text in told) or family == "gemma3_text"
    assert any("its 8 likeliest pieces of" in text for text in told)
    entries = result.receipt.data["entries"]
    assert [entry["name"] for entry in entries] == ["teacher", "writer", "trimmed", "trimmed", "trimmed"]
    assert [entry["precision"] for entry in entries] == ["f16", "f16", "f16", "q4_0", "q8_0"]
    assert entries[0]["parameters"] > entries[1]["parameters"] > entries[2]["parameters"]
    assert all("bits_per_byte" in entry["scores"] for entry in entries)
    # The trimmed model writes what the untrimmed one writes: the same weights, and pieces of the texts at hand stay.
    assert entries[2]["scores"]["bits_per_byte"]["value"] == pytest.approx(entries[1]["scores"]["bits_per_byte"]["value"], rel=0.1)
    with load(result.path) as writer:
        assert isinstance(writer.predict("The red door is new.").text, str)


@pytest.mark.parametrize("family", ["llama-3", "gemma"])
def test_a_student_from_scratch_takes_the_teachers_pieces(tmp_path, pairs, family):
    folder = make_decoder(tmp_path / "model", family)
    heard = []
    result = train_text(pairs, "translate", out=tmp_path / "out", teacher=str(folder), distil="logits", epochs=0.5, listen=heard.append, **{**BASE, "size": "tiny"})
    assert any(f"the pieces are those of {folder}" in event.text for event in heard)
    opened = open_decoder(str(folder))
    with load(result.path) as writer:
        assert writer.engine.info.vocabulary == opened.pieces
        text = "Grün and [red] doors, 12 of them"
        assert writer.ids(text) == [writer.prompt.begin, *opened.split([text])[0], writer.prompt.mark]


def test_vocabularies_that_differ_are_an_error_that_says_where(tmp_path, pairs):
    base, teacher = make_decoder(tmp_path / "base", "llama"), make_decoder(tmp_path / "teacher", "gemma")
    sizes = [f"{open_decoder(str(folder)).tokenizer.get_vocab_size():,}" for folder in (base, teacher)]
    with pytest.raises(TeacherError, match=f"other vocabularies: {sizes[0]} and {sizes[1]} pieces, and the first that differs has the id 0: '<s>' and '<pad>'") as caught:
        train_text(pairs, "translate", out=tmp_path / "out", base=str(base), teacher=str(teacher), distil="logits", **BASE)
    assert "--distil answers" in str(caught.value.hint)
    # The same pieces, joined in another order.
    told = json.loads((base / "tokenizer.json").read_text("utf-8"))
    twin = make_decoder(tmp_path / "twin", "llama")
    told["model"]["merges"] = told["model"]["merges"][::-1]
    (twin / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(TeacherError, match=r"the same [\d,]+ pieces, and '.*' becomes \d+ of them in one and \d+ in the other"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(base), teacher=str(twin), distil="logits", **BASE)
    # Without being told, its answers are what is learned, and it says why.
    heard = []
    with pytest.raises(UsageError, match="has to be told what to do"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(base), teacher=str(teacher), listen=heard.append, **BASE)
    assert any("its answers are learned, not its probabilities" in event.text for event in heard)


def test_a_gguf_of_another_shape_has_no_probabilities_here(tmp_path, pairs):
    from understudy.shrink.gguf.write import write_gguf

    folder = make_decoder(tmp_path / "base", "llama")
    write_gguf(folder, tmp_path / "teacher.gguf")
    with pytest.raises(UsageError, match="is not of the shape that Understudy trains"):
        train_text(pairs, "translate", out=tmp_path / "out", base=str(folder), teacher=str(tmp_path / "teacher.gguf"), distil="logits", **BASE)


def test_padded_rows_of_the_embedding_are_no_pieces(tmp_path):
    """Two sizes of one family often differ in padding alone: they agree, and the padding is masked."""
    wide, narrow = make_decoder(tmp_path / "wide", "llama"), make_decoder(tmp_path / "narrow", "llama")
    opened = open_decoder(str(wide))
    assert opened.pieces == opened.tokenizer.get_vocab_size() == opened.config["vocab_size"] - 3
    from understudy.recipes.text.distilling import check_pieces

    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps({**config, "vocab_size": opened.pieces}))
    check_pieces(open_decoder(str(narrow)), opened, ["The red door."])


def test_a_bundle_of_ours_becomes_a_base(taught, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(taught / "home"))
    result = train_text([taught / "little.txt"], "lm", out=tmp_path / "out", base=str(taught / "teacher"), keep_layers=3, teacher=str(taught / "teacher"),
                        epochs=0.5, test=str(taught / "other.txt"), **BASE)
    assert open_bundle(result.path).manifest.rungs[0].parameters < open_bundle(taught / "teacher").manifest.rungs[0].parameters
    assert bits(result) < 3


@pytest.mark.parametrize(("dials", "words"), [
    ({"keep_layers": 2}, "--keep-layers is about a base, and none is named"),
    ({"full": True}, "--full is about a base"),
    ({"distil": "logits"}, "--distil is for a teacher, and none is named"),
    ({"unlabelled": "x.txt"}, "--unlabelled is for a teacher"),
    ({"teacher": "x", "distil_share": 0.0}, r"distil_share is 0\.0"),
    ({"teacher": "x", "distil_top": -1}, "distil_top is -1"),
    ({"teacher": "x", "distil": "logits", "instruction": "Translate."}, "--instruction is for a teacher's answers, and its probabilities are to be learned"),
    ({"teacher": "x", "distil": "answers", "distil_loss": "reverse-kl"}, "--distil-loss is about a teacher's probabilities, and none are learned here"),
    ({"distil_top": 8}, "--distil-top is about a teacher's probabilities"),
    ({"trim": True}, "--trim is for the pieces of a base or a teacher"),
])
def test_dials_that_mean_nothing_here_are_refused(tmp_path, pairs, dials, words):
    with pytest.raises(UsageError, match=words):
        train_text(pairs, "translate", out=tmp_path / "out", **dials, **QUICK)


def test_the_flags_are_the_dials():
    from understudy.cli.train import _config

    told = _config("translate", {"base": "m", "keep_layers": 3, "keep_width": "50%", "teacher": "t", "distil": "logits", "distil_share": "0.9", "distil_top": 0})
    assert (told.keep_layers, told.keep_width, told.distil_share, told.distil_top, told.distil_loss) == (3, 0.5, 0.9, 0, "kl")
    with pytest.raises(UsageError, match="more than everything"):
        _config("translate", {"base": "m", "keep_width": "150%"})
    with pytest.raises(UsageError, match="--distil is no flag of the task classify"):
        _config("classify", {"distil": "logits"})


def test_answers_of_plain_text_are_refused(tmp_path, taught):
    with pytest.raises(UsageError, match="learned as pairs, and lm has none"):
        train_text([taught / "little.txt"], "lm", out=tmp_path / "out", teacher=str(taught / "teacher"), distil="answers", **QUICK)
