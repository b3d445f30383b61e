"""The breaker against a real agent process, over HTTP: it really ends, once, whatever happens to the exporter."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import Running, eventually

from agent_exporter.breaker.audit import verify

HERE = Path(__file__).parent
CONFIG = """
agents:
  runaway:
    trusted_sources: ["LOG"]
    terminate: {url: "http://127.0.0.1:PORT/v1/sessions/{session_id}/terminate"}
task_types: {default: {session_tokens: 1000}}
state: {path: STATE}
breaker: {mode: enforce, max_terminations_per_minute: 1000, max_termination_share: 1, termination_grace_period: 2s, confirm_after: 1s}
"""
STAGES = ("none", "intended", "called", "confirmed")
"""What the audit log said last when the exporter was killed."""


class Agent:
    """The runaway, and the config that lets it be stopped."""

    def __init__(self, tmp_path: Path, sessions: int = 1, tokens: int = 100, seconds: float = 0.05, *more: str) -> None:
        self.log = tmp_path / "runaway.log"
        self.log.touch()
        arguments = [str(self.log), str(sessions), str(tokens), str(seconds), *more]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "runaway.py"), *arguments], stdout=subprocess.PIPE, text=True
        )
        port = self.process.stdout.readline().strip()
        self.config = tmp_path / "config.yaml"
        self.config.write_text(
            CONFIG.replace("LOG", str(self.log)).replace("PORT", port).replace("STATE", str(tmp_path / "state.db"))
        )
        self.audit = tmp_path / "audit.ndjson"

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def calls(self) -> list[dict]:
        """What it was told, in order."""
        path = Path(f"{self.log}.calls")
        return [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []

    @property
    def events(self) -> list[str]:
        """What the audit log says of its session, as far as whole lines are in it."""
        rows = self.audit.read_text().split("\n")[:-1] if self.audit.exists() else []
        return [event for row in rows if (event := json.loads(row)["event"]) in STAGES]

    def crossing(self, session: str = "s/0") -> float:
        """When it logged the line that went over the ceiling."""
        spent = 0
        for row in self.log.read_text().splitlines():
            line = json.loads(row)
            if line["session_id"] == session:
                spent += line.get("tokens", {}).get("prompt", 0)
                if spent > 1_000:
                    return datetime.fromisoformat(line["timestamp"]).timestamp()
        raise AssertionError("it never crossed")


def results(exporter: Running) -> Counter[str]:
    """What agent_terminations_total says, less zeros."""
    told = exporter.samples().get("agent_terminations_total", {})
    return Counter({dict(labels)["result"]: int(count) for labels, count in told.items() if count})


def test_a_runaway_ends_within_two_seconds_of_the_line_that_crosses(tmp_path):
    """By itself, having been told once; metrics and audit log say so."""
    with Agent(tmp_path) as agent, Running("--config", agent.config, agent.log) as exporter:
        agent.process.wait(30)
        ended = time.time()
        assert agent.process.returncode == 0
        [told] = agent.calls
        assert told["at"] - agent.crossing() < 2
        assert ended - agent.crossing() < 2 + 1  # the process has to end, too
        evidence = told["body"]["evidence"]
        assert 1_100 <= evidence.pop("tokens") <= 1_500  # as of the decision: it goes on until it is told
        assert evidence == {"max_tokens": 1000, "task_type": "default"}
        eventually(lambda: results(exporter) == {"confirmed": 1})
        outcome = (("agent_id", "runaway"), ("outcome", "terminated"), ("task_type", "default"))
        eventually(lambda: exporter.samples()["agent_sessions_total"][outcome] == 1)
        assert exporter.samples()["agent_breaker_enforcing"][()] == 1
    assert agent.events == ["intended", "called", "confirmed"]
    assert verify(agent.audit).faults == []


@pytest.mark.slow
def test_fifty_sessions_at_once_are_told_once_each(tmp_path):
    with Agent(tmp_path, 50, 200, 0.2) as agent, Running("--config", agent.config, agent.log) as exporter:
        agent.process.wait(60)
        told = Counter(call["session"] for call in agent.calls)
        assert told == Counter(f"s/{n}" for n in range(50))
        assert len({call["key"] for call in agent.calls}) == 50
        eventually(lambda: exporter.total("agent_sessions_unconfirmed") == 0)


@pytest.mark.slow
def test_fifty_calls_at_once_in_one_session_trip_it_once(tmp_path):
    """All of them over the ceiling together."""
    with Agent(tmp_path, 1, 100, 0.3, "parallel") as agent, Running("--config", agent.config, agent.log) as exporter:
        agent.process.wait(30)
        assert len(agent.calls) == 1
        eventually(lambda: results(exporter) == {"confirmed": 1})


def test_a_first_start_on_yesterdays_log_kills_and_pages_nobody(tmp_path):
    """Though it holds a runaway, and its agent still listens."""
    with Agent(tmp_path, 1, 100, 3600) as agent:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        for second in range(20):
            line = {
                "timestamp": (yesterday + timedelta(seconds=second)).isoformat(), "agent_id": "runaway",
                "session_id": "s/0", "action": "llm_call", "status": "success", "tokens": {"prompt": 100},
            }  # fmt: skip
            with agent.log.open("a") as log:
                log.write(json.dumps(line) + "\n")
        with Running("--config", agent.config, agent.log) as exporter:
            eventually(lambda: results(exporter) == {"observed": 1})
            samples = exporter.samples()
            assert set(samples["agent_finding_timestamp_seconds"].values()) == {0}  # what pages reads this
            assert exporter.total("agent_sessions_unconfirmed") == 0
        assert agent.calls == []


@pytest.mark.slow
def test_a_session_that_ignores_it_pages(tmp_path):
    """It was told once, and goes on after the grace period."""
    with Agent(tmp_path, 1, 100, 0.1, "ignore") as agent, Running("--config", agent.config, agent.log) as exporter:
        eventually(lambda: exporter.total("agent_sessions_unconfirmed") == 1)
        assert len(agent.calls) == 1


@pytest.mark.slow
def test_killed_at_any_moment_the_exporter_still_stops_it_with_one_key(tmp_path):
    """SIGKILL around the trip: never no call, never two keys, none once one was taken; `make test-kill` kills 100.

    The agent listens to the end, so that whatever call came would be seen. It is slow to stop and to answer, as only
    between the decision and the answer may a second call be needed.
    """
    kills = int(os.environ.get("KILLS", "8"))
    moments = random.Random(7)
    met: Counter[str] = Counter()
    for number in range(kills):
        folder = tmp_path / str(number)
        folder.mkdir()
        met[kill_once(folder, STAGES[number % len(STAGES)], moments)] += 1
    print(f"{kills} kills: {dict(met)} (last in the audit log, and calls before / after)")
    if kills >= 100:
        assert {stage.partition(",")[0] for stage in met} == set(STAGES)


def kill_once(folder: Path, wanted: str, moments: random.Random) -> str:
    """Kill the exporter a moment after it came to a stage; tells which one it was in by then, and the calls."""
    with Agent(folder, 1, 100, 0.02, "stay", f"slow={moments.uniform(0, 1)}") as agent:
        with Running("--config", agent.config, agent.log) as exporter:
            eventually(lambda: agent.log.read_text().count("\n") >= 8, every=0.005)
            eventually(lambda: wanted == "none" or wanted in agent.events, every=0.002)
            time.sleep(moments.uniform(0, 0.3))  # the moment is what is tried
            exporter.kill()
        stage, before = ["none", *agent.events][-1], len(agent.calls)
        with Running("--config", agent.config, agent.log) as exporter:
            eventually(lambda: "confirmed" in agent.events)
            assert exporter.stop() == 0
        calls = agent.calls
        with Running("--config", agent.config, agent.log).ready() as exporter:
            eventually(lambda: results(exporter)["confirmed"] == 1)
            assert exporter.stop() == 0
        assert agent.calls == calls  # none once it was confirmed
        assert len({call["key"] for call in calls}) == 1
        if stage == "none":
            assert len(calls) == 1
        elif stage == "intended":
            assert before <= len(calls) <= before + 1
        else:
            assert len(calls) == before == 1
        assert verify(agent.audit).faults == []
    return f"{stage}, {before} / {len(calls) - before}"
