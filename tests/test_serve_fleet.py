"""Many models in one process: loaded when asked, leaving for each other, swapped and brought back while requests run; bad bundles change nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from serving import QUESTION, offspring, server
from test_generate_run import gone
from tiny_bundle import make_bundle
from tiny_writer import make_writer

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


def states(served) -> dict[str, str]:
    return {one["name"]: one["state"] for one in served.ask("/status")[2]["models"]}


def version_of(served, model: str = "support") -> tuple[str, float]:
    said = served.ask("/v1/classify", {"inputs": QUESTION, "model": model})
    assert said[0] == 200, said
    return said[2]["version"], said[2]["answers"][0]["confidence"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    make_bundle(root / "support")
    make_bundle(root / "support-2", threshold=0.5)
    for number in range(3):
        make_writer(root / f"talk-{number}", seed=number)
    return root


def test_the_least_lately_used_model_leaves_and_its_memory_comes_back(root, tmp_path):
    with server(tmp_path, *(root / f"talk-{number}" for number in range(3)), flags=("--memory", "87MB")) as served:
        for number in (0, 1):
            assert served.ask("/v1/chat/completions", {**HELLO, "model": f"talk-{number}"})[0] == 200
        assert states(served) == {"talk-0": "loaded", "talk-1": "loaded", "talk-2": "unloaded"}
        served.ask("/v1/chat/completions", {**HELLO, "model": "talk-0"})
        assert served.ask("/v1/chat/completions", {**HELLO, "model": "talk-2"})[0] == 200
        assert states(served) == {"talk-0": "loaded", "talk-1": "unloaded", "talk-2": "loaded"}
        told = served.ask("/status")[2]
        assert told["evictions"] == 1 and told["memory"]["models"] <= told["memory"]["budget"] == 87_000_000
        assert len(served.children()) == 2


def test_models_that_write_are_forked_from_one_process_which_begins_with_the_first_and_ends_with_the_service(root, tmp_path):
    for sign, folder in ((signal.SIGTERM, tmp_path / "told"), (signal.SIGKILL, tmp_path / "killed")):
        folder.mkdir()
        with server(folder, root / "support", *(root / f"talk-{number}" for number in range(3)), environment={"TMPDIR": str(folder)}) as served:
            served.ask("/v1/classify", {"inputs": QUESTION, "model": "support"})
            assert offspring(served.process.pid) == []
            for number in range(3):
                assert served.ask("/v1/chat/completions", {**HELLO, "model": f"talk-{number}"})[0] == 200
            (forkserver,) = served.forkservers()
            assert offspring(served.process.pid) == [forkserver] and len(served.children()) == 3 == len(offspring(forkserver))
            told = served.ask("/status")[2]
            for one in told["models"][1:]:
                assert one["name"].startswith("talk") and 5_000_000 < one["current"]["bytes"] < 30_000_000
            leaving = set(served.children())
            served.ask("/models/unload", {"model": "talk-1"})
            (left,) = leaving - set(served.children())
            assert not Path(f"/proc/{left}").exists()
            assert len(served.children()) == 2 and served.forkservers() == [forkserver]
            everybody = [*served.children(), forkserver]
            assert served.end(sign) == (0 if sign == signal.SIGTERM else -9)
            assert all(gone(pid) for pid in everybody) and [one.name for one in folder.iterdir()] == ["server.log"]
            assert "Traceback" not in served.log.read_text("utf-8")


def test_without_what_it_forks_from_a_service_goes_on(root, tmp_path):
    with server(tmp_path, *(root / f"talk-{number}" for number in range(3))) as served:
        for number in range(2):
            assert served.ask("/v1/chat/completions", {**HELLO, "model": f"talk-{number}"})[0] == 200
        (forkserver,), workers = served.forkservers(), set(served.children())
        os.kill(forkserver, signal.SIGKILL)
        for number in range(3):
            assert served.ask("/v1/chat/completions", {**HELLO, "model": f"talk-{number}"})[0] == 200
        (second,) = served.forkservers()
        assert second != forkserver and len(offspring(second)) == 1 and not Path(f"/proc/{forkserver}").exists()
        assert all(Path(f"/proc/{pid}").exists() for pid in workers)  # they went on answering
        os.kill(min(workers), signal.SIGSEGV)
        os.kill(offspring(second)[0], signal.SIGSEGV)
        time.sleep(0.2)
        for number in range(3):
            assert served.ask("/v1/chat/completions", {**HELLO, "model": f"talk-{number}"})[0] == 200
        assert len(offspring(second)) == 2
        assert served.end() == 0 and all(gone(pid) for pid in (*workers, second))


def test_a_pinned_model_stays_and_one_that_is_too_large_is_refused(root, tmp_path):
    (tmp_path / "fleet.toml").write_text(f"""
[serve]
memory = "70MB"
[models.talk-0]
path = "{root}/talk-0"
pin = true
aliases = ["gpt-4o-mini"]
[models.talk-1]
path = "{root}/talk-1"
""")
    with server(tmp_path, flags=("--config", str(tmp_path / "fleet.toml"))) as served:
        assert served.ask("/v1/chat/completions", {**HELLO, "model": "gpt-4o-mini"})[0] == 200
        status, headers, said = served.ask("/v1/chat/completions", {**HELLO, "model": "talk-1"})
        assert status == 503 and int(headers["retry-after"]) >= 1 and "pinned" in said["error"]["message"]
        assert states(served) == {"talk-0": "loaded", "talk-1": "unloaded"}


def test_a_swap_under_load_fails_nothing_and_a_rollback_is_instant(root, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(root / "support", models / "support")
    shutil.copytree(root / "support-2", models / "next")
    with server(tmp_path, flags=("--models", str(models), "--no-trust")) as served:
        first = version_of(served)
        seen, ended = [], threading.Event()

        def keep_asking() -> None:
            while not ended.is_set():
                seen.append(served.ask("/v1/classify", {"inputs": [QUESTION] * 4, "model": "support"}))

        threads = [threading.Thread(target=keep_asking) for _ in range(2)]
        for thread in threads:
            thread.start()
        said = served.ask("/models/load", {"model": "support", "bundle": "next"})
        assert said[0] == 200, said
        second = version_of(served)
        assert second[0] == said[2]["model"]["current"]["id"] != first[0]
        began = time.perf_counter()
        assert served.ask("/models/rollback", {"model": "support"})[2]["model"]["current"]["id"] == first[0]
        assert time.perf_counter() - began < 4
        assert version_of(served) == first
        for _ in range(5):
            served.ask("/models/rollback", {"model": "support"})
        ended.set()
        for thread in threads:
            thread.join()
        assert len(seen) > 10 and {status for status, _, _ in seen} == {200}
        assert {said["version"] for _, _, said in seen} == {first[0], second[0]}


def test_a_bundle_that_was_replaced_in_place_is_taken_up_when_told(root, tmp_path):
    models = tmp_path / "models"
    make_bundle(models / "support")
    with server(tmp_path, flags=("--models", str(models))) as served:
        first = version_of(served)
        make_bundle(models / "support", threshold=0.4)
        assert version_of(served) == first
        served.ask("/models/load", {"model": "support"})
        assert version_of(served)[0] != first[0]
        served.ask("/models/rollback", {"model": "support"})
        assert version_of(served) == first


def test_a_canary_gets_its_share_and_the_same_text_the_same_version(root, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(root / "support", models / "support")
    shutil.copytree(root / "support-2", models / "next")
    with server(tmp_path, flags=("--models", str(models))) as served:
        first = version_of(served)[0]
        fresh = served.ask("/models/load", {"model": "support", "bundle": "next", "share": 0.3})[2]["model"]
        assert fresh["current"]["id"] == first and fresh["canary_share"] == 0.3

        def asked(text: str) -> str:
            return served.ask("/v1/classify", {"inputs": text, "model": "support"})[2]["version"]

        texts = [f"{QUESTION} {number}" for number in range(300)]
        arms = [asked(text) for text in texts]
        share = sum(arm == fresh["canary"]["id"] for arm in arms) / 300
        assert abs(share - 0.3) < 3 * (0.3 * 0.7 / 300) ** 0.5
        assert [asked(text) for text in texts[:20]] == arms[:20]
        assert served.ask("/models/share", {"model": "support", "share": 0})[2]["model"]["canary"] is None
        assert {asked(text) for text in texts[:40]} == {first}
        served.ask("/models/load", {"model": "support", "bundle": "next", "share": 0.1})
        assert served.ask("/models/share", {"model": "support", "share": 1})[2]["model"]["current"]["id"] == fresh["canary"]["id"]


def broken(root, kind: str):
    """A bundle that is bad in one way."""
    path = root / kind
    make_bundle(path) if kind != "liar" else make_bundle(path, threshold=0.2)
    if kind == "flipped":
        file = next(path.glob("ngram/*.safetensors"))
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))
    elif kind == "short":
        file = next(path.glob("ngram/*.safetensors"))
        file.write_bytes(file.read_bytes()[:-10])
    elif kind == "extra":
        (path / "x.py").write_text("print('never')")
    elif kind == "manifest":
        (path / "manifest.json").write_text("{")
    elif kind == "liar":
        from understudy.bundle import open_bundle, write_bundle

        bundle = open_bundle(path)
        files = {name: bundle.read(name) for name in bundle.files()}
        checks = {"checks": [{"text": QUESTION, "label": "refund", "confidence": 0.9}], "tolerance": 0.01}
        write_bundle(path, {**files, "checks.json": json.dumps(checks).encode()}, bundle.manifest)
    elif kind == "gguf":
        shutil.rmtree(path)
        make_writer(path)
        from understudy.bundle import open_bundle, write_bundle

        bundle = open_bundle(path)
        files = {name: bundle.read(name) for name in bundle.files()}
        data = bytearray(files["writer/model.gguf"])
        data[-200_000:-100_000] = b"\xff" * 100_000  # weights that are no numbers: loads, and says nonsense
        files["writer/model.gguf"] = bytes(data[:-64])
        write_bundle(path, files, bundle.manifest)
    return path


@pytest.mark.parametrize("kind", ["flipped", "short", "extra", "manifest", "liar", "gguf"])
def test_a_bad_bundle_is_refused_and_what_answered_goes_on(broken_server, kind):
    served, models, first = broken_server
    broken(models, kind)
    began = time.perf_counter()
    status, _, said = served.ask("/models/load", {"model": "support", "bundle": kind})
    assert status == 422 and said["error"]["code"] == "bundle_refused" and time.perf_counter() - began < 20, said
    assert str(models) not in json.dumps(said)
    assert version_of(served) == first


@pytest.fixture(scope="module")
def broken_server(root, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(root / "support", models / "support")
    with server(tmp_path_factory.mktemp("log"), flags=("--models", str(models), "--no-trust")) as served:
        yield served, models, version_of(served)
        assert served.end() == 0


def test_the_end_does_not_wait_for_what_is_being_tried(root, tmp_path):
    with server(tmp_path, root / "support", flags=("--no-trust",)) as served:
        asking = threading.Thread(target=lambda: served.ask("/v1/classify", {"inputs": QUESTION}))
        asking.start()
        time.sleep(0.15)
        began = time.monotonic()
        assert served.end() == 0 and time.monotonic() - began < 5
        asking.join()
        assert "Traceback" not in served.log.read_text("utf-8")


def test_a_bundle_that_eats_memory_dies_in_its_trial(tmp_path):
    from understudy.errors import BundleError
    from understudy.fleet.trial import tried

    make_bundle(tmp_path / "fine")
    assert tried(tmp_path / "fine", 100_000)["checks"] == 0
    with pytest.raises(BundleError, match=r"memory than its trial allows|ended its trial with"):
        tried(tmp_path / "fine", -(500 << 20) // 3)  # 12 MB in all: less than the process has already


@pytest.mark.parametrize("name", ["../support", "/etc", "support/../support", "..", ".", "a\\b", "nobody", "x" * 300, "http://127.0.0.1/x", "sup%2fport", "support\x00"])
def test_no_path_comes_from_a_request(broken_server, name):
    served, _, first = broken_server
    status, _, said = served.ask("/models/load", {"model": "support", "bundle": name})
    assert status == 400, said
    assert version_of(served) == first


def test_a_model_is_added_from_the_folder_unloaded_and_loaded_again(broken_server):
    served, models, _ = broken_server
    make_bundle(models / "later")
    assert served.ask("/v1/classify", {"inputs": QUESTION, "model": "later"})[0] == 404
    assert served.ask("/models/load", {"model": "later"})[2]["model"]["state"] == "loaded"
    assert served.ask("/models/unload", {"model": "later"})[2]["model"]["state"] == "unloaded"
    assert version_of(served, "later")
    assert served.ask("/models/rollback", {"model": "later"})[0] == 400
    assert served.ask("/models/share", {"model": "later", "share": 0.5})[0] == 400
