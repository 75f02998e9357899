"""Somebody decided what has a name: the list is reality, and short."""

from __future__ import annotations

import pytest

import understudy


def test_the_list_is_alphabetical_and_every_name_is_there():
    assert understudy.__all__ == sorted(understudy.__all__, key=lambda name: (not name[0].isupper(), not name.startswith("_"), name))
    for name in understudy.__all__:
        assert getattr(understudy, name) is not None
    assert dir(understudy) == sorted(understudy.__all__)


def test_another_name_is_refused_in_words():
    with pytest.raises(AttributeError, match="module 'understudy' has no attribute 'tain'"):
        understudy.tain  # noqa: B018
