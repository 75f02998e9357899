"""Values out of what is learned and back into what is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy.tasks.slots import Filler, fill, mask, mask_target, open_slots, slots_of

NAMES = ["Blue Spice", "The Mill", "Aromi", "Loch Fyne", "Zizzi", "The Punter", "Giraffe"]


def test_open_values_are_found_and_closed_ones_are_not():
    pairs = [(f"name[{name}], food[{food}]", f"{name} serves {food} food.") for name in NAMES for food in ("French", "Thai")]
    assert open_slots(pairs) == ("name",)  # food has two values: they are words to learn
    assert open_slots([(source, target.replace("Aromi", "It")) for source, target in pairs]) == ()  # one in seven does not say it
    assert open_slots([*pairs, ("a plain prompt", "a plain answer")]) == ()


def test_a_value_goes_out_and_comes_back():
    source, target = "name[Aromi], area[riverside], near[Aromi Bar]", "Aromi is by the river, near Aromi Bar."
    masked, values = mask(source, ("name", "near"))
    assert masked == "name[⟨name⟩], area[riverside], near[⟨near⟩]" and values == {"name": "Aromi", "near": "Aromi Bar"}
    learned = mask_target(target, values)
    assert learned == "⟨name⟩ is by the river, near ⟨near⟩."
    assert fill(learned, values) == target
    assert fill("⟨phone⟩ A.", values) == " A."
    assert mask("no list at all", ("name",)) == ("no list at all", {})


@given(st.lists(st.sampled_from(["⟨name⟩", "⟨", "⟩", "a", "⟨x⟩", " is ", "⟨na"]), max_size=12), st.integers(1, 5))
def test_pieces_say_what_the_whole_says(parts, size):
    text = "".join(parts)
    filler = Filler({"name": "Zizzi"})
    pieces = [text[at:at + size] for at in range(0, len(text), size)]
    assert "".join(filler.feed(piece) for piece in pieces) + filler.flush() == fill(text, {"name": "Zizzi"})


def test_what_the_texts_say_is_checked_and_what_they_do_not_is_not():
    pairs = [(f"name[{name}], food[French], code[{at}XQ]", f"{name} serves French food.") for at, name in enumerate(NAMES)]
    slots = slots_of(pairs)
    assert slots.filled == ("name",) and slots.checked == ("food", "name")  # nobody says a code
    assert slots.missing("name[Aromi], food[Thai], code[1XQ]", "Aromi it is.") == ("food",)
    assert slots.missing("no list", "text") == () and slots_of([("no list", "text")]).checked == ()
