"""Random tables come back as they were written, and no bytes whatever raise anything but our own errors."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.errors import UnderstudyError
from understudy.tasks.reading import clean, open_writer, read_examples, split

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(CHARACTERS, min_size=1, max_size=40).filter(lambda text: text.strip())
LABELS = st.text(CHARACTERS, min_size=1, max_size=10).map(str.strip).filter(lambda label: label and label.casefold() != "nan")
TABLES = st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=12)


@QUICK
@given(rows=TABLES, name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"]))
def test_what_is_written_is_read(tmp_path, rows, name):
    with open_writer(tmp_path / name, ["text", "label"]) as out:
        for text, label in rows:
            out.write({"text": text, "label": label})
    found = read_examples(tmp_path / name)
    assert [(example.text, example.label) for example in found.examples] == rows
    assert found.report.skipped_count == 0


@QUICK
@given(rows=TABLES, mark=st.sampled_from(",;\t|"), codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
       quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), end=st.sampled_from(["\n", "\r\n"]))
def test_what_other_programs_write_is_read(tmp_path, rows, mark, codec, quoting, end):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "label"), *rows])
    (tmp_path / "a.csv").write_bytes(out.getvalue().encode(codec))
    assert [(e.text, e.label) for e in read_examples(tmp_path / "a.csv").examples] == rows


@QUICK
@given(rows=TABLES, indent=st.sampled_from([None, 1]), escape=st.booleans(), shape=st.sampled_from(["rows", "data", "columns"]))
def test_json_of_every_shape_is_read(tmp_path, rows, indent, escape, shape):
    value = [{"text": text, "label": label} for text, label in rows]
    if shape == "columns":
        value = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    document = json.dumps({"data": value} if shape == "data" else value, indent=indent, ensure_ascii=escape)
    (tmp_path / "a.json").write_text(document, encoding="utf-8", newline="")
    assert [(e.text, e.label) for e in read_examples(tmp_path / "a.json").examples] == rows


SCRAPS = st.sampled_from([
    b'"', b",", b"\n", b"\r\n", b"\r", b"text", b"label", b";", b"\t", b"{", b"}", b"[", b"]", b'"text":', b'"label":', b"\0",
    b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xff\xfe", b"\\ud800", b"NaN", b"1e999", b"__label__a ", b"hello", b" ", b"9" * 50,
    b"PAR1", b"\x1f\x8b\x08", b'"data":[', b"null", "€".encode(), "\u2028".encode(), b":", b"\x93", b"text,label\n"])
ANY = st.one_of(st.binary(max_size=80), st.lists(SCRAPS, max_size=30).map(b"".join),
                st.lists(SCRAPS, max_size=20).map(lambda scraps: b"text,label\na,b\n" + b"".join(scraps)),
                st.binary(max_size=80).map(gzip.compress), st.binary(max_size=80).map(lambda data: gzip.compress(data)[:-5]))
NAMES = st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.txt", "a.ft", "a", "a.csv.gz"])


@QUICK
@given(data=ANY, name=NAMES, policy=st.sampled_from(["fail", "skip"]), need_label=st.booleans())
def test_any_bytes_give_a_result_or_our_error(tmp_path, data, name, policy, need_label):
    (tmp_path / name).write_bytes(data)
    try:
        found = read_examples(tmp_path / name, on_bad_row=policy, need_label=need_label)
    except UnderstudyError as error:
        assert str(error)
    else:
        assert found.examples and found.report.lines()
        for example in found.examples:
            example.text.encode()
            assert "\0" not in example.text and example.text.strip()


@QUICK
@given(data=ANY, codec=st.sampled_from(["utf-8", "utf-16", "utf-7", "cp1252", "shift_jis", "hz", "utf-32-be", "ascii"]))
def test_any_bytes_in_any_encoding(tmp_path, data, codec):
    (tmp_path / "a.csv").write_bytes(data)
    try:
        read_examples(tmp_path / "a.csv", encoding=codec, on_bad_row="skip")
    except UnderstudyError as error:
        assert str(error)


@QUICK
@given(rows=TABLES, bad=st.lists(st.sampled_from(["one cell", "a,b,c", ",no text", "no label,", "nul\0,x", "missing,nan"]), max_size=5))
def test_rows_read_plus_rows_skipped_are_all_rows(tmp_path, rows, bad):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    good = out.getvalue()
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{line}\n" for line in bad) + good, encoding="utf-8", newline="")
    report = read_examples(tmp_path / "a.csv", on_bad_row="skip").report
    assert (report.rows, report.skipped_count) == (len(rows), len(bad))


@pytest.mark.parametrize("share", [0.2, 0.5])
@settings(max_examples=60, deadline=None)
@given(rows=TABLES)
def test_cleaning_and_splitting_account_for_every_row(rows, share):
    from understudy.tasks.types import Example

    examples = [Example(text, label, line) for line, (text, label) in enumerate(rows, 2)]
    cleaned = clean(examples)
    assert len(cleaned.train) + cleaned.duplicates + cleaned.contradicted == len(examples)
    train, test = split(cleaned.train, share)
    assert len(train) + len(test) == len(cleaned.train)
    assert {example.label for example in train} == {example.label for example in cleaned.train}
