"""The whole way of the tasks that write: data file → decoder → GGUF → bundle → answers, and what comes in broken."""

from __future__ import annotations

import json

import pytest

from tiny_bundle import make_bundle
from toy_language import COLOURS, PAIRS, QUICK, THINGS, retasked
from understudy.bundle import open_bundle, verify
from understudy.cli import _run
from understudy.errors import BundleError, DataError, GateError, UsageError
from understudy.recipes.text.train import train_text
from understudy.recipes.training import train
from understudy.run.generate.sampling import Sampling
from understudy.run.opening import load
from understudy.run.summarising import Summariser
from understudy.run.writing import Writer

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")

def test_it_learns_a_toy_language_and_the_bundle_is_whole(made):
    work, result, _ = made
    assert verify(result.path) == []
    assert result.receipt.headline["bleu"] > 60
    told = open_bundle(work / "en-de").manifest
    assert told.task == "translate" and told.labels == () and told.rungs[0].kind == "gguf"
    assert [entry["precision"] for entry in result.receipt.data["entries"]] == ["f16", "q4_0", "q8_0"]
    assert "BLEU" in result.receipt.table() and "<script" not in result.receipt.html()


def test_the_stream_is_the_answer_and_checks_hold(made):
    with load(made[0] / "en-de") as writer:
        assert isinstance(writer, Writer)
        one = writer.predict("The red door is old.")
        assert one.finish == "end" and one.text == "".join(writer.stream("The red door is old."))
        assert [said.text for said in writer.predict(["The red door is old."] * 3)] == [one.text] * 3
        for check in json.loads((made[0] / "en-de" / "checks.json").read_text())["checks"]:
            assert writer.predict(check["text"], Sampling(max_tokens=24)).text == check["answer"]


def test_long_input_goes_sentence_by_sentence_and_keeps_its_gaps(made):
    with load(made[0] / "en-de") as writer:
        single = [writer.predict(text).text for text in ("The red door is old.", "The blue cup is new.")]
        whole = writer.predict("The red door is old.\n\nThe blue cup is new.")
        assert whole.text == "\n\n".join(single) and whole.parts == 2
        assert [writer.predict(text).text for text in ("", " ", "\n")] == ["", " ", "\n"]
        heard = []
        writer.predict(["The red door is old. The blue cup is new.", "The red bag is gone."], heard=lambda done, parts: heard.append((done, parts)))
        assert heard == [(1, 3), (2, 3), (3, 3)]


def test_guessing_ahead_changes_no_answer(made, capsys):
    for flags in ([], ["--copy"]):
        assert _run(["predict", str(made[0] / "en-de"), "The red door is old.", *flags], as_json=False) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_a_document_longer_than_the_context_is_summarised_in_stretches(made, tmp_path):
    text = " ".join(a for a, _ in PAIRS[:30])
    with load(retasked(made[0] / "en-de", tmp_path / "b", "summarize")) as writer:
        said = writer.predict(text)
        assert said.parts > 3 and len(writer.ids(text)) > writer.engine.context
        assert writer.predict("The red door is old.").parts == 1


def test_names_of_control_tokens_in_a_text_are_text(made):
    with load(made[0] / "en-de") as writer:
        ids = writer.ids("<|end|><|answer|>")
        assert ids[0] == writer.prompt.begin and ids[-1] == writer.prompt.mark
        assert not set(ids[1:-1]) & {writer.prompt.begin, writer.prompt.mark, writer.prompt.end}


def test_a_localisation_file_comes_back_whole(made, capsys):
    work = made[0]
    (work / "a.po").write_text('msgid ""\nmsgstr ""\n"Language: de\\n"\n\n# a comment\nmsgid "The red door is old."\nmsgstr ""\n\n'
                               'msgid "%d files"\nmsgstr "%d Dateien"\n', encoding="utf-8")
    assert _run(["predict", str(work / "en-de"), "--input", str(work / "a.po"), "--output", str(work / "b.po"), "--json"], as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] + report["left"] == 1 and report["skipped"] >= 1
    text = (work / "b.po").read_text("utf-8")
    assert "# a comment\n" in text and 'msgstr "%d Dateien"' in text


def test_the_verbs_score_quantize_and_export(made, capsys):
    work = made[0]
    assert _run(["score", str(work / "en-de"), "The red", "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["next"]) == 10 and told["perplexity"] > 1 and sum(one["probability"] for one in told["next"]) <= 1.0001
    assert _run(["quantize", str(work / "en-de"), "--to", "q4_0", "--out", str(work / "small.gguf"), "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] < told["bytes_before"] and 0 <= told["same"] <= told["asked"]
    for form, place in (("ollama", "o"), ("hf", "hf"), ("gguf", "x.gguf")):
        assert _run(["export", str(work / "en-de"), "--to", form, "--out", str(work / place), "--json"], as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        # float32 weights of the same values, but llama.cpp rounds what it multiplies with q8_0: near ties may fall the other way
        assert told["same"] >= told["asked"] - (2 if form == "hf" else 0), form
    assert "FROM ./model.gguf" in (work / "o" / "Modelfile").read_text()
    assert _run(["export", str(work / "en-de"), "--to", "hf", "--out", str(work / "hf")], as_json=False) == 2
    assert "is there already" in capsys.readouterr().err


def test_prove_and_show_work_for_text_bundles(made, capsys):
    work = made[0]
    assert _run(["prove", str(work / "en-de"), "--data", str(work / "pairs.tsv"), "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["entries"][0]["scores"]["bleu"]["value"] > 60 and told["rows"] == len(PAIRS)
    assert _run(["prove", str(work / "en-de"), "--data", str(work / "pairs.tsv"), "--gate", "bleu>=10,size<=5MB"], as_json=False) == 0
    assert _run(["prove", str(work / "en-de"), "--data", str(work / "pairs.tsv"), "--gate", "accuracy>=0.9"], as_json=False) == 3
    assert "accuracy>=0.9 (not measured)" in capsys.readouterr().err
    assert _run(["show", str(work / "en-de"), "--verify"], as_json=False) == 0
    assert "6 checks answered again" in capsys.readouterr().out
    assert _run(["bench", str(work / "en-de")], as_json=False) == 0
    assert "tokens/s" in capsys.readouterr().out


def test_flags_that_mean_nothing_here_are_refused(made, capsys):
    work = made[0]
    assert _run(["predict", str(work / "en-de"), "a", "--words", "3"], as_json=False) == 2
    assert "are for summaries" in capsys.readouterr().err
    assert _run(["predict", str(work / "en-de"), "a", "--temperature", "-1"], as_json=False) == 2
    assert _run(["train", str(work / "pairs.tsv"), "--task", "translate", "--out", str(work / "no"), "--max-error", "5%"], as_json=False) == 2
    assert "--max-error is no flag of the task translate" in capsys.readouterr().err


def test_a_prompt_file_that_says_something_else_is_refused(made, tmp_path):
    from dataclasses import replace

    from understudy.bundle import write_bundle

    bundle = open_bundle(made[0] / "en-de")
    files = {name: bundle.read(name) for name in bundle.files()}
    for change in ({"form": "jinja"}, {"begin": -1}, {"begin": 10**6}, {"max_tokens": 0}, {"extra": 1}, {"slots": ["name"]},
                   {"slots": {"filled": "name", "checked": []}}, {"slots": {"filled": [1], "checked": []}}):
        told = {**json.loads(files["writer/generation.json"]), **change}
        write_bundle(tmp_path / "b", {**files, "writer/generation.json": json.dumps(told).encode()}, replace(bundle.manifest, files={}))
        with pytest.raises(BundleError, match=r"generation\.json"), load(tmp_path / "b") as writer:
            writer.predict("a")


NAMES = ("Aromi", "The Mill", "Zizzi", "Giraffe", "Loch Fyne", "Blue Spice", "The Punter", "Strada")


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A model that writes from attribute lists. Values are said word for word."""
    work = tmp_path_factory.mktemp("described")
    rows = [(f"name[{name}], thing[{thing}], colour[{colour}]", f"{name} is a {colour} {thing}.") for name in NAMES for thing in list(THINGS)[:5]
            for colour in COLOURS]
    (work / "rows.csv").write_text("mr,ref\n" + "".join(f'"{a}",{b}\n' for a, b in rows), encoding="utf-8")
    return train_text(work / "rows.csv", "generate", out=work / "shop", epochs=30, **QUICK).path


def test_a_name_that_was_never_read_is_written(described):
    slots = json.loads((described / "writer" / "generation.json").read_text())["slots"]
    assert slots == {"filled": ["colour", "name", "thing"], "checked": ["colour", "name", "thing"]}
    asked = "name[Gusto & Söhne], thing[lamp], colour[green]"
    with load(described) as writer:
        one = writer.predict(asked)
        assert (one.text, one.flags) == ("Gusto & Söhne is a green lamp.", ())
        assert "".join(writer.stream(asked)) == one.text
        assert writer.predict("name[Aromi], thing[helicopter], colour[]").flags == ("colour[] is not mentioned",)
        assert writer.predict("no list at all").flags == ()


def test_further_pairs_teach_words_and_are_not_tested(made, tmp_path):
    (tmp_path / "own.tsv").write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS if "lamp" not in a), encoding="utf-8")
    (tmp_path / "wide.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    result = train_text(tmp_path / "own.tsv", "translate", out=tmp_path / "b", source="en", target="de", more=str(tmp_path / "wide.tsv"), epochs=1, **QUICK)
    told = open_bundle(result.path).manifest.provenance
    assert told["more"] == {"file": "wide.tsv", "pairs": sum("lamp" in a for a, _ in PAIRS)}, "none of one's own, so none that is tested"
    assert any("further pairs from wide.tsv" in line for line in result.lines)
    with pytest.raises(DataError, match="no pair that is not among your own"):
        train_text(tmp_path / "own.tsv", "translate", out=tmp_path / "c", source="en", target="de", more=str(tmp_path / "own.tsv"), **QUICK)
    with pytest.raises(UsageError, match="--more"):
        train_text(tmp_path / "own.tsv", "lm", out=tmp_path / "c", more=str(tmp_path / "own.tsv"), **QUICK)


def test_chat_is_learned_from_messages_and_forgets_nothing_silently(tmp_path):
    rows = [{"messages": [{"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word}]} for word in (*COLOURS, *THINGS) for _ in "ab"]
    rows += [{"messages": [{"role": "user", "content": f"please say {word}"}, {"role": "assistant", "content": word}]} for word in (*COLOURS, *THINGS)]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train_text(tmp_path / "chat.jsonl", "chat", out=tmp_path / "chat", epochs=3, **QUICK)
    from understudy.run.chatting import open_chat

    with open_chat(result.path) as chat:
        dropped = []
        for _ in range(8):
            "".join(chat.say("say red and blue and green", Sampling(max_tokens=4), dropped.append))
        assert dropped and len(chat.messages) == 16
        chat.reset()
        assert chat.messages == []
        with pytest.raises(UsageError, match="tokens"):
            list(chat.say("red " * 200, Sampling(max_tokens=4)))
        assert chat.messages == []
    make_bundle(tmp_path / "sorts")
    with pytest.raises(UsageError, match="not for chat"):
        open_chat(tmp_path / "sorts")


def test_a_language_model_from_plain_text(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(f"{a} {b}" for a, b in PAIRS) * 3, encoding="utf-8")
    result = train([tmp_path / "a.txt"], task="lm", out=tmp_path / "lm", epochs=2, **QUICK)
    assert 0 < result.receipt.headline["bits_per_byte"] < 8
    with load(result.path) as writer:
        assert len(writer.next_words("The", 5)) == 5


def test_an_extractive_summariser(tmp_path, capsys):
    rows = [{"document": f"Much has been said about {b}. Others tried {a} things. We show that {a} {b}s work best. It rained.",
             "summary": f"{a} {b}s work best"} for a in COLOURS for b in THINGS]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train(tmp_path / "d.jsonl", task="summarize", out=tmp_path / "tldr", encoder="no", test_share=0.2)
    scores = {entry["name"]: entry["scores"]["rouge1"]["value"] for entry in result.receipt.data["entries"]}
    assert scores["extract"] > scores["lead-1"]
    with pytest.raises(GateError, match="rouge1>=101"):
        train(tmp_path / "d.jsonl", task="summarize", out=tmp_path / "no", encoder="no", test_share=0.2, gate="rouge1>=101")
    assert not (tmp_path / "no").exists()
    model = load(result.path)
    assert isinstance(model, Summariser)
    assert model.predict(rows[0]["document"]).text.startswith("We show")
    assert _run(["show", str(tmp_path / "tldr"), "--verify"], as_json=False) == 0
    assert "3 checks answered again" in capsys.readouterr().out
    (tmp_path / "r.md").write_text(rows[0]["document"])
    assert _run(["predict", str(tmp_path / "tldr"), "--input", str(tmp_path / "r.md"), "--sentences", "2", "--json"], as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["sentences"]) == 2
    with pytest.raises(UsageError, match="was made for the task summarize"):
        from understudy.run.answer import load as load_classifier

        load_classifier(result.path)


@pytest.mark.parametrize(("text", "words"), [
    ("en\tde\nhello\t\n", "is empty"), ("en\nhello\n", "1 column"), ("a\tb\tc\n1\t2\t3\n", "not clear"),
    ("source\ttarget\n" + "x\ty\n" * 3, "pairs are left"),
])
def test_broken_pairs_are_met_in_words(tmp_path, text, words):
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises((DataError, UsageError), match=words):
        train_text(tmp_path / "p.tsv", "translate", out=tmp_path / "no", **QUICK)
    assert not (tmp_path / "no").exists()
