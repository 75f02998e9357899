"""Localisation files that are broken or mean harm: one sentence with the line, quickly, and no other exception."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DataError, UnderstudyError
from understudy.tasks.localise import open_document
from understudy.tasks.localise.textfile import MAX_BYTES
from understudy.tasks.localise.xmlspans import MAX_DEPTH

LAUGHS = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><resources><string name="a">&b;</string></resources>'
BROKEN = {
    "laughs.xml": (LAUGHS, "line 1: a document type declaration"),
    "outside.xlf": ('<!DOCTYPE xliff SYSTEM "file:///etc/passwd"><xliff/>', "line 1: a document type declaration"),
    "deep.xml": ("<resources>" + "<a>" * (MAX_DEPTH + 1), "elements are nested more than 100 deep"),
    "open.xml": ("<resources>\n<string name='a'>x</resources>", "line 2: not well-formed XML: mismatched tag"),
    "other.xlf": ("<html/>", "the root element is <html>, not <xliff>"),
    "nosource.xlf": ("<xliff>\n<trans-unit id='1'/></xliff>", "line 2: <trans-unit> has no <source>"),
    "deep.json": ("[" * 100_000, "line 1: nested more than 32 deep"),
    "comma.json": ('{\n"a": "b",\n}', "line 3: a comma before the closing bracket"),
    "quote.json": ('{"a": "b\n"}', "line 1: expected a string"),
    "comment.json": ("// hi\n{}", "line 1: expected a value"),
    "cut.json": ('{"a": ["b"', "expected ',' or ']', at the end of the file"),
    "two.json": ("{} {}", "something follows the end"),
    "nan.json": ('{"a": NaN}', "expected a value, at 'NaN}'"),
    "quote.po": ('msgid "a\nmsgstr ""\n', "line 1: cannot be read: 'msgid \"a'"),
    "loose.po": ('"abc"\n', "line 1: a text in quotes that belongs to nothing"),
    "nomsgstr.po": ('msgid "a"\n\nmsgid "b"\nmsgstr ""\n', "line 3: msgid where none fits"),
    "end.po": ('msgid "a"\n', "line 1: a message without msgstr"),
    "twice.po": ('msgid "a"\nmsgstr ""\nmsgstr ""\n', "line 3: msgstr where none fits"),
    "forms.po": ('msgid ""\nmsgstr "Plural-Forms: nplurals=999; plural=n;\\n"\n', "nplurals=999"),
    "zero.po": ('msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=n%0;\\n"\n', "divides by zero"),
    "range.po": ('msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=n;\\n"\n', "gives form 2 for 2"),
    "code.po": ('msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=exit(1);\\n"\n', "plural formula 'exit(1)' cannot be read"),
    "tower.po": ('msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=' + "(" * 500 + ';\\n"\n', "cannot be read"),
    "rot.po": ('msgid ""\nmsgstr "Content-Type: text/plain; charset=rot13\\n"\n', "'rot13', which is none for text files"),
    "name.po": ('msgid ""\nmsgstr "Content-Type: text/plain; charset=klingon\\n"\n', "'klingon', which is not known"),
    "semi.strings": ('"a" = "b"\n"c" = "d";', "line 2: expected ';' before '\"c\"'"),
    "open.strings": ('"a" = "b', "line 1: cannot be read at '\"b'"),
    "comment.strings": ('/* "a" = "b";', "line 1: cannot be read at '/*"),
    "last.strings": ('"a" = "b"', "line 1: the last pair has no ';'"),
    "half.strings": ('"a" = ;', "';' without a whole"),
    "plist.strings": ('<?xml version="1.0"?><plist/>', "this is a property list"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_one_sentence_with_the_line(name):
    text, words = BROKEN[name]
    start = time.process_time()
    with pytest.raises(DataError) as error:
        open_document(text.encode(), name)
    assert words in str(error.value) and name in str(error.value) and error.value.hint
    assert time.process_time() - start < 8


def test_bytes_that_are_no_text_and_files_that_are_too_large():
    with pytest.raises(DataError, match=r"a.json, line 2: bytes at offset 7 are not utf-8"):
        open_document(b'{\n"a":"\xff"}', "a.json")
    with pytest.raises(DataError, match="a localisation file may have"):
        open_document(bytes(MAX_BYTES + 1), "a.po")
    with pytest.raises(DataError, match="binary property list"):
        open_document(b"bplist00\x01", "a.strings")


@pytest.mark.parametrize(("name", "text"), [
    ("lines.po", 'msgid ""\n' + '"a"\n' * 200_000 + 'msgstr ""\n'),
    ("tags.json", '{"a": "' + "<a '" * 100_000 + '"}'),
    ("attributes.xml", "<resources>" + "<string name='a' b='>'/>" * 30_000 + "</resources>"),
    ("braces.json", '{"a": "' + "{a, plural, other {" * 50_000 + '"}'),
    ("slashes.strings", '"a" = "' + "\\\\" * 300_000 + '";'),
])
def test_long_files_are_read_in_linear_time(name, text):
    start = time.process_time()
    document = open_document(text.encode(), name)
    assert document.write({}) == text.encode()
    assert time.process_time() - start < 15


SEEDS = ['msgid "a"\nmsgstr "b"\n', '{"a": ["b", {"c": "d"}]}', "<resources><string name='a'>b<b>c</b></string></resources>",
         '<xliff version="2.0"><unit><segment><source>a</source></segment></unit></xliff>', '"a" = "b"; /* c */']


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 80), st.sampled_from([*"\"'{}[]<>/\\;=,#&\n\x00 é", "<!--", "]]>", "msgid", "//"])), max_size=4),
       st.sampled_from(["a.po", "a.json", "a.arb", "a.xml", "a.xlf", "a.strings"]))
def test_damaged_files_give_the_same_bytes_or_an_error_of_ours(seed, changes, name):
    for at, what in changes:
        seed = seed[:at % (len(seed) + 1)] + what + seed[at % (len(seed) + 1):]
    try:
        document = open_document(seed.encode(), name)
    except UnderstudyError as error:
        assert error.hint
    else:
        assert document.write({}) == seed.encode()
