"""Every format a data file may come in gives the same examples, and says how it was read."""

from __future__ import annotations

import decimal
import gzip
import hashlib
import json

import pytest

from understudy.tasks.reading import open_table, read_examples, stream_rows
from understudy.tasks.types import Example

ROWS = [("where is my card?", "card"), ("it costs £5, why", "fee"), ("héllo – “you”", "greeting"), ("again", "card")]
PAIRS = [{"text": text, "label": label} for text, label in ROWS]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def delimited(mark=","):
    return "\n".join([f"text{mark}label", *(f'"{text}"{mark}{label}' for text, label in ROWS)]) + "\n"


FILES = {
    "a.csv": delimited(), "semicolon.csv": delimited(";"), "bar.csv": delimited("|"), "tab.csv": delimited("\t"),
    "a.tsv": delimited("\t"), "crlf.csv": delimited().replace("\n", "\r\n"), "cr.csv": delimited().replace("\n", "\r"),
    "rows.json": json.dumps(PAIRS, indent=1), "data.json": json.dumps({"version": 1, "data": PAIRS}),
    "first.json": json.dumps({"data": PAIRS, "version": {"a": [1]}}),
    "columns.json": json.dumps({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}),
    "a.jsonl": "\n".join(map(json.dumps, PAIRS)), "lines.json": "\n\n".join(map(json.dumps, PAIRS)),
    "fast.txt": "".join(f"__label__{label} {text}\n" for text, label in ROWS),
    "fast.ft": "".join(f"{text} __label__{label}\n" for text, label in ROWS),
    "table.txt": delimited("\t"), "nosuffix": delimited(), "json.dat": json.dumps(PAIRS),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", FILES)
def test_all_formats_give_the_same_examples(tmp_path, name, packed):
    content = FILES[name].encode()
    path = written(tmp_path, name, gzip.compress(content) if packed else content)
    found = read_examples(path)
    assert [(example.text, example.label) for example in found.examples] == ROWS
    assert (found.report.text_column, found.report.label_column, found.report.skipped_count) == ("text", "label", 0)
    assert found.report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_gzip_is_known_by_its_bytes_and_by_either_name(tmp_path):
    path = written(tmp_path, "a.csv.gz", gzip.compress(delimited().encode()))
    assert len(read_examples(path).examples) == len(ROWS)
    assert len(read_examples(written(tmp_path, "really-plain.csv.gz", delimited())).examples) == len(ROWS)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_parquet(tmp_path, packed):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    parquet.write_table(table, path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = read_examples(path)
    assert found.examples == [Example(text, label, row) for row, (text, label) in enumerate(ROWS, 1)]
    assert found.report.lines()[0].endswith("4 rows (parquet); texts from 'text', labels from 'label'")


def test_parquet_names_the_extra_when_it_is_missing(tmp_path, monkeypatch):
    from understudy.errors import MissingExtraError

    path = written(tmp_path, "a.parquet", b"PAR1....PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="Reading Parquet needs the extra 'parquet'"):
        read_examples(path)


@pytest.mark.parametrize(("codec", "reported"), [
    ("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-32", "utf-32"), ("utf-16-le", "utf-16-le"),
    ("utf-16-be", "utf-16-be"), ("utf-32-le", "utf-32-le"), ("utf-32-be", "utf-32-be"), ("cp1252", "cp1252")])
def test_encodings_are_detected_and_reported(tmp_path, codec, reported):
    path = written(tmp_path, "a.csv", delimited().encode(codec))
    found = read_examples(path)
    assert [(example.text, example.label) for example in found.examples] == ROWS
    assert found.report.encoding == reported
    assert f"({found.report.format}, {reported})" in found.report.lines()[0]


@pytest.mark.parametrize(("codec", "text"), [
    ("cp932", "私のカードはどこですか、こんにちは"), ("cp1253", "Πού είναι η κάρτα μου και πότε θα έρθει"),
    ("cp949", "내 카드는 어디에 있나요 안녕하세요"), ("cp1252", "¿Dónde está mi tarjeta? El niño llegó mañana")])
def test_older_encodings_are_guessed_and_the_guess_is_said(tmp_path, codec, text):
    found = read_examples(written(tmp_path, "a.csv", f"text,label\n{text},a\nplain,b\n".encode(codec)))
    assert found.examples[0].text == text
    assert any("is a guess" in note and codec in note and "line 2" in note for note in found.report.notes)


@pytest.mark.parametrize(("codec", "text"), [
    ("cp932", "私のカードはどこですか、こんにちは"), ("gb18030", "请问我的银行卡什么时候能寄到，谢谢你们"), ("cp1252", "Straße naïve façade über größer")])
@pytest.mark.parametrize("before", [0, 20_000], ids=["from the start", "after plain rows"])
def test_long_files_are_guessed_too(tmp_path, codec, text, before):
    # Samples are cut out of such a file, and half a character at a cut fits no encoding.
    for shift in ("", "y", "yyy"):
        body = "text,label\n" + "x,a\n" * before + "".join(f"{'x' * (row % 2)}{shift}{text} {row},b\n" for row in range(3000))
        assert read_examples(written(tmp_path, "a.csv", body.encode(codec))).report.encoding == codec


def test_the_last_byte_of_a_long_file_decides(tmp_path):
    body = "text,label\n" + "".join(f"row {number},a\n" for number in range(60_000)) + "café,b\n"
    found = read_examples(written(tmp_path, "a.csv", body.encode("cp1252")))
    assert found.examples[-1] == Example("café", "b", 60_002)
    assert any("line 60002" in note for note in found.report.notes)


def test_a_named_encoding_wins(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\nГде карта,a\n".encode("koi8_r"))
    assert read_examples(path, encoding="koi8-r").examples[0].text == "Где карта"


def test_quoted_line_breaks_keep_line_numbers_right(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label\n"a\nb",x\nplain,y\n"c\r\nd\r\n",x\n\nlast,y\n')
    assert read_examples(path).examples == [Example("a\nb", "x", 2), Example("plain", "y", 4),
                                            Example("c\r\nd\r\n", "x", 5), Example("last", "y", 9)]


def test_json_line_numbers_are_those_of_the_file(tmp_path):
    path = written(tmp_path, "a.json", '[\n {"text": "a",\n  "label": "x"},\n\n {"text": "b", "label": "y"}\n]\n')
    assert [example.line for example in read_examples(path).examples] == [2, 5]


def test_a_long_letter_is_no_unclosed_quote(tmp_path):
    letter = "\n".join(f"line {number}, and so, on" for number in range(500))
    path = written(tmp_path, "a.csv", f'text,label\n"{letter}",long\nnext,short\n')
    assert read_examples(path).examples == [Example(letter, "long", 2), Example("next", "short", 502)]


def test_plain_text_has_one_text_per_line(tmp_path):
    path = written(tmp_path, "a.txt", "hello, you\n\n{not json}\n  [URGENT] x\n")
    found = read_examples(path, need_label=False)
    assert found.examples == [Example("hello, you", None, 1), Example("{not json}", None, 3), Example("  [URGENT] x", None, 4)]
    assert "read as plain text, one text per line" in found.report.notes


def test_tab_separated_files_without_quoting(tmp_path):
    path = written(tmp_path, "a.tsv", 'text\tlabel\n"quoted from the start\tx\n5" screen\ty\n')
    found = read_examples(path)
    assert [example.text for example in found.examples] == ['"quoted from the start', '5" screen']
    assert any("quotation marks are read as part of the text" in note for note in found.report.notes)


@pytest.mark.parametrize("one", [1, 1.0, True, "1", " 1 ", decimal.Decimal("1.0")], ids=repr)
def test_numeric_labels(one):
    from understudy.tasks.reading.values import as_label

    assert as_label(one) == ("true" if one is True else "1")


def test_numeric_labels_in_json(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1.0}\n{"text": "c", "label": 2.5}')
    assert [example.label for example in read_examples(path).examples] == ["1", "1", "2.5"]


def test_words_for_nothing_stay_labels_and_are_mentioned(tmp_path):
    found = read_examples(written(tmp_path, "a.csv", "text,label\na,none\nb,N/A\nc, card \nd,none\n"))
    assert [example.label for example in found.examples] == ["none", "N/A", "card", "none"]
    notes = " | ".join(found.report.notes)
    assert "the label 'none' (2 rows) is kept" in notes and "the label 'N/A' (1 row)" in notes
    assert "white space was removed around the label in 1 row" in notes


def test_invisible_characters_are_reported(tmp_path):
    found = read_examples(written(tmp_path, "a.csv", "text,label\na\u202eb,x\nc\x07d,y\ne\u200df,x\n"))
    assert found.examples[0].text == "a\u202eb"
    assert "2 texts with control, direction or zero-width characters, kept as they are" in found.report.notes


def test_delimiter_is_reported(tmp_path):
    report = read_examples(written(tmp_path, "a.csv", delimited(";"))).report
    assert report.delimiter == ";" and "cells are separated by a semicolon" in report.notes


def test_without_labels_the_label_column_is_read_only_when_named(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\na,x\nb,\n")
    assert [example.label for example in read_examples(path, need_label=False).examples] == [None, None]
    named = read_examples(path, need_label=False, label_column="label")
    assert [example.label for example in named.examples] == ["x", None]


def test_a_table_can_be_sampled_and_read_twice(tmp_path):
    table = open_table(written(tmp_path, "a.csv", delimited()))
    assert [row.line for row in table.sample(2)] == [2, 3]
    first = list(table.rows())
    assert len(first) == len(ROWS) and list(table.rows()) == first
    assert (table.format, table.columns, table.delimiter) == ("csv", ("text", "label"), ",")


def test_other_columns_come_along(tmp_path):
    path = written(tmp_path, "a.csv", "id,message,when\n7,hello there,now\n8,bye now,then\n")
    table, column, rows = stream_rows(path)
    assert table.columns == ("id", "message", "when") and column == "message"
    assert [row.values for row in rows] == [{"id": "7", "message": "hello there", "when": "now"},
                                            {"id": "8", "message": "bye now", "when": "then"}]
