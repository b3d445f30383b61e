"""Findings, stops, actions and health checks in a sentence each. Pure: the same values give the same sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_exporter.formatting import duration, money
from agent_exporter.status.conditions import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_exporter.breaker.intent import Intent
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.probes.check import Result
    from agent_exporter.status.recent import ActionSummary


def kind_of(finding: Finding) -> str:
    """What it is, in two words at most."""
    loop = finding.evidence.get("loop")
    return f"loop: {loop}" if loop else finding.kind.replace("_", " ")


def evidence(finding: Finding) -> str:
    """What a finding rests on, in one line; of a kind that has no sentence here, its values as they are."""
    evidence = finding.evidence
    sentence = SENTENCES.get(evidence.get("loop", finding.kind))
    if sentence is not None:
        try:
            return sentence(evidence)
        except (KeyError, TypeError):  # written by another version, and kept in the state since
            pass
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in evidence.items())


def _over_budget(evidence: dict[str, Any]) -> str:
    said = []
    if evidence.get("tokens", 0) > evidence.get("max_tokens", float("inf")):
        said.append(f"{evidence['tokens']:,} tokens, where {evidence['max_tokens']:,} are the ceiling")
    if evidence.get("cost_usd", 0) > evidence.get("max_cost_usd", float("inf")):
        said.append(f"{money(evidence['cost_usd'])}, where {money(evidence['max_cost_usd'])} are the ceiling")
    return f"{' and '.join(said)} of task type {evidence['task_type']}"


SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "retries": lambda evidence: f"{evidence['action']} is at retry {evidence['retry_count']}",
    "repeat": lambda evidence: f"{evidence['action']} {evidence['times']} times in a row: same input, same outcome",
    "cycle": lambda evidence: (
        f"{' → '.join(evidence['actions'])}, {evidence['rounds']} times over with unchanged outcomes"
        + (f", between {' and '.join(evidence['agents'])}" if "agents" in evidence else "")
    ),
    "overtime": lambda evidence: (
        f"still at work after {duration(evidence['max_seconds'])}, the most for {evidence['task_type']}"
    ),
    "failing": lambda evidence: f"{evidence['action']} failed {evidence['times']} times in a row in the same way",
    "stalled": lambda evidence: (
        f"{evidence['action']} {evidence['times']} times in a row: same input, and only numbers differ in the outcome"
    ),
    "session_budget": _over_budget,
    "action_anomaly": lambda evidence: (
        f"{evidence['action']} took {evidence['tokens']:,} tokens, "
        f"{evidence['tokens'] / evidence['rolling_average']:.1f} times "
        f"its average of {evidence['rolling_average']:,.0f}"
    ),
    "cascade": lambda evidence: f"{' → '.join(evidence['agents'])} failed within {duration(evidence['seconds'])}",
}

STOPS = {
    "met": ("quiet", "being looked at"),
    "observed": ("quiet", "left alone"),
    "withdrawn": ("quiet", "may go on"),
    "intended": ("warn", "being stopped"),
    "called": ("warn", "told to stop"),
    "confirmed": ("good", "stopped"),
    "unconfirmed": ("bad", "told to stop, and still runs"),
    "failed": ("bad", "could not be stopped"),
}
"""What became of a session that was to be stopped, by the status of its intent."""


def stop_of(finding: Finding, stops: Mapping[tuple[str, str, str], Intent]) -> Condition | None:
    """What the breaker did about a finding, and why."""
    intent = stops.get((finding.agent_id, finding.session_id or "", finding.kind))
    if intent is None:
        return None
    level, said = STOPS[intent.status]
    return Condition(level, f"{said}: {intent.why}" if intent.why else said)


def notes(done: ActionSummary) -> str:
    """What else is worth knowing of an action: its model, its retries, its confidence, how it left the task."""
    said = [done.model or ""]
    if done.retries:
        said.append(f"retry {done.retries}")
    if done.confidence is not None:
        said.append(f"confidence {done.confidence:.2f}")
    if done.completed is not None:
        said.append("task completed" if done.completed else "task not completed")
    return ", ".join(word for word in said if word)


def outcome(check: Result) -> str:
    """How a health check went, without what the agent answered."""
    if check.why is None:
        return "passes"
    return "wrong answer" if check.why.startswith("the answer ") else check.why


def rejected(reasons: Mapping[str, int]) -> str:
    """How many lines were rejected, and why most of them."""
    total = sum(reasons.values())
    if not total:
        return "0"
    return f"{total:,} ({max(reasons, key=lambda reason: reasons[reason])} most)"
