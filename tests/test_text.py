"""Text of others, before it is shown."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_exporter.breaker.audit import Audit, verify
from agent_exporter.detectors.finding import Finding
from agent_exporter.explain.terminal import safe
from agent_exporter.metrics.limits import label
from agent_exporter.text import escaped, plain, printable, visible

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


@example("\x7f")
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_that_is_shown_steers_no_terminal_and_stays_the_same(value):
    """Controls of both kinds, marks of direction, separators of lines and hidden text are escaped."""
    shown = escaped(msgspec.json.encode(value))
    assert json.loads(shown) == value
    assert all(char.isprintable() for char in shown.decode())


def test_findings_and_the_audit_log_are_shown_like_that(tmp_path):
    """Names come from lines. What can be seen is shown as it is."""
    name = "\x9b31m\u202e\u2028\U000e0041ü"
    seen = "\\u009b31m\\u202e\\u2028\\udb40\\udc41ü"
    assert f'"agent_id":"{seen}"' in Finding(kind="loop", agent_id=name, at=0.0).to_json().decode()
    audit = Audit(tmp_path / "audit.ndjson")
    audit.write("intended", 0.0, agent_id=name)
    list(audit.changes())
    audit.committed()
    assert f'"agent_id":"{seen}"' in (tmp_path / "audit.ndjson").read_text()
    assert verify(tmp_path / "audit.ndjson").faults == []
