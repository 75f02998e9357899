"""What must survive a translation: found, masked, put back, and missed when it is gone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import UsageError
from understudy.tasks.localise import placeholder_survival, problems, protect, restore
from understudy.tasks.localise.icu import IcuError, explode
from understudy.tasks.localise.placeholders import accelerator, find, has_words


@pytest.mark.parametrize(("text", "kinds"), [
    ("%s of %1$d: %(count)d %% %@ %-5.2f %1", "printf printf printf printf printf printf printf"),
    ("100% of 50 %", "number number"),
    ("50%discount", "number"),
    ("%(users)sremoved %sremoved", "printf printf"),
    ("{name} {0:.2f} {{mustache}} {} {{{raw}}}", "brace brace brace brace brace"),
    ("$t(key.a) ${x} #{y} %{z} $WHO$ costs $5", "reference reference reference reference reference number"),
    ("a <b class=\"x>y\">bold</b><br/> 1 < 2 <0>z</0>", "tag tag tag number number tag tag"),
    ("&amp; &#8230; R&D; AT&T", "entity entity"),
    ("See https://example.org/a?b=1&c=%20, or mail me@example.org.", "url email"),
    ("{n, plural, one {# {x}} other {#}} left, {name}", "icu brace"),
    ("1,000.50 in 2D", "number number"),
])
def test_what_is_found(text, kinds):
    assert " ".join(span.kind for span in find(text)) == kinds
    assert all(text[span.start:span.end] == span.text for span in find(text))


def test_masks_hide_what_must_survive_and_bring_it_back():
    masked, tokens = protect("  Delete <b>%s</b> from {folder} in 3 days?\n")
    assert masked == "Delete {0}{1}{2} from {3} in 3 days?"
    assert restore("{ 0 }{1}{2} in 3 Tagen aus ｛3｝ löschen?", tokens) == "  <b>%s</b> in 3 Tagen aus {folder} löschen?\n"
    assert restore("{7} bleibt", tokens) == "  {7} bleibt\n"
    assert protect("Save &As %s")[0] == "Save As {0}" and protect("Save %s", mask=False)[0] == "Save %s"
    masked, tokens = protect("the file list", forced=[(4, 8, "Datei")])
    assert masked == "the {0} list" and restore("die {0}liste", tokens) == "die Dateiliste"


@pytest.mark.parametrize(("text", "place"), [
    ("&File", ("&", 0)), ("E&xit", ("&", 1)), ("_Open file", ("_", 0)), ("Save &As…", ("&", 5)), ("R&D", None), ("Q&A", None), ("AT&T", None),
    ("a & b", None), ("&amp; x", None), ("snake_case", None), ("_a_ b", None), ("Drag&Drop", None), ("Override _ready()", None), ("&A &B", None),
    ("Call the _process function of this node in every single frame", None)])
def test_keyboard_accelerators(text, place):
    assert accelerator(text) == place


def test_an_accelerator_goes_to_the_same_letter_or_the_first():
    for source, said, want in [("&Save", "Sichern", "&Sichern"), ("&Open %s", "{0} öffnen", "%s &öffnen"), ("E&xit", "Text", "Te&xt"), ("_Quit", "Beenden", "_Beenden")]:
        _masked, tokens = protect(source)
        assert restore(said, tokens) == want


@pytest.mark.parametrize(("source", "target", "words"), [
    ("Hi %s", "Hallo", "'%s' got lost"),
    ("Hi %s", "Hallo %s %s", "'%s' is doubled: 2 times, not 1"),
    ("%s and %s", "%s", "'%s' stands 1 times, not 2"),
    ("Hi", "Hallo {name}", "'{name}' was invented"),
    ("Hi {name}", "Hallo {Name}", "'{name}' got lost"),
    ("%s has %d files", "%d Dateien hat %s", "the order of %s, %d changed: the values would be swapped"),
    ("100%% of %d", "100% von %d", "'%%' got lost"),
    ("<b>a</b>", "<b>a", "'</b>' got lost"),
    ("<a>x</a> <b>y</b>", "<a>x <b>y</a></b>", "tags are closed in the wrong order"),
    ("a &lt; b", "a < b", "'&lt;' got lost"),
    ("see https://a.de/x", "siehe https://a.de/y", "'https://a.de/x' got lost"),
    ("in 30 days", "in Tagen", "the number 30 got lost"),
    ("in 30 days", "in 30 bis 40 Tagen", "the number 40 was invented"),
    ("&File", "Datei", "the keyboard accelerator '&' got lost or doubled"),
    ("Name:", "Name", "the source ends with a colon, the translation does not"),
    ("Open…", "Öffnen", "the source ends with an ellipsis, the translation does not"),
    ("a\n", "a", "white space at the beginning or end differs"),
    ("a\nb", "a b", "the line breaks got lost"),
    ("Hi", "  ", "the translation is empty"),
    ("{n, plural, one {# file} other {# files}}", "{n, plural, one {# Datei} other {Dateien}}", "'#' got lost in the branch 'other'"),
    ("{n, plural, one {a} other {b}}", "{n, plural, one {a} sonst {b}}", "the message is broken: {n, plural, …} has no 'other'"),
    ("{n, plural, one {a} other {b}}", "{n, plural, one {a} other {b}", "the message is broken: a '{' that is not closed"),
    ("{n, plural, one {a} other {b}}", "{m, plural, one {a} other {b}}", "{n, plural, …} got lost"),
    ("{g, select, male {a} other {b}}", "{g, select, männlich {a} other {b}}", "the branch 'male' of {g, select, …} got lost"),
    ("{n, plural, =0 {none} other {# of {x}}}", "{n, plural, =0 {keine} other {# von {y}}}", "'{x}' got lost"),
])
def test_what_is_wrong_is_said_in_words(source, target, words):
    assert any(words in problem for problem in problems(source, target)), problems(source, target)


@pytest.mark.parametrize(("source", "target"), [
    ("%s has %d files", "%2$d Dateien hat %1$s"),
    ("%(a)s of %(b)s", "%(b)s: %(a)s"),
    ("costs 1,000.50", "kostet 1.000,50"), ("1,000 files", "1 000 Dateien"),
    ("<b>{a}</b> and <i>{b}</i>", "<i>{b}</i> und <b>{a}</b>"),
    ("wait&hellip;", "warten…"), ("Wait...", "Warten …"), ("Name:", "Nom :"),
    ("{n, plural, one {# file} other {# files}}", "{n, plural, one {# plik} few {# pliki} many {# plików} other {# pliku}}"),
    ("{n, plural, one {# file} other {# files}}", "{n, plural, one {eine Datei} other {# Dateien}}"),
    ("{ name }", "{name}"), ("&Open", "&Öffnen"), ("R&D", "F&E"),
])
def test_what_is_right_is_left_alone(source, target):
    assert problems(source, target) == []


PIECES = st.sampled_from(["%s", "%(n)d", "{name}", "{{x}}", "<b>", "</b>", "&amp;", "https://a.de/b", "word", " ", "\n", "&File", "12", ": ", "it's", "{", "}", "%", "<", "{0}"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_unmasking_a_masked_text_gives_it_back(text):
    masked, tokens = protect(text)
    if not tokens.accelerator:
        assert restore(masked, tokens) == text
    assert problems(text, text) == [] or "wrong order" in problems(text, text)[0] or not text.strip()


def test_icu_messages_come_apart_and_together():
    text = "Hi {name}, {g, select, male {he has {n, plural, offset:1 =0 {none} one {# file} other {'{#}' it''s # files}}} other {they}} left"
    exploded = explode(text)
    assert exploded.leaves == ("Hi {name}, {icu0} left", "he has {icu0}", "none", "{##} file", "'{#}' it''s {##} files", "they")
    assert exploded.build(list(exploded.leaves)) == text
    assert explode("{n, plural, one {# a} other {# b}}").build(["{#} x", "y {#}"]) == "{n, plural, one {# x} other {y #}}"
    assert explode("{n, plural, one {of {x}} other {b}}").build(["l'{x}", "b"]) == "{n, plural, one {l''{x}} other {b}}"
    for broken in ("{n, plural, one {a}", "{n, plural, one {a}}", "{n, plural, }", "a } b {n, plural, other {}}", "{" * 50):
        with pytest.raises(IcuError):
            explode(broken)


def test_words_are_what_is_left_to_translate():
    assert has_words("%s files") and not has_words("%s {name} 12 https://a.de <b/>") and not has_words("—")


def test_survival_counts_every_placeholder():
    assert placeholder_survival(["%s {a}", "x", "<b>y</b>"], ["%s", "z", "<b>y</b>"]) == 3 / 4
    assert placeholder_survival(["x"], [""]) == 1.0
    assert placeholder_survival(["{n, plural, one {a} other {b}}"], ["{n,plural, one {c} other {d}}"]) == 1.0
    with pytest.raises(UsageError, match="2 sources but 1 targets"):
        placeholder_survival(["a", "b"], ["a"])


@pytest.mark.parametrize("text", ["{" * 20_000, "<a " * 7_000, "<a '" * 5_000, "&" * 20_000, "a@" * 10_000, "{a, plural, " * 1_500, "%" * 20_000, "1," * 10_000,
                                  "http://" * 3_000, "{a,select,other{" * 1_200, "'" * 20_000, "_" * 20_000, " " * 20_000])
def test_long_texts_are_checked_in_a_moment(text):
    start = time.process_time()
    protect(text)
    problems(text, text + "x")
    assert time.process_time() - start < 8
