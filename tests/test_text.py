"""Text of others, before it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.explain.terminal import safe
from agent_exporter.metrics.limits import label
from agent_exporter.text import plain, printable, visible

HIDDEN = [
    *("\x1b", "\x00", "\x7f", "\x85", "\n"),  # controls
    *("\u202e", "\u2066", "\u061c", "\u200f"),  # direction
    *("\u200b", "\u00ad", "\ufeff", "\u2060", "\u180e", "\u3164", "\u115f", "\u2800"),  # nothing to be seen
    *("\U000e0041", "\U000e0101", "\ufe00"),  # hidden text
    *("\u2028", "\u2029"),  # lines
]


@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
def test_what_is_not_seen_is_left_out_or_written_out(char):
    """A name with it is another name, and the label says so."""
    assert printable(f"a{char}b") == "ab"
    assert char not in plain(f"a{char}b")
    assert char not in safe(f"a{char}b")
    assert visible(f"a{char}b") == f"a{ascii(char)[1:-1]}b"
    assert label(f"a{char}b").startswith("ab~")


@pytest.mark.parametrize(
    "text", ["a b", "Größe", "研究員", "مرحبا", "🤖 bot", "⚙\ufe0f gear", "नमस्ते", "Việt", "INV-1002", ""]
)
def test_the_words_of_people_stay_as_they_are(text):
    """Of any language, with emoji."""
    assert printable(text) == visible(text) == plain(text) == label(text) == text


def test_a_space_of_any_width_is_a_space():
    """It parts words."""
    assert printable("10\u00a0000\u3000x") == "10 000 x"


@given(st.text())
def test_nothing_hidden_is_shown(text):
    """Whatever the text is."""
    for shown in (printable(text), visible(text), plain(text)):
        assert shown.isprintable()
        assert not set(shown) & set(HIDDEN)
