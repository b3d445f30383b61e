"""Three weeks of an agent with noise and a daily rhythm, told to promtool: health stays quiet, slow drift does not.

The series are made here, each time from the same seeds: as files they would be megabytes of numbers.
"""

from __future__ import annotations

import math
import random
import subprocess

import pytest
import yaml
from running import ROOT

RULES = ROOT / "alert_rules"
DAYS, STEP = 21, 900
DRIFTS = [
    "AgentQualityDrifting",
    "AgentOverconfident",
    "AgentActionMixDrifted",
    "AgentSessionTokensDrifted",
    "AgentCostAboveOwnWeek",
]


def weeks(seed: int, level) -> dict[str, list[float]]:
    """Counters every 15 minutes: ten actions at noon, two at night; `level(day)` is quality and tokens of a day."""
    chance = random.Random(seed)
    totals = dict.fromkeys(("count", "sum", "success", "search", "write", "completed", "failed", "tokens", "cost"), 0.0)
    told: dict[str, list[float]] = {name: [] for name in totals}
    for step in range(DAYS * 86400 // STEP):
        day = step * STEP / 86400
        quality, size = level(day)
        for _ in range(round(chance.gauss(6 + 4 * math.sin(2 * math.pi * day), 1))):
            good = chance.random() < quality
            totals["count"] += 1
            totals["sum"] += min(1.0, max(0.0, chance.gauss(quality, 0.15)))
            totals["success"] += good
            totals["search" if chance.random() < 0.7 else "write"] += 1
            totals["completed" if good else "failed"] += 1
            totals["tokens"] += size * chance.lognormvariate(0, 0.4)
            totals["cost"] += 0.01 * size / 1000 * chance.lognormvariate(0, 0.4)
        for name, value in totals.items():
            told[name].append(round(value, 4))
    return told


def series(told: dict[str, list[float]]) -> list[dict[str, str]]:
    """As promtool takes them."""
    steps = len(told["count"])
    named = {
        'agent_info{agent_id="a",team="t"}': f"1x{steps}",
        'agent_baseline_ratio{agent_id="a",metric="confidence"}': f"_x{672} 0.85x{steps - 672}",
        'agent_baseline_ratio{agent_id="a",metric="completion"}': f"_x{672} 0.85x{steps - 672}",
        'agent_confidence_ratio_count{agent_id="a"}': "count",
        'agent_confidence_ratio_sum{agent_id="a"}': "sum",
        'agent_confidence_success_total{agent_id="a"}': "success",
        'agent_actions_total{agent_id="a",action="search",status="success"}': "search",
        'agent_actions_total{agent_id="a",action="write",status="success"}': "write",
        'agent_sessions_total{agent_id="a",task_type="default",outcome="completed"}': "completed",
        'agent_sessions_total{agent_id="a",task_type="default",outcome="failed"}': "failed",
        'agent_session_tokens_count{agent_id="a",task_type="default"}': "count",
        'agent_session_tokens_sum{agent_id="a",task_type="default"}': "tokens",
        'agent_cost_usd_total{agent_id="a",model="m"}': "cost",
    }
    return [
        {"series": name, "values": " ".join(map(str, told[values])) if values in told else values}
        for name, values in named.items()
    ]


def firing(program, tmp_path, told, days) -> set[str]:
    """Which of the drift alerts fire at one of these days: each is said to be quiet, and promtool tells who was not."""
    checks = [{"eval_time": f"{day}d", "alertname": name, "exp_alerts": []} for day in days for name in DRIFTS]
    test = {
        "rule_files": [str(RULES / f"{name}.rules.yml") for name in ("recording", "drift", "budget")],
        "evaluation_interval": "15m",
        "group_eval_order": ["recording", "recording_daily", "drift", "budget"],
        "tests": [{"interval": "15m", "input_series": series(told), "alert_rule_test": checks}],
    }
    path = tmp_path / "weeks.test.yml"
    path.write_text(yaml.safe_dump(test, width=10**9))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    fired = {name for name in DRIFTS if f"alertname: {name}," in output}
    assert bool(fired) == bool(done.returncode), output
    return fired


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_three_healthy_weeks_are_quiet(program, tmp_path, seed):
    """Noise and a daily rhythm are no drift, on any day."""
    told = weeks(seed, lambda _: (0.85, 2000))
    assert firing(program, tmp_path, told, range(8, DAYS)) == set()


@pytest.mark.slow
def test_quality_that_fades_over_two_weeks_and_contexts_that_creep_are_told(program, tmp_path):
    """From 0.85 to 0.65 after the first week, and a tenth more tokens each day: both, and nothing else."""
    told = weeks(3, lambda day: (0.85 - 0.2 * max(0.0, day - 7) / 14, 2000 * 1.13 ** max(0.0, day - 7)))
    assert firing(program, tmp_path, told, [9]) == set()
    assert firing(program, tmp_path, told, [20]) == {"AgentQualityDrifting", "AgentSessionTokensDrifted"}
