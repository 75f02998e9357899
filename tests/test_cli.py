"""The command line: what it prints, its exit codes, and that bad input is one error with a hint."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
import termios
import time

import pytest

from tiny_bundle import make_bundle, write_rows
from understudy.cli import VERBS, _run
from understudy.run.answer import load


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("cli") / "support")


def ask(*words: object) -> int:
    given = [str(word) for word in words]
    return _run(given, as_json="--json" in given)


def process(*words: object, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "understudy.cli", *map(str, words)], capture_output=True, timeout=60, **more)


def test_one_text_is_one_line(bundle, capsys):
    assert ask("predict", bundle, "where is my parcel") == 0
    assert capsys.readouterr().out.startswith("delivery  ")


def test_texts_as_json_carry_label_confidence_rung_and_time(bundle, capsys):
    assert ask("predict", bundle, "where is my parcel", "refund", "--json", "--top", 2) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in told] == ["delivery", "refund"]
    assert told[0]["rung"] == "ngram" and 0 < told[0]["confidence"] <= 1 and told[0]["milliseconds"] >= 0 and len(told[0]["top"]) == 2


def test_a_bundle_that_is_not_sure_hands_over(tmp_path, capsys):
    make_bundle(tmp_path / "shy", threshold=1.01)
    assert ask("predict", tmp_path / "shy", "where is my parcel") == 0
    assert "hand over; best guess delivery" in capsys.readouterr().out
    assert ask("predict", tmp_path / "shy", "where is my parcel", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["label"] is None


def test_a_file_keeps_its_columns_and_equals_the_library(bundle, tmp_path, capsys):
    write_rows(tmp_path / "in.csv", 250)
    assert ask("predict", bundle, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv") == 0
    with open(tmp_path / "out.csv", newline="") as file:
        got = list(csv.DictReader(file))
    opened = load(bundle)
    assert list(got[0]) == ["text", "label", "predicted_label", "confidence", "rung"]
    for row in got:
        said = opened.predict(row["text"])
        assert row["predicted_label"] == said.label and float(row["confidence"]) == pytest.approx(said.confidence, abs=1e-6)


def test_standard_input_to_standard_output_in_silence(bundle):
    done = process("predict", bundle, "--input", "-", input=b"text\nwhere is my parcel\n\"a refund,\nplease\"\n")
    assert done.returncode == 0 and done.stderr == b""
    got = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["label"] for row in got] == ["delivery", "refund"]


def test_a_reader_that_leaves_is_no_error(bundle, tmp_path):
    write_rows(tmp_path / "in.csv", 280)
    line = f"{sys.executable} -m understudy.cli predict {bundle} --input {tmp_path / 'in.csv'} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, timeout=60)
    assert done.stderr == b"" and done.stdout.count(b"\n") == 1


def test_a_slow_pipe_is_answered_row_by_row(bundle):
    with subprocess.Popen([sys.executable, "-m", "understudy.cli", "predict", str(bundle), "--input", "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as running:
        running.stdin.write(b"text\nwhere is my parcel\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"text,label,confidence,rung\n"
        time.sleep(0.2)
        running.stdin.write(b"a refund please\n")
        running.stdin.flush()
        # Both are here while the pipe is still open.
        assert [running.stdout.readline().split(b",")[1] for _ in range(2)] == [b"delivery", b"refund"]
        running.stdin.close()
        assert running.wait(20) == 0


def on_a_terminal(*words: object) -> tuple[int, str]:
    """(exit code, what standard error shows) of a process whose standard error is a terminal of 70 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 70))
    running = subprocess.Popen([sys.executable, "-m", "understudy.cli", *map(str, words)], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the other end closes
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    return running.wait(20), seen.decode()


def test_a_terminal_sees_how_far_a_file_is_and_lines_that_fit(bundle, tmp_path):
    write_rows(tmp_path / "in.csv", 80)
    code, seen = on_a_terminal("predict", bundle, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert code == 0 and "[##############] 100%  80 rows" in seen and "80 rows answered in" in seen
    assert all(len(part) < 70 for part in seen.split("\r\x1b[K"))
    code, seen = on_a_terminal("prove", bundle, "--data", tmp_path / "in.csv")
    assert code == 0 and "ngram" in seen and seen.endswith("\r\x1b[K")
    code, seen = on_a_terminal("bench", bundle, "--seconds", "0.2")
    assert code == 0 and "cold start" in seen and seen.endswith("\r\x1b[K")
    assert process("predict", bundle, "--input", tmp_path / "in.csv").stderr == process("bench", bundle, "--seconds", "0.2").stderr == b""


def test_more_labels_and_a_place_for_answers(bundle, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("text\nwhere is my parcel\n")
    assert ask("predict", bundle, "--input", tmp_path / "in.csv", "--top", 9) == 0
    row, = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(row) == ["text", "label", "confidence", "rung", "label_2", "confidence_2", "label_3", "confidence_3"]
    assert {row["label"], row["label_2"], row["label_3"]} == set(load(bundle).labels)
    assert sum(float(row[name]) for name in row if name.startswith("confidence")) == pytest.approx(1, abs=1e-5)
    assert ask("predict", bundle, "where is my parcel", "a refund", "--output", tmp_path / "out.csv") == 0
    with open(tmp_path / "out.csv", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["delivery", "refund"]
    assert capsys.readouterr().out == ""


def test_a_full_disk_is_named(bundle, tmp_path):
    write_rows(tmp_path / "in.csv", 30)
    for words in (["predict", bundle, "where is my parcel"], ["predict", bundle, "--input", tmp_path / "in.csv"], ["show", bundle], ["doctor"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([sys.executable, "-m", "understudy.cli", *map(str, words)], stdout=full, stderr=subprocess.PIPE, timeout=60)
        said = done.stderr.decode()
        assert done.returncode == 1 and "cannot be written: no space left on device" in said.lower() and "hint: " in said and "bug" not in said


def test_prove_prints_the_table_and_keeps_the_gate(bundle, tmp_path, capsys):
    write_rows(tmp_path / "fresh.csv", 60)
    assert ask("prove", bundle, "--data", tmp_path / "fresh.csv", "--html", tmp_path / "r.html") == 0
    assert "cascade" in capsys.readouterr().out and "<html" in (tmp_path / "r.html").read_text()
    assert ask("prove", bundle, "--data", tmp_path / "fresh.csv", "--gate", "accuracy>=0.1,size<=5MB", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    assert ask("prove", bundle, "--data", tmp_path / "fresh.csv", "--gate", "size<=1KB") == 3
    assert "size" in capsys.readouterr().err


def test_prove_names_a_label_that_the_bundle_does_not_know(bundle, tmp_path, capsys):
    (tmp_path / "x.csv").write_text("text,label\nwhere is it,delivery\nodd one,weather\n")
    assert ask("prove", bundle, "--data", tmp_path / "x.csv") == 1
    assert "line 3: the label 'weather' is not one of the bundle's 3" in capsys.readouterr().err


def test_show_tells_and_verifies(bundle, capsys):
    assert ask("show", bundle, "--verify", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rungs"][0]["name"] == "ngram" and told["verified"]["files"] == 2
    assert ask("show", bundle) == 0
    assert "answers the rest" in capsys.readouterr().out


def test_show_refuses_a_bundle_that_answers_otherwise(tmp_path, capsys):
    from dataclasses import replace

    from understudy.bundle import open_bundle, write_bundle

    opened = open_bundle(make_bundle(tmp_path / "b"))
    checks = json.dumps({"tolerance": 0.01, "checks": [{"text": "refund", "label": "card", "confidence": 0.9, "rung": "ngram"}]}).encode()
    files = {name: opened.read(name) for name in opened.files()} | {"checks.json": checks}
    write_bundle(tmp_path / "b", files, replace(opened.manifest, files={}))
    assert ask("show", tmp_path / "b", "--verify") == 1
    assert "the check 'refund' should give 'card'" in capsys.readouterr().err


def test_bench_measures_here(bundle, capsys):
    assert ask("bench", bundle, "--seconds", 0.2, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["speed"]["p50_ms"] > 0 and told["cold_start_s"] > 0 and told["answered_by"] == {"ngram": 1.0}


def test_doctor_finds_every_part(capsys):
    assert ask("doctor", "--json") == 0
    assert {"python", "onnxruntime", "extra 'train'", "cores", "cache", "default teacher"} <= {one["what"] for one in json.loads(capsys.readouterr().out)}


def test_doctor_says_what_is_missing(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "file" / "below"))
    assert ask("doctor") == 1
    assert "set UNDERSTUDY_HOME to a folder that can be written" in capsys.readouterr().out


def test_train_then_predict(tmp_path, capsys):
    write_rows(tmp_path / "train.csv", 150)
    assert ask("train", tmp_path / "train.csv", "--out", tmp_path / "made", "--size", "tiny", "--teacher", "none", "--max-error", "20%", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["receipt"]["entries"][-1]["role"] == "cascade" and len(told["id"]) == 64
    assert ask("train", tmp_path / "train.csv", "--out", tmp_path / "made", "--size", "tiny", "--teacher", "none", "--gate", "size<=1KB") == 3
    assert ask("predict", tmp_path / "made", "where is my parcel") == 0


@pytest.mark.parametrize(("words", "code", "said"), [
    (["predict"], 2, "Missing argument"),
    (["predict", "{bundle}"], 2, "predict needs texts, or --input FILE"),
    (["predict", "{bundle}", "x", "--input", "y.csv"], 2, "not both"),
    (["predict", "{bundle}", "x", "--encoding", "cp1252"], 2, "--encoding says how to read a file, and no --input is given"),
    (["predict", "{bundle}", "x", "--text-column", "body"], 2, "--text-column says how to read a file"),
    (["predict", "{bundle}", "x", "--on-bad-row", "skip"], 2, "--on-bad-row says how to read a file"),
    (["predict", "{bundle}", "x", "--memory", "tm.tsv"], 2, "--memory is for translating a localisation file"),
    (["predict", "{bundle}", "--input", "x.csv", "--overwrite"], 2, "--overwrite is for translating a localisation file"),
    (["predict", "{bundle}", "x", "--output", "o.json"], 2, "o.json"),
    (["predict", "{bundle}", "x", "--temperature", "1"], 2, "--temperature is for models that write"),
    (["predict", "/nowhere", "x"], 1, "/nowhere"),
    (["predict", "{bundle}", "--input", "/nowhere.csv"], 2, "/nowhere.csv"),
    (["conjure"], 2, "No such command"),
    (["train", "x.csv"], 2, "Missing option '--out'"),
    (["train", "/nowhere.csv", "--out", "/tmp/never"], 2, "/nowhere.csv"),
    (["train", "x.csv", "--out", "o", "--max-size", "5 parsecs"], 2, "5 parsecs"),
    (["train", "x.csv", "--out", "o", "--size", "huge"], 2, "huge"),
    (["train", "x.csv", "--out", "o", "--gate", "beauty>=1"], 2, "beauty"),
    (["prove", "{bundle}", "--data", "/nowhere.csv"], 2, "/nowhere.csv"),
    (["show", "/nowhere"], 1, "/nowhere"),
])
def test_every_mistake_is_one_error_with_its_exit_code(bundle, words, code, said, capsys):
    given = [word.format(bundle=bundle) for word in words]
    assert ask(*given) == code
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("error: ") and said in out.err and "Traceback" not in out.err
    assert ask(*given, "--json") == code
    told = json.loads(capsys.readouterr().err)
    assert set(told) == {"error", "message", "hint", "exit_code"} and told["exit_code"] == code


def test_an_unexpected_error_is_one_line(monkeypatch, bundle, capsys):
    import understudy.recipes.inspecting as inspecting

    monkeypatch.setattr(inspecting, "show", lambda *a, **k: 1 / 0)
    assert ask("show", bundle) == 1
    assert capsys.readouterr().err.startswith("error: ZeroDivisionError: division by zero\nhint: ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example(verb, capsys):
    assert ask(verb, "--help") == 0
    assert f"understudy {verb}" in capsys.readouterr().out.split("Example:")[1]


def test_the_help_of_train_has_a_flag_for_every_dial(capsys):
    from dataclasses import fields

    from understudy.recipes.config import TrainConfig

    assert ask("train", "--help") == 0
    shown = capsys.readouterr().out
    assert all(f"--{dial.name.replace('_', '-')}" in shown for dial in fields(TrainConfig))
