"""`understudy predict` on localisation files: what is whole comes back byte for byte, what is missing is filled or marked for review."""

from __future__ import annotations

import json
import shutil

import pytest

from understudy.cli import _run
from understudy.tasks.localise import Cut, open_document, translate_document

pytest.importorskip("xllamacpp", reason="the extra 'generate' is not installed")
ASK, SAID = "The red door is old.", "Die Tür in rot ist alt."
FILES = {
    "a.po": '# by hand\nmsgid ""\nmsgstr ""\n"Language: de\\n"\n"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n#. a note\n#: src/a.c:3\nmsgctxt "menu"\n'
            f'msgid "{ASK}"\nmsgstr "@"\n\nmsgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d Datei"\nmsgstr[1] "%d Dateien"\n\n#~ msgid "x"\n#~ msgstr "y"\n',
    "a.json": f'{{\n  "deep": {{ "n": 3,  "door": "{ASK}" }},\n  "list": [1, 2]\n}}\n',
    "a.arb": f'{{\n  "@@locale": "de",\n  "door": "{ASK}",\n  "@door": {{"description": "Which door."}}\n}}\n',
    "strings.xml": f'<?xml version="1.0" encoding="utf-8"?>\n<resources>\n    <!-- kept -->\n    <string name="door">{ASK}</string>\n'
                   '    <string name="id" translatable="false">ID</string>\n</resources>\n',
    "L.strings": f'/* kept */\n"door" = "{ASK}";\n',
    "one.xlf": '<?xml version="1.0" encoding="UTF-8"?>\n<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">\n <file source-language="en" '
               f'target-language="de" datatype="plaintext" original="a"><body>\n  <trans-unit id="1"><source>{ASK}</source>@</trans-unit>\n </body></file>\n</xliff>\n',
    "two.xlf": '<?xml version="1.0" encoding="UTF-8"?>\n<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="de">\n'
               f' <file id="f"><unit id="1"><segment><source>{ASK}</source>@</segment></unit></file>\n</xliff>\n',
}


def written(folder, name: str, done: bool):
    """The file, translated already or not; formats without a place for a source are never done."""
    target = SAID if name.endswith(".po") else f"<target>{SAID}</target>"
    (folder / name).write_text(FILES[name].replace("@", target if done else "", 1) if name[-3:] in (".po", "xlf") else FILES[name], encoding="utf-8")
    return folder / name


def translated(bundle, source, target, *flags: object, capsys) -> dict:
    assert _run(["predict", str(bundle), "--input", str(source), "--output", str(target), "--json", *map(str, flags)], as_json=True) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def bundle(made):
    return made[0] / "en-de"


@pytest.mark.parametrize("name", FILES)
def test_what_is_missing_is_filled_and_nothing_else_moves(bundle, tmp_path, capsys, name):
    source = written(tmp_path, name, False)
    report = translated(bundle, source, tmp_path / f"out-{name}", capsys=capsys)
    assert report["model"] == 1 and report["marked"] == []
    before, after = source.read_text("utf-8"), (tmp_path / f"out-{name}").read_text("utf-8")
    assert SAID in after
    taken_out = after.replace(f"<target>{SAID}</target>", "").replace(' state="translated"', "").replace(SAID, "" if name.endswith(".po") else ASK)
    assert taken_out == before


@pytest.mark.parametrize("name", [name for name in FILES if name[-3:] in (".po", "xlf")])
def test_what_is_translated_already_comes_back_byte_for_byte(bundle, tmp_path, capsys, name):
    source = written(tmp_path, name, True)
    source.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    report = translated(bundle, source, tmp_path / f"out-{name}", capsys=capsys)
    assert report["model"] == 0 and report["skipped"] >= 1 and (tmp_path / f"out-{name}").read_bytes() == source.read_bytes()
    assert translated(bundle, source, tmp_path / f"out-{name}", "--overwrite", capsys=capsys)["model"] >= 1


def test_memory_first_exact_then_alike_and_a_glossary_is_kept_to(bundle, tmp_path, capsys):
    (tmp_path / "a.po").write_text('msgid ""\nmsgstr ""\n\n' + "".join(f'msgid "{one}"\nmsgstr ""\n\n' for one in (ASK, "The big red door of the old house is open.", "The blue cup is new.")))
    (tmp_path / "m.tsv").write_text(f"{ASK}\tVon Hand.\nThe big red doors of the old house is open.\tBeinahe von Hand.\n")
    (tmp_path / "g.csv").write_text("term,translation\ncup,Becher\n")
    report = translated(bundle, tmp_path / "a.po", tmp_path / "b.po", "--memory", tmp_path / "m.tsv", "--glossary", tmp_path / "g.csv", capsys=capsys)
    assert (report["exact"], report["fuzzy"], report["model"]) == (1, 1, 1)
    stricter = translated(bundle, tmp_path / "a.po", tmp_path / "c.po", "--memory", tmp_path / "m.tsv", "--likeness", "1", capsys=capsys)
    assert (stricter["exact"], stricter["fuzzy"], stricter["model"]) == (1, 0, 2)
    assert _run(["predict", str(bundle), "--input", str(tmp_path / "a.po"), "--likeness", "0.5"], as_json=False) == 2
    assert "--likeness is about the texts of a memory" in capsys.readouterr().err
    text = (tmp_path / "b.po").read_text("utf-8")
    assert 'msgstr "Von Hand."' in text and text.count("#, fuzzy") == 2 and "from a similar text" in text
    assert any("'cup' is to be translated as 'Becher'" in mark["reason"] for mark in report["marked"])


def test_a_lost_placeholder_is_marked_or_not_written(bundle, tmp_path, capsys):
    (tmp_path / "a.po").write_text('msgid ""\nmsgstr ""\n\n#, c-format\nmsgid "The %s door is %d."\nmsgstr ""\n')
    report = translated(bundle, tmp_path / "a.po", tmp_path / "b.po", capsys=capsys)
    text = (tmp_path / "b.po").read_text("utf-8")
    assert ("fuzzy" in text and report["marked"]) or ("%s" in text.rsplit("msgstr", 1)[1] and "%d" in text.rsplit("msgstr", 1)[1])
    (tmp_path / "a.json").write_text('{"a": "The %s door is %d."}')
    report = translated(bundle, tmp_path / "a.json", tmp_path / "b.json", capsys=capsys)
    said = json.loads((tmp_path / "b.json").read_text("utf-8"))["a"]
    assert "%s" in said and "%d" in said


def test_an_answer_that_was_cut_is_no_translation(bundle, tmp_path, capsys):
    source = written(tmp_path, "a.json", False)
    report = translated(bundle, source, tmp_path / "b.json", "--max-tokens", 2, capsys=capsys)
    assert report["left"] == 1 and "cut at its longest" in report["marked"][0]["reason"] and (tmp_path / "b.json").read_bytes() == source.read_bytes()
    report = translated(bundle, written(tmp_path, "a.po", False), tmp_path / "b.po", "--max-tokens", 2, capsys=capsys)
    assert report["marked"] and "# review: the translation was cut at its longest" in (tmp_path / "b.po").read_text("utf-8")
    report = translate_document(open_document(source), lambda texts: [Cut("Alles") for _ in texts])
    assert report.left == 1


@pytest.mark.parametrize(("flags", "words"), [
    (["--encoding", "latin-1"], "is a localisation file, which says itself"), (["--text-column", "x"], "--text-column is about the rows of a table"),
    (["--on-bad-row", "skip"], "--on-bad-row is about"), (["--memory", "no.tsv"], "no.tsv cannot be read"), (["--glossary", "no.csv"], "no.csv"),
    (["--json"], "the file needs a place of its own"), (["--words", 3], "are for summaries")])
def test_mistakes_leave_the_file_alone(bundle, tmp_path, capsys, flags, words):
    source = written(tmp_path, "a.po", False)
    before = source.read_bytes()
    target = [] if "--json" in flags else ["--output", str(source)]
    assert _run(["predict", str(bundle), "--input", str(source), *target, *map(str, flags)], as_json=False) in (1, 2)
    assert words in capsys.readouterr().err and source.read_bytes() == before


def test_a_broken_file_is_one_error_with_its_line(bundle, tmp_path, capsys):
    source = written(tmp_path, "one.xlf", False)
    source.write_bytes(source.read_bytes()[:150])
    assert _run(["predict", str(bundle), "--input", str(source), "--output", str(tmp_path / "o.xlf")], as_json=False) == 1
    err = capsys.readouterr().err
    assert "line " in err and err.count("error:") == 1 and not (tmp_path / "o.xlf").exists()


def test_a_file_may_be_translated_in_its_place(bundle, tmp_path, capsys):
    source = written(tmp_path, "a.po", False)
    shutil.copy(source, tmp_path / "copy.po")
    translated(bundle, source, tmp_path / "b.po", capsys=capsys)
    translated(bundle, tmp_path / "copy.po", tmp_path / "copy.po", capsys=capsys)
    assert (tmp_path / "copy.po").read_bytes() == (tmp_path / "b.po").read_bytes()
