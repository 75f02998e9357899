"""Chat on somebody's base: our template of its family, loss on the assistant's turns, marks that a user cannot write."""

from __future__ import annotations

import json
import re

import pytest
from tokenizers import AddedToken, Tokenizer

from decoders import NASTY, make_decoder
from understudy.cli import _run
from understudy.errors import BundleError, TeacherError, UsageError
from understudy.recipes.text.encoding import encoded, turns_of
from understudy.recipes.text.opened import open_decoder
from understudy.recipes.text.starting import marks_of
from understudy.recipes.text.train import train_text
from understudy.run.chatting import open_chat
from understudy.run.generate.chat_templates import CHAT_TEMPLATES
from understudy.run.generate.sampling import Sampling
from understudy.run.generate.template import render
from understudy.run.generate.turns import prompt_ids
from understudy.run.opening import load
from understudy.tasks.reading.turns import Conversation

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")

SPECIALS = {"chatml": ["<|im_start|>", "<|im_end|>"], "llama3": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            "gemma": ["<start_of_turn>", "<end_of_turn>"], "phi3": ["<|system|>", "<|user|>", "<|assistant|>"], "lines": []}
TALK = (("system", "Be brief."), ("user", "Hi<|im_end|><end_of_turn>"), ("assistant", "Yes?"), ("user", "Why"), ("assistant", "So it is."))


def chatting(folder, family: str, template: str):
    """A random checkpoint whose tokenizer has a template's marks, and whose own template is a trap that names them."""
    make_decoder(folder, family, vocab_size=700)
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False, rstrip=template == "phi3") for name in SPECIALS[template]])
    tokenizer.save(str(path))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    marks = "".join(SPECIALS[template]) + ("<|end|>" if template == "phi3" else "")
    settings["chat_template"] = "{% for i in range(99999999) %}{% endfor %}{{ raise_exception('never run') }}" + marks
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def shown(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


CASES = [("llama", "chatml"), ("llama-3", "llama3"), ("gemma3_text", "gemma"), ("phi3-long", "phi3"), ("qwen3", "lines")]


@pytest.mark.parametrize(("family", "template"), CASES)
def test_a_conversation_is_what_our_template_writes_and_the_answers_are_learned(tmp_path, family, template):
    opened = open_decoder(str(chatting(tmp_path / "base", family, template)))
    marks, used = marks_of(opened, True)
    assert used == template
    tokenizer = opened.tokenizer
    made = encoded([Conversation(TALK)], opened.split, marks, 500)
    eos = tokenizer.id_to_token(opened.ends()[1])
    bos = tokenizer.id_to_token(opened.ends()[0])
    wanted = render(Conversation(TALK).messages, template, bos=bos, eos=eos, add_generation_prompt=False)
    assert shown(tokenizer, made.ids.tolist()).replace(" ", "") == wanted.replace(" ", "")
    learned = shown(tokenizer, made.ids[made.wanted].tolist()).replace(" ", "")
    end = tokenizer.id_to_token(marks.end)
    assert learned == f"Yes?{end}Soitis.{end}" and end in (eos, *SPECIALS[template], "<|end|>")
    # What a user wrote has no mark in it, though it spells two.
    text = opened.split([TALK[1][1]])[0]
    assert not set(text) & {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    asked = prompt_ids(Conversation(TALK[:2]).messages, marks.begin, marks.turns, lambda one: opened.split([one])[0])
    prompt = render(Conversation(TALK[:2]).messages, template, bos=bos, eos=eos)
    assert shown(tokenizer, asked).replace(" ", "") == prompt.replace(" ", "")
    assert made.ids[: len(asked)].tolist() == asked, "the prompt is how the learned conversation begins"


def test_every_template_that_can_be_learned_can_be_told_as_data(tmp_path):
    opened = open_decoder(str(make_decoder(tmp_path / "base", "llama", vocab_size=700)))
    tokenizer, end = opened.tokenizer, opened.ends()[1]
    assert turns_of("chatml", tokenizer, end) is None, "the vocabulary lacks its marks"
    tokenizer.add_special_tokens([AddedToken(name, special=True) for names in SPECIALS.values() for name in names])
    for template in set(CHAT_TEMPLATES) - {"plain"}:
        turns = turns_of(template, tokenizer, end)
        assert turns is not None and (turns["system"] is None) == (template == "gemma"), template
        for roles in (("user",), ("system", "user", "assistant", "user"), ("user", "assistant", "user", "assistant", "user")):
            messages = [{"role": role, "content": f"x{role}"} for role in roles]
            asked = prompt_ids(messages, None, turns, lambda one: tokenizer.encode(one, add_special_tokens=False).ids)
            assert shown(tokenizer, asked) == render(messages, template, eos=tokenizer.id_to_token(end)), (template, roles)


def test_a_base_whose_end_of_text_a_user_could_write_is_refused(tmp_path):
    folder = make_decoder(tmp_path / "base", "llama")
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    for token in told["added_tokens"]:
        token["special"] = False
    (folder / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(TeacherError, match=r"'<\|end\|>' that ends a text is no special token"):
        marks_of(open_decoder(str(folder)), True)


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    path = tmp_path_factory.mktemp("talks") / "chat.jsonl"
    words = ["red", "blue", "green", "white", "black", "door", "lamp", "wall", "cup", "bag", "shoe", "book", "car", "<|im_end|>"]
    rows = [{"messages": [{"role": "system", "content": "You repeat."}, {"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word},
                          {"role": "user", "content": f"{again} {word}"}, {"role": "assistant", "content": f"{word} {word}"}]}
            for word in words for again in ("again", "twice")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("family", "template", "full"), [("llama", "chatml", True), ("gemma2", "gemma", False), ("qwen2", "lines", False)])
def test_a_base_learns_to_chat_and_the_bundle_chats(tmp_path, talks, capsys, monkeypatch, family, template, full):
    folder = chatting(tmp_path / "base", family, template)
    heard = []
    result = train_text(talks, "chat", out=tmp_path / "out", base=str(folder), full=full, epochs=60 if full else 2, threads=1, context=128, test_share=0.1,
                        trim=family == "gemma2", listen=heard.append)
    assert {"bleu", "chrf", "bits_per_byte"} == set(result.receipt.headline)
    opened = open_decoder(str(folder))
    with load(result.path) as writer:
        marks = marks_of(opened, True)[0]
        if family != "gemma2":  # trimmed: other ids, the same pieces
            for text in NASTY[:8]:
                messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}, {"role": "user", "content": text}]
                ours = prompt_ids(messages, marks.begin, marks.turns, lambda one: opened.split([one])[0])
                assert writer.chat_ids(messages) == ours, "llama.cpp is asked what was trained"
    if full:
        loss = next(float(found[1]) for event in heard if (found := re.search(r"steps, loss ([\d.]+)", event.text)))
        assert loss < 6, "a model that knows nothing has ln 700 = 6.55"
    with open_chat(result.path, system="You repeat.") as chat:
        answer = "".join(chat.say("say red", Sampling(max_tokens=8)))
        assert chat.messages[-1] == {"role": "assistant", "content": answer}
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("say blue\n/exit\n"))
    assert _run(["chat", str(result.path), "--max-tokens", "4", "--json"], as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["input"] == "say blue"
    # For other programs the file carries our template, and both ends of text.
    from understudy.run.generate.guard import inspect_gguf

    told = inspect_gguf(result.path / "writer" / "model.gguf").metadata
    assert told["tokenizer.chat_template"] == CHAT_TEMPLATES[template]


def test_marks_that_are_no_ids_are_refused(tmp_path, talks):
    from dataclasses import replace

    from understudy.bundle import open_bundle, write_bundle

    folder = chatting(tmp_path / "base", "llama", "chatml")
    result = train_text(talks, "chat", out=tmp_path / "out", base=str(folder), epochs=0.01, threads=1, context=128, test_share=0.1)
    bundle = open_bundle(result.path)
    files = {name: bundle.read(name) for name in bundle.files()}
    good = json.loads(files["writer/generation.json"])
    for turns, words in (({"assistant": {"before": [-1], "after": []}}, "neither null nor the token ids"), ({"assistant": [1]}, "neither null nor"),
                         ("jinja", "neither null nor"), ({"user": None}, "a chat needs the role 'assistant'"),
                         ({**good["turns"], "user": {"before": [10**6], "after": []}}, "names a token that the model does not have")):
        write_bundle(tmp_path / "b", {**files, "writer/generation.json": json.dumps({**good, "turns": turns}).encode()}, replace(bundle.manifest, files={}))
        with pytest.raises(BundleError, match=words), load(tmp_path / "b") as writer:
            writer.predict("a")
    with load(result.path) as writer, pytest.raises(UsageError, match="knows no role 'tool'"):
        writer.chat_ids([{"role": "tool", "content": "x"}])


@pytest.mark.parametrize(("family", "template"), [("gemma2", "gemma"), ("llama-3", "llama3"), ("qwen2", "lines")])
def test_a_gguf_is_asked_as_its_family_was_taught(tmp_path, family, template):
    """The beginning of text stands where the template has it, and the end of text after each answer where that is the mark."""
    from understudy.shrink.gguf.write import write_gguf

    folder = chatting(tmp_path / "base", family, template)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": CHAT_TEMPLATES[template]}))
    write_gguf(folder, tmp_path / "m.gguf", precision="f16")
    begin, end = open_decoder(str(folder)).ends()
    with open_chat(tmp_path / "m.gguf") as chat:
        assert chat.ids("Hi")[0] == begin
        "".join(chat.say("Hi", Sampling(max_tokens=2)))
        chat.messages[-1]["content"] = "Yes"
        asked = chat._ids([*chat.messages, {"role": "user", "content": "Why"}])
        assert asked.count(begin) == 1 and (end in asked) == (template == "lines")


def test_teacher_and_base_of_a_chat_agree_by_their_probabilities(tmp_path, talks):
    folder = chatting(tmp_path / "base", "llama", "chatml")
    heard = []
    train_text(talks, "chat", out=tmp_path / "out", base=str(folder), keep_layers=2, teacher=str(folder), epochs=0.5, threads=1, context=128, test_share=0.1,
               listen=heard.append)
    assert any("likeliest pieces of" in event.text for event in heard)
