"""What the worker can do with a loaded model; each job runs in a thread of its own and answers with frames."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from .native import Native, NativeError
from .stops import REPLACED, StopFilter

Send = Callable[[dict[str, Any]], None]
_FINISH = {"eos": "end", "word": "stop", "limit": "length"}
_APART = 0.03
"""Seconds from one piece of a stream to the next, at least: what comes meanwhile goes together. Every piece costs each process on its way as much
as a token costs a small model, and to a reader thirty pieces a second are a flow."""
_SIGN = 5.0
"""Seconds of scoring after which what is known is sent: a long text is no sign of death."""
# Enough to outweigh any logit; the reported log-probabilities are taken before it is added.
_FORCE = 1e9


class Job:
    """One request: its connection can be shut from another thread, which makes llama.cpp drop the work."""

    def __init__(self, native: Native, body: dict[str, Any], settings: dict[str, Any], send: Send) -> None:
        self.native, self.body, self.send = native, body, send
        self.context: int = settings["context"]
        self.vocabulary: int = settings["vocabulary"]
        self.cancelled = False
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """Stops the job; nothing more is sent."""
        self.cancelled = True
        if self._socket is not None:
            _shut(self._socket)

    def run(self, operation: str) -> None:
        """Runs one operation and sends its frames; the last one says 'done' or 'error'."""
        operations = {"generate": self.generate, "tokenize": self.tokenize, "detokenize": self.detokenize, "score": self.score,
                      "next_words": self.next_words}  # fmt: skip
        try:
            self.send({"event": "done", **operations[operation]()})
        except NativeError as problem:
            self.send({"event": "error", **problem.details, "message": str(problem)})
        except Exception as problem:
            self.send({"event": "done" if self.cancelled else "error", "message": f"{type(problem).__name__}: {problem}"})

    def _opened(self, connection: socket.socket) -> None:
        self._socket = connection
        if self.cancelled:
            _shut(connection)

    def _ids(self, text: str, *, special: bool, bos: bool) -> list[int]:
        answer = self.native.post("/tokenize", {"content": text, "add_special": bos, "parse_special": special}, self._opened)
        return [int(one) for one in answer["tokens"]]

    def _prompt(self) -> list[int]:
        prompt = self.body["prompt"]
        ids = self._ids(prompt, special=False, bos=True) if isinstance(prompt, str) else prompt
        if not ids:
            raise NativeError({"message": "the prompt is empty, and this model has no token that begins a text", "type": "empty_prompt"})
        return list(ids)

    def tokenize(self) -> dict[str, Any]:
        """Ids of a text."""
        return {"ids": self._ids(self.body["text"], special=self.body["special"], bos=self.body["bos"])}

    def detokenize(self) -> dict[str, Any]:
        """Text of ids."""
        return {"text": self.native.post("/detokenize", {"tokens": self.body["ids"]}, self._opened)["content"]}

    def generate(self) -> dict[str, Any]:
        """Continues a prompt; streamed as 'piece' frames or in one answer."""
        began = time.perf_counter()
        body = {**self.body["fields"], "prompt": self._prompt(), "cache_prompt": True}
        if not self.body["stream"] and not self.body.get("gather"):
            answer = self.native.post("/completion", body, self._opened)
            first = time.perf_counter() - began - answer["timings"]["predicted_ms"] / 1000
            return {"text": answer["content"].rstrip(REPLACED), "ids": answer.get("tokens", []), "chosen": answer.get("completion_probabilities"),
                    **_figures(answer, max(first, 0.0))}
        return self._streamed(body, began)

    def _streamed(self, body: dict[str, Any], began: float) -> dict[str, Any]:
        """The pieces as frames; with `gather` all of them in the last one. A stream ends with the next token when its client has gone, and
        what native code answers in one go only when it looks for the client, once a second."""
        named = body.pop("stop")
        stops, seconds, pieces, due = StopFilter(named), 0.0, _Gathered(), 0.0
        # Leaving the stream early closes its connection, and native code drops the rest. Only a stop string needs the figures of any token.
        with self.native.stream({**body, "timings_per_token": bool(named)}, self._opened) as events:
            while True:
                now = time.perf_counter()
                held = self.body["stream"] and pieces.any
                if held and now >= due:
                    self.send({"event": "piece", **pieces.taken()})
                    due, held = now - now % _APART + _APART, False  # the same moments for all streams
                arrived = events.next(due - now if held else None)
                if arrived is None:
                    raise NativeError({"message": "the stream ended early"})
                for event in arrived:
                    seconds = seconds or time.perf_counter() - began
                    pieces.add(stops.feed(event["content"]), event.get("tokens", []), event.get("completion_probabilities"))
                    if stops.stopped:
                        return {**pieces.taken(), **_figures({**event, "stop_type": "word"}, seconds)}
                    if event.get("stop"):
                        pieces.add(stops.flush(), [], None)
                        return {**pieces.taken(), **_figures(event, seconds)}

    def score(self) -> dict[str, Any]:
        """Log-probability of each token of a text, after a prompt of ids if there is one: each token is forced in turn, after a prefix
        that stays cached.

        One token is evaluated per step, as in generating. Beyond the context, the older half of the text is dropped.
        """
        text = self.body["text"]
        pieces = self.native.post("/tokenize", {"content": text, "add_special": False, "parse_special": False, "with_pieces": True})["tokens"]
        ids = [int(one["id"]) for one in pieces]
        start = self.body["prompt"]
        if start is None:
            whole = self._ids(text, special=False, bos=True)
            start = whole[: len(whole) - len(ids)] if whole[len(whole) - len(ids) :] == ids else []
        window, scored, told = list(start), [], time.monotonic()
        for at, (token, piece) in enumerate(zip(ids, pieces, strict=True)):
            if self.cancelled:
                break
            logprob = self._forced(window, token) if window else None
            scored.append([token, piece["piece"], logprob])
            if time.monotonic() - told > _SIGN:
                self.send({"event": "piece", "scored": scored})
                scored, told = [], time.monotonic()
            window.append(token)
            if len(window) >= self.context - 1:
                half = max(1, (self.context - len(start)) // 2)
                window = [*start, *ids[max(0, at + 1 - half) : at + 1]]
        return {"scored": scored}

    def _forced(self, prefix: Sequence[int], token: int) -> float:
        """Log-probability of `token` after `prefix`."""
        answer = self._step(prefix, token, 1)
        if answer is not None:
            return float(answer["logprob"])
        # A token that is part of a character is not reported while the character is incomplete: force another one, and
        # look the token up among all. Costly with a large vocabulary, and rare.
        answer = self._step(prefix, self._whole_token(), self.vocabulary)
        found = [one["logprob"] for one in (answer or {}).get("top_logprobs", []) if one["id"] == token]
        if not found:
            raise NativeError({"message": f"no probability is reported for token {token}"})
        return float(found[0])

    def _whole_token(self) -> int:
        return self._ids("a", special=False, bos=False)[-1]

    def _step(self, prefix: Sequence[int], token: int, count: int) -> dict[str, Any] | None:
        body = {"prompt": list(prefix), "n_predict": 1, "temperature": 0, "n_probs": count, "cache_prompt": True,
                "logit_bias": [[token, _FORCE]]}  # fmt: skip
        reported = self.native.post("/completion", body, self._opened).get("completion_probabilities") or []
        return reported[0] if reported else None

    def next_words(self) -> dict[str, Any]:
        """The likeliest next tokens and their probabilities."""
        answer = self._step(self._prompt(), self._whole_token(), self.body["count"])
        if answer is None:
            raise NativeError({"message": "no probabilities were reported"})
        return {"words": [[one["token"], math.exp(min(0.0, one["logprob"]))] for one in answer["top_logprobs"]]}


class _Gathered:
    """Pieces of an answer that are told in one go."""

    def __init__(self) -> None:
        self._texts, self._ids, self._chosen = list[str](), list[int](), list[dict[str, Any]]()

    def add(self, text: str, ids: list[int], chosen: list[dict[str, Any]] | None) -> None:
        """One more."""
        self._texts.append(text)
        self._ids += ids
        self._chosen += chosen or []

    @property
    def any(self) -> bool:
        """Whether there is one that was not taken."""
        return bool(self._texts)

    def taken(self) -> dict[str, Any]:
        """All of them, which are then forgotten."""
        told = {"text": "".join(self._texts), "ids": self._ids, "chosen": self._chosen}
        self._texts, self._ids, self._chosen = [], [], []
        return told


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already, which is what is wanted
        connection.shutdown(socket.SHUT_RDWR)


def _figures(answer: dict[str, Any], first: float) -> dict[str, Any]:
    timings = answer["timings"]
    return {"finish": _FINISH.get(answer.get("stop_type", ""), "length"), "prompt_tokens": answer["tokens_evaluated"],
            "tokens": answer["tokens_predicted"], "cached": timings.get("cache_n", 0), "seconds_first": first,
            "tokens_per_second": timings.get("predicted_per_second") or 0.0, "guessed": timings.get("draft_n", 0),
            "accepted": timings.get("draft_n_accepted", 0), "seconds_prompt": timings.get("prompt_ms", 0.0) / 1000}  # fmt: skip
