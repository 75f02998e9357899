"""The whole recipe on a tiny teacher: what comes out, and that every part of it gives the same answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest

from understudy.bundle import open_bundle, verify, write_bundle
from understudy.errors import BundleError, DataError, GateError, TeacherError, UsageError
from understudy.models.checkpoint import find_checkpoint
from understudy.proof.bench import Speed
from understudy.recipes.classify import _costs, _tell_slower, train
from understudy.recipes.config import TrainConfig
from understudy.recipes.events import Event
from understudy.recipes.inspecting import show
from understudy.recipes.teacher import hear
from understudy.run.answer import load
from workshop import make_teacher, rows, write_csv


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a teacher, 150 training rows and 60 test rows."""
    folder = tmp_path_factory.mktemp("work")
    make_teacher(folder / "teacher")
    write_csv(folder / "train.csv", rows(150, 1))
    write_csv(folder / "test.csv", rows(60, 2))
    return folder


@pytest.fixture(scope="module")
def config(work):
    return TrainConfig(teacher=str(work / "teacher"), test=str(work / "test.csv"), threads=1)


@pytest.fixture(scope="module")
def made(work, config, tmp_path_factory):
    """A full bundle, trained once for the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tmp_path_factory.mktemp("home")))
        events: list[Event] = []
        return train(work / "train.csv", out=work / "bundle", config=config, listen=events.append), events


def test_the_bundle_is_whole_and_answers(made):
    result, _ = made
    assert verify(result.path) == []
    bundle = load(result.path)
    said = bundle.predict("where is my parcel")
    assert said.label in bundle.labels and 0 < said.confidence <= 1
    assert result.receipt.headline["accuracy"]["value"] > 0.7


def test_the_receipt_names_teacher_every_rung_twice_and_the_cascade(made):
    entries = made[0].receipt.data["entries"]
    names = [(entry["name"], entry["precision"]) for entry in entries]
    for name in ("ngram", "static", "tiny", "encoder"):
        assert [one for one, _ in names].count(name) == 2
    # the helper never answers, so it has no line of its own
    assert "gold" not in [one for one, _ in names] and any(note.startswith("gold never answers") for note in made[0].receipt.data["notes"])
    assert entries[0]["role"] == "teacher" and entries[-1]["role"] == "cascade"


def test_listeners_hear_every_stage(made):
    assert {event.stage for event in made[1]} >= {"read", "teacher", "ngram", "static", "tiny", "gold", "encoder", "cascade", "prove"}


def test_checks_are_answered_again_after_loading(made):
    told = json.loads((made[0].path / "checks.json").read_text())
    bundle = load(made[0].path)
    for check in told["checks"]:
        said = bundle.predict(check["text"])
        assert said.label == check["label"] and said.rung == check["rung"]
        assert said.confidence == pytest.approx(check["confidence"], abs=1e-5)


def test_same_seed_same_bytes(work, config, tmp_path):
    first = train(work / "train.csv", out=tmp_path / "a", config=config)
    second = train(work / "train.csv", out=tmp_path / "b", config=config)
    assert first.manifest.id == replace(second.manifest, name=first.manifest.name).id
    for name in first.manifest.files:
        if name not in ("receipt.json", "receipt.html", "README.md"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    other = train(work / "train.csv", out=tmp_path / "c", config=replace(config, seed=1))
    assert other.manifest.id != first.manifest.id


def test_a_batch_answers_as_each_text_alone(made):
    bundle = load(made[0].path)
    texts = [text for text, _ in rows(40, 5)] + ["", "🙂", "x" * 5000, "\ud800"]
    together = bundle.answer(texts)
    for index, text in enumerate(texts):
        alone = bundle.answer([text])
        assert np.array_equal(alone.probs[0], together.probs[index]) and alone.rung[0] == together.rung[index]
    spread = load(made[0].path, threads=2).answer(texts)
    assert np.array_equal(spread.probs, together.probs)


def test_a_certificate_is_given_or_withheld_with_a_reason(work, config, tmp_path):
    lax = train(work / "train.csv", out=tmp_path / "lax", config=replace(config, size="tiny", max_error=0.5))
    assert lax.manifest.certificate["alpha"] == 0.5 and lax.receipt.data["certificate"]["key"]
    strict = train(work / "train.csv", out=tmp_path / "strict", config=replace(config, size="tiny", max_error=0.001))
    assert strict.manifest.certificate is None
    assert any("Nothing can be certified" in line for line in strict.lines)
    assert load(tmp_path / "strict").predict("where is my parcel").label is None
    assert "One row in 5" in next(line for line in strict.lines if "Nothing can be certified" in line)
    show(lax.path, verify=True)
    # The same bundle, honestly sealed, with another threshold: the promise was not made about that one.
    bundle = open_bundle(lax.path)
    moved = replace(bundle.manifest, rungs=tuple(replace(rung, threshold=rung.threshold + 0.1) for rung in bundle.manifest.rungs), files={})
    write_bundle(tmp_path / "moved", {name: bundle.read(name) for name in bundle.files()}, moved)
    with pytest.raises(BundleError, match="the certificate is void"):
        show(tmp_path / "moved", verify=True)


def test_a_failed_gate_writes_nothing(work, config, tmp_path):
    with pytest.raises(GateError, match="accuracy"):
        train(work / "train.csv", out=tmp_path / "never", config=replace(config, size="tiny", gate="accuracy>=1.0,size<=1KB"))
    assert not (tmp_path / "never").exists()


def test_budgets_choose_the_rungs(work, config, tmp_path):
    small = train(work / "train.csv", out=tmp_path / "small", config=replace(config, max_size=120_000))
    assert sum(entry.bytes for name, entry in small.manifest.files.items() if "/" in name) <= 120_000
    assert {rung.name for rung in small.manifest.rungs} <= {"ngram", "static"}
    with pytest.raises(GateError, match="no student fits 900 bytes"):
        train(work / "train.csv", out=tmp_path / "none", config=replace(config, max_size=900))
    # The cascade's own work counts, not only that of the model.
    quick = Speed(0.01, 0.02, 0.03, 0.01, 1e5, None, 1, 100)
    staged = load(small.path)
    with pytest.raises(GateError, match=r"no student fits 0\.02 ms"):
        _costs([SimpleNamespace(name="ngram", cost=0.04)], SimpleNamespace(predict=lambda text: sleep(0.001)), {"ngram": quick}, ["a"], 0.02)
    assert _costs([SimpleNamespace(name="ngram", cost=0.04)], staged, {"ngram": quick}, ["a"], None) == [0.04]
    told: list[Event] = []
    _tell_slower(0.3, 0.2, told.append)
    _tell_slower(0.1, 0.2, told.append)
    assert len(told) == 1 and "0.3 ms a request, over the 0.2 ms asked for" in told[0].text
    with pytest.raises(GateError, match="no student fits 1e-06 ms"):
        train(work / "train.csv", out=tmp_path / "none", config=replace(config, size="tiny", max_latency=1e-6))


def test_without_a_teacher_the_ngram_rung_is_made(work, config, tmp_path):
    result = train(work / "train.csv", out=tmp_path / "alone", config=replace(config, teacher="none"))
    assert [rung.name for rung in result.manifest.rungs] == ["ngram"]
    assert result.receipt.data["entries"][0]["role"] == "rung"


def test_an_earlier_bundle_and_a_checkpoint_with_a_head_teach_too(work, config, made, tmp_path):
    heir = train(work / "train.csv", out=tmp_path / "heir", config=replace(config, teacher=str(made[0].path), size="tiny"))
    assert heir.receipt.data["entries"][0]["name"] == "teacher"
    row = heir.receipt.data["entries"][0]
    assert row["precision"] == "mixed" and row["bytes"] == sum(entry.bytes for entry in made[0].manifest.files.values()) and row["speed"]["rss_mb"] > 20
    make_teacher(tmp_path / "headed", family="distilbert", labels=["card", "delivery", "refund"])
    events: list[Event] = []
    headed = train(work / "train.csv", out=tmp_path / "pupil", config=replace(config, teacher=str(tmp_path / "headed")), listen=events.append)
    assert {entry["name"] for entry in headed.receipt.data["entries"]} == {"teacher", "ngram", "static", "tiny", "encoder", "cascade"}
    assert not any("other labels" in event.text for event in events)


def test_a_checkpoint_narrower_than_a_student_teaches_every_rung(work, config, tmp_path):
    make_teacher(tmp_path / "narrow", labels=["card", "delivery", "refund"], narrow=True)
    made = train(work / "train.csv", out=tmp_path / "pupil", config=replace(config, teacher=str(tmp_path / "narrow")))
    assert {entry["name"] for entry in made.receipt.data["entries"]} == {"teacher", "ngram", "static", "tiny", "encoder", "cascade"}


def test_the_teacher_stands_in_the_receipt_with_time_and_memory(work, made, tmp_path, monkeypatch):
    row = made[0].receipt.data["entries"][0]
    assert row["train_seconds"] > 0 and row["speed"]["rss_mb"] > 100 and row["speed"]["threads"] == 1
    # Read from the cache, it is not known what asking takes.
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    texts = ([text for text, _ in rows(30, 3)], ["my card"], [])
    assert [hear(str(work / "teacher"), texts, ["card"], lambda event: None, lambda: False).fresh for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("offline", "why"), [("1", "HF_HUB_OFFLINE is set"), (None, "it cannot be reached")])
def test_a_hub_that_is_out_of_reach_is_told_in_a_few_words(monkeypatch, offline, why):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", bool(offline))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(TeacherError) as caught:
        find_checkpoint("nobody/such-model")
    assert f"(the Hugging Face cache: not in it; the hub: {why}" in str(caught.value) and "--teacher none" in (caught.value.hint or "")
    assert "local_files_only" not in str(caught.value)


def test_unlabelled_texts_are_labelled_by_the_teacher_only(work, config, tmp_path):
    (tmp_path / "more.txt").write_text("\n".join(text for text, _ in rows(80, 7)))
    result = train(work / "train.csv", out=tmp_path / "more", config=replace(config, size="small", unlabelled=str(tmp_path / "more.txt")))
    assert result.receipt.data["data"]["unlabelled"] > 40
    with pytest.raises(TeacherError, match="unlabelled texts need a teacher"):
        train(work / "train.csv", out=tmp_path / "no", config=replace(config, teacher="none", unlabelled=str(tmp_path / "more.txt")))


def test_an_interrupt_keeps_the_best_so_far(work, config, made, tmp_path):
    import os
    import signal

    def interrupt(event: Event) -> None:
        if event.stage == "ngram" and event.done is None and "MB" in event.text:
            os.kill(os.getpid(), signal.SIGINT)

    result = train(work / "train.csv", out=tmp_path / "early", config=config, listen=interrupt)
    assert [rung.name for rung in result.manifest.rungs] == ["ngram"] and verify(result.path) == []
    assert "train: interrupted: finishing with what is ready, if anything is; Ctrl-C again ends at once" in result.lines
    assert "static: left out: interrupted" in result.lines
    # What is measured after an interrupt is measured whole: the teacher's own head was once cut short with the rest.
    assert result.receipt.data["entries"][0]["accuracy"] == made[0].receipt.data["entries"][0]["accuracy"]


def test_an_interrupt_before_the_first_model_leaves_nothing_and_one_within_a_model_drops_it(work, config, tmp_path):
    import os
    import signal

    def interrupt_at(stage: str):
        pressed = []

        def listen(event: Event) -> None:
            if event.stage == stage and event.done is not None and not pressed:
                pressed.append(True)
                os.kill(os.getpid(), signal.SIGINT)

        return listen

    for stage in ("teacher", "ngram"):
        heard: list[Event] = []
        press = interrupt_at(stage)
        with pytest.raises(KeyboardInterrupt):
            train(work / "train.csv", out=tmp_path / "none", config=config, listen=lambda event: (heard.append(event), press(event)))  # noqa: B023
        assert "what the teacher said is kept, and a second run goes on from there" in heard[-1].text
        assert not (tmp_path / "none").exists()
    result = train(work / "train.csv", out=tmp_path / "some", config=config, listen=interrupt_at("tiny"))
    assert "tiny" not in [rung.name for rung in result.manifest.rungs] and verify(result.path) == []


def test_what_cannot_be_trained_on_says_why(work, config, tmp_path):
    write_csv(tmp_path / "one.csv", [("a text", "only"), ("another", "only")])
    with pytest.raises(DataError, match="label"):
        train(tmp_path / "one.csv", out=tmp_path / "x", config=replace(config, test=None))
    write_csv(tmp_path / "lonely.csv", [*rows(60, 4), ("once only", "lonely")])
    with pytest.raises(DataError, match=r"lonely.csv, line 62: the label 'lonely' has a single text"):
        train(tmp_path / "lonely.csv", out=tmp_path / "x", config=replace(config, test=None))
    with pytest.raises(UsageError, match="size is 'huge'"):
        train(work / "train.csv", out=tmp_path / "x", config=replace(config, size="huge"))
    with pytest.raises(TeacherError, match="is not a model folder"):
        train(work / "train.csv", out=tmp_path / "x", config=replace(config, teacher=str(tmp_path)))
    assert not (tmp_path / "x").exists()


def test_more_text_than_there_is_memory_for_is_refused(work, config, tmp_path, monkeypatch):
    import understudy.recipes.memory as memory

    assert memory.room_for_text() > 1_000_000
    monkeypatch.setattr(memory, "_PER_CHARACTER", 10**12)
    with pytest.raises(DataError, match=r"train.csv holds about .* and there is room for 1 here"):
        train(work / "train.csv", out=tmp_path / "x", config=config)


def test_label_maps_must_cover_the_labels(work, config, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"card": "about a card"}))
    with pytest.raises(UsageError, match="has no entry for the label 'delivery'"):
        train(work / "train.csv", out=tmp_path / "x", config=replace(config, labels=str(path)))


def test_nothing_is_left_behind_in_the_working_folder(made):
    assert sorted(path.name for path in Path(made[0].path).parent.iterdir()) == ["bundle", "teacher", "test.csv", "train.csv"]
