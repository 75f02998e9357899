"""The thin way end to end: a bundle behind HTTP, asked one text or many, by name, by alias and wrongly."""

from __future__ import annotations

import pytest

from serving import QUESTION, server
from tiny_bundle import make_bundle
from understudy.run.answer import load


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return make_bundle(root / "support"), make_bundle(root / "careful", threshold=1.1)


@pytest.fixture(scope="module")
def served(bundles, tmp_path_factory):
    with server(tmp_path_factory.mktemp("log"), *bundles) as running:
        yield running


def test_one_text_is_answered_as_the_bundle_answers_it(served, bundles):
    status, headers, said = served.ask("/v1/classify", {"inputs": QUESTION, "model": "support", "top": 3})
    alone = load(bundles[0]).predict(QUESTION)
    assert status == 200 and said["id"] == headers["x-request-id"]
    answer = said["answers"][0]
    assert (answer["label"], answer["rung"], answer["abstained"]) == (alone.label, "ngram", False)
    assert answer["confidence"] == pytest.approx(alone.confidence, abs=1e-6)
    assert len(answer["top"]) == 3 and sum(one["confidence"] for one in answer["top"]) == pytest.approx(1, abs=1e-5)
    assert 0 < said["milliseconds"] < 5000


def test_many_texts_come_back_in_order(served, bundles):
    texts = [f"{QUESTION} {number}" for number in range(200)]
    said = served.ask("/v1/classify", {"inputs": texts, "model": "support"})[2]
    assert [one["label"] for one in said["answers"]] == [one.label for one in load(bundles[0]).predict(texts)]


def test_a_model_that_is_not_sure_says_so_and_gives_its_guess(served):
    answer = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"})[2]["answers"][0]
    assert answer["label"] is None and answer["abstained"] and answer["best"] == "card"


def test_models_health_and_figures(served):
    assert [one["id"] for one in served.ask("/v1/models")[2]["data"]] == ["support", "careful"]
    assert served.ask("/v1/models/careful")[2]["id"] == "careful"
    assert served.ask("/health")[2] == {"status": "ok"}
    served.ask("/v1/classify", {"inputs": QUESTION, "model": "support"})
    page = served.ask("/metrics")[2].decode()
    assert 'understudy_requests_total{route="/v1/classify",status="200"}' in page and 'model="support"' in page
    told = served.ask("/status")[2]
    assert told["memory"]["models"] > 0 and {one["state"] for one in told["models"]} <= {"loaded", "unloaded"}


@pytest.mark.parametrize(("body", "status", "code", "words"), [
    ({"inputs": QUESTION, "model": "nobody"}, 404, "model_not_found", "there are careful, support"),
    ({"inputs": QUESTION}, 404, "model_not_found", "names no model"),
    ({"inputs": "", "model": "support"}, 400, "empty_input", "empty text"),
    ({"inputs": [], "model": "support"}, 400, "invalid_request", "inputs is empty"),
    ({"inputs": ["x"] * 257, "model": "support"}, 400, "too_many_inputs", "at most 256"),
    ({"inputs": "x", "model": "support", "tpo": 2}, 400, "unknown_field", "no field 'tpo'"),
    ({"inputs": "x", "model": "support", "top": 0}, 400, "invalid_request", "top: Expected"),
    (b"{", 400, "invalid_json", "no valid JSON"),
])  # fmt: skip
def test_what_cannot_be_answered_says_why(served, body, status, code, words):
    got, headers, said = served.ask("/v1/classify", body)
    assert got == status and said["error"]["code"] == code and words in said["error"]["message"], said
    assert headers["x-should-retry"] == "false"


def test_the_log_has_one_line_a_request_and_no_text(served):
    served.ask("/v1/classify", {"inputs": "canary-7261 is my card", "model": "support"}, headers={"X-Request-Id": "mine-1"})
    lines = served.lines()
    mine = [line for line in lines if line.get("id") == "mine-1"]
    assert len(mine) == 1 and mine[0]["status"] == 200 and mine[0]["model"] == "support" and mine[0]["ms"] > 0
    assert "canary-7261" not in served.log.read_text("utf-8")
