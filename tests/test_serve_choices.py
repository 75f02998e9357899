"""Several choices for one question, with the real openai client: each is what it would be alone, all are bounded, and none is left running."""

from __future__ import annotations

import json
import math
import socket
import time

import openai
import pytest

from serving import QUESTION, Served, server
from tiny_bundle import make_bundle
from tiny_writer import make_writer

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
HELLO = [{"role": "user", "content": "hello there"}]
HOT = {"temperature": 1.0, "max_tokens": 12}
FORM = {"type": "json_schema", "json_schema": {"name": "long", "schema": {"type": "array", "items": {"const": "x"}, "minItems": 1000}}}
VERDICT = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
LONG = {"model": "talk", "messages": HELLO, "temperature": 1.0, "max_tokens": 4000, "response_format": FORM}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    bundles = [make_bundle(root / "support"), make_writer(root / "talk", context=4096), make_writer(root / "story", "lm"), make_writer(root / "en-de", "translate")]
    with server(tmp_path_factory.mktemp("log"), *bundles, flags=("--slots", "2", "--queue", "4", "--inputs", "12")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def busy(served: Served) -> tuple[int, int]:
    """Requests that are worked on by the model that chats, and choices that wait before it."""
    now = next(each for each in served.ask("/status")[2]["models"] if each["name"] == "talk")["current"]
    return now["running"], now["waiting"]


def idle(served: Served, client) -> None:
    """Waits until nothing runs; then both slots and all four places are there for the next ones."""
    until = time.monotonic() + 5
    while any(busy(served)) and time.monotonic() < until:
        time.sleep(0.02)
    assert busy(served) == (0, 0)
    assert len(client.chat.completions.create(**{**LONG, "max_tokens": 4}, n=6, timeout=5).choices) == 6


def streamed(events, n: int) -> tuple[list[str], list[str], list[int]]:
    """Texts and endings by index, and in which order the pieces came."""
    texts, ends, order = [""] * n, [""] * n, []
    for event in events:
        for choice in event.choices:
            text = choice.delta.content if hasattr(choice, "delta") else choice.text
            assert not ends[choice.index]  # nothing comes after its end, a second end neither
            texts[choice.index] += text or ""
            order += [choice.index] if text else []
            ends[choice.index] = choice.finish_reason or ""
    return texts, ends, order


@pytest.mark.parametrize("seed", [{"seed": 7}, {"seed": -1}, {}])
def test_a_choice_is_what_its_seed_says_alone(client, seed):
    said = client.chat.completions.create(model="talk", messages=HELLO, n=3, **HOT, **seed)
    alone = [client.chat.completions.create(model="talk", messages=HELLO, **HOT, seed=(seed.get("seed", 0) + place) % (2**32 - 1)) for place in range(3)]
    assert [choice.index for choice in said.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in said.choices]
    assert texts == [one.choices[0].message.content for one in alone] and len(set(texts)) == 3
    assert said.choices[0].message.content == client.chat.completions.create(model="talk", messages=HELLO, **HOT, **seed).choices[0].message.content
    assert said.usage.prompt_tokens == alone[0].usage.prompt_tokens and said.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone)
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert {choice.finish_reason for choice in said.choices} <= {"stop", "length"}


def test_a_stream_of_three_is_the_three_answers_between_each_other(client):
    whole = client.chat.completions.create(model="talk", messages=HELLO, n=3, seed=3, temperature=1.0, max_tokens=40)
    events = list(client.chat.completions.create(model="talk", messages=HELLO, n=3, seed=3, temperature=1.0, max_tokens=40, stream=True, stream_options={"include_usage": True}))
    texts, ends, _ = streamed(events, 3)
    assert texts == [choice.message.content for choice in whole.choices] and ends == [choice.finish_reason for choice in whole.choices]
    assert events[-1].usage == whole.usage and not events[-1].choices
    assert sorted(choice.index for event in events for choice in event.choices if choice.delta.role) == [0, 1, 2]


def test_two_slots_write_two_choices_side_by_side(client):
    texts, ends, order = streamed(client.chat.completions.create(**{**LONG, "max_tokens": 2000}, n=2, stream=True), 2)
    assert all(texts) and ends == ["length"] * 2 and order != sorted(order) and order.index(1) < len(order) - 1 - order[::-1].index(0)


def test_at_temperature_0_one_answer_stands_n_times_and_is_computed_once(client, served):
    def written() -> float:
        return sum(float(line.split()[-1]) for line in served.ask("/metrics")[2].decode().splitlines() if line.startswith('understudy_tokens_total{kind="written",model="talk"}'))

    alone = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=12)
    before = written()
    said = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=12, n=8)
    assert [choice.message.content for choice in said.choices] == [alone.choices[0].message.content] * 8
    assert written() - before == alone.usage.completion_tokens and said.usage.completion_tokens == 8 * alone.usage.completion_tokens
    texts, ends, _ = streamed(client.chat.completions.create(model="talk", messages=HELLO, max_tokens=12, n=2, stream=True), 2)
    assert texts == [alone.choices[0].message.content] * 2 and ends == [alone.choices[0].finish_reason] * 2


@pytest.mark.parametrize("model", ["support", "en-de"])
def test_what_does_not_choose_its_words_says_the_same_n_times(client, model):
    asked = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    alone = client.chat.completions.create(**asked).choices[0].message.content
    assert [choice.message.content for choice in client.chat.completions.create(**asked, n=3).choices] == [alone] * 3
    texts, ends, _ = streamed(client.chat.completions.create(**asked, n=3, stream=True), 3)
    assert texts == [alone] * 3 and len(set(ends)) == 1 and ends[0]


def test_probabilities_and_schemas_are_each_choice_s_own(client):
    said = client.chat.completions.create(model="talk", messages=HELLO, n=3, logprobs=True, top_logprobs=2, temperature=1.0, max_tokens=6)
    for choice in said.choices:
        assert "".join(token.token for token in choice.logprobs.content).startswith(choice.message.content[:3]) and len(choice.logprobs.content[0].top_logprobs) == 2
    assert len({tuple(token.token for token in choice.logprobs.content) for choice in said.choices}) > 1
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT, "strict": True}}
    said = client.chat.completions.create(model="talk", messages=HELLO, n=4, response_format=form, temperature=1.0, max_tokens=40)
    assert all(set(json.loads(choice.message.content)) == {"ok"} for choice in said.choices)
    said = client.chat.completions.create(model="support", messages=[{"role": "user", "content": QUESTION}], n=2, logprobs=True, top_logprobs=3)
    for choice in said.choices:
        assert sum(math.exp(one.logprob) for one in choice.logprobs.content[0].top_logprobs) == pytest.approx(1, abs=1e-4)


def test_a_streamed_token_stands_where_it_stands_in_the_whole_text(client):
    asked = {"model": "story", "prompt": "the thing", "n": 2, "logprobs": 1, **HOT}
    whole = [choice.logprobs.text_offset for choice in client.completions.create(**asked).choices]
    told: list[list[int]] = [[], []]
    for event in client.completions.create(**asked, stream=True):
        for choice in event.choices:
            told[choice.index] += choice.logprobs.text_offset if choice.logprobs else []
    assert told == whole and whole[0] == sorted(whole[0]) and whole[0][-1] > 0


def test_completions_count_their_choices_prompt_by_prompt(client):
    alone = [client.completions.create(model="story", prompt=prompt, seed=seed, **HOT) for prompt in ("the thing", "and more") for seed in (4, 5)]
    both = client.completions.create(model="story", prompt=["the thing", "and more"], n=2, seed=4, best_of=2, **HOT)
    assert [choice.text for choice in both.choices] == [one.choices[0].text for one in alone] and [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert both.usage.prompt_tokens == alone[0].usage.prompt_tokens + alone[2].usage.prompt_tokens
    assert both.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone)
    texts, ends, _ = streamed(client.completions.create(model="story", prompt="the thing", n=3, seed=4, stream=True, **HOT), 3)
    assert texts[:2] == [one.choices[0].text for one in alone[:2]] and all(ends)


@pytest.mark.parametrize("model", ["story", "support"])
def test_echo_puts_the_prompt_before_its_answer(client, model):
    prompts = ["the thing ", "and é more"]
    hot = HOT if model == "story" else {}
    plain = client.completions.create(model=model, prompt=prompts, n=2, **hot)
    said = client.completions.create(model=model, prompt=prompts, n=2, echo=True, **hot)
    assert [choice.text for choice in said.choices] == [prompts[at // 2] + choice.text for at, choice in enumerate(plain.choices)] and said.usage == plain.usage
    events = list(client.completions.create(model=model, prompt=prompts[0], n=2, echo=True, stream=True, **hot))
    texts, ends, _ = streamed(events, 2)
    assert texts == [choice.text for choice in said.choices[:2]] and all(ends)
    assert {next(choice.text for event in events for choice in event.choices if choice.index == index) for index in (0, 1)} == {prompts[0]}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="echo and logprobs are not done together"):
            client.completions.create(model=model, prompt="x", echo=True, logprobs=1, stream=stream)
        with pytest.raises(openai.BadRequestError, match="max_tokens"):
            client.completions.create(model=model, prompt="x", echo=True, max_tokens=0, stream=stream)


@pytest.mark.parametrize(("body", "param"), [
    ({"n": 9}, "n"), ({"n": 10**9}, "n"), ({"n": 10**30}, "n"), ({"n": 0}, "n"), ({"n": 2.5}, "n"), ({"prompt": ["x", "y"], "n": 8}, "n"), ({"n": 3, "best_of": 2}, "best_of"),
    ({"best_of": 5}, "best_of"),
])  # fmt: skip
def test_more_than_may_be_asked_is_refused_fast(served, body, param):
    began = time.perf_counter()
    status, _, said = served.ask("/v1/completions", {"model": "story", "prompt": "x", **body})
    assert status == 400 and said["error"]["param"] == param and said["error"]["message"] and time.perf_counter() - began < 1


def test_a_full_line_refuses_them_all_and_leaves_nothing_running(client, served):
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as refused:  # two slots and four places: eight do not fit
            client.chat.completions.create(**LONG, n=8, stream=stream)
        assert refused.value.status_code == 503 and refused.value.code == "server_overloaded" and int(refused.value.response.headers["retry-after"]) >= 1
        idle(served, client)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_them_all(client, served, stream):
    body = json.dumps({**LONG, "n": 4, "stream": stream}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
        until = time.monotonic() + 5
        while (seen := busy(served)) != (1, 2) and time.monotonic() < until:
            time.sleep(0.01)
        assert seen == (1, 2)
    idle(served, client)
    assert "Traceback" not in served.log.read_text("utf-8")
