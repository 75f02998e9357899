"""A large model that plays every fault: an asyncio server on loopback in a thread. The last message of a question names the fault (fault=NAME)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

WORDS = 8
_HTML = b"<html>bad gateway</html>"


def body(number: int, said: str | None = None) -> bytes:
    """A whole answer; its words carry the question's number, so that two answers in one would be seen."""
    text = said if said is not None else " ".join(f"q{number}w{place}" for place in range(WORDS))
    return json.dumps({"id": "x", "object": "chat.completion", "model": "big", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}).encode()


def event(number: int, place: int) -> bytes:
    """One piece of a streamed answer."""
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "big", "choices": [{"index": 0, "delta": {"content": f"q{number}w{place} "}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


END = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def http(status: int, data: bytes, *more: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(data)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n" + b'{"choices": ['
# Answers that are the same whatever was asked.
PLAIN = {
    "401": http(401, b'{"error":{"message":"Incorrect API key provided: sk-canary"}}'), "403": http(403, b"{}"), "404": http(404, b"{}"), "400": http(400, b"{}"),
    "422": http(422, b"{}"), "429": http(429, b"{}", "retry-after: 0"), "429-later": http(429, b"{}", "retry-after: 3600"), "429-nonsense": http(429, b"{}", "retry-after: NaN"),
    "429-before": http(429, b"{}", "retry-after: -5"), "500": http(500, b"{}"), "502": http(502, _HTML), "503": http(503, b"", "retry-after: 0"), "504": http(504, b"{}"),
    "empty": http(200, b""), "no-json": http(200, b"I am sorry, I cannot"), "wrong-shape": http(200, b'{"answer": 7}'), "wrong-types": http(200, b'{"choices": {"0": "card"}}'),
    "no-choices": http(200, b'{"choices": []}'), "null": http(200, b"null"), "deep": http(200, b"[" * 50_000), "packed": http(200, b"\x1f\x8b" + bytes(500), "content-encoding: gzip"),
    "garbage": bytes(range(256)) * 8, "redirect": http(302, b"", "location: http://127.0.0.1:1/v1/chat/completions"), "many-headers": b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000,
    "twice": http(401, b"") + http(200, body(0, "card")), "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "204": b"HTTP/1.1 204 No Content\r\n\r\n",
}
FAULTS = ("reset", "reset-after-headers", "hang", "hang-mid-body", "unknown-label", "oversized", "drip", "cut-mid-event", "cut-between", "error-event", "no-done", *PLAIN)
# Faults that a stream meets after its first piece.
MIDWAY = ("cut-mid-event", "cut-between", "error-event", "hang-mid-body", "reset-after-headers", "no-done")


def chunked(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class FakeLlm:
    """Counts connections (`met`) and questions (`asked`), keeps the last one, and hears when a client hangs up (`left`)."""

    def __init__(self) -> None:
        self.asked, self.left, self.last, self.ill = 0, threading.Event(), {}, ""  # type: tuple[int, threading.Event, dict, str]
        self.authorization, self.once = "", False
        self.running = self.most = self.met = 0
        self.loop = asyncio.new_event_loop()
        self.port = 0

    @property
    def url(self) -> str:
        """What --large takes."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question."""
        self.met += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.heard(reader, writer)
        finally:
            writer.close()

    async def heard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads it, and answers."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\n"), head
        found = re.search(r"authorization: (.*)\r", head)
        self.authorization = found[1] if found else ""
        self.last = json.loads(await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1])))  # type: ignore[index]
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        fault = self.ill or next(iter(re.findall(r"fault=(\S+)", self.last["messages"][-1]["content"])), "ok")
        try:
            await self.play(fault, self.asked, bool(self.last.get("stream")), reader, writer)
        finally:
            self.running -= 1

    async def play(self, fault: str, number: int, stream: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers as the fault has it."""
        sorting = "labels" in self.last["messages"][0]["content"]
        fault, _, at = fault.partition("@")
        pieces = [event(number, place) for place in range(int(at or 1) if fault in MIDWAY else 0)]
        if fault == "once-503":
            writer.write(PLAIN["503"] if not self.once else http(200, body(number)))
            self.once = True
        elif fault in PLAIN:
            writer.write(PLAIN[fault])
        elif fault == "reset":
            self.reset(writer)
        elif fault == "long":
            await self.long(number, int(at), writer)
        elif fault == "hang":
            await self.gone(reader)
        elif fault == "oversized":
            writer.write(http(200, b" " * 3_000_000 + body(number)) if not stream else HEAD + chunked(b"data: " + b"x" * 3_000_000))
        elif fault == "unknown-label":
            writer.write(http(200, body(number, "card, I would think")) if not stream else HEAD + chunked(b'data: {"choices": 3}\n\n'))
        elif fault in (*MIDWAY, "drip") and not stream:
            writer.write(LONG)
            await writer.drain()
            if fault == "drip":
                await self.dripped(writer, b" " * 400)
            elif fault == "hang-mid-body":
                await self.gone(reader)
            elif fault == "reset-after-headers":
                self.reset(writer)
        elif fault == "drip":
            writer.write(HEAD)
            await self.dripped(writer, b"".join(chunked(bytes([one])) for one in event(number, 0)))
        elif fault in MIDWAY:
            await self.broken(fault, number, pieces, reader, writer)
        elif stream:
            # Cut inside of letters: é has two bytes.
            data = b"".join(event(number, place).replace(b"w", "é".encode()) for place in range(WORDS)) + END
            writer.write(HEAD + b"".join(chunked(data[at:at + 7]) for at in range(0, len(data), 7)) + b"0\r\n\r\n")
        elif fault == "slow":
            await asyncio.sleep(0.2)
            writer.write(http(200, body(number, "CARD\n")))
        else:
            writer.write(http(200, body(number, " CARD\n" if sorting else None)))
        await writer.drain()

    async def broken(self, fault: str, number: int, pieces: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A stream that fails after its first pieces."""
        writer.write(HEAD + b"".join(map(chunked, pieces)))
        await writer.drain()
        await asyncio.sleep(0.03)
        if fault == "cut-mid-event":
            writer.write(chunked(event(number, 9)[:40]))
        elif fault == "error-event":
            writer.write(chunked(b'data: {"error": {"message": "out of memory"}}\n\n') + chunked(event(number, 9)))
        elif fault == "hang-mid-body":
            await self.gone(reader)
        elif fault == "reset-after-headers":
            self.reset(writer)
        elif fault == "no-done":
            writer.write(b"0\r\n\r\n")

    @staticmethod
    async def long(number: int, count: int, writer: asyncio.StreamWriter) -> None:
        """A stream of so many events of about 1 KB."""
        writer.write(HEAD)
        for place in range(count):
            writer.write(chunked(event(number, place).replace(b'"content": "', b'"content": "' + b"x" * 850)))
            await writer.drain()
        writer.write(chunked(END) + b"0\r\n\r\n")

    async def gone(self, reader: asyncio.StreamReader) -> None:
        """Waits until the client hangs up."""
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.left.set()

    @staticmethod
    def reset(writer: asyncio.StreamWriter) -> None:
        """Ends the connection by RST."""
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    @staticmethod
    async def dripped(writer: asyncio.StreamWriter, data: bytes) -> None:
        """A byte now and then."""
        for one in data:
            writer.write(bytes([one]))
            await writer.drain()
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def fake_llm(secure: ssl.SSLContext | None = None) -> Iterator[FakeLlm]:
    """Answers until the block ends."""
    fake, ready = FakeLlm(), threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=secure)
        fake.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # connections that were closed in this turn of the loop end in the next

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: fake.loop.run_until_complete(main()))
    thread.start()
    ready.wait()
    try:
        yield fake
    finally:
        fake.loop.call_soon_threadsafe(ended.set)
        thread.join()
        fake.loop.close()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]
