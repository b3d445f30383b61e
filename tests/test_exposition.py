"""Our own writer against prometheus_client's encoders: the same bytes."""

from __future__ import annotations

from io import BytesIO

import pytest
from conftest import LOGS, line
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder
from prometheus_client.exposition import generate_latest as text_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_encoder
from prometheus_client.utils import floatToGoString
from test_metrics import HOSTILE, OPENMETRICS, run

from agent_exporter.metrics import exposition
from agent_exporter.metrics.collector import Collector, Exposition, StaticCollector
from agent_exporter.metrics.exposition import Text, write
from agent_exporter.metrics.families import FAMILIES
from agent_exporter.metrics.samples import LE
from agent_exporter.stages import Stages, render


def expected(stages: Stages, now: float, *, openmetrics: bool) -> bytes:
    """The page as prometheus_client writes it."""
    collector = Collector(stages.pipeline.store.committed, stages.live(now), created=openmetrics)
    return (openmetrics_encoder if openmetrics else text_encoder)(collector)


def written(stages: Stages, now: float, *, openmetrics: bool) -> bytes:
    """The page as we write it."""
    page = BytesIO()
    write(page, stages.pipeline.store.committed, stages.live(now), openmetrics=openmetrics)
    return page.getvalue() + (b"# EOF\n" if openmetrics else b"")


def check(stages: Stages, now: float | None = None) -> bytes:
    """Both formats are the same bytes; the OpenMetrics page is handed back."""
    now = stages.pipeline.newest if now is None else now
    for openmetrics in (False, True):
        page = written(stages, now, openmetrics=openmetrics)
        assert page.splitlines() == expected(stages, now, openmetrics=openmetrics).splitlines()
        assert page == expected(stages, now, openmetrics=openmetrics)
    return page


def full(**fields) -> bytes:
    """A line that fills every family of its agent."""
    rest = {
        "status": "error", "error": {"type": "e"}, "duration_ms": 5, "output": {"confidence": 0.5},
        "tokens": {"prompt": 1, "completion": 1, "model": "m", "cost_usd": 0.1}, "parent_trace_id": "t",
        "metadata": {"feedback": 0, "task_completed": True, "session_end": True, "team": "x"},
    }  # fmt: skip
    return line(**({"action": "llm_call"} | rest | fields))


@pytest.mark.parametrize("name", ["article", "chain"])
def test_logs_of_the_world_are_written_as_prometheus_client_writes_them(name):
    """The whole page, in both formats."""
    check(run(*(LOGS / f"{name}.ndjson").read_bytes().splitlines()))


SCENARIOS = {
    "empty": ([], ""),
    "configured and silent": ([], "agents: {b: {expected_interval: 60s, daily_tokens: 5, daily_cost_usd: 2.5}}"),
    "hostile names": (
        [full(agent_id=name, action=name, session_id=name, error={"type": name}, parent_trace_id=name,
              tokens={"prompt": 1, "model": name}, metadata={"team": name, "task_type": name}) for name in HOSTILE],
        "",
    ),
    "many agents": ([full(agent_id=f"a{n}", action=f"x{n % 7}", session_id=f"s{n}") for n in range(300)], ""),
    "overflow": (
        [full(agent_id=f"a{n}", action=f"x{n}", session_id=f"s{n}") for n in range(300)], "metrics: {max_series_per_family: 20}",
    ),
    "heartbeats": (
        [line(), *(line(action="heartbeat", output={"state": state}) for state in ("idle", "working", "odd"))], "",
    ),
    "a baseline": (
        [line(timestamp=f"2026-03-{day:02}T12:00:00Z", output={"confidence": day / 31}) for day in range(1, 20)], "",
    ),
    "exemplars": ([full(duration_ms=10**n, parent_trace_id=f"trace {n}") for n in range(8)], ""),
    "large numbers": (
        [full(action=f"x{n}", tokens={"prompt": 10**7 - n, "model": "m", "cost_usd": 1e4 - n / 3}, duration_ms=10**7) for n in range(3)], "",
    ),
    "no GenAI names": ([full()], "metrics: {gen_ai: false}"),
    "rejected lines": ([b"no record", b"{", b"[]", line()], ""),
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_this_is_written_as_prometheus_client_writes_it(scenario):
    """The whole page, in both formats, now and a day later."""
    lines, config = SCENARIOS[scenario]
    stages = run(*lines, config=config)
    check(stages)
    check(stages, stages.pipeline.newest + 86_400.25)


def test_the_scenarios_show_what_they_are_named_for():
    """A comparison of two empty pages would prove nothing."""
    assert b' # {trace_id="' in check(run(*SCENARIOS["exemplars"][0]))
    assert b"agent_baseline_ratio{" in check(run(*SCENARIOS["a baseline"][0]))
    assert b'agent_id="_overflow"' in check(run(*SCENARIOS["overflow"][0], config=SCENARIOS["overflow"][1]))
    assert b"e+07\n" in check(run(*SCENARIOS["large numbers"][0]))


names = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
odd_names = st.sampled_from([*HOSTILE, "%s", "%", "{}", "le", "\n<"])
known = st.sampled_from(["a", "b", "c"])
actions = st.builds(
    full,
    agent_id=known | names | odd_names,
    action=known | names | odd_names | st.sampled_from(["heartbeat", "llm_call"]),
    status=st.sampled_from(["success", "error", "timeout", "odd"]),
    duration_ms=st.none() | st.integers(0, 10**10) | st.floats(0, 10**7),
    error=st.none() | st.fixed_dictionaries({"type": names}),
    tokens=st.none()
    | st.fixed_dictionaries({"prompt": st.integers(0, 10**7), "model": names | known, "cost_usd": st.floats(0, 10**4)}),
    output=st.none() | st.fixed_dictionaries({"confidence": st.floats(0, 1)}),
    parent_trace_id=st.none() | names,
    session_id=known,
    metadata=st.none() | st.fixed_dictionaries({"task_type": names, "team": names, "session_end": st.booleans()}),
)


@given(st.lists(actions, max_size=15), st.integers(0, 2_000_000_000) | st.none())
def test_whatever_is_logged_is_written_as_prometheus_client_writes_it(lines, now):
    """The whole page, in both formats, at any time of the clock."""
    check(run(*lines), now)


@given(st.data())
def test_a_page_escapes_any_label_and_writes_any_number_as_prometheus_client_does(data):
    """Also what no name comes through as: `label` takes line feeds out before."""
    openmetrics = data.draw(st.booleans())
    pages = (Exposition(created=openmetrics), Text(openmetrics=openmetrics))
    numbers = st.integers(-(10**8), 10**20) | st.floats()
    counts = st.integers(0, 10**7)
    created = data.draw(st.sampled_from([0.0, 1.5, 1773825332.441]))
    exemplar = st.tuples(names, st.floats(), st.floats(0, 10**10))
    for name, family in FAMILIES.items():
        labels = [data.draw(odd_names | names) for _ in family.labels]
        if family.type == "gauge":
            told = ("gauge", labels, data.draw(numbers))
        elif family.type == "counter" and len(labels) == 3:
            values = data.draw(st.dictionaries(st.sampled_from(["x", "y", "z"]), numbers, min_size=1))
            exemplars = {value: data.draw(exemplar) for value in values if data.draw(st.booleans())}
            told = ("counters", labels[:-1], values, created, exemplars)
        elif family.type == "counter":
            told = ("counter", labels, data.draw(numbers), created)
        elif family.type == "summary":
            told = ("summary", labels, data.draw(counts), data.draw(numbers), created)
        else:
            bounds = data.draw(st.sampled_from([*LE]))
            buckets = data.draw(st.lists(counts, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
            told = ("histogram", labels, bounds, buckets, data.draw(numbers), created, {1: data.draw(exemplar)})
        for page in pages:
            getattr(page, told[0])(name, *told[1:])
    live = run().live(0.0)
    families, text = pages
    encode = openmetrics_encoder if openmetrics else text_encoder
    page = BytesIO()
    text.finish(page, live)
    end = b"# EOF\n" if openmetrics else b""
    assert page.getvalue() + end == encode(StaticCollector(families.families.values()))


@given(st.integers() | st.floats() | st.booleans())
def test_numbers_are_written_as_go_writes_them(value):
    """As prometheus_client has it."""
    try:
        wanted = floatToGoString(value)
    except OverflowError:
        return
    assert exposition._number(value) == wanted


def test_a_page_shows_what_changed_since_the_last_one():
    """Nothing of an earlier page is in a later one."""
    stages = run(full(), full(agent_id="b"))
    tally = stages.tally
    before = check(stages)
    for cell in (tally.agents["a"].actions["llm_call"], tally.agents["a"].cell):
        tally.touch(cell)
    tally.agents["a"].actions["llm_call"].retries += 3
    tally.agents["a"].cell.feedback_count += 2
    stages.pipeline.commit()
    after = check(stages)
    changed = [row for row in after.splitlines() if row not in before.splitlines()]
    assert changed == [
        b'agent_retries_total{action="llm_call",agent_id="a"} 3.0',
        b'agent_feedback_ratio_count{agent_id="a"} 3.0',
    ]


def test_agents_that_are_forgotten_leave_no_text_behind():
    """Neither on the page nor in what is kept between pages, which does not grow with names."""
    first = run(full())
    check(first)
    kept = [cache.cache_info().currsize for cache in (exposition._counters, exposition._buckets)]
    stages = run(*[full(agent_id=f"gone-{n}", action=f"gone-{n}", session_id=f"gone-{n}") for n in range(100)])
    assert b"gone-99" in check(stages)
    for name in list(stages.tally.agents):
        stages.tally.forget(name)
    stages.pipeline.commit()
    assert b"gone-" not in check(stages)
    assert [cache.cache_info().currsize for cache in (exposition._counters, exposition._buckets)] == kept


ACCEPTS = [
    "", "text/plain", "*/*", "text/plain;version=0.0.4", "text/plain;version=1.0.0;escaping=allow-utf-8", OPENMETRICS,
    "application/openmetrics-text", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain",
    "application/openmetrics-text;version=1.0.0;escaping=underscores", "application/openmetrics-text;version=0.0.1",
    "application/openmetrics-text;version=1.0.0;escaping=dots", "text/plain;version=1.0.0;escaping=values",
]  # fmt: skip


@pytest.mark.parametrize("accept", ACCEPTS)
def test_every_accept_header_gets_what_prometheus_client_would_answer(accept):
    """The Content-Type and the bytes, with the families of others last."""
    stages = run(full())
    rows, live = stages.pipeline.store.committed, stages.live(stages.pipeline.newest)
    other = GaugeMetricFamily("process_start_time_seconds", "Of others.", value=5)
    encode, content_type = choose_encoder(accept)
    families = Collector(rows, live, created="openmetrics" in content_type).collect()
    page = BytesIO()
    assert render(page, rows, live, accept, [other]) == content_type
    assert page.getvalue() == encode(StaticCollector([*families, other]))
