"""The demo: a healthy fleet is called healthy, and every fault is on the page within a minute. In virtual time."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from urllib.request import urlopen

import pytest
from running import ROOT, eventually, free_port
from test_metrics import Lines
from test_status import read
from virtual import START, fleet_log

from agent_exporter.action import Action, decode, trace_id_of
from agent_exporter.breaker.audit import verify
from agent_exporter.cli import command
from agent_exporter.cli.demo import FAULTS as OFFERED
from agent_exporter.config import load
from agent_exporter.demo import history
from agent_exporter.demo.faults import FAULTS
from agent_exporter.demo.fleet import TEAMS, Fleet
from agent_exporter.demo.mailbox import serve
from agent_exporter.demo.show import CONFIG, WATCH, _asking
from agent_exporter.lines import Batch
from agent_exporter.prices import Prices
from agent_exporter.probes.check import perform
from agent_exporter.probes.settings import checks_of
from agent_exporter.stages import MIRRORED, Stages
from agent_exporter.state import MemoryStore
from agent_exporter.status.pages import Pages
from agent_exporter.status.snapshot import take_snapshot


class Demo:
    """The demo's exporter, that has read a log as it was written: line by line, at the time that the line tells."""

    def __init__(self, lines: list[bytes], past: list[bytes] = ()) -> None:
        source = Lines(name="agents.log")
        self.stages = Stages(load(CONFIG), MemoryStore(MIRRORED), [source])
        self.pipeline = self.stages.pipeline
        self.pipeline.clock = lambda: self.now
        self.stages.recent.since = self.now = START
        self.pipeline.feed(source, Batch(list(past)))
        for line in lines:
            self.now = decode(line).at
            self.pipeline.feed(source, Batch([line]))
            self.pipeline._tick()
        self.pipeline.commit()
        pages = Pages(lambda agent, trace: take_snapshot(self.stages, self.stages.live(self.now), None, agent, trace))
        self.fleet = {row[0].split()[0]: row[1] for row in read(pages.render("/")).rows if len(row) == 8}
        self.findings = [row for row in read(pages.render("/findings")).rows if len(row) == 6][1:]
        self.pages = pages


@pytest.mark.parametrize("seed", range(5))
def test_ten_minutes_of_health_flag_nothing(seed):
    """No finding, no word of concern, no line that is rejected."""
    demo = Demo(fleet_log(600, seed=seed))
    assert demo.findings == []
    assert {words.split(" ", 1)[1] for agent, words in demo.fleet.items() if agent != "Agent"} <= {
        "working", "idle", "between tasks",
    }  # fmt: skip
    [source] = demo.stages.tally.sources.values()
    assert source.read == source.accepted > 3_000


def test_a_healthy_day_at_any_speed_stays_within_its_budgets():
    """A tenth of a day, times ten; what it costs the price table says."""
    spent, prices = Counter(), Prices()
    for line in fleet_log(8_640):
        action = decode(line)
        if action.tokens is not None:
            action, odd = prices.complete(action)
            assert odd == 0
            spent[action.agent_id] += action.tokens.cost_usd
    config = load(CONFIG)
    assert [agent for agent, cost in spent.items() if 10 * cost > 0.8 * config.agent(agent).daily_cost_usd] == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("fault", "agent", "words", "kinds"),
    [
        ("loop", "support-01", "▲ looping", {"loop: repeat", "loop: retries"}),
        ("budget", "reporter-01", "▲ over its daily budget: $", {"session budget", "action anomaly"}),
        ("silent", "watcher-01", "▲ silent for ", set()),
        ("cascade", "planner-01", "▲ suspected root of a cascade", {"cascade"}),
    ],
)
def test_each_fault_is_on_the_page_within_a_minute(fault, agent, words, kinds, seed):
    """And nobody else is blamed for more than being part of it."""
    demo = Demo(fleet_log(60, FAULTS[fault], seed=seed))
    assert demo.fleet[agent].startswith(words)
    assert {row[1].split(" ", 1)[1] for row in demo.findings} <= kinds
    assert {row[2] for row in demo.findings} <= {agent}
    assert bool(demo.findings) == bool(kinds)
    blamed = {name: said for name, said in demo.fleet.items() if said.startswith(("▲", "◆")) and name != agent}
    assert set(blamed.values()) <= (
        {said for said in blamed.values() if "cascade" in said} if fault == "cascade" else set()
    )


def test_a_budget_is_passed_by_the_session_first():
    """Tokens of the session, then the dollars of the day; the evidence has the numbers."""
    demo = Demo(fleet_log(60, FAULTS["budget"]))
    assert "a session over its budget" in demo.fleet["reporter-01"]
    [row] = [row for row in demo.findings if row[1] == "▲ session budget"]
    assert "tokens, where 50,000 are the ceiling of task type report" in row[4]


def test_three_weeks_of_drift_are_on_the_page_at_once(tmp_path):
    """Of writer-01 alone, in all three signals; and the history itself holds no finding."""
    history.write(tmp_path / "past.ndjson", START, seed=1)
    past = (tmp_path / "past.ndjson").read_bytes().splitlines()
    lines = fleet_log(30, FAULTS["drift"])
    demo = Demo(lines, past)
    assert demo.findings == []
    said = demo.fleet["writer-01"]
    assert [said.count(f"◆ {metric} has drifted") for metric in ("confidence", "completion", "feedback")] == [1, 1, 1]
    assert demo.fleet["reviewer-01"].startswith("●")
    [source] = demo.stages.tally.sources.values()
    assert source.read == source.accepted
    spent = [action.tokens for action in map(decode, lines) if action.agent_id == "writer-01" and action.tokens]
    today = demo.stages.tally.agents["writer-01"].cell.days[int(START // 86400)]
    assert today.tokens == sum(tokens.prompt + tokens.completion for tokens in spent)


def test_a_question_is_one_trace_over_five_agents():
    """By the headers that were handed over alone."""
    demo = Demo(fleet_log(60))
    page = read(demo.pages.render(f"/traces/{trace_id_of('question-1')}"))
    sessions = [row[0].split()[0] for row in page.rows if len(row) == 5 and "sess_" in row[0]]
    assert sessions == list(TEAMS["research"])
    assert "5 agents" in page.text


def test_faults_are_offered_watched_and_done():
    """One table each, with the same names."""
    assert tuple(FAULTS) == OFFERED == tuple(WATCH)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--speed", "0"], "must be 0.1 to 20, not 0"),
        (["--speed", "fast"], "must be a number, not 'fast'"),
        (["--port", "70000"], "must be 0 to 65535, not '70000'"),
        (["--fault", "fire"], "invalid choice: 'fire'"),
        (["--duration", "soon"], "30s"),
    ],
)
def test_what_the_demo_does_not_understand_it_says(arguments, sentence, capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as ended:
        command(["demo", *arguments])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_make_demo_shows_every_fault():
    """What the README's first command does."""
    assert f"FAULTS ?= {' '.join(FAULTS)}\n" in (ROOT / "Makefile").read_text()


def demo(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "agent_exporter", "demo", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


def test_a_port_that_is_taken_is_said():
    """With what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = demo("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "Address already in use; name another with --port (make demo PORT=...)"
    )


def test_the_demo_ends_by_itself_and_leaves_nothing_behind(tmp_path):
    """Both processes, for real; findings on standard output, words on the other."""
    done = demo("--port", str(free_port()), "--duration", "20s", "--fault", "loop", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0
    assert {json.loads(line)["evidence"]["loop"] for line in done.stdout.splitlines()} == {"repeat", "retries"}
    assert "10 agents of 4 teams are at work: http://127.0.0.1:" in done.stderr
    assert WATCH["loop"] in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_agents_answer_health_checks_and_the_one_that_drifts_adds_up_wrongly():
    """All else of it looks well."""

    async def failing() -> list[tuple[str, str]]:
        fleet = Fleet(stream=io.StringIO())
        await FAULTS["drift"](fleet)
        bound = socket.create_server(("127.0.0.1", 0))
        server = serve(fleet, bound)
        config = _asking(load(CONFIG), bound.getsockname()[1])
        checks = [check for name in config.names() for check in checks_of(config, name)]
        assert len(checks) == 40
        results = [await perform(check) for check in checks]
        server.stop()
        await server.close_all_connections()
        return [(result.agent, result.name) for result in results if not result.passed]

    assert asyncio.run(failing()) == [("writer-01", "reasoning_quality")]


def test_the_fleet_alone_writes_to_standard_output():
    """For a container, or a pipe."""
    started = time.time()
    done = demo("--stdout", "--duration", "2s", "--speed", "10")
    assert (done.returncode, done.stderr) == (0, "")
    actions = [decode(line.encode()) for line in done.stdout.splitlines()]
    assert len(actions) > 50
    assert all(isinstance(action, Action) and action.at >= started - 1 for action in actions)
    assert {action.agent_id for action in actions} == {agent for agents in TEAMS.values() for agent in agents}


def test_the_fleet_alone_answers_where_it_is_told_to():
    """What docker-compose.yml's health checks and breaker call."""
    port = free_port()
    arguments = ("demo", "--stdout", "--answer", f"127.0.0.1:{port}")
    with subprocess.Popen([sys.executable, "-m", "agent_exporter", *arguments], stdout=subprocess.DEVNULL) as fleet:
        try:

            def health() -> bytes:
                with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/writer-01/health") as answer:
                    return answer.read()
                return b""

            assert eventually(health) == b'{"status": "ok", "connected": true}'
        finally:
            fleet.terminate()


@pytest.mark.slow
def test_with_enforce_the_runaways_are_really_stopped_and_page_and_audit_log_say_so(tmp_path):
    """One over its budget and one in a loop; the fleet's own process ends them, told over HTTP."""
    port = free_port()
    arguments = ["--port", str(port), "--fault", "budget", "--fault", "loop", "--enforce", "--duration", "60s"]
    with subprocess.Popen(
        [sys.executable, "-m", "agent_exporter", "demo", *arguments],
        cwd=ROOT, env={"TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip

        def findings() -> str:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/findings", timeout=5) as page:
                return page.read().decode()
            return ""

        eventually(lambda: findings().count("stopped: its end is in the log") >= 2, within=45, every=0.5)
        [audit] = tmp_path.glob("*/audit.ndjson")
        entries = [json.loads(row) for row in audit.read_text().splitlines()]
        stopped = {(entry["agent_id"], entry["reason"]) for entry in entries if entry["event"] == "confirmed"}
        assert stopped == {("reporter-01", "session_budget"), ("support-01", "loop")}
        assert verify(audit).faults == []
        log = next(tmp_path.glob("*/agents.log")).read_text()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    sessions = {entry["session_id"] for entry in entries if entry["event"] == "confirmed"}
    last = {json.loads(row)["session_id"]: json.loads(row) for row in log.splitlines()}
    assert all(last[session]["metadata"]["session_end"] for session in sessions)
    assert process.returncode == 0
    assert f"agent-exporter breaker verify {audit}" in said
    assert list(tmp_path.iterdir()) == []
