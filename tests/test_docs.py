"""Nothing a user reads goes ungenerated or unexecuted."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from test_architecture import TABLE
from tiny_bundle import make_bundle, write_rows
from understudy.cli import VERBS, group

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_reference_pages_are_what_the_code_says():
    done = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode} pages differ: run `make docs`"


def test_a_stale_page_would_be_found(monkeypatch, tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    import docs

    monkeypatch.setattr(docs, "OUT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["docs.py", "--check"])
    assert docs.main() == len(docs.PAGES)


def lines_of(kind: str) -> list[str]:
    """Every `understudy …` line in README blocks of a kind, without its comment."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", README, re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip().startswith("understudy ")]


@pytest.mark.parametrize("line", lines_of("sh"))
def test_every_command_in_the_readme_parses(line):
    words = shlex.split(line)
    command = group.get_command(click.Context(group), words[1])
    assert command is not None, f"no verb {words[1]}"
    command.make_context(words[1], words[2:], resilient_parsing=False)


def test_the_readme_mentions_every_verb_and_every_room():
    assert {line.split()[1] for line in lines_of("sh")} == set(VERBS)
    for room in set(TABLE) - {"_version", "__init__"}:
        assert f"`{room}`" in README, room


def test_the_commands_of_the_readme_answer(tmp_path, monkeypatch, capsys):
    from understudy.cli import _run

    make_bundle(tmp_path / "support")
    write_rows(tmp_path / "big.csv", 40)
    write_rows(tmp_path / "fresh-labelled.csv", 40)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    ran = [line for line in lines_of("sh") if line.split()[1] in ("predict", "prove", "show", "score", "chat")]
    assert len(ran) >= 5
    assert any("chat" in line for line in ran)
    for line in ran:
        monkeypatch.setattr("sys.stdin", io.StringIO("A latte, please.\nYes.\n"))
        assert _run(shlex.split(line)[1:], as_json=False) == 0, capsys.readouterr().err


def test_the_python_block_runs(tmp_path, monkeypatch):
    block = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    write_rows(tmp_path / "tickets.csv", 120)
    write_rows(tmp_path / "fresh-labelled.csv", 40)
    monkeypatch.chdir(tmp_path)
    # No hub and no 90 MB in a test: the same lines, with nobody to ask.
    code = block.replace('size="small"', 'size="tiny", teacher="none"')
    assert code != block
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Prediction(" in done.stdout and "cascade" in done.stdout


def test_the_python_block_about_writing_runs(monkeypatch, capsys):
    pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
    block = re.findall(r"```python\n(.*?)```", README, re.S)[1]
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Wo ist der Bahnhof?" and said[1] in ("Bahnhof", "Flughafen") and said[2].startswith("(('")
