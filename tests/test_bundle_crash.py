"""CRASH-2, CRASH-7, DISK-1, DISK-4, DISK-6: whatever dies or fails at whatever call, the old whole or the new whole.

Every call of a save that changes the disk is counted; the save is run again and again and killed (or made to fail) at
the first, the second, the third … call until it ends untouched. A child is forked for each kill.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle_helpers import manifest, onnx_bytes, save_small
from understudy.bundle import open_bundle, swap, verify
from understudy.bundle.manifest import Manifest
from understudy.bundle.swap import recover
from understudy.errors import BundleError

CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir")
OLD, NEW = "old", "new"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A kill is no power cut: what was written survives it unsynced, so fsync is counted and made to fail, not waited for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def tmp_path(tmp_path):
    """Memory where there is some: a thousand saves need no disk."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@contextlib.contextmanager
def calls_watched(before: Callable[[str, tuple], None], *, exchange: bool = True) -> Iterator[None]:
    """Runs `before(name, arguments)` ahead of every call that changes the disk; without `exchange` the kernel has none."""
    with pytest.MonkeyPatch.context() as patch:
        def watched(name: str, real: Callable) -> Callable:
            def call(*args, **kwargs):
                if name != "open" or args[1] & os.O_CREAT:
                    before(name, args)
                return real(*args, **kwargs)
            return call

        for name in CALLS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        patch.setattr(swap, "exchange", watched("exchange", swap.exchange) if exchange else lambda one, other: False)
        yield


def killed_at(count: int, work: Callable[[], object], *, exchange: bool) -> bool:
    """Runs `work` in a forked child that dies by SIGKILL at its call number `count`, half-way through if it is a write.
    False when it ended before that.
    """
    real_write, left = os.write, count

    def before(name: str, args: tuple) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            if name == "write":
                real_write(args[0], bytes(args[1])[:len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            with calls_watched(before, exchange=exchange):
                work()
            os._exit(0)
        finally:
            os._exit(70)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the save failed by itself"
    return os.WIFSIGNALED(status)


def state(folder: Path) -> str:
    """"absent", the name of the whole bundle, or what is wrong with it."""
    recover(folder)
    if not os.path.lexists(folder):
        return "absent"
    return "broken: " + "; ".join(problems) if (problems := verify(folder)) else open_bundle(folder).manifest.name


def crash_everywhere(root: Path, writer: Callable[[Path], object], *, replace: bool, exchange: bool) -> list[str]:
    """The state of the target after a kill at the 1st, 2nd, 3rd … call, each in a folder of its own."""
    states = []
    for count in range(1, 1000):
        target = root / str(count) / "support"
        target.parent.mkdir(parents=True)
        if replace:
            save_small(target, 0.25, name=OLD)
        died = killed_at(count, lambda target=target: writer(target), exchange=exchange)
        if exchange and replace and writer is write_new:
            assert os.path.lexists(target), f"the target was missing for a moment at call {count}"
        states.append(state(target))
        if not died:
            assert states[-1] == NEW
            return states
        if writer is write_new:
            save_small(target, 0.5, name="after")
            assert state(target) == "after" and os.listdir(target.parent) == ["support"]
    raise AssertionError("the save never ends")


def write_new(target: Path) -> Manifest:
    return save_small(target, 0.75, name=NEW)


def write_naively(target: Path) -> None:
    """How it is often done: clear the folder, write the files into it."""
    shutil.rmtree(target, ignore_errors=True)
    source = target.parent / "source"
    save_small(source, 0.75, name=NEW)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            os.makedirs((target / path.relative_to(source)).parent, exist_ok=True)
            handle = os.open(target / path.relative_to(source), os.O_WRONLY | os.O_CREAT)
            os.write(handle, path.read_bytes())
            os.close(handle)


@pytest.mark.parametrize(("replace", "exchange"), [(False, True), (True, True), (True, False)], ids=["new", "exchange", "two-steps"])
def test_kill_at_every_call_leaves_the_old_whole_or_the_new_whole(tmp_path, replace, exchange):
    states = crash_everywhere(tmp_path, write_new, replace=replace, exchange=exchange)
    before = OLD if replace else "absent"
    assert set(states) == {before, NEW} and len(states) >= 18
    assert states == sorted(states, key=[before, NEW].index), "once new, it stays new"


def test_the_crash_test_can_fail(tmp_path):
    states = crash_everywhere(tmp_path, write_naively, replace=True, exchange=True)
    assert any(one.startswith("broken") for one in states) and "absent" in states


def test_a_kill_between_the_two_renames_is_undone_at_the_next_open(tmp_path):
    save_small(tmp_path / "support", 0.25, name=OLD)
    (tmp_path / "support").rename(tmp_path / ".support.old-1-00000000")
    (tmp_path / ".support.tmp-1-00000000").mkdir()
    assert open_bundle(tmp_path / "support").manifest.name == OLD
    shutil.rmtree(tmp_path / "support")
    with pytest.raises(BundleError, match="there is no bundle at"):
        open_bundle(tmp_path / "support")


def test_a_live_save_is_not_swept(tmp_path):
    live, tag = tmp_path / ".support.tmp-999999999-0123abcd", "999999999-0123abcd"
    live.mkdir()
    held = swap.lock(live)
    assert held is not None and swap.siblings(tmp_path / "support", "tmp") == [(live, tag)]
    save_small(tmp_path / "support")
    assert live.is_dir()
    os.close(held)
    save_small(tmp_path / "support")
    assert [path.name for path in tmp_path.iterdir()] == ["support"]


def test_where_locks_do_nothing_a_live_pid_is_not_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda handle, how: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    mine, dead = tmp_path / f".support.tmp-{os.getpid()}-0123abcd", tmp_path / ".support.tmp-999999999-0123abcd"
    mine.mkdir()
    dead.mkdir()
    save_small(tmp_path / "support")
    assert mine.is_dir() and not dead.exists()


def test_names_that_only_look_like_leftovers_stay(tmp_path):
    keep = [".support.tmp-mine", ".support.tmp-1-0123abcd.bak", ".other.tmp-1-0123abcd", "support.tmp-1-0123abcd"]
    for name in keep:
        (tmp_path / name).mkdir()
    save_small(tmp_path / "support")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*keep, "support"])


def failing(call: str, code: int, count: int, *, once: bool = False) -> tuple[Callable[[str, tuple], None], list[int]]:
    """A `before` that fails from the `count`-th call of one name on (or only there), and how often it was asked."""
    asked = [0]

    def before(name: str, args: tuple) -> None:
        if name == call:
            asked[0] += 1
            if asked[0] == count or (asked[0] > count and not once):
                raise OSError(code, os.strerror(code))
    return before, asked


FAULTS = [("write", errno.ENOSPC, False), ("write", errno.EDQUOT, False), ("write", errno.EIO, True), ("fsync", errno.EIO, True), ("fsync", errno.ENOSPC, True),
          ("open", errno.EACCES, False), ("open", errno.EROFS, False), ("open", errno.EMFILE, False), ("mkdir", errno.EROFS, False), ("mkdir", errno.EACCES, False),
          ("rename", errno.EACCES, True), ("rename", errno.EIO, True), ("exchange", errno.EIO, True)]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two-steps"])
@pytest.mark.parametrize(("call", "code", "once"), FAULTS, ids=[f"{call}-{errno.errorcode[code]}" for call, code, _ in FAULTS])
def test_a_fault_at_every_call_is_told_and_leaves_the_old(tmp_path, call, code, once, exchange):
    points = 0
    for replace in (True, False):
        target = tmp_path / str(replace) / "support"
        target.parent.mkdir()
        for count in range(1, 1000):
            if replace:
                save_small(target, 0.25, name=OLD)
            before, asked = failing(call, code, count, once=once)
            try:
                with calls_watched(before, exchange=exchange):
                    write_new(target)
            except BundleError as error:
                assert str(target) in str(error) and f"({errno.errorcode[code]}); the bundle needs " in str(error), error
                assert state(target) == (OLD if replace else "absent")
                assert os.listdir(target.parent) == (["support"] if replace else [])
                points += 1
            if asked[0] < count:
                break
            assert call != "fsync" or state(target) != NEW, "said to be saved after a failed fsync"
    expected = 0 if (call == "exchange" and not exchange) else 2 if call == "mkdir" else 1
    assert points >= expected


def test_the_bytes_needed_are_named(tmp_path):
    before, _ = failing("write", errno.ENOSPC, 3)
    needed = len(onnx_bytes())
    with calls_watched(before), pytest.raises(BundleError, match=r"cannot write .*/support/.*: no space left on device \(ENOSPC\); the bundle needs ([\d,]+) bytes") as caught:
        write_new(tmp_path / "support")
    said = int(str(caught.value).split("needs ")[1].split()[0].replace(",", ""))
    assert needed < said < needed + 5_000 and "free some space" in caught.value.hint


def test_too_little_space_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    save_small(tmp_path / "support", 0.25, name=OLD)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((real.f_bsize, 4096, *real[2:4], 5, *real[5:])))
    touched: list[str] = []
    with calls_watched(lambda name, args: touched.append(name)), pytest.raises(BundleError, match=r"support needs [\d,]+ bytes and the disk has 20,480 bytes free; nothing was written"):
        write_new(tmp_path / "support")
    assert touched == [] and state(tmp_path / "support") == OLD


def test_a_keyboard_interrupt_takes_the_temporary_folder_along(tmp_path):
    for exchange in (True, False):
        for count in range(1, 200):
            save_small(tmp_path / "support", 0.25, name=OLD)
            left = [count]

            def before(name: str, args: tuple, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0 and name not in ("unlink", "rmdir"):
                    raise KeyboardInterrupt

            with contextlib.suppress(KeyboardInterrupt), calls_watched(before, exchange=exchange):
                write_new(tmp_path / "support")
            assert state(tmp_path / "support") in (OLD, NEW)
            if left[0] > 0:
                break
        assert count > 20


def synced_before_swap(target: Path) -> list[str]:
    """What a power cut could lose: files and folders of the new bundle not synced when it was put in place, and the parent after."""
    unsynced: dict[str, bool] = {}
    lost: list[str] = []
    swapped: list[int] = []

    def before(name: str, args: tuple) -> None:
        if name == "mkdir" or name == "open":
            unsynced[os.fspath(args[0])] = True
            unsynced[os.path.dirname(args[0])] = True
        elif name == "write":
            unsynced[os.readlink(f"/proc/self/fd/{args[0]}")] = True
        elif name == "fsync":
            place = os.readlink(f"/proc/self/fd/{args[0]}")
            unsynced[place] = False
            if swapped and place == str(target.parent):
                swapped.append(2)
        elif name in ("rename", "exchange"):
            lost.extend(place for place, dirty in unsynced.items() if dirty and place != str(target.parent))
            swapped.append(1)

    with calls_watched(before):
        write_new(target)
    return lost + ([] if swapped[-1:] == [2] else ["the parent"])


def test_everything_is_synced_before_it_is_put_in_place_and_the_parent_after(tmp_path, monkeypatch):
    assert synced_before_swap(tmp_path / "new") == []
    save_small(tmp_path / "replaced")
    assert synced_before_swap(tmp_path / "replaced") == []
    monkeypatch.setattr(swap, "sync_folder", lambda folder: None)
    lost = synced_before_swap(tmp_path / "control")
    assert "the parent" in lost and len(lost) == 4


def test_the_real_exchange_is_used_here_and_missing_support_is_not_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    assert swap.exchange(tmp_path / "a", tmp_path / "b") in (True, False)
    with pytest.raises(OSError, match="No such file"):
        swap.exchange(tmp_path / "a", tmp_path / "absent")


def test_a_manifest_that_cannot_be_written_touches_nothing(tmp_path):
    touched: list[str] = []
    with calls_watched(lambda name, args: touched.append(name)), pytest.raises(BundleError, match="needs 2"):
        save_small(tmp_path / "support", labels=("one",), descriptions={})
    assert touched == [] and manifest().name == "support"
