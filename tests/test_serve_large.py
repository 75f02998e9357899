"""A large model behind a small one: it is asked where the small one abstains, passed on to by name, and left alone while it is ill."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from fakellm import WORDS, FakeLlm, closed_port, fake_llm
from serving import QUESTION, Served, refused, server
from tiny_bundle import make_bundle
from understudy.errors import UsageError
from understudy.serve.config import ServeConfig, from_environment, from_file
from understudy.serve.large.breaker import Allowance, Breaker
from understudy.serve.large.client import AT_ONCE, WAITING, Large
from understudy.serve.large.labels import Chooser
from understudy.serve.large.trouble import Trouble, seconds_of

KEY = "sk-canary-5519"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return make_bundle(root / "support"), make_bundle(root / "careful", threshold=1.1)


@pytest.fixture(scope="module")
def fake():
    with fake_llm() as one:
        yield one


@pytest.fixture(scope="module")
def served(bundles, fake, tmp_path_factory):
    with server(tmp_path_factory.mktemp("log"), *bundles, flags=("--large", fake.url, "--large-model", "big"),
                environment={"UNDERSTUDY_LARGE_KEY": KEY, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}) as running:
        yield running


def chat(text: str, **more) -> dict:
    return {"model": "big", "messages": [{"role": "user", "content": text}], **more}


def test_where_the_small_one_abstains_the_large_one_chooses(served: Served, fake: FakeLlm):
    status, _, said = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful", "top": 2}, headers={"X-Request-Id": "handed-1"})
    answer = said["answers"][0]
    assert status == 200 and (answer["label"], answer["rung"], answer["abstained"]) == ("card", "large", False)
    assert answer["best"] == "card" and 0 < answer["confidence"] <= 1 and len(answer["top"]) == 2
    assert answer["handover"]["outcome"] == "answered" and answer["handover"]["rung"] == "ngram"
    assert fake.authorization == f"Bearer {KEY}" and fake.last["temperature"] == 0 and fake.last["model"] == "big"
    assert "- card" in fake.last["messages"][0]["content"] and fake.last["messages"][1]["content"] == QUESTION
    line = next(line for line in served.lines() if line.get("id") == "handed-1")
    assert line["rung"] == "large" and line["large"] == "answered" and line["model"] == "careful"


def test_a_model_that_leaves_while_the_large_one_is_asked_still_answers(served: Served):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.ask, "/v1/classify", {"inputs": "fault=slow", "model": "careful", "top": 2})
        time.sleep(0.05)
        assert served.ask("/models/unload", {"model": "careful"})[0] == 200
        status, _, said = asked.result()
    assert status == 200 and said["answers"][0]["label"] == "card" and len(said["answers"][0]["top"]) == 2, said
    assert "Traceback" not in served.log.read_text("utf-8")


def test_where_it_is_sure_nobody_else_is_asked(served: Served, fake: FakeLlm):
    before = fake.asked
    answer = served.ask("/v1/classify", {"inputs": QUESTION, "model": "support"})[2]["answers"][0]
    assert answer["label"] == "card" and answer["rung"] == "ngram" and "handover" not in answer and fake.asked == before


def test_many_texts_are_handed_over_side_by_side_and_come_back_in_order(served: Served, fake: FakeLlm):
    texts = [f"{number} fault={'slow' if number % 3 else 'unknown-label'}" for number in range(24)]
    fake.most, began = 0, time.perf_counter()
    said = served.ask("/v1/classify", {"inputs": texts, "model": "careful"})[2]["answers"]
    assert [one["label"] for one in said] == ["card" if number % 3 else None for number in range(24)]
    assert [one["handover"]["outcome"] for one in said] == ["answered" if number % 3 else "nonsense" for number in range(24)]
    assert 1 < fake.most <= AT_ONCE and time.perf_counter() - began < 16 * 0.2


def test_a_conversation_with_a_classifier_is_handed_over_too(served: Served):
    said = served.ask("/v1/chat/completions", {"model": "careful", "messages": [{"role": "user", "content": QUESTION}]})[2]
    assert said["choices"][0]["message"]["content"] == "card"
    # Where an abstention cannot be seen nothing is handed over: /predict gives the small model's scores.
    assert served.ask("/predict", {"inputs": QUESTION, "model": "careful"})[0] == 200


def test_its_own_name_is_passed_on(served: Served, fake: FakeLlm):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
        assert {one.id: one.owned_by for one in client.models.list()} == {"support": "understudy", "careful": "understudy", "big": "remote"}
        assert client.models.retrieve("big").owned_by == "remote"
        said = client.chat.completions.create(**chat("hello", max_tokens=50, temperature=0.5, stop=["x"]))
        assert said.choices[0].message.content == " ".join(f"q{fake.asked}w{place}" for place in range(WORDS))
        assert fake.last == chat("hello", max_tokens=50, temperature=0.5, stop=["x"], stream=False)
        events = list(client.chat.completions.create(**chat("hello"), stream=True, stream_options={"include_usage": True}))
        assert "".join(one.choices[0].delta.content or "" for one in events) == "".join(f"q{fake.asked}é{place} " for place in range(WORDS))
        assert fake.last["stream_options"] == {"include_usage": True} and events[-1].choices[0].finish_reason == "stop"
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(**chat("fault=error-event@3"), stream=True))
    assert served.ask("/v1/chat/completions", chat("x", api_base="http://127.0.0.1:1"))[2]["error"]["code"] == "unknown_field"
    assert served.ask("/v1/chat/completions", chat("x", model="http://127.0.0.1:1"))[0] == 404


@pytest.mark.parametrize("body", [chat("fault=hang"), chat("fault=hang", stream=True), chat("fault=hang-mid-body@2", stream=True), {"inputs": "fault=hang", "model": "careful"}])
def test_a_client_that_leaves_hangs_up_there_too(served: Served, fake: FakeLlm, body):
    fake.left.clear()
    before = fake.asked
    data = json.dumps(body).encode()
    path = "/v1/classify" if "inputs" in body else "/v1/chat/completions"
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost:{served.port}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        until = time.monotonic() + 5
        while fake.asked == before and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.05)
    began = time.perf_counter()
    assert fake.left.wait(1.0)
    print(f"hung up after {(time.perf_counter() - began) * 1e3:.0f} ms")


def test_what_refuses_is_not_asked_again_and_does_not_open_the_breaker(served: Served, fake: FakeLlm):
    before = fake.asked
    for status in ("400", "401", "403", "404", "422") * 4:
        got, headers, said = served.ask("/v1/chat/completions", chat(f"fault={status}"))
        assert got == 502 and said["error"]["code"] == ("upstream_auth" if status in ("401", "403") else "upstream_error") and headers["x-should-retry"] == "false"
        assert "canary" not in json.dumps(said)
    assert fake.asked == before + 20 and served.ask("/v1/chat/completions", chat("hello"))[0] == 200
    page = served.ask("/metrics")[2].decode()
    assert 'understudy_large_requests_total{outcome="auth"}' in page and 'understudy_large_breaker{state="closed"} 1.0' in page


def test_a_dead_one_costs_nothing_and_one_that_comes_back_is_found(bundles, tmp_path):
    with fake_llm() as fake, server(tmp_path, *bundles, flags=("--large", fake.url, "--large-model", "big")) as served:
        def ask(_: int = 0) -> tuple[str, float]:
            began = time.perf_counter()
            status, _, said = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"})
            assert status == 200 and said["answers"][0]["label"] == (None if fake.ill else "card")
            return said["answers"][0]["handover"]["outcome"], time.perf_counter() - began

        ask()
        fake.ill = "500"
        assert [ask()[0] for _ in range(5)] == ["failing"] * 5
        asked = fake.asked
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(ask, range(40)))
        assert {why for why, _ in said} == {"open"} and fake.asked == asked and sorted(seconds for _, seconds in said)[20] < 0.25
        status, headers, told = served.ask("/v1/chat/completions", chat("hello"))
        assert status == 502 and told["error"]["code"] == "upstream_error" and 1 <= int(headers["retry-after"]) <= 6
        assert 'understudy_large_breaker{state="open"} 1.0' in served.ask("/metrics")[2].decode()
        fake.ill, began = "", time.monotonic()
        while served.ask("/v1/chat/completions", chat("hello"))[0] != 200:
            assert time.monotonic() - began < 10
            time.sleep(0.1)
        assert ask()[0] == "answered"


def test_no_more_wait_than_may_and_who_leaves_gives_the_place_back(fake: FakeLlm):
    async def main() -> None:
        large, question = Large(fake.url, "big", 20.0), {"messages": [{"role": "user", "content": "fault=hang"}]}

        async def ask(until: float) -> None:
            async with large.answering(question, until):
                pass

        until = time.monotonic() + 20
        asking = [asyncio.ensure_future(ask(until)) for _ in range(AT_ONCE + WAITING)]
        while fake.running < AT_ONCE:
            await asyncio.sleep(0.01)
        with pytest.raises(Trouble) as told:
            await ask(until)
        assert told.value.why == "busy" and told.value.status == 503 and told.value.headers[0][0] == b"retry-after"
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        question["messages"][0]["content"] = "well"
        for _ in range(AT_ONCE + 1):
            await ask(time.monotonic() + 5)
        assert large.breaker.state == "closed" and large.ended == {"left": AT_ONCE + WAITING, "busy": 1, "answered": AT_ONCE + 1}

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_a_certificate_that_nobody_vouches_for_is_no_answer(tmp_path, monkeypatch):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secure.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def ask(url: str) -> str:
        large = Large(url, "big", 5.0, KEY)
        try:
            async with large.answering({"messages": [{"content": "well"}]}, time.monotonic() + 5):
                return "answered"
        except Trouble as trouble:
            return trouble.why

    with fake_llm(secure) as fake:
        for name, trusted, outcome in (("localhost", "/dev/null", "unreachable"), ("127.0.0.1", tmp_path / "cert.pem", "unreachable"), ("localhost", tmp_path / "cert.pem", "answered")):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            assert asyncio.run(ask(f"https://{name}:{fake.port}/v1")) == outcome
            assert (fake.authorization != "") == (outcome == "answered")


def test_without_an_address_nothing_of_a_client_is_loaded(bundles, tmp_path):
    with server(tmp_path, *bundles, environment={"UNDERSTUDY_LARGE_KEY": KEY}) as served:
        answer = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"})[2]["answers"][0]
        assert answer["label"] is None and answer["abstained"] and "handover" not in answer
        assert served.ask("/v1/chat/completions", chat("x"))[0] == 404
        assert "understudy_large" not in served.ask("/metrics")[2].decode()


@pytest.mark.parametrize(("flags", "words"), [
    (("--large", "http://localhost:1/v1"), "--large-model is not"), (("--large-model", "big"), "--large is not"),
    (("--large", "ftp://localhost/v1", "--large-model", "big"), "no http or https"), (("--large", f"http://me:{KEY}@localhost/v1", "--large-model", "big"), "a password"),
    (("--large", f"https://localhost/v1?key={KEY}", "--large-model", "big"), "a query"), (("--large", "http://localhost:99999/v1", "--large-model", "big"), "no http"),
    (("--large", "http://localhost:1/v1", "--large-model", "support"), "is the name of a model that is served here"),
    (("--large", "http://localhost:1/v1", "--large-model", "big", "--large-timeout", "0s"), "--large-timeout"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_it_serves(bundles, flags, words):
    told = refused(str(bundles[0]), *flags)
    assert words in told["message"] and KEY not in json.dumps(told)


def test_its_dials_have_a_place_in_the_file_and_its_key_has_none(tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text('[serve]\nlarge = "http://localhost:1/v1"\nlarge_model = "big"\nlarge_timeout = "5s"\n')
    assert from_file(path)[0] == {"large": "http://localhost:1/v1", "large_model": "big", "large_timeout": 5.0}
    told = {"UNDERSTUDY_LARGE": "https://llm.example.org", "UNDERSTUDY_LARGE_MODEL": "big", "UNDERSTUDY_LARGE_TIMEOUT": "500ms", "UNDERSTUDY_LARGE_KEY": KEY}
    assert from_environment(told) == {"large": "https://llm.example.org", "large_model": "big", "large_timeout": 0.5}
    path.write_text(f'[serve]\nlarge_key = "{KEY}"\n')
    with pytest.raises(UsageError, match="no dial 'large_key'") as said:
        from_file(path)
    assert KEY not in str(said.value)


def test_a_key_that_is_none_is_refused_and_never_said():
    config = ServeConfig(large="http://localhost:1/v1", large_model="big")
    for key in (f"{KEY}\r\nx-evil: 1", f"{KEY} two", f"{KEY}é"):
        with pytest.raises(UsageError) as told:
            Large.of(config, {"UNDERSTUDY_LARGE_KEY": key})
        assert KEY not in str(told.value) + str(told.value.hint)
    assert KEY not in repr(Large.of(config, {"UNDERSTUDY_LARGE_KEY": KEY})) + repr(config)


def test_the_doctor_says_whether_it_is_there(monkeypatch, fake):
    from understudy.serve.checkup import checkup

    assert not [one for one in checkup() if one["what"] == "large model"]
    monkeypatch.setenv("UNDERSTUDY_LARGE_MODEL", "big")
    monkeypatch.setenv("UNDERSTUDY_LARGE_KEY", KEY)
    for url, state in ((fake.url, "ok"), (f"http://127.0.0.1:{closed_port()}/v1", "warn"), ("http://models.example.org/v1", "warn")):
        monkeypatch.setenv("UNDERSTUDY_LARGE", url)
        found = [one for one in checkup() if one["what"] == "large model"]
        assert found[0]["state"] == state and "with a key" in found[0]["found"] and KEY not in json.dumps(found)


def test_the_breaker_opens_lets_one_try_and_closes():
    now = [0.0]
    breaker = Breaker(lambda: now[0])

    def ask(trouble: Trouble | None) -> str:
        try:
            with breaker.watched():
                if trouble:
                    raise trouble
        except Trouble as told:
            return told.why
        return "fine"

    for _ in range(4):
        ask(Trouble("failing"))
    ask(Trouble("refused", outage=False))
    assert [ask(Trouble("failing")) for _ in range(5)] == ["failing"] * 5 and breaker.state == "open"
    assert ask(None) == "open"
    now[0] = 5.1
    with breaker.watched():
        assert breaker.state == "half_open" and ask(None) == "open"
    assert breaker.state == "closed" and ask(None) == "fine"
    for _ in range(5):
        ask(Trouble("late"))
    now[0] = 10.3
    assert ask(Trouble("late")) == "late" and ask(None) == "open"
    now[0] = 15.4
    with pytest.raises(GeneratorExit), breaker.watched():  # who leaves proves nothing, and does not keep the others out
        raise GeneratorExit
    assert breaker.state == "half_open" and ask(None) == "fine"


def test_never_more_than_a_tenth_is_asked_twice():
    allowance, again = Allowance(), 0
    for number in range(1, 1000):
        allowance.save()
        again += allowance.spend()
        assert again <= number / 10 + 1e-9
    assert again == 99


def test_what_retry_after_says():
    told = {b"1": 1.0, b"3600": 3600.0, b"99999999": 3600.0, b"-5": None, b"NaN": None, b"soon": None, b"": None, b"Sat, 01 Jan 2000 00:00:00 GMT": 0.0, b"1e9": None, "²".encode(): None}
    assert {text: seconds_of(text) for text in told} == told and seconds_of(None) is None


def test_only_a_label_that_is_known_counts():
    chooser = Chooser(None, ["card", "Card", "Lost Card", "état"], {"card": "about cards"}, 0.0)  # type: ignore[arg-type]

    def said(text: object) -> str | None:
        return chooser._label(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    assert (said("lost card\n"), said("ÉTAT"), said("card"), said("CARD")) == ("Lost Card", "état", "card", None)
    assert [said(text) for text in ("the label is card", "", None, 7, "card.", "lost")] == [None] * 6


def test_as_much_as_may_runs_side_by_side(served: Served, fake: FakeLlm):
    fake.most = 0
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(lambda _: served.ask("/v1/chat/completions", chat("fault=slow"))[0], range(20)))
    assert set(said) == {200} and fake.most == AT_ONCE
    text = served.log.read_text("utf-8")
    assert KEY not in text and QUESTION not in text and fake.url not in text


def test_another_understudy_can_be_the_large_one(bundles, tmp_path):
    """Not our own fake: a server with a model that writes, asked directly and through another."""
    pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
    from tiny_writer import make_writer

    folders = [tmp_path / "far", tmp_path / "near"]
    for one in folders:
        one.mkdir()
    with server(folders[0], make_writer(tmp_path / "talk")) as far, server(folders[1], *bundles, flags=("--large", f"{far.address}/v1/", "--large-model", "talk")) as near:
        question = {"model": "talk", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 12}
        direct, through = (one.ask("/v1/chat/completions", question)[2]["choices"] for one in (far, near))
        assert through == direct and through[0]["message"]["content"]
        streams = [one.ask("/v1/chat/completions", {**question, "stream": True})[2].decode() for one in (far, near)]
        texts = ["".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in stream.splitlines() if line.startswith("data: {")) for stream in streams]
        assert texts[0] == texts[1] == direct[0]["message"]["content"] and streams[1].endswith("data: [DONE]\n\n")
        answer = near.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"})[2]["answers"][0]
        assert answer["abstained"] and answer["handover"]["outcome"] == "nonsense"  # it babbles
        assert far.ask("/v1/chat/completions", {**question, "max_tokens": 0})[0] == near.ask("/v1/chat/completions", {**question, "max_tokens": 0})[0] == 400
