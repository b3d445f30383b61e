"""Failures planted in the log of an invented fleet: all are found, where they are, and nothing else is."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from detecting import Kept
from incidents import CONFIG, START, Failure, Fleet

from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.lines import Batch
from agent_exporter.sources import Source
from agent_exporter.stages import Stages

SEEDS = range(int(os.environ.get("INCIDENT_SEEDS", "3")))  # a hundred by night: `make test-nightly`


def failure(found: dict) -> Failure:
    """A finding as `backtest` prints it, in the words of the truth."""
    kind = " ".join([found["kind"], *filter(None, [found["evidence"].get("loop")])])
    return Failure(kind, found["agent_id"], found.get("session_id") or found["trace_id"], found["at"])


def judge(found: list[Failure], fleet: Fleet, *, times: bool = True) -> None:
    """Fails with what was missed and what was false, in words, and recall and precision of the kinds concerned."""
    told = Counter(found)
    truth = Counter(one if times else one._replace(at="") for one in fleet.truth)
    missed, false = truth - told, told - truth
    right = Counter(kind for kind, *_ in (told & truth).elements())
    words = []
    for kind in sorted({kind for kind, *_ in missed + false}):
        lost = [one for one in missed.elements() if one.kind == kind]
        wrong = [one for one in false.elements() if one.kind == kind]
        recall, precision = right[kind] / (right[kind] + len(lost) or 1), right[kind] / (right[kind] + len(wrong) or 1)
        words.append(f"{kind}: recall {recall:.2f}, precision {precision:.2f}")
        words += [f"  missed in {one.session_id} of {one.agent_id} at {one.at}" for one in lost]
        for one in wrong:
            why = fleet.harmless.get(one.session_id, "nothing was planted there, or not then")
            words.append(f"  false in {one.session_id} of {one.agent_id} at {one.at}: {why}")
    if words:
        pytest.fail("\n".join(words), pytrace=False)


def backtest(fleet: Fleet, tmp_path, capfd, monkeypatch) -> list[Failure]:
    """What the command prints of the fleet's log, without the alerts of a Prometheus."""
    monkeypatch.setattr("agent_exporter.backtest.prometheus.find", lambda: None)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    logs: dict[str, list[bytes]] = {}
    for _, line in fleet.lines:
        agent = json.loads(line)["agent_id"]
        # One that is ahead would move the clock of the file on in leaps.
        logs.setdefault(agent if fleet.apart or agent.endswith("-ahead") else "fleet", []).append(line)
    for name, lines in logs.items():
        (tmp_path / f"{name}.log").write_bytes(b"\n".join(lines) + b"\n")
    assert command(["backtest", "--config", str(config), *map(str, tmp_path.glob("*.log"))]) == 0
    out, err = capfd.readouterr()
    assert "rejected" not in err
    return [failure(json.loads(line)) for line in out.splitlines()]


@pytest.mark.parametrize("apart", [False, True], ids=["in-one-file", "a-file-for-each-agent"])
@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_is_planted_is_found_and_nothing_else(seed, apart, tmp_path, capfd, monkeypatch):
    """Recall and precision of every kind are 1.00, whatever the agents' clocks say."""
    fleet = Fleet(seed, apart=apart)
    judge(backtest(fleet, tmp_path, capfd, monkeypatch), fleet)


def test_read_live_the_same_is_found():
    """Whenever the clock looks at it. Clocks that are off, and who is silent then, are the matter of test_clocks.py."""
    fleet, now, found = Fleet(7, apart=True), START, []
    stages = Stages(parse(CONFIG), Kept(), [])
    stages.listeners.append(lambda finding: found.append(json.loads(finding.to_json(w3c=False))))
    stages.pipeline.clock = lambda: now
    source = Source()
    source.name = "test"
    for written, line in fleet.lines:
        for looked in (*range(int(now) + 4, int(written), 60), written):
            now = looked
            stages.pipeline._tick()
        stages.pipeline.feed(source, Batch([line]))
    now += 10
    stages.pipeline._tick()
    # A clock that is ahead is cut to now, and `at` of a budget is the newest time of its session: both by design.
    judge([one._replace(at="") for one in map(failure, found)], fleet, times=False)
