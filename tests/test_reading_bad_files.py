"""Each bad file gets one clear error that names file, line and what to do, or a counted skip."""

from __future__ import annotations

import gzip
import os
import time

import pytest

from understudy.errors import DataError, UnderstudyError, UsageError
from understudy.tasks.reading import examples, open_table, read_examples, read_label_map, source

H = "text,label\n"
ZIP = b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00[Content_Types].xml"
GOLDEN = [
    ("a.csv", "", "a.csv is empty", "right file"),
    ("a.csv", " \n\n", "a.csv is empty: there is nothing but white space", "right file"),
    ("a.csv", "\x00\n", "the header contains a NUL character", "damaged"),
    ("a.csv", H, "a.csv has no rows below its header", "cut off"),
    ("a.jsonl", "\n", "is empty", None),
    ("a.json", "[]", "a.json has no rows", None),
    ("a.csv", H + "a,b\nc\n", "a.csv, line 3: 1 cell where the header has 2", "on-bad-row skip"),
    ("a.csv", H + "a,b\n\nc,d,e\n", "line 4: 3 cells where the header has 2", "needs quotes around it"),
    ("a.csv", H + "a,b\nc\0,d\n", "line 3: the row contains a NUL character", r"in another encoding (--encoding)? Or skip and count such rows: --on-bad-row skip"),
    ("a.csv", H + ",x\n", "line 2: the text is empty", None),
    ("a.csv", H + "a,  \n", "line 2: the label is empty", None),
    ("a.csv", H + 'a,b\n"open,c\nd,e\n', "line 3: a quote opened in the row that starts here is never closed", "close the quote"),
    ("a.csv", H + 'a,b\n"open,c\n' + "d,e\n" * 200 + '",f\n', "line 3: .* is not closed: it runs over 202 lines", "close the quote"),
    ("a.csv", H + 'a,b\n"open,c\n' + "d,e\n" * 30_000, "line 3: .* is not closed: it runs over 20,001 lines", "close the quote"),
    ("a.csv", H + 'a,b\n"x"y,c\n', "line 3: text follows the closing quote", "double the quotes"),
    ("a.csv", '"text,label\na,b\n', "line 1: the header cannot be read", "double the quotes"),
    ("a.csv", H + "x" * 1_000_001 + ",a\n", "line 2: a cell of 1,000,001 characters; the limit is 1,000,000", None),
    ("a.csv", H + "x" * 10_000_000 + ",a\n", "line 2: a line of more than 8,000,000 bytes", "--on-bad-row skip"),
    ("a.csv", "x" * 300_000, "line 1: the first line, which names the columns, is longer than", "right kind of file"),
    ("a.csv", ",".join(f"c{n}" for n in range(10_001)) + "\n", "10,001 columns; the limit is 10,000", "right kind of file"),
    ("a.csv", (H + "çéà,a\n").encode() + b"caf\xe9,b\n", "line 3: byte 0xe9 at offset 23 is not UTF-8", "--encoding cp1252"),
    ("a.csv", "text,label\né,a\n".encode("utf-16") + b"\x00", "is not utf-16", "--encoding"),
    ("a.jsonl", '{"text": "a", "label": "x"} {"text": "b"}', "line 1: more than one JSON value on the line", "line of its own"),
    ("a.jsonl", '{"text": "a", "label": "x"},\n', "line 1: a comma follows the object", "without commas"),
    ("a.jsonl", '{"text": "a", "label": "x",}\n', "line 1: a comma stands before a closing bracket", "remove the comma"),
    ("a.jsonl", "{'text': 'a'}\n", "line 1: .* not single ones", None),
    ("a.jsonl", '{"text": "\\ud800", "label": "x"}', "line 1: a cell contains half of a surrogate pair", None),
    ("a.jsonl", '{"text": "\\u0000", "label": "x"}', "line 1: a cell contains a NUL character", None),
    ("a.jsonl", '{"text": "a", "label": ["x", "y"]}', "line 1: the label is a list of 2; several labels", "one label per text"),
    ("a.jsonl", '{"text": {"a": 1}, "label": "x"}', "line 1: the text is an object, not a string", None),
    ("a.jsonl", '{"text": "a", "label": NaN}', "line 1: the label is empty", None),
    ("a.jsonl", '{"text": "a", "label": null}', "line 1: the label is empty", None),
    ("a.csv", H + "a,b\nc,NaN\n", "line 3: the label is 'NaN', which other programs write where there is none", "a name"),
    ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: an integer of 5,000 digits", None),
    ("a.jsonl", '{"text": "a", "text": "b", "label": "x"}', "line 1: the key 'text' stands twice", "keep one"),
    ("a.jsonl", '{"text":' * 100_000, "line 1: the JSON is nested too deeply", "flat rows"),
    ("a.jsonl", '{"text": "a", "label": "x"}\n[1]\n', "line 2: the row is an array, not an object", "write flat rows like"),
    ("a.json", "[" * 100_000, "line 1: the JSON is nested too deeply", "flat rows"),
    ("a.json", '{"a":' * 100_000, "line 1: the JSON is nested too deeply", "flat rows"),
    ("a.json", '[{"text": "a", "label": "x"},\n{"text": "b", "label": "y"},\n]', "line 3: a comma stands before", "remove the comma"),
    ("a.json", '[{"text": "a", "label": "x"}\n{"text": "b"}]', "line 2: a comma is missing between", "JSONL"),
    ("a.json", '[{"text": "a", "label": "x"},\n', "line 2: the file ends before the JSON array is closed", "cut off"),
    ("a.json", '[{"text": "a"}] x', "line 1: something follows the end of the JSON document", "JSONL"),
    ("a.json", '{"data": [{"text": "a", "label": "x"}]', "the JSON object around the rows is not closed", "cut off"),
    ("a.json", '{"text": ["a", "b"], "label": ["x"]}', "different lengths: 'text' 2, 'label' 1", "every row"),
    ("a.json", '{"config": 1}\n{', "line 2: not valid JSON", "JSON library"),
    ("a.json", '{"meta": {"a": 1},\n"b": 2}', "an object with the keys 'meta', 'b', not rows", '"data"'),
    ("a.json", '"just a string"', "the JSON is one value, not rows", None),
    ("a.json", '[{"text": "a", "label": ' + "9" * 5000 + "}]", "line 1: an integer of 5,000 digits", None),
    ("a.txt", "__label__x __label__y hello\n", "line 1: 2 labels; several labels per text", "one label per text"),
    ("a.txt", "__label__x hello\nbye\n", "line 2: the label is empty", None),
    ("a.txt", "hello\n", "is plain text, one text per line, and has no labels", "__label__"),
    ("a.xlsx", ZIP, r"a spreadsheet or Office file \(xlsx\), not a table of texts", "save the sheet as CSV"),
    ("a.csv", b"PK\x03\x04\x14\x00data.csv", "a.csv is a zip archive", "unpack it"),
    ("a.csv", b"%PDF-1.7 x", "a.csv is a PDF", "export"),
    ("a.csv", b"<!DOCTYPE html><html>", "is a web page", "download it again"),
    ("a.csv", b"\x80\x04\x95\x10.", "is a Python pickle, which is never opened", "CSV"),
    ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", "git lfs pull"),
    ("a.gz", gzip.compress(gzip.compress(b"x")), "gzip inside gzip", "unpack it once"),
    ("a.csv.gz", gzip.compress((H + "some text,b\n" * 9000).encode())[:-30], "damaged or cut off", "gzip -t"),
    ("a.csv.gz", gzip.compress(H.encode()) + b"tail", "damaged or cut off", "gzip -t"),
    ("a.parquet", b"PAR1 nothing behind it", "cannot be read as Parquet", "write it again"),
    ("a.parquet", b"text,label", "named like a Parquet file but is none", "rename"),
]


def put(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(("name", "content", "message", "hint"), GOLDEN, ids=[case[2][:45] for case in GOLDEN])
def test_diagnostics(tmp_path, name, content, message, hint):
    path = put(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_examples(path)
    assert name in str(caught.value) and caught.value.hint and len(str(caught.value)) < 500
    assert hint is None or hint in caught.value.hint


SKIPS = [
    ("a.csv", H + "a,b\nc\nd,e,f\n,x\ny,\nn\0,x\ng,h\n", 2, [3, 4, 5, 6, 7]),
    ("a.csv", H + 'a,b\n"open,c\nd,e\nf,g\n', 3, [3]),
    ("a.csv", H + 'a,b\n"open,c\n' + "d,e\n" * 300 + 'x","y\n', 301, [3, 304]),
    ("a.csv", H + "a,b\n" + "x" * 9_000_000 + ",c\nd,e\n", 2, [3]),
    ("a.csv", H + "a,b\n" + "x" * 1_500_000 + ",c\nd,e\n", 2, [3]),
    ("a.csv", (H + "çéà,a\n").encode() + b"caf\xe9,b\nd,e\n", 2, [3]),
    ("a.jsonl", '{"text": "a", "label": "x"}\n{oops\n\n[]\n{"text": "b", "label": NaN}\n{"text": "c", "label": "y"}', 2, [2, 4, 5]),
    ("a.json", '[{"text": "a", "label": "x"},\n3,\n{"label": "y"}]', 1, [2, 3]),
    ("a.ft", "__label__x a\nb\n__label__x __label__y c\n", 1, [2, 3]),
    ("a.json", '{"text": ["a", "", "c"], "label": ["x", "y", ["z"]]}', 1, [2, 3]),
]


@pytest.mark.parametrize(("name", "content", "kept", "lines"), SKIPS)
def test_rows_read_and_rows_skipped_are_all_rows(tmp_path, name, content, kept, lines):
    found = read_examples(put(tmp_path, name, content), on_bad_row="skip")
    report = found.report
    assert (len(found.examples), report.rows, report.skipped_count) == (kept, kept, len(lines))
    assert [line for line, _ in report.skipped] == lines
    said = "\n".join(report.lines())
    assert f"skipped {len(lines)} row" in said and f"{report.unit} {lines[0]}: {report.skipped[0][1]}" in said


def test_reasons_are_capped_but_all_rows_counted(tmp_path):
    report = read_examples(put(tmp_path, "a.csv", H + "a,b\n" + "c\n" * 500), on_bad_row="skip").report
    assert report.skipped_count == 500 and len(report.skipped) == 20
    assert "  … and 495 more" in report.lines()


def test_a_file_of_bad_rows_is_an_error_under_either_policy(tmp_path):
    with pytest.raises(DataError, match=r"none of its 2 rows can be used; the first, line 2: 1 cell"):
        read_examples(put(tmp_path, "a.csv", H + "a\nb\n"), on_bad_row="skip")


def test_gzip_bomb(tmp_path, monkeypatch):
    path = put(tmp_path, "a.csv.gz", gzip.compress(H.encode() + b"aaaaaaa,b\n" * 2_500_000))
    with pytest.raises(DataError, match="expands to more than 200 times its size") as caught:
        read_examples(path)
    assert "unpack it first" in caught.value.hint
    monkeypatch.setattr(source, "MAX_EXPANDED", 1_000_000)
    with pytest.raises(DataError, match="expands beyond 1,000,000 bytes"):
        read_examples(path)


def test_small_honest_repetition_is_no_bomb(tmp_path):
    path = put(tmp_path, "a.csv.gz", gzip.compress(H.encode() + b"aaaaaaa,b\n" * 100_000))
    assert read_examples(path).report.rows == 100_000


def test_what_is_no_ordinary_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for path, message in [(tmp_path, "is a folder"), (tmp_path / "pipe.csv", "is a named pipe, not an ordinary file"),
                          ("/dev/null", "is a device"), (tmp_path / "loop.csv", "cannot be opened: .*symbolic links")]:
        with pytest.raises(DataError, match=message) as caught:
            open_table(path)
        assert caught.value.hint


def test_a_path_that_is_not_there(tmp_path):
    put(tmp_path, "tickets.csv", H)
    with pytest.raises(UsageError, match=r"there is no file .*ticket\.csv") as caught:
        open_table(tmp_path / "ticket.csv")
    assert caught.value.hint == "did you mean 'tickets.csv'?"
    with pytest.raises(UsageError, match="there is no file"):
        open_table(tmp_path / "none" / "a.csv")
    with pytest.raises(UsageError, match="not a possible file name"):
        open_table("a\0b")


@pytest.mark.parametrize("named", ["nope", "base64", "idna", "unicode_escape", "a\0b"])
def test_encodings_that_are_none(tmp_path, named):
    with pytest.raises(UsageError, match=r"there is no encoding|is not a text encoding"):
        open_table(put(tmp_path, "a.csv", H + "a,b\n"), encoding=named)


def test_a_wrong_encoding_names_byte_and_line(tmp_path):
    path = put(tmp_path, "a.csv", (H + "a,b\n" * 40_000 + "café,b\n").encode("cp1252"))
    with pytest.raises(DataError, match="line 40002: byte 0xe9 at offset 160,014 is not utf-8"):
        read_examples(path, encoding="utf8")


def test_a_policy_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="on_bad_row is 'ignore'; it must be one of fail, skip"):
        open_table(put(tmp_path, "a.csv", H), on_bad_row="ignore")


def test_a_file_that_changes_meanwhile(tmp_path):
    path = put(tmp_path, "a.csv", H + "a,b\nc,d\n")
    rows = open_table(path).rows()
    next(rows)
    put(tmp_path, "a.csv", H + "a,b\nc,d\ne,f\n")
    with pytest.raises(DataError, match="was changed while it was being read"):
        list(rows)
    rows = open_table(path).rows()
    next(rows)
    path.unlink()
    with pytest.raises(DataError, match="vanished while it was being read"):
        list(rows)


def test_more_text_than_memory_may_hold(tmp_path, monkeypatch):
    path = put(tmp_path, "a.csv", H + "some text,b\n" * 50)
    monkeypatch.setattr(examples, "MUCH_TEXT", 100)
    assert any("450 characters of text are held in memory" in note for note in read_examples(path).report.notes)
    monkeypatch.setattr(examples, "MAX_TEXT", 100)
    with pytest.raises(DataError, match="holds about 458 characters of text; all of it is held in memory, and there is room for 100 here") as caught:
        read_examples(path)
    assert "a random part of the rows" in caught.value.hint
    # Just over the limit the guess from the first rows may err: the rows themselves decide.
    monkeypatch.undo()
    with pytest.raises(DataError, match="holds more than 300 characters of text"):
        read_examples(path, most=300)
    assert len(read_examples(path, most=450).examples) == 50


def test_a_huge_file_is_refused_by_its_size_and_first_rows(tmp_path):
    path = put(tmp_path, "a.csv", "id,text,note,label\n" + "1,some text,much longer than the text itself,b\n" * 300)
    with path.open("r+b") as file:
        file.truncate(5_000_000_000)  # a hole on the disk; reading it would take a minute
    began = time.monotonic()
    with pytest.raises(DataError, match=r"a.csv holds about 9\d\d,\d\d\d,\d\d\d characters of text; .* room for 100,000,000 here"):
        read_examples(path, most=100_000_000, encoding="utf-8")
    assert time.monotonic() - began < 2


def test_parquet_rows_are_checked_too(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    columns = {"text": ["a", "b\0", None, "d"], "label": [1.0, 2.0, 1.0, float("nan")]}
    parquet.write_table(pyarrow.table(columns), path)
    report = read_examples(path, on_bad_row="skip")
    assert [(row.text, row.label) for row in report.examples] == [("a", "1")]
    assert [line for line, _ in report.report.skipped] == [2, 3, 4]
    with pytest.raises(DataError, match=r"a\.parquet, row 2: a cell contains a NUL character"):
        read_examples(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_examples(path)


def test_label_map(tmp_path):
    path = put(tmp_path, "labels.json", '{"labels": {"card": "about cards", "fee": "about fees"}}')
    assert read_label_map(path) == {"card": "about cards", "fee": "about fees"}
    assert read_label_map(put(tmp_path, "labels.json", '\ufeff{"card": "x"}')) == {"card": "x"}


@pytest.mark.parametrize(("content", "message"), [
    ("[1]", "holds no label map"), ("{}", "holds no label map"), ('{"a": 1}', "the description of the label 'a' is not a string"),
    ('{"a": "x",\n}', "line 2: not valid JSON"), ('{"a": "x", "a": "y"}', "the key 'a' stands twice"), ('{" ": "x"}', "a label is empty"),
    ('{"\\ud800": "x"}', r"the label '\\ud800': a cell contains half"), ("[" * 100_000, "nested too deeply"),
    ('{"a": "' + "x" * 300_000 + '"}', "too long for a label map")])
def test_label_maps_that_are_none(tmp_path, content, message):
    with pytest.raises(UnderstudyError, match=message) as caught:
        read_label_map(put(tmp_path, "labels.json", content))
    assert "labels.json" in str(caught.value)
