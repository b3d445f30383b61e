"""The status page judges as the alert rules do: the same thresholds, and the same verdict on the same series."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from datetime import UTC, datetime

import pytest
import yaml
from alerting import RULES
from conftest import line
from prometheus_client.parser import text_string_to_metric_families
from test_metrics import Lines, text

from agent_exporter import thresholds
from agent_exporter.backtest.rules import seconds
from agent_exporter.config import parse
from agent_exporter.detectors.kinds import TOPICS
from agent_exporter.lines import Batch
from agent_exporter.stages import MIRRORED, Stages
from agent_exporter.state import MemoryStore
from agent_exporter.status.pages import fleet, judge
from agent_exporter.status.snapshot import take_snapshot

EVERY = [
    rule
    for path in sorted(RULES.glob("*.rules.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RULE = {rule.get("alert") or rule["record"]: rule for rule in EVERY}
DAY = 1_773_792_000  # 2026-03-18: what promtool calls 0
STEP = 15

NUMBERS = [
    ("exporter:deaf:max", r"process_start_time_seconds\S* < (\S+)", thresholds.STARTING),
    ("agent:overdue:seconds", r"> on \(agent_id\) (\S+) \* agent:expected_cycle", thresholds.SILENT_CYCLES),
    ("agent:cut_off:seconds", r"on \(agent_id\) (\S+) \* agent:expected_cycle", thresholds.SILENT_CYCLES),
    ("agents:pipe_dead:seconds", r"unheard:seconds > (\S+) and", thresholds.UNHEARD),
    ("agents:pipe_dead:seconds", r"count\(agent:cut_off:seconds\) >= (\S+)", thresholds.CUT_OFF),
    ("agent:silent:seconds", r"agent:expected_cycle:seconds <= (\S+)", thresholds.UNHEARD),
    ("agent:silent:seconds", r"count\(agent:expected_cycle:seconds\) >= (\S+)", thresholds.CUT_OFF),
    ("AgentDailyTokensNearBudget", r">= (\S+) <= 1", thresholds.WARN_SHARE),
    ("AgentDailyCostNearBudget", r">= (\S+) <= 1", thresholds.WARN_SHARE),
    ("AgentQualityDrifting", r'drop3d\{metric="confidence"} > ([\d.]+)', thresholds.DRIFT["confidence"]),
    ("AgentQualityDrifting", r'drop3d\{metric!="confidence"} > ([\d.]+)', thresholds.DRIFT["completion"]),
    ("AgentQualityDrifting", r'drop3d\{metric!="confidence"} > ([\d.]+)', thresholds.DRIFT["feedback"]),
    ("AgentQualityDrifting", r"count3d >= (\S+)", thresholds.MIN_SAMPLES),
    ("AgentQualityDrifting", r"> on \(agent_id, metric\) (\S+) \* \S+error3d\s+and", thresholds.FALLING_ERRORS),
    ("AgentQualityDrifting", r"or \S+ > on \(agent_id, metric\) (\S+) \* ", thresholds.FLAT_ERRORS),
    ("agent:health_check:failing", r"success\[(\S+)s\]", thresholds.OUTAGE),
    *((topic.alert, r"< ([\d.]+)\)", thresholds.FRESH) for topic in TOPICS.values()),
]


@pytest.mark.parametrize(("name", "pattern", "number"), NUMBERS)
def test_a_threshold_of_the_page_is_that_of_the_rule(name, pattern, number):
    """And stands in it."""
    found = re.findall(pattern, RULE[name]["expr"])
    assert {float(text) for text in found} == {float(number)}


def test_an_agent_never_seen_is_waited_for_as_long():
    """The rule's `for`."""
    assert seconds(RULE["AgentNeverSeen"]["for"]) == thresholds.UNSEEN


CONFIG = {
    "agents": {
        "a": {"expected_interval": "30s"},
        "b": {"expected_interval": "30s"},
        "c": {"expected_interval": "1m"},
        "never": {"expected_interval": "1m"},
        "near": {"daily_tokens": 1000, "daily_cost_usd": 1},
        "over": {"daily_tokens": 1000, "daily_cost_usd": 1},
        "stuck": {"max_action_duration": "2m"},
    }
}
UNTIL = {  # seconds for which an agent logs, every 15
    "healthy": {"a": 1800, "b": 1800, "c": 1800},
    "one silent": {"a": 1800, "b": 600, "c": 1800},
    "a dead pipe": {"a": 900, "b": 900, "c": 900},
    "one silent before the pipe is dead": {"a": 900, "b": 300, "c": 900},
    "alone with others that are not due": {"a": 900, "b": 910, "c": 920},
}
OTHERS = {"near", "over", "stuck", "loops"}


def logged(name: str, at: int) -> list[bytes]:
    """What one agent logs at a time, in seconds since DAY."""
    stamp = datetime.fromtimestamp(DAY + at, UTC).isoformat()
    fields = {"agent_id": name, "timestamp": stamp, "session_id": f"{name}-{at}", "duration_ms": 10}
    if name == "stuck":
        beat = {"action": "heartbeat", "output": {"state": "working"}, "duration_ms": None}
        return [line(**fields | beat if at else fields)]
    if name in {"near", "over"}:
        used = {"near": 900, "over": 1100}[name]
        return [line(**fields, tokens={"prompt": used, "cost_usd": used / 1000})] if not at else []
    if name == "loops":
        return [line(**fields, metadata={"retry_count": 9})] if not at else []
    return [line(**fields, input={"at": at})]


def stages_at(scenario: str):
    """(time since DAY, the stages then), every STEP seconds of half an hour, with the lines that were logged until then."""
    now = [DAY]
    source = Lines(name="test")
    stages = Stages(parse(""), MemoryStore(MIRRORED), [source])
    stages.pipeline.clock = lambda: now[0]
    stages.config = parse(yaml.safe_dump(CONFIG))
    stages.tally.configure(stages.config.names(), DAY)  # agents that the config names exist from now on
    stages.recent.since = float(DAY - 3600)
    until = UNTIL[scenario] | ({} if "pipe" in scenario or "alone" in scenario else dict.fromkeys(OTHERS, 1800))
    until |= dict.fromkeys(OTHERS - until.keys(), 0)
    for at in range(0, 1801, STEP):
        now[0] = DAY + at
        lines = [one for name, end in until.items() if at <= end for one in logged(name, at)]
        if lines:
            stages.pipeline.feed(source, Batch(lines))
        stages.detectors.tick(DAY + at)
        stages.pipeline.commit()
        yield at, stages


def shown(stages: Stages, at: int) -> set[tuple[str, str]]:
    """(alert, agent) of all that the page has to say that an alert says."""
    seen = take_snapshot(stages, stages.live(DAY + at), None, None, None)
    pipe = judge(seen)
    said = {(one.alert, row.name) for row in fleet(seen, pipe) for one in row.conditions if one.alert}
    return said | ({("AgentLogPipeDead", "")} if pipe.dead is not None else set())


@pytest.mark.parametrize("scenario", UNTIL)
def test_page_and_rules_say_the_same_of_the_same_series(program, tmp_path, scenario):
    """At every minute of half an hour, but for what keeps alerts firing. Times are since DAY."""
    series: dict[str, dict[int, float]] = defaultdict(dict)
    checks = []
    for at, stages in stages_at(scenario):
        for family in text_string_to_metric_families(text(stages, now=DAY + at)):
            for sample in family.samples:
                labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                moved = sample.value - DAY if sample.name.endswith("timestamp_seconds") else sample.value
                if not sample.name.endswith(("_bucket", "_created")):
                    series[f'{sample.name}{{{labels},instance="1"}}'.replace("{,", "{")][at] = moved
        if at % 60 == 0 and at:
            samples = [
                {"labels": f'{{alertname="{alert}"{f", agent_id={json.dumps(agent)}" if agent else ""}}}', "value": 1}
                for alert, agent in sorted(shown(stages, at))
            ]
            names = "|".join(sorted(COMPARED))
            expr = f'sum by (alertname, agent_id) (ALERTS{{alertstate="firing", alertname=~"{names}"}})'
            checks.append({"expr": expr, "eval_time": f"{at}s", "exp_samples": samples})
    values = [
        {"series": name, "values": " ".join(str(points.get(at, "_")) for at in range(0, 1801, STEP))}
        for name, points in series.items()
    ]
    files = ("recording", "silence", "budget", "loop", "cascade")
    for name in files:  # the page does not keep an alert up while series are missing
        rules = (RULES / f"{name}.rules.yml").read_text()
        (tmp_path / f"{name}.rules.yml").write_text(re.sub(r"\n +keep_firing_for: \w+", "", rules))
    test = {
        "rule_files": [f"{name}.rules.yml" for name in files],
        "evaluation_interval": f"{STEP}s",
        "group_eval_order": ["recording", "recording_daily", "silence", "budget", "loop", "cascade"],
        "tests": [{"interval": f"{STEP}s", "input_series": values, "promql_expr_test": checks}],
    }
    path = tmp_path / "judge.test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


COMPARED = {
    "AgentSilent", "AgentStuck", "AgentNeverSeen", "AgentLogPipeDead", "AgentLoop", "AgentSessionOverBudget",
    "AgentDailyTokensNearBudget", "AgentDailyTokensOverBudget", "AgentDailyCostNearBudget", "AgentDailyCostOverBudget",
}  # fmt: skip
