"""Kills at random moments, full disks, second instances: counters stay exact, and no scrape is ever taken back."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import LOGS, line
from running import ROOT, Running, Sink, agents_only, eventually, samples_of

from agent_exporter.cli import command

LINES = gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()).splitlines(keepends=True)


WAITING = {"agent_loops_total", "agent_action_tokens_rolling_average", "agent_action_token_anomalies_total"}


def settled(samples) -> dict:
    """What does not depend on when sessions, and calls that wait for earlier ones, are looked at."""
    return {
        name: values
        for name, values in agents_only(samples).items()
        if "session" not in name and name not in WAITING and not name.endswith(("_timestamp_seconds", "_created"))
    }


def expected(paths, capfd) -> dict:
    assert command(["replay", *map(str, paths)]) == 0
    return settled(samples_of(capfd.readouterr().out))


class Watcher(threading.Thread):
    """Scrapes all the time and fails if a counter ever goes back, over restarts too."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.running: Running | None = None
        self.highest: dict = {}
        self.scrapes = 0
        self.taken_back: list = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                found = self.running.samples()
            except (OSError, AttributeError):
                continue
            self.scrapes += 1
            for name, values in found.items():
                if name.endswith(("_total", "_count", "_bucket")) and not name.startswith(("process_", "python_")):
                    for labels, value in values.items():
                        before = self.highest.get((name, labels), 0)
                        if value < before:
                            self.taken_back.append((name, labels, before, value))
                        self.highest[name, labels] = max(before, value)


@pytest.mark.slow
def test_kills_at_random_moments_neither_lose_nor_double_a_line_nor_take_back_a_scrape(tmp_path, capfd):
    """Twenty kills while lines are written and files rotate; spans arrive at least once each."""
    rng = random.Random(7)
    log = tmp_path / "agents.log"
    log.touch()
    watcher = Watcher()
    watcher.start()
    written = 0
    with Sink() as sink:
        arguments = ("--state.path", tmp_path / "s.db", "--otlp.endpoint", sink.url, str(tmp_path / "agents.log*"))
        for round_ in range(20):
            with Running(*arguments) as running:
                watcher.running = running
                until = time.monotonic() + rng.uniform(0.05, 0.5)
                while time.monotonic() < until and written < len(LINES):
                    more = rng.randint(1, 40)
                    with log.open("ab") as file:
                        file.writelines(LINES[written : written + more])
                    written += more
                    time.sleep(0.005)  # a writer's pace
                running.kill()
            if round_ % 5 == 4:
                log.rename(tmp_path / f"agents.log.{round_}")
                log.touch()
        with log.open("ab") as file:
            file.writelines(LINES[written:])
        with Running(*arguments) as running:
            watcher.running = running
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") >= len(LINES))
            found = running.samples()
            eventually(lambda: running.total("agent_exporter_span_queue_length") == 0)
            assert running.total("agent_exporter_spans_dropped_total") == 0
            watcher.done.set()
            watcher.join(10)
            assert running.stop() == 0
    assert settled(found) == expected(sorted(tmp_path.glob("agents.log*")), capfd)
    assert found["agent_exporter_lines_duplicate_total"] == dict.fromkeys(
        found["agent_exporter_lines_duplicate_total"], 0.0
    )
    actions = [span for _, span in sink.spans.values() if not span.name.startswith(("invoke_agent", "finding"))]
    assert len(actions) == len(LINES)
    assert watcher.scrapes > 20
    assert watcher.taken_back == []


@pytest.mark.slow
def test_a_full_disk_pauses_reading_and_loses_nothing(tmp_path, capfd):
    """/metrics answers with what is committed, /-/ready says why, /v1/logs asks to try again; space comes, all goes on."""
    log = tmp_path / "agents.log"
    log.write_bytes(b"".join(LINES[:100]))
    with Running("--state.path", tmp_path / "s.db", log) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 100)
        pid = running.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, ((tmp_path / "s.db-wal").stat().st_size, hard))
        with log.open("ab") as file:
            file.writelines(LINES[100:2000])
        eventually(lambda: running.get("/-/ready")[0] == 503)
        code, sentence = running.get("/-/ready")
        assert "state cannot be written, reading pauses" in sentence
        found = running.samples()
        assert found["agent_exporter_state_available"] == {(): 0}
        before = sum(found["agent_exporter_lines_accepted_total"].values())
        assert 100 <= before < 2000
        body = json.dumps(
            {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": line().decode()}}]}]}]}
        ).encode()
        code, answer = running.post("/v1/logs", body, Content_Type="application/json")
        assert (code, json.loads(answer)["code"]) == (503, 14)
        assert running.total("agent_exporter_lines_accepted_total") == before
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 2000)
        assert running.get("/-/ready")[0] == 200
        found = running.samples()
        assert running.stop() == 0
    (tmp_path / "whole.log").write_bytes(b"".join(LINES[:2000]))
    assert settled(found) == expected([tmp_path / "whole.log"], capfd)


@pytest.mark.slow
def test_a_state_directory_that_cannot_be_used_is_said_and_waited_for(tmp_path):
    """/metrics answers without agents, nothing is read; once the way is free, everything is."""
    log = tmp_path / "agents.log"
    log.write_bytes(b"".join(LINES[:100]))
    (tmp_path / "blocked").touch()
    with Running("--state.path", tmp_path / "blocked" / "s.db", log) as running:
        code, sentence = running.get("/-/ready")
        assert (code, "state cannot be opened" in sentence) == (503, True)
        found = running.samples()
        assert found["agent_exporter_state_available"] == {(): 0}
        assert "agent_actions_total" not in found
        (tmp_path / "blocked").unlink()
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 100)


@pytest.mark.slow
def test_a_damaged_state_file_is_set_aside_and_the_totals_come_out_right(tmp_path, capfd):
    """From the files' beginnings, with counters at zero."""
    log = tmp_path / "agents.log"
    log.write_bytes(b"".join(LINES))
    for damage in (False, True):
        with Running("--state.path", tmp_path / "s.db", log) as running:
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") == len(LINES))
            found = running.samples()
            assert running.stop() == 0
            assert any("set aside" in row for row in running.log) == damage
        (tmp_path / "s.db").write_bytes(os.urandom(20_000))
    assert settled(found) == expected([log], capfd)


@pytest.mark.slow
def test_a_second_instance_on_the_same_state_is_refused_with_exit_code_2(tmp_path):
    """One sentence, no traceback."""
    with Running("--state.path", tmp_path / "s.db").ready():
        second = subprocess.run(
            [sys.executable, "-m", "agent_exporter", "run", "--web.listen-address", "127.0.0.1:0", "--state.path", tmp_path / "s.db"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "is in use by another agent-exporter" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.slow
def test_a_terminated_exporter_ends_soon_with_everything_committed(tmp_path):
    """Under load, and with a collector that never answers."""
    log = tmp_path / "agents.log"
    log.write_bytes(b"".join(LINES))
    with Sink() as sink:
        hang = threading.Event()
        sink.answer = lambda _: hang.wait(20) and None
        with Running("--state.path", tmp_path / "s.db", "--otlp.endpoint", sink.url, log) as running:
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") > 0)
            assert running.stop() == 0  # waits 15 s at most
        hang.set()
    with Running("--state.path", tmp_path / "s.db", log) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == len(LINES))


@pytest.mark.slow
def test_sighup_takes_a_good_config_and_keeps_the_old_one_for_a_bad_one(tmp_path):
    """And says so in metrics and log."""
    config = tmp_path / "config.yaml"
    config.write_text("agents: {a: {daily_tokens: 5}, b: {}}")
    with Running("--config", config).ready() as running:
        assert running.samples()["agent_daily_token_budget"] == {(("agent_id", "a"),): 5}
        config.write_text("agents: {a: {daily_tokens: 7, team: x}}")
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: running.samples()["agent_daily_token_budget"] == {(("agent_id", "a"),): 7})
        assert running.samples()["agent_info"] == {(("agent_id", "a"), ("team", "x")): 1}
        config.write_text("agents: {a: {daily_tokens: no}}\nfoo: 1")
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: running.total("agent_exporter_config_last_reload_successful") == 0)
        assert running.samples()["agent_daily_token_budget"] == {(("agent_id", "a"),): 7}
        eventually(lambda: sum("config not reloaded" in row for row in running.log) == 2)
        config.write_text("agents: {a: {daily_tokens: 9}}")
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: running.total("agent_exporter_config_last_reload_successful") == 1)
