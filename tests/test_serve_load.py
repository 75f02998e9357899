"""More than the server can do, clients that leave or do not read, and being told to end: bounded, answered, and nothing is cut off."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import QUESTION, much, server
from tiny_bundle import make_bundle
from tiny_writer import make_writer

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
FORM = {"type": "json_schema", "json_schema": {"name": "long", "schema": {"type": "array", "items": {"const": "x"}, "minItems": 1000}}}


def long(tokens: int, **more) -> dict:
    """A request whose answer is that long, whatever the model would like to say."""
    return {"model": "talk", "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens, "response_format": FORM, **more}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return make_bundle(root / "support"), make_writer(root / "talk", context=4096)


@pytest.fixture
def served(bundles, tmp_path):
    with server(tmp_path, *bundles, flags=("--slots", "2", "--queue", "6", "--stall-timeout", "1s")) as running:
        assert running.ask("/v1/chat/completions", long(4))[0] == 200
        yield running


def one(served, name: str) -> dict:
    return next(each for each in served.ask("/status")[2]["models"] if each["name"] == name)["current"]


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(served):
    healthy, ended = [], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            assert served.ask("/health")[0] == 200
            healthy.append(time.perf_counter() - began)
            time.sleep(0.02)

    def ask(_: int) -> tuple[int, dict, dict, float]:
        began = time.perf_counter()
        return (*served.ask("/v1/chat/completions", long(400), timeout=60), time.perf_counter() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    count = much(200, 40)
    with ThreadPoolExecutor(count) as pool:
        said = list(pool.map(ask, range(count)))
    ended.set()
    watching.join()
    fine, refused = [each for each in said if each[0] == 200], [each for each in said if each[0] == 503]
    assert len(fine) + len(refused) == count and len(fine) >= 8 and len(refused) >= 10
    for _, headers, told, _ in refused:
        assert 1 <= int(headers["retry-after"]) <= 31 and told["error"]["code"] == "server_overloaded" and told["error"]["type"] == "server_error"
    assert sorted(seconds for *_, seconds in refused)[len(refused) // 2] < sorted(seconds for *_, seconds in fine)[len(fine) // 2]
    assert sorted(healthy)[int(0.9 * len(healthy))] < 1
    assert one(served, "talk")["running"] == one(served, "talk")["waiting"] == 0
    assert served.ask("/v1/chat/completions", long(4))[0] == 200


def test_a_request_past_its_deadline_is_answered_and_no_longer_worked_on(served):
    began = time.perf_counter()
    status, _, said = served.ask("/v1/chat/completions", long(4000), headers={"X-Timeout-Ms": "150"})
    assert status == 504 and said["error"]["code"] == "timeout" and time.perf_counter() - began < 4
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda _: served.ask("/v1/chat/completions", long(4000), headers={"X-Timeout-Ms": "200"})[0], range(6)))
    assert set(said) == {504}
    began = time.perf_counter()
    assert served.ask("/v1/chat/completions", long(4))[0] == 200 and time.perf_counter() - began < 4


def leave(served, *, stream: bool, reset: bool) -> None:
    """Asks for a long answer, and goes after its beginning (or after a moment where it is not streamed)."""
    body = json.dumps(long(4000, stream=stream)).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
        if stream:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        else:
            time.sleep(0.1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_stops_costing(served, stream, reset):
    """6 at a time, 102 in all under `make soak`."""
    waves = much(17, 1)
    for _ in range(waves):
        threads = [threading.Thread(target=leave, args=(served,), kwargs={"stream": stream, "reset": reset}) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 4
        while (now := one(served, "talk"))["running"] + now["waiting"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert now["running"] == now["waiting"] == 0
    began = time.perf_counter()
    assert served.ask("/v1/chat/completions", long(8))[0] == 200 and time.perf_counter() - began < 4
    assert f"understudy_clients_left_total {6 * waves}.0".encode() in served.ask("/metrics")[2]
    assert "Traceback" not in served.log.read_text("utf-8")


def test_a_client_that_does_not_read_is_let_go(served):
    body = json.dumps(long(4000, stream=True, logprobs=True, top_logprobs=20)).encode()
    socks = []
    for _ in range(2):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
        socks.append(sock)
    time.sleep(0.5)
    assert one(served, "talk")["running"] == 2
    deadline = time.monotonic() + 15
    while one(served, "talk")["running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert one(served, "talk")["running"] == 0
    assert b'why="does not read"' in served.ask("/metrics")[2]
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("time_of_many", range(much(20, 1)))
def test_being_told_to_end_cuts_nothing_off(served, time_of_many):
    """Once, 20 times under `make soak`."""
    connections = []
    for stream in (True, True, False, False):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(long(700, stream=stream)), {"Content-Type": "application/json"})
        connections.append((connection, stream))
    idle = socket.create_connection(("127.0.0.1", served.port))
    time.sleep(0.2)
    workers = served.children()
    assert len(workers) == 1
    served.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 4
    with pytest.raises(OSError):
        while time.monotonic() < deadline:
            served.ask("/health", timeout=2)
            time.sleep(0.05)
    for connection, stream in connections:
        said = connection.getresponse().read()
        assert said.endswith(b"data: [DONE]\n\n") if stream else json.loads(said)["choices"][0]["finish_reason"] == "length"
        connection.close()
    assert served.process.wait(20) == 0
    idle.close()
    for pid in workers:
        with contextlib.suppress(FileNotFoundError):
            assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_told_twice_it_ends_at_once(served):
    body = json.dumps(long(4000, stream=True)).encode()
    sock = socket.create_connection(("127.0.0.1", served.port))
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
    time.sleep(0.2)
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    began = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(5)
    assert time.monotonic() - began < 2.5
    sock.close()


def test_a_worker_that_dies_is_started_anew(served):
    (pid,) = served.children()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(served.ask, "/v1/chat/completions", long(4000)) for _ in range(2)]
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        said = [each.result() for each in running]
    assert {status for status, _, _ in said} == {503} and said[0][2]["error"]["code"] == "model_failed" and "signal" not in str(said)
    assert served.ask("/v1/chat/completions", long(4))[0] == 200


def test_sixteen_large_texts_do_not_hold_up_health(served):
    ended, healthy = threading.Event(), []

    def watch() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            served.ask("/health")
            healthy.append(time.perf_counter() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda _: served.ask("/v1/classify", {"model": "support", "inputs": (QUESTION + " ") * 50_000}, timeout=60)[0], range(16)))
    ended.set()
    watching.join()
    assert set(said) <= {200, 503} and 200 in said
    assert sorted(healthy)[int(0.9 * len(healthy))] < 1


def test_long_texts_are_bounded_end_in_time_and_stop_when_their_client_leaves(bundles, tmp_path):
    translator = make_writer(tmp_path / "en-de", "translate", context=512)
    text = " ".join(f"This is the sentence number {number}." for number in range(400))
    with server(tmp_path, translator, flags=("--slots", "2", "--queue", "3")) as served:
        assert served.ask("/v1/translate", {"inputs": "Hello."})[0] == 200
        began = time.perf_counter()
        assert served.ask("/v1/translate", {"inputs": text}, headers={"X-Timeout-Ms": "200"})[0] == 504 and time.perf_counter() - began < 2
        with ThreadPoolExecutor(20) as pool:
            said = list(pool.map(lambda _: served.ask("/v1/translate", {"inputs": text}, headers={"X-Timeout-Ms": "1500"})[0], range(20)))
        assert said.count(503) == 15 and set(said) <= {503, 504, 200}
        body = json.dumps({"inputs": text}).encode()
        with socket.create_connection(("127.0.0.1", served.port)) as sock:
            sock.sendall(b"POST /v1/translate HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
            time.sleep(0.2)
        time.sleep(0.4)
        now = one(served, "en-de")
        assert now["running"] == now["waiting"] == 0
        began = time.perf_counter()
        assert served.ask("/v1/translate", {"inputs": "Hello."})[0] == 200 and time.perf_counter() - began < 0.5
        assert "Traceback" not in served.log.read_text("utf-8")
