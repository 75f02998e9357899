"""Workers forked from one prepared process: like spawned ones in all that their caller sees, and nothing of one in another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from test_generate_run import LONG, PROMPT, gone
from tiny_gguf import write_tiny_gguf
from tiny_writer import make_writer
from understudy.errors import MissingExtraError
from understudy.fleet import memory
from understudy.fleet.loading import load_bundle
from understudy.run.generate import forked
from understudy.run.generate.engine import Engine
from understudy.run.generate.forked import UNKNOWN, ForkServer
from understudy.run.generate.sampling import Sampling
from understudy.run.generate.starting import spawned
from understudy.run.generate.wire import EngineError

pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
pytestmark = pytest.mark.skipif(not forked._possible(), reason="needs descriptors of processes")
SHORT = Sampling(max_tokens=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("forked") / "tiny.gguf", context=4096)


@pytest.fixture
def forks():
    forks = ForkServer()
    yield forks
    pid = forks.pid
    forks.close()
    assert pid is None or gone(pid)


def opened(model, start) -> Engine:
    return Engine.open(model, context=2048, threads=1, start=start)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def ended(pid: int) -> bool:
    """Whether not even a zombie is left, within a few seconds."""
    deadline = time.monotonic() + 6
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


def held(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(one))
        except FileNotFoundError:
            continue
    return found


def told(pid: int, file: str, *names: str) -> list[str]:
    return [line for line in Path(f"/proc/{pid}/{file}").read_text().splitlines() if line.startswith(names)]


def test_a_forked_worker_answers_and_lives_like_a_spawned_one(model, forks):
    with opened(model, spawned) as alone, opened(model, forks.start) as one, opened(model, forks.start) as other:
        wanted = alone.complete(PROMPT, Sampling(max_tokens=40, temperature=1.0, seed=7))
        for engine in (one, other):
            assert engine.complete(PROMPT, Sampling(max_tokens=40, temperature=1.0, seed=7)).ids == wanted.ids
            pid = engine.worker_pid
            assert parent(pid) == forks.pid and os.getsid(pid) == pid == os.getpgid(pid)
            for file, names in (("status", ("SigIgn", "SigBlk", "SigCgt", "Seccomp", "Umask", "NoNewPrivs")), ("limits", ("Max",))):
                assert told(pid, file, *names) == told(alone.worker_pid, file, *names) != []
            assert "0" in told(pid, "limits", "Max core")[0].split()
            assert set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")) == set(Path(f"/proc/{alone.worker_pid}/environ").read_bytes().split(b"\0"))
            assert os.readlink(f"/proc/{pid}/cwd") == os.getcwd()
        assert parent(alone.worker_pid) == os.getpid()  # nothing forks unless it is told to
        assert len(os.listdir(f"/proc/{forks.pid}/task")) == 1


def test_a_worker_holds_its_own_descriptors_and_nobody_elses(model, tmp_path, forks):
    models = [tmp_path / f"{number}.gguf" for number in range(3)]
    for path in models:
        path.write_bytes(model.read_bytes())
    engines = [opened(path, forks.start) for path in models]
    seen = [held(engine.worker_pid) for engine in engines]
    for path, mine, engine in zip(models, seen, engines, strict=True):
        assert [one for one in mine if one.endswith(".gguf")] == [str(path)]
        pipes = {one for one in mine if one.startswith("pipe:")}
        logs = {one for one in mine if "deleted" in one}
        assert len(pipes) == 2 and len(logs) == 1
        assert pipes <= set(held(os.getpid())) and not pipes & set(held(forks.pid))
        for other in seen:
            assert other is mine or not (pipes | logs) & set(other)
        assert parent(engine.worker_pid) == forks.pid
    assert not [one for one in held(forks.pid) if one.endswith(".gguf") or "deleted" in one]
    before = len(os.listdir("/proc/self/fd")), len(held(forks.pid))
    for engine in engines:
        engine.close()
    time.sleep(0.2)
    assert len(os.listdir("/proc/self/fd")) == before[0] - 3 * 6 and len(held(forks.pid)) == before[1] - 3 * 2


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_worker_that_dies_is_noticed_told_reaped_and_started_anew_beside_its_sibling(model, forks, sign):
    with opened(model, forks.start) as engine, opened(model, forks.start) as sibling:
        wanted, pid, beside = engine.complete(PROMPT, SHORT).ids, engine.worker_pid, sibling.worker_pid
        stream = engine.generate(PROMPT, LONG)
        next(stream)
        os.kill(pid, sign)
        with pytest.raises(EngineError, match=rf"the worker ended while the request ran \(signal {int(sign)}\)"):
            list(stream)
        assert ended(pid)
        assert engine.complete(PROMPT, SHORT).ids == wanted == sibling.complete(PROMPT, SHORT).ids
        assert engine.worker_pid != pid and parent(engine.worker_pid) == forks.pid and sibling.worker_pid == beside
    assert ended(beside)


@pytest.mark.parametrize(("said", "code"), [(b"", 0), (b"\0\0\0\5nojso", 1)])
def test_the_exit_status_is_that_of_the_worker(forks, said, code):
    for start in (forks.start, spawned):
        with tempfile.TemporaryFile() as log:
            child = start(log.fileno(), log)
            child.stdin.write(said)
            child.stdin.close()
            assert child.wait(10) == code == child.poll()
            child.stdout.close()
            log.seek(0)
            assert (b"JSONDecodeError" in log.read()) == bool(code)
            child.kill()  # nobody is there any more, and nobody else is hit


def test_waiting_for_a_worker_ends_in_time(forks):
    with tempfile.TemporaryFile() as log:
        child = forks.start(log.fileno(), log)
        began = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.1)
        assert child.poll() is None and time.monotonic() - began < 3
        child.kill()
        assert child.wait(10) == -9
        child.stdin.close()
        child.stdout.close()


PROGRAM = """
import os, sys, threading, time
from understudy.run.generate.engine import Engine
from understudy.run.generate.forked import ForkServer
forks = ForkServer()
engines = [Engine.open({model!r}, context=256, threads=1, start=forks.start) for _ in range(2)]
stream = engines[0].generate("the")
next(stream)
print(forks.pid, *(engine.worker_pid for engine in engines), flush=True)
"""
ENDS = {"killed": "os.kill(os.getpid(), 9)", "its pipes held by another": "os.fork() or time.sleep(8)\nos.kill(os.getpid(), 9)", "ends": "",
        "the prepared process first": "os.kill(forks.pid, 9)\ntime.sleep(0.2)\nos.kill(os.getpid(), 9)"}


@pytest.mark.parametrize("how", list(ENDS))
def test_all_end_with_their_caller_and_leave_nothing(model, tmp_path, monkeypatch, how):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with (tmp_path.parent / "said").open("w+") as said:
        done = subprocess.run([sys.executable, "-c", PROGRAM.format(model=str(model)) + ENDS[how]], stdout=said, timeout=60, check=False)
        said.seek(0)
        pids = [int(one) for one in said.read().split()]
    assert done.returncode == (0 if how == "ends" else -9) and len(pids) == 3
    assert all(gone(pid) for pid in pids) and not list(tmp_path.iterdir())


def test_the_prepared_process_may_be_killed(model, forks):
    with opened(model, forks.start) as engine:
        first, pid = forks.pid, engine.worker_pid
        stream = engine.generate(PROMPT, LONG)
        next(stream)
        os.kill(first, signal.SIGKILL)
        assert gone(first)
        for _ in range(50):
            next(stream)
        stream.close()
        time.sleep(2.5)  # the worker has looked around
        assert engine.worker_pid == pid and engine.complete(PROMPT, SHORT).tokens == 10
        with opened(model, forks.start) as other:
            assert parent(other.worker_pid) == forks.pid != first
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=rf"exit status {UNKNOWN}|signal 9"):
            engine._held.worker.submit("tokenize", {"text": "a", "special": False, "bos": False})
            raise engine._death(engine._held.worker)
        assert engine.complete(PROMPT, SHORT).tokens == 10 and parent(engine.worker_pid) == forks.pid


def test_a_prepared_process_that_hangs_holds_nothing_up(model, forks, monkeypatch, caplog):
    with opened(model, forks.start) as engine:
        first, pid = forks.pid, engine.worker_pid
        forks._running[1].settimeout(0.5)
        os.kill(first, signal.SIGSTOP)
        began = time.monotonic()
        engine.restart()
        assert gone(pid) and time.monotonic() - began < 6  # its end is seen although nobody tells it
        assert engine.complete(PROMPT, SHORT).tokens == 10 and parent(engine.worker_pid) == os.getpid()
        assert "could not be forked" in caplog.text and gone(first)
        with opened(model, forks.start) as other:
            assert parent(other.worker_pid) == forks.pid != first


def test_what_a_dead_prepared_process_left_is_reaped_by_who_inherits_it(model):
    # As process 1 of a container inherits it; 36 is PR_SET_CHILD_SUBREAPER.
    program = PROGRAM.format(model=str(model)) + (
        "import ctypes\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\nos.kill(forks.pid, 9)\ntime.sleep(0.3)\npid = engines[1].worker_pid\nos.kill(pid, 11)\n"
        "print(engines[1]._held.worker.status(), os.path.exists(f'/proc/{pid}'))\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.splitlines()[1] == "signal 11 False"


FAKE = """import os, random, secrets
BORN = secrets.token_hex(8)
class CommonParams:
    def __init__(self):
        raise RuntimeError(f"born {BORN} random {random.random()} {random.getrandbits(64)} secrets {secrets.token_hex(8)} {os.urandom(8).hex()}")
"""


def test_two_workers_do_not_draw_the_same_numbers(model, tmp_path, monkeypatch, forks):
    (tmp_path / "xllamacpp.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = []
    for _ in range(3):
        with pytest.raises(EngineError, match="cannot load the model") as caught:
            opened(model, forks.start)
        words = str(caught.value).split("born ")[1].split()
        said.append([words[0], words[2], words[3], words[5], words[6]])
    assert [len(set(drawn)) for drawn in zip(*said, strict=True)] == [1, 3, 3, 3, 3]  # the first was drawn before they were forked


@pytest.mark.parametrize(("code", "error", "words"), [
    ("raise ImportError('not here')", MissingExtraError, "needs the extra 'generate'"),
    ("import os\nos.abort()", EngineError, "signal 6"),
    ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", EngineError, "no attribute 'CommonParams'")])
def test_a_library_that_cannot_be_prepared_is_an_error_as_without_it(model, tmp_path, monkeypatch, forks, caplog, code, error, words):
    (tmp_path / "xllamacpp.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for start in (forks.start, spawned):
        with pytest.raises(error, match=words):
            opened(model, start)
    assert ("could not be forked" in caplog.text) == (error is EngineError)


def test_many_are_forked_at_once_and_who_writes_is_not_disturbed(model, forks):
    with opened(model, forks.start) as engine:
        wanted = "".join(piece.text for piece in engine.generate(PROMPT, LONG))
        said: list[str] = []
        writing = threading.Thread(target=lambda: said.extend(piece.text for piece in engine.generate(PROMPT, LONG)))
        writing.start()
        with ThreadPoolExecutor(4) as pool:
            others = list(pool.map(lambda _: opened(model, forks.start), range(8)))
        assert len({one.worker_pid for one in others} | {engine.worker_pid}) == 9 and {parent(one.worker_pid) for one in others} == {forks.pid}
        for one in others:
            assert one.complete(PROMPT, SHORT).tokens == 10
            one.close()
        writing.join()
        assert "".join(said) == wanted and parent(engine.worker_pid) == forks.pid


def test_after_the_end_workers_are_started_on_their_own(model):
    forks = ForkServer()
    assert forks.pid is None  # nothing runs before there is a worker
    with opened(model, forks.start) as engine:
        pid = forks.pid
        forks.close()
        forks.close()
        assert ended(pid) and engine.complete(PROMPT, SHORT).tokens == 10
        with opened(model, forks.start) as other:
            assert forks.pid is None and parent(other.worker_pid) == os.getpid()


def written(pid: int) -> int:
    """Bytes that a process has to itself because it has written them."""
    return int(told(pid, "smaps_rollup", "Private_Dirty:")[0].split()[1]) << 10


def test_a_forked_worker_costs_less_and_is_counted_once(tmp_path, forks):
    bundles = [make_writer(tmp_path / f"talk-{number}", seed=number) for number in range(4)]
    costs = []
    for start in (spawned, forks.start):
        loaded = [load_bundle(path, slots=4, start=start) for path in bundles]
        shares = [memory.share(one.pid) for one in loaded]
        assert all(0 < share < memory.resident(one.pid) for share, one in zip(shares, loaded, strict=True))
        # Who else has the same library loaded comes and goes, so the parts of what is shared are never the same twice.
        assert 0.7 * sum(shares) < sum(one.measured() for one in loaded) < 1.6 * sum(shares)
        costs.append(sum(written(pid) for pid in (*(one.pid for one in loaded), forks.pid) if pid))
        for one in loaded:
            one.close()
    assert costs[1] < 0.85 * costs[0]
