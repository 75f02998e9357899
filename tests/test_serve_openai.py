"""The real openai client against a real server: models, chat, streams, completions, embeddings, and the errors it knows."""

from __future__ import annotations

import json
import math

import openai
import pytest

from serving import QUESTION, server
from tiny_bundle import make_bundle
from tiny_encoder import make_encoder
from tiny_writer import make_writer

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
HELLO = [{"role": "user", "content": "hello there"}]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    bundles = [make_bundle(root / "support"), make_encoder(root / "vectors", root), make_writer(root / "talk"), make_writer(root / "story", "lm")]
    with server(tmp_path_factory.mktemp("log"), *bundles) as running:
        yield running


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client):
    assert [one.id for one in client.models.list()] == ["support", "vectors", "talk", "story"]
    assert client.models.retrieve("talk").object == "model"


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 7}, {"temperature": 1.0, "seed": -3, "top_p": 0.9}, {"stop": ["B", "I"]}])
def test_the_stream_is_the_answer(client, sampling):
    whole = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=12, **sampling)
    again = client.chat.completions.create(model="talk", messages=HELLO, max_completion_tokens=12, **sampling)
    assert whole.choices[0].message.content == again.choices[0].message.content
    events = list(client.chat.completions.create(model="talk", messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}, **sampling))
    streamed, text = "".join(event.choices[0].delta.content or "" for event in events if event.choices), whole.choices[0].message.content
    assert streamed == text
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason in ("stop", "length")
    assert events[-1].usage == whole.usage and whole.usage.prompt_tokens > 5 and whole.usage.completion_tokens > 0
    for stop in sampling.get("stop", ()):
        assert stop not in whole.choices[0].message.content


def test_probabilities_of_tokens(client):
    said = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=6, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(said) >= 5
    for token in said:
        assert len(token.top_logprobs) == 3 and token.logprob == pytest.approx(token.top_logprobs[0].logprob) and token.logprob <= 0
    streamed = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=6, logprobs=True, top_logprobs=3, stream=True)
    assert [token.token for event in streamed if event.choices[0].logprobs for token in event.choices[0].logprobs.content] == [token.token for token in said]
    text = client.completions.create(model="story", prompt="the thing", max_tokens=6, logprobs=2).choices[0]
    assert len(text.logprobs.tokens) == len(text.logprobs.token_logprobs) == len(text.logprobs.text_offset) and max(map(len, text.logprobs.top_logprobs)) == 2


def test_an_answer_is_held_to_a_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    said = client.chat.completions.create(model="talk", messages=HELLO, max_tokens=40, response_format=form, temperature=1.0, seed=2)
    assert set(json.loads(said.choices[0].message.content)) == {"ok"}


def test_a_classifier_says_its_label(client):
    said = client.chat.completions.create(model="support", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
                                          logprobs=True, top_logprobs=3)
    assert said.choices[0].message.content == "card" and said.choices[0].finish_reason == "stop"
    assert sum(math.exp(one.logprob) for one in said.choices[0].logprobs.content[0].top_logprobs) == pytest.approx(1, abs=1e-4)
    events = client.chat.completions.create(model="support", messages=[{"role": "user", "content": QUESTION}], stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events) == "card"


def test_completions(client):
    alone = [client.completions.create(model="story", prompt=prompt, max_tokens=8).choices[0].text for prompt in ("the thing", "and more")]
    both = client.completions.create(model="story", prompt=["the thing", "and more"], max_tokens=8)
    assert [one.text for one in both.choices] == alone and [one.index for one in both.choices] == [0, 1]
    streamed = "".join(event.choices[0].text for event in client.completions.create(model="story", prompt="the thing", max_tokens=8, stream=True))
    assert streamed == alone[0]


def test_embeddings(client, served):
    texts = [QUESTION, "money back please", QUESTION]
    said = client.embeddings.create(model="vectors", input=texts, encoding_format="float")
    first, other, again = (one.embedding for one in said.data)
    assert first == again != other and sum(x * x for x in first) == pytest.approx(1, abs=1e-4) and said.usage.prompt_tokens > 10
    assert client.embeddings.create(model="vectors", input=QUESTION).data[0].embedding == pytest.approx(first, abs=1e-6)  # base64 by default
    assert served.ask("/embed", {"inputs": texts, "model": "vectors"})[2] == [first, other, again]
    with pytest.raises(openai.APIStatusError, match="support gives no embeddings") as refused:
        client.embeddings.create(model="support", input=QUESTION)
    assert refused.value.status_code == 424


@pytest.mark.parametrize(("model", "changes", "kind", "words"), [
    ("nobody", {}, openai.NotFoundError, "no model is called 'nobody'"),
    ("talk", {"messages": []}, openai.BadRequestError, "messages: "),
    ("talk", {"messages": [{"role": "tool", "content": "x"}]}, openai.BadRequestError, "Invalid enum value 'tool'"),
    ("talk", {"messages": [{"role": "system", "content": "x"}]}, openai.BadRequestError, "no message has the role 'user'"),
    ("talk", {"max_tokens": 0}, openai.BadRequestError, "max_tokens"),
    ("talk", {"temperature": -1}, openai.BadRequestError, "temperature"),
    ("talk", {"n": 9}, openai.BadRequestError, "n: "), ("talk", {"n": 0}, openai.BadRequestError, "n: "), ("talk", {"n": 10**9}, openai.BadRequestError, "n: "),
    ("talk", {"presence_penalty": 1}, openai.BadRequestError, "presence_penalty"),
    ("talk", {"stop": [""]}, openai.BadRequestError, "stop"),
    ("talk", {"top_logprobs": 2}, openai.BadRequestError, "top_logprobs needs logprobs"),
    ("talk", {"response_format": {"type": "json_schema"}}, openai.BadRequestError, "json_schema.schema"),
    ("talk", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "x"}}}}, openai.BadRequestError, "type"),
    ("talk", {"extra_body": {"api_base": "http://127.0.0.1:1"}}, openai.BadRequestError, "no field 'api_base'"),
    ("talk", {"messages": [{"role": "user", "content": "the " * 3000}]}, openai.BadRequestError, "fit"),
    ("support", {"stop": "x"}, openai.BadRequestError, "does not write"),
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_ones_that_the_client_knows(client, model, changes, kind, words, stream):
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**{"model": model, "messages": HELLO, "stream": stream, **changes})
    assert words in str(refused.value) and refused.value.request_id and refused.value.code
    assert refused.value.response.headers["x-should-retry"] == "false"
