"""What a backtest says: findings and alerts as NDJSON, and a summary for a person."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.action import stamp
from agent_exporter.text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent_exporter.backtest import BacktestResult
    from agent_exporter.backtest.alerts import Alert
    from agent_exporter.backtest.rules import Plan
    from agent_exporter.config import Config
    from agent_exporter.detectors.finding import Finding

FAILURES = {
    "AgentDailyCostOverBudget": "daily_budget",
    "AgentDailyTokensOverBudget": "daily_budget",
    "AgentQualityDrifting": "drift",
    "AgentSilent": "silent",
}
"""The failures that rules decide, by the alert that says so; every other alert is of kind `alert`."""
REACHES = {"critical": "page", "warning": "digest", "digest": "digest", "none": "nobody"}
"""Where an alert of a severity goes: the routes of alert_rules/alertmanager.yml, a test compares."""


def alert_line(alert: Alert) -> bytes:
    """One line, shaped as that of a finding. `until` is left out if the log ends before the alert does."""
    labels = dict(alert.labels)
    severity = labels.get("severity", "")
    evidence: dict[str, Any] = {
        "alert": alert.rule.name,
        "severity": severity,
        "reaches": REACHES.get(severity, "unknown"),
        "since": stamp(alert.since),
    }
    if alert.until is not None:
        evidence["until"] = stamp(alert.until)
    evidence |= {"value": alert.value, "labels": labels}
    shown: dict[str, Any] = {"kind": FAILURES.get(alert.rule.name, "alert")}
    if "agent_id" in labels:
        shown["agent_id"] = labels["agent_id"]
    return escaped(msgspec.json.encode(shown | {"at": stamp(alert.at), "evidence": evidence}))


def lines(result: BacktestResult) -> Iterator[bytes]:
    """Everything in order of time."""
    rows = [(finding.at, finding.to_json(w3c=False)) for finding in result.findings]
    rows += [(alert.at, alert_line(alert)) for alert in result.alerts or ()]
    rows.sort()
    return (line for _, line in rows)


# --- the summary ---------------------------------------------------------------------------------------------------


def summary(result: BacktestResult, plan: Plan | None, config: Config) -> Iterator[str]:
    """The report for a person, as lines; the first says what was read."""
    yield _read(result)
    if plan is not None:
        yield from _left_out(plan)
    if result.alerts is not None:
        yield from _alerts(result.alerts, "page", "Would have paged somebody")
        yield from _alerts(result.alerts, "digest", "Would have been in the daily digest")
        yield from _alerts(result.alerts, "unknown", "Would have fired, with a severity that has no route here")
    yield from _killed(result.findings, config)


def _read(result: BacktestResult) -> str:
    tally = result.stages.tally
    lines = sum(source.read for source in tally.sources.values())
    agents = sum(1 for agent in tally.agents.values() if agent.cell.last_active)
    kinds = Counter(
        f"{finding.kind} ({finding.evidence['loop']})" if finding.kind == "loop" else finding.kind
        for finding in result.findings
    )
    names = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    span = (
        f" from {_minute(result.stretches[0][0])} to {_minute(result.stretches[-1][1])} UTC" if result.stretches else ""
    )
    of = _count(agents, "agent")
    found = _count(len(result.findings), "finding")
    return f"{_count(lines, 'line')} of {of}{span}; {found}{': ' + names if names else ''}"


def _alerts(alerts: Iterable[Alert], where: str, title: str) -> Iterator[str]:
    """By alert, and within it by agent: those that fired most often come first."""
    chosen = [alert for alert in alerts if REACHES.get(dict(alert.labels).get("severity", ""), "unknown") == where]
    if not chosen and where == "unknown":
        return
    yield f"{title}: {_times(len(chosen))}"
    by_name: dict[str, list[Alert]] = {}
    for alert in chosen:
        by_name.setdefault(alert.rule.name, []).append(alert)
    for name, those in sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0])):
        agents = Counter(dict(alert.labels).get("agent_id", "") for alert in those)
        yield f"  {name} {_times(len(those))}, {_span([alert.at for alert in those])}{_names(agents)}"


def _killed(findings: Iterable[Finding], config: Config) -> Iterator[str]:
    """What the breaker would have acted on: each session once, for the first finding that is a reason."""
    breaker = config.breaker
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        if finding.kind in breaker.reasons and finding.session_id is not None and finding.topic.stops:
            first.setdefault((finding.agent_id, finding.session_id), finding)
    killed = [finding for finding in first.values() if config.agent(finding.agent_id).terminate is not None]
    spared = [finding for finding in first.values() if config.agent(finding.agent_id).terminate is None]
    mode = "" if breaker.mode == "enforce" else ", with breaker.mode: enforce"
    yield f"Would have been killed{mode}: {_sessions(len(killed))}"
    if killed:
        yield f"  {_who(killed)}"
    most = breaker.max_terminations_per_minute
    for before, finding in zip(killed, killed[most:], strict=False):
        if finding.at - before.at < 60:
            yield f"  over {most} within a minute at {_minute(finding.at)}: the breaker would have latched there"
            break
    if spared:
        whose = "its agent" if len(spared) == 1 else "their agents"
        yield f"  and {_sessions(len(spared))} more, if {whose} had `terminate` in the config"
        yield f"  {_who(spared)}"


def _who(findings: Sequence[Finding]) -> str:
    return f"{_span([finding.at for finding in findings])}{_names(Counter(finding.agent_id for finding in findings))}"


def _left_out(plan: Plan) -> Iterator[str]:
    count = sum(len(names) for names in plan.left_out.values())
    if count:
        yield f"Not judged: {count} of {count + len(plan.alerts)} alerts, as a log does not hold what they read"
    for series, names in sorted(plan.left_out.items()):
        yield f"  {series or 'no series, it always fires'}: {', '.join(names)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count:,} times")


def _sessions(count: int) -> str:
    return {0: "no session", 1: "one session"}.get(count, f"{count:,} sessions")


def _span(times: Sequence[float]) -> str:
    first, last = _minute(min(times)), _minute(max(times))
    return f"at {first}" if len(times) == 1 else f"{first} to {last}"


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


MAX_NAMES = 8
"""Agents that are named of each alert; the NDJSON has all."""


def _names(agents: Counter[str]) -> str:
    named = [f"{name} {count:,}" if count > 1 else name for name, count in agents.most_common(MAX_NAMES) if name]
    more = len(agents) - MAX_NAMES
    return f": {', '.join(named)}{f' and {more:,} more' if more > 0 else ''}" if named else ""
