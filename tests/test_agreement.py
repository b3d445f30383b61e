"""Where a session begins and ends, everything that shows it says the same."""

from __future__ import annotations

import pytest
from breaking import Rig
from detecting import START, line
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_explain import found, written
from test_metrics import samples

from agent_exporter.server.budget import budget
from agent_exporter.spans import encode

CONFIG = """
agents:
  runaway:
    trusted_sources: ["/logs/runaway/*"]
    terminate: {url: "http://127.0.0.1:9/{session_id}"}
task_types: {default: {session_tokens: 1000, idle_timeout: 4s}}
state: {path: PATH/state.db}
otlp: {endpoint: "http://127.0.0.1:9"}
breaker: {mode: enforce}
"""


@pytest.mark.parametrize("looked", [False, True])
def test_calls_longer_than_the_idle_time_are_one_session_everywhere(looked, tmp_path):
    """Metrics, spans, `explain`, the budget endpoint and the breaker: begin, end, tokens, and the stop."""
    rig = Rig(tmp_path, CONFIG)
    spans = []
    rig.stages.tree._emit = lambda _trace, _agent, span: spans.append(span)
    names = {"agent_id": "runaway", "session_id": "s", "parent_trace_id": "t"}
    lines = [line(6 * n + 6, **names, action="llm_call", duration_ms=5_000, tokens={"prompt": 150}) for n in range(10)]
    lines.append(line(60.5, **names, action="done", metadata={"session_end": True, "task_completed": False}))
    for number, text in enumerate(lines):
        while looked and rig.seconds < 6 * number + 6:
            rig.wait(1)
        rig.seconds = 6 * number + 6
        rig.say(text)
        if number == 6:
            answer = budget(rig.stages.sessions, rig.config, "s", "runaway", "default", lambda _: True)
            assert (answer["tokens"]["used"], answer["stop"]) == (1_050, True)
    rig.wait(4)

    for (kind, key), value in rig.store.kept.items():
        rig.store.committed.setdefault(kind, {})[key] = value
    metrics = samples(rig.stages, now=START + rig.seconds)
    assert sum(metrics["agent_sessions_total"].values()) == 1
    assert metrics["agent_session_duration_seconds_sum"][("runaway", "default")] == 59.5
    assert metrics["agent_session_tokens_sum"][("runaway", "default")] == 1_500
    [call] = rig.calls
    assert (call.evidence["tokens"], call.at - START) == (1_050, 42)

    decoded = [
        ExportTraceServiceRequest.FromString(encode.request("runaway", "1", [span])).resource_spans[0] for span in spans
    ]
    [session] = [
        one for one in (part.scope_spans[0].spans[0] for part in decoded) if one.name == "invoke_agent runaway"
    ]
    assert (session.start_time_unix_nano, session.end_time_unix_nano) == (
        round((START + 1) * 1e9), round((START + 60.5) * 1e9)
    )  # fmt: skip

    [task] = found(written(tmp_path / "a.log", *lines), CONFIG.replace("PATH", str(tmp_path)), trace="t").tasks
    bar = task.rows[0]
    assert (bar.started - START, bar.at - START, bar.tokens, task.sessions) == (1.0, 60.5, 1_500, 1)
    assert [finding.evidence for finding in task.findings if finding.kind == "session_budget"] == [
        {"tokens": 1_050, "max_tokens": 1_000, "task_type": "default"}
    ]
