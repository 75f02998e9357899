"""Output files are there whole or not at all, and cells come back as they were written."""

from __future__ import annotations

import gzip
import io
import os
import sys

import pytest

from understudy.errors import DataError, UsageError
from understudy.tasks.reading import open_table, open_writer

ROWS = [{"text": '=1+1, "quoted"\nand broken', "n": 1}, {"text": "lone\rreturn", "n": None}, {"text": "é@", "n": 2.5},
        {"text": "", "n": True}]


def write(path, rows=ROWS, columns=("text", "n"), **options):
    with open_writer(path, columns, **options) as out:
        for row in rows:
            out.write(row)
    return out


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_delimited_cells_come_back(tmp_path, name):
    assert write(tmp_path / name).rows == 4
    rows = [row.values for row in open_table(tmp_path / name).rows()]
    assert rows == [{"text": ROWS[0]["text"], "n": "1"}, {"text": "lone\rreturn", "n": ""}, {"text": "é@", "n": "2.5"},
                    {"text": "", "n": "true"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.NDJSON"])
def test_jsonl_values_come_back(tmp_path, name):
    write(tmp_path / name, [*ROWS, {"text": "nan", "n": float("nan")}])
    rows = [row.values for row in open_table(tmp_path / name).rows()]
    assert rows == [*ROWS, {"text": "nan", "n": None}]


def test_packed_output_is_the_same_every_time(tmp_path):
    write(tmp_path / "a.csv.gz")
    write(tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b"text,n\n")


def test_nothing_is_there_until_it_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")
    with open_writer(path, ["text"]) as out:
        out.write({"text": "new"})
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "text\nnew\n" and os.listdir(tmp_path) == ["a.csv"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.csv.gz"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), open_writer(path, ["text"]) as out:
        out.write({"text": "new"})
        raise error
    assert path.read_text(encoding="utf-8") == "old" and os.listdir(tmp_path) == ["a.csv.gz"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.csv").write_text("old", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to("real.csv")
    write(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text(encoding="utf-8").startswith("text,n")


@pytest.mark.parametrize(("name", "message"), [
    ("none/a.csv", "none/a.csv cannot be written: No such file"), ("folder.csv", "folder.csv cannot be written: it is a folder")])
def test_a_file_that_cannot_be_created(tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=message) as caught:
        open_writer(tmp_path / name, ["text"])
    assert caught.value.hint and os.listdir(tmp_path) == ["folder.csv"]


def test_a_full_disk():
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with pytest.raises(DataError, match="/dev/full cannot be written: No space left on device"):
        write("/dev/full", format="csv")


def test_a_full_disk_at_the_end_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"a\.csv cannot be written: No space left"):
        write(tmp_path / "a.csv")
    assert os.listdir(tmp_path) == []


def test_half_a_character_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv cannot be written: .*surrogates not allowed"):
        write(tmp_path / "a.csv", [{"text": "\ud800"}])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("path", "options", "message"), [
    ("a.xlsx", {}, "the suffix of .* names no output format"), ("a.csv", {"format": "xml"}, "'xml' is not known")])
def test_formats_that_are_none(tmp_path, path, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_writer(tmp_path / path, ["text"], **options)
    assert "csv, tsv, jsonl" in caught.value.hint


@pytest.mark.parametrize(("format", "expected"), [(None, "text,n\na,1\n"), ("jsonl", '{"text": "a", "n": 1}\n')])
def test_standard_output(capsysbinary, format, expected):
    with open_writer("-", ["text", "n"], format) as out:
        out.write({"text": "a", "n": 1, "other": "left out"})
        out.flush()
        assert capsysbinary.readouterr().out.decode() == expected
    sys.stdout.write("still open\n")


def test_standard_output_that_is_text_or_closed(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    write("-", [{"text": "é", "n": 1}])
    assert text.getvalue() == "text,n\né,1\n"
    read, write_end = os.pipe()
    os.close(read)
    with open(write_end, "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", write_through=True))
        with pytest.raises(BrokenPipeError):
            write("-")
        sys.stdout.detach()
