"""A whole document: memory, model, checks; translators that break things are caught, and nothing is broken silently."""

from __future__ import annotations

import json
import re

import pytest

from understudy.tasks.localise import Glossary, Memory, open_document, problems, translate_document

WORDS = {"Hello": "Hallo", "file": "Datei", "files": "Dateien", "Open": "Öffnen", "Save": "Sichern", "in": "in", "none": "keine"}


def good(texts: list[str]) -> list[str]:
    return [re.sub(r"[A-Za-z]+", lambda word: WORDS.get(word[0], word[0]), text) for text in texts]


def po(*sources: str) -> bytes:
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
    return (head + "".join(f'\nmsgid {json.dumps(source)}\nmsgstr ""\n' for source in sources)).encode()


SOURCES = ["Hello %s", "Open <b>{name}</b> in %d", "&Save file", "line\nOpen\n", "{n, plural, =0 {none} one {# file} other {# files}}", "https://a.de", "  Hello:"]


def test_a_good_translator_fills_everything_and_marks_nothing():
    document = open_document(po(*SOURCES), "a.po")
    report = translate_document(document, good)
    assert [report.targets[index].text for index in range(len(SOURCES))] == [
        "Hallo %s", "Öffnen <b>{name}</b> in %d", "&Sichern Datei", "line\nÖffnen\n",
        "{n, plural, =0 {keine} one {# Datei} other {# Dateien}}", "https://a.de", "  Hallo:"]
    assert (report.model, report.copied, report.marked, report.left, report.skipped) == (6, 1, 0, 0, 0)
    again = open_document(document.write(report.targets), "a.po")
    assert translate_document(again, good).skipped_for == {"translated already": 7}
    assert translate_document(again, good, overwrite=True).model == 6


BREAKERS = {
    "drops masks": lambda text: re.sub(r"\{\d+\}", "", text),
    "doubles masks": lambda text: re.sub(r"(\{\d+\})", r"\1 \1", text),
    "renumbers masks": lambda text: re.sub(r"\{(\d+)\}", lambda found: f"{{{int(found[1]) + 7}}}", text),
    "translates everything": lambda text: re.sub(r"\w", "ö", text),
    "drops all but letters": lambda text: re.sub(r"[^a-zA-Z ]", "", text),
    "says nothing": lambda text: "",
    "reverses": lambda text: text[::-1],
    "invents": lambda text: text + " %s {new} <i>",
    "rambles": lambda text: "bla " * 200,
    "one brace": lambda text: text + " {",
}


@pytest.mark.parametrize("name", BREAKERS)
@pytest.mark.parametrize("kind", ["po", "json"])
def test_a_translator_that_breaks_things_is_never_believed(name, kind):
    raw = po(*SOURCES) if kind == "po" else json.dumps(SOURCES).encode()
    document = open_document(raw, f"a.{kind}")
    report = translate_document(document, lambda texts: [BREAKERS[name](text) for text in texts])
    marked = {mark.index for mark in report.marks}
    for index, target in report.targets.items():
        source = document.entries[index].source
        assert bool(target.review) == (index in marked)
        if problems(source, target.text):
            assert target.review and any(one in target.review for one in problems(source, target.text))
    assert report.exact + report.fuzzy + report.model + report.copied + report.left + report.skipped == len(SOURCES)
    written = open_document(document.write(report.targets), f"a.{kind}")
    for index, entry in enumerate(written.entries):
        if kind == "po":
            assert entry.fuzzy == bool(index in marked and entry.target)
        else:  # JSON goes live as it is: what breaks must have stayed in English
            hard = [one for one in problems(SOURCES[index], entry.source) if "lost" in one or "invented" in one or "broken" in one]
            assert not any("'" in one and ("%" in one or "{" in one or "<" in one) for one in hard), (entry.source, hard)


def test_what_masks_break_is_tried_without():
    def shy(texts: list[str]) -> list[str]:
        return [re.sub(r"\{\d+\}", "", text) if "{0}" in text else "Hallo %s" for text in texts]

    document = open_document(po("Hello %s"), "a.po")
    report = translate_document(document, shy)
    assert report.targets[0].text == "Hallo %s" and not report.marks


def test_a_failing_batch_costs_only_the_text_at_fault():
    calls = []

    def fails(texts: list[str]) -> list[str]:
        calls.append(len(texts))
        if any("bad" in text for text in texts):
            raise RuntimeError("out of\nmemory")
        return good(texts)

    sources = [f"Open {letter}" for letter in "abcdefg"] + ["bad file"]
    report = translate_document(open_document(po(*sources), "a.po"), fails, batch_size=4)
    assert report.model == 7 and report.left == 1 and max(calls) == 4
    assert [(mark.key, mark.reason, mark.written) for mark in report.marks] == [("bad file", "the translator failed: RuntimeError: out of memory", False)]
    dead = translate_document(open_document(po(*(f"Open {number} x" for number in range(400))), "a.po"), lambda texts: 1 / 0, batch_size=8)
    assert dead.left == 400 and "ZeroDivisionError" in dead.marks[0].reason and len(dead.failures) <= 70
    for wrong, words in ((lambda texts: texts[1:], "it gave 0 answers for 1 texts"), (lambda texts: [None] * len(texts), "an answer is no text")):
        assert words in translate_document(open_document(po("Hello"), "a.po"), wrong).marks[0].reason


def test_memory_comes_first_and_likeness_is_marked():
    memory = Memory([("Hello %s", "Servus %s"), ("Open 3 files", "3 Dateien öffnen"), ("Close all the open windows now", "Alle Fenster jetzt schließen"),
                     ("Broken %s", "Kaputt")])
    document = open_document(po("Hello %s", "Open 5 files", "Close all the open windows now!", "Broken %s", "New file"), "a.po")
    report = translate_document(document, good, memory=memory)
    assert [report.targets[index].text for index in range(5)] == ["Servus %s", "5 Dateien öffnen", "Alle Fenster jetzt schließen", "Broken %s", "New Datei"]
    assert (report.exact, report.fuzzy, report.model, report.marked) == (2, 1, 2, 1)
    assert report.marks[0].reason.startswith("from a similar text (0.9") and b"# review: from a similar text" in document.write(report.targets)
    alone = translate_document(document, None, memory=memory)
    assert (alone.exact, alone.fuzzy, alone.left) == (2, 1, 2) and alone.marks[-1].reason == "not in the memory"


def test_glossary_terms_are_forced_or_marked():
    glossary = Glossary([("folder", "Ordner", False, False)])
    document = open_document(po("Open folder {x}"), "a.po")
    forced = translate_document(document, good, glossary=glossary)
    assert forced.targets[0].text == "Öffnen Ordner {x}" and not forced.marks
    stubborn = translate_document(document, lambda texts: ["Öffnen {x}"] * len(texts), glossary=glossary)
    assert stubborn.targets[0].review == "'folder' is to be translated as 'Ordner'"


def test_drafts_wait_for_a_person_unless_told_otherwise():
    document = open_document(b'#, fuzzy\nmsgid "Open"\nmsgstr "Draft"\n', "a.po")
    assert translate_document(document, good).skipped_for == {"waits for review": 1}
    report = translate_document(document, good, redo_fuzzy=True)
    assert document.write(report.targets).decode() == 'msgid "Open"\nmsgstr "Öffnen"\n'


def test_plural_forms_that_share_a_source_are_marked():
    raw = po("Hello").replace(b"nplurals=2; plural=(n != 1)", b"nplurals=3; plural=n==1 ? 0 : n<5 ? 1 : 2")
    document = open_document(raw + b'\nmsgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\nmsgstr[2] ""\n', "a.po")
    report = translate_document(document, good)
    assert [(mark.index, mark.reason) for mark in report.marks] == [(2, "the same text stands for several plural forms"), (3, "the same text stands for several plural forms")]


def test_inline_tags_in_xliff_survive_or_the_source_stays():
    raw = b'<xliff version="1.2"><trans-unit id="1"><source>Open <g id="1">file</g> &amp; <x id="2"/></source></trans-unit></xliff>'
    document = open_document(raw, "a.xlf")
    report = translate_document(document, good)
    assert '<target>Öffnen <g id="1">Datei</g> &amp; <x id="2"/></target>' in document.write(report.targets).decode() and not report.marks
    crossed = translate_document(document, lambda texts: ['{2} a {0} &amp; <x id="2"/>'] * len(texts))
    assert document.write(crossed.targets) and crossed.marks and (crossed.left == 1) != bool(crossed.targets)


def test_what_is_too_long_is_no_label():
    document = open_document(json.dumps(["x " * 20_000, "Open"]).encode(), "a.json")
    assert translate_document(document, good).skipped_for == {"longer than 20,000 characters": 1}
