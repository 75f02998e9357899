"""Localisation files: written without targets they are the same bytes; written with one, only that value moves."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import DataError, UsageError
from understudy.tasks.localise import Target, open_document

PO = r'''# Nasty sample
#, fuzzy
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);\n"

# translator's note
#. for developers
#: main.c:1
#, c-format
msgctxt "menu"
msgid "Hello %s"
msgstr   "Привет %s"  

#| msgid "A file"
#, fuzzy, c-format
msgid "One file"
msgid_plural ""
"%d files "
"in all\t\"here\""
msgstr[0] "alt"
msgstr[1] ""

#~ msgid "obsolete"
#~ msgstr "alt"

msgid "end \\ \x41\101"
msgstr ""
'''

XLIFF1 = '''<?xml version="1.0" encoding="UTF-8"?>
<!-- kept -->
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
  <file source-language="en" target-language="de" datatype="x"><body>
    <group translate="no"><trans-unit id="0"><source>Brand</source></trans-unit></group>
    <trans-unit id="1" approved='yes'>
      <source>Hi &amp; <g id="1" ctype="x>y">bye</g><x id="2"/></source>
    </trans-unit>
    <trans-unit id="2"><source>Plain &lt;b&gt; &#8230;</source><target state="new"/><note>For you</note></trans-unit>
    <trans-unit id="3"><source><![CDATA[1 < 2 & 3]]></source><target state='needs-translation'><![CDATA[]]></target>
      <alt-trans><source>no</source><target>nein</target></alt-trans></trans-unit>
    <trans-unit id="4"><source>Done</source><target state="needs-review-translation">Fertig</target></trans-unit>
  </body></file>
</xliff>
'''

XLIFF2 = '''<xliff version="2.1" srcLang="en" trgLang="de" xmlns="urn:oasis:names:tc:xliff:document:2.0">
 <file id="f"><unit id="u">
   <originalData><data id="d">%s</data></originalData>
   <segment id="s1"><source>Hello <ph id="1" dataRef="d"/></source></segment>
   <ignorable><source> </source></ignorable>
   <segment state="final"><source>Bye</source><target>Tschüss</target></segment>
 </unit><unit id="v" translate="no"><notes><note>Keep</note></notes><segment><source>Q</source></segment></unit>
 </file>
</xliff>'''

ANDROID = r'''<?xml version="1.0" encoding="utf-8"?>
<resources xmlns:xliff="urn:x">
    <!-- greeting -->
    <string name="a">Don\'t  go\n <b>bold\'s</b> <xliff:g id="n">%1$s</xliff:g> "  q "</string>
    <string name="b"><![CDATA[<i>it\'s</i>]]></string>
    <string name="c" translatable="false">Fixed</string>   <string name="r">@string/a</string>
    <string-array name="d"><item>A &lt; B</item><item>\@home</item><item/></string-array>
    <plurals name="p"><item quantity="one">%d x</item><item quantity="other">%d \u00e4s</item></plurals>
    <dimen name="z">4dp</dimen>
</resources>
'''

JSON = r'''{
	"plain": "Hi \u00e9 \"you\"", "n": {"deep": ["p", {"q": "a\/b"}, 3.5e2, null, true, {}, []]},
  "items_one": "{{count}} item",  "items_other" : "{{count}} items", "empty": "", "bad": "\ud800",
  "chrome": {"message": "Hello $WHO$", "description": "Greets", "placeholders": {"who": {"content": "$1"}}},
  "description": "A text of its own"
}'''

ARB = '''{
  "@@locale": "en",
  "title": "Home",
  "@title": {"description": "On top", "placeholders": {"x": {"type": "int"}}},
  "n": "{n, plural, =0{none} one{# item} other{# items}}"
}
'''

STRINGS = r'''/* Greeting
 of two lines */
"hello" = "Hi \"%@\" \U00e9\n";   // trailing
key.bare = "v";
"a;b"="multi
line";
"only";
'''

SAMPLES = {"a.po": PO, "b.xlf": XLIFF1, "c.xliff": XLIFF2, "strings.xml": ANDROID, "d.json": JSON, "e.arb": ARB, "f.strings": STRINGS}
NASTY = ["", " ", "ä ö – 😀", "it's \"q\" \\ /", "a\nb\n", "\tx  y ", "<b> & ]]> &amp;", "@x", "?", "%s {x}", "\\n", "'", "\u00a0.\u2028"]


def sources(raw: bytes, name: str) -> list[str]:
    return [entry.target or "" if name.endswith((".po", ".xlf", ".xliff")) else entry.source for entry in open_document(raw, name).entries]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_without_targets_the_bytes_are_the_same(name, newline, bom):
    raw = bom + SAMPLES[name].replace("\n", newline).encode()
    assert open_document(raw, name).write({}) == raw


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_written_is_read_back_and_nothing_else_moves(name):
    raw = SAMPLES[name].encode()
    before = open_document(raw, name)
    for index, entry in enumerate(before.entries):
        for text in NASTY:
            if before.objection(index, text) or entry.markup or not entry.translatable:
                continue
            written = before.write({index: Target(text)})
            after = open_document(written, name)
            got = after.entries[index].target or "" if before.bilingual else after.entries[index].source
            assert got == text, (entry.key, text)
            others = [(one.key, one.source if before.bilingual else "", one.target, one.context) for one in after.entries]
            want = [(one.key, one.source if before.bilingual else "", one.target, one.context) for one in before.entries]
            assert others[:index] + others[index + 1:] == want[:index] + want[index + 1:]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\x0b\x0c\r\x85\u2028\u2029", exclude_categories=("Cc", "Cs", "Cn", "Co")) |
               st.sampled_from("\n\t '\"\\<>&@?%{}/;="), max_size=25)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_generated_json_and_strings_and_po(pairs, newline):
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=len(text) % 2 == 0)

    files = {
        "x.json": "{" + ("," + newline).join(f'"k{i}" : {quoted(text)}' for i, (text, _new) in enumerate(pairs)) + "}",
        "x.po": newline.join(f'msgid {json.dumps(f"{i}:{text}", ensure_ascii=False)}{newline}msgstr ""{newline}' for i, (text, _new) in enumerate(pairs)),
        "x.strings": newline.join(f'"k{i}" = {json.dumps(text, ensure_ascii=False)};' for i, (text, _new) in enumerate(pairs)),
    }
    for name, text in files.items():
        raw = text.encode()
        document = open_document(raw, name)
        assert document.write({}) == raw
        assert [entry.source.removeprefix(f"{i}:") for i, entry in enumerate(document.entries)] == [old for old, _new in pairs]
        new = [target for _old, target in pairs]
        assert sources(document.write({i: Target(one) for i, one in enumerate(new)}), name) == new


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_generated_xml(pairs):
    resources, xliff = ElementTree.Element("resources"), ElementTree.Element("xliff", version="1.2")
    for number, (old, _new) in enumerate(pairs):
        ElementTree.SubElement(resources, "string", name=f"k{number}").text = old
        ElementTree.SubElement(ElementTree.SubElement(xliff, "trans-unit", id=str(number)), "source").text = old
    for name, root in (("strings.xml", resources), ("x.xlf", xliff)):
        raw = ElementTree.tostring(root, encoding="utf-8")
        document = open_document(raw, name)
        assert document.write({}) == raw
        new = [target for _old, target in pairs]
        assert sources(document.write({i: Target(one) for i, one in enumerate(new)}), name) == new


def test_po_entries_and_plural_forms():
    entries = open_document(PO.encode(), "a.po").entries
    assert [(one.key, one.plural) for one in entries[:4]] == [("menu | Hello %s", None), ("One file", "0"), ("One file", "1"), ("One file", "2")]
    assert entries[0].context == "menu\ntranslator's note\nfor developers" and entries[0].target == "Привет %s" and not entries[0].fuzzy
    # Form 0 is also for 21 and 31 here, and "One file" has no number in it: it must come from the plural.
    assert [one.source for one in entries[1:4]] == ['%d files in all\t"here"'] * 3
    assert entries[1].fuzzy and entries[3].target is None
    assert entries[4].source == "end \\ AA"
    german = PO.replace("nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2)", "nplurals=2; plural=n != 1")
    assert [one.source for one in open_document(german.encode(), "a.po").entries[1:3]] == ["One file", '%d files in all\t"here"']


def test_po_review_is_fuzzy_with_a_reason_and_goes_again():
    document = open_document(PO.encode(), "a.po")
    written = document.write({0: Target("Hallo", "'%s' got lost"), 4: Target("Ende", "odd")}).decode()
    assert "# review: '%s' got lost\n# translator's note\n" in written and "#, fuzzy, c-format\nmsgctxt" in written
    assert '# review: odd\n#, fuzzy\nmsgid "end' in written
    again = open_document(written.encode(), "a.po")
    assert again.entries[0].fuzzy and again.entries[0].context == document.entries[0].context
    cleared = again.write({0: Target("Hallo %s"), 4: Target("Ende")}).decode()
    assert "review:" not in cleared and cleared.count("fuzzy") == 2
    assert cleared == PO.replace('"Привет %s"', '"Hallo %s"').replace('\\101"\nmsgstr ""', '\\101"\nmsgstr "Ende"').replace("\n#, c-format", "\n#, c-format")
    three = document.write({1: Target("a"), 2: Target("b"), 3: Target("c")}).decode()
    assert '#, c-format\nmsgid "One' in three and 'msgstr[1] "b"\nmsgstr[2] "c"\n' in three and "#|" not in three


def test_xliff_1_states_notes_and_inline_tags():
    document = open_document(XLIFF1.encode(), "b.xlf")
    assert [(one.key, one.translatable, one.markup, one.fuzzy) for one in document.entries] == [
        ("0", False, False, False), ("1", True, True, False), ("2", True, False, False), ("3", True, False, False), ("4", True, False, True)]
    assert document.entries[1].source == 'Hi &amp; <g id="1" ctype="x>y">bye</g><x id="2"/>' and document.entries[2].source == "Plain <b> …"
    written = document.write({1: Target('Hallo & <g id="1">x</g><x id="2"/>', "a 'reason' < b"), 2: Target("a<b>", "lost"),
                              3: Target("2 > 1 ]]>"), 4: Target("Fertig!")}).decode()
    ElementTree.fromstring(written)
    assert 'approved=\'no\'' in written and '\n      <target state="needs-review-translation">Hallo &amp; <g id="1">x</g><x id="2"/></target>' in written
    assert '\n      <note from="understudy">a \'reason\' &lt; b</note>\n' in written
    assert '<target state="needs-review-translation">a&lt;b&gt;</target><note from="understudy">lost</note><note>For you</note>' in written
    assert "<target state='translated'><![CDATA[2 > 1 ]]]]><![CDATA[>]]></target>" in written and '<target state="translated">Fertig!</target>' in written
    assert "tags do not fit" in document.objection(1, 'x <g id="1">') and "not allowed in XML" in document.objection(2, "a\x01")
    with pytest.raises(DataError, match="line 7: '1' cannot be written: its tags do not fit together"):
        document.write({1: Target("</g>")})


def test_xliff_2_states_and_notes():
    document = open_document(XLIFF2.encode(), "c.xliff")
    assert [(one.key, one.target, one.translatable) for one in document.entries] == [("u/s1", None, True), ("u", "Tschüss", True), ("v", None, False)]
    written = document.write({0: Target('Hallo <ph id="1" dataRef="d"/>', "why"), 1: Target("Ade", "why"), 2: Target("F", "z")}).decode()
    ElementTree.fromstring(written)
    assert written.count("<notes>") == 2 and '<notes><note category="review">why</note></notes>\n   <originalData>' in written
    assert '<segment state="initial" id="s1"><source>Hello <ph id="1" dataRef="d"/></source><target>Hallo <ph' in written
    assert '<segment state="initial"><source>Bye</source><target>Ade</target>' in written and "<note>Keep</note><note category" in written
    assert '<segment state="translated" id="s1">' in document.write({0: Target("x")}).decode()
    again = open_document(written.encode(), "c.xliff")
    assert again.entries[0].fuzzy and again.write({0: Target('Hallo <ph id="1" dataRef="d"/>', "why")}).decode() == written


def test_android_texts_are_what_an_app_shows():
    entries = open_document(ANDROID.encode(), "strings.xml").entries
    assert [one.source for one in entries] == ['Don\'t go\n <b>bold\'s</b> <xliff:g id="n">%1$s</xliff:g>   q ', "<i>it's</i>", "Fixed", "@string/a",
                                               "A < B", "@home", "", "%d x", "%d äs"]
    assert [one.translatable for one in entries] == [True, True, False, False, True, True, True, True, True]
    assert entries[0].context == "greeting" and [one.plural for one in entries[-2:]] == ["one", "other"] and entries[4].key == "d[0]"
    document = open_document(ANDROID.encode(), "strings.xml")
    new = ' L\'eau\n<b> x</b> <xliff:g id="n">%1$s</xliff:g>! '
    assert open_document(document.write({0: Target(new)}), "strings.xml").entries[0].source == new


def test_json_and_arb_know_what_is_for_developers():
    document = open_document(JSON.encode(), "d.json")
    found = {one.key: one for one in document.entries}
    assert found["n.deep[1].q"].source == "a/b" and found["items_one"].plural == "one" and found["plain"].plural is None
    assert found["chrome.message"].context == "Greets" and not found["chrome.description"].translatable and found["description"].translatable
    assert not found["bad"].translatable and not found["chrome.placeholders.who.content"].translatable
    assert b'"n": {"deep": ["\\u00fc\\/", {' in document.write({1: Target("ü/")})
    arb = open_document(ARB.encode(), "e.arb").entries
    assert [(one.key, one.context) for one in arb] == [("title", "On top"), ("n", "")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_strings_in_every_usual_encoding(encoding):
    raw = STRINGS.encode(encoding)
    document = open_document(raw, "f.strings")
    assert document.write({}) == raw and [one.source for one in document.entries] == ['Hi "%@" é\n', "v", "multi\nline"]
    assert document.entries[0].context == "Greeting\n of two lines"
    assert open_document(document.write({1: Target("ü")}), "f.strings").entries[1].source == "ü"


def test_other_encodings_are_kept_and_guarded():
    raw = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\nmsgid "a"\nmsgstr "ä"\n'.encode("latin-1")
    document = open_document(raw, "x.po")
    assert document.entries[0].target == "ä" and document.write({0: Target("ö")}) == raw.replace(b"\xe4", b"\xf6")
    with pytest.raises(DataError, match=r"x.po, line 5: 'a' cannot be written: its character '\\u20ac' does not exist in the file's encoding"):
        document.write({0: Target("€")})


def test_the_format_is_found_by_name_and_content(tmp_path):
    assert open_document(XLIFF1.encode(), "messages.xml").format == "XLIFF"
    assert open_document(ARB.encode(), "app_en.json").format == "ARB"
    assert open_document(b'{"a": "b", "@a": {"description": "c"}}', "x.arb").format == "ARB"
    assert open_document(PO.encode()).format == "PO"
    path = tmp_path / "de.po"
    path.write_bytes(PO.encode())
    assert open_document(path).name == str(path)
    with pytest.raises(UsageError, match=r"notes.txt: '.txt' is no localisation file") as error:
        open_document(b"Dear all", "notes.txt")
    assert ".arb, .json, .po, .pot, .strings, .xlf, .xliff, .xml" in (error.value.hint or "")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        open_document(tmp_path / "none.po")
    with pytest.raises(DataError, match="has no entry 99"):
        open_document(PO.encode(), "a.po").write({99: Target("x")})
