"""Text from a model in a child process: streams, constraints, cancelling, crashes. The model is random and made on the spot."""

from __future__ import annotations

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest

from tiny_gguf import vocabulary, write_tiny_gguf
from understudy.errors import BundleError, MissingExtraError, UsageError
from understudy.run.generate.engine import Engine
from understudy.run.generate.sampling import Sampling, choices_grammar
from understudy.run.generate.stops import StopFilter
from understudy.run.generate.template import encode_chat, fit_messages
from understudy.run.generate.wire import EngineError

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
PROMPT = "the thing and more"
LONG = Sampling(max_tokens=4000, temperature=1.5, seed=3, json_schema={"type": "array", "items": {"const": "x"}, "minItems": 1000})
OBJECT = {"type": "object", "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["x", "yé"]}}, "required": ["ok", "kind"],
          "additionalProperties": False}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("run") / "tiny.gguf", context=4096)


@pytest.fixture(scope="module")
def engine(model):
    with Engine.open(model, context=2048, threads=1, slots=2) as engine:
        yield engine


def gone(pid: int) -> bool:
    """Whether a process ended, within a few seconds."""
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=60), Sampling(max_tokens=60, temperature=1.0, seed=7, top_k=50, top_p=0.95, min_p=0.01),
                                      Sampling(max_tokens=60, temperature=0.8, repeat_penalty=1.3)])  # fmt: skip
def test_the_stream_is_the_whole_answer(engine, sampling):
    whole = engine.complete(PROMPT, sampling)
    pieces = list(engine.generate(PROMPT, sampling))
    assert "".join(piece.text for piece in pieces) == whole.text and len(whole.text) > 3
    assert pieces[-1].finish == whole.finish and [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert len(whole.ids) == whole.tokens == pieces[-1].timings.tokens
    assert whole.prompt_tokens == len(engine.tokenize(PROMPT))
    assert 0 < whole.seconds_first < 5 and whole.tokens_per_second > 0
    for piece in pieces:
        piece.text.encode("utf-8")


def test_an_answer_cut_inside_a_character_is_the_same_in_both(engine):
    for seed in range(30):
        sampling = Sampling(max_tokens=7 + seed, temperature=1.5, seed=seed)
        whole = engine.complete(PROMPT, sampling).text
        streamed = "".join(piece.text for piece in engine.generate(PROMPT, sampling))
        assert not whole.endswith("\ufffd") and not streamed.endswith("\ufffd")
        # A random model also breaks off inside bytes that are no beginning of a character; the stream ends before them.
        assert whole == streamed or whole.startswith(streamed + "\ufffd")


def test_the_same_seed_is_the_same_answer(engine):
    warm = [engine.complete(PROMPT, Sampling(max_tokens=40, temperature=1.2, seed=seed)).ids for seed in (1, 1, 2, 3)]
    assert warm[0] == warm[1] and len(set(warm)) > 1
    greedy = {engine.complete(PROMPT, Sampling(max_tokens=40, seed=seed)).ids for seed in (0, 1, 2)}
    assert len(greedy) == 1
    assert engine.complete(engine.tokenize(PROMPT), Sampling(max_tokens=40)).ids in greedy


def test_a_stop_string_across_tokens_never_shows(engine):
    whole = engine.complete(PROMPT, Sampling(max_tokens=60)).text
    for at in range(2, len(whole) - 3, 5):
        stop = whole[at : at + 3]
        if "\ufffd" in stop or "\0" in stop:
            continue
        sampling = Sampling(max_tokens=60, stop=(stop, "never seen"))
        answer = engine.complete(PROMPT, sampling)
        assert (answer.text, answer.finish) == (whole[: whole.index(stop)], "stop")
        pieces = list(engine.generate(PROMPT, sampling))
        assert "".join(piece.text for piece in pieces) == answer.text and pieces[-1].finish == "stop"


def test_what_is_held_back_for_a_stop_string_comes_out_in_the_end(engine):
    answers = [(length, engine.complete(PROMPT, Sampling(max_tokens=length))) for length in range(5, 30)]
    length, whole = next((length, answer) for length, answer in answers if answer.text[-2:].isalpha() and answer.text[-2:].isascii())
    sampling = Sampling(max_tokens=length, stop=(whole.text[-2:] + "zzz",))
    assert engine.complete(PROMPT, sampling).text == whole.text
    assert "".join(piece.text for piece in engine.generate(PROMPT, sampling)) == whole.text


def test_the_stop_filter_lets_out_what_is_certain():
    for text in ("abcab<end", "ab<e<en<end>xyz", "a\ufffd\ufffdb<\ufffd", "<end>", "", "<<<end>>"):
        for size in (1, 2, 3, 50):
            stops = StopFilter(("<end>", "nd>x"))
            out = []
            for at in range(0, len(text), size):
                out.append(stops.feed(text[at : at + size]))
                if stops.stopped:
                    break
            else:
                out.append(stops.flush())
            assert "".join(out) == text.split("<end>")[0].rstrip("\ufffd")
    waiting = StopFilter(("stop",))
    assert [waiting.feed(one) for one in ("a s", "to", "o", "\ufffd", "b")] == ["a ", "", "stoo", "", "\ufffdb"]


def test_choices_hold(engine):
    choices = ("yes", "no", 'été "q"\n\\', "日本", "y")
    seen = {engine.complete(PROMPT, Sampling(temperature=2.0, seed=seed, max_tokens=1, choices=choices)).text for seed in range(25)}
    assert seen <= set(choices) and len(seen) > 1
    pieces = list(engine.generate(PROMPT, Sampling(choices=("日本",))))
    assert "".join(piece.text for piece in pieces) == "日本" and pieces[-1].finish == "end"
    assert choices_grammar(('a"b', "a")) == 'root ::= "a\\U00000022b" | "a"'


def test_a_json_schema_holds(engine):
    import json

    for seed in range(12):
        answer = engine.complete(PROMPT, Sampling(temperature=1.5, seed=seed, json_schema=OBJECT))
        value = json.loads(answer.text)
        assert set(value) == {"ok", "kind"} and isinstance(value["ok"], bool) and value["kind"] in ("x", "yé")
        assert answer.finish == "end" and answer.text == json.dumps(value, ensure_ascii=False)
    cut = engine.complete(PROMPT, Sampling(max_tokens=3, json_schema=OBJECT))
    assert cut.finish == "length" and cut.text.startswith("{")


def test_a_schema_that_never_begins_is_refused(engine):
    endless = {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    with pytest.raises(UsageError, match="cannot be turned into a grammar"):
        engine.complete(PROMPT, Sampling(json_schema=endless))
    assert engine.complete(PROMPT, Sampling(max_tokens=3)).tokens == 3


def test_closing_the_stream_stops_the_work(engine):
    stream = engine.generate(PROMPT, LONG)
    next(stream)
    stream.close()
    began = time.monotonic()
    both = [engine.complete(PROMPT, Sampling(max_tokens=5)) for _ in range(2)]
    assert both[0].ids == both[1].ids and time.monotonic() - began < 3


def test_two_at_once(engine):
    alone = {word: engine.complete(word, Sampling(max_tokens=80, temperature=0.7, seed=5)).text for word in ("the", "and", "more", "ion")}
    answers: dict[str, str] = {}
    streams = {word: engine.generate(word, Sampling(max_tokens=80, temperature=0.7, seed=5)) for word in alone}

    def read(word: str) -> None:
        answers[word] = "".join(piece.text for piece in streams[word])

    threads = [threading.Thread(target=read, args=(word,)) for word in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == alone


def test_two_streams_take_turns(engine):
    first, second = engine.generate("the", LONG), engine.generate("and", LONG)
    for _ in range(5):
        assert next(first).finish is None
        assert next(second).finish is None
    first.close()
    second.close()


def test_scores_are_the_models_probabilities(engine):
    text = "the thing and é 日本"
    score = engine.score(text)
    ids = engine.tokenize(text)
    assert [token.id for token in score.tokens] == ids and sum(token.bytes for token in score.tokens) == len(text.encode())
    assert score.tokens[0].logprob is None
    nats = [-token.logprob for token in score.tokens[1:]]
    assert score.perplexity == pytest.approx(math.exp(sum(nats) / len(nats)))
    assert score.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / (len(text.encode()) - score.tokens[0].bytes))
    # The same probabilities, asked for in another way: all continuations of each prefix.
    tokens = vocabulary()[0]
    for at, token in list(enumerate(score.tokens))[1:4]:
        words = dict(engine.next_words(ids[:at], len(tokens)))
        assert math.log(words[token.piece]) == pytest.approx(token.logprob, abs=1e-3)


def test_a_text_longer_than_the_context_is_scored(model):
    with Engine.open(model, context=64, threads=1) as small:
        score = small.score("the thing and more " * 12)
        assert len(score.tokens) > 100 and all(token.logprob < 0 for token in score.tokens[1:])


def test_a_long_score_gives_signs_of_life(engine, monkeypatch):
    """Patience counts silence, and a book takes longer than that."""
    from understudy.run.generate import jobs

    class Native:
        def post(self, path, body, opened=None):
            return {"tokens": [{"id": one, "piece": "x"} for one in range(5)]} if path == "/tokenize" else {"completion_probabilities": [{"logprob": -1.0}]}

    sent = []
    monkeypatch.setattr(jobs, "_SIGN", 0.0)
    jobs.Job(Native(), {"text": "x" * 5, "prompt": [1]}, {"context": 64, "vocabulary": 9}, sent.append).run("score")
    assert [frame["event"] for frame in sent] == ["piece"] * 5 + ["done"]
    monkeypatch.setattr(engine, "_frames", lambda operation, body: iter(sent))
    assert [token.id for token in engine.score("x" * 5).tokens] == [0, 1, 2, 3, 4]


def test_next_words_are_a_distribution(engine):
    words = engine.next_words(PROMPT, 282)
    assert len(words) == 282 and sum(probability for _, probability in words) == pytest.approx(1, abs=1e-3)
    assert all(left[1] >= right[1] for left, right in pairwise(words))
    few = engine.next_words(PROMPT, 3)
    assert [word for word, _ in few] == [word for word, _ in words[:3]]
    assert [probability for _, probability in few] == pytest.approx([probability for _, probability in words[:3]], abs=1e-4)


def test_text_and_ids(engine):
    text = "the thing <|im_end|> é 日本\n"
    assert engine.detokenize(engine.tokenize(text)) == text
    assert not engine.info.control.intersection(engine.tokenize(text))
    assert len(engine.info.control.intersection(engine.tokenize(text, special=True))) == 1
    assert engine.complete("<|im_end|>", Sampling(max_tokens=1)).prompt_tokens > 3


def test_a_chat_goes_through(engine):
    chat = [{"role": "system", "content": "the"}]
    for at in range(60):
        chat += [{"role": "user", "content": f"thing {at} <|im_end|> " * 3}, {"role": "assistant", "content": "and more"}]
    chat.append({"role": "user", "content": "is it"})

    def encode(messages):
        return encode_chat(messages, "chatml", lambda text, special: engine.tokenize(text, special=special), control=engine.info.control)

    kept, dropped = fit_messages(chat, lambda messages: len(encode(messages)), engine.context - 40)
    assert dropped and kept[0] == chat[0] and kept[-1] == chat[-1] and len(kept) + len(dropped) == len(chat)
    ids = encode(kept)
    assert len(ids) <= engine.context - 40
    assert sum(one in engine.info.control for one in ids) == 2 * len(kept) + 1
    assert engine.complete(ids, Sampling(max_tokens=10)).prompt_tokens == len(ids)


def test_the_context_has_an_end(engine):
    with pytest.raises(UsageError, match="the prompt has 3000 tokens and the context holds 2048") as caught:
        engine.complete([65] * 3000)
    assert "larger context" in str(caught.value.hint)
    with pytest.raises(UsageError, match="3000 tokens"):
        list(engine.generate([65] * 3000))
    answer = engine.complete([65] * 2040, Sampling(max_tokens=50, choices=("x" * 40,)))
    assert answer.finish == "length" and answer.tokens < 12


@pytest.mark.parametrize(("call", "words"), [
    (lambda engine: engine.complete(""), "the prompt is empty"),
    (lambda engine: engine.complete([]), "the prompt is empty"),
    (lambda engine: engine.complete([282]), "282 is not a token id"),
    (lambda engine: engine.complete("a\0b"), "NUL"),
    (lambda engine: engine.generate("\ud800"), "half a character"),
    (lambda engine: engine.complete(5), None),
    (lambda engine: engine.generate("a", Sampling(copy=True)), "opened without it"),
    (lambda engine: engine.next_words("a", 0), "k is 0"),
    (lambda engine: engine.score(""), "empty"),
])  # fmt: skip
def test_wrong_calls(engine, call, words):
    with pytest.raises(UsageError if words else Exception, match=words):
        call(engine)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"max_tokens": 0}, "max_tokens is 0"), ({"max_tokens": 2.5}, "not a whole number"), ({"temperature": float("nan")}, "temperature is nan"),
    ({"temperature": -1}, "temperature is -1"), ({"top_p": 0}, "leaves no token"), ({"seed": -1}, "seed is -1"), ({"stop": "x"}, "not a tuple"),
    ({"stop": ("",)}, "stop holds ''"), ({"stop": ("x",) * 20}, "20 strings"), ({"choices": ("a\0",)}, "NUL"), ({"top_k": True}, "top_k is True"),
    ({"choices": ("a",), "json_schema": {}}, "both given"), ({"json_schema": []}, "not a dict"), ({"json_schema": {"a": float("nan")}}, "not JSON"),
])  # fmt: skip
def test_sampling_is_checked(arguments, words):
    with pytest.raises(UsageError, match=words):
        Sampling(**arguments)


def test_copying_is_faster_to_guess_and_says_the_same(model):
    prompt = [65, 66, 67, 68, 69, 70] * 8
    sampling = Sampling(max_tokens=120, choices=("ABCDEF" * 20,), copy=True)
    with Engine.open(model, context=512, threads=1, copy=True) as engine:
        answer = engine.complete(prompt, sampling)
        streamed = "".join(piece.text for piece in engine.generate(prompt, sampling))
    assert answer.text == streamed == "ABCDEF" * 20
    assert answer.timings.guessed >= answer.timings.accepted > 50


def test_a_killed_worker_fails_the_request_and_nothing_else(model):
    with Engine.open(model, context=2048, threads=1) as engine:
        wanted = engine.complete(PROMPT, Sampling(max_tokens=10)).ids
        stream, pid = engine.generate(PROMPT, LONG), engine.worker_pid
        next(stream)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"the worker ended while the request ran \(signal 9\)") as caught:
            list(stream)
        assert "starts a new one" in str(caught.value.hint)
        assert engine.complete(PROMPT, Sampling(max_tokens=10)).ids == wanted
        assert engine.worker_pid != pid
    assert gone(engine.worker_pid or pid)


def test_a_hanging_worker_is_ended(model):
    with Engine.open(model, context=256, threads=1, patience=0.5) as engine:
        os.kill(engine.worker_pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"no sign of life for 0\.5 seconds"):
            engine.complete(PROMPT)
        assert engine.complete(PROMPT, Sampling(max_tokens=3)).tokens == 3


def test_a_model_that_does_not_load_in_time(model, monkeypatch):
    with pytest.raises(EngineError, match=r"did not load within 0\.001 seconds"):
        Engine.open(model, threads=1, start_timeout=0.001)


def test_closing_ends_the_worker(model):
    engine = Engine.open(model, context=256, threads=1)
    pid = engine.worker_pid
    engine.close()
    engine.close()
    assert gone(pid)
    with pytest.raises(UsageError, match="the engine is closed"):
        engine.complete(PROMPT)
    forgotten = Engine.open(model, context=256, threads=1)
    pid = forgotten.worker_pid
    del forgotten
    gc.collect()
    assert gone(pid)


def test_a_program_may_end_without_closing(model):
    program = ("from understudy.run.generate.engine import Engine\n"
               f"engine = Engine.open({str(model)!r}, context=256, threads=1)\nstream = engine.generate('the')\nnext(stream)\n"
               "print(engine.worker_pid, flush=True)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "") and gone(int(done.stdout))


def test_the_worker_ends_with_its_caller_and_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = ("import sys, os\nfrom understudy.run.generate.engine import Engine\n"
               f"engine = Engine.open({str(model)!r}, context=256, threads=1)\nprint(engine.worker_pid, flush=True)\nos.kill(os.getpid(), 9)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9 and gone(int(done.stdout)) and not list(tmp_path.iterdir())


def test_weights_that_native_code_refuses_are_an_error_in_words(model, tmp_path):
    path = tmp_path / "odd.gguf"
    path.write_bytes(model.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.7.attn_q.weight", 1))
    with pytest.raises(EngineError, match=r"cannot load the model|ended while it loaded"):
        Engine.open(path, threads=1)


def test_a_file_that_changes_is_not_opened_again(model, tmp_path):
    path = tmp_path / "own.gguf"
    path.write_bytes(model.read_bytes())
    with Engine.open(path, context=256, threads=1) as engine:
        with open(path, "ab") as file:
            file.write(b"more")
        os.kill(engine.worker_pid, signal.SIGKILL)
        assert gone(engine.worker_pid)
        with pytest.raises((BundleError, EngineError)):
            engine.complete(PROMPT)
        with pytest.raises(BundleError, match="was changed while it was open"):
            engine.complete(PROMPT)


def test_settings_are_checked(model):
    for arguments, words in (({"context": 5000}, "context is 5000"), ({"slots": 0}, "slots is 0"), ({"threads": -1}, "threads is -1"),
                             ({"patience": 0}, "patience is 0")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            Engine.open(model, **arguments)


def test_without_llama_cpp_the_hint_is_the_command(model, tmp_path, monkeypatch):
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="generating text needs the extra 'generate'"):
        Engine.open(model, threads=1)
