"""The boards as they are in dashboards/json, every query of them and of docs/queries.md, and a fleet to ask about."""

from __future__ import annotations

import contextlib
import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from conftest import line
from running import ROOT, Answering, Running, eventually

from agent_exporter.demo import history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "dashboards/json").glob("*.json"))]


def panels_of(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its panels, rows among them, and those in rows that are closed."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def targets(**values: str) -> dict[str, dict[str, Any]]:
    """Every query of every panel, by what it is called; `text` is what is asked, with a value for every variable."""
    found = {}
    for board in BOARDS:
        many = {one["name"]: ".*" for one in board["templating"]["list"] if one.get("multi")}
        filled = {"session": "", "__rate_interval": "1m"} | values | many
        for panel in panels_of(board):
            for target in panel.get("targets", ()):
                text = target.get("expr") or target.get("query", "")
                for name, value in filled.items():
                    text = text.replace(f"${name}", value)
                called = f"{board['uid']}: {panel['title']}, {target['refId']}"
                assert called not in found
                found[called] = target | {"text": text}
    return found


def library(language: str) -> dict[str, str]:
    """Every query of docs/queries.md in a language, by itself."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/queries.md").read_text(), re.DOTALL)
    return {f"queries.md: {query.strip()}": query.strip() for query in found}


NOT_ASKED = {
    "agent-traces: Agents and handovers, A": "Grafana makes it itself, of the series of the two panels beside it",
}
"""Queries that no server is asked, and why."""
WITHOUT_DATA = {
    "agent-budget: Day's cost against its own week, A": "there is no week before today yet",
    "agent-detail: Errors 1h, A": "its alert does not fire: three weeks went well before",
    "agent-detail: Errors 1h, B": "the same",
    "agent-detail: Health checks, B": "it has health checks",
    "agent-exporter: Dropped from full tables, per minute, A": "no table is full",
}
"""Queries that have nothing to say of the fleet below, and why."""
SELDOM = "it is recorded every five minutes, and may not have been yet"
MAYBE_WITHOUT_DATA = {
    "agent-budget: Agents, today, G": "no agent of the demo has a budget of tokens",
    "agent-budget: Day's cost against its own week, A": "there is no week before today yet",
    "agent-budget: Logged cost that the price table does not confirm, A": "all costs are right",
    "agent-budget: Mean tokens of a session, by agent, A": SELDOM,
    "agent-detail: Benchmark, A": "no benchmark is configured",
    "agent-detail: Daily tokens, A": "no agent of the demo has a budget of tokens",
    "agent-detail: Errors 1h, A": "one of these three answers, by the alert that fires",
    "agent-detail: Errors 1h, B": "the same",
    "agent-detail: Errors 1h, C": "the same",
    "agent-detail: Errors per minute, by type, A": "the one who loops may have been stopped over a minute ago",
    "agent-detail: Health checks, B": "all have health checks",
    "agent-detail: Quality, three-day means, A": SELDOM,
    "agent-detail: Quality, three-day means, B": "a first week has not passed",
    "agent-detail: Retries and fallbacks per minute, A": "the one who loops may have been stopped over a minute ago",
    "agent-detail: Retries and fallbacks per minute, B": "nobody falls back on anything",
    "agent-detail: Surer than right, A": SELDOM,
    "agent-detail: What it spends its actions on, A": SELDOM,
    "agent-exporter: Counted under _overflow, per minute, A": "nothing overflows",
    "agent-exporter: Dropped from full tables, per minute, A": "no table is full",
    "agent-exporter: Late lines and cut files, per hour, A": "nothing is late",
    "agent-exporter: Late lines and cut files, per hour, B": "no file is cut",
    "agent-exporter: Rejected per minute, by reason, A": "nothing is rejected",
    "agent-overview: Findings, D": "no call is unusual",
    "agent-traces: Long, A": "no session takes as long",
}
"""The same of the demo in compose, whose faults come and go. All of these answer to the fleet below, or stand above."""


# --- a fleet of which every query has something to say ---------------------------------------------------------------

AGENT, SESSION, TRACE = "support-01", "sess_8f2a1b", "4bf92f3577b34da6a3ce929d0e0e4736"
"""As docs/queries.md names them."""
CONFIG = """
agents:
  support-01: {team: support, expected_interval: 10s, daily_tokens: 1000, daily_cost_usd: 1, endpoint: ANSWERS,
    trusted_sources: ["*"], terminate: {url: "ANSWERS/v1/sessions/{session_id}/terminate"}}
  absent-01: {team: support, expected_interval: 1h}
task_types: {support: {session_tokens: 15000, normal_duration: 20s, max_duration: 2m}}
metrics: {max_series_per_family: 100}
breaker: {mode: observe}
benchmarks: {golden: {suite: SUITE, agents: [support-01], interval: 5s}}
otlp: {endpoint: SPANS}
"""
ANSWER = b'{"response": "OK", "connected": true}'
SUITE = 'cases: [{name: fine, input: "Are you fine?", expect: {contains: OK}}]\n'
OF_OTHERS = """\
traces_service_graph_request_total{client="planner-01",server="researcher-01"} 3
traces_service_graph_request_client_seconds_bucket{client="planner-01",server="researcher-01",le="1"} 3
traces_service_graph_request_client_seconds_bucket{client="planner-01",server="researcher-01",le="+Inf"} 3
traces_spanmetrics_calls_total{service="support-01",status_code="STATUS_CODE_ERROR"} 3
agent:loki_lines:count5m{agent_id="support-01"} 3
"""
"""What Tempo and Loki's ruler write to Prometheus."""


def bad_minute(until: float) -> list[bytes]:
    """The lines of a minute in which everything goes wrong once, the last of them too late."""

    def said(ago: float, agent: str, session: str, action: str, failed: str = "", **fields: Any) -> tuple[float, bytes]:
        at = datetime.fromtimestamp(until - ago, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        error = {"status": "error", "error": {"type": failed, "message": "in vain"}} if failed else {}
        return ago, line(timestamp=at, agent_id=agent, session_id=session, action=action, **error, **fields)

    task = {"task_type": "support", "team": "support"}
    tokens = {"prompt": 30_000, "completion": 500, "model": "claude-sonnet-4-20250514", "cost_usd": 5.0}
    lines = [
        said(50, AGENT, "process", "heartbeat", output={"state": "working"}),
        said(48, AGENT, SESSION, "llm_call", parent_trace_id=TRACE, duration_ms=2_340, tokens=tokens,
             output={"text": "perhaps", "confidence": 0.3}, metadata=task),
        *[said(46 - attempt, AGENT, SESSION, "search", "RateLimited", parent_trace_id=TRACE, duration_ms=100 + attempt,
               input={"like": "refund"}, metadata=task | {"retry_count": attempt}) for attempt in range(7)],
        said(10, AGENT, SESSION, "answer", parent_trace_id=TRACE, duration_ms=700,
             metadata=task | {"fallback_used": True, "feedback": -1, "session_end": True, "task_completed": False}),
        said(9, AGENT, "sess_fine", "answer", duration_ms=300,
             metadata=task | {"session_end": True, "task_completed": True}),
        # It is still at work.
        said(8, AGENT, "sess_open", "llm_call", duration_ms=300, tokens=tokens | {"prompt": 900}, metadata=task),
        *[said(20 - number, "junk-01", "s", f"call_{number}") for number in range(15)],
    ]  # fmt: skip
    before = None
    for number, agent in enumerate(("planner-01", "researcher-01", "fetcher-01")):
        family = {"parent_agent_id": before} if before else {}
        lines.append(said(30 - number, agent, f"{agent}-cut", "work", "LookupError", parent_trace_id="c" * 32, duration_ms=400,
                          metadata=family | {"team": "research"}))  # fmt: skip
        lines.append(said(25 - number, agent, f"{agent}-cut", "finish", parent_trace_id="c" * 32,
                          metadata=family | {"session_end": True, "task_completed": False}))  # fmt: skip
        before = agent
    lines.sort(key=lambda one: -one[0])
    return [*(text for _, text in lines), b"no record", said(40, "junk-01", "s", "late")[1]]


@contextlib.contextmanager
def watched(folder: Path, spans: str) -> Iterator[Running]:
    """A real exporter that has read three weeks of `AGENT` and goes on to read a bad minute; its spans go to `spans`."""
    log, cut = folder / "agents.log", folder / "cut.log"
    history.write(log, time.time(), seed=1)
    log.write_text(log.read_text().replace("writer-01", AGENT))
    cut.write_bytes(2 * line(agent_id="cut-01", timestamp="2026-03-18T09:15:32Z") + b"\n")
    (folder / "suite.yaml").write_text(SUITE)
    with Answering(200, ANSWER) as agent:
        names = {"ANSWERS": agent.url, "SUITE": str(folder / "suite.yaml"), "SPANS": spans}
        config = CONFIG
        for name, value in names.items():
            config = config.replace(name, value)
        (folder / "config.yaml").write_text(config)
        state = "--state.path", folder / "state.db"
        with Running("--config", folder / "config.yaml", *state, log, cut) as exporter:
            eventually(lambda: exporter.total("agent_exporter_lines_read_total") > 1_000, within=60)
            yield exporter


def goes_wrong(folder: Path) -> None:
    """The bad minute happens, and a file is cut."""
    with (folder / "agents.log").open("ab") as log:
        log.write(b"\n".join((*bad_minute(time.time()), b"")))
    (folder / "cut.log").write_bytes(b"\n")


def streams(now: float) -> list[dict[str, Any]]:
    """The same minute as the collector gives it to Loki, and a finding."""
    made = [
        {
            "stream": {"service_name": "agent-exporter", "level": "warn", "agent": AGENT},
            "values": [[f"{now - 1:.0f}000000000", f'{{"kind":"loop","agent_id":"{AGENT}"}}', {"agent_id": AGENT}]],
        }
    ]
    for text in bad_minute(now):
        with contextlib.suppress(ValueError):
            told = json.loads(text)
            level = "error" if told["status"] == "error" else "info"
            agent = told["agent_id"] if told["agent_id"].endswith("-01") else "other"
            ids = {name: told[name] for name in ("agent_id", "session_id")}
            at = f"{datetime.fromisoformat(told['timestamp']).timestamp():.3f}000000".replace(".", "")
            known = ids | {"trace_id": told.get("parent_trace_id", "")}
            made.append(
                {
                    "stream": {"service_name": "agents", "level": level, "agent": agent},
                    "values": [[at, text.decode(), known]],
                }
            )
    return made
