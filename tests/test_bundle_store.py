"""A bundle on disk: round trip, every tampering refused by the file's name and the reason, nothing but BundleError."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bundle_helpers import CONFIG, ONNX, TOKENIZER, WEIGHTS, bundle_files, manifest, save
from understudy.bundle import check_target, open_bundle, verify, write_bundle
from understudy.bundle.content import check_content
from understudy.errors import BundleError, UsageError


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """What is synced when is the crash test's question."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tmp_path / "support")
    return tmp_path / "support"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(folder: Path, *words: str) -> None:
    """Refused in under a second by every way in, in words that say which file and why."""
    start = time.process_time()
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert time.process_time() - start < 1
    listed = verify(folder)
    problems = "\n".join([str(caught.value), *listed])
    assert listed and all(word in problems for word in words), problems


def test_round_trip(tmp_path):
    written = save(tmp_path / "out" / "support")
    bundle = open_bundle(str(tmp_path / "out" / "support"))
    assert bundle.manifest == written and bundle.path == tmp_path / "out" / "support"
    assert bundle.files() == tuple(sorted(bundle_files()))
    assert {name: bundle.read(name) for name in bundle.files()} == bundle_files()
    assert verify(bundle.path) == []
    assert names(tmp_path) == sorted(f"out/support/{name}" for name in [*bundle_files(), "manifest.json"])


def test_the_same_content_makes_the_same_bytes_and_files_may_be_copied_from_disk(tmp_path):
    source = tmp_path / "weights.tmp"
    source.write_bytes(bundle_files()[WEIGHTS])
    save(tmp_path / "a")
    write_bundle(tmp_path / "b", {**bundle_files(), WEIGHTS: source}, manifest())
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_replacing_leaves_nothing_behind(tmp_path):
    save(tmp_path / "support", 0.25, name="old")
    save(tmp_path / "support", 0.75, name="new")
    assert open_bundle(tmp_path / "support").manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["support"]


def test_what_may_not_be_replaced(tmp_path, folder):
    with pytest.raises(BundleError, match=r"support is there already$") as caught:
        write_bundle(folder, bundle_files(), manifest(), overwrite=False)
    assert caught.value.hint
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"notes is there already and is not a bundle: it holds 'thesis.txt'"):
        save(tmp_path / "notes")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="file is there already and is not a folder"):
        save(tmp_path / "file")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(BundleError, match="link is a symbolic link, which is not replaced"):
        save(tmp_path / "link")
    (folder / "mine.txt").write_text("x")
    with pytest.raises(BundleError, match=r"also holds 'mine.txt', which would be lost"):
        check_target(folder)
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "years of work" and (folder / "mine.txt").exists()
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty", 0.5)
    check_target(tmp_path / "absent")
    assert verify(tmp_path / "empty") == []


def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path, monkeypatch):
    real = os.mkdir

    def mkdir(path, *rest, **more):
        if Path(path).is_relative_to(tmp_path / "disk"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, *rest, **more)

    (tmp_path / "disk").mkdir()
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(os, "mkdir", mkdir)
    for target, message, hint in [(tmp_path / "disk/a/b", r"cannot write .*disk/a/b: read-only file system \(EROFS\)", "another disk"),
                                  (tmp_path / "file/x", r"file/x cannot be looked at: not a directory \(ENOTDIR\)", "a part of the path is a file"),
                                  (tmp_path / ("n" * 300), r"n cannot be looked at: file name too long \(ENAMETOOLONG\)", "a shorter folder"),
                                  (tmp_path / " ", "a bundle cannot be called ' '", "another folder")]:
        with pytest.raises(BundleError, match=message) as caught:
            check_target(target)
        assert hint in caught.value.hint
    check_target(tmp_path / "new/deep/folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "file"] and not list((tmp_path / "disk").iterdir())


def test_a_broken_or_newer_bundle_may_be_replaced(folder):
    (folder / ONNX).write_bytes(b"broken")
    save(folder)
    body = json.loads((folder / "manifest.json").read_text()) | {"format": 7}
    (folder / "manifest.json").write_text(json.dumps(body))
    save(folder)
    assert verify(folder) == []


def test_what_would_be_refused_on_arrival_is_not_written(tmp_path):
    bad = [({ONNX: b"PK\x03\x04"}, f"support/{ONNX} is a zip archive"), ({"tiny/run.py": b"x"}, "'tiny/run.py' is of a kind"), ({"../x.json": b"{}"}, "climbs out"),
           ({"/x.json": b"{}"}, "absolute"), ({"manifest.json": b"{}"}, "may not list itself"), ({WEIGHTS: tmp_path / "absent"}, "absent, which should become .* no such file"),
           ({WEIGHTS: tmp_path}, "is not a regular file"), ({CONFIG: b'{"auto_map": {"A": "x.Y"}}'}, "'auto_map', which asks a reader to run code")]
    for change, words in bad:
        with pytest.raises(BundleError, match=words):
            write_bundle(tmp_path / "support", {**bundle_files(), **change}, manifest())
        assert list(tmp_path.iterdir()) == []


def test_not_a_bundle(tmp_path, folder):
    for path, words in ((tmp_path / "absent", "there is no bundle at"), (tmp_path, "is not a bundle: it has no manifest.json"), (folder / CONFIG, "is not a folder"),
                        (f"{tmp_path}/a\x00b", "NUL"), ("\ud800", "lone surrogate"), ("x" * 5000, "name too long")):
        with pytest.raises(BundleError, match=words):
            open_bundle(path)
        assert len(verify(path)) == 1
    with pytest.raises(UsageError, match="verify is 'maybe'"):
        open_bundle(folder, verify="maybe")
    with pytest.raises(BundleError, match=r"'tiny/else.json' is not in the manifest"):
        open_bundle(folder).read("tiny/else.json")
    with pytest.raises(BundleError, match="is not in the manifest"):
        open_bundle(folder).read("../../etc/passwd")


EVERY_FILE = [*sorted(bundle_files()), "manifest.json"]


@pytest.mark.parametrize("name", EVERY_FILE)
def test_truncations_and_bit_flips_are_all_refused_by_name(name, folder):
    path, chance = folder / name, random.Random(name)
    whole = path.read_bytes()
    opened = None if name == "manifest.json" else open_bundle(folder, verify="sizes")
    cases = [whole[:length] for length in {0, 1, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(12))}]
    for _ in range(32):
        at, flipped = chance.randrange(len(whole)), bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(8)
        cases.append(bytes(flipped))
    for broken in cases:
        path.write_bytes(broken)
        refused(folder, name)
        if opened:
            with pytest.raises(BundleError, match=rf"{name} (is \d+ bytes and the manifest says|does not have the hash)"):
                opened.read(name)
    path.write_bytes(whole)
    assert verify(folder) == [] and len(cases) >= 35


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    refused(folder, name, "has no manifest.json" if name == "manifest.json" else "is in the manifest and is missing")
    if name != "manifest.json":
        with pytest.raises(BundleError, match=f"{name} is in the manifest and is missing"):
            open_bundle(folder, verify="sizes")


@pytest.mark.parametrize("name", ["x.py", "x.so", "x.pkl", "__init__.py", "conftest.py", "tiny/extra.json", "extra.json", ".hidden", "tiny/.cache", "ngram/deep/x.json",
                                  "a b.json", "caf\u00e9.txt", "tiny/model.onnx.data", "x\n.json"])
def test_an_extra_file_is_refused_not_ignored(name, folder):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"{}")
    refused(folder, name if name.isascii() and name.isprintable() else ascii(name), "not in the manifest")
    with pytest.raises(BundleError, match="not in the manifest"):
        open_bundle(folder, verify="sizes")


def test_an_extra_folder_is_refused(folder):
    (folder / "tiny" / "empty").mkdir()
    refused(folder, "tiny/empty", "is a folder that the manifest does not list")


def test_files_of_another_bundle_are_refused(tmp_path, folder):
    save(tmp_path / "other", 0.125)
    ours, theirs = (folder / WEIGHTS).read_bytes(), (tmp_path / "other" / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(theirs)
    refused(folder, WEIGHTS, "does not have the hash")
    (folder / WEIGHTS).write_bytes(ours)
    (folder / "manifest.json").write_bytes((tmp_path / "other" / "manifest.json").read_bytes())
    refused(folder, WEIGHTS, "does not have the hash")


@pytest.mark.parametrize("name", EVERY_FILE)
def test_links_pipes_and_folders_in_the_place_of_a_file_are_refused(name, tmp_path, folder):
    path, outside = folder / name, tmp_path / "outside"
    whole = path.read_bytes()

    def put(make) -> None:
        path.unlink()
        make()

    outside.write_bytes(whole)
    put(lambda: path.symlink_to(outside))
    refused(folder, name, "symbolic link")
    put(lambda: os.link(outside, path))
    refused(folder, name, "has 2 hard links")
    put(lambda: os.mkfifo(path))
    refused(folder, name, "is not a regular file")
    put(path.mkdir)
    refused(folder, name)
    path.rmdir()
    with socket.socket(socket.AF_UNIX) as one, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        one.bind(path.name)
    refused(folder, name)
    assert outside.read_bytes() == whole


def test_a_linked_folder_inside_is_refused_and_a_linked_bundle_is_not(tmp_path, folder):
    (folder / "tiny").rename(tmp_path / "tiny")
    opened = open_bundle_before(tmp_path)
    (folder / "tiny").symlink_to(tmp_path / "tiny")
    refused(folder, "tiny", "symbolic link")
    with pytest.raises(BundleError, match="symbolic link"):
        opened(folder).read(ONNX)
    (folder / "tiny").unlink()
    (tmp_path / "tiny").rename(folder / "tiny")
    (tmp_path / "current").symlink_to(folder)
    assert open_bundle(tmp_path / "current").read(CONFIG)


def open_bundle_before(tmp_path):
    """A bundle opened while its folder was whole, to be read after that changed."""
    from understudy.bundle import Bundle
    from understudy.bundle.reader import read_manifest

    return lambda folder: Bundle(folder, read_manifest(folder))


def test_an_oversized_manifest_is_refused_before_it_is_read(folder):
    os.truncate(folder / "manifest.json", 5 * 1024**3)
    refused(folder, "manifest.json is 5,368,709,120 bytes (the limit is 4,194,304)")


def test_a_million_files_are_not_walked(folder, monkeypatch):
    monkeypatch.setattr("understudy.bundle.reader.MAX_FILES", 4)
    refused(folder, "more than 8 files and folders")


def test_no_unverified_byte_is_ever_handed_out(folder):
    bundle, good = open_bundle(folder), bundle_files()[WEIGHTS]
    path, evil = folder / WEIGHTS, bytearray(good)
    evil[-1] ^= 1
    stop, swaps = threading.Event(), 0

    def race() -> None:
        nonlocal swaps
        while not stop.is_set() or swaps < 1000:
            for content in (evil, good):
                (folder.parent / "swap").write_bytes(content)
                os.replace(folder.parent / "swap", path)
                swaps += 1

    thread = threading.Thread(target=race)
    thread.start()
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1000):
        try:
            assert bundle.read(WEIGHTS) == good
            outcomes["read"] += 1
        except BundleError:
            outcomes["refused"] += 1
    stop.set()
    thread.join()
    assert swaps >= 1000 and min(outcomes.values()) > 0, outcomes


def test_readers_see_whole_bundles_while_it_is_replaced(tmp_path):
    save(tmp_path / "support")
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                open_bundle(tmp_path / "support")
            except BundleError as error:
                failures.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    for step in range(8):
        save(tmp_path / "support", step / 8)
        time.sleep(0.01)
    done.set()
    thread.join()
    assert failures == []


def test_many_writers_leave_one_whole_bundle(tmp_path):
    errors: list[Exception] = []

    def write(fill: float) -> None:
        try:
            for _ in range(5):
                save(tmp_path / "support", fill)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(fill / 8,)) for fill in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and verify(tmp_path / "support") == []
    save(tmp_path / "support")
    assert [path.name for path in tmp_path.iterdir()] == ["support"]


CONTENT = [
    ("a.onnx", b"\x80\x04\x95K\x01.", "is a Python pickle"), ("a.onnx", b"<!DOCTYPE html>", "HTML"), ("a.onnx", b"PK\x03\x04", "zip"), ("a.onnx", b"", "is empty"),
    ("a.json", b"\xef\xbb\xbf{}", "byte order mark"), ("a.json", b"PK\x03\x04", "not JSON"), ("tokenizer_config.json", b'{"chat_template": "{{ x }}"}', "'chat_template'"),
    ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}}', "'auto_map'"), ("a.gguf", b"PK\x03\x04", "is not a GGUF file"), ("a.txt", b"\x80\x04K\x01.", "not UTF-8 text"),
    ("a.md", b"PK\x03\x04", "zip archive, not text"), ("a.html", b"a\x00b", "NUL byte"), ("a.txt", b"\x1f\x8bx", "gzip archive"), ("a.safetensors", b"PK\x03\x04", "too short"),
    ("a.safetensors", b"\xff" * 16, "declares a header of"), ("a.safetensors", b"\x02" + b"\0" * 7 + b"[]", "does not start with '{'"),
]


def packed(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: object, start: object, stop: object, dtype: object = "U8") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


CONTENT += [("a.safetensors", data, words) for data, words in [
    (packed({"w": entry([4], 0, 4)}, b"1234PK\x03\x04"), "take 4 bytes and the file has 8"), (packed({"w": entry([4], 2, 6)}, b"123456"), "hole or overlap"),
    (packed({"w": entry([4], 0, 4), "v": entry([4], 2, 6)}, b"123456"), "hole or overlap"), (packed({"w": entry([5], 0, 4)}, b"1234"), "declares 5 bytes and spans 4"),
    (packed({"w": entry([2**62, 2**62], 0, 4)}, b"1234"), "declares"), (packed({"w": entry([-4], 0, 4)}, b"1234"), "not lists of sizes"), (packed({"w": entry([True], 0, 1)}, b"1"), "not lists of sizes"),
    (packed({"w": entry([4], 0, 4, "PYOBJ")}, b"1234"), "unknown dtype 'PYOBJ'"), (packed({"w": 3}), "should have dtype"), (packed({"__metadata__": {"a": 1}}), "should map text to text"),
]]


@pytest.mark.parametrize(("name", "data", "words"), CONTENT, ids=range(len(CONTENT)))
def test_content_that_is_not_what_its_suffix_says(name, data, words):
    with pytest.raises(BundleError, match=words):
        check_content(name, data, f"b/{name}")


def test_content_that_is():
    for name, data in bundle_files().items():
        check_content(name, data, name)
    check_content("empty.safetensors", packed({"__metadata__": {"a": "b"}, "n": entry([0, 4], 0, 0)}), "e")


HOSTILE_SAVES = [{ONNX: data} for name, data, _ in CONTENT if name == "a.onnx"] + [{WEIGHTS: data} for name, data, _ in CONTENT if name == "a.safetensors"] + [
    {CONFIG: b'{"auto_map": {"A": "os.system"}}'}, {TOKENIZER: b'{"model": {"type": "Evil"}}'}, {"README.md": b"\x80\x04K\x01."}]


def test_opening_hostile_bundles_runs_nothing_and_looks_nowhere_else(tmp_path, monkeypatch):
    import understudy.bundle.store as store

    monkeypatch.setattr(store, "open_bundle", lambda path, verify: None)
    for index, change in enumerate(HOSTILE_SAVES):
        write_bundle(tmp_path / f"b{index}", {**bundle_files(), **change}, manifest())
    code = """
import sys
from pathlib import Path
from understudy.bundle import open_bundle, verify
from understudy.errors import BundleError
root, seen = sys.argv[1], []
verify(root + "/b0")
def hook(event, args):
    name = str(args[0]) if args else ""
    if event in ("exec", "compile", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "ctypes.dlopen") or event.startswith("socket."):
        seen.append((event, name))
    if event == "open" and isinstance(args[0], str) and args[0].startswith("/") and not args[0].startswith(root):
        seen.append((event, name))
sys.addaudithook(hook)
refused = 0
for folder in sorted(Path(root).iterdir()):
    try:
        open_bundle(folder)
    except BundleError:
        refused += 1
found = list(seen)
open("/dev/null").close()
exec(compile("1", "planted", "exec"))
print(refused, found, len(seen) - len(found))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == f"{len(HOSTILE_SAVES)} [] 3" and len(HOSTILE_SAVES) >= 17


def test_the_door_is_light_and_knows_no_runtime():
    code = ("import sys, understudy.bundle; heavy = {'torch', 'onnxruntime', 'onnx', 'tokenizers', 'transformers', 'numpy', 'safetensors', 'pickle'} & set(sys.modules); "
            "print(sorted(heavy), sorted(name for name in sys.modules if name.startswith('understudy.') and name.split('.')[1] not in ('bundle', 'errors', 'tasks', '_version')))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] []"
