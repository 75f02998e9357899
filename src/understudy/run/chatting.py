"""A conversation with a model: turns that are kept, a system prompt, and what no longer fits said aloud."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ..bundle import open_bundle
from ..errors import UsageError
from .generate.chat_templates import STOPS, begins, template_for
from .generate.engine import Engine
from .generate.results import Completion
from .generate.sampling import Sampling
from .generate.template import checked_messages, encode_chat, fit_messages
from .writing import Writer

Messages = list[dict[str, str]]


class Chat:
    """`say(text)` streams the answer and keeps both turns in `messages`. Close it, or use it in a `with` statement."""

    def __init__(self, engine: Engine, ids: Callable[[Messages], list[int]], stop: tuple[str, ...], system: str | None = None,
                 max_tokens: int = Sampling.max_tokens) -> None:
        self.engine, self._ids = engine, ids
        self.stop, self.max_tokens = stop, max_tokens
        """Strings that end an answer, and how many tokens one may have where nothing else is said."""
        self.finish: str | None = None
        """How the last answer ended: 'end', 'stop' or 'length'."""
        self._system = system
        self.messages: Messages = []
        self.reset()

    def reset(self) -> None:
        """Begins anew; the system prompt stays."""
        self.messages = [{"role": "system", "content": self._system}] if self._system else []

    def resume(self, messages: Sequence[Mapping[str, str]]) -> None:
        """Goes on with a conversation; a system prompt of this chat takes the place of the one in it. Raises UsageError for what is no conversation."""
        kept = checked_messages(messages)
        if self._system:
            kept = [{"role": "system", "content": self._system}, *(one for one in kept if one["role"] != "system")]
        self.messages = kept

    def say(self, text: str, sampling: Sampling, dropped: Callable[[int], None] = lambda count: None) -> Iterator[str]:
        """The answer to the next turn of the user, as it is written. `dropped(n)` hears how many old messages no longer fit.

        Raises UsageError where even this turn does not fit; it is not kept then.
        """
        asked, ids = self._next(text, sampling, dropped)
        answer = ""
        for piece in self.engine.generate(ids, sampling):
            answer, self.finish = answer + piece.text, piece.finish
            yield piece.text
        self.messages = [*asked, {"role": "assistant", "content": answer}]

    def answer(self, text: str, sampling: Sampling, dropped: Callable[[int], None] = lambda count: None) -> Completion:
        """The same at once, with token ids and timings."""
        asked, ids = self._next(text, sampling, dropped)
        said = self.engine.complete(ids, sampling)
        self.finish = said.finish
        self.messages = [*asked, {"role": "assistant", "content": said.text}]
        return said

    def _next(self, text: str, sampling: Sampling, dropped: Callable[[int], None]) -> tuple[Messages, list[int]]:
        """(the conversation with the user's next turn, its prompt, without what no longer fits)."""
        asked = [*self.messages, {"role": "user", "content": text}]
        room = self.engine.context - min(sampling.max_tokens, self.engine.context // 2)
        kept, gone = fit_messages(asked, lambda some: len(self._ids(some)), room)
        if gone:
            dropped(len(gone))
        return asked, self._ids(kept)

    def once(self, text: str, sampling: Sampling) -> str | None:
        """The answer to one turn, apart from this conversation; None where it was cut at its longest. Threads may share a Chat for this."""
        said = self.engine.complete(self.ids(text), sampling)
        return None if said.finish == "length" else said.text.strip()

    def ids(self, text: str) -> list[int]:
        """The prompt of one turn, apart from this conversation."""
        return self._ids([*([{"role": "system", "content": self._system}] if self._system else []), {"role": "user", "content": text}])

    def close(self) -> None:
        """Ends the model's process."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_chat(path: str | os.PathLike[str], *, system: str | None = None, **settings: Any) -> Chat:
    """A chat with a bundle made for it, or with a `.gguf` (by our template for its family; its own template is never run)."""
    if Path(path).suffix == ".gguf":
        return _with_gguf(Engine.open(path, **{"threads": None, **settings}), system)
    bundle = open_bundle(path)
    if bundle.manifest.task != "chat":
        raise UsageError(f"{path} was made for the task {bundle.manifest.task}, not for chat", hint=f'understudy predict {path} "…"')
    writer = Writer(bundle, **settings)
    return Chat(writer.engine, writer.chat_ids, (), system, writer.prompt.max_tokens)


def _with_gguf(engine: Engine, system: str | None) -> Chat:
    template = template_for(engine.info.metadata.get("tokenizer.chat_template"))
    first = engine.info.metadata.get("tokenizer.ggml.bos_token_id")
    begin = [first] if begins(template) and isinstance(first, int) else []
    last = engine.info.metadata.get("tokenizer.ggml.eos_token_id")
    end = engine.detokenize([last]) if isinstance(last, int) else ""

    def ids(messages: Messages) -> list[int]:
        return [*begin, *encode_chat(messages, template, lambda text, special: engine.tokenize(text, special=special), control=set(engine.info.control),
                                     eos=end)]

    return Chat(engine, ids, STOPS[template], system)
