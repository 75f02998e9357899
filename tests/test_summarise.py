"""Summaries out of a document's own sentences: lengths, redundancy, sections, training from a file, the encoder's way."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.bundle import Manifest, Rung, open_bundle, write_bundle
from understudy.errors import BundleError, DataError, UsageError
from understudy.models.teachers import open_teacher
from understudy.recipes.text.documents import read_pairs
from understudy.recipes.text.extractive import gains_of, greedy_gains
from understudy.recipes.text.extractive_training import ExtractiveConfig, open_model, train_extractive
from understudy.run.kinds import extract
from understudy.run.salience import read_document, sketches
from understudy.tasks.summarise import Budget, select
from understudy.teach.listwise import ListwiseConfig, fit_listwise
from workshop import make_teacher

THINGS = ["parcel", "refund", "card", "courier", "invoice", "contract", "garden", "engine", "window", "teacher"]
NOISE = ["Many people think about the {} these days.", "The {} was seen near the old station.", "Nobody asked what the {} had cost.",
         "There are other views on the {} too.", "This was written on a rainy day by the sea."]


def rows(count: int, seed: int = 0) -> list[dict]:
    """Documents whose one telling sentence begins with a cue and is what the summary repeats."""
    rng, out = random.Random(seed), []
    for _ in range(count):
        thing, other = rng.sample(THINGS, 2)
        telling = f"We show that the {thing} depends on the {other} in {rng.randint(2, 90)} cases."
        body = [line.format(rng.choice(THINGS)) for line in rng.sample(NOISE, 4)]
        body.insert(rng.randint(0, 4), telling)
        out.append({"document": " ".join(body), "summary": f"The {thing} depends on the {other}."})
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(60)))
    return path


@pytest.fixture(scope="module")
def trained(data):
    return train_extractive(data)


def test_it_learns_which_sentence_tells(trained):
    assert trained.rouge1 > trained.lead + 20 and trained.rouge1 > 0.95 * trained.oracle
    model = trained.open()
    for row in rows(20, seed=7):
        summary = model.summarise(row["document"])
        assert summary.text.startswith("We show") and len(summary.sentences) == 1
        chosen = summary.sentences[0]
        assert row["document"][chosen.start:chosen.end] == chosen.text and 0 < summary.share < 1 and summary.words == len(chosen.text.split())


def test_the_same_file_gives_the_same_bytes(data, trained):
    assert train_extractive(data).files == trained.files
    assert trained.bytes < 60_000 and set(trained.files) == {"extract.json", "model.safetensors"}


def test_the_files_are_written_and_make_a_rung(data, trained, tmp_path):
    again = train_extractive(data, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == again.files["model.safetensors"]
    rung = Rung("extract", "extract", "extract", trained.parameters, "int8", {"extract": 1.0})
    manifest = Manifest("tells", "0.4.0", ("yes", "no"), (rung,))
    write_bundle(tmp_path / "bundle", {f"extract/{name}": content for name, content in trained.files.items()}, manifest)
    bundle = open_bundle(tmp_path / "bundle")
    model = extract.open_rung(bundle, bundle.manifest.rungs[0], 1)
    document = rows(1, seed=5)[0]["document"]
    assert model.summarise(document) == trained.open().summarise(document)


def test_a_long_document_is_read_to_its_end_and_every_section_gets_its_share(trained):
    parts = [f"# Part {place}\n\n{row['document']} {rows(1, seed=place + 50)[0]['document']}" for place, row in enumerate(rows(8, seed=3))]
    text = "\n\n".join(parts)
    summary = trained.open().summarise(text, sentences=8)
    headings = [text.index(part) for part in parts] + [len(text)]
    assert [sum(a <= one.start < b for one in summary.sentences) for a, b in pairwise(headings)] == [1] * 8
    assert all(one.text.startswith("We show") for one in summary.sentences)
    assert [one.start for one in summary.sentences] == sorted(one.start for one in summary.sentences)


def test_a_book_takes_seconds_at_most(trained):
    text = "\n\n".join(row["document"] for row in rows(1500, seed=9))
    started = perf_counter()
    summary = trained.open().summarise(text, share=0.1)
    assert perf_counter() - started < 6
    assert 0.09 < summary.share <= 0.101
    assert max(one.end for one in summary.sentences) > 0.95 * len(text)


def test_flags(trained):
    model = trained.open()
    assert model.summarise("").flags == ("the document has no sentence to choose",) and model.summarise("").text == ""
    assert model.summarise("One two three four. Five six seven.", words=2).flags == ("no sentence fits into 2 words; this is the shortest",)
    assert model.summarise("One two three four. Five six seven.", words=2).text == "Five six seven."
    text = "The garden was old. It cost us nothing. We show that the parcel depends on this."
    assert model.summarise(text, sentences=3).flags == ()
    document = read_document(text)
    assert extract.summary_of(document, np.array([0.0, 2, 1]), Budget(sentences=1), 0.3).flags == (
        "sentence 1 begins with 'it' and may point at what was left out",)


def test_headings_tables_and_code_are_never_chosen(trained):
    text = "# We show that this heading wins\n\nPlain words here.\n\n```\nWe show that code. It wins.\n```\n\n| We show | that |\n|---|---|\n"
    assert trained.open().summarise(text, sentences=9).text == "Plain words here."


@pytest.mark.parametrize(("given", "said"), [
    ({"words": 0}, "words is 0"), ({"sentences": -1}, "sentences is -1"), ({"share": 0}, "share is 0"), ({"share": 1.5}, "share is 1.5"),
    ({"share": float("nan")}, "share is nan"), ({"words": 3, "share": 0.5}, "words=3, share=0.5"), ({"sentences": True}, "sentences is True"),
    ({"words": "9"}, "words is '9'")])
def test_lengths_that_make_no_sense_are_refused(trained, given, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        trained.open().summarise("A text.", **given)


def test_a_document_that_is_no_text_is_refused(trained):
    with pytest.raises(UsageError, match="a document is a string, and this is NoneType"):
        trained.open().summarise(None)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_budget_holds_and_is_used(data):
    n = data.draw(st.integers(1, 25))
    costs = np.array(data.draw(st.lists(st.integers(1, 30), min_size=n, max_size=n)), float)
    scores = np.array(data.draw(st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n)))
    limit = float(data.draw(st.integers(1, 120)))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, n - 1)), max_size=4)) - {n}) if n > 1 else []
    groups = [list(range(a, b)) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    vectors = np.eye(n, dtype=np.float32)
    rows = select(scores, costs, limit, groups, vectors, data.draw(st.floats(0, 1)))
    assert rows == sorted(set(rows)) and rows
    if costs.min() > limit:
        assert len(rows) == 1 and costs[rows[0]] == costs.min()
    else:
        assert costs[rows].sum() <= limit
        left = [row for row in range(n) if row not in rows]
        assert all(costs[row] > limit - costs[rows].sum() for row in left)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=12, unique=True), st.integers(1, 12))
def test_without_redundancy_the_best_are_chosen(scores, count):
    n = len(scores)
    rows = select(np.array(scores), np.ones(n), count, [list(range(n))], np.zeros((n, 3), np.float32), 0.0)
    assert rows == sorted(sorted(range(n), key=lambda row: -scores[row])[:count])


def test_what_was_said_is_not_said_again():
    document = read_document("The red fox ran over the hill. The red fox ran over the hill! A storm came from the west. The red fox ran over a hill.")
    vectors = sketches(document)
    costs = np.ones(4)
    assert select(np.array([3.0, 2.9, 0.0, 2.8]), costs, 2, [[0, 1, 2, 3]], vectors, 0.6) == [0, 2]
    assert 1 not in select(np.array([3.0, 2.9, 0.0, 2.8]), costs, 4, [[0, 1, 2, 3]], vectors, 0.0)


def test_gains_by_hand():
    said, ref = [["a", "b"], ["c", "d"], ["a", "x"]], ["a", "b", "c"]
    # Alone: words 2 of 2 and 3 (F 0.8), pairs 1 of 1 and 2 (F 2/3).
    assert gains_of(said, [ref], 1)[0] == pytest.approx((0.8 + 2 / 3) / 2)
    # Greedy: first a b (2/3 and 1/2), then c (1/3, no pair), then nothing new.
    assert greedy_gains(said, ref, 3) == pytest.approx([7 / 12, 1 / 6, 0])


def test_the_listwise_score_follows_its_shares():
    dense = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    model = fit_listwise(dense, None, np.array([0, 0, 1, 1]), np.array([0.8, 0.2, 0.8, 0.2], np.float32), ListwiseConfig(l2=1e-9))
    said = np.exp(model(dense[:2]))
    assert said / said.sum() == pytest.approx([0.8, 0.2], abs=1e-3)


def test_columns_several_references_and_titles(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"article": "A. B.", "refs": ["x", " "], "head": "T"}\n{"article": "", "refs": "y"}\n{"article": "C.", "refs": "z", "head": ""}\n')
    found = read_pairs(path, document_column="article", summary_column="refs", title_column="head")
    assert [(row.summaries, row.title, row.line) for row in found.rows] == [(("x",), "T", 1), (("z",), None, 3)] and found.skipped == 1
    table = tmp_path / "b.tsv"
    table.write_text("text\tsummary\nHello there. Bye.\tHello\n")
    assert read_pairs(table).rows[0].document == "Hello there. Bye."
    with pytest.raises(UsageError, match=r"which column of .* holds the summary"):
        read_pairs(path, document_column="article")
    with pytest.raises(UsageError, match="has no column 'nope'"):
        read_pairs(path, document_column="nope")
    odd = tmp_path / "c.jsonl"
    odd.write_text('{"document": "A.", "summary": [1]}\n')
    with pytest.raises(DataError, match="line 1: the list in 'summary' holds something that is no text"):
        read_pairs(odd)


def test_files_too_small_and_settings_that_do_not_exist(data, tmp_path):
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(4)))
    with pytest.raises(DataError, match="holds 4 documents with sentences; 5 folds need at least 10"):
        train_extractive(path)
    with pytest.raises(UsageError, match="encoder is 'maybe'"):
        train_extractive(data, config=ExtractiveConfig(encoder="maybe"))
    with pytest.raises(UsageError, match="needs a teacher"):
        train_extractive(data, config=ExtractiveConfig(encoder="yes"))


def test_summaries_of_several_sentences(tmp_path):
    path = tmp_path / "long.jsonl"
    made = []
    for first, second in zip(rows(24, seed=1), rows(24, seed=2), strict=True):
        made.append({"document": first["document"] + " " + second["document"], "summary": first["summary"] + " " + second["summary"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    found = train_extractive(path)
    assert json.loads(found.files["extract.json"])["sentences"] == 2
    assert found.rouge1 > found.lead + 20
    assert len(found.open().summarise(made[0]["document"]).sentences) == 2


def test_the_encoders_way(data, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    teacher = open_teacher("tiny", make_teacher(tmp_path / "teacher"))
    found = train_extractive(data, tmp_path / "out", teacher=teacher, config=ExtractiveConfig(encoder="yes", folds=3))
    config = json.loads(found.files["extract.json"])
    assert config["width"] == 192 and config["mix"] > 0 and found.chosen["int8_agreement"] > 0.8
    model = found.open()
    document = read_document(rows(1, seed=5)[0]["document"])
    assert not np.allclose(model.scores(document), model.cheap_scores(document))
    assert model.summarise(rows(1, seed=5)[0]["document"]).text.startswith("We show")
    assert (tmp_path / "out" / "onnx" / "model_quantized.onnx").stat().st_size == len(found.files["onnx/model_quantized.onnx"])
    kept_out = train_extractive(data, teacher=teacher, config=ExtractiveConfig(least_gain=50))
    assert kept_out.chosen["encoder_kept"] == 0 and kept_out.files == trained.files


@pytest.mark.parametrize(("change", "said"), [
    ({"sentences": 0}, "out of range"), ({"width": "x"}, "no whole number"), ({"extra": 1}, "unexpected keyword"), ({"features": ["a"]}, "other features"),
    ({"width": 8}, "vector_weight")])
def test_broken_settings_are_refused(trained, change, said):
    told = json.loads(trained.files["extract.json"]) | change
    with pytest.raises(BundleError, match=said):
        open_model(trained.files | {"extract.json": json.dumps(told).encode()})


def test_broken_tensors_are_refused(trained):
    with pytest.raises(BundleError, match=r"model.safetensors cannot be read"):
        open_model(trained.files | {"model.safetensors": b"nonsense"})
    with pytest.raises(BundleError, match=r"does not describe an extract rung"):
        open_model(trained.files | {"extract.json": b"[]"})
    with pytest.raises(BundleError, match=r"has no file model.safetensors"):
        open_model({"extract.json": trained.files["extract.json"]})


def test_too_long_a_document_is_refused(trained, monkeypatch):
    monkeypatch.setattr("understudy.run.salience.MOST", 3)
    with pytest.raises(UsageError, match=r"the document has 4 sentences \(the limit is 3\)"):
        trained.open().summarise("One. Two. Three. Four.")
    monkeypatch.setattr("understudy.run.salience.LONGEST", 5)
    with pytest.raises(UsageError, match=r"has 11 characters \(the limit is 5\)"):
        trained.open().summarise("Hello there")


def test_a_rare_feature_does_not_swamp_the_rest(trained):
    """The training file has no list: in a document with one, the telling sentence still wins."""
    text = "- Many people think.\n- The card was seen 12345678901234567890 times?\n\nWe show that the parcel depends on the card in 9 cases."
    assert trained.open().summarise(text, sentences=1).text.startswith("We show")
