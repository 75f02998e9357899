"""Text from a model: `Engine.open("model.gguf")`, then `complete`, `generate`, `score`, `next_words`.

The model runs in a child process (see `worker`): a native crash fails the requests that were running, and the next
request starts a new worker.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

from ...errors import BundleError, UnderstudyError, UsageError
from .following import Deliver, Following
from .guard import GgufInfo, open_gguf
from .process import WorkerProcess
from .results import Completion, Piece, Score, ScoredToken, piece_of
from .sampling import Sampling, check_answer, check_text, native_fields
from .starting import Start, spawned
from .wire import EngineError

_DEFAULT_CONTEXT = 4096
_LONGEST_TEXT = 8 << 20
Prompt = str | Sequence[int]


class _Held:
    """What an engine must give back: the worker and the open file."""

    def __init__(self, fd: int) -> None:
        self.fd, self.worker = fd, cast("WorkerProcess | None", None)

    def release(self) -> None:
        """Ends the worker and closes the file."""
        if self.worker is not None:
            self.worker.end()
        self.worker = None
        os.close(self.fd)


class Engine:
    """A model that continues text. Threads may share one; `slots` requests run at once, more wait their turn."""

    def __init__(self, fd: int, info: GgufInfo, settings: dict[str, Any], patience: float, start: Start = spawned) -> None:
        self._fd, self.info, self._settings, self._patience, self._start = fd, info, settings, patience, start
        self._written = _mark(fd)
        self._lock = threading.Lock()
        self._held = _Held(fd)
        # Also at the end of the program, while threads and pipes still work.
        self._finalizer = weakref.finalize(self, self._held.release)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, context: int | None = None, threads: int | None = None, slots: int = 1,
             copy: bool = False, start_timeout: float = 120.0, patience: float = 600.0, start: Start = spawned) -> Self:  # fmt: skip
        """Checks the file, starts a worker and loads the model.

        `context`: tokens that prompt and answer may have together, per slot (default: what the model was trained for, at
        most 4096). `threads`: CPU threads (default: the CPUs this process may use). `slots`: requests at once. `copy`:
        allow `Sampling(copy=True)`. `patience`: seconds without any sign of life after which a request fails and the
        worker is ended. `start`: what starts the worker. Raises BundleError for the file, UsageError for a setting,
        MissingExtraError without llama.cpp, EngineError where the model does not load.
        """
        fd, info = open_gguf(path)
        try:
            settings = _settings(fd, info, context, threads, slots, copy, start_timeout)
            engine = cls(fd, info, settings, _positive("patience", patience), start)
        except BaseException:
            os.close(fd)
            raise
        try:
            engine._ready()
        except BaseException:
            engine.close()
            raise
        return engine

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return int(self._settings["context"])

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, None before it starts and after `close`."""
        return None if self._held.worker is None else self._held.worker.pid

    def generate(self, prompt: Prompt, sampling: Sampling | None = None) -> Iterator[Piece]:
        """Streams the continuation of a prompt (a text, read without special tokens, or ids).

        The last piece has `finish` and `timings`. Closing the iterator cancels the request. Errors in the arguments are
        raised at once, those of the run while iterating.
        """
        sampling = sampling or Sampling()
        body = self._body(prompt, sampling, stream=True)

        def pieces() -> Iterator[Piece]:
            whole = ""
            for frame in self._frames("generate", body):
                whole += frame["text"]
                if frame["event"] == "done":
                    check_answer(sampling, whole, frame["finish"])
                    yield piece_of(frame)
                elif frame["text"] or frame["ids"]:
                    yield piece_of(frame)

        return pieces()

    def complete(self, prompt: Prompt, sampling: Sampling | None = None) -> Completion:
        """The whole continuation at once: the text that `generate` streams (which leaves out a character broken off at the very end)."""
        sampling = sampling or Sampling()
        frame = self._ask("generate", self._body(prompt, sampling, stream=False))
        check_answer(sampling, frame["text"], frame["finish"])
        return Completion.of(frame)

    def begin(self, prompt: Prompt, sampling: Sampling, deliver: Deliver, *, stream: bool = True) -> Following:
        """`generate` for event loops: returns at once, and `deliver` gets each piece or the error. To be closed, which cancels."""
        body, worker = {**self._body(prompt, sampling, stream=stream), "gather": not stream}, self._ready()

        def explain(frame: dict[str, Any]) -> UnderstudyError:
            return self._death(worker) if frame["event"] == "gone" else _refusal(frame)

        return Following(worker, body, sampling, explain, deliver)

    def restart(self) -> None:
        """Ends a worker that no longer answers; requests that run fail, the next one starts a new worker."""
        with self._lock:
            if self._held.worker is not None:
                self._held.worker.end()

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]:
        """Ids of a text. `special`: read control tokens spelled in it as such (never for text of users); `bos`: begin as a document."""
        check_text(_bounded(text), "text")
        return [int(one) for one in self._ask("tokenize", {"text": text, "special": special, "bos": bos})["ids"]]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes that are no character become U+FFFD."""
        return str(self._ask("detokenize", {"ids": self._checked_ids(ids)})["text"])

    def score(self, text: str, prompt: Sequence[int] | None = None) -> Score:
        """How likely the model finds a text, token by token, after the ids of a prompt where one is given; costs as much time as generating it."""
        check_text(_bounded(text), "text")
        if not text:
            raise UsageError("the text to score is empty")
        body = {"text": text, "prompt": None if prompt is None else self._checked_ids(prompt)}
        return Score.of(
            [ScoredToken(int(token), bytes(piece).decode("utf-8", "replace") if isinstance(piece, list) else piece,
                         len(piece) if isinstance(piece, list) else len(piece.encode("utf-8")), logprob)
             for frame in self._frames("score", body) for token, piece, logprob in frame["scored"]])  # fmt: skip

    def next_words(self, text: Prompt, k: int = 10) -> list[tuple[str, float]]:
        """The `k` likeliest next tokens after a text and their probabilities, likeliest first."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 1000:
            raise UsageError(f"k is {k!r}", hint="a whole number from 1 to 1000")
        answer = self._ask("next_words", {"prompt": self._checked_prompt(text), "count": min(k, self.info.vocabulary)})
        return [(str(piece), float(probability)) for piece, probability in answer["words"]]

    def close(self) -> None:
        """Ends the worker; requests that run fail. May be called twice."""
        with self._lock:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body(self, prompt: Prompt, sampling: Sampling, *, stream: bool) -> dict[str, Any]:
        if sampling.copy and not self._settings["copy"]:
            raise UsageError("copy=True, but the engine was opened without it", hint="Engine.open(…, copy=True)")
        return {"prompt": self._checked_prompt(prompt), "fields": native_fields(sampling), "stream": stream}

    def _checked_prompt(self, prompt: Prompt) -> str | list[int]:
        if isinstance(prompt, str):
            check_text(_bounded(prompt), "the prompt")
            return prompt
        return self._checked_ids(prompt)

    def _checked_ids(self, ids: Sequence[int]) -> list[int]:
        listed = list(ids)
        for one in listed:
            if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < self.info.vocabulary:
                raise UsageError(f"{one!r} is not a token id", hint=f"whole numbers from 0 to {self.info.vocabulary - 1}")
        return listed

    def _ready(self) -> WorkerProcess:
        with self._lock:
            if not self._finalizer.alive:
                raise UsageError("the engine is closed", hint="open it again")
            held = self._held
            if held.worker is None or not held.worker.alive:
                if held.worker is not None:
                    held.worker.end()
                    held.worker = None
                self._same_file()
                worker = WorkerProcess(self._settings, self._fd, self._start)
                try:
                    self._same_file()
                except BaseException:
                    worker.end()
                    raise
                held.worker = worker
            return held.worker

    def _same_file(self) -> None:
        if _mark(self._fd) != self._written:
            raise BundleError(f"{self.info.path} was changed while it was open", hint="open it again when it is written")

    def _ask(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        for frame in self._frames(operation, body):
            return frame
        raise EngineError("the worker gave no answer")

    def _frames(self, operation: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The frames of one request, the last one 'done'; a request that is left early is cancelled."""
        worker = self._ready()
        number, frames = worker.submit(operation, body)
        finished = False
        try:
            while not finished:
                try:
                    frame = frames.get(timeout=self._patience)
                except queue.Empty:
                    worker.end()
                    raise EngineError(f"the worker gave no sign of life for {self._patience:g} seconds and was ended",
                                      hint="the next request starts a new one") from None
                finished = frame["event"] != "piece"
                if frame["event"] == "gone":
                    raise self._death(worker)
                if frame["event"] == "error":
                    raise _refusal(frame)
                yield frame
        finally:
            worker.forget(number, cancel=not finished)

    def _death(self, worker: WorkerProcess) -> UnderstudyError:
        if not self._finalizer.alive:
            return EngineError("the engine was closed while the request ran")
        return EngineError(f"the worker ended while the request ran ({worker.status()}){worker.tail()}",
                           hint="the next request starts a new one")


def _refusal(frame: dict[str, Any]) -> UnderstudyError:
    kind, message = frame.get("type"), str(frame.get("message"))
    if kind == "exceed_context_size_error":
        return UsageError(f"the prompt has {frame.get('n_prompt_tokens')} tokens and the context holds {frame.get('n_ctx')}",
                          hint="shorten it, or take a model with a larger context")
    if "failed to parse grammar" in message:
        return UsageError("json_schema cannot be turned into a grammar", hint="a definition may not refer to itself before anything else")
    if kind == "empty_prompt":
        return UsageError(message, hint="give at least one character")
    if kind == "invalid_request_error":
        return UsageError(f"llama.cpp refused the request: {message[:500]}")
    return EngineError(f"llama.cpp could not do it: {message[:500]}")


def _settings(fd: int, info: GgufInfo, context: int | None, threads: int | None, slots: int, copy: bool, start_timeout: float) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = min(info.context, _DEFAULT_CONTEXT) if context is None else context
    for name, value, most in (("context", wanted, info.context), ("threads", threads or cpus, 512), ("slots", slots, 64)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise UsageError(f"{name} is {value!r}", hint=f"a whole number from 1 to {most}")
    # The descriptor names the very file that was inspected, whatever its path names by now.
    model = f"/proc/self/fd/{fd}" if Path("/proc/self/fd").exists() else str(info.path)
    return {"model": model, "context": wanted, "threads": threads or cpus, "slots": slots, "copy": bool(copy),
            "vocabulary": info.vocabulary, "start_timeout": _positive("start_timeout", start_timeout)}  # fmt: skip


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{name} is {value!r}", hint="a number of seconds above 0")
    return float(value)


def _bounded(text: str) -> str:
    if not isinstance(text, str):
        raise UsageError(f"a text is wanted, not {type(text).__name__}")
    if len(text) > _LONGEST_TEXT:
        raise UsageError(f"a text of {len(text)} characters", hint=f"at most {_LONGEST_TEXT}")
    return text


def _mark(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns
