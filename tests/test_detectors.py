"""Session budgets, anomalies and cascades; and that order, duplicates and restarts change no finding."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from conftest import Rows
from detecting import START, Exporter, call, findings, line
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.action import trace_id_of
from agent_exporter.config import parse
from agent_exporter.detectors import traces
from agent_exporter.detectors.finding import Finding
from agent_exporter.detectors.journal import MAX_FINDINGS, ROW_KIND, Journal, recent
from agent_exporter.detectors.reorder import BATCH, CROWD, Stream
from agent_exporter.lines import Batch
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.sources import Source
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.state import Row


def kinds(*lines: bytes, config: str = "") -> list[str]:
    """The kinds of what is found."""
    return [found["kind"] for found in findings(*lines, config=config)]


# --- session budget ------------------------------------------------------------------------------------------------


def spent(second: float, tokens: int, **fields) -> bytes:
    """A call of some tokens."""
    return line(second, tokens={"prompt": tokens, "completion": 0}, **fields)


def test_many_small_calls_pass_the_budget_together_and_once():
    """Over it, not at it."""
    config = "task_types: {support: {session_tokens: 1000}}"
    support = {"metadata": {"task_type": "support"}}
    lines = [spent(second, 100, **support) for second in range(10)]
    assert findings(*lines, config=config) == []
    [found] = findings(*lines, spent(10, 1, **support), spent(11, 1, **support), config=config)
    assert found == {
        "kind": "session_budget",
        "agent_id": "a",
        "session_id": "s",
        "at": "2026-03-18T09:00:10.000Z",
        "evidence": {"tokens": 1001, "max_tokens": 1000, "task_type": "support"},
    }


def test_dollars_have_a_budget_of_their_own():
    """Only where one is configured."""
    lines = [line(second, tokens={"cost_usd": 0.3}) for second in range(5)]
    assert findings(*lines) == []
    [found] = findings(*lines, config="task_types: {default: {session_cost_usd: 1}}")
    assert found["evidence"] == {"cost_usd": 1.2, "max_cost_usd": 1, "task_type": "default"}


def test_live_a_budget_is_decided_on_arrival():
    """The breaker cannot wait for order."""
    found: list[Finding] = []
    stages = Stages(parse(""), MemoryStore(CELL_TYPES), [])
    stages.listeners.append(found.append)
    source = Source()
    source.name = "test"
    stages.pipeline.feed(source, Batch([spent(0, 50_001)]))
    assert [finding.kind for finding in found] == ["session_budget"]


W3C_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("named", "trace_id", "parent_trace_id"),
    [
        ({}, trace_id_of("a\0s"), None),
        ({"trace_id": W3C_ID}, W3C_ID, W3C_ID),
        ({"parent_trace_id": "task"}, trace_id_of("task"), "task"),
        ({"trace_id": W3C_ID, "parent_trace_id": "task"}, W3C_ID, W3C_ID),
    ],
)
def test_live_a_finding_on_a_sessions_first_line_has_the_trace_of_its_spans(named, trace_id, parent_trace_id):
    """The same as later findings of the session, and as the trace's page."""
    found: list[Finding] = []
    spans: set[bytes] = set()
    stages = Stages(parse("otlp: {endpoint: 'http://127.0.0.1:1'}"), MemoryStore(CELL_TYPES), [])
    stages.listeners.append(found.append)
    stages.tree._emit = lambda trace, *_: spans.add(trace)
    source = Source()
    source.name = "test"
    again = line(1, metadata={"retry_count": 9}, **named)
    stages.pipeline.feed(source, Batch([spent(0, 50_001, **named), again]))
    stages.detectors.tick(float("inf"))
    assert [(finding.kind, finding.trace_id, finding.parent_trace_id) for finding in found] == [
        ("session_budget", trace_id, parent_trace_id),
        ("loop", trace_id, parent_trace_id),
    ]
    assert spans == {bytes.fromhex(trace_id)}
    assert stages.recent.trace(trace_id) is not None


# --- action anomaly ------------------------------------------------------------------------------------------------


def test_a_call_of_more_than_twice_the_rolling_average_is_an_anomaly():
    """From the 20th earlier one on; exactly twice is none; each such call is one."""
    usual = [spent(second, 100) for second in range(20)]
    assert findings(*usual[:19], spent(30, 999)) == []
    assert findings(*usual, spent(30, 200)) == []
    found = findings(*usual, spent(30, 201), spent(31, 400, parent_trace_id="t"))
    assert [one["at"] for one in found] == ["2026-03-18T09:00:30.000Z", "2026-03-18T09:00:31.000Z"]
    assert found[1] == {
        "kind": "action_anomaly",
        "agent_id": "a",
        "session_id": "s",
        "trace_id": "t",
        "at": "2026-03-18T09:00:31.000Z",
        "evidence": {"action": "search", "tokens": 400, "rolling_average": 104.8, "factor": 2.0},
    }


def test_the_average_is_that_of_the_last_fifty_of_this_agent_and_action():
    """What is long ago, of others, or told no tokens does not count; zero does."""
    old = [spent(second, 10_000, session_id=f"s{second}") for second in range(30)]
    new = [spent(100 + second, 100, session_id=f"t{second}") for second in range(50)]
    others = [spent(200 + second, 9_000, action="read", session_id=f"u{second}") for second in range(9)]
    silent = [line(300 + second) for second in range(60)]
    assert kinds(*old, *new, *others, *silent, spent(400, 201)) == ["action_anomaly"]
    zeros = [spent(500 + second, 0, session_id=f"v{second}") for second in range(50)]
    assert kinds(*zeros, spent(600, 1)) == ["action_anomaly"]


# --- cascade -------------------------------------------------------------------------------------------------------


def work(second: float, agent: str, parent: str | None = None, status: str = "success", **fields) -> bytes:
    """An action of an agent in the trace t."""
    told = {"parent_trace_id": "t", "metadata": {"parent_agent_id": parent} if parent else None}
    return line(second, agent_id=agent, session_id=agent, status=status, **(told | fields))


CHAIN = [work(0, "planner"), work(1, "research", "planner"), work(2, "writer", "research"), work(3, "editor", "writer")]


def fail(second: float, agent: str, **fields) -> bytes:
    """It errs."""
    return work(second, agent, status="error", **fields)


def test_three_agents_that_fail_within_a_minute_are_a_cascade():
    """The most upstream of them is the suspected root, though it failed last."""
    [found] = findings(*CHAIN, fail(10, "editor"), fail(20, "writer", action="x"), fail(70, "research"))
    assert found == {
        "kind": "cascade",
        "agent_id": "research",
        "trace_id": "t",
        "root_agent": "research",
        "at": "2026-03-18T09:01:10.000Z",
        "evidence": {"agents": ["editor", "writer", "research"], "seconds": 60.0, "window_seconds": 60.0},
    }


@pytest.mark.parametrize("lines", [
    [fail(10, "editor"), fail(20, "writer")],
    [fail(10, "editor"), fail(20, "writer"), fail(30, "writer", action="x"), fail(31, "editor", action="x")],
    [fail(10, "editor"), fail(20, "writer"), fail(70.1, "research")],
    [fail(10, "editor"), fail(20, "writer"), work(30, "research", status="cancelled")],
    [fail(10, "editor"), fail(20, "writer"), fail(30, "research", parent_trace_id="u")],
])  # fmt: skip
def test_these_are_none(lines):
    """Two agents; one of them twice; over a minute; given up; another trace."""
    assert findings(*CHAIN, *lines) == []


def test_without_a_lineage_the_earliest_is_suspected():
    """Nothing else is known."""
    lines = [fail(second, name) for second, name in enumerate(["c", "a", "b"])]
    assert [found["root_agent"] for found in findings(*lines)] == ["c"]


def test_explicit_span_ids_tell_the_lineage_too():
    """The first of a session names the span that called it."""
    lines = [
        work(0, "a", span_id="00f067aa0ba902b7"),
        work(1, "b", span_id="00F067AA0BA902B8", parent_span_id="00f067aa0ba902b7"),
        work(2, "c", parent_span_id="00f067aa0ba902b8"),
        *[fail(second, name) for second, name in ((10, "c"), (11, "b"), (12, "a"))],
    ]
    assert [found["root_agent"] for found in findings(*lines)] == ["a"]


def test_a_cascade_is_told_again_only_after_a_minute_without_failures():
    """Until then whoever fails is a member of it."""
    first = [fail(second, name) for second, name in ((10, "research"), (11, "writer"), (12, "editor"))]
    going_on = [fail(second, "planner", action=f"x{second}") for second in (60, 110, 160)]
    again = [fail(second, name, action="y") for second, name in ((170, "research"), (171, "writer"), (172, "editor"))]
    later = [fail(second, name, action="z") for second, name in ((233, "research"), (234, "writer"), (235, "editor"))]
    exporter = Exporter().read(*CHAIN, *first, *going_on, *again, *later)
    assert [found["at"][-10:-5] for found in exporter.findings()] == ["00:12", "03:55"]
    agents = exporter.stages.tally.agents
    members = {name: agent.cell.cascade_members for name, agent in agents.items()}
    assert members == {"planner": 1, "research": 2, "writer": 2, "editor": 2}
    assert [agents["planner"].cell.cascades, agents["research"].cell.cascades] == [0, 2]


# --- any order, any duplication, any restart -----------------------------------------------------------------------

CONFIG = """
task_types: {default: {session_tokens: 900, normal_duration: 5s, max_duration: 20s}, batch: {session_tokens: 2000, session_cost_usd: 0.5}}
detectors: {loop: {max_retries: 2}, action_anomaly: {window_size: 6, min_samples: 3}, cascade: {min_agents: 2, window: 5s}}
"""
AGENTS = {"a": None, "b": "a", "c": "b"}
IDLE = 300.0

step = st.tuples(
    st.sampled_from([1, 40, 700, 1300, 3100, 9000]),  # ms since the one before
    st.sampled_from(sorted(AGENTS)),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["llm_call", "read", "read", "edit", "heartbeat"]),
    st.sampled_from(["x", "x", "y"]),
    st.sampled_from(["fine", "fine", "fine", "error"]),
    st.sampled_from([0, 60, 60, 300]),
    st.sampled_from([0, 0, 0, 3]),
)
rounds = st.tuples(st.lists(step, min_size=1, max_size=4), st.integers(1, 4)).map(lambda drawn: drawn[0] * drawn[1])
steps = st.lists(rounds, min_size=1, max_size=12).map(lambda drawn: [one for some in drawn for one in some])


def log(drawn) -> list[tuple[float, bytes]]:
    """(second, line) in order of time.

    No heartbeat within the reorder window of a session's begin: which session it is of depends on what has arrived.
    """
    lines, now = [], 0.0
    latest: dict[str, float] = {}
    begun: dict[str, float] = {}
    for number, (wait, agent, session, action, wanted, came, tokens, retries) in enumerate(drawn):
        now += wait / 1000
        task = "batch" if agent == "c" else "default"
        told = {"parent_agent_id": AGENTS[agent], "retry_count": retries, "task_type": task, "n": number}
        fields = {"agent_id": agent, "session_id": agent + session, "metadata": told}
        if action == "heartbeat":
            if now - begun.get(agent, 0.0) <= 3.0:
                continue
            lines.append((now, line(now, action=action, output={"state": "working"}, **fields)))
            continue
        if now - latest.get(agent + session, float("-inf")) > IDLE - 3.0:
            begun[agent] = now
        latest[agent + session] = now
        fields |= {"parent_trace_id": "t" + session, "tokens": {"prompt": tokens, "cost_usd": tokens / 1000}}
        fields["status"] = "error" if came == "error" else "success"
        lines.append((now, call(now, action, wanted, came, **fields)))
    return lines


def shuffled(lines: list[tuple[float, bytes]], rng: random.Random) -> list[bytes]:
    """Each up to 2.9 s later than its time; those of the same time stay in order."""
    arrivals = {second: second + rng.uniform(0, 2.9) for second, _ in lines}
    return [text for _, text in sorted(lines, key=lambda timed: arrivals[timed[0]])]


@given(steps, st.randoms(use_true_random=False))
def test_any_order_within_the_window_gives_the_same_findings(drawn, rng):
    """Word by word."""
    lines = log(drawn)
    assert findings(*shuffled(lines, rng), config=CONFIG) == findings(*[text for _, text in lines], config=CONFIG)


@given(steps, st.randoms(use_true_random=False))
def test_any_duplication_gives_the_same_findings(drawn, rng):
    """A collector sends again what it had no answer for."""
    lines = [text for _, text in log(drawn)]
    twice = lines.copy()
    for text in rng.choices(lines, k=len(lines)) if lines else ():
        twice.insert(rng.randrange(twice.index(text) + 1, len(twice) + 1), text)
    exporter = Exporter(CONFIG)
    for text in twice:
        exporter.pipeline.feed(exporter.source, Batch([text], envelopes=[b""]))
    assert exporter.findings() == findings(*lines, config=CONFIG)


@given(steps, st.randoms(use_true_random=False))
def test_any_restart_gives_the_same_findings(drawn, rng):
    """Nothing is forgotten and nothing told twice, wherever it stops and in whatever order the lines came."""
    lines = shuffled(log(drawn), rng)
    exporter = Exporter(CONFIG)
    for text in lines:
        exporter.read(text)
        if rng.random() < 0.3:
            exporter.pipeline.commit()
            exporter.restart()
    assert exporter.findings() == findings(*lines, config=CONFIG)


# --- lines of the same time ----------------------------------------------------------------------------------------


def test_lines_of_the_same_second_keep_the_order_in_which_they_were_read():
    """A retry after each failure, and an edit before each run of the tests, are progress; a cycle is found."""
    retried = []
    for number in range(8):
        retried += [
            line(3, action="get", input={"page": number}, status="error", error="busy"),
            line(3, action="get", input={"page": number}, output={"rows": 4}),
        ]
    assert findings(*retried) == []
    edited = []
    for number in range(6):
        edited += [
            line(3, action="write", input={"version": number}, output={"ok": True}),
            line(3, action="check", input={}, output={"failed": 2}),
        ]
    assert findings(*edited) == []
    around = [
        line(3, action="order", input={"n": 1}, status="error", error="full"),
        line(3, action="ask", input={"n": 1}, output={"n": 2}),
    ] * 3
    [found] = findings(*around)
    assert found["evidence"] == {"loop": "cycle", "actions": ["order", "ask"], "rounds": 3}


def test_the_wait_for_a_person_is_neither_overtime_nor_the_end_of_a_budget():
    """Also with a call open at the pause, and with a pause in the second of the call before it."""
    for pause, call_ends in ((5, 7), (0, 0)):
        lines = [
            line(0, action="zzz", tokens={"prompt": 30_000}),
            line(pause, action="ask", metadata={"session_paused": True}),
            line(call_ends, action="search", duration_ms=4_000),
            line(7_200, action="llm_call", tokens={"prompt": 30_000}),
        ]
        [found] = findings(*lines)
        assert (found["kind"], found["evidence"]["tokens"]) == ("session_budget", 60_000)


def test_lines_of_the_same_second_keep_their_order_over_a_restart():
    """Also while a late line is put before them."""
    around = [
        line(3, action="order", input={"n": 1}, status="error", error="full"),
        line(3, action="ask", input={"n": 1}, output={"n": 2}),
    ] * 3
    exporter = Exporter()
    for text in (*around[:3], line(2, action="late"), *around[3:]):
        exporter.read(text)
        exporter.pipeline.commit()
        exporter.restart()
    [found] = exporter.findings()
    assert found["evidence"]["loop"] == "cycle"


def test_of_failures_in_the_same_second_the_one_read_first_is_the_root():
    """Their names do not decide it."""
    failed = [line(3, agent_id=name, status="error", parent_trace_id="t") for name in ("zeta", "beta", "alpha")]
    assert [found["root_agent"] for found in findings(*failed) if found["kind"] == "cascade"] == ["zeta"]


def test_a_restart_without_a_commit_finds_anew_what_it_reads_anew():
    """The state is as it was: lines that were not committed were not seen."""
    lines = [call(second, duration_ms=second) for second in range(6)]
    exporter = Exporter()
    exporter.read(*lines[:2])
    exporter.pipeline.commit()
    exporter.read(*lines[2:])
    exporter.restart()
    exporter.read(*lines[2:])
    assert len(exporter.findings()) == 1


# --- the clock -----------------------------------------------------------------------------------------------------


class Clocked:
    """Live stages with a clock of the test's own."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.now = START
        self.stages = Stages(parse(""), MemoryStore(CELL_TYPES), [])
        self.stages.listeners.append(self.found.append)
        self.pipeline = self.stages.pipeline
        self.pipeline.clock = lambda: self.now
        self.source = Source()
        self.source.name = "test"

    def read(self, second: float, *lines: bytes) -> list[str]:
        """At that second some lines are read, and then it is looked at what has gone quiet."""
        self.now = START + second
        self.pipeline.feed(self.source, Batch(list(lines)))
        self.pipeline._tick()
        return [finding.kind for finding in self.found]


def test_where_the_log_goes_quiet_the_clock_decides():
    """Three seconds after the last line."""
    clocked = Clocked()
    lines = [call(second, duration_ms=second) for second in range(4)]
    assert clocked.read(3, *lines) == []
    assert clocked.read(5.9) == []
    assert clocked.read(6) == ["loop"]


def test_a_clock_that_is_ahead_makes_nobody_late():
    """A line of the future is of now, also for its own session."""
    clocked = Clocked()
    clocked.read(0, call(500, duration_ms=9), call(400, agent_id="b"))
    assert clocked.read(1, *[call(0.1 * number, duration_ms=number) for number in range(3)]) == []
    assert clocked.read(4.1) == ["loop"]
    assert clocked.found[0].at == START + 0.2


def test_an_old_log_pages_nobody():
    """The counter moves, the timestamp that rules look at does not."""
    clocked = Clocked()
    clocked.read(3601, line(0, metadata={"retry_count": 4}))
    clocked.read(3700)
    cell = clocked.stages.tally.agents["a"].cell
    assert (cell.loops["retries"], cell.findings["loop"]) == (1, 0.0)
    clocked.read(3701, line(3700, session_id="new", metadata={"retry_count": 4}))
    clocked.read(3710)
    assert (cell.loops["retries"], cell.findings["loop"]) == (2, START + 3710)


# --- bounds --------------------------------------------------------------------------------------------------------


def test_the_tables_are_bounded_and_count_what_they_drop():
    """Agents that invent names, and traces."""
    exporter = Exporter()
    detectors = exporter.stages.detectors
    detectors.averages._most = detectors.traces._most = detectors.traces._look_at = 80
    exporter.read(*[spent(n / 100, 1, action=f"x{n}", session_id=f"s{n}", parent_trace_id=f"t{n}") for n in range(500)])
    assert len(detectors.averages._windows) <= 80
    assert len(list(detectors.traces)) <= 80
    exporter.pipeline.commit()
    counts = exporter.stages.tally.counts
    assert counts["eviction", "windows"].count == 500 - len(detectors.averages._windows)
    assert counts["eviction", "lineages"].count == 500 - len(list(detectors.traces))
    kept = {kind for kind, _ in exporter.store.kept}
    assert {"window", "lineage"} <= kept
    assert sum(kind == "lineage" for kind, _ in exporter.store.kept) <= 80


def test_one_trace_for_everything_stays_small():
    """Some agents give all that they do the same one."""
    exporter = Exporter()
    exporter.read(*[fail(n / 100, f"a{n}", span_id=f"{n + 1:016x}") for n in range(2_000)])
    [trace] = exporter.stages.detectors.traces
    assert len(trace.members) <= traces.MAX_MEMBERS
    assert len(trace.spans) <= traces.MAX_SPANS
    assert len(trace.failures) <= 256


def test_lines_are_given_up_when_they_become_many(monkeypatch):
    """What is found stays the same."""
    lines = [call(second, came="y" * 1000, duration_ms=second) for second in range(4)]
    monkeypatch.setattr("agent_exporter.detectors.engine.MAX_HELD", 1500)
    monkeypatch.setattr("agent_exporter.detectors.held_lines.MAX_HELD", 1500)
    assert kinds(*lines) == ["loop"]


# --- the journal ---------------------------------------------------------------------------------------------------


def finding(number: int) -> Finding:
    """One of many."""
    return Finding(kind="loop", agent_id="a", session_id=f"s{number}", at=START + number, evidence={"loop": "repeat"})


def test_a_finding_is_printed_after_its_commit_and_once():
    """As one line of JSON, with the ids by which a trace viewer and the log know it."""
    printed: list[bytes] = []
    journal = Journal(printed.append)
    journal.add(Finding(kind="loop", agent_id="a", at=START, trace_id="0" * 31 + "1", parent_trace_id="t"))
    rows = list(journal.changes())
    assert printed == []
    assert journal.committed()
    assert [json.loads(text) for text in printed] == [
        {
            "kind": "loop",
            "agent_id": "a",
            "trace_id": "0" * 31 + "1",
            "parent_trace_id": "t",
            "at": "2026-03-18T09:00:00.000Z",
            "evidence": {},
        }
    ]
    rows += journal.changes()
    assert not journal.committed()
    restarted = Journal(printed.append)
    restarted.restore(Rows({key: value for _, key, value in rows if value is not None}.items()), START)
    assert not restarted.committed()


def test_what_a_crash_left_unprinted_is_printed_by_the_next_run():
    """It was committed; nobody has seen it."""
    printed: list[bytes] = []
    journal = Journal(printed.append)
    journal.add(finding(1))
    rows = {key: value for _, key, value in journal.changes()}
    restarted = Journal(printed.append)
    restarted.restore(Rows(rows.items()), START)
    assert restarted.committed()
    assert len(printed) == 1


def apply(changes: Iterable[Row], rows: dict[str, bytes]) -> None:
    """What a commit does."""
    for kind, key, value in changes:
        assert kind == ROW_KIND
        if value is None:
            del rows[key]
        else:
            rows[key] = value


@pytest.mark.parametrize("write", [None, lambda _: None], ids=["not printed", "printed"])
@pytest.mark.parametrize("every", [1, 8, 2 * MAX_FINDINGS], ids="committed at each {}".format)
def test_the_latest_findings_are_kept_for_whoever_shows_them(every, write):
    """Oldest first, and no more of them, however many come between two commits."""
    journal = Journal(write)
    rows: dict[str, bytes] = {}
    for number in range(2 * MAX_FINDINGS):
        journal.add(finding(number))
        if (number + 1) % every == 0:
            apply(journal.changes(), rows)
            if journal.committed():
                apply(journal.changes(), rows)
        assert len(journal._fresh) <= MAX_FINDINGS
    assert recent(rows.items()) == [finding(number) for number in range(MAX_FINDINGS, 2 * MAX_FINDINGS)]


def test_traces_that_were_never_stored_leave_nothing_behind():
    """A log of the past is committed at its end alone: what the table has forgotten must not wait for that."""
    exporter = Exporter()
    traces = exporter.stages.detectors.traces
    traces._most = traces._look_at = 16
    exporter.read(*[line(n, session_id=f"s{n}", parent_trace_id=f"t{n}") for n in range(100)])
    assert len(list(traces)) <= 16
    assert len(traces._dirty) <= 16
    assert traces._gone == []


def test_sessions_that_are_over_are_not_held_for_their_lines():
    """Nor are traces that are forgotten: of a million sessions, those at work are in memory."""
    exporter = Exporter()
    detectors = exporter.stages.detectors
    detectors.traces._most = detectors.traces._look_at = 16
    lines = detectors._lines
    for n in range(200):
        metadata = {"session_end": True} if n % 2 else {}
        names = {"session_id": f"s{n}", "parent_trace_id": f"t{n}"}
        exporter.read(*(line(n * 10, agent_id=agent, metadata=metadata, **names) for agent in "ab"))
        exporter.stages.sessions.thin(START + n * 10 + 20)
        exporter.stages.sessions.tick(START + n * 10)
        holding = [*(session.trail for session in lines.sessions), *lines.traces]
        assert all(steps.held for steps in holding)
        assert len(holding) < 120
    exporter.pipeline.drain()
    assert (lines.sessions, lines.traces, lines.size) == ({}, {}, 0)


def test_a_trace_that_no_session_is_left_of_makes_room_first_and_uncounted(monkeypatch):
    """A day that is read in a minute has more traces than the table, and none of them is missed."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 8)
    exporter = Exporter()
    stages = exporter.stages
    stages.detectors.traces._look_at = stages.sessions._look_at = 8
    for n in range(100):
        exporter.read(line(n * 1000, session_id=f"s{n}", parent_trace_id=f"t{n}", metadata={"session_end": True}))
        stages.sessions.thin(START + n * 1000 + 60)
        assert len(list(stages.detectors.traces)) <= 16
    assert stages.detectors.traces.evictions == 0


def looks(monkeypatch) -> list[int]:
    """How many items each look at a reorder buffer went through, as they come."""
    seen: list[int] = []
    look = Stream.ready
    monkeypatch.setattr(
        Stream, "ready", lambda stream, window: seen.append(len(stream.waiting)) or look(stream, window)
    )
    return seen


@pytest.mark.parametrize("rate", [1, 10, 1_000, 20_000])
def test_a_line_costs_the_same_however_many_come_within_the_reorder_window(rate, monkeypatch):
    """All agents of one name, a thousand calls a second: each is gone through a few times, not a thousand."""
    seen = looks(monkeypatch)
    exporter = Exporter()
    lines = [spent(n / rate, 10) for n in range(10_000)]
    for first in range(0, len(lines), 500):
        exporter.read(*lines[first : first + 500])
    exporter.pipeline.drain()
    assert sum(seen) < 12 * len(lines)  # for the session and for the action's average, some six of each


def test_a_line_of_the_future_does_not_have_those_after_it_pile_up(monkeypatch):
    """In a log of the past no clock tells that it is one."""
    seen = looks(monkeypatch)
    exporter = Exporter()
    exporter.read(spent(500, 10), *(spent(n / 100, 10) for n in range(20_000)))
    assert max(seen) <= CROWD + BATCH
    waiting = [session.trail.waiting for session in exporter.stages.sessions.everyone()]
    assert max(map(len, waiting)) <= CROWD


def test_heartbeats_alone_do_not_pile_up():
    """In a log of the past no second passes after which they are looked at."""
    exporter = Exporter()
    exporter.read(line(0), *(line(n * 10, action="heartbeat", output={"state": "idle"}) for n in range(1, 1_000)))
    [session] = exporter.stages.sessions.everyone()
    assert len(session.trail.waiting) <= BATCH
