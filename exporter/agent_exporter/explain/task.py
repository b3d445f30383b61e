"""A task: its tree, its sums, its findings, and what went wrong first."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.action import FAILED
from agent_exporter.lineage import trace_name
from agent_exporter.status.recent import MAX_NAME, ActionSummary, Trace
from agent_exporter.status.waterfall import Bar, parents, waterfall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent_exporter.action import Action
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.sessions import Session
    from agent_exporter.status.waterfall import Name

MAX_ACTIONS = 5_000
"""Actions in a tree; further ones are only in the sums."""


_OF_SESSIONS = frozenset({"loop", "session_budget"})


class Sums(NamedTuple):
    """Sums over some actions; None if no line has the number."""

    actions: int
    failed: int
    tokens: int | None
    cost_usd: float | None


class Asker(NamedTuple):
    """A session between the task's root and another session; only its agent if the log has no line of it."""

    agent_id: str
    session_id: str | None
    latest: Action | None
    """Its last action before it called the next."""


class Trouble(NamedTuple):
    """What went wrong first: a failed action, or a finding if that came earlier."""

    action: Action | None
    """The action that failed, or that met the finding's definition; None if a time limit did."""
    finding: Finding | None
    """None if an action failed first."""
    at: float
    agent_id: str
    session_id: str | None
    asked_by: list[Asker]
    """The session that called this one, the one that called that, and so on up to the root."""
    others: list[Action]
    """The first failure of each other agent that failed later."""
    after: Sums
    """Sums over the actions that ended later."""
    seconds: float
    """Seconds from there to the end of the task."""


class Task(NamedTuple):
    """One trace. Times are seconds since 1970."""

    trace_id: str
    names: list[str]
    """Its names in the lines; empty if they name none."""
    started: float
    ended: float
    sums: Sums
    agents: list[str]
    """In the order in which they began."""
    sessions: int
    rows: list[Bar]
    """The tree, depth first."""
    not_shown: int
    """How many actions are only in the sums."""
    findings: list[Finding]
    trouble: Trouble | None
    completed: bool | None
    """As its sessions say: False if one says no; None if none says anything."""
    over: bool
    """The session at its root has logged its end."""

    @property
    def level(self) -> str:
        """How bad it is: one of `conditions.LEVELS`. A failure from which the task recovered is only worth a look."""
        if self.paging or (self.sums.failed and not self.completed):
            return "bad"
        return "warn" if self.findings or self.sums.failed or self.completed is False else "good"

    @property
    def paging(self) -> bool:
        """Whether a finding pages a person."""
        return any(finding.topic.pages for finding in self.findings)

    @property
    def root(self) -> str | None:
        """The suspected root of a cascade."""
        return next((finding.root_agent for finding in self.findings if finding.root_agent), None)


def build(
    trace_id: str, actions: Sequence[Action], findings: Iterable[Finding], session_of: Mapping[int, Session]
) -> Task:
    """A task from its actions, in order of time, and the findings in them and in the lines beside them.

    `session_of` has the session of each action, by the `id` of the action: one session id may be that of several.
    """
    trace = Trace(MAX_ACTIONS)
    for action in actions:
        trace.add(action, ActionSummary.of(action))
    started, ended = min(action.began for action in actions), actions[-1].at
    spans: dict[Name, tuple[float, float]] = {}
    for action in actions:
        who = (action.agent_id, action.session_id)
        spans[who] = min(action.began, spans.get(who, (action.began, 0.0))[0]), action.at
    own = [finding for finding in findings if _is_of(finding, trace_id, spans)]
    said = [action.metadata.task_completed for action in actions if action.metadata is not None]
    outcomes = {outcome for outcome in said if outcome is not None}
    rows = waterfall(trace, own)
    root = rows[0].agent_id, rows[0].session_id
    return Task(
        trace_id,
        sorted({name if len(name) <= MAX_NAME else trace_id for action in actions if (name := trace_name(action))}),
        started,
        ended,
        sums(actions),
        list(dict.fromkeys(action.agent_id for action in sorted(actions, key=attrgetter("began")))),
        len({session_of[id(action)] for action in actions}),
        rows,
        len(actions) - sum(row.done is not None for row in rows),
        own,
        _trouble(trace, actions, own, ended),
        None if not outcomes else False not in outcomes,
        any(
            (action.agent_id, action.session_id) == root and action.metadata is not None and action.metadata.session_end
            for action in actions
        ),
    )


def sums(actions: Sequence[Action]) -> Sums:
    """The sums over these actions."""
    with_tokens = [action.tokens for action in actions if action.tokens is not None]
    costs = [tokens.cost_usd for tokens in with_tokens if tokens.cost_usd is not None]
    return Sums(
        len(actions),
        sum(action.status in FAILED for action in actions),
        sum(tokens.total for tokens in with_tokens) if with_tokens else None,
        sum(costs) if costs else None,
    )


def is_line_of(finding: Finding, action: Action) -> bool:
    """Whether the finding was made when this action ended: times have milliseconds."""
    whose = (action.agent_id, action.session_id)
    return (finding.agent_id, finding.session_id) == whose and abs(action.at - finding.at) < 0.0005


def _is_of(finding: Finding, trace_id: str, spans: Mapping[Name, tuple[float, float]]) -> bool:
    """Whether the finding belongs to the task, or to a session of several traces while it worked on this one."""
    if finding.trace_id == trace_id:
        return True
    began, ended = spans.get((finding.agent_id, finding.session_id or ""), (0.0, 0.0))
    return finding.kind in _OF_SESSIONS and began <= finding.at <= ended


def _trouble(trace: Trace, actions: Sequence[Action], findings: Sequence[Finding], ended: float) -> Trouble | None:
    failed = [action for action in actions if action.status in FAILED]
    action, finding = next(iter(failed), None), next(iter(findings), None)
    first: Action | Finding
    if finding is not None and (action is None or finding.at < action.at):
        first = finding
        action = next((one for one in actions if is_line_of(finding, one)), None)
    elif action is not None:
        first, finding = action, None
    else:
        return None
    others = {other.agent_id: other for other in reversed(failed) if other.at >= first.at}
    others.pop(first.agent_id, None)
    return Trouble(
        action,
        finding,
        first.at,
        first.agent_id,
        first.session_id,
        _askers(trace, actions, (first.agent_id, first.session_id or "")),
        sorted(others.values(), key=lambda other: other.at),
        sums([other for other in actions if other.at > first.at]),
        max(0.0, ended - first.at),
    )


def _askers(trace: Trace, actions: Sequence[Action], name: Name) -> list[Asker]:
    """The sessions that called this one, from its caller up to the root."""
    above = parents(trace)
    by_session: defaultdict[Name, list[Action]] = defaultdict(list)
    for action in actions:
        by_session[action.agent_id, action.session_id].append(action)
    askers: list[Asker] = []
    seen = {name}
    while (member := trace.members.get(name)) is not None and (member.parent_agent_id or member.parent_span_id):
        parent = above[name]
        if member.parent_agent_id and not member.parent_span_id and (parent or "?")[0] != member.parent_agent_id:
            askers.append(Asker(member.parent_agent_id, None, None))  # it hangs below the root instead
            break
        if parent is None or parent in seen:
            break
        before = [one for one in by_session[parent] if one.at <= member.started]
        askers.append(Asker(*parent, before[-1] if before else None))
        seen.add(parent)
        name = parent
    return askers
