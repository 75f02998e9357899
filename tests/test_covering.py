"""Answers that leave something out are tried again, and the best one is kept."""

from __future__ import annotations

from understudy.run.covering import covered
from understudy.run.generate.results import Completion
from understudy.run.generate.sampling import Sampling
from understudy.tasks.slots import Slots

SLOTS = Slots(("name",), ("name", "food", "area"))
ASKED = "name[Zizzi], food[Thai], area[riverside]"


BLANK = {name: 0 for name in Completion.__dataclass_fields__ if name not in ("text", "ids", "finish")}


def asked(*texts, finish="end"):
    """(an engine that says these texts one after another, what it was asked)."""
    heard: list[tuple[str, Sampling]] = []

    def ask(text, how):
        heard.append((text, how))
        return Completion(text=texts[min(len(heard), len(texts)) - 1], ids=(len(heard),), finish=finish, **BLANK)

    return ask, heard


def test_a_whole_answer_is_asked_for_once():
    ask, heard = asked("⟨name⟩ is Thai, by the river.")
    assert covered(ASKED, SLOTS, ask, Sampling(seed=3)).text == "Zizzi is Thai, by the river." and len(heard) == 1


def test_the_answer_that_says_most_is_kept():
    ask, heard = asked("⟨name⟩.", "⟨name⟩ is Thai.", "Nothing.")
    said = covered(ASKED, SLOTS, ask, Sampling(seed=3))
    assert said.text == "Zizzi is Thai." and SLOTS.flags(ASKED, said.text) == ("area[riverside] is not mentioned",)
    assert [how.temperature for _, how in heard[:2]] == [0, 0.7] and [how.seed for _, how in heard[:3]] == [3, 4, 5]
    ask, heard = asked("⟨name⟩.", "⟨name⟩ is Thai, by the river.", "Nothing.")
    assert covered(ASKED, SLOTS, ask, Sampling()).text.endswith("river.") and len(heard) == 2


def test_what_no_try_says_is_asked_for_by_itself():
    ask, heard = asked(*["⟨name⟩ is Thai."] * 6, "Well.", "⟨name⟩ is by the river.")
    said = covered(ASKED, SLOTS, ask, Sampling())
    assert said.text == "Zizzi is Thai. Zizzi is by the river." and said.ids == (1, 8)
    assert heard[6][0] == "name[Zizzi], area[riverside]"
    ask, heard = asked(*["⟨name⟩ is Thai."] * 6, finish="length")
    assert covered(ASKED, SLOTS, ask, Sampling()).finish == "length" and len(heard) == 6, "what was cut is not gone on with"


def test_a_text_that_is_no_list_is_asked_for_once():
    ask, heard = asked("Well.")
    assert covered("hello", SLOTS, ask, Sampling()).text == "Well." and len(heard) == 1
