"""The peers: what a person would reach for instead of us. Each is one small class; `base.py` says what it must do."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from base import Answerer, Context, Model, Peer, tuned_once
from encoder import OnnxEncoder, TorchEncoder, copy_encoder, embed_cached, export_onnx, in_length_order, weights_hash

CHOOSE_ROWS = 6000
"""Strengths are cross-validated on at most so many rows of train: on all of them it takes longer than everything else."""


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _grid(model: Any, features: Any, labels: Sequence[str], name: str, values: Sequence[float],
          threads: int) -> dict[str, Any]:
    import joblib
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

    if len(labels) > CHOOSE_ROWS:
        kept, _ = train_test_split(np.arange(len(labels)), train_size=CHOOSE_ROWS, random_state=0, stratify=list(labels))
        features = features[kept] if isinstance(features, np.ndarray) else [features[i] for i in kept]
        labels = [labels[i] for i in kept]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(model, {name: list(values)}, cv=folds, n_jobs=threads, refit=False)
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        search.fit(features, list(labels))
    return {"C": search.best_params_[name], "cv": [round(float(s), 4) for s in search.cv_results_["mean_test_score"]]}


class Tfidf:
    """TF-IDF of words (1–2) and characters within words (2–5), sublinear, and a linear model of scikit-learn.

    Logistic regression is multinomial by lbfgs (scikit-learn's default); the SVM is LinearSVC, whose decision values
    go through a softmax where probabilities are asked for: its best label is right, its confidence is not calibrated.
    """

    seeded = False
    most_seeds = 1

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"tfidf-{kind}"
        self.title = f"scikit-learn TF-IDF + {'logistic regression' if kind == 'lr' else 'LinearSVC'}"
        self.values = (2.0, 8.0, 32.0) if kind == "lr" else (0.1, 0.5, 2.0)

    def _pipeline(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import FeatureUnion, Pipeline
        from sklearn.svm import LinearSVC

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
        chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float32)
        linear = LogisticRegression(max_iter=300) if self.kind == "lr" else LinearSVC(random_state=0)
        return Pipeline([("features", FeatureUnion([("words", words), ("chars", chars)])), ("linear", linear)])

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]:
        import joblib

        model = self._pipeline()
        choice, seconds = tuned_once(self.name, self.values, texts, labels, context, lambda: _grid(
            model, list(texts), labels, "linear__C", self.values, context.threads))
        start = time.perf_counter()
        model.set_params(linear__C=choice["C"]).fit(list(texts), list(labels))
        joblib.dump(model, folder / "model.joblib")
        return {**choice, "tune_seconds": seconds, "fit_seconds": time.perf_counter() - start}

    def load(self, folder: Path, context: Context) -> Answerer:
        import joblib

        model = joblib.load(folder / "model.joblib")
        ask = model.predict_proba if self.kind == "lr" else lambda texts: _softmax(_columns(model, texts))
        return Model(tuple(map(str, model.classes_)), ask, folder, lambda text: str(model.predict([text])[0]))

    def cost(self, rows: int, tests: int, classes: int) -> float:
        if self.kind == "lr":
            return 10 + rows * 9e-4 + rows * classes * 3.3e-5
        return 10 + rows * 1e-4 + rows * classes * 1.5e-5


def _columns(model: Any, texts: Sequence[str]) -> np.ndarray:
    scores = model.decision_function(texts)
    return scores if scores.ndim == 2 else np.stack([-scores, scores], axis=1)


class FastText:
    """fastText, word pairs and characters 2–5, 200,000 buckets; epochs and rate chosen once on a tenth of train.

    Two threads update the same weights without a lock, so even one seed does not give the same model twice.
    `quantised` is its own way of getting small: product quantisation of the 50,000 rows of largest norm, refitted. That
    takes a minute and shares the float row's spread, so one seed is run.
    """

    seeded = True
    tries = ((0.1, 10), (0.3, 25), (0.5, 100))

    def __init__(self, *, quantised: bool = False) -> None:
        self.quantised, self.most_seeds = quantised, 1 if quantised else 99
        self.name = "fasttext-ftz" if quantised else "fasttext"
        self.title = "fastText" + (", quantised" if quantised else "")

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]:
        from sklearn.model_selection import train_test_split

        index = {name: i for i, name in enumerate(sorted(set(labels)))}
        lines = [f"__label__{index[y]} {_fasttext_line(t)}" for t, y in zip(texts, labels, strict=True)]
        head, tail = train_test_split(range(len(lines)), test_size=0.1, random_state=0, stratify=list(labels))

        def choose() -> dict[str, Any]:
            scores = []
            for rate, epochs in self.tries:
                model = self._train([lines[i] for i in head], rate, epochs, 0, folder, context)
                right = sum(_fasttext_best(model, texts[i]) == index[labels[i]] for i in tail)
                scores.append(round(right / len(tail), 4))
            return dict(zip(("rate", "epochs"), self.tries[int(np.argmax(scores))], strict=True), validation=scores)

        choice, seconds = tuned_once("fasttext", self.tries, texts, labels, context, choose)
        start = time.perf_counter()
        model = self._train(lines, choice["rate"], choice["epochs"], seed, folder, context)
        if self.quantised:
            (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            model.quantize(input=str(folder / "train.txt"), qnorm=True, retrain=True, cutoff=50_000,
                           epoch=max(1, choice["epochs"] // 4), lr=choice["rate"], thread=context.threads)
            (folder / "train.txt").unlink()
        model.save_model(str(folder / "model.bin"))
        (folder / "labels.json").write_text(json.dumps(list(index)))
        return {**choice, "tune_seconds": seconds, "fit_seconds": time.perf_counter() - start}

    def _train(self, lines: Sequence[str], rate: float, epochs: int, seed: int, folder: Path, context: Context) -> Any:
        import fasttext

        path = folder / "fit.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        model = fasttext.train_supervised(str(path), lr=rate, epoch=epochs, dim=100, bucket=200_000, wordNgrams=2,
                                          minn=2, maxn=5, thread=context.threads, seed=seed, verbose=0)
        path.unlink()
        return model

    def load(self, folder: Path, context: Context) -> Answerer:
        import fasttext

        fasttext.FastText.eprint = lambda *_: None
        model = fasttext.load_model(str(folder / "model.bin"))
        labels = tuple(json.loads((folder / "labels.json").read_text()))

        def proba(texts: Sequence[str]) -> np.ndarray:
            out = np.zeros((len(texts), len(labels)), np.float32)
            for row, text in enumerate(texts):
                for share, label in _fasttext_ask(model, text, len(labels)):
                    out[row, int(label.removeprefix("__label__"))] = share
            # fastText rounds its softmax through a table, so that a row sums to 1 only roughly.
            return out / np.maximum(out.sum(axis=1, keepdims=True), 1e-9)
        return Model(labels, proba, folder, lambda text: labels[_fasttext_best(model, text)])

    def cost(self, rows: int, tests: int, classes: int) -> float:
        # Many labels want the 100 epochs, few the 10; choosing is shared by the seeds.
        return (45 if self.quantised else 3) + rows * (2.4e-3 if classes > 10 else 6e-4)


def _fasttext_line(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


def _fasttext_ask(model: Any, text: str, k: int) -> list[tuple[float, str]]:
    # The public predict() of fasttext 0.9.2 asks NumPy 2 for a copy-free array and fails; the call below it does not.
    return model.f.predict(_fasttext_line(text) + "\n", k, 0.0, "strict")


def _fasttext_best(model: Any, text: str) -> int:
    found = _fasttext_ask(model, text, 1)
    return int(found[0][1].removeprefix("__label__")) if found else 0


def _fit_head(name: str, vectors: np.ndarray, labels: Sequence[str], texts: Sequence[str], values: Sequence[float],
              context: Context) -> tuple[Any, dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000)
    choice, seconds = tuned_once(name, values, texts, labels, context,
                                 lambda: _grid(model, vectors, labels, "C", values, context.threads))
    start = time.perf_counter()
    model.set_params(C=choice["C"]).fit(vectors, list(labels))
    return model, {**choice, "tune_seconds": seconds, "fit_seconds": time.perf_counter() - start}


class Model2Vec:
    """Model2Vec: the encoder distilled into 256 numbers per token (its own defaults, no data), then scikit-learn's LR."""

    name = "model2vec-lr"
    title = "Model2Vec (distilled from MiniLM) + logistic regression"
    seeded = False
    most_seeds = 1

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]:
        import joblib
        from model2vec import StaticModel

        kept = context.cache / f"model2vec-{weights_hash(context.encoder)}-{context.threads}threads"
        if not (kept / "seconds").is_file():
            self._distil(context, kept)
        shutil.copytree(kept, folder / "static", ignore=shutil.ignore_patterns("seconds", "README.md"))
        static = StaticModel.from_pretrained(str(folder / "static"))
        start = time.perf_counter()
        vectors = static.encode(list(texts))
        before = time.perf_counter() - start + float((kept / "seconds").read_text())
        head, notes = _fit_head(self.name, vectors, labels, texts, (3.0, 30.0, 300.0), context)
        joblib.dump(head, folder / "head.joblib")
        return {**notes, "fit_seconds": notes["fit_seconds"] + before}

    @staticmethod
    def _distil(context: Context, target: Path) -> None:
        import torch
        from model2vec.distill import distill

        torch.set_num_threads(context.threads)
        start = time.perf_counter()
        distill(str(context.encoder), device="cpu").save_pretrained(str(target))
        (target / "seconds").write_text(str(time.perf_counter() - start))

    def load(self, folder: Path, context: Context) -> Answerer:
        import joblib
        from model2vec import StaticModel

        static, head = StaticModel.from_pretrained(str(folder / "static")), joblib.load(folder / "head.joblib")
        return Model(tuple(map(str, head.classes_)), lambda texts: head.predict_proba(static.encode(texts)), folder)

    def cost(self, rows: int, tests: int, classes: int) -> float:
        return 30 + rows * classes * 1.5e-5


RUNTIMES = {"transformers": "transformers, float32", "ort": "ONNX Runtime, float32", "ort-int8": "ONNX Runtime, int8"}


class Teacher:
    """Frozen MiniLM and logistic regression on its embeddings: the teacher. One head, three ways of running the encoder.

    The head is fitted on float32 embeddings whatever runs later, so the int8 row shows what int8 costs.
    """

    seeded = False
    most_seeds = 1

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.name = f"teacher-{runtime}"
        self.title = f"frozen MiniLM + logistic regression (the teacher), {RUNTIMES[runtime]}"

    def fit(self, texts: Sequence[str], labels: Sequence[str], seed: int, folder: Path,
            context: Context) -> dict[str, Any]:
        vectors, seconds = embed_cached(texts, context.encoder, context.cache, context.threads)
        head, notes = _fit_head("teacher", vectors, labels, texts, (3.0, 10.0, 30.0, 100.0), context)
        parts = {"weights": head.coef_, "bias": head.intercept_}
        if len(head.classes_) == 2:  # scikit-learn keeps only the second label's scores
            parts = {name: np.concatenate([np.zeros_like(part), part]) for name, part in parts.items()}
        np.savez(folder / "head.npz", **{name: part.astype(np.float32) for name, part in parts.items()})
        (folder / "labels.json").write_text(json.dumps([str(c) for c in head.classes_]))
        if self.runtime == "transformers":
            copy_encoder(context.encoder, folder / "encoder")
        else:
            path, exported = export_onnx(context.encoder, context.cache, int8=self.runtime == "ort-int8")
            (folder / "encoder").mkdir()
            shutil.copyfile(path, folder / "encoder" / "model.onnx")
            shutil.copyfile(context.encoder / "tokenizer.json", folder / "encoder" / "tokenizer.json")
            seconds += exported
        return {**notes, "fit_seconds": notes["fit_seconds"] + seconds}

    def load(self, folder: Path, context: Context) -> Answerer:
        opened = TorchEncoder if self.runtime == "transformers" else OnnxEncoder
        encoder = opened(folder / "encoder", context.threads)
        with np.load(folder / "head.npz") as head:
            weights, bias = head["weights"].T, head["bias"]

        def proba(texts: Sequence[str]) -> np.ndarray:
            return _softmax(in_length_order(texts, 64, encoder.embed) @ weights + bias)

        return Model(tuple(json.loads((folder / "labels.json").read_text())), proba, folder)

    def cost(self, rows: int, tests: int, classes: int) -> float:
        if self.runtime == "transformers":  # the first to run embeds the training rows for all three
            return 26 + rows * 5e-3 + rows * classes * 1e-5 + tests * 8e-3
        return 12 + tests * (1e-2 if self.runtime == "ort" else 5e-3)


PEERS: tuple[Peer, ...] = (Tfidf("lr"), Tfidf("svc"), FastText(), FastText(quantised=True), Model2Vec(),
                           *(Teacher(runtime) for runtime in RUNTIMES))
