"""The manifest: one canonical form, read strictly, every refusal by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_helpers import bundle_files, manifest, rungs
from understudy.bundle.manifest import FileEntry, Manifest, Rung
from understudy.bundle.paths import name_problem
from understudy.errors import BundleError

ENTRIES = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in bundle_files().items()}


def full(**changes) -> Manifest:
    return manifest(files=dict(ENTRIES), **changes)


def canonical(value: object) -> bytes:
    """The form that FORMAT.md describes, written without the code under test."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def sealed(body: dict) -> bytes:
    """The bytes of a changed manifest with the hashes an attacker would put right."""
    body = {key: value for key, value in body.items() if key not in ("seal", "id")}
    told = {key: value for key, value in body.items() if key != "scores"}
    if isinstance(told.get("provenance"), dict):
        told["provenance"] = {key: value for key, value in told["provenance"].items() if key != "measured"}
    if isinstance(told.get("files"), dict):
        told["files"] = {key: value for key, value in told["files"].items() if key not in ("receipt.json", "receipt.html", "README.md")}
    body["id"] = hashlib.sha256(canonical(told)).hexdigest()
    body["seal"] = hashlib.sha256(canonical(body)).hexdigest()
    return canonical(body)


def changed(path: str, value: object) -> bytes:
    body = json.loads(full().to_json())
    *steps, last = path.split("/")
    inner = body
    for step in steps:
        inner = inner[int(step) if isinstance(inner, list) else step]
    inner[int(last) if isinstance(inner, list) else last] = value
    return sealed(body)


def test_round_trip():
    one = full()
    data = one.to_json()
    assert Manifest.from_json(data, "m") == one
    assert data == Manifest.from_json(data, "m").to_json()
    assert data.endswith(b"}\n") and list(json.loads(data)) == sorted(json.loads(data))
    assert sealed(json.loads(data)) == data
    assert isinstance(one.rungs[1].temperature, float) and isinstance(one.rungs[1].mix["tiny"], float)


def test_the_id_leaves_out_what_a_clock_decides_and_nothing_else():
    one = full()
    other_receipt = {**ENTRIES, "receipt.json": FileEntry("0" * 64, 7)}
    same = full(scores={"accuracy": 0.1}, provenance={**one.provenance, "measured": {"seconds": 9.0}}).with_files(other_receipt)
    assert same.id == one.id and same.to_json() != one.to_json()
    for change in ({"labels": ("card", "other"), "descriptions": {}}, {"provenance": {"seed": 1}}, {"name": "else"},
                   {"rungs": (dataclasses.replace(rungs()[0], threshold=0.7), rungs()[1])}):
        assert full(**change).id != one.id, change
    assert one.with_files({**ENTRIES, "tiny/config.json": FileEntry("0" * 64, 7)}).id != one.id


BAD_FIELDS = [
    ("format", -1, "'format' is -1"), ("format", "x", "'format' should be an integer"), ("format", None, "'format' should be an integer and is null"),
    ("format", True, "'format' should be an integer"), ("format", 1.0, "'format' should be an integer"),
    ("kind", "zip", "'kind' is not 'understudy-bundle'"), ("surprise", 1, "'surprise' is not one this format has"),
    ("task", "Classify!", "'task' is 'Classify!'"), ("name", "", "'name' is ''"), ("name", "a\nb", "'name'.*not printable"), ("name", "x" * 201, "'name' is 201 characters"),
    ("name", 7, r"'name' should be text and is an integer \(7\)"), ("version", "one", "'version' is 'one'"),
    ("labels", "card", "'labels' should be a list"), ("labels", ["card"], "needs 2"), ("labels", ["card", "card"], "has 'card' twice"),
    ("labels", ["card", ""], "entry 1 should be text of 1"), ("labels", ["card", 3], "entry 1 should be text"), ("labels", ["card", "x" * 1001], "entry 1"),
    ("labels", ["card", "a\x00"], "entry 1 holds a NUL"), ("descriptions", {"nobody": "x"}, "'nobody', which is not a label"),
    ("descriptions", {"card": 3}, "'card' should have text"), ("descriptions", {"card": "x" * 10_001}, "at most 10000 characters"),
    ("certificate", [], "'certificate' should be an object"), ("provenance", None, "'provenance' should be an object and is null"),
    ("scores", "high", "'scores' should be an object"), ("rungs", [], "'rungs' is empty"), ("rungs", {}, "'rungs' should be a list"),
    ("rungs/0", 7, r"rungs\[0\] should be an object"), ("rungs/0/name", "../x", r"rungs\[0\].*'name' is '../x'"), ("rungs/0/kind", "N-gram", "'kind' is 'N-gram'"),
    ("rungs/0/kind", "__init__", "'kind' is '__init__'"), ("rungs/0/parameters", -1, "'parameters' is -1"), ("rungs/0/parameters", 1.5, "'parameters' should be an integer"),
    ("rungs/0/precision", "", "'precision'"), ("rungs/0/mix", {}, "'mix' is empty"), ("rungs/0/mix", {"tiny": 1.0}, "names 'tiny', which is not this rung"),
    ("rungs/0/mix", {"ngram": "1"}, "'ngram' should be a number"), ("rungs/0/mix", {"ngram": 1e7}, "is 10000000.0, outside"),
    ("rungs/0/temperature", 0.0, "'temperature' is 0.0, outside"), ("rungs/0/temperature", True, "'temperature' should be a number"),
    ("rungs/0/threshold", -0.1, "'threshold' is -0.1"), ("rungs/0/threshold", 3, "'threshold' is 3, outside"), ("rungs/0/max_tokens", 0, "'max_tokens' is 0"),
    ("rungs/0/speed", 1, "'speed' is not one"), ("rungs/1/name", "third", "names 'tiny', which is not this rung or an earlier one"),
    ("rungs/1/path", "NGRAM", "share the folder"), ("rungs/1/path", "ngram/deep", "share the folder"), ("rungs/1/path", "checks.json", "reserved"),
    ("rungs/1/path", "elsewhere", "belongs to no rung"), ("files", [], "'files' should be an object"), ("files/checks.json", {}, "'sha256' is missing"),
    ("files/checks.json/sha256", "AB" * 32, "'sha256' is 'ABAB"), ("files/checks.json/bytes", -1, "'bytes' is -1"),
    ("files/checks.json/bytes", 5 * 1024**3, "'bytes' is 5368709120, outside"), ("files/checks.json/mode", 1, "'mode' is not one"),
    ("files/manifest.json", {"sha256": "0" * 64, "bytes": 1}, "may not list itself"), ("files/tiny/model.py", {"sha256": "0" * 64, "bytes": 1}, "may not be in a bundle"),
    ("files/other.json", {"sha256": "0" * 64, "bytes": 1}, "'other.json' belongs to no rung"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD_FIELDS, ids=[f"{path}={str(value)[:20]!r}" for path, value, _ in BAD_FIELDS])
def test_a_bad_field_is_refused_by_name(path, value, words):
    parts = path.split("/")
    if parts[0] == "files" and len(parts) > 1:
        body = json.loads(full().to_json())
        name = "/".join(parts[1:]) if parts[-1] not in ("sha256", "bytes", "mode") else "/".join(parts[1:-1])
        if name == "/".join(parts[1:]):
            body["files"][name] = value
        else:
            body["files"][name][parts[-1]] = value
        data = sealed(body)
    else:
        data = changed(path, value)
    with pytest.raises(BundleError, match=words):
        Manifest.from_json(data, "m")


@pytest.mark.parametrize("field", [*(one.name for one in dataclasses.fields(Manifest)), "id", "seal"])
def test_a_missing_field_is_refused_by_name(field):
    body = json.loads(full().to_json())
    del body[field]
    with pytest.raises(BundleError, match=field):
        Manifest.from_json(canonical(body), "m")


def test_a_newer_format_is_refused_with_the_version_that_reads_it():
    with pytest.raises(BundleError, match=r"m was written by a newer Understudy \(format 2, this reads 1\)$") as caught:
        Manifest.from_json(canonical({"kind": "understudy-bundle", "format": 2, "version": "3.1.0", "new": [1]}), "m")
    assert caught.value.hint == "this bundle needs Understudy 3.1.0: pip install --upgrade understudy"
    with pytest.raises(BundleError, match="format 9") as caught:
        Manifest.from_json(canonical({"kind": "understudy-bundle", "format": 9, "version": "; rm -rf"}), "m")
    assert "rm -rf" not in str(caught.value.hint) and "newest" in str(caught.value.hint)


HOSTILE_JSON = [
    (b"", "not JSON"), (b"[]", "'kind' is not"), (b"\xef\xbb\xbf{}", "byte order mark"), ("{}".encode("utf-16"), "byte order mark"), (b'{"a": "\xff"}', "not UTF-8: byte 7 is 0xff"),
    (b'{"a": NaN}', "holds NaN"), (b'{"a": -Infinity}', "holds -Infinity"), (b'{"a": 1e999}', "'1e999', which is too large"), (b'{"a": 1, "a": 2}', "the key 'a' twice"),
    (b'{"a": ' + b"9" * 5000 + b"}", "does not fit in 64 bits"), (b'{"a": 9223372036854775808}', "does not fit in 64 bits"), (b"[" * 100_000, "nested too deeply"),
    (b'{"a": "\\ud800"}', "lone surrogate"), (b'{"\\udc00": 1}', "lone surrogate"), (b"{} {}", "not JSON: Extra data"), (b" " * (4 * 1024 * 1024 + 1), "the limit is 4,194,304"),
    (b"\x80\x04K\x01.", "not UTF-8"), (b"PK\x03\x04", "not JSON"), (b"{'a': 1}", "not JSON"), (b'{"a": 01}', "not JSON"),
]


@pytest.mark.parametrize(("data", "words"), HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_is_refused(data, words):
    with pytest.raises(BundleError, match=words):
        Manifest.from_json(data, "m")


def test_content_that_no_longer_fits_its_seal_id_or_form_is_refused():
    data = full().to_json()
    with pytest.raises(BundleError, match="'seal' does not match"):
        Manifest.from_json(data.replace(b'"accuracy": 0.93', b'"accuracy": 0.99'), "m")
    body = json.loads(data)
    body["id"] = "0" * 64
    body["seal"] = hashlib.sha256(canonical({k: v for k, v in body.items() if k != "seal"})).hexdigest()
    with pytest.raises(BundleError, match="'id' is 000000000000"):
        Manifest.from_json(canonical(body), "m")
    for other in (data.rstrip(), data.replace(b"\n ", b"\n  "), json.dumps(json.loads(data)).encode(), data + b"\n"):
        with pytest.raises(BundleError, match="canonical form"):
            Manifest.from_json(other, "m")


@pytest.mark.parametrize(("change", "words"), [
    ({"scores": {"a": float("nan")}}, r"scores.a is nan"), ({"provenance": {"a": {1: 2}}}, "the key 1, which is not text"), ({"scores": {"a": {1, 2}}}, "of type set"),
    ({"scores": {"a": 2**70}}, "does not fit in 64 bits"), ({"name": "\ud800"}, "lone surrogate"), ({"labels": ("a",)}, "needs 2"),
    ({"rungs": ()}, "'rungs' is empty"), ({"rungs": (Rung("a", "ngram", "../x", 1, "int8", {"a": 1.0}),)}, "climbs out"),
])
def test_what_would_be_refused_is_not_written(change, words):
    with pytest.raises(BundleError, match=words):
        full(**change).to_json()


def test_two_rungs_of_one_name_are_refused():
    first = rungs()[0]
    with pytest.raises(BundleError, match="two rungs have the name 'ngram'"):
        full(rungs=(first, dataclasses.replace(first, path="tiny"))).to_json()


def test_deep_provenance_is_refused():
    deep: dict = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(BundleError, match="nested too deeply"):
        full(provenance=deep).to_json()


TRAVERSAL = [
    "../x.json", "a/../../x.json", "..", ".", "", "/etc/passwd", "//x/y.json", "a//b.json", "./a.json", "a/./b.json", "a/", "..\\x.json", "a\\b.json",
    "\\\\host\\share.json", "C:x.json", "C:/x.json", "a:b.json", "file://x.json", "a\x00.json", "%2e%2e/x.json", "%252e%252e/x.json", "a%00.json",
    "..∕x.json", "․․/x.json", "．．/x.json", "a／b.json", "caf\u00e9.json", "cafe\u0301.json", "a\u202egnosj.json", "a\u200b.json", "\ufeffa.json",
    "con.json", "CON", "aux/x.json", "nul.json", "com1.json", "LPT9.txt", "prn.md", "a/Con.json", "CONIN$.json", "clock$.json", "a./b.json", "a.json.", "a.json ", " a.json",
    "a\n.json", "a\t.json", "a\r.json", "~/x.json", "~root.json", "-rf.json", ".hidden.json", ".git/config.json", "a/.ssh/x.json", "$HOME.json", "`id`.json", "a;b.json",
    "a|b.json", "a>b.json", "a*b.json", "a?b.json", 'a"b.json', "a'b.json", "x" * 201 + ".json", "a/" * 100 + "b.json", "a/b/c/d/e/f/g/h/i.json", "y" * 101 + ".json",
    "\x7f.json", "\x1b[31m.json", "a\ud800.json",
]


@pytest.mark.parametrize("name", TRAVERSAL, ids=[ascii(name)[:40] for name in TRAVERSAL])
def test_a_path_that_is_not_plain_is_refused_everywhere(name, tmp_path):
    assert name_problem(name)
    for place in ("files", "rung"):
        body = json.loads(full().to_json())
        if place == "files":
            body["files"][name] = {"sha256": "0" * 64, "bytes": 0}
        else:
            body["rungs"][1]["path"] = name
        data = sealed(body)
        with pytest.raises(BundleError, match="not UTF-8" if "\ud800" in name else "NUL|" + re.escape(ascii(name)[:20])):
            Manifest.from_json(data, "m")


@pytest.mark.parametrize("pair", [("tiny/A.json", "tiny/a.json"), ("tiny/a/b.json", "tiny/A/c.json"), ("tiny/x.json", "tiny/x.json/y.json")])
def test_names_that_clash_are_refused(pair):
    entry = {"sha256": "0" * 64, "bytes": 0}
    body = json.loads(full().to_json())
    body["files"] |= {name: entry for name in pair}
    with pytest.raises(BundleError, match="clashes with"):
        Manifest.from_json(sealed(body), "m")


@pytest.mark.parametrize("suffix", [".py", ".so", ".pkl", ".pt", ".bin", ".joblib", ".npy", ".npz", ".pth", ".sh", ".exe", ".dll", ".onnx.data", ".JSON", ".jinja", ".zip", ".tar", ""])
def test_a_suffix_that_can_carry_code_is_refused(suffix):
    body = json.loads(full().to_json())
    body["files"][f"tiny/model{suffix}"] = {"sha256": "0" * 64, "bytes": 0}
    with pytest.raises(BundleError, match=r"model.*may not be in a bundle"):
        Manifest.from_json(sealed(body), "m")


def test_too_many_files_are_refused():
    body = json.loads(full().to_json())
    body["files"] |= {f"tiny/{n}.json": {"sha256": "0" * 64, "bytes": 0} for n in range(10_001)}
    with pytest.raises(BundleError, match="'files' has 10009 keys"):
        Manifest.from_json(sealed(body), "m")


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8),
       st.sampled_from(["format", "kind", "task", "name", "version", "labels", "descriptions", "rungs", "certificate", "files", "rungs/0", "rungs/0/mix", "rungs/0/path", "rungs/0/threshold"]))
def test_only_a_bundle_error_ever(value, field):
    try:
        Manifest.from_json(changed(field, value), "m")
    except BundleError as error:
        assert str(error)
