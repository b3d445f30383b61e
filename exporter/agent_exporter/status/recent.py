"""What the status page remembers beyond the series: each agent's last actions and minutes, and the latest traces.

Kept in memory only, within bounds: what is older makes room. Nothing of an action's content is kept: neither input nor
output, nor what an error said. After a restart it begins anew; the series do not.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.action import FAILED, Output, trace_id_of
from agent_exporter.lineage import Member, own_trace, session_trace_id, trace_name
from agent_exporter.metrics.limits import label
from agent_exporter.stage import Stage
from agent_exporter.sweep import oldest_eighth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.action import Action
    from agent_exporter.sessions import Session
    from agent_exporter.stage import Reading

MAX_AGENTS = 1_000
"""Agents remembered, about 30 kB each at worst; the one quiet for longest makes room."""
MAX_TRACES = 1_000
"""Traces remembered; the one begun first makes room."""
MAX_ACTIONS = 20_000
"""Actions remembered in all traces together, about 300 bytes each."""
ACTIONS_OF_TRACE = 500
"""Actions of one trace that are shown; further ones are only counted."""
MAX_SESSIONS = 500
"""Sessions of one trace that are shown: they may be a chain, which is drawn one level after the other."""
ACTIONS_OF_AGENT = 50
"""Actions of one agent that are shown: what a person reads before they search the logs instead."""
MAX_NAME = 256
"""Characters of a trace's name that are kept; of a longer one, its id."""
STEP = 15
"""Seconds of one bucket of an agent's recent numbers."""
STEPS = 120
"""Buckets: half an hour."""


class ActionSummary(NamedTuple):
    """One action without its content. Times are seconds since 1970."""

    started: float
    at: float
    agent_id: str
    session_id: str
    action: str
    status: str
    """One of STATUSES."""
    error_type: str | None
    tokens: int | None
    cost_usd: float | None
    model: str | None
    retries: int
    confidence: float | None
    trace: str
    """As the line names it; empty if it does not."""
    completed: bool | None = None
    """How the task went, on the line that ends its session."""

    @classmethod
    def of(cls, action: Action) -> ActionSummary:
        """An action without its content."""
        tokens, output, metadata = action.tokens, action.output, action.metadata
        at = action.at
        trace = trace_name(action)
        return cls(
            at if action.duration_ms is None else at - action.duration_ms / 1000,  # inline: Action.began
            at,
            action.agent_id,
            action.session_id,
            action.action,
            action.status,
            label(action.error_type or "_OTHER") if action.status in FAILED else None,
            None if tokens is None else (tokens.prompt or 0) + (tokens.completion or 0),  # inline: Tokens.total
            None if tokens is None else tokens.cost_usd,
            None if tokens is None or tokens.model is None else label(tokens.model),
            0 if metadata is None else metadata.retry_count or 0,
            output.confidence if output.__class__ is Output else None,
            trace if len(trace) <= MAX_NAME else trace_id_of(trace),
            metadata.task_completed if metadata is not None and metadata.session_end else None,
        )

    @property
    def failed(self) -> bool:
        """Status error or timeout."""
        return self.status in FAILED

    @property
    def trace_id(self) -> str:
        """32 hex digits; a session without a trace is one of its own."""
        return session_trace_id(self.trace, self.agent_id, self.session_id)


class Bucket:
    """What an agent did in STEP seconds; `number` counts them since 1970."""

    __slots__ = ("actions", "failures", "number", "tokens")

    def __init__(self, number: int) -> None:
        self.number = number
        self.actions = self.failures = self.tokens = 0


class AgentActivity:
    """One agent's last actions and buckets, oldest first."""

    __slots__ = ("actions", "buckets", "last")

    def __init__(self) -> None:
        self.actions: deque[ActionSummary] = deque(maxlen=ACTIONS_OF_AGENT)
        self.buckets: deque[Bucket] = deque(maxlen=STEPS)
        self.last = 0.0


class Trace:
    """One task's sessions and actions, in the order in which they were read."""

    __slots__ = ("_most", "actions", "dropped", "members", "spans")

    def __init__(self, most: int | None = None) -> None:
        self._most = ACTIONS_OF_TRACE if most is None else most
        self.actions: list[ActionSummary] = []
        self.members: dict[tuple[str, str], Member] = {}
        self.spans: dict[str, tuple[str, str]] = {}
        """Whose span it is, where lines give span ids of their own."""
        self.dropped = 0
        """Actions that are counted only."""

    def add(self, action: Action, done: ActionSummary) -> bool:
        """Take in an action; False if it is counted only, as there are `most` already."""
        kept = len(self.actions) < self._most
        if kept:
            self.actions.append(done)
        else:
            self.dropped += 1
        name = (done.agent_id, done.session_id)
        member = self.members.get(name)
        if member is None:
            if len(self.members) >= MAX_SESSIONS:
                return kept
            member = self.members[name] = Member.of(action, done.started)
        if done.started < member.started:
            member.started = done.started
        if action.span_id is not None and len(self.spans) < self._most:
            self.spans[action.span_id.lower()] = name
        return kept


class Recent(Stage):
    """A stage that remembers actions. Owned by the pipeline's thread; others ask it for copies."""

    def __init__(self, since: float) -> None:
        self.since = since
        """Clock at its beginning, seconds since 1970."""
        self.evictions = 0
        """Traces and agents forgotten to make room."""
        self._agents: dict[str, AgentActivity] = {}
        self._traces: dict[str, Trace] = {}
        self._held = 0

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:  # noqa: ARG002
        """Remember an action, unless the exporter is catching up: it would be out of date when it is looked at."""
        if not reading.live:
            return
        done = ActionSummary.of(action)
        memory = self._agents.get(done.agent_id)
        if memory is None:
            memory = self._meet(done.agent_id)
        memory.actions.append(done)
        if done.at > memory.last:
            memory.last = done.at
        number = int(done.at) // STEP
        buckets = memory.buckets
        if not buckets or number > buckets[-1].number:
            buckets.append(Bucket(number))
        # A late line goes into the newest bucket: a few seconds off, and still counted.
        bucket = buckets[-1]
        bucket.actions += 1
        bucket.tokens += done.tokens or 0
        if done.failed:
            bucket.failures += 1
        self._follow(action, done)

    # --- what the page asks for --------------------------------------------------------------------------------

    def agent(self, name: str) -> list[ActionSummary]:
        """An agent's last actions, newest first."""
        memory = self._agents.get(name)
        return [] if memory is None else list(reversed(memory.actions))

    def rates(self, now: float) -> dict[str, list[tuple[int, int, int]]]:
        """(actions, failures, tokens) of each agent in the last STEPS buckets, oldest first, the one under way last."""
        last = int(now) // STEP
        result = {}
        for name, memory in self._agents.items():
            by_number = {bucket.number: bucket for bucket in memory.buckets if last - bucket.number < STEPS}
            if by_number:
                numbers = range(last - STEPS + 1, last + 1)
                result[name] = [
                    (bucket.actions, bucket.failures, bucket.tokens) if (bucket := by_number.get(number)) else (0, 0, 0)
                    for number in numbers
                ]
        return result

    def trace(self, trace_id: str) -> Trace | None:
        """A copy of the trace with this id, 32 hex digits."""
        for trace in self._traces.values():
            if trace.actions[0].trace_id == trace_id:
                copy = Trace()
                copy.actions, copy.members = list(trace.actions), dict(trace.members)
                copy.spans, copy.dropped = dict(trace.spans), trace.dropped
                return copy
        return None

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Traces and agents."""
        yield "recent", self.evictions

    # --- within bounds -----------------------------------------------------------------------------------------

    def _meet(self, name: str) -> AgentActivity:
        if len(self._agents) >= MAX_AGENTS:
            oldest = oldest_eighth(self._agents, MAX_AGENTS, lambda known: self._agents[known].last)
            self.evictions += len(oldest)
            for known in oldest:
                del self._agents[known]
        memory = self._agents[name] = AgentActivity()
        return memory

    def _follow(self, action: Action, done: ActionSummary) -> None:
        key = done.trace or own_trace(done.agent_id, done.session_id)
        trace = self._traces.get(key)
        if trace is None:
            trace = self._traces[key] = Trace()
            if len(self._traces) > MAX_TRACES:
                self._drop(next(iter(self._traces)))
        self._held += trace.add(action, done)
        while self._held > MAX_ACTIONS:
            self._drop(next(iter(self._traces)))

    def _drop(self, key: str) -> None:
        self._held -= len(self._traces.pop(key).actions)
        self.evictions += 1
