"""Weeks of agents with noise and a daily rhythm, backfilled into a real Prometheus: each drift is told, health is not.

The samples are made here, each time from the same seeds: as files they would be megabytes of numbers. The shipped rules
are evaluated over all of them, by the machinery of `agent-exporter backtest`.
"""

from __future__ import annotations

import math
import random

import pytest
from running import ROOT

from agent_exporter.backtest import rules
from agent_exporter.backtest.alerts import Watch
from agent_exporter.backtest.prometheus import Database, Programs

START = 1_772_409_600
"""2026-03-02, a Monday."""
DAYS, DAY, STEP, INTERVAL = 24, 86400, 3600, 300
"""Counters are sampled every STEP seconds, gauges at each evaluation."""
DRIFTS = {
    "AgentQualityDrifting",
    "AgentOverconfident",
    "AgentActionMixDrifted",
    "AgentSessionTokensDrifted",
    "AgentCostAboveOwnWeek",
}
HEALTHY = {
    "confidence": 0.85, "correct": 0.85, "completion": 0.85, "feedback": 0.85, "search": 0.7, "tokens": 2000.0, "dollars": 0.02,
}  # fmt: skip
"""What an agent is like on a day: means, shares, and what a session takes."""


def fading(day: float) -> float:
    """From 0.85 to 0.65 in the two weeks after the first."""
    return 0.85 - 0.2 * min(1.0, max(0.0, (day - 7) / 14))


AGENTS = {
    "healthy": (lambda _: {}, set()),
    "healthy-too": (lambda _: {}, set()),
    "unsure": (lambda day: {"confidence": fading(day)}, {("AgentQualityDrifting", "confidence")}),
    "giving-up": (lambda day: {"completion": fading(day)}, {("AgentQualityDrifting", "completion")}),
    "disliked": (lambda day: {"feedback": fading(day)}, {("AgentQualityDrifting", "feedback")}),
    "too-sure": (lambda day: {"correct": fading(day) - 0.1 * (day > 20)}, {("AgentOverconfident", "")}),
    "turning": (lambda day: {"search": 0.7 if day < 14 else 0.2}, {("AgentActionMixDrifted", "")}),
    "creeping": (lambda day: {"tokens": 2000 * 1.03 ** max(0.0, day - 7)}, {("AgentSessionTokensDrifted", "")}),
    "spending": (lambda day: {"dollars": 0.02 if day < 20 else 0.12}, {("AgentCostAboveOwnWeek", "")}),
}
"""Name -> what differs on a day; (alert, metric) that have to fire, of all in DRIFTS."""


class Agent:
    """Counters that grow by ten actions an hour at noon and by two at night, each a session of one action."""

    def __init__(self, name: str, differs) -> None:
        self._differs = differs
        self._chance = random.Random(name)
        self._baseline: dict[str, float] = {}
        self._info = f'agent_info{{agent_id="{name}",team="t"}}'
        self._ratio = f'agent_baseline_ratio{{agent_id="{name}",metric='
        who = f'{{agent_id="{name}"'
        self._names = {
            "told": f"agent_confidence_ratio_count{who}}}",
            "confidence": f"agent_confidence_ratio_sum{who}}}",
            "correct": f"agent_confidence_success_total{who}}}",
            "rated": f"agent_feedback_ratio_count{who}}}",
            "feedback": f"agent_feedback_ratio_sum{who}}}",
            "search": f'agent_actions_total{who},action="search",status="success"}}',
            "write": f'agent_actions_total{who},action="write",status="success"}}',
            "completed": f'agent_sessions_total{who},task_type="default",outcome="completed"}}',
            "failed": f'agent_sessions_total{who},task_type="default",outcome="failed"}}',
            "sessions": f'agent_session_tokens_count{who},task_type="default"}}',
            "tokens": f'agent_session_tokens_sum{who},task_type="default"}}',
            "dollars": f'agent_cost_usd_total{who},model="m"}}',
        }
        self._totals = dict.fromkeys(self._names, 0.0)

    def at(self, day: float) -> str:
        """What is scraped STEP seconds after the last time, and the gauges since."""
        is_like = HEALTHY | self._differs(day)
        for _ in range(round(self._chance.gauss(6 + 4 * math.sin(2 * math.pi * day), 1))):
            self._act(**is_like)
        if day >= 7 and not self._baseline:  # frozen after the first week, as by the exporter
            had = self._totals
            self._baseline = {
                "confidence": had["confidence"] / had["told"],
                "completion": had["completed"] / had["sessions"],
                "feedback": had["feedback"] / had["rated"],
            }
        now = START + day * DAY
        gauges = {self._info: 1.0} | {f'{self._ratio}"{name}"}}': mean for name, mean in self._baseline.items()}
        lines = [
            f"{name} {value} {now - ago}"
            for name, value in gauges.items()
            for ago in range(STEP - INTERVAL, -1, -INTERVAL)
        ]
        lines += [f"{name} {self._totals[key]:.4f} {now}" for key, name in self._names.items()]
        return "\n".join(lines) + "\n"

    def _act(self, *, confidence, correct, completion, feedback, search, tokens, dollars) -> None:
        chance = self._chance
        for key, more in {
            "told": 1,
            "confidence": min(1.0, max(0.0, chance.gauss(confidence, 0.15))),
            "correct": chance.random() < correct,
            "rated": 1,
            "feedback": chance.random() < feedback,
            "search" if chance.random() < search else "write": 1,
            "completed" if chance.random() < completion else "failed": 1,
            "sessions": 1,
            "tokens": tokens * chance.lognormvariate(0, 0.4),
            "dollars": dollars * chance.lognormvariate(0, 0.4),
        }.items():
            self._totals[key] += more


@pytest.mark.slow
@pytest.mark.nightly
def test_each_drift_of_some_weeks_fires_its_alert_after_it_began_and_healthy_agents_are_quiet(program, tmp_path):
    """Of every agent all that ever fired, on any day; nothing in the first week."""
    shipped = [rule._replace(interval=INTERVAL) for rule in rules.read(ROOT / "alert_rules")[1]]
    plan = rules.plan([rule for rule in shipped if not rule.alert or rule.name in DRIFTS])
    agents = [Agent(name, differs) for name, (differs, _) in AGENTS.items()]
    database = Database(Programs(program("prometheus"), program("promtool")), tmp_path)
    fired, first = {name: set() for name in AGENTS}, DAYS
    try:
        for step in range(1, DAYS * DAY // STEP):
            day = step * STEP / DAY
            database.add("".join(agent.at(day) for agent in agents), START + step * STEP)
        database.finish()
        end = START + DAYS * DAY - STEP
        for level in plan.levels:
            database.record(level, START, end)
        with database.server() as server:
            for rule in plan.alerts:
                watch = Watch(rule)
                for labels, at, value in server.query(rule, START, end):
                    watch.see(labels, at, value)
                watch.end(end)
                for alert in watch.alerts:
                    told = dict(alert.labels)
                    fired[told["agent_id"]].add((rule.name, told.get("metric", "")))
                    first = min(first, (alert.at - START) / DAY)
    finally:
        database.close()
    assert {rule.name for rule in plan.alerts} == DRIFTS
    assert fired == {name: alerts for name, (_, alerts) in AGENTS.items()}
    assert first > 7
