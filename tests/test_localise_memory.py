"""Translation memory and glossary: found exactly, by likeness, repaired; kept, read, refused."""

from __future__ import annotations

import random
import time

import pytest

from understudy.errors import DataError, UsageError
from understudy.tasks.localise import Glossary, Match, Memory, protect, restore

PAIRS = [("Save file", "Datei speichern"), ("Delete 3 files", "3 Dateien löschen"), ("Hello {name}!", "Hallo {name}!"),
         ("Open the recent project", "Letztes Projekt öffnen"), ("Save  file", "Sichern"), ("Save file", "Datei speichern"), ("1 of %s", "1 von %s")]


def test_exact_whatever_the_white_space_and_the_most_frequent_translation():
    memory = Memory(PAIRS)
    assert memory.lookup(" Save\n file ") == Match("Save file", "Datei speichern", 1.0, True)
    assert len(memory) == 5 and memory.lookup("Something else entirely") is None
    assert Memory([("a", "x"), ("a", "y")]).lookup("a").target == "x" and Memory([("", "x"), ("a", " ")]).lookup("a") is None


def test_numbers_and_placeholders_are_put_in_place():
    memory = Memory(PAIRS)
    assert memory.lookup("Delete 7 files") == Match("Delete 3 files", "7 Dateien löschen", 0.99, False, True)
    assert memory.lookup("Hello {user}!").target == "Hallo {user}!" and memory.lookup("Hello {user}!").repaired
    one = memory.lookup("Delete 1 files")
    assert one.target == "1 Dateien löschen" and not one.repaired, "a one may want other words"
    lost = Memory([("5 ways", "Fünf Wege")]).lookup("6 ways")
    assert not lost.repaired and lost.target == "Fünf Wege" and lost.score < 0.9


def test_words_inside_a_plural_are_no_placeholder():
    memory = Memory([("{n, plural, one {# reply} other {# replies}}", "{n, plural, one {# Antwort} other {# Antworten}}")])
    found = memory.lookup("{n, plural, one {# file} other {# files}}", 0.5)
    assert found is None or (not found.repaired and "file" not in found.target)


def test_likeness_is_scored_and_least_is_kept():
    memory = Memory(PAIRS)
    found = memory.lookup("Open the recent projects")
    assert found.target == "Letztes Projekt öffnen" and 0.85 < found.score < 0.99 and not found.exact and not found.repaired
    assert memory.lookup("Open the recent projects", 0.97) is None and memory.lookup("SAVE FILE").score < 1
    for wrong in (0, 1.5, -1):
        with pytest.raises(UsageError, match="is no score"):
            memory.lookup("x", wrong)


def brute(pairs: list[tuple[str, str]], text: str) -> float:
    def grams(one: str) -> list[str]:
        padded = "  " + " ".join(one.split()).casefold() + " "
        return [padded[at:at + 3] for at in range(len(padded) - 2)]

    def dice(one: list[str], other: list[str]) -> float:
        rest, shared = list(other), 0
        for gram in one:
            if gram in rest:
                rest.remove(gram)
                shared += 1
        return 2 * shared / (len(one) + len(other))

    return max(dice(grams(text), grams(source)) for source, _target in pairs)


def test_the_index_finds_what_comparing_with_all_finds():
    draw = random.Random(7)
    words = [draw.choice("abcdefgh") * draw.randint(1, 2) + draw.choice(["ing", "er", "en", "x"]) for _ in range(60)]
    pairs = [(" ".join(draw.choices(words, k=draw.randint(1, 6))), str(number)) for number in range(300)]
    memory = Memory(pairs)
    for _ in range(150):
        text = " ".join(draw.choices(words, k=draw.randint(1, 6)))
        for least in (0.5, 0.75):
            best, found = min(brute(pairs, text), 0.98), memory.lookup(text, least)
            if text in [source for source, _target in pairs]:
                assert found.exact
            else:
                assert (found.score if found else 0) == pytest.approx(best if best >= least else 0, abs=1e-4)


def test_fifty_thousand_entries_are_looked_up_in_milliseconds():
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(3000)]
    memory = Memory((" ".join(draw.choices(words, k=draw.randint(2, 9))), "x") for _ in range(50_000))
    texts = [" ".join(draw.choices(words, k=5)) for _ in range(100)]
    memory.lookup(texts[0])
    start = time.perf_counter()
    for text in texts:
        memory.lookup(text)
    assert (time.perf_counter() - start) / len(texts) < 0.05  # below 1 ms on a free machine


def test_saved_and_read_again(tmp_path):
    memory = Memory([*PAIRS, ("tab\there", "Zeile\nund \\n")])
    memory.save(tmp_path / "m.tsv")
    again = Memory.open(tmp_path / "m.tsv")
    assert len(again) == len(memory) and again.lookup("tab here").target == "Zeile\nund \\n" and again.lookup("Save file").target == "Datei speichern"
    (tmp_path / "bad.tsv").write_text("a\tb\nonly one\n")
    with pytest.raises(DataError, match=r"bad.tsv, line 2: 1 cells, not 2"):
        Memory.open(tmp_path / "bad.tsv")
    with pytest.raises(DataError, match="cannot be written"):
        memory.save(tmp_path / "no" / "m.tsv")


TMX = '''<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header srclang="en-US"/><body>
<tu><tuv xml:lang="en-US"><seg>Save <ph x="1">{0}</ph> &amp; go</seg></tuv><tuv xml:lang="de-DE"><seg>{0} sichern &amp; los</seg></tuv></tu>
<tu><tuv xml:lang="en-US"><seg>alone</seg></tuv></tu>%s</body></tmx>'''


def test_tmx_is_read(tmp_path):
    path = tmp_path / "m.tmx"
    path.write_text(TMX % "")
    assert Memory.open(path).lookup("Save {0} & go").target == "{0} sichern & los"
    path.write_text(TMX % '<tu><tuv xml:lang="en-US"><seg>a</seg></tuv><tuv xml:lang="de"><seg>b</seg></tuv><tuv xml:lang="fr"><seg>c</seg></tuv></tu>')
    assert Memory.open(path, target_language="fr").lookup("a").target == "c"
    with pytest.raises(DataError, match=r"line 3: more than one language beside en-US"):
        Memory.open(path)
    path.write_text((TMX % "").replace('SYSTEM "tmx14.dtd"', '[<!ENTITY a "b">]'))
    with pytest.raises(DataError, match="document type declaration"):
        Memory.open(path)


@pytest.mark.parametrize("text", ["term,translation,case,forbidden\nfile,Datei,,\nfile,Akte,,yes\nSaaS,SaaS,yes,\nfile list,Dateiliste,no,no\n",
                                  "file;Datei\nfile;Akte;;yes\nSaaS;SaaS;yes;\nfile list;Dateiliste\n", "file\tDatei\nfile\tAkte\t\tx\nSaaS\tSaaS\ty\nfile list\tDateiliste\n"])
def test_glossary_files_and_checks(tmp_path, text):
    path = tmp_path / "g.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    glossary = Glossary.open(path)
    assert len(glossary) == 3
    assert glossary.check("Open files", "Dateien öffnen") == [] and glossary.check("Profile saas", "Profil") == []
    assert glossary.check("Open file", "Akten öffnen") == ["'Akte' is a forbidden translation of 'file'", "'file' is to be translated as 'Datei'"]
    assert glossary.check("The file list", "Die Dateiliste") == [] and glossary.check("The file list", "Die Liste") == ["'file list' is to be translated as 'Dateiliste'"]
    assert glossary.check("a SaaS", "ein Saas") == ["'SaaS' is to be translated as 'SaaS'"]
    masked, tokens = protect("File {file} list", forced=glossary.forced("File {file} list"))
    assert masked == "{0} {1} list" and restore(masked, tokens) == "Datei {file} list"


def test_glossary_errors_name_the_line(tmp_path):
    path = tmp_path / "g.csv"
    for text, words in (("a,b\nc,\n", "line 2: a term needs a translation"), ("a,b,perhaps\n", "line 1: 'perhaps' under case is neither yes nor no"),
                        ("\"" + "x" * 200_000, "line 1: field larger")):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            Glossary.open(path)
