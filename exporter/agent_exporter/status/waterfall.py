"""A trace as a waterfall: who worked for whom, when, and where it failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.lineage import caller
from agent_exporter.spans.tree import root_id, session_span_id
from agent_exporter.status.recent import ActionSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_exporter.detectors.finding import Finding
    from agent_exporter.status.recent import Member, Trace

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
    """None if no line tells it."""
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
    owners = _owners(trace)
    return {name: parent_of(member, trace, owners) for name, member in trace.members.items()}


def _owners(trace: Trace) -> dict[str, Name]:
    """Whose session a span id stands for: its own, as `spans` derives it, or that of an action that names one."""
    trace_id = trace.actions[0].trace_id
    own = {session_span_id(trace_id, *name).hex(): name for name in trace.members}
    return (
        own
        | {root_id(trace_id).hex(): name for name, member in trace.members.items() if member is _root(trace)}
        | trace.spans
    )


def _root(trace: Trace) -> Member | None:
    return next(
        (member for member in trace.members.values() if not member.parent_agent_id and not member.parent_span_id), None
    )


def parent_of(member: Member, trace: Trace, owners: Mapping[str, Name]) -> Name | None:
    """Whose session handed this one over, by the rules of the spans; None for the root.

    An explicit span id wins; else the named agent's latest session that began earlier; else it hangs below the root.
    """
    root = _root(trace)
    if member is root:
        return None
    owner = owners.get(member.parent_span_id)
    if owner is not None and owner != member.name:
        return owner
    handed_over = caller(member, trace.members.values())
    if handed_over is not None:
        return handed_over.name
    return root.name if root is not None else None


def _concerns(finding: Finding, name: Name, done: ActionSummary | None) -> bool:
    if finding.agent_id != name[0] or finding.session_id not in {None, name[1]}:
        return False
    if done is None:
        return True
    return finding.session_id is not None and abs(done.at - finding.at) < 0.0005  # times are told to the millisecond
