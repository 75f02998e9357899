"""The verbs of models that write, flag by flag, as a user types them: every flag does something or is refused."""

from __future__ import annotations

import json

import pytest

from toy_language import PAIRS, retasked
from understudy.cli import _run
from understudy.errors import UsageError
from understudy.run.opening import load
from understudy.tasks.sentences import sentences, words_of

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
ASK = "The red door is old."
LONG = "\n\n".join(f"# Part {at}\n\n" + " ".join(a for a, _ in PAIRS[at * 12:at * 12 + 12]) for at in range(3))
SHAPE = {"input", "text", "finish", "parts", "ids", "prompt_tokens", "tokens", "seconds_first", "tokens_per_second"}


def asked(*words: object, capsys) -> list[dict]:
    """What predict answers as JSON."""
    assert _run(["predict", "--json", *map(str, words)], as_json=True) == 0
    return json.loads(capsys.readouterr().out)


def refused(*words: object, capsys) -> str:
    assert _run(list(map(str, words)), as_json=False) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def tldr(made, tmp_path_factory):
    """The toy translator as if it summarised."""
    return retasked(made[0] / "en-de", tmp_path_factory.mktemp("tldr") / "b", "summarize")


def test_every_sampling_flag_changes_the_answer(made, capsys):
    bundle = made[0] / "en-de"
    plain, = asked(bundle, ASK, capsys=capsys)
    assert set(plain) == SHAPE and plain["finish"] == "end" and len(plain["ids"]) == plain["tokens"] > 5 and plain["seconds_first"] > 0
    short, = asked(bundle, ASK, "--max-tokens", 3, capsys=capsys)
    assert short["finish"] == "length" and short["tokens"] == 3
    stopped, = asked(bundle, ASK, "--stop", " in", capsys=capsys)
    assert stopped["finish"] == "stop" and stopped["text"] == plain["text"].split(" in")[0]
    wild = ["--temperature", 8]
    drawn = [asked(bundle, ASK, *wild, "--seed", seed, capsys=capsys)[0]["ids"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for held in (["--top-k", 1], ["--top-p", 0.0001], ["--min-p", 1]):
        assert asked(bundle, ASK, *wild, "--seed", 1, *held, capsys=capsys)[0]["text"] == plain["text"], held
    assert asked(bundle, ASK, "--repeat-penalty", 9, capsys=capsys)[0]["ids"] != plain["ids"]
    assert asked(bundle, ASK, "--choice", "ja", "--choice", "nein", capsys=capsys)[0]["text"] in ("ja", "nein")


def test_a_schema_and_choices_hold_a_whole_answer(made, tmp_path, capsys):
    (tmp_path / "s.json").write_text(json.dumps({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}))
    one, = asked(made[0] / "en-de", f"{ASK} {ASK}", "--json-schema", tmp_path / "s.json", capsys=capsys)
    assert one["parts"] == 1 and set(json.loads(one["text"])) == {"ok"}
    one, = asked(made[0] / "en-de", f"{ASK} {ASK}", "--choice", "ja", capsys=capsys)
    assert one["text"] == "ja"
    (tmp_path / "s.json").write_text("{")
    assert "is not JSON" in refused("predict", made[0] / "en-de", ASK, "--json-schema", tmp_path / "s.json", capsys=capsys)


@pytest.mark.parametrize(("flags", "words"), [
    (["--seed", 3], "--seed says how to draw, and at temperature 0"), (["--top-p", 0.5], "--top-p says how to draw"), (["--top-k", 3], "--top-k says"),
    (["--min-p", 0.5], "--min-p says"), (["--choice", "a", "--max-tokens", 3], "with --choice the answer is one of those texts"),
    (["--sentences", 2], "--words and --sentences are for summaries"), (["--top", 2], "--top is for models that sort"),
    (["--choice", "a", "--json-schema", "x"], "x cannot be read"), (["--on-bad-row", "skip"], "no --input is given"),
    (["--memory", "x"], "--memory is for translating a localisation file")])
def test_a_flag_that_would_do_nothing_is_refused(made, capsys, flags, words):
    said = refused("predict", made[0] / "en-de", ASK, *flags, capsys=capsys)
    assert words in said and len(said.splitlines()) <= 2


def test_a_stop_string_ends_a_long_answer_and_marks_of_headings_stay(made, capsys):
    bundle = made[0] / "en-de"
    whole, = asked(bundle, f"# {ASK}\n\n- {ASK}\n", capsys=capsys)
    single = asked(bundle, ASK, capsys=capsys)[0]["text"]
    assert whole["text"] == f"# {single}\n\n- {single}\n"
    one, = asked(bundle, f"{ASK} {ASK}", "--stop", " ist", capsys=capsys)
    assert one["text"] == single.split(" ist")[0] and one["finish"] == "stop"
    assert asked("--", bundle, "---\n", capsys=capsys)[0]["text"] == "---\n"


def test_summaries_are_written_section_by_section_within_a_budget(tldr, tmp_path, capsys):
    (tmp_path / "r.md").write_text(LONG)
    whole, = asked(tldr, "--input", tmp_path / "r.md", capsys=capsys)
    assert whole["parts"] >= 6 and whole["text"].count("\n\n") == 2 and set(whole) == {*SHAPE, "words", "share", "flags", "sentences"}
    for flag, most, count in (("--words", 11, lambda text: len(words_of(text))), ("--sentences", 3, lambda text: len(sentences(text)))):
        one, = asked(tldr, "--input", tmp_path / "r.md", flag, most, capsys=capsys)
        assert 0 < count(one["text"]) <= most and one["finish"] == "length" and one["text"].endswith("."), flag
        assert one["ids"] == whole["ids"], "what was written is told though it was cut"
    assert _run(["predict", str(tldr), "--input", str(tmp_path / "r.md"), "--words", "2"], as_json=False) == 0
    said = capsys.readouterr()
    assert len(words_of(said.out)) <= 2 and "note: no sentence fits into 2 words" in said.err and "cut at its longest" in said.err
    assert "one of words, sentences or share" in refused("predict", tldr, ASK, "--words", 3, "--sentences", 2, capsys=capsys)


def test_both_routes_of_a_summary_answer_alike(tldr, tmp_path, capsys):
    from understudy.recipes.training import train

    rows = [{"document": f"Much was said about {a}. We show that {a} works best. It rained.", "summary": f"{a} works best"} for a in map(str, range(40))]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = train(tmp_path / "d.jsonl", task="summarize", out=tmp_path / "x", encoder="no", test_share=0.2).path
    (tmp_path / "t.csv").write_text(f"id,text\n7,{ASK} {ASK}\n")
    shapes, heads, lines = [], [], []
    for bundle in (tldr, chosen):
        shapes.append({key: sorted(value[0]) if key == "sentences" else None for key, value in asked(bundle, f"{ASK} {ASK}", capsys=capsys)[0].items()})
        assert _run(["predict", str(bundle), "--input", str(tmp_path / "t.csv")], as_json=False) == 0
        heads.append(capsys.readouterr().out.splitlines()[0])
        assert _run(["predict", str(bundle), "--input", str(tmp_path / "t.csv"), "--json"], as_json=False) == 0
        lines.append(set(json.loads(capsys.readouterr().out)))
    assert shapes[0] == shapes[1] and heads == ["id,text,summary,finish,flags"] * 2
    assert lines[0] == lines[1] >= {"id", "summary", "ids", "finish", "seconds_first"}
    assert "--max-tokens is for models that write" in refused("predict", chosen, ASK, "--max-tokens", 3, capsys=capsys)


def test_what_a_summary_makes_up_is_shown(tldr, capsys):
    assert _run(["predict", str(tldr), "The red door costs 42 euros.", "--choice", "The door costs 43 euros."], as_json=False) == 0
    said = capsys.readouterr()
    assert said.err == "note: not in the document: number 43\n" and said.out == "The door costs 43 euros.\n"


def test_a_file_of_rows_as_json_has_ids_and_timings(made, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(f"id,text\n7,{ASK}\n8,{ASK}\n")
    assert _run(["predict", str(made[0] / "en-de"), "--input", str(tmp_path / "t.csv"), "--json"], as_json=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == ["7", "8"] and all(row["ids"] and row["finish"] == "end" and row["tokens_per_second"] > 0 for row in rows)
    assert "is about the rows of a table" in refused("predict", made[0] / "en-de", "--input", _written(tmp_path), "--on-bad-row", "skip", capsys=capsys)


def _written(folder):
    (folder / "a.txt").write_text(ASK)
    return folder / "a.txt"


def test_a_budget_from_python_and_for_the_wrong_task(made, tldr):
    with load(tldr) as writer:
        assert len(sentences(writer.predict(LONG, sentences=2).text)) == 2
        with pytest.raises(UsageError, match="sentences is 0"):
            writer.predict(ASK, sentences=0)
    with load(made[0] / "en-de") as writer, pytest.raises(UsageError, match="are for summaries"):
        writer.predict(ASK, words=3)


def test_a_crash_in_native_code_costs_the_request_and_not_the_bundle(made):
    import itertools
    import os
    import signal
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from understudy.run.generate.wire import EngineError

    with load(made[0] / "en-de") as writer:
        wanted, pid = writer.predict(ASK).text, writer.engine.worker_pid
        # In full swing, when several requests are always under way.
        begun, calls, real = threading.Event(), itertools.count(), writer.engine.complete
        writer.engine.complete = lambda *args: (next(calls) > 40 and begun.set(), real(*args))[1]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(writer.predict, [ASK] * 3000)
            assert begun.wait(60)
            os.kill(pid, signal.SIGSEGV)
            with pytest.raises(EngineError, match="the worker ended while the request ran"):
                asked.result(60)
        assert writer.predict([ASK] * 3)[2].text == wanted and writer.engine.worker_pid != pid


def test_every_shrinking_verb_prints_size_parity_and_speed(made, tmp_path, capsys):
    bundle = made[0] / "en-de"
    (tmp_path / "c.txt").write_text("".join(f"{one}\n" for pair in PAIRS for one in pair))
    made_of = {("trim", "--keep-for", tmp_path / "c.txt"): tmp_path / "small", ("quantize", "--to", "q4_k_m"): tmp_path / "q.gguf",
               ("export", "--to", "gguf"): tmp_path / "x.gguf", ("export", "--to", "hf"): tmp_path / "hub", ("export", "--to", "ollama"): tmp_path / "ollama"}
    for (verb, *flags), out in made_of.items():
        assert _run([verb, str(bundle), *map(str, flags), "--out", str(out)], as_json=False) == 0
        said = capsys.readouterr().out
        assert "tokens/s, before" in said and "continued alike" in said and ("MB" in said or "bytes" in said), verb
    assert _run(["trim", str(tmp_path / "x.gguf"), "--keep-for", str(tmp_path / "c.txt"), "--out", str(tmp_path / "t"), "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same"] == told["asked"] == 5 and told["bytes_after"] <= told["bytes_before"] and told["trouble"] is None


@pytest.mark.parametrize(("words", "said"), [
    (["export", "{b}", "--to", "onnx", "--out", "{t}/o"], "has no transformer in ONNX"), (["export", "{b}", "--to", "gguf", "--out", "{t}/o"], "no name for a GGUF"),
    (["export", "{b}", "--to", "gguf", "--out", "{t}/no/o.gguf"], "no/o.gguf"), (["quantize", "{b}", "--to", "q4_0", "--out", "{t}/o"], "no name for a GGUF"),
    (["quantize", "{t}/cut.gguf", "--to", "q4_0", "--out", "{t}/o.gguf"], "cut short"), (["score", "{t}/cut.gguf", "a"], "is not a usable GGUF"),
    (["chat", "{t}/cut.gguf"], "is not a usable GGUF"), (["trim", "{t}/cut.gguf", "--keep-for", "{t}/c.txt", "--out", "{t}/o"], "cut short"),
    (["export", "{t}/strange.gguf", "--to", "hf", "--out", "{t}/o"], "family|shape"), (["score", "{t}/strange.gguf", "a"], "marti"),
    (["score", "{t}/empty", "a"], "is not a model folder"), (["trim", "{t}/empty", "--keep-for", "{t}/c.txt", "--out", "{t}/o"], "is not a model folder"),
    (["chat", "{b}"], "not for chat")])
def test_what_cannot_be_opened_or_written_is_one_error(made, tmp_path, capsys, words, said):
    import re

    whole = (made[0] / "en-de/writer/model.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:5000])
    (tmp_path / "strange.gguf").write_bytes(whole.replace(b"llama", b"marti"))
    (tmp_path / "c.txt").write_text(ASK)
    (tmp_path / "empty").mkdir()
    before = set(tmp_path.iterdir())
    assert _run([word.format(b=made[0] / "en-de", t=tmp_path) for word in words], as_json=False) in (1, 2)
    err = capsys.readouterr().err
    assert re.search(said, err) and err.count("error:") == 1 and "Traceback" not in err and set(tmp_path.iterdir()) - before <= {tmp_path / "understudy-home"}, err
