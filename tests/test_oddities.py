"""What is odd about the lines that a running exporter reads: counted, with one example each."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from conftest import line
from test_metrics import Lines
from test_status import Site, read

from agent_exporter.lines import Batch
from agent_exporter.lint import WARNINGS, Lint
from agent_exporter.oddities import COUNTED, EVERY, FIRST, RENEW, Oddities
from agent_exporter.prices import Prices
from agent_exporter.statuses import WORDS


def oddities() -> Oddities:
    prices = Prices()
    return Oddities(WORDS, lambda: prices)


ODD = {
    "field_ignored": line(metadata={"feedback": 7}),
    "field_misnamed": line(durationMs=3),
    "record_inside": json.dumps({"log": line().decode(), "stream": "stdout"}).encode(),
    "content_not_json": line(output=[float("nan")]),
    "timestamp_ahead": line(timestamp="9999-12-31T23:59:59.5Z"),
    "status_other": line(status="meh"),
    "model_unpriced": line(tokens={"prompt": 1, "model": "own"}),
    "prompt_without_cache": line(tokens={"prompt": 1, "cache_read": 2}),
}


def counts(site: Site) -> dict[str, int]:
    cells = site.stages.tally.counts
    return {name: cell.count for (kind, name), cell in cells.items() if kind == "line_warning" and cell.count}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_line_counts_as_what_validate_says_of_it(kind):
    """And a clean one beside it as nothing."""
    site = Site(line(), ODD[kind], line(tokens={"prompt": 1, "model": "gpt-4o", "cost_usd": 1}))
    assert counts(site) == {kind: 1}
    assert [*site.stages.pipeline.oddities.examples] == [kind]


def test_every_warning_of_validate_is_counted_but_that_of_a_files_zone():
    """Which the clock offset of an agent says live."""
    assert {*WARNINGS} - {*COUNTED} == {"zone"}
    assert {*ODD} | {"whole_seconds"} == {*COUNTED}


@pytest.mark.parametrize(
    "text",
    [
        line(output=[float("nan")], metadata={"feedback": 7, "retry_count": "x"}, trace_id="x"),
        line(metadata={"feedback": float("nan")}, status="meh", durationMs=3),
        b"web-1 | " + line(trace_id=5, span_id=6),
        b"web-1 | " + line(output=[float("nan")]),
        line(tokens={"prompt": 1, "cache_read": 2, "model": 7}, error={"type": 5, "message": 6}),
    ],
)
def test_one_line_counts_as_many_oddities_as_validate_names(text):
    """Whatever stands before it."""
    _, remarks = Lint().line(text)
    assert remarks
    assert counts(Site(text)) == Counter(remark.kind for remark in remarks)


def test_times_on_whole_seconds_count_once_for_a_source():
    """However many lines there are."""
    site = Site(*(line(timestamp=f"2026-03-18T09:15:{second:02}Z") for second in range(40)))
    site.stages.pipeline.feed(site.stages.pipeline.sources[0], Batch([line(timestamp="2026-03-18T09:15:50Z")] * 30))
    assert counts(site) == {"whole_seconds": 1}
    assert (
        Site(*(line(timestamp=f"2026-03-18T09:15:{n:02}.5Z") for n in range(40))).stages.pipeline.oddities.examples
        == {}
    )


@pytest.mark.parametrize("size", [1, 7, 100, 999, 1000, 2500])
def test_a_sample_is_the_same_however_lines_arrive(size):
    """The first ones, and one of many after them."""
    looked = oddities()
    total = 0
    for begin in range(0, 5000, size):
        found = looked.batch("a", [ODD["field_misnamed"]] * min(size, 5000 - begin), 0.0)
        total += found.get("field_misnamed", 0)
    assert total == FIRST + len(range(EVERY, 5000, EVERY))


def test_an_example_is_kept_for_an_hour():
    """Then a newer one takes its place."""
    looked = oddities()
    for at, status in ((0.0, "first"), (RENEW, "second"), (RENEW + 1, "third")):
        looked.see("status_other", line(status=status))
        looked.batch("a", [], at)
    example = looked.examples["status_other"]
    assert (example.source, example.at) == ("a", RENEW + 1)
    assert example.detail.startswith("status third counts as other")


def test_the_page_shows_what_is_odd_with_an_example_and_without_content():
    """The most often first; text of a log is text, and what an agent was given stays out."""
    evil = "<script>alert(1)</script>"
    site = Site(line(status=evil, input="the secret"), line(status="meh"), line(durationMs=1, output="the secret"))
    html = site.pages.render("/")
    assert "secret" not in html
    assert "<script" not in html
    rows = read(html).rows
    at = rows.index(["Warning", "Times", "For example"])
    assert rows[at + 1 :] == [
        ["status other", "2", f"status {evil} counts as other: `statuses` of the config has the words test, 0 s ago"],
        ["field misnamed", "1", "durationMs is not a field: did you mean duration_ms? test, 0 s ago"],
    ]
    assert "What is odd" not in Site(line()).pages.render("/")


def test_after_a_restart_the_counts_stand_and_examples_come_anew():
    """The state keeps no text of lines."""
    site = Site(line(status="meh"))
    site.stages.pipeline.oddities.examples.clear()
    assert ["status other", "1", "none since this exporter began"] in site["/"].rows


def test_a_message_delivered_twice_is_odd_once():
    """Its oddity is counted where the line is."""
    source = Lines(name="otlp")
    site = Site()
    pipeline = site.stages.pipeline
    for _ in range(2):
        pipeline.feed(source, Batch([line(status="meh")], envelopes=[b"x"]))
    assert counts(site) == {"status_other": 1}
