"""Beside a real OpenTelemetry collector: spans go to it, lines come from it, and it may be killed meanwhile."""

from __future__ import annotations

import gzip
import json
import subprocess
import time

import pytest
from conftest import LOGS
from running import Collector, Running, agents_only, eventually, free_port, samples_of

from agent_exporter.cli import command

SPANS_IN = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: 127.0.0.1:{port}}}}}}}
exporters:
  file: {{path: {out}, flush_interval: 100ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""

LOGS_OUT = """
receivers:
  file_log:
    include: [{log}]
    start_at: beginning
    poll_interval: 50ms
    storage: file_storage
    {operators}
extensions:
  file_storage: {{directory: {storage}, create_directory: true}}
exporters:
  otlp_http:
    endpoint: {url}
    compression: gzip
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms, max_elapsed_time: 0}}
    sending_queue: {{storage: file_storage, block_on_overflow: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [file_log], exporters: [otlp_http]}}
"""

PARSED = "operators: [{type: json_parser, parse_to: body}]"


def airline() -> list[bytes]:
    return gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()).splitlines(keepends=True)


def spans_in(path) -> dict[str, dict]:
    """Span id to span, of what the collector's file exporter wrote; it may be in the middle of a row."""
    found = {}
    *whole, _ = path.read_text().split("\n") if path.exists() else [""]
    for row in whole:
        for resource in json.loads(row)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                found.update({span["spanId"]: span for span in scope["spans"]})
    return found


def without_findings(spans: dict[str, dict]) -> list[dict]:
    """Those of actions and sessions: not what a detector made of them."""
    return [span for span in spans.values() if not span["name"].startswith("finding")]


@pytest.mark.slow
def test_the_spans_of_standard_input_arrive_at_a_collector(tmp_path, program):
    """cat lines | agent-exporter run -: every span is accepted, and they are trees."""
    port, out = free_port(), tmp_path / "spans.json"
    lines = airline()
    with Collector(program("otelcol"), SPANS_IN.format(port=port, out=out), tmp_path):
        with Running(
            "-", "--otlp.endpoint", f"http://127.0.0.1:{port}", "--state.path", tmp_path / "s.db", stdin=subprocess.PIPE
        ) as running:
            running.process.stdin.write(b"".join(lines).decode())
            running.process.stdin.close()
            eventually(lambda: len(without_findings(spans_in(out))) >= len(lines))
            assert running.total("agent_exporter_spans_dropped_total") == 0
    spans = spans_in(out)
    chat = [span for span in spans.values() if span["name"] == "chat gpt-4o"]
    assert len(without_findings(spans)) == len(lines)
    assert len(chat) == sum(b'"action": "llm_call"' in text for text in lines)


@pytest.mark.slow
def test_replay_sends_whole_trees_to_a_collector(tmp_path, program, capfd):
    """Sessions included: every trace has one root, and every span its parent."""
    port, out = free_port(), tmp_path / "spans.json"
    with Collector(program("otelcol"), SPANS_IN.format(port=port, out=out), tmp_path):
        path = str(LOGS / "tau-airline-gpt4o.ndjson.gz")
        assert command(["replay", "--otlp.endpoint", f"http://127.0.0.1:{port}", path]) == 0
        page = samples_of(capfd.readouterr().out)
        [sent] = page["agent_exporter_spans_sent_total"].values()
        eventually(lambda: len(spans_in(out)) == sent)
    spans = spans_in(out)
    assert len(without_findings(spans)) == 3618 + 200
    counted = ("agent_loops_total", "agent_action_token_anomalies_total", "agent_session_budget_exceeded_total")
    assert len(spans) == 3618 + 200 + sum(sum(page[name].values()) for name in counted)
    roots = [span for span in spans.values() if not span.get("parentSpanId")]
    assert len(roots) == len({span["traceId"] for span in spans.values()}) == 200
    assert all(span["parentSpanId"] in spans for span in spans.values() if span.get("parentSpanId"))


def from_file(path, capfd) -> dict:
    """The counters of reading the file ourselves."""
    assert command(["replay", str(path)]) == 0
    return samples_of(capfd.readouterr().out)


def counters(samples) -> dict:
    """What may be compared between reading live and reading the past: what lines alone decide, in any order.

    The collector's queue has several consumers, so its requests come in any order, and a kill holds some of them up:
    what depends on the order of lines beyond the reorder window is left out.
    """
    live = {
        "agent_sessions_active", "agent_sessions_total",
        "agent_loops_total", "agent_action_token_anomalies_total", "agent_action_tokens_rolling_average",
    }  # fmt: skip
    return {
        name: values
        for name, values in agents_only(samples).items()
        if name not in live and "session" not in name and not name.endswith("_timestamp_seconds")
    }


@pytest.mark.slow
@pytest.mark.parametrize("operators", ["", PARSED], ids=["body as text", "body parsed into a map"])
def test_lines_through_a_collector_count_as_lines_of_the_file(tmp_path, program, capfd, operators):
    """The same counters, to the unit."""
    log = tmp_path / "agents.log"
    lines = (
        airline() + (LOGS / "chain.ndjson").read_bytes().splitlines(keepends=True) + [b"[1]\n", b'{"agent_id": "a"}\n']
    )
    log.write_bytes(b"".join(lines))
    with Running("--state.path", tmp_path / "s.db") as running:
        running.ready()
        config = LOGS_OUT.format(log=log, url=running.url, storage=tmp_path / "storage", operators=operators)
        with Collector(program("otelcol"), config, tmp_path):
            eventually(lambda: running.total("agent_exporter_lines_read_total") >= len(lines))
            found = running.samples()
    expected = from_file(log, capfd)
    assert counters(found) == counters(expected)
    assert found["agent_exporter_lines_rejected_total"][(("reason", "missing_field"), ("source", "otlp"))] == 1


@pytest.mark.slow
def test_a_collector_killed_midway_neither_loses_nor_doubles_a_line(tmp_path, program, capfd):
    """Its queue is on disk; what it sends twice is counted once."""
    log = tmp_path / "agents.log"
    lines = airline()
    with Running("--state.path", tmp_path / "s.db") as running:
        running.ready()
        config = LOGS_OUT.format(log=log, url=running.url, storage=tmp_path / "storage", operators="")
        with Collector(program("otelcol"), config, tmp_path) as collector:
            with log.open("ab") as file:
                for start in range(0, len(lines), 300):
                    file.writelines(lines[start : start + 300])
                    file.flush()
                    if start in {900, 2100}:
                        collector.kill()
                        collector.start()
                    time.sleep(0.1)  # the collector's own pace: it polls every 50 ms
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") >= len(lines))
            found = running.samples()
    assert counters(found) == counters(from_file(log, capfd))


@pytest.mark.slow
def test_an_exporter_killed_midway_loses_no_line_that_a_collector_has(tmp_path, program, capfd):
    """An unanswered request is sent again; an answered one is on disk."""
    log = tmp_path / "agents.log"
    lines = airline()
    port = free_port()
    arguments = ("--state.path", tmp_path / "s.db")
    binary = program("otelcol")  # before anything runs: it may skip
    running = Running(*arguments, listen=f"127.0.0.1:{port}").ready()
    config = LOGS_OUT.format(log=log, url=running.url, storage=tmp_path / "storage", operators="")
    with Collector(binary, config, tmp_path), log.open("ab") as file:
        for start in range(0, len(lines), 300):
            file.writelines(lines[start : start + 300])
            file.flush()
            if start in {600, 1800, 3000}:
                time.sleep(0.06)  # some of it is on its way
                running.kill()
                with running:
                    pass
                running = Running(*arguments, listen=f"127.0.0.1:{port}")
        with running:
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") >= len(lines), within=60)
            found = running.samples()
    assert counters(found) == counters(from_file(log, capfd))
