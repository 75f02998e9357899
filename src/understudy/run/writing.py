"""A bundle that writes: translate, summarise, text from attributes, continue, chat. llama.cpp decodes in a child process.

Example: `understudy.load("en-de").predict("Where is the station?").text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self, overload

from ..bundle import Bundle
from ..errors import BundleError, UsageError
from ..tasks.faithful import flags_of
from ..tasks.sentences import words_of
from ..tasks.shortening import shortened
from ..tasks.slots import Filler, mask
from ..tasks.summarise import Budget
from .covering import covered
from .generate.engine import Engine
from .generate.results import Completion, Score, Timings
from .generate.sampling import Sampling
from .generate.starting import Start, spawned
from .generate.template import fit_messages
from .generate.turns import prompt_ids
from .prompts import SPEC, prompt_of
from .stretches import Parts, by_section, by_sentence

MODEL = "model.gguf"
SLOTS = 4
_NOTHING = Completion("", (), "end", 0, 0, 0.0, 0.0, Timings(0, 0, 0, 0.0, 0.0))
Complete = Callable[[list[int], Sampling], Completion]
Heard = Callable[[int, int], None]
_ALONE, _BESIDE = 8_000_000, 30_000_000
"""Parameters up to which one thread decodes, alone on a machine and beside other models that write. A second thread saves nothing at 2M, a sixth of the
time at 5M, two fifths at 11M, half at 26M; where another program has its core, it costs half of the speed that one thread has."""


@dataclass(frozen=True)
class Written:
    """What was written. `finish` is 'end', 'stop' or 'length' (cut by a limit); `parts` how many pieces a long text was split into.

    `ids` and `tokens` are all that the model wrote, also where a budget of words or sentences cut the text.
    """

    text: str
    ids: tuple[int, ...]
    finish: str
    prompt_tokens: int
    tokens: int
    seconds_first: float
    tokens_per_second: float
    parts: int = 1
    flags: tuple[str, ...] = ()
    """What a reader should know: of a summary the numbers, dates and names that the document does not have, of a text from attributes
    those that it does not mention."""


class Writer:
    """An opened bundle that writes. Close it, or use it in a `with` statement: its worker is a process."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None, slots: int = SLOTS, copy: bool = False, start: Start = spawned,
                 beside: bool = False) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        rung = bundle.manifest.rungs[-1]
        self._folder = rung.path
        self.prompt = prompt_of(bundle, f"{rung.path}/{SPEC}")
        threads = threads or (1 if rung.parameters <= (_BESIDE if beside else _ALONE) else None)
        self._settings: dict[str, Any] = {"threads": threads, "slots": slots, "copy": copy, "context": rung.max_tokens, "start": start}
        self._opened: Engine | None = None

    @property
    def task(self) -> str:
        """translate, summarize, generate, lm or chat."""
        return self.manifest.task

    @property
    def engine(self) -> Engine:
        """The running model, started when first asked."""
        if self._opened is None:
            name = f"{self._folder}/{MODEL}"
            self.bundle.read(name)  # its size and hash, before native code sees it
            self._opened = Engine.open(self.bundle.path / name, **self._settings)
            if self.prompt.form != "text" and max(self.prompt.ids) >= self._opened.info.vocabulary:
                raise BundleError(f"{self.bundle.path}/{self._folder}/{SPEC} names a token that the model does not have")
        return self._opened

    def close(self) -> None:
        """Ends the worker."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @overload
    def predict(self, texts: str, sampling: Sampling | None = None, *, words: int | None = None, sentences: int | None = None,
                complete: Complete | None = None, heard: Heard | None = None) -> Written: ...
    @overload
    def predict(self, texts: list[str], sampling: Sampling | None = None, *, words: int | None = None, sentences: int | None = None,
                complete: Complete | None = None, heard: Heard | None = None) -> list[Written]: ...
    def predict(self, texts: str | list[str], sampling: Sampling | None = None, *, words: int | None = None,
                sentences: int | None = None, complete: Complete | None = None, heard: Heard | None = None) -> Written | list[Written]:
        """What the model writes for one text or for many, several at a time; of a long text each part is answered within the sampling.

        `words` or `sentences` bounds a summary: it is cut where a sentence ends. `complete(ids, sampling)` is asked instead of the engine
        where somebody else says whose turn it is; `heard(done, parts)` is called whenever a part is answered. Raises UsageError for a
        budget that makes no sense.
        """
        if isinstance(texts, str):
            return self.predict([texts], sampling, words=words, sentences=sentences, complete=complete, heard=heard)[0]
        budget = self._budget(words, sentences)
        chosen = self._sampling(sampling)
        jobs = [self._parts(text, chosen) for text in texts]
        flat = [part for parts in jobs for part, _ in parts]
        asked = complete or self.engine.complete
        with ThreadPoolExecutor(self._settings["slots"]) as pool:
            answers: list[Completion] = []
            for answer in pool.map(lambda part: self._complete(asked, part, chosen), flat):
                answers.append(answer)
                if heard:
                    heard(len(answers), len(flat))
        out, at = [], 0
        for text, parts in zip(texts, jobs, strict=True):
            some, at = _until_stop(answers[at:at + len(parts)]), at + len(parts)
            gaps = ["" if one.finish == "stop" else gap for one, (_, gap) in zip(some, parts, strict=False)]
            one = _summary(text, some, gaps, budget) if self.task == "summarize" else _joined(some, gaps)
            out.append(replace(one, flags=(*one.flags, *self.prompt.slots.flags(text, one.text))))
        return out

    def stream(self, text: str, sampling: Sampling | None = None) -> Iterator[str]:
        """The answer to one text, as it is written."""
        chosen = self._sampling(sampling)
        for ids, filler, gap in self.prompts(text, chosen):
            finish = None
            for piece in self.engine.generate(ids, chosen) if ids is not None else ():
                finish = piece.finish
                yield filler.feed(piece.text)
            yield filler.flush()
            if finish == "stop":
                return
            yield gap

    def prompts(self, text: str, sampling: Sampling) -> Iterator[tuple[list[int] | None, Filler, str]]:
        """Part by part of a text: its prompt (None where there is nothing to ask), what puts its values into the answer, and what stands behind it."""
        for part, gap in self._parts(text, sampling):
            yield self.ids(part) if self._asked(part) else None, Filler(mask(part, self.prompt.slots.filled)[1]), gap

    def _complete(self, complete: Complete, part: str, sampling: Sampling) -> Completion:
        if not self._asked(part):
            return _NOTHING
        return covered(part, self.prompt.slots, lambda text, how: complete(self.ids(text), how), sampling)

    def reply(self, messages: Sequence[Mapping[str, str]], sampling: Sampling | None = None) -> Written:
        """The assistant's next turn. Of a conversation that is too long the oldest turns are left out (`fit` says which)."""
        said = self.engine.complete(self.chat_ids(self.fit(messages, sampling)[0]), self._sampling(sampling))
        return _joined([said], [""])

    def fit(self, messages: Sequence[Mapping[str, str]], sampling: Sampling | None = None) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """(kept, dropped): what of a conversation fits into the context beside the answer. Raises UsageError where even the last turn does not."""
        room = self.engine.context - min(self._sampling(sampling).max_tokens, self.engine.context // 2)
        return fit_messages(messages, lambda some: len(self.chat_ids(some)), room)

    def ids(self, text: str) -> list[int]:
        """The prompt of a text as token ids; names of control tokens in it are text."""
        prompt = self.prompt
        body = self.engine.tokenize(mask(text, prompt.slots.filled)[0]) if text else []
        begin = [prompt.begin] if prompt.begin is not None else []
        if prompt.form == "chat":
            return self.chat_ids([{"role": "user", "content": text}])
        return [*begin, *body, *([prompt.mark] if prompt.form == "pair" and prompt.mark is not None else [])]

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Turns as token ids, up to where the assistant begins. Raises UsageError for a role that the model was not taught."""
        prompt = self.prompt
        if prompt.form != "chat":
            raise UsageError(f"{self.manifest.name} was made for {self.task}, not for chat")
        if prompt.turns is not None:
            return prompt_ids(messages, prompt.begin, prompt.turns, self.engine.tokenize)
        ids = [prompt.begin] if prompt.begin is not None else []
        for message in messages:
            role = message.get("role", "")
            if role not in prompt.roles:
                raise UsageError(f"the model knows no role {role!r}", hint=f"it knows {', '.join(prompt.roles)}")
            ids += [prompt.roles[role], *self.engine.tokenize(message.get("content") or " "), *([prompt.end] if prompt.end is not None else [])]
        return [*ids, prompt.roles["assistant"]]

    def score(self, text: str) -> Score:
        """How likely the model finds a text."""
        return self.engine.score(text)

    def next_words(self, text: str, k: int = 10) -> list[tuple[str, float]]:
        """The likeliest next pieces after a text and their probabilities."""
        return self.engine.next_words(self.ids(text), k)

    def _asked(self, part: str) -> bool:
        """Of nothing there is nothing to translate or to summarise."""
        return bool(part.strip()) or self.task not in ("translate", "summarize")

    def _budget(self, words: int | None, sentences: int | None) -> Budget | None:
        if words is None and sentences is None:
            return None
        if self.task != "summarize":
            raise UsageError(f"words and sentences are for summaries, and {self.manifest.name} was made for {self.task}", hint="max_tokens bounds what is written")
        return Budget(words, sentences)

    def _sampling(self, sampling: Sampling | None) -> Sampling:
        return sampling if sampling is not None else Sampling(max_tokens=self.prompt.max_tokens)

    def _parts(self, text: str, sampling: Sampling) -> Parts:
        """A translation goes sentence by sentence, a summary of what is longer than the context section by section. What is held to a schema
        or to choices, or comes with what a memory says to it, stays whole."""
        if self.task not in ("translate", "summarize") or sampling.json_schema is not None or sampling.choices:
            return [(text, "")]
        room = self.engine.context - min(sampling.max_tokens, self.engine.context // 2) - 2

        def fits(some: str) -> bool:
            # No token is more than a few dozen letters, and none less than a byte: most texts need no counting.
            return len(some) <= 40 * room and (len(some.encode("utf-8", "replace")) < room or len(self.ids(some)) <= room)

        while self.prompt.mends and self.prompt.mends in text:
            if fits(text):
                return [(text, "")]
            text = text.rpartition(self.prompt.mends)[0]  # without its last match
        return by_sentence(text, fits) if self.task == "translate" else by_section(text, fits)


def _joined(said: Sequence[Completion], gaps: Sequence[str]) -> Written:
    """One answer out of those to the parts."""
    if len(said) == 1:
        one = said[0]
        return Written(one.text + gaps[0], one.ids, one.finish, one.prompt_tokens, one.tokens, one.seconds_first, one.tokens_per_second)
    text = "".join(one.text + gap for one, gap in zip(said, gaps, strict=True))
    finish = next((one.finish for one in said if one.finish != "end"), "end")
    tokens = sum(one.tokens for one in said)
    seconds = sum(one.tokens / one.tokens_per_second for one in said if one.tokens_per_second)
    return Written(text, tuple(number for one in said for number in one.ids), finish, sum(one.prompt_tokens for one in said), tokens,
                   said[0].seconds_first, tokens / seconds if seconds else 0.0, len(said))


def _until_stop(said: Sequence[Completion]) -> Sequence[Completion]:
    """A stop string ends the whole answer: what follows it is left out."""
    return said[: next((at for at, one in enumerate(said, 1) if one.finish == "stop"), len(said))]


def _summary(source: str, said: Sequence[Completion], gaps: Sequence[str], budget: Budget | None) -> Written:
    """The summaries of a document's parts as one, within the budget, and what it states that the document does not."""
    whole, flags = _joined(said, gaps), list[str]()
    if budget:
        kept, flags = shortened([one.text for one in said], budget)
        text = "".join(one + gap for one, gap in zip(kept, gaps, strict=True) if one).strip()
        if len(words_of(text)) < len(words_of(whole.text)):
            whole = replace(whole, text=text, finish="length")
    return replace(whole, flags=(*flags, *flags_of(whole.text, source)))
