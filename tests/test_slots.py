"""Values out of what is learned and back into what is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy.tasks.slots import Filler, fill, mask, mask_pair, slots_of

NAMES = ["Blue Spice", "The Mill", "Aromi", "Loch Fyne", "Zizzi", "The Punter", "Giraffe"]


def test_values_that_are_said_as_they_stand_are_found():
    pairs = [(f"name[{name}], food[{food}], kids[{kids}]", f"{name} serves {food} food{', also for kids' if kids == 'yes' else ''}.")
             for name in NAMES for food in ("French", "Thai") for kids in ("yes", "no")]
    assert slots_of(pairs).filled == ("food", "name")
    assert slots_of([(source, target.replace("French", "fine").replace("Thai", "hot")) for source, target in pairs]).filled == ("name",)
    assert slots_of([*pairs, ("a plain prompt", "a plain answer")]).filled == ()
    assert slots_of([("a[low], b[low]", "It is low.")] * 9).filled == (), "which of the two is said is not known"


def test_a_value_goes_out_and_comes_back():
    source, target = "name[Aromi], area[riverside], near[The Aromi Bar]", "Aromi is by the river, near The Aromi Bar."
    masked, learned = mask_pair(source, target, ("name", "near", "area"))
    assert masked == "name[⟨name~⟩], area[riverside], near[⟨near⟩]", "the area is said in other words here"
    assert learned == "⟨name~⟩ is by the river, near ⟨near⟩."
    asked, values = mask(source, ("name", "near"))
    assert asked == masked and values == {"name~": "Aromi", "near": "The Aromi Bar"}
    assert fill(learned, values) == target
    assert fill("⟨phone⟩ A.", values) == " A." and fill("⟨name⟩ A ⟨near#⟩.", values) == "Aromi A The Aromi Bar."
    assert mask("no list at all", ("name",)) == ("no list at all", {})


def test_a_word_that_may_mean_two_things_stays():
    source = "name[Aromi], price[more than £30], rating[high]"
    assert mask_pair(source, "Aromi has high prices and a high rating.", ("rating",))[0] == source
    assert mask_pair(source, "Aromi has a high rating.", ("rating",)) == (source.replace("[high]", "[⟨rating⟩]"), "Aromi has a ⟨rating⟩ rating.")
    assert mask_pair("name[Élan], rating[3 of 5]", "Élan: 3 of 5. Go to Élan!", ("name", "rating")) == ("name[⟨name~⟩], rating[⟨rating#⟩]", "⟨name~⟩: ⟨rating#⟩. Go to ⟨name~⟩!")
    assert mask_pair("name[Lo]", "Look, Lo.", ("name",))[1] == "Look, ⟨name⟩."


@given(st.lists(st.sampled_from(["⟨name⟩", "⟨", "⟩", "a", "⟨x⟩", " is ", "⟨na"]), max_size=12), st.integers(1, 5))
def test_pieces_say_what_the_whole_says(parts, size):
    text = "".join(parts)
    filler = Filler({"name": "Zizzi"})
    pieces = [text[at:at + size] for at in range(0, len(text), size)]
    assert "".join(filler.feed(piece) for piece in pieces) + filler.flush() == fill(text, {"name": "Zizzi"})


def test_what_the_texts_say_is_checked_and_what_they_do_not_is_not():
    pairs = [(f"name[{name}], food[French], code[{at}XQ]", f"{name} serves French food.") for at, name in enumerate(NAMES)]
    slots = slots_of(pairs)
    assert slots.filled == ("food", "name") and slots.checked == ("food", "name")  # nobody says a code
    assert slots.missing("name[Aromi], food[Thai], code[1XQ]", "Aromi it is.") == ("food",)
    assert slots.missing("no list", "text") == () and slots_of([("no list", "text")]).checked == ()
