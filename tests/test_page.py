"""The landing page: what a person sees, and that no name from a log can do more than be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from conftest import line
from test_metrics import HOSTILE, run

from exporter.page import ago, landing


class Reader(HTMLParser):
    """Texts of the cells of tables, row by row; fails on anything that is not closed or not ours."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, _attrs):
        self.tags.add(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_shows_sources_and_agents():
    """The newest agent first; counts with separators."""
    stages = run(
        line(tokens={"prompt": 1500, "cost_usd": 0.5}, metadata={"team": "research"}),
        line(agent_id="b", timestamp="2026-03-18T09:20:32Z", status="error"),
        b"{}",
        b"[]",
        b"[]",
    )
    now = stages.pipeline.newest + 60
    rows = read(landing(stages.pipeline.store.committed, None, now)).rows
    assert ["test", "5", "2", "3 (not_object most)", "0", "1 min ago"] in rows
    assert rows[-2:] == [
        ["b", "", "1 min ago", "1", "1", "1", "0 tokens, $0.00"],
        ["a", "research", "5 min ago", "1", "0", "1", "1,500 tokens, $0.50"],
    ]


def test_a_page_of_hostile_names_has_only_our_tags():
    """Everything is escaped."""
    stages = run(*[line(agent_id=name, session_id=name, metadata={"team": name}) for name in HOSTILE])
    page = landing(stages.pipeline.store.committed, "<script>alert(1)</script>", 0.0)
    reader = read(page)
    assert reader.tags == read(landing({}, None, 0.0)).tags
    assert len(reader.rows) == 2 + 1 + len(HOSTILE)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)


def test_an_exporter_that_is_not_ready_says_why():
    """In words, not in colour alone."""
    assert "Not ready: the disk is full" in landing({}, "the disk is full", 0.0)
    assert "no agent has logged yet" in landing({}, None, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (86400 * 3, "3 d ago"), (-5, "0 s ago")],
)
def test_an_age_is_told_in_its_largest_unit(seconds, text):
    """And never as a negative one."""
    assert ago(1000.0, 1000.0 + seconds) == text
    assert ago(0.0, 5.0) == "never"
