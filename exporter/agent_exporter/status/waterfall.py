"""A trace as a waterfall: who worked for whom, when, and where it failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.lineage import Lineage
from agent_exporter.status.recent import ActionSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_exporter.detectors.finding import Finding
    from agent_exporter.status.recent import Trace

Name = tuple[str, str]
"""(agent_id, session_id)."""
MIN_WIDTH = 3.0
"""Thousandths of the whole that a bar is wide, so that what took no time is seen, too."""
DEEPEST = 12
"""Levels that are indented; a hostile chain of a thousand agents stays on the page."""


class Bar(NamedTuple):
    """One row: a session (`done` is None), or one of its actions."""

    depth: int
    agent_id: str
    session_id: str
    started: float
    at: float
    done: ActionSummary | None
    failed: int
    """Of a session: how many of its actions failed."""
    actions: int
    tokens: int
    cost_usd: float | None
    """None if no line has it."""
    findings: list[Finding]
    left: float
    """Where the bar begins, 0 to 1000 of the whole task."""
    width: float


def waterfall(trace: Trace, findings: Sequence[Finding]) -> list[Bar]:
    """The rows of a trace, depth first: a session, its actions and the sessions it handed over, by time."""
    children: dict[Name | None, list[Name]] = {}
    for name, parent in parents(trace).items():
        children.setdefault(parent, []).append(name)
    actions: dict[Name, list[ActionSummary]] = {}
    for done in trace.actions:
        actions.setdefault((done.agent_id, done.session_id), []).append(done)
    begin = min(done.started for done in trace.actions)
    scale = 1000 / (max(done.at for done in trace.actions) - begin or 1.0)
    drawn: set[Name] = set()

    def bar(depth: int, name: Name, done: ActionSummary | None) -> Bar:
        own = [done] if done is not None else actions.get(name, [])
        started = min((one.started for one in own), default=trace.members[name].started)
        at = max((one.at for one in own), default=started)
        costs = [one.cost_usd for one in own if one.cost_usd is not None]
        return Bar(
            min(depth, DEEPEST), *name, started, at, done,
            sum(one.failed for one in own), len(own),
            sum(one.tokens or 0 for one in own), sum(costs) if costs else None,
            [finding for finding in findings if _concerns(finding, name, done)],
            min(1000 - MIN_WIDTH, (started - begin) * scale), max(MIN_WIDTH, (at - started) * scale),
        )  # fmt: skip

    def draw(name: Name, depth: int) -> Iterator[Bar]:
        if name in drawn:
            return
        drawn.add(name)
        yield bar(depth, name, None)
        below: list[tuple[float, ActionSummary | Name]] = [(done.started, done) for done in actions.get(name, [])]
        below += [(trace.members[child].started, child) for child in children.get(name, [])]
        for _, one in sorted(below, key=lambda pair: pair[0]):
            if isinstance(one, ActionSummary):
                yield bar(depth + 1, name, one)
            else:
                yield from draw(one, depth + 1)

    rows: list[Bar] = []
    for name in (*children.get(None, []), *trace.members):  # the second: whoever hangs in a circle of span ids
        rows.extend(draw(name, 0))
    return rows


def parents(trace: Trace) -> dict[Name, Name | None]:
    """Below which session each of a trace hangs; None for the root."""
    lineage = Lineage(trace.actions[0].trace_id, trace.members, trace.spans)
    above = {name: lineage.parent(member) for name, member in trace.members.items()}
    return {name: None if parent is None else parent.name for name, parent in above.items()}


def _concerns(finding: Finding, name: Name, done: ActionSummary | None) -> bool:
    if finding.agent_id != name[0] or finding.session_id not in {None, name[1]}:
        return False
    if done is None:
        return True
    return finding.session_id is not None and abs(done.at - finding.at) < 0.0005  # times are written to the millisecond
