"""Columns are found by name, then by content, and never silently."""

from __future__ import annotations

import pytest

from understudy.errors import DataError, UsageError
from understudy.tasks.reading import find_columns, open_table, read_examples


def table(tmp_path, content, name="a.csv", **options):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return open_table(path, **options)


@pytest.mark.parametrize(("header", "text", "label"), [
    ("text,label", "text", "label"), ("Intent,Utterance", "Utterance", "Intent"), ("id,Class Name,REVIEW", "REVIEW", "Class Name"),
    (" text , label ", "text", "label"), ("y,body,id", "body", "y"), ("title,text,category", "text", "category")])
def test_by_name(tmp_path, header, text, label):
    rows = "".join(",".join(f"cell {row} {cell}" for cell in range(header.count(",") + 1)) + "\n" for row in range(3))
    found = find_columns(table(tmp_path, f"{header}\n{rows}"))
    assert (found.text, found.label, found.notes()) == (text, label, ())


def test_by_content(tmp_path):
    rows = "".join(f"{row},this is message number {row},{'ab'[row % 2]}\n" for row in range(30))
    found = find_columns(table(tmp_path, "one,two,three\n" + rows))
    assert (found.text, found.label) == ("two", "three")
    assert "label column 'three' by its content" in found.notes()[0] and "text column 'two' by its content" in found.why


def test_named_columns(tmp_path):
    opened = table(tmp_path, "text,other,Grade\na,b,x\nc,d,y\n")
    assert find_columns(opened, text_column="other", label_column="grade").label == "Grade"
    assert find_columns(opened, text_column="other", need_label=False).label is None


@pytest.mark.parametrize(("options", "message", "hint"), [
    ({"label_column": "lable"}, "there is no column 'lable'; the columns are 'text', 'label'", "did you mean 'label'"),
    ({"text_column": "zzz"}, "there is no column 'zzz'", "name it with --text-column"),
    ({"text_column": "text", "label_column": "TEXT"}, "cannot be both text and label", None)])
def test_named_columns_must_exist(tmp_path, options, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        find_columns(table(tmp_path, "text,label\na,x\nb,y\n"), **options)
    assert hint is None or hint in caught.value.hint


@pytest.mark.parametrize(("content", "message"), [
    ("text,foo\na,1\nb,2\n", "no column looks like labels; the columns are 'text', 'foo'"),
    ("text,foo\n" + "".join(f"a{n},{n}\n" for n in range(50)), "no column looks like labels"),
    ("foo,label\n12,x\n13,y\n", "no column looks like texts")])
def test_columns_that_cannot_be_told(tmp_path, content, message):
    with pytest.raises(UsageError, match=message):
        find_columns(table(tmp_path, content))


def test_a_file_without_a_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("where is my card?,card\nit is lost,card\nhi there,greeting\n", encoding="utf-8")
    found = read_examples(path)
    assert len(found.examples) == 3 and found.examples[0].line == 1
    assert any("no header: the first line is data, and the columns were taken as text, label" in n for n in found.report.notes)
    path.write_text("card,where is my card?\ncard,it is lost\ngreeting,hi there\n", encoding="utf-8")
    assert read_examples(path).examples[2].label == "greeting"


@pytest.mark.parametrize("first", ["where is my card?,card", "1,2", "a text of more than five words,x", "a,b,It ends here."])
def test_a_first_line_that_looks_like_data_is_refused(tmp_path, first):
    other = ",".join(f"other{n}" for n in range(first.count(",") + 1))
    with pytest.raises(DataError, match="line 1: the first line looks like data, not like a header") as caught:
        table(tmp_path, f"{first}\n{other}\n")
    assert "add a first line with column names" in caught.value.hint


def test_an_unknown_header_is_mentioned(tmp_path):
    opened = table(tmp_path, "foo,bar\nhello there,a\nbye,b\n")
    assert "no column name is known; the first line was taken as the header" in opened.notes
    assert table(tmp_path, "foo,bar\nhello there,a\nbye,b\n", named=["foo"]).notes == ()


def test_header_names_twice_or_empty(tmp_path):
    with pytest.raises(DataError, match="line 1: the header has the name 'text' twice, in columns 1 and 3"):
        table(tmp_path, "text,label,text\na,b,c\n")
    opened = table(tmp_path, ",text,label\n0,a,b\n")
    assert opened.columns == ("column 1", "text", "label") and "the header has no name for column 1" in opened.notes
