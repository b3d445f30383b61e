"""The exposition: whole scenarios against golden files, then caps, shares and hostile names."""

from __future__ import annotations

import json
import subprocess
from io import BytesIO

import pytest
from conftest import LOGS, line
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent_exporter.config import parse
from agent_exporter.detectors.finding import RESULTS
from agent_exporter.detectors.kinds import TOPICS
from agent_exporter.lines import Batch
from agent_exporter.metrics import cells
from agent_exporter.metrics.cells import CELL_TYPES, Baseline
from agent_exporter.metrics.collector import Collector
from agent_exporter.metrics.families import FAMILIES
from agent_exporter.metrics.limits import MAX_LABEL, SAMPLES_PER_CELL, Limits, label
from agent_exporter.sources import Source
from agent_exporter.stages import Stages, agent_settings, render
from agent_exporter.state import MemoryStore

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Lines(Source):
    """A source of lines given beforehand."""

    def __init__(self, *lines: bytes, name: str = "test") -> None:
        self.name = name
        self.lines = list(lines)

    def read(self):
        self.finished = True
        return Batch(self.lines)


def run(*lines: bytes, config: str = "") -> Stages:
    """Everything that a log of the past goes through, but for spans."""
    settings = parse(config)
    stages = Stages(settings, MemoryStore(CELL_TYPES), [Lines(*lines)], live=False)
    stages.pipeline.drain()
    return stages


def text(stages: Stages, *, openmetrics: bool = False, now: float | None = None) -> str:
    """The exposition."""
    pipeline = stages.pipeline
    live = stages.live(pipeline.newest if now is None else now)
    page = BytesIO()
    render(page, pipeline.store.committed, live, OPENMETRICS if openmetrics else "text/plain")
    return page.getvalue().decode()


def samples(stages: Stages, **kwargs) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name to label values (in the order of label names) to value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse_text(text(stages, **kwargs)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


@pytest.mark.parametrize("name", ["article", "chain"])
@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_log_becomes_this_exposition(name, openmetrics, golden):
    """The whole page, in both formats."""
    stages = run(*(LOGS / f"{name}.ndjson").read_bytes().splitlines())
    golden(f"{name}.{'om' if openmetrics else 'prom'}", text(stages, openmetrics=openmetrics))


def test_openmetrics_is_what_its_parser_accepts_with_exemplars_and_creation_times():
    """The strict parser of prometheus_client."""
    stages = run(*(LOGS / "chain.ndjson").read_bytes().splitlines())
    families = list(parse_openmetrics(text(stages, openmetrics=True)))
    exemplars = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    created = [sample for family in families for sample in family.samples if sample.name.endswith("_created")]
    assert {exemplar.labels["trace_id"] for exemplar in exemplars} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert created


@pytest.mark.parametrize(("second", "quiet"), [(-1, True), (0, True), (119, True), (121, False), (3600, False)])
def test_an_agent_is_silent_by_plan_until_its_first_line_after_its_quiet_hours_is_due(second, quiet):
    """Two expected intervals, at which a rule calls it silent: it had no reason to log before."""
    config = parse('agents: {a: {expected_interval: 1m, quiet_hours: "22:00-06:00"}, b: {quiet_hours: "22:00-06:00"}}')
    six = 20_000 * 86_400 + 6 * 3600
    assert agent_settings(config, "a", six + second).quiet is quiet
    assert agent_settings(config, "b", six + second).quiet is (second < 0)


# `agent_quiet_hours` is 0 or 1, the hours are its meaning and not its unit; the linter cannot know.
KNOWN_LINT = 'agent_quiet_hours use base unit "seconds" instead of "hours"\n'


def test_promtool_finds_nothing_else_to_say(program):
    """`promtool check metrics` on the exposition of a chain."""
    page = text(run(*(LOGS / "chain.ndjson").read_bytes().splitlines()))
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.stdout, checked.stderr) == ("", KNOWN_LINT)


def test_every_family_of_the_table_is_told_of_even_without_samples():
    """HELP and TYPE tell what there is."""
    page = text(run())
    for name, family in FAMILIES.items():
        assert f"# TYPE {name} {family.type}\n" in page


def test_closed_labels_stand_at_zero_as_soon_as_their_agent_and_action_are_seen():
    """`increase` needs a zero to start from."""
    found = samples(run(line()))
    assert found["agent_actions_total"] == {
        ("search", "a", status): float(status == "success")
        for status in ("success", "error", "timeout", "cancelled", "other")
    }
    assert found["agent_retries_total"] == {("search", "a"): 0.0}
    assert found["agent_heartbeats_total"] == {("a", state): 0.0 for state in ("idle", "working", "other")}


def test_a_heartbeat_is_a_sign_of_life_and_not_work():
    """It moves last-active, counts in its own metric and opens no session."""
    beat = line(action="heartbeat", output={"state": "working"}, timestamp="2026-03-18T09:20:00Z", tokens={"prompt": 5})
    found = samples(run(line(), beat))
    assert found["agent_last_active_timestamp_seconds"][("a",)] == 1773825600
    assert found["agent_last_action_timestamp_seconds"][("a",)] == 1773825332.441
    assert found["agent_state_timestamp_seconds"] == {("a", "idle"): 0, ("a", "working"): 1773825600}
    assert ("heartbeat", "a", "success") not in found["agent_actions_total"]
    assert found["agent_tokens_today"] == {("a",): 0}
    assert found["agent_sessions_active"] == {("a",): 1}
    assert samples(run(beat))["agent_sessions_active"] == {("a",): 0}


def test_what_is_unknown_is_not_zero():
    """An action without a duration is in no bucket, without tokens in no model."""
    found = samples(run(line()))
    assert found["agent_action_duration_seconds_count"] == {("search", "a"): 0}
    assert "agent_tokens_total" not in found
    assert samples(run(line(duration_ms=0, tokens={"prompt": 0})))["agent_tokens_total"] == {
        ("a", "unknown", "completion"): 0,
        ("a", "unknown", "prompt"): 0,
    }


def test_tokens_today_are_those_of_the_utc_day_and_fall_to_zero_by_the_clock():
    """A late line of yesterday does not count today, midnight needs no line."""
    stages = run(
        line(timestamp="2026-03-18T23:59:59Z", tokens={"prompt": 1}),
        line(timestamp="2026-03-19T00:00:01Z", tokens={"prompt": 10, "cost_usd": 0.5}),
        line(timestamp="2026-03-18T23:59:58Z", tokens={"prompt": 100}),
        line(timestamp="2026-03-01T00:00:00Z", tokens={"prompt": 1000}),
    )
    assert samples(stages)["agent_tokens_today"] == {("a",): 10}
    assert samples(stages)["agent_cost_usd_today"] == {("a",): 0.5}
    assert samples(stages, now=1773878398)["agent_tokens_today"] == {("a",): 101}
    assert samples(stages, now=1773964801)["agent_tokens_today"] == {("a",): 0}


def test_sessions_are_counted_by_how_they_ended():
    """completed and failed beat ended; what goes quiet is abandoned; what is still warm is active."""
    end = {"session_end": True}
    stages = run(
        line(session_id="1", metadata=end | {"task_completed": True}),
        line(session_id="2", metadata=end | {"task_completed": False}),
        line(session_id="3", metadata=end),
        line(session_id="4", tokens={"prompt": 3000}, duration_ms=1000),
        line(session_id="5", timestamp="2026-03-18T09:25:40Z"),
        line(session_id="3", timestamp="2026-03-18T09:15:33Z"),
    )
    found = samples(stages)
    assert {key[1]: value for key, value in found["agent_sessions_total"].items()} == {
        "completed": 1, "failed": 1, "ended": 1, "abandoned": 1, "terminated": 0,
    }  # fmt: skip
    assert found["agent_sessions_active"] == {("a",): 1}
    assert found["agent_session_tokens_sum"] == {("a", "default"): 3000}


def test_a_baseline_is_the_mean_of_the_first_seven_days_and_then_frozen():
    """Nothing is shown before, nothing moves after; the config can begin it anew."""
    days = [
        line(timestamp=f"2026-03-{day:02}T12:00:00Z", output={"confidence": 0.9 if day < 8 else 0.1})
        for day in range(1, 20)
    ]
    assert "agent_baseline_ratio" not in samples(run(*days[:7]))
    assert samples(run(*days))["agent_baseline_ratio"] == {("a", "confidence"): pytest.approx(0.9)}
    anew = samples(run(*days, config="agents: {a: {baseline_from: 2026-03-07}}"))
    assert anew["agent_baseline_ratio"] == {("a", "confidence"): pytest.approx((0.9 + 6 * 0.1) / 7)}


def test_the_team_of_the_config_wins_over_the_last_one_seen():
    """There is exactly one agent_info per agent."""
    lines = [
        line(metadata={"team": "one"}),
        line(metadata={"team": "two"}, timestamp="2026-03-18T10:00:00Z"),
        line(metadata={"team": "one"}, action="late"),
    ]
    assert samples(run(*lines))["agent_info"] == {("a", "two"): 1}
    assert samples(run(*lines, config="agents: {'*': {team: three}}"))["agent_info"] == {("a", "three"): 1}


def test_a_configured_agent_is_there_before_its_first_line():
    """With its cycle and budgets, and without having ever been seen."""
    found = samples(
        run(
            config="agents: {b: {expected_interval: 60s, daily_tokens: 5, daily_cost_usd: 2}, 'x*': {}, old: {retired: true}}"
        )
    )
    assert found["agent_info"] == {("b", ""): 1}
    assert found["agent_expected_cycle_seconds"] == {("b",): 60}
    assert found["agent_daily_token_budget"] == {("b",): 5}
    assert found["agent_daily_cost_budget_usd"] == {("b",): 2}
    assert "agent_last_active_timestamp_seconds" not in found


def test_budgets_and_times_of_task_types_are_series():
    """So that rules carry no numbers."""
    found = samples(run(config="task_types: {batch: {session_tokens: 7, session_cost_usd: 1, max_duration: 1h}}"))
    assert found["agent_session_token_budget"] == {("batch",): 7, ("default",): 50000}
    assert found["agent_session_cost_budget_usd"] == {("batch",): 1}
    assert found["agent_session_max_duration_seconds"] == {("batch",): 3600, ("default",): 300}


def test_gen_ai_names_count_calls_of_models_only_and_can_be_switched_off():
    """As the conventions have them, not per agent."""
    lines = [
        line(action="llm_call", duration_ms=500, tokens={"prompt": 5, "completion": 2, "model": "m"}),
        line(tokens={"prompt": 9}),
    ]
    found = samples(run(*lines))
    assert found["gen_ai_client_token_usage_sum"] == {("chat", "m", "input"): 5, ("chat", "m", "output"): 2}
    assert found["gen_ai_client_operation_duration_seconds_count"] == {("chat", "m"): 1}
    assert "gen_ai" not in text(run(*lines, config="metrics: {gen_ai: false}"))


# --- caps ----------------------------------------------------------------------------------------------------------


def total(found, name: str) -> float:
    """The sum over all label sets."""
    return sum(found.get(name, {}).values())


def test_many_agents_fill_the_cap_and_totals_stay_exact():
    """Beyond the cap everything is `_overflow`, to the unit."""
    lines = [
        line(agent_id=f"agent-{n}", session_id=f"s{n}", tokens={"prompt": 1, "cost_usd": 0.25}) for n in range(3_000)
    ]
    stages = run(*lines, config="metrics: {max_series_per_family: 100}")
    found = samples(stages)
    assert len(found["agent_info"]) <= 101
    assert ("_overflow", "") in found["agent_info"]
    assert total(found, "agent_actions_total") == 3_000
    assert total(found, "agent_tokens_total") == 3_000
    assert total(found, "agent_cost_usd_total") == 750
    assert total(found, "agent_sessions_active") == 3_000
    assert found["agent_exporter_series_overflow_total"][("agent",)] > 0


def test_one_agent_takes_only_its_share():
    """Its own further actions become its `_overflow`; other agents still find room."""
    lines = [line(action=f"action-{n}") for n in range(1_000)] + [line(agent_id="b")]
    found = samples(run(*lines, config="metrics: {max_series_per_family: 100}"))
    mine = [key for key in found["agent_retries_total"] if key[1] == "a"]
    assert len(mine) == 11
    assert found["agent_actions_total"][("_overflow", "a", "success")] == 990
    assert ("search", "b") in found["agent_retries_total"]


def test_configured_agents_find_room_after_junk():
    """A fifth of every bound is kept for them."""
    junk = [line(agent_id=f"junk-{n}") for n in range(1_000)]
    wanted = [line(agent_id=f"wanted-{n}") for n in range(15)]
    names = ", ".join(f"wanted-{n}: {{}}" for n in range(15))
    found = samples(run(*junk, *wanted, config=f"metrics: {{max_series_per_family: 100}}\nagents: {{{names}}}"))
    assert all(("search", f"wanted-{n}", "success") in found["agent_actions_total"] for n in range(15))


def test_the_sample_budget_holds_for_everything_together():
    """The page never has more samples than max_samples plus what does not depend on agents."""
    lines = [
        line(agent_id=f"a{n % 97}", action=f"x{n % 89}", status="error", error={"type": f"e{n}"},
             tokens={"prompt": 1, "model": f"m{n}"}, metadata={"task_type": f"t{n}"})
        for n in range(5_000)
    ]  # fmt: skip
    stages = run(*lines, config="metrics: {max_samples: 3000}")
    page = text(stages, openmetrics=True)
    agents = [row for row in page.splitlines() if row.startswith("agent_") and not row.startswith("agent_exporter")]
    assert len(agents) <= 3000 + 150
    found = samples(stages)
    assert total(found, "agent_actions_total") == 5_000
    assert total(found, "agent_errors_total") == 5_000
    assert total(found, "agent_tokens_total") == 5_000


def test_only_the_first_hundred_models_error_types_and_task_types_are_named():
    """Those names come from outside and have no bound of their own."""
    lines = [
        line(agent_id=f"a{n % 10}", status="error", error={"type": f"e{n}"}, tokens={"prompt": 1, "model": f"m{n}"})
        for n in range(300)
    ]
    found = samples(run(*lines))
    assert len({key[1] for key in found["agent_errors_total"]}) == 101
    assert len({key[1] for key in found["agent_tokens_total"]}) == 101
    assert total(found, "agent_errors_total") == 300


@pytest.mark.parametrize("kind", SAMPLES_PER_CELL, ids=lambda kind: kind.__name__)
def test_a_cell_makes_no_more_samples_than_the_budget_reckons(kind):
    """SAMPLES_PER_CELL is counted on a full page: no sample more, nor less."""
    full = line(
        action="llm_call", status="error", error={"type": "e"}, duration_ms=5, output={"confidence": 0.5},
        tokens={"prompt": 1, "completion": 1, "model": "m", "cost_usd": 1}, parent_trace_id="t",
        metadata={"feedback": 0, "task_completed": True, "session_end": True, "retry_count": 1, "fallback_used": True},
    )  # fmt: skip
    config = "agents: {a: {expected_interval: 1s, daily_tokens: 1, daily_cost_usd: 1}}\nmetrics: {gen_ai: false}"
    stages = run(full, config=config)
    name = {row: name for name, row in CELL_TYPES.items()}[kind]
    pipeline = stages.pipeline
    agent = stages.tally.agents["a"].cell
    agent.created, agent.clock_offset = 1.0, 1.0
    agent.baselines = {
        metric: Baseline(0.0, 1.0, count=1, frozen=True) for metric in ("confidence", "feedback", "completion")
    }
    agent.terminations = {kind: dict.fromkeys(RESULTS, 0) for kind, topic in TOPICS.items() if topic.stops}
    stages.tally.touch(agent)
    pipeline.commit()

    def count(*without: str) -> int:
        rows = {key: value for key, value in pipeline.store.committed.items() if key not in without}
        families = Collector(rows, stages.live(pipeline.newest), created=True).collect()
        return sum(len(family.samples) for family in families)

    assert count() - count(name) == SAMPLES_PER_CELL[kind]


def test_an_agent_that_is_forgotten_gives_its_room_back():
    """Counting cells in and out ends at zero."""
    stages = run(*[line(agent_id=f"a{n}", action=f"x{n % 7}", tokens={"prompt": 1}) for n in range(50)])
    tally = stages.tally
    for name in list(tally.agents):
        tally.forget(name)
    stages.pipeline.commit()
    assert (tally.limits.samples, set(tally.limits.sets.values())) == (0, {0})
    assert "agent_info{" not in text(stages)


def test_an_agent_that_has_not_been_seen_for_its_time_to_live_is_forgotten():
    """Its series end; a configured one stays."""
    stages = run(line(), line(agent_id="b"), config="agents: {b: {}}\nmetrics: {agent_ttl: 1h}")
    tally = stages.tally
    stages.pipeline.chain.tick(stages.pipeline.newest + 3_599)
    assert set(tally.agents) == {"a", "b"}
    stages.pipeline.chain.tick(stages.pipeline.newest + 3_601)
    assert set(tally.agents) == {"b"}


HOSTILE = [
    "a\nb 1\nfake_metric 5", 'x"} 1', "\\", "<img src=x onerror=alert(1)>", "{{ template }}", "\x00\x1b[31m", "\u202egnp.exe",
    "é" * 128, "_overflow", "__name__", "a" * 256,
]  # fmt: skip


def test_hostile_names_neither_break_the_page_nor_merge(program):
    """Text in log lines is written by models and whoever prompts them."""
    lines = [
        line(agent_id=name, action=name, session_id=name, status="error", error={"type": name},
             tokens={"prompt": 1, "model": name}, metadata={"team": name, "task_type": name}, parent_trace_id=name)
        for name in HOSTILE
    ]  # fmt: skip
    stages = run(*lines)
    page = text(stages)
    assert list(parse_openmetrics(text(stages, openmetrics=True)))
    found = samples(stages)
    assert len(found["agent_info"]) == len(HOSTILE)
    assert all(len(value.encode()) <= MAX_LABEL for key in found["agent_info"] for value in key)
    assert all(name in FAMILIES or name.rsplit("_", 1)[0] in FAMILIES for name in found)
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page.encode(), capture_output=True, check=False
    )
    assert checked.stderr.decode() == KNOWN_LINT


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=20))
def test_no_two_names_become_one_label(names):
    """And none is longer than the bound."""
    labels = [label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert all(len(value.encode()) <= MAX_LABEL for value in labels)


actions = st.builds(
    lambda **fields: line(**{key: value for key, value in fields.items() if value is not None}),
    agent_id=st.sampled_from([f"a{n}" for n in range(30)]),
    action=st.sampled_from([f"x{n}" for n in range(30)]),
    status=st.sampled_from(["success", "error", "timeout", "odd"]),
    duration_ms=st.none() | st.integers(0, 10**7),
    tokens=st.none() | st.fixed_dictionaries({"prompt": st.integers(0, 1000), "model": st.sampled_from("mnopq")}),
    session_id=st.sampled_from("stuv"),
)


@given(st.lists(actions, max_size=60), st.integers(10, 40))
def test_totals_are_exact_under_any_caps(lines, cap):
    """Whatever overflows: the sums over all labels are the sums over the lines."""
    found = samples(run(*lines, config=f"metrics: {{max_series_per_family: {cap}, max_samples: 1000}}"))
    records = [json.loads(text) for text in lines]
    assert total(found, "agent_actions_total") == len(lines)
    assert total(found, "agent_tokens_total") == sum(record.get("tokens", {}).get("prompt", 0) for record in records)
    assert total(found, "agent_action_duration_seconds_count") == sum("duration_ms" in record for record in records)
    assert total(found, "agent_errors_total") == sum(record["status"] in {"error", "timeout"} for record in records)
    assert total(found, "agent_exporter_lines_duplicate_total") == 0
    assert total(found, "agent_exporter_lines_read_total") == len(lines)


def test_limits_keep_a_fifth_for_configured_agents():
    """Of label sets and of samples alike."""
    limits = Limits(max_series_per_family=10, max_samples=10_000)
    admitted = [limits.admit(cells.AgentCell, f"a{n}", configured=False) for n in range(12)]
    assert sum(admitted) == 8
    assert [limits.admit(cells.AgentCell, f"c{n}", configured=True) for n in range(3)] == [True, True, False]


def test_a_line_that_finds_no_room_is_counted_once_in_series_overflow():
    """Even where its agent's own `_overflow` finds none either."""
    lines = [line(agent_id=f"a{n % 20}", action=f"x{n}", session_id="s") for n in range(2_000)]
    found = samples(run(*lines, config="metrics: {max_series_per_family: 10, max_samples: 1000}"))
    named = {key: value for key, value in found["agent_actions_total"].items() if "_overflow" not in key}
    assert found["agent_exporter_series_overflow_total"][("action",)] == 2_000 - sum(named.values())


def test_calls_of_models_are_told_from_tools_under_overflow_too():
    """The names are gone, the kind of each call is not."""
    lines = [line(action=f"tool-{n}", tokens={"prompt": 1, "model": "m"}) for n in range(50)]
    lines += [line(action=f"chat-{n}", tokens={"prompt": 1, "model": "m"}) for n in range(50)]
    found = samples(run(*lines, config="metrics: {max_series_per_family: 10}"))
    assert found["gen_ai_client_token_usage_sum"][("chat", "m", "input")] == 50
