"""Hostile logs through the whole program: it lives, counts, says why, and reads the next good line."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import LOGS, line
from running import ROOT, Running, agents_only, eventually, samples_of
from test_action import BAD
from test_metrics import run, samples, text

from agent_exporter import cli
from agent_exporter.action import MAX_AHEAD, Action, Rejection
from agent_exporter.records import Foreign, read

GOOD = line(agent_id="good")


def peak_rss(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.slow
def test_a_log_of_everything_bad_is_counted_by_reason_and_the_next_good_line_is_read(tmp_path, program):
    """A 100 MB line among them, without room in memory for it."""
    log = tmp_path / "agents.log"
    lines = [bad for bad, _, _ in BAD if b"\n" not in bad]
    read_as = [read(bad.lstrip(b"\0"), time.time() + MAX_AHEAD) for bad in lines]
    expected = Counter(one.reason for one in read_as if isinstance(one, Rejection) and not isinstance(one, Foreign))
    expected["too_long"] += 1
    behind = sum(isinstance(one, Action) for one in read_as)
    with Running(log, "--state.path", tmp_path / "s.db") as running:
        running.ready()
        with log.open("wb") as file:
            for bad in lines:
                file.write(bad + b"\n")
            file.flush()
            eventually(lambda: running.total("agent_exporter_lines_read_total") == len(lines))
            before = peak_rss(running.process.pid)
            file.write(b'{"x": "')
            for _ in range(100):
                file.write(b"y" * (1 << 20))
            file.write(b'"}\n' + GOOD + b"\n")
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 1 + behind)
        assert peak_rss(running.process.pid) - before < 16 << 20
        found = running.samples()
        rejected = {
            dict(labels)["reason"]: count
            for labels, count in found["agent_exporter_lines_rejected_total"].items()
            if dict(labels)["source"] == str(log)
        }
        assert {reason: count for reason, count in rejected.items() if count} == dict(expected)
        assert running.process.poll() is None
        page = running.scrape()
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert [row for row in checked.stderr.splitlines() if "agent_quiet_hours" not in row] == []
    assert not any("Traceback" in row for row in running.log)


@pytest.mark.slow
def test_a_flood_of_agent_ids_costs_little_memory_and_no_total(tmp_path):
    """At most 2,000 label sets per family, and the sum over all of them is exact."""
    log = tmp_path / "agents.log"
    many = int(os.environ.get("AGENT_IDS", "100000"))  # a million by night: `make test-nightly`
    template = line(agent_id="agent-%d", session_id="s%d", tokens={"prompt": 1})
    with log.open("wb") as file:
        for number in range(many):
            file.write(template % (number, number % 1000) + b"\n")
    # Not ru_maxrss, which a child takes over from its parent.
    code = "import sys; from agent_exporter.cli import command; command(sys.argv[1:]); print(open('/proc/self/status').read(), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "replay", log], cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = samples_of(done.stdout)
    assert len(found["agent_info"]) <= 2_001
    assert sum(found["agent_actions_total"].values()) == many
    assert sum(found["agent_tokens_total"].values()) == many
    assert int(done.stderr.split("VmHWM:")[1].split()[0]) * 1024 < 250 << 20


def test_no_gauge_of_time_runs_ahead_of_the_clock(tmp_path):
    """A line may be ten minutes ahead; nothing that is shown may be."""
    log = tmp_path / "agents.log"
    ahead = (datetime.now(UTC) + timedelta(minutes=9)).isoformat()
    log.write_bytes(
        line(timestamp=ahead) + b"\n" + line(timestamp=ahead, action="heartbeat", output={"state": "idle"}) + b"\n"
    )
    with Running(log) as running:
        eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 2)
        found = running.samples()
    for name, values in found.items():
        if name.startswith("agent_") and name.endswith("timestamp_seconds"):
            assert all(value <= time.time() for value in values.values()), name


def test_any_order_of_lines_gives_the_same_counters():
    """Files are read side by side, collectors send in batches: sums do not care."""
    lines = gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()).splitlines()[:600]
    straight = agents_only(samples_by_labels(lines))
    random.Random(3).shuffle(lines)
    shuffled = agents_only(samples_by_labels(lines))
    order = ("agent_first_seen_timestamp_seconds", "agent_finding_timestamp_seconds", "agent_loops_total",
             "agent_action_token_anomalies_total", "agent_action_tokens_rolling_average")  # fmt: skip
    names = [name for name in straight if name not in order and "session" not in name]
    assert shuffled.keys() >= set(names)
    for name in names:  # dollars are sums of floats, and their last digit knows the order
        assert shuffled[name] == pytest.approx(straight[name]), name


def samples_by_labels(lines):
    return samples_of(text(run(*lines)))


def test_secrets_in_a_log_do_not_reach_the_page():
    """Not in input, output, error texts, or fields that nobody knows."""
    secret = "sk-ant-api03-very-secret"
    stages_samples = samples(
        run(
            line(input={"key": secret}, output={"text": secret, "detail": secret}, error={"message": secret}, status="error",
                 unknown=secret, metadata={"note": secret})
        )
    )  # fmt: skip
    assert secret not in json.dumps({name: [str(key) for key in values] for name, values in stages_samples.items()})


def test_our_own_log_has_no_control_characters(tmp_path):
    """A file name may hold an escape sequence; a terminal must not obey it."""
    name = "evil\x1b[31m\n.log"
    (tmp_path / name).mkdir()
    with Running(str(tmp_path / "*.log")) as running:
        running.ready()
        eventually(lambda: any("evil" in row for row in running.log))
    assert not any("\x1b" in row for row in running.log)


def test_an_id_cannot_pass_for_a_line_of_the_exporters_own_log_nor_steer_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    cli.command(["schema"])
    logging.getLogger("agent_exporter").warning("session %s of a", "s\r\n2026-01-01 ERROR all is lost\x1b[2J\u202e é")
    assert capsys.readouterr().err.partition(" ")[2] == (
        "WARNING session s\\r\\n2026-01-01 ERROR all is lost\\x1b[2J\\u202e é of a\n"
    )
