"""The model card: what it says, and that no label can say more than it should."""

from __future__ import annotations

import re

import pytest

from bundle_helpers import bundle_files, manifest, rungs
from understudy.bundle import Rung, model_card, open_bundle, write_bundle

yaml = pytest.importorskip("yaml")

RECEIPT = {"entries": [
    {"name": "MiniLM", "role": "teacher", "precision": "float32", "accuracy": {"value": 0.95, "low": 0.94, "high": 0.96}, "bytes": 90_000_000},
    {"name": "ngram", "role": "rung", "precision": "int8", "accuracy": {"value": 0.9}, "speed": {"p50_ms": 0.041, "p95_ms": 0.1}},
    {"name": "support", "role": "cascade", "precision": "mixed", "accuracy": {"value": 0.9412, "low": 0.93, "high": 0.95}, "macro_f1": {"value": 0.9344, "low": 0.92, "high": 0.94},
     "bytes": 24_300_000, "speed": {"p50_ms": 0.41, "p95_ms": 3.2}},
]}

HOSTILE = ["---\nlicense: mit\n---", "'; DROP", '"\\', "a: b #c", "- x", "| x | y |", "[click](javascript:alert(1))", "<script>alert(1)</script>", "![x](https://evil.test/x.png)", "https://evil.test/x",
           "www.evil.test", "a@evil.test", "**bold**", "`code` ``x``", "# heading", "\u202eevil", "a\u2028b", "\x1b[31m", "&amp;", "{{ x }}", "{% x %}", "\\U0001", "<!-- x", "~~x~~", "1. x", "   ", "=====",
           "$x$", "\ufeff", "\x85", "emoji 🙂", "null", "yes", "*a", "&b", "!!python/object:os.system"]


def parts(card: str) -> tuple[dict, str]:
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_says_what_the_manifest_and_the_receipt_say():
    front, body = parts(model_card(manifest(provenance={"seed": 7, "teacher": "MiniLM", "data": {"name": "tickets.csv", "rows": 1500, "language": "en"}, "measured": {"seconds": 3}}), RECEIPT))
    assert front["library_name"] == "understudy" and front["pipeline_tag"] == "text-classification" and front["license"] == "other" and front["language"] == "en" and "onnx" in front["tags"]
    assert front["model-index"][0]["name"] == "support"
    result = front["model-index"][0]["results"][0]
    assert result["task"] == {"type": "text-classification"} and result["dataset"]["name"] == "tickets.csv"
    assert result["metrics"] == [{"type": "accuracy", "name": "Accuracy", "value": 0.9412}, {"type": "f1", "name": "Macro F1", "value": 0.9344}]
    assert "| support | cascade | mixed | 94.12% [93.00%, 95.00%] | 93.44% [92.00%, 94.00%] | 24.30 MB | 0.41 ms | 3.2 ms |" in body
    assert "| ngram | rung | int8 | 90.00% |  |  | 0.041 ms | 0.1 ms |" in body
    for words in ("# support", "| card | where the card is |", "| refund |  |", "understudy.load", "understudy predict . ", "- seed: 7", "- rows: 1500", "at most 128 tokens", "at least 0.8", "No bound on its error"):
        assert words in body, words
    assert "seconds" not in body


def test_missing_parts_are_left_out():
    front, body = parts(model_card(manifest(provenance={}, descriptions={}, rungs=rungs()[:1], certificate={"risk": 0.05}), None))
    assert "model-index" not in front and "language" not in front and "onnx" not in front["tags"] and "## Scores" not in body
    assert "does not say what it was trained on" in body and "No bound" not in body and "tokens" not in body and "else it abstains" in body
    for receipt in ({}, {"entries": None}, {"entries": [3, {}]}, {"entries": [{"name": 3, "accuracy": "high", "bytes": "x", "speed": [1]}]}, {"entries": [{"accuracy": {"value": float("nan")}}]}):
        front, _ = parts(model_card(manifest(), receipt))
        assert "model-index" not in front


def test_the_data_is_named_by_its_file_where_it_has_no_name():
    for data, name in (({"file": "tickets.csv"}, "tickets.csv"), ({"file": 3}, "the owner's data"), ({}, "the owner's data")):
        front, _ = parts(model_card(manifest(provenance={"data": data}), RECEIPT))
        assert front["model-index"][0]["results"][0]["dataset"]["name"] == name


def test_many_labels_are_cut():
    labels = tuple(f"label {n}" for n in range(500))
    assert "And 300 more, in `manifest.json`." in model_card(manifest(labels=labels, descriptions={}), None)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_leaves_its_place(text):
    plain = manifest(labels=("card", "harmless"), descriptions={"card": "harmless", "harmless": "harmless"}, provenance={"seed": "harmless", "data": {"name": "harmless", "harmless": "harmless"}})
    evil = manifest(labels=("card", text), descriptions={"card": text, text: text}, provenance={"seed": text, "data": {"name": text, text: text}}, rungs=(Rung(text, "ngram", "ngram", 1, text, {text: 1.0}),))
    entry = {"name": text, "role": text, "precision": text, "accuracy": {"value": 0.5}}
    front, body = parts(model_card(evil, {"entries": [entry]}))
    calm_front, calm = parts(model_card(plain, {"entries": [entry | {"name": "x", "role": "x", "precision": "x"}]}))
    assert front["model-index"][0]["results"][0]["dataset"].pop("name") == text
    calm_front["model-index"][0]["results"][0]["dataset"].pop("name")
    assert {key: value for key, value in front.items() if key != "tags"} == {key: value for key, value in calm_front.items() if key != "tags"}
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert all(re.fullmatch(r"[^|]*", cell) for row in rows for cell in row.split("|")) and {row.count("|") for row in rows} == {3, 6, 9}
    assert [line for line in body.splitlines() if line.startswith("#")] == [line for line in calm.splitlines() if line.startswith("#")]
    shown = body.replace("```", "")
    assert not re.search(r"<\w|<!|https?:|www\.|\]\(|\*\*|~~|javascript:|@evil|\{\{|[\u202e\u2028\x1b\x85\ufeff]", shown), shown


def test_a_name_cannot_leave_its_place_either():
    for text in HOSTILE:
        front, body = parts(model_card(manifest(name=text), RECEIPT))
        assert front["model-index"][0]["name"] == text
        assert sum(line.startswith("#") for line in body.splitlines()) == 7


def test_the_card_travels_in_the_bundle(tmp_path):
    card = model_card(manifest(), RECEIPT).encode()
    write_bundle(tmp_path / "support", {**bundle_files(), "README.md": card}, manifest())
    assert open_bundle(tmp_path / "support").read("README.md") == card
