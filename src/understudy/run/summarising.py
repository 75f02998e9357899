"""A bundle that summarises by choosing sentences: `understudy.load("tldr").predict(text, sentences=2).text`."""

from __future__ import annotations

from typing import Self, overload

from ..bundle import Bundle
from ..tasks.summarise import Summary
from .kinds.extract import ExtractModel, open_rung, require_summariser


class Summariser:
    """An opened extractive summariser. Nothing it says is made up: every sentence stands in the document."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self._threads = threads
        self._model: ExtractModel | None = None

    @property
    def task(self) -> str:
        """summarize."""
        return self.manifest.task

    @overload
    def predict(self, texts: str, *, words: int | None = None, sentences: int | None = None, share: float | None = None) -> Summary: ...
    @overload
    def predict(self, texts: list[str], *, words: int | None = None, sentences: int | None = None, share: float | None = None) -> list[Summary]: ...
    def predict(self, texts: str | list[str], *, words: int | None = None, sentences: int | None = None,
                share: float | None = None) -> Summary | list[Summary]:
        """The summary of one document or of each of many, within a budget of words, sentences or a share of the words."""
        if isinstance(texts, str):
            return self.predict([texts], words=words, sentences=sentences, share=share)[0]
        model = self._opened()
        return [model.summarise(text, words=words, sentences=sentences, share=share) for text in texts]

    def close(self) -> None:
        """Nothing is held: a Summariser has no process of its own."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usual_length(self) -> int:
        """Sentences in a summary where no length is given: as many as the summaries it learned from have."""
        return self._opened().config.sentences

    def _opened(self) -> ExtractModel:
        if self._model is None:
            rung = self.manifest.rungs[-1]
            self._model = require_summariser(open_rung(self.bundle, rung, self._threads), rung.name)
        return self._model
