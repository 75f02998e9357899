"""llama.cpp inside the worker: opened through `xllamacpp`, spoken to over a Unix socket that only this process knows.

The binding's own call (`handle_completions`) is the OpenAI form, which returns no token ids; the native `/completion`,
`/tokenize` and `/detokenize` of the embedded server do. Given a path ending in `.sock` it listens there and on no port.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable, Generator
from typing import Any


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

    def stream(self, body: dict[str, Any], opened: Callable[[socket.socket], None]) -> Generator[dict[str, Any], None, None]:
        """The events of one streamed completion."""
        connection = _UnixConnection(self._path)
        try:
            response = self._send(connection, "/completion", {**body, "stream": True}, opened)
            if response.status != 200:
                _answer(response)
            for line in response:
                if line.startswith(b"data: {"):
                    yield _checked(json.loads(line[6:]))
                elif line.startswith(b"error: "):
                    raise NativeError(json.loads(line[7:]))
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
