"""The other shapes: text-embeddings-inference, LibreTranslate, our own; and the OpenAPI document that is written from them."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from serving import QUESTION, server
from test_docs import ROOT
from tiny_bundle import make_bundle
from tiny_writer import make_writer
from understudy.run.opening import load

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
DOCUMENT = "We met at the station. We show that bread is good for you and cheap. Then it rained. Everybody went home."


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return [make_bundle(root / "support"), make_writer(root / "en-de", "translate"), ROOT / "examples/papers/tldr"]


@pytest.fixture(scope="module")
def served(bundles, tmp_path_factory):
    with server(tmp_path_factory.mktemp("log"), *bundles) as running:
        yield running


def test_predict(served):
    one = served.ask("/predict", {"inputs": QUESTION})[2]
    assert [set(each) for each in one] == [{"score", "label"}] * 3 and one[0]["label"] == "card" and one[0]["score"] > one[1]["score"]
    assert served.ask("/predict", {"inputs": [[QUESTION], [QUESTION]]})[2] == [one, one] == served.ask("/predict", {"inputs": [QUESTION, QUESTION]})[2]
    status, _, said = served.ask("/predict", {"inputs": [["a", "b"]]})
    assert status == 400 and said == {"error": "these models read one text, not pairs: [[text], [text]]", "error_type": "Validation"}
    assert served.ask("/embed", {"inputs": QUESTION})[2]["error_type"] == "Backend"


def test_info(served):
    said = served.ask("/info")[2]
    assert said["model_type"]["classifier"]["id2label"] == {"0": "card", "1": "delivery", "2": "refund"} and said["max_client_batch_size"] == 256


def test_translations_in_two_shapes_are_what_the_bundle_says(served, bundles):
    texts = ["Hello there. How are you today?", "the thing"]
    with load(bundles[1]) as writer:
        alone = [one.text for one in writer.predict(texts)]
    said = served.ask("/v1/translate", {"inputs": texts})[2]
    assert [one["text"] for one in said["answers"]] == alone and [one["parts"] for one in said["answers"]] == [2, 1]
    assert served.ask("/translate", {"q": texts, "source": "en", "target": "de"})[2] == {"translatedText": alone}
    assert served.ask("/translate", {"q": texts[1], "source": "auto", "target": "de"})[2]["translatedText"] == alone[1]
    assert served.ask("/languages")[2] == [{"code": "en", "name": "English", "targets": ["de"]}]
    assert served.ask("/translate", {"q": "x", "source": "en", "target": "fr"})[2] == {"error": "nothing here translates from 'en' into 'fr'; there is en to de"}


def test_summaries(served, bundles):
    said = served.ask("/v1/summarize", {"inputs": [DOCUMENT, DOCUMENT], "sentences": 1})[2]
    assert [one["text"] for one in said["answers"]] == [load(bundles[2]).predict(DOCUMENT, sentences=1).text] * 2
    assert said["answers"][0]["extractive"] and said["model"] == "tldr"
    assert "one of them" in served.ask("/v1/summarize", {"inputs": DOCUMENT, "sentences": 1, "words": 9})[2]["error"]["message"]


def test_a_route_says_when_a_model_is_for_something_else(served):
    status, _, said = served.ask("/v1/classify", {"inputs": "x", "model": "tldr"})
    assert status == 424 and said["error"]["message"] == "tldr was made for the task summarize, and this route is for classify"


def test_the_openapi_document_has_every_route_and_holds_together(served):
    from understudy.serve.routes import ROUTES

    told = served.ask("/openapi.json")[2]
    assert told["openapi"] == "3.1.0"
    assert {(method.upper(), path) for path, methods in told["paths"].items() for method in methods} == {(route.method, route.path) for route in ROUTES}
    text = json.dumps(told)
    for name in told["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text
    assert told["components"]["schemas"]["ClassifyRequest"]["additionalProperties"] is False


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(served):
    done = subprocess.run(["curl", "-s", f"{served.address}/v1/classify", "-H", "Content-Type: application/json", "-d", json.dumps({"inputs": QUESTION})],
                          capture_output=True, timeout=20, check=True)
    assert json.loads(done.stdout)["answers"][0]["label"] == "card"
