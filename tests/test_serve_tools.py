"""What stands around the service: the load test, the doctor, the files in deploy/, and a fuzzer that reads the OpenAPI document."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving import much, server
from test_docs import ROOT
from tiny_bundle import make_bundle
from tiny_writer import make_writer
from understudy.cli import _run
from understudy.serve.checkup import checkup
from understudy.serve.config import LoadConfig, from_file
from understudy.serve.loadtest import _Seen

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")


def test_a_load_test_drives_a_server_of_its_own(tmp_path, capsys):
    make_bundle(tmp_path / "support")
    assert _run(["load-test", str(tmp_path / "support"), "--seconds", "0.5", "--shares", "20,300", "--connections", "4", "--json"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["peak"]["answered"] > 50 and told["peak"]["failed"] == 0
    calm, wild = told["rates"]
    assert calm["answered"] == pytest.approx(calm["asked"], rel=0.5) and 0 < calm["p50_ms"] <= calm["p99_ms"]
    assert wild["p50_ms"] > calm["p50_ms"] and wild["failed"] == 0
    assert _run(["load-test", str(tmp_path / "support"), "--shares", "0"], as_json=False) == 2
    assert "numbers above 0" in capsys.readouterr().err
    assert LoadConfig().shares == "10,50,80,100,200"


def test_what_a_load_test_counts():
    seen = _Seen()
    for status, seconds in ((200, 0.1), (200, 0.3), (503, 0.001), (429, 0.002), (500, 1), (0, 1)):
        seen.add(status, seconds)
    rate = seen.rate(10, 2)
    assert (rate.answered, rate.refused, rate.failed, rate.p50_ms) == (1.0, 2, 2, 200.0) and rate.refused_p99_ms < 2.1


def test_the_doctor_looks_at_what_serving_needs(tmp_path, monkeypatch, capsys):
    make_bundle(tmp_path / "models" / "support")
    (tmp_path / "models" / "bad").mkdir()
    (tmp_path / "models" / "bad" / "manifest.json").write_text("{")
    for name, value in (("MODELS", str(tmp_path / "models")), ("PORT", "0"), ("HOST", "0.0.0.0"), ("MEMORY", "999TB".replace("T", "000G")), ("CONNECTIONS", "90000")):
        monkeypatch.setenv(f"UNDERSTUDY_{name}", value)
    found = {one["what"]: one for one in checkup()}
    assert {name: one["state"] for name, one in found.items()} == {
        "port": "ok", "address": "fail", "memory": "fail", "open files": found["open files"]["state"], "model support": "ok", "model bad": "fail"}
    assert _run(["doctor", "--serve"], as_json=False) == 1 and "there is no key" in capsys.readouterr().out
    monkeypatch.setenv("UNDERSTUDY_PORT", "x")
    assert checkup()[-1]["what"] == "dials" and checkup()[-1]["state"] == "fail"


def test_the_files_in_deploy_say_what_the_code_knows():
    dials, models = from_file(ROOT / "deploy/fleet.toml")
    assert dials["memory"] == 2_000_000_000 and [one.name for one in models] == ["support", "en-de"] and models[1].languages == ("en", "de")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/understudy.service")
    assert unit["Service"]["ExecStart"].split()[1:] == ["serve", "--config", "/etc/understudy/fleet.toml"] and unit["Service"]["DynamicUser"] == "yes"
    container = (ROOT / "deploy/Containerfile").read_text()
    assert "[serve,generate]" in container and 'ENTRYPOINT ["understudy", "serve"]' in container and "USER understudy" in container


def test_a_fuzzer_finds_no_500_and_no_answer_that_the_document_does_not_have(tmp_path):
    """Short here; UNDERSTUDY_SOAK=1 asks 50,000 times."""
    root = tmp_path / "models"
    make_bundle(root / "support")
    make_writer(root / "en-de", "translate")
    make_writer(root / "talk")
    with server(tmp_path, flags=("--models", str(root))) as served:
        command = [str(Path(sys.executable).parent / "st"), "run", f"{served.address}/openapi.json", "--max-examples", str(much(600, 8)), "--no-color",
                   "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--suppress-health-check", "all", "--max-time", str(much(1500, 15)),
                   "--exclude-checks", "positive_data_acceptance", "--generation-deterministic", "--request-timeout", "20"]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "NO_COLOR": "1"})
        lines = served.lines()
        asked = [line for line in lines if line.get("event") == "request"]
        print(f"{len(asked):,} requests in {time.monotonic() - began:.0f} s")
        assert done.returncode == 0, done.stdout[-6000:]
        assert len(asked) > much(50_000, 300) and {line["status"] for line in asked} & {200, 400} == {200, 400}
        assert [line for line in asked if line["status"] in (0, 500)] == []
        assert served.end() == 0


def test_the_service_stays_within_its_memory(tmp_path):
    """A request leaves nothing behind: 2,000 of all kinds here, 60,000 with UNDERSTUDY_SOAK=1."""
    import http.client

    with server(tmp_path, make_bundle(tmp_path / "support"), flags=("--no-log-requests",)) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port)

        def some(count: int) -> int:
            for number in range(count):
                body = (json.dumps({"inputs": f"where is my card {number}"}), '{"inputs": ""}', "{")[number % 3 if number % 2 else 0]
                connection.request("POST", "/v1/classify", body, {"Content-Type": "application/json"})
                connection.getresponse().read()
            return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        before = some(much(4000, 500))
        files = len(os.listdir(f"/proc/{served.process.pid}/fd"))
        after = some(much(60_000, 2000))
        connection.close()
        assert after - before < 8_000_000 and len(os.listdir(f"/proc/{served.process.pid}/fd")) <= files + 1


class Stuck:
    """Standard error as it may be: nobody reads it, or the disk is full."""

    def __init__(self, problem: Exception | None) -> None:
        self.problem, self.free, self.text = problem, threading.Event(), ""

    def write(self, text: str) -> None:
        if self.problem is not None:
            raise self.problem
        assert self.free.wait(10)
        self.text += text

    def flush(self) -> None:
        pass


def test_a_log_that_nobody_takes_holds_nothing_up_and_what_is_lost_is_counted():
    from understudy.serve.logs import Log

    lost = []
    stuck = Stuck(None)
    log = Log(stuck, dropped=lambda: lost.append(1))  # type: ignore[arg-type]
    began = time.perf_counter()
    for number in range(12_000):
        log.line(event="request", number=number)
    assert time.perf_counter() - began < 2
    time.sleep(0.3)
    for number in range(12_000):
        log.line(event="request", number=number)
    assert len(lost) > 2000
    stuck.free.set()
    log.close()
    assert stuck.text.count("\n") + len(lost) == 24_000
    lost.clear()
    full = Log(Stuck(OSError(28, "no space")), dropped=lambda: lost.append(1))  # type: ignore[arg-type]
    full.line(event="x")
    full.close()
    assert lost == [1]


def test_nothing_in_a_line_of_the_log_can_begin_another_or_reach_a_terminal():
    from understudy.serve.logs import Log

    stream = Stuck(None)
    stream.free.set()
    log = Log(stream)  # type: ignore[arg-type]
    log.line(event="x", text="a\r\n{\"forged\": 1}\x1b[2J\x00", long="y" * 10_000)
    log.close()
    assert stream.text.count("\n") == 1 and "\x1b" not in stream.text and "\r" not in stream.text
    told = json.loads(stream.text)
    assert told["text"].startswith("a\r\n") and len(told["long"]) == 2000
