"""docs/promises.md names a test for every promise; and the promises that had none elsewhere."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import QUESTION, much, server
from test_docs import ROOT
from tiny_bundle import make_bundle
from tiny_encoder import make_encoder

PAGE = (ROOT / "docs/promises.md").read_text("utf-8")


def test_every_promise_has_a_figure_and_tests_that_are_there():
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) >= 18
    for number, promise, measured, tests in rows:
        assert promise.strip() and measured.strip(), number
        named = re.findall(r"`(test_\w+)\.(test_\w+)`", tests)
        assert named, number
        for file, name in named:
            assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text("utf-8"), f"{file}.{name}"


def test_the_same_text_gets_the_same_answer_whoever_asks_beside_it(tmp_path):
    """300 times alone, among others and at once; 1,000 with UNDERSTUDY_SOAK=1."""
    with server(tmp_path, make_bundle(tmp_path / "support"), make_encoder(tmp_path / "vectors", tmp_path)) as served:
        for model in ("support", "vectors"):
            alone = served.ask("/v1/classify", {"inputs": QUESTION, "model": model, "top": 3})[2]["answers"][0]

            def ask(number: int, model: str = model) -> list[dict]:
                rng = random.Random(number)
                mates = [f"{QUESTION} {rng.random()}" * rng.randint(1, 20) for _ in range(rng.randint(0, 30))]
                at = rng.randint(0, len(mates))
                said = served.ask("/v1/classify", {"inputs": [*mates[:at], QUESTION, *mates[at:]], "model": model, "top": 3})[2]
                return [said["answers"][at], served.ask("/v1/classify", {"inputs": QUESTION, "model": model, "top": 3})[2]["answers"][0]]

            with ThreadPoolExecutor(8) as pool:
                for pair in pool.map(ask, range(much(500, 75))):
                    for one in pair:
                        assert one["label"] == alone["label"] and one["confidence"] == pytest.approx(alone["confidence"], abs=1e-4)


ALONE = """
import fcntl, socket, struct, sys
from pathlib import Path
sys.path[:0] = {path!r}
with socket.socket() as sock:  # the loopback of a new network is down
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
from serving import QUESTION, server
with server(Path({folder!r}), Path({bundle!r}), flags=("--no-trust",)) as served:
    print(served.ask("/v1/classify", {{"inputs": QUESTION}})[2]["answers"][0]["label"], served.ask("/models")[0], served.end())
"""


@pytest.mark.skipif(shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0,
                    reason="this machine gives no network of one's own (unshare -rn)")
def test_it_works_where_there_is_no_network(tmp_path):
    make_bundle(tmp_path / "support")
    code = ALONE.format(path=[str(ROOT / "tests"), *sys.path], folder=str(tmp_path), bundle=str(tmp_path / "support"))
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["card", "200", "0"], done.stderr
    assert json.loads((tmp_path / "server.log").read_text().splitlines()[-1])["status"] == 200
