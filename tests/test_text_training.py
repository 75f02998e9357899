"""Training as it goes wrong: killed, interrupted, on a full disk, within a time budget, from broken data; each by the real command."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from test_cli import on_a_terminal
from toy_language import PAIRS, QUICK, write_pairs
from understudy.bundle import verify
from understudy.cli import _run
from understudy.errors import DataError, UsageError
from understudy.recipes.text.train import train_text

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
# The command itself, with a state saved after every step instead of every minute.
SAVING = """
import functools, sys
from understudy.recipes.text import starting
starting.LanguageConfig = functools.partial(starting.LanguageConfig, save_every=0.0)
from understudy.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def text(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(f"{a} {b}" for a, b in PAIRS) * 3, encoding="utf-8")
    return tmp_path / "a.txt"


def command(text, out, home, *more: object, **settings) -> subprocess.Popen:
    words = ["train", text, "--task", "lm", "--out", out, "--size", "tiny", "--pieces", 400, "--context", 64, "--epochs", 6, "--threads", 1, *more]
    return subprocess.Popen([sys.executable, "-c", SAVING, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "UNDERSTUDY_HOME": str(home)}, **settings)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, out, err


def step_of(home) -> int:
    """Steps in the saved state of the only run, 0 where there is none."""
    from safetensors import safe_open

    found = list((home / "runs").glob("*.safetensors"))
    if not found:
        return 0
    with safe_open(found[0], "pt") as file:
        return int(json.loads(file.metadata()["now"])["step"])


def reached_by(err: str) -> tuple[int, str]:
    """(steps, held-out loss) at the end."""
    found = re.search(r"([\d,]+) steps, loss .*, held-out loss ([\d.]+) nats", err)
    return int(found[1].replace(",", "")), found[2]


def reached(process: subprocess.Popen, home, step: int) -> None:
    deadline = time.monotonic() + 200
    while step_of(home) < step:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


def test_a_run_that_is_killed_goes_on_to_the_same_loss(text, tmp_path):
    torn = command(text, tmp_path / "torn", tmp_path / "home")
    reached(torn, tmp_path / "home", 3)
    torn.send_signal(signal.SIGKILL)
    torn.communicate()
    assert torn.returncode == -signal.SIGKILL and not (tmp_path / "torn").exists()
    step = step_of(tmp_path / "home")
    code, _, again = ended(command(text, tmp_path / "torn", tmp_path / "home"))
    assert code == 0 and f"going on after step {step:,} of an earlier run" in again
    code, _, whole = ended(command(text, tmp_path / "whole", tmp_path / "other"))
    assert code == 0 and "going on" not in whole
    steps, held = reached_by(whole)
    # The loss before it is a mean over the steps of this process alone.
    assert reached_by(again) == (steps, held) and 0 < step < steps
    assert (tmp_path / "torn/writer/model.gguf").read_bytes() == (tmp_path / "whole/writer/model.gguf").read_bytes()


def test_control_c_makes_a_bundle_of_what_was_learned(text, tmp_path):
    process = command(text, tmp_path / "out", tmp_path / "home", "--epochs", 10_000)
    reached(process, tmp_path / "home", 3)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 0 and "interrupted: finishing with what is ready" in err and "is ready" in out and verify(tmp_path / "out") == []


@pytest.mark.parametrize(("most", "code", "words"), [(5_000_000, 0, "the state of the run cannot be saved, and training goes on without"),
                                                     (1_000_000, 1, "error: the output cannot be written: file too large\nhint: raise the limit of a file's size: ulimit -f\n")])
def test_a_full_disk_in_mid_training(text, tmp_path, most, code, words):
    """No file may grow beyond some bytes: the state of the run does not fit, or not even the model."""
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = command(text, tmp_path / "out", tmp_path / "home", preexec_fn=small)
    got, _, err = ended(process)
    assert got == code and words in err and err.count("cannot be saved") == 1, err
    assert (tmp_path / "out").exists() == (code == 0) and not list(tmp_path.glob("home/runs/*"))


def test_several_files_a_live_line_and_a_budget_that_ends_the_schedule(text, tmp_path, monkeypatch):
    from understudy.teach import language

    (tmp_path / "b.txt").write_text("Another file speaks of other things. " * 300)
    heard, shares, real = [], [], language._step
    monkeypatch.setattr(language, "_step", lambda *args: (shares.append(args[4]), real(*args))[1])
    began = time.monotonic()
    train_text([text, tmp_path / "b.txt"], "lm", out=tmp_path / "out", time_budget=8.0, listen=heard.append, epochs=1e6, **QUICK)
    assert time.monotonic() - began < 40
    longest = max(b - a for a, b in itertools.pairwise(shares))
    assert shares == sorted(shares) and 1 - 2 * longest < shares[-1] < 1, "the rate falls to nothing as the time runs out"
    told = [event.text for event in heard]
    assert any(line.startswith("2 files, ") for line in told)
    assert any(re.fullmatch(r"loss \d+\.\d{3}, [\d,]+ tokens/s, \d+ (s|min) left", line) for line in told)


def test_a_terminal_sees_the_loss_move(text, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    code, seen = on_a_terminal("train", text, "--task", "lm", "--out", tmp_path / "out", "--size", "tiny", "--pieces", 400, "--context", 64,
                               "--epochs", 12, "--threads", 1)
    assert code == 0 and re.search(r"\[#+-*\] +\d+%  loss \d\.\d+, [\d,]+ tokens/s, \d+ s le(ft|…)", seen)


def pairs(rows) -> str:
    return "".join(f"{a}\t{b}\n" for a, b in rows)


@pytest.mark.parametrize(("content", "words"), [
    (pairs([("en", "de"), *PAIRS[:30], ("The red door.", "")]).encode(), r"line 32: the column 'de' is empty"),
    (pairs([("en", "de"), *((b, a) for a, b in PAIRS)]).encode(), "the texts in 'en' are in the language de and those in 'de' in en"),
    (pairs([("en", "de"), *((a, a) for a, _ in PAIRS)]).encode(), "120 of 120 rows have the same text in 'en' and 'de'"),
    (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "is a PNG image"), (b"", "empty")])
def test_pairs_that_are_mixed_up_are_one_error(tmp_path, content, words, capsys):
    (tmp_path / "p.tsv").write_bytes(content)
    assert _run(["train", str(tmp_path / "p.tsv"), "--task", "translate", "--source", "en", "--target", "de", "--out", str(tmp_path / "no")], as_json=False) == 1
    said = capsys.readouterr().err
    assert re.search(words, said) and said.count("error:") == 1 and not (tmp_path / "no").exists()


def test_text_in_another_encoding_is_read_when_it_is_named(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(("Die Tür ist grün. " * 900).encode("latin-1"))
    words = ["train", str(tmp_path / "a.txt"), "--task", "lm", "--out", str(tmp_path / "no")]
    assert _run(words, as_json=False) == 1
    said = capsys.readouterr().err
    assert "a.txt is not utf-8: " in said and "hint: name its encoding: --encoding windows-1252" in said
    with pytest.raises(DataError, match="is not ascii"):
        train_text(tmp_path / "a.txt", "lm", out=tmp_path / "no", encoding="ascii", **QUICK)
    assert train_text(tmp_path / "a.txt", "lm", out=tmp_path / "yes", encoding="latin-1", epochs=0.1, **QUICK).path.exists()


def test_rows_that_are_too_long_are_counted(tmp_path):
    write_pairs(tmp_path / "p.tsv")
    with (tmp_path / "p.tsv").open("a") as file:
        file.write("word " * 190_000 + "\tWort\n")
    heard = []
    train_text(tmp_path / "p.tsv", "translate", out=tmp_path / "out", source="en", target="de", epochs=0.1, listen=heard.append, **{**QUICK, "test_share": 0.2})
    assert any(re.match(r"1 of \d+ rows are longer than 64 tokens and are left out; --context", event.text) for event in heard)
    (tmp_path / "p.tsv").write_text("en\tde\n" + "word " * 300_000 + "\tWort\n")
    with pytest.raises(DataError, match=r"line 2: a cell of 1,500,000 characters; the limit is 1,000,000"):
        train_text(tmp_path / "p.tsv", "translate", out=tmp_path / "no", source="en", target="de", **QUICK)


def test_a_million_words_to_continue_are_refused_at_once(made, tmp_path):
    from toy_language import retasked
    from understudy.run.opening import load

    with load(retasked(made[0] / "en-de", tmp_path / "b", "generate")) as writer:
        began = time.monotonic()
        with pytest.raises(UsageError, match=r"the prompt has [0-9]+ tokens and the context holds"):
            writer.predict("a " * 1_000_000)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("task", ["generate", "chat", "lm"])
def test_test_rows_that_the_context_does_not_hold_do_not_end_the_run(tmp_path, task):
    long = "0123456789 " * 60
    rows = [*PAIRS, (long, "viel")]
    if task == "lm":
        (tmp_path / "a.txt").write_text(" ".join(str(number) for number in range(4000)))
        heard = train_text(tmp_path / "a.txt", "lm", out=tmp_path / "out", epochs=0.2, **QUICK)
    elif task == "generate":
        write_pairs(tmp_path / "p.tsv")
        (tmp_path / "t.tsv").write_text(pairs([("en", "de"), *PAIRS[:5], rows[-1]]))
        heard = train_text(tmp_path / "p.tsv", task, out=tmp_path / "out", source="en", target="de", test=str(tmp_path / "t.tsv"), epochs=0.2, **QUICK)
    else:
        for name, some in (("p", PAIRS), ("t", [*PAIRS[:5], rows[-1]])):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}) + "\n"
                                                            for a, b in some))
        heard = train_text(tmp_path / "p.jsonl", task, out=tmp_path / "out", test=str(tmp_path / "t.jsonl"), epochs=0.2, **QUICK)
    shipped = heard.receipt.data["entries"][-1]
    assert verify(tmp_path / "out") == [] and (task == "lm" or (shipped["rows"] == 6 and shipped["cut"] >= 1))
