"""Neural fuzzy repair: what a model that mends is shown, what it learns from, and that a memory's near matches reach it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from toy_language import QUICK, write_pairs
from understudy.cli import _run
from understudy.errors import BundleError, UsageError
from understudy.recipes.text.fit import alike
from understudy.recipes.text.train import train_text
from understudy.run.prompts import prompt_of
from understudy.tasks.localise import Memory, open_document, restore, translate_document
from understudy.tasks.localise.mending import MARK, asked, chosen, lessons
from understudy.teach.sequences import Sequences

PAIRS = [("Failed to open {name}", "{name} konnte nicht geöffnet werden"), ("Failed to save {name}", "{name} konnte nicht gespeichert werden"),
         ("Failed to send the report", "Der Bericht konnte nicht gesendet werden"), ("Blue cup", "Blaue Tasse"), ("failed to open {name}", "{name} geht nicht auf")]


def test_matches_stand_behind_the_text_masked_alike_best_first():
    prompt, tokens = asked("Failed to load {file}", Memory(PAIRS))
    text, first, second = prompt.split(MARK)
    assert text == "Failed to load {0}"
    assert first[0].isdigit() and first[1:].startswith("{0} konnte nicht ge") and second[0].isdigit() and int(second[0]) <= int(first[0])
    assert restore("{0} konnte nicht geladen werden", tokens) == "{file} konnte nicht geladen werden"
    assert asked("Zebra", Memory(PAIRS)) is None
    assert asked(f"Failed{MARK}to load", Memory(PAIRS))[0].startswith("Failed to load" + MARK), "a mark in the text itself is none"


def test_the_second_match_brings_what_the_first_lacks():
    memory = Memory([("Open the front door", "A"), ("Open the front doors", "B"), ("a green lamp", "C")])
    text = "Open the front door and a green lamp"
    assert [match.target for match in memory.matches(text, 0.2, 8)] == ["A", "B", "C"]
    assert [match.target for match in chosen(text, memory.matches(text, 0.2, 8))] == ["A", "C"]
    assert chosen("Hi", Memory([("Hi", "x" * 60)]).matches("Hi", 0.3, 8)) == [], "a translation far too long lends nothing"


def test_no_lesson_shows_a_pair_its_own_translation():
    rows = lessons(PAIRS, Memory(PAIRS), np.random.default_rng(0))
    alone = [row for row in rows if MARK not in row[0]]
    assert ("Failed to open {0}", "{0} konnte nicht geöffnet werden") in alone and len(alone) == len(PAIRS)
    shown = [(prompt, answer) for prompt, answer in rows if prompt.startswith("Failed to open {0}" + MARK)]
    assert shown and all("{0} konnte nicht gespeichert werden" in prompt for prompt, _ in shown)
    for prompt, answer in rows:
        assert not any(one[1:] == answer for one in prompt.split(MARK)[1:])
    lost = lessons([("Delete {name} now", "Jetzt löschen")], Memory(), np.random.default_rng(0))
    assert lost == [("Delete {name} now", "Jetzt löschen")], "no mask that has no place in the answer"


def test_matches_come_best_first_and_without_the_text_itself():
    memory = Memory(PAIRS)
    found = memory.matches("Failed to open {name}", 0.3, 8)
    assert found[0].exact and found[1].target == "{name} konnte nicht gespeichert werden", "the same text in other letters is no other text"
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
    assert all("geöffnet" not in match.target and "geht" not in match.target for match in memory.matches("Failed to open {name}", 0.3, 8, itself=False))


def test_a_translator_that_mends_is_shown_near_matches_first(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": "Failed to load {file}", "b": "Zebra", "c": "Blue cup"}))
    heard = []

    def translate(texts):
        heard.extend(texts)
        return ["{0} konnte nicht geladen werden" if MARK in text else "Zebra!" for text in texts]

    document = open_document(tmp_path / "a.json")
    report = translate_document(document, translate, memory=Memory(PAIRS), mends=True)
    assert (report.exact, report.model) == (1, 2) and sum(MARK in text for text in heard) == 1
    assert json.loads(document.write(report.targets))["a"] == "{file} konnte nicht geladen werden"
    heard.clear()
    translate_document(open_document(tmp_path / "a.json"), translate, memory=Memory(PAIRS))
    assert heard and not any(MARK in text for text in heard), "a model that was not taught to mend sees the text alone"


def test_an_answer_to_matches_that_breaks_something_is_asked_for_again_without_them(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": "Failed to load {file}"}))
    document = open_document(tmp_path / "a.json")
    report = translate_document(document, lambda texts: ["konnte nicht" if MARK in text else "Fehler bei {0}" for text in texts], memory=Memory(PAIRS), mends=True)
    assert json.loads(document.write(report.targets))["a"] == "Fehler bei {file}"


@pytest.fixture(scope="module")
def mender(tmp_path_factory):
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
    work = tmp_path_factory.mktemp("mend")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(work / "home"))
        heard = []
        train_text(write_pairs(work / "pairs.tsv"), "translate", out=work / "en-de", source="en", target="de", epochs=4, time_budget=60.0, mend=True,
                   listen=heard.append, **QUICK)
        yield work, heard


def test_a_bundle_that_mends_says_so_and_takes_a_long_text_with_matches_whole(mender, tmp_path, capsys):
    from understudy.bundle import open_bundle
    from understudy.run.opening import load

    work, heard = mender
    assert any("each other's memory" in event.text for event in heard)
    bundle = open_bundle(work / "en-de")
    assert prompt_of(bundle, "writer/generation.json").mends == MARK and bundle.manifest.provenance["config"]["mend"] is True
    with load(work / "en-de") as writer:
        assert writer.predict(f"The red door is old. The blue cup is new.{MARK}7Die Tasse in blau ist neu.").parts == 1
        assert writer.predict("The red door is old. The blue cup is new.").parts == 2
        long = MARK + "3" + "Die Tasse in blau ist neu. " * 8
        assert writer.predict(f"The red door is old.{MARK}7Die Tür.{long}{long}").text == writer.predict(f"The red door is old.{MARK}7Die Tür.").text
        assert writer.predict(f"The red door is old. The blue cup is new.{long}").parts == 2, "what the context does not hold is left out, the least alike first"
    (tmp_path / "m.tsv").write_text("The red door is new.\tDie Tür in rot ist neu.\n")
    (tmp_path / "a.po").write_text('msgid ""\nmsgstr ""\n\nmsgid "The red door is old."\nmsgstr ""\n')
    told = [str(tmp_path / "a.po"), "--output", str(tmp_path / "b.po"), "--memory", str(tmp_path / "m.tsv"), "--json"]
    assert _run(["predict", str(work / "en-de"), "--input", *told], as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["model"] == 1


def test_mending_is_for_translations(tmp_path):
    path = write_pairs(tmp_path / "pairs.tsv")
    with pytest.raises(UsageError, match="--mend is for translations"):
        train_text(path, "generate", out=tmp_path / "x", source="en", target="de", mend=True, **QUICK)
    with pytest.raises(UsageError, match="not from a teacher"):
        train_text(path, "translate", out=tmp_path / "x", source="en", target="de", mend=True, teacher="somebody", **QUICK)


@pytest.mark.parametrize("mends", ["ab", 1, None])
def test_a_mark_that_is_none_is_refused(mender, tmp_path, mends):
    from understudy.bundle import open_bundle, write_bundle

    bundle, name = open_bundle(mender[0] / "en-de"), "writer/generation.json"
    files = {one: bundle.read(one) for one in bundle.files()}
    files[name] = json.dumps(json.loads(files[name]) | {"mends": mends}).encode()
    write_bundle(tmp_path / "b", files, replace(bundle.manifest, files={}))
    with pytest.raises(BundleError, match="mends is one character"):
        prompt_of(open_bundle(tmp_path / "b"), name)


def test_no_row_of_a_held_out_pair_is_learned():
    """The same answer behind a source alone and behind it with a match: three rows of one pair, and one of another."""
    rows = [([1, 2], [7, 8]), ([1, 2, 5], [7, 8]), ([3], [7]), ([1, 2, 6, 6], [7, 8])]
    ids = np.array([one for source, answer in rows for one in (*source, *answer)], np.int32)
    wanted = np.array([flag for source, answer in rows for flag in (*([False] * len(source)), *([True] * len(answer)))])
    starts = np.cumsum([0, *(len(source) + len(answer) for source, answer in rows)])
    sequences = Sequences(ids, wanted, starts)
    assert alike(sequences, np.array([1])).tolist() == [0, 1, 3] and alike(sequences, np.array([2])).tolist() == [2] and not len(alike(sequences, np.array([], int)))
