"""The findings of `backtest`, and what `run` prints; its alerts are in test_backtest_rules.py."""

from __future__ import annotations

import json

import pytest
from conftest import LOGS
from detecting import call, line
from running import Running, eventually

from agent_exporter.cli import command
from agent_exporter.cli.backtest import NO_RULES

LOOP = [call(second, duration_ms=second, parent_trace_id="t") for second in range(4)]
FOUND = (
    '{"kind":"loop","agent_id":"a","session_id":"s","trace_id":"t","at":"2026-03-18T09:00:03.000Z",'
    '"evidence":{"loop":"repeat","action":"search","times":4}}\n'
)


@pytest.fixture
def alone(monkeypatch):
    """No Prometheus is at hand."""
    monkeypatch.setattr("agent_exporter.backtest.prometheus.find", lambda: None)


def test_without_a_prometheus_backtest_prints_findings_by_time_and_says_what_it_leaves_out(tmp_path, capfd, alone):
    """JSON on standard output, all else on standard error; exit code 0 whatever is found."""
    later, log = tmp_path / "a.log", tmp_path / "b.log"
    later.write_bytes(line(60, agent_id="b", metadata={"retry_count": 5}) + b"\nno JSON\n")
    log.write_bytes(b"\n".join(LOOP) + b"\n")
    assert command(["backtest", str(later), str(log)]) == 0
    out, err = capfd.readouterr()
    assert out == FOUND + (
        '{"kind":"loop","agent_id":"b","session_id":"s","at":"2026-03-18T09:01:00.000Z",'
        '"evidence":{"loop":"retries","action":"search","retry_count":5}}\n'
    )
    assert err == (
        f"agent-exporter: {NO_RULES}\n"
        "agent-exporter: 6 lines of 2 agents from 2026-03-18 09:00 to 2026-03-18 09:01 UTC; "
        "2 findings: 1 loop (repeat), 1 loop (retries)\n"
        "Would have been killed, with breaker.mode: enforce: no session\n"
        f"agent-exporter: {later}: 1 of 2 lines rejected; `agent-exporter validate` says why\n"
    )


def test_backtest_uses_the_config_and_sends_no_spans(tmp_path, capfd, alone):
    """To try thresholds on last week's log."""
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    log.write_bytes(b"\n".join(LOOP) + b"\n")
    config.write_text("detectors: {loop: {max_repeats: 4}}\notlp: {endpoint: 'http://127.0.0.1:9'}\n")
    assert command(["backtest", "--config", str(config), str(log)]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "agent-exporter: 4 lines of 1 agent from 2026-03-18 09:00 to 2026-03-18 09:00 UTC; 0 findings\n" in err


def test_files_are_read_together_by_the_time_of_their_lines(tmp_path, capfd, alone):
    """Three agents with a file each: their cascade is found, as it would be where they log into one."""
    paths = []
    for second, agent in enumerate("abc"):
        path = tmp_path / agent
        steps = [line(second, status="error", agent_id=agent, parent_trace_id="t")]
        steps += [line(600 + second, agent_id=agent, session_id="later")]
        path.write_bytes(b"\n".join(steps) + b"\n")
        paths.append(str(path))
    assert command(["backtest", *reversed(paths)]) == 0
    [found] = capfd.readouterr().out.splitlines()
    assert json.loads(found)["evidence"] == {"agents": ["a", "b", "c"], "seconds": 2.0, "window_seconds": 60.0}


def test_a_line_of_the_future_counts_as_it_would_have_and_moves_no_clock(tmp_path, capfd, alone):
    """A day ahead of the lines around it; a night later, alone, and so the end of the log."""
    log = tmp_path / "log"
    lines = [line(0), line(86400), b"no JSON", line(60), line(120), line(3600), line(3700), line(40000)]
    log.write_bytes(b"\n".join(lines) + b"\n")
    assert command(["backtest", str(log)]) == 0
    err = capfd.readouterr().err
    assert "8 lines of 1 agent from 2026-03-18 09:00 to 2026-03-18 20:06 UTC; 0 findings\n" in err
    assert f"{log}: 1 of 8 lines rejected" in err


def test_backtest_of_a_file_that_is_not_there_is_wrong_use(capfd, alone):
    """Exit code 2."""
    assert command(["backtest", "nowhere.log"]) == 2
    assert "nowhere.log" in capfd.readouterr().err


def test_real_runs_are_flagged_rarely(capfd, alone):
    """3,618 lines: one loop; long conversations pass 50,000 tokens, since each call is sent the whole of it again."""
    assert command(["backtest", str(LOGS / "tau-airline-gpt4o.ndjson.gz")]) == 0
    assert "; 70 findings: 37 session_budget, 32 action_anomaly, 1 loop (cycle)\n" in capfd.readouterr().err


@pytest.fixture
def log(tmp_path):
    """A log with a loop in it."""
    path = tmp_path / "agents.log"
    path.write_bytes(b"\n".join(LOOP) + b"\n")
    return path


def test_run_prints_a_finding_once_over_restarts(tmp_path, log):
    """One JSON line of standard output, for whoever collects that; the second run goes on where the first was."""
    arguments = ["--state.path", tmp_path / "state", log]
    with Running(*arguments) as running:
        eventually(lambda: running.printed)
        running.process.terminate()
        running.process.wait()
    [printed] = running.printed
    found = json.loads(printed)
    assert (found["kind"], found["parent_trace_id"], len(found["trace_id"])) == ("loop", "t", 32)
    with Running(*arguments) as running:
        eventually(lambda: running.total("agent_loops_total") == 1)
        with log.open("ab") as opened:
            opened.write(line(61, session_id="z", metadata={"retry_count": 4}) + b"\n")
        eventually(lambda: running.printed)
    assert [json.loads(row)["session_id"] for row in running.printed] == ["z"]


def test_what_was_read_before_sigkill_is_found_after_it(tmp_path, log):
    """Half of a loop before, half of it after."""
    text = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(text[:2]))
    arguments = ["--state.path", tmp_path / "state", log]
    with Running(*arguments) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 2)
        running.process.kill()
        running.process.wait()
    with log.open("ab") as opened:
        opened.write(b"".join(text[2:]))
    with Running(*arguments) as running:
        eventually(lambda: running.printed)
        assert running.total("agent_loops_total") == 1


OTHER = {"agent_id": "a" * 60, "session_id": "s" * 60}


def test_texts_are_not_in_the_state(tmp_path, log):
    """Only fingerprints of them are."""
    log.write_bytes(b"".join(call(n, came=f"secret-{n}", duration_ms=n, **OTHER) + b"\n" for n in range(8)))
    state = tmp_path / "state"
    with Running("--state.path", state, log) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 8)
        running.process.terminate()
        running.process.wait()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("state*"))
    assert b"secret-7" not in kept
    assert b"search" in kept
