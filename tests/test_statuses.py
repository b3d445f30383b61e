"""Whatever word a line has for its status, all that reads it sees the same."""

from __future__ import annotations

import pytest
from detecting import line
from test_explain import NOW, found, written
from test_metrics import run, text

from agent_exporter.action import decode
from agent_exporter.config import parse
from agent_exporter.explain import explain
from agent_exporter.explain.document import write
from agent_exporter.explain.unpack import open_logs
from agent_exporter.status.recent import ActionSummary


def failing(status: str) -> list[bytes]:
    """The same failure, again and again, but for what is never the same in it."""
    return [
        line(
            second,
            action="charge",
            status=status,
            input={"card": 1},
            error={"type": "Declined", "message": f"request {second}"},
            parent_trace_id="t",
        )
        for second in range(6)
    ]


@pytest.mark.parametrize("word", ["failed", "ERROR", "Exception", "went wrong"])
def test_a_failure_is_one_in_whatever_word(word, tmp_path):
    """Metrics and findings, `explain`, and the page's own rows."""
    usual, other = failing("error"), failing(word)
    assert text(run(*other)) == text(run(*usual))
    assert 'agent_loops_total{agent_id="a",kind="repeat"} 1.0' in text(run(*other))
    told = [write(found(written(tmp_path / "a.log", *lines), trace="t"), content=False) for lines in (other, usual)]
    assert told[0] == told[1]
    assert [ActionSummary.of(decode(one)) for one in other] == [ActionSummary.of(decode(one)) for one in usual]


def test_the_configs_words_are_those_of_metrics_and_of_explain(tmp_path):
    """Not the default ones."""
    config = "statuses: {success: [declined]}"
    lines = failing("Declined")
    assert 'status="success"} 6.0' in text(run(*lines, config=config))
    words = parse(config).statuses.words()
    with open_logs([written(tmp_path / "a.log", *lines)], lambda _: None, NOW, words) as logs:
        assert explain(parse(config), logs, trace="t").tasks[0].sums.failed == 0
