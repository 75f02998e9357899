"""`understudy chat` and `understudy score` as a user types them: saved and continued talks, what no longer fits, every kind of model."""

from __future__ import annotations

import io
import json

import pytest

from decoders import make_decoder
from toy_language import COLOURS, QUICK, THINGS
from understudy.cli import _run
from understudy.recipes.text.train import train_text
from understudy.run.chatting import open_chat

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
TRAP = "{% for i in range(99999999) %}{% for j in range(99999999) %}{% endfor %}{% endfor %}{{ raise_exception('never run') }}<|im_start|>"


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """A bundle that was taught to repeat a word, for a moment only."""
    work = tmp_path_factory.mktemp("parrot")
    rows = [{"messages": [{"role": "user", "content": f"{how} {word}"}, {"role": "assistant", "content": word}]}
            for word in (*COLOURS, *THINGS) for how in ("say", "please say", "just say")]
    (work / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(work / "home"))
        return train_text(work / "chat.jsonl", "chat", out=work / "parrot", epochs=3, **QUICK).path


@pytest.fixture
def talk(monkeypatch, capsys):
    """talk(lines, model, *flags) -> (exit code, standard output, standard error)."""
    def told(lines: list[str], *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = _run(["chat", *map(str, words)], as_json="--json" in words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return told


def test_a_conversation_is_saved_and_goes_on(parrot, talk, tmp_path):
    kept = tmp_path / "talk.json"
    code, first, _ = talk(["say red", f"/save {kept}", "say blue"], parrot, "--json", "--max-tokens", 4, "--system", "Be brief.")
    assert code == 0
    saved = json.loads(kept.read_text())["messages"]
    assert [one["role"] for one in saved] == ["system", "user", "assistant"] and saved[0]["content"] == "Be brief."
    later = json.loads(first.splitlines()[1])
    assert set(later) == {"input", "text", "finish", "ids", "prompt_tokens", "tokens", "seconds_first", "tokens_per_second"}
    for how in (["say blue"], [f"/load {kept}", "say blue"], ["say green", "/reset", f"/load {kept}", "say blue"]):
        flags = [] if any("/load" in line for line in how) else ["--from", kept]
        code, out, err = talk(how, parrot, *flags, "--json", "--max-tokens", 4)
        said = json.loads(out.splitlines()[-1])
        assert (said["ids"], said["prompt_tokens"]) == (later["ids"], later["prompt_tokens"]) and "going on after 3 messages" in err, how
    code, out, _ = talk(["say blue"], parrot, "--json", "--max-tokens", 4)
    assert json.loads(out)["prompt_tokens"] < later["prompt_tokens"]


def test_what_no_longer_fits_is_said_and_a_turn_too_long_is_refused(parrot, talk):
    code, out, err = talk(["say red and blue and green"] * 5, parrot, "--max-tokens", 4)
    assert code == 0 and len(out.splitlines()) == 5 and "earlier messages no longer fit and were left out" in err
    code, _, err = talk(["red " * 200], parrot)
    assert code == 2 and err.count("error:") == 1 and "tokens" in err and "hint:" in err


def test_an_answer_that_is_cut_is_said(kinds, talk):
    assert "cut at its longest" in talk(["say red"], kinds["gguf"], "--max-tokens", 1)[2]


@pytest.mark.parametrize(("text", "words"), [
    (None, "cannot be read"), ("{", "is not JSON"), ("[]", "holds no conversation"), ('{"messages": []}', "not a list of messages"),
    ('{"messages": [{"role": "tool", "content": "x"}]}', "message 0 has the role 'tool'"),
    ('{"messages": [{"role": "user", "content": 3}]}', "content of message 0 is no text"), ("[" * 100_000, "is not JSON")])
def test_a_file_that_is_no_conversation_is_refused(parrot, talk, tmp_path, text, words):
    if text is not None:
        (tmp_path / "t.json").write_text(text)
    for lines, flags in (([], ["--from", tmp_path / "t.json"]), ([f"/load {tmp_path / 't.json'}"], [])):
        code, out, err = talk(lines, parrot, *flags)
        assert code == 2 and words in err and not out and err.count("error:") == 1


def test_a_place_that_cannot_be_written_is_refused(parrot, talk, tmp_path):
    code, _, err = talk(["say red", f"/save {tmp_path / 'no' / 't.json'}"], parrot, "--max-tokens", 2)
    assert code == 2 and "cannot be written" in err


def test_the_system_prompt_of_this_chat_replaces_the_saved_one(parrot):
    with open_chat(parrot, system="Now.") as chat:
        chat.resume([{"role": "system", "content": "Then."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        assert [one["content"] for one in chat.messages] == ["Now.", "a", "b"]
        chat.reset()
        assert [one["content"] for one in chat.messages] == ["Now."]


@pytest.fixture(scope="module")
def kinds(parrot, tmp_path_factory):
    """The same verb's models: a bundle, a Hugging Face folder whose own template never ends, and the .gguf of it."""
    from understudy.shrink.gguf.write import write_gguf

    work = tmp_path_factory.mktemp("kinds")
    folder = make_decoder(work / "hub", "llama", vocab_size=700)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TRAP}))
    write_gguf(folder, work / "m.gguf", precision="f16")
    return {"bundle": parrot, "folder": folder, "gguf": work / "m.gguf"}


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_a_template_that_loops_is_never_run(kinds, talk, kind):
    code, out, _ = talk(["Hi"], kinds[kind], "--json", "--max-tokens", 3)
    assert code == 0 and json.loads(out)["tokens"] <= 3


@pytest.mark.parametrize("kind", ["bundle", "folder", "gguf"])
def test_every_kind_of_model_is_scored(kinds, capsys, kind):
    assert _run(["score", str(kinds[kind]), "say red", "--top", "5", "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    shares = [one["probability"] for one in told["next"]]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.0001
    known = [one["logprob"] for one in told["tokens"] if one["logprob"] is not None]
    assert told["perplexity"] == pytest.approx(2.718281828 ** (-sum(known) / len(known)), rel=1e-4) and told["bits_per_byte"] > 0
    assert _run(["score", str(kinds[kind]), "say red", "--tokens"], as_json=False) == 0
    said = capsys.readouterr().out
    assert "perplexity" in said and "bits a byte" in said and said.count("%") == 10


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("a\0b", "NUL")])
def test_what_cannot_be_scored_is_refused(kinds, capsys, text, words):
    assert _run(["score", str(kinds["gguf"]), text], as_json=False) == 2
    assert words in capsys.readouterr().err
