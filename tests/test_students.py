"""The parts a student is made of: n-gram features on both sides, the linear solver, trimming, export, signals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from understudy.errors import ParityError, TeacherError
from understudy.models.bert import Classifier, Shape, load_bert
from understudy.models.ngram import featurise, fit_vocabulary, runtime_tensors
from understudy.models.teachers import batches, open_teacher, padded
from understudy.models.tiny import TinyConfig, fitted, most_pieces, start_tiny
from understudy.recipes.ground import Ground, make_folds
from understudy.run.kinds.ngram import NgramModel
from understudy.run.ngrams import NgramConfig, word_features, words_of
from understudy.run.tokens import open_tokenizer
from understudy.shrink.export import ExportConfig, export, onnx_logits, torch_logits
from understudy.shrink.graph import build, linears
from understudy.shrink.vocabulary import trim
from understudy.teach.linear import LinearConfig, Sparse, fit_linear
from understudy.teach.loop import LoopConfig, train
from understudy.teach.signals import SHARD, ask
from workshop import make_teacher, rows

NASTY = ["", " ", "?!", "a", "Größe ﬁne Ⅷ", "名前は何ですか", "x" * 3000, "the the the cat", "\ud800 lone", "🙂🙂", "tab\tand\nline"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = make_teacher(tmp_path_factory.mktemp("teacher"))
    return open_teacher("tiny", folder)


def test_words_are_bounded_and_folded():
    config = NgramConfig()
    assert words_of("Where's MY card?", config) == ["where", "'", "s", "my", "card", "?"]
    assert max(map(len, words_of("x" * 3000, config))) <= 40
    assert len(set(word_features("card", config))) == len(word_features("card", config))


def test_the_runtime_computes_what_training_computed():
    texts = [text for text, _ in rows(200, 1)]
    vocabulary = fit_vocabulary(texts, NgramConfig())
    rng = np.random.default_rng(0)
    from understudy.teach.linear import Linear

    head = Linear(rng.normal(size=(len(vocabulary.hashes), 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    tensors = runtime_tensors(vocabulary, head)
    rounded = tensors["weights"].astype(np.float32) * tensors["scale"][:, None]
    some = texts[:50] + NASTY
    expected = (featurise(some, vocabulary) @ torch.from_numpy(rounded)).numpy() + head.bias
    model = NgramModel(vocabulary.config, tensors)
    assert np.allclose(model.logits(some), expected, atol=2e-4)
    assert np.array_equal(model.logits(some), np.concatenate([model.logits([text]) for text in some]))


def test_a_full_memory_is_emptied_and_answers_stay_the_same(monkeypatch):
    texts = [text for text, _ in rows(200, 1)]
    vocabulary = fit_vocabulary(texts, NgramConfig())
    from understudy.teach.linear import Linear

    head = Linear(np.ones((len(vocabulary.hashes), 2), np.float32), np.zeros(2, np.float32))
    model = NgramModel(vocabulary.config, runtime_tensors(vocabulary, head))
    before = model.logits(texts)
    model._capacity = 5
    assert np.array_equal(model.logits(texts), before) and len(model._units) < 60


def test_ever_new_words_take_no_more_memory_than_they_may(monkeypatch):
    import tracemalloc

    from understudy.run.kinds import ngram
    from understudy.teach.linear import Linear

    monkeypatch.setattr(ngram, "_CACHE_BYTES", 1_000_000)
    vocabulary = fit_vocabulary(["a word", "word a"], NgramConfig())
    model = NgramModel(vocabulary.config, runtime_tensors(vocabulary, Linear(np.ones((len(vocabulary.hashes), 2), np.float32), np.zeros(2, np.float32))))
    tracemalloc.start()
    try:
        for start in range(0, 24_000, 1000):
            model.logits([f"new{number}" for number in range(start, start + 1000)])
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_the_linear_solver_finds_the_optimum_that_scikit_free_newton_finds():
    rng = np.random.default_rng(0)
    x, gold = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    targets = np.eye(3, dtype=np.float32)[gold]
    head = fit_linear(x, targets, LinearConfig(l2=0.05, iterations=200))
    probs = torch.softmax(torch.from_numpy(head(x)), 1).numpy()
    # At the optimum the gradient is zero: that is the definition, checked without the solver's own code.
    assert np.abs(x.T @ (probs - targets) / 60 + 0.05 * head.weight).max() < 1e-4
    assert np.abs((probs - targets).mean(0)).max() < 1e-4


def test_sparse_rows_transpose_and_multiply_like_dense():
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(6, 5)).astype(np.float32) * (rng.random((6, 5)) < 0.4)
    dense[2] = 0
    index = [np.flatnonzero(row) for row in dense]
    sparse = Sparse(np.concatenate([[0], np.cumsum([len(i) for i in index])]).astype(np.int64), np.concatenate(index).astype(np.int64),
                    np.concatenate([row[i] for row, i in zip(dense, index, strict=True)]).astype(np.float32), 5)
    other = torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))
    assert np.allclose((sparse @ other).numpy(), dense @ other.numpy(), atol=1e-6)
    back = torch.from_numpy(rng.normal(size=(6, 2)).astype(np.float32))
    assert np.allclose((sparse.transposed() @ back).numpy(), dense.T @ back.numpy(), atol=1e-6)
    pick = np.array([5, 2, 0])
    assert np.allclose((sparse.rows(pick) @ other).numpy(), dense[pick] @ other.numpy(), atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_our_encoder_is_transformers_encoder(family, tmp_path):
    from transformers import AutoModel

    folder = make_teacher(tmp_path, family=family)
    theirs = AutoModel.from_pretrained(folder).eval()
    ours = load_bert(theirs.state_dict(), theirs.config, 2, normalise=False).eval()
    ids, mask = padded([[2, 9, 11, 3], [2, 8, 3]], 0)
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        said = ours.states(ids, mask, len(ours.layers))
    assert torch.allclose(said[mask], expected[mask], atol=1e-5)


def test_trimming_changes_no_tokenisation_of_the_texts(teacher):
    whole = teacher.tokenizer.backend_tokenizer.to_str()
    texts = [text for text, _ in rows(80, 3)]
    reader = open_tokenizer(whole.encode(), "whole")
    old = reader.batch(texts, specials=True)
    trimmed, keep = trim(whole, old)
    small = open_tokenizer(trimmed, "trimmed")
    assert small.size == len(keep) < reader.size
    assert [[int(keep[i]) for i in ids] for ids in small.batch(texts, specials=True)] == old
    unk = json.loads(trimmed)["model"]["vocab"]["[UNK]"]
    assert unk not in small.ids("completely novel wording")


def test_only_wordpiece_is_trimmed():
    with pytest.raises(TeacherError, match="type BPE cannot be trimmed"):
        trim(json.dumps({"model": {"type": "BPE"}}), [])


def _model(classes: int = 5) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(Shape(50, 64, 2, 2, 128, 32, normalise=True), classes)
    with torch.no_grad():
        model.head.weight.mul_(20)
    return model.eval()


def test_torch_and_onnx_and_int8_agree_within_their_printed_tolerance():
    model = _model()
    rng = np.random.default_rng(0)
    probe = [rng.integers(0, 50, rng.integers(3, 30)).tolist() for _ in range(60)]
    made = export(model, probe, ExportConfig(agreement=0.9))
    truth = torch_logits(model, probe)
    assert np.abs(onnx_logits(made.whole, probe) - truth).max() <= min(1e-3, made.difference + 1e-6)
    assert np.abs(onnx_logits(made.quantised, probe) - truth).max() <= made.int8_difference + 1e-6
    assert len(made.quantised) < 0.5 * len(made.whole)
    assert build(model, whole=[]) == build(model, whole=[])


def test_layers_return_to_float_until_int8_agrees():
    model = _model(40)
    rng = np.random.default_rng(0)
    probe = [rng.integers(0, 50, 12).tolist() for _ in range(80)]
    strict = export(model, probe, ExportConfig(agreement=1.01))
    assert len(strict.restored) == len(linears(model)) / 2


def test_export_refuses_a_model_that_answers_differently(monkeypatch):
    import understudy.shrink.export as module

    monkeypatch.setattr(module, "torch_logits", lambda model, some: np.zeros((len(some), 5), np.float32))
    with pytest.raises(ParityError, match="differs from the trained one by"):
        export(_model(), [[1, 2, 3]], ExportConfig())


def test_the_small_transformer_stays_below_a_million(teacher):
    config = TinyConfig()
    keep = np.arange(100)
    student = start_tiny(teacher.encoder, keep, np.ones(100), 3, config)
    assert sum(p.numel() for p in student.parameters()) + (most_pieces(config, 3) - 100) * config.width <= 1_000_000
    ids, mask = padded([[2, 9, 11, 3]], 0)
    assert torch.isfinite(student(ids, mask)).all()


@pytest.mark.parametrize(("width", "heads", "expected"), [(52, 4, 52), (312, 12, 104), (384, 12, 128), (768, 12, 128), (512, 2, 256)])
def test_a_student_is_cut_to_whole_heads_of_any_teacher(width, heads, expected):
    teacher = Classifier(Shape(vocabulary=60, width=width, layers=1, heads=heads, hidden=100, positions=40), 2).eval()
    config = fitted(TinyConfig(), teacher.shape)
    assert (config.width, config.layers, config.hidden, config.positions) == (expected, 1, 100, 40)
    student = start_tiny(teacher, np.arange(50), np.ones(50), 3, config)
    assert torch.isfinite(student(*padded([[2, 9, 11, 3]], 0))).all()
    # Not cut, the student is too wide for a narrow teacher: what a checkpoint of 52 used to end in.
    if width == 52:
        with pytest.raises(RuntimeError):
            start_tiny(teacher, np.arange(50), np.ones(50), 3, TinyConfig())


def test_folds_spread_every_label_and_depend_only_on_the_seed():
    gold = np.array([0] * 11 + [1] * 2 + [2] * 7)
    folds = make_folds(gold, 0)
    assert np.array_equal(folds, make_folds(gold, 0)) and not np.array_equal(folds, make_folds(gold, 1))
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    assert len(set(folds[gold == 1])) == 2


def test_no_row_learns_from_a_teacher_that_saw_it_or_the_fold_left_out():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 100)
    vectors = rng.normal(size=(100, 8)).astype(np.float32)
    ground = Ground([str(i) for i in range(100)], gold, ("a", "b"), 0, vectors=vectors)
    fold = ground.evaluated[0]
    before = ground.targets(fold)
    changed = Ground([str(i) for i in range(100)], np.where(ground.folds == fold, 1 - gold, gold), ("a", "b"), 0, vectors=vectors)
    changed.folds, changed._strength, changed._temperature, changed._heads = ground.folds, ground._strength, ground._temperature, {}
    # Flipping every gold label of the fold that is left out must not move a single soft label.
    assert np.array_equal(before, changed.targets(fold))
    assert not np.array_equal(ground.targets(None), changed.targets(None))


class _Speaker:
    key = "speaker"

    def __init__(self):
        self.asked = 0

    def vectors(self, texts, progress):
        self.asked += len(texts)
        return np.array([[len(text), hash(text[:1]) % 7] for text in texts], np.float32)


def test_signals_are_asked_once_and_resume_where_they_stopped():
    texts = [f"text {'x' * (i % 40)} {i}" for i in range(2 * SHARD + 10)]
    speaker = _Speaker()
    said = ask(speaker, texts)
    assert speaker.asked == len(texts) and said[7][0] == len(texts[7])
    assert np.array_equal(ask(speaker, texts), said) and speaker.asked == len(texts)
    stops = iter([False, False, True])
    other = _Speaker()
    other.key = "other"
    with pytest.raises(KeyboardInterrupt):
        ask(other, texts, stop=lambda: next(stops))
    assert np.array_equal(ask(other, texts), said) and other.asked == len(texts)


def test_a_damaged_signal_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    speaker = _Speaker()
    ask(speaker, ["a", "bb"])
    for path in (tmp_path / "signals").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert ask(speaker, ["a", "bb"])[1][0] == 2 and speaker.asked == 4


def test_the_loop_learns_stops_and_keeps_to_its_time():
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    y = (x[:, 0] > 0).long()
    model = torch.nn.Linear(3, 2)

    def loss(some):
        return torch.nn.functional.cross_entropy(model(x[some]), y[some])

    lengths = np.ones(200, int)
    report = train(model, [], loss, lengths, LoopConfig(epochs=20, rate=0.05), 0)
    assert report.loss < 0.2 and report.steps == 140
    assert train(model, [], loss, lengths, LoopConfig(epochs=5), 0, stop=lambda: True).steps == 0
    assert train(model, [], loss, lengths, LoopConfig(epochs=10_000, seconds=0.3), 0).seconds < 3


def test_batches_hold_every_row_once():
    ids = [[0] * n for n in (5, 1, 9, 2, 2, 30)]
    seen = np.concatenate(list(batches(ids, 10)))
    assert sorted(seen.tolist()) == list(range(6))
