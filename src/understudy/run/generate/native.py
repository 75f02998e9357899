"""llama.cpp inside the worker: opened through `xllamacpp`, spoken to over a Unix socket that only this process knows.

The binding's own call (`handle_completions`) is the OpenAI form, which returns no token ids; the native `/completion`,
`/tokenize` and `/detokenize` of the embedded server do. Given a path ending in `.sock` it listens there and on no port.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

_AT_ONCE = 65_536


class NativeError(Exception):
    """What llama.cpp answered instead of a result."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(str(details.get("message", "no reason given")))
        self.details = details


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Events:
    """The events of a chunked body as they come: all that are there, where `http.client` gives a line at a time."""

    def __init__(self, sock: socket.socket, body: BinaryIO) -> None:
        self._sock, self._body = sock, body
        self._data, self._left, self._line, self._ended = b"", 0, b"", False

    def next(self, wait: float | None = None) -> list[dict[str, Any]] | None:
        """Those that have come, none of them where that takes longer than `wait` seconds; None at the end. Raises NativeError."""
        if self._ended or (wait is not None and not select.select([self._sock], [], [], wait)[0]):
            return None if self._ended else []
        # What stands in the reader's own buffer is read first, and then all of it: so the socket alone says whether there is more.
        more = self._body.read1(_AT_ONCE)  # type: ignore[attr-defined]
        *lines, self._line = (self._line + self._chunks(more)).split(b"\n")
        self._ended = self._ended or not more
        for line in lines:
            if line.startswith(b"error: "):
                raise NativeError(json.loads(line[7:]))
        return [_checked(json.loads(line[6:])) for line in lines if line.startswith(b"data: {")]

    def _chunks(self, more: bytes) -> bytes:
        """What bytes of the body say without the marks between its chunks."""
        self._data, parts = self._data + more, list[bytes]()
        while self._data and not self._ended:
            if not self._left:
                head, found, behind = self._data.lstrip(b"\r\n").partition(b"\r\n")
                if not found:
                    break
                self._left, self._data = int(head, 16), behind
                self._ended = not self._left
            parts.append(self._data[:self._left])
            self._data, self._left = self._data[self._left:], self._left - len(parts[-1])
        return b"".join(parts)


class Native:
    """One loaded model. `slots` requests run at once, each with `context` tokens."""

    def __init__(self, model: str, socket_path: str, *, context: int, threads: int, slots: int, copy: bool) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = model
        parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = context * slots, slots, False
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.n_gpu_layers, parameters.fit_params = 0, False
        # Its default keeps up to 8 GiB of past prompts in memory.
        parameters.cache_ram_mib = 0
        parameters.warmup, parameters.verbosity, parameters.n_threads_http = False, 0, slots + 2
        # The file's own chat template is foreign code to a parser: it is replaced before native code reads it.
        parameters.use_jinja = parameters.enable_chat_template = False
        parameters.chat_template = "chatml"
        parameters.endpoint_slots = parameters.endpoint_props = False
        if copy:
            _look_up_prompt(xllamacpp, parameters)
        self._key, self._path = os.urandom(16).hex(), socket_path
        parameters.hostnames, parameters.api_keys = [socket_path], [self._key]
        self._server = xllamacpp.Server(parameters)

    def post(self, path: str, body: dict[str, Any], opened: Callable[[socket.socket], None] | None = None) -> dict[str, Any]:
        """One request, one answer. Raises NativeError for a refusal, OSError where the connection was shut."""
        connection = _UnixConnection(self._path)
        try:
            return _answer(self._send(connection, path, body, opened))
        finally:
            connection.close()

    @contextlib.contextmanager
    def stream(self, body: dict[str, Any], opened: Callable[[socket.socket], None]) -> Iterator[Events]:
        """One streamed completion; leaving the block ends it."""
        connection = _UnixConnection(self._path)
        try:
            response = self._send(connection, "/completion", {**body, "stream": True}, opened)
            if response.status != 200:
                _answer(response)
            yield Events(connection.sock, response.fp)
        finally:
            connection.close()

    def _send(self, connection: _UnixConnection, path: str, body: dict[str, Any],
              opened: Callable[[socket.socket], None] | None) -> http.client.HTTPResponse:
        connection.connect()
        if opened is not None:
            opened(connection.sock)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection.request("POST", path, json.dumps(body).encode("ascii"), headers)
        return connection.getresponse()


def _look_up_prompt(xllamacpp: Any, parameters: Any) -> None:
    """Speculation that guesses the continuation of the last few tokens from where they stood before.

    Measured on a text that repeats itself: every guess accepted with a key of 4 tokens; the binding's default of 12
    never guessed within a hundred tokens.
    """
    parameters.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    parameters.speculative.ngram_simple.size_n, parameters.speculative.ngram_simple.size_m = 4, 16


def _answer(response: http.client.HTTPResponse) -> dict[str, Any]:
    data = response.read()
    try:
        return _checked(json.loads(data))
    except ValueError:
        raise NativeError({"message": f"an answer with status {response.status} that is not JSON"}) from None


def _checked(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise NativeError({"message": "an answer that is not an object"})
    if "error" in answer:
        raise NativeError(answer["error"] if isinstance(answer["error"], dict) else {"message": str(answer["error"])})
    return answer
