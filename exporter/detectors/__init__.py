"""Action -> Finding: what PromQL cannot see, as it needs a session, a trace or a single call.

    loop            a session goes round, or on and on        loop.py             per session, and per trace
    session_budget  a session costs too much                  session_budget.py   per session
    action_anomaly  one call costs far more than usual        action_anomaly.py   per agent and action
    cascade         agents of one trace fail together         cascade.py          per trace

What commutes, the sums of a budget, is decided on arrival; all else waits in a `reorder` buffer until it is in order.
Times are those of the lines, so a log of the past gives what reading it live gave. `docs/detectors.md` has the
definitions.

A detector is a function of a step and what is remembered (`steps`), which gives evidence or None, and one line in
`Detectors._decide` or `_decide_in_trace`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from exporter.action import FAILED as FAILURES
from exporter.action import trace_id_of
from exporter.detectors import action_anomaly, cascade, loop, session_budget, traces
from exporter.detectors.finding import Finding, Kind
from exporter.detectors.steps import BEAT, END, FAILED, IDLE, MODEL, POLLING, WORKING, Step, Steps, Trace
from exporter.detectors.traces import Traces
from exporter.lineage import own_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from exporter.action import Action
    from exporter.config import Config, TaskType
    from exporter.detectors.action_anomaly import Sample
    from exporter.sessions import Session, Sessions
    from exporter.state import Row

MOST_HELD = 32 << 20
"""Bytes of lines kept for their fingerprints."""
MOST_NAMES = 4096
"""Actions whose marks are kept."""


class Detectors:
    """Tells `found` of every finding. `live` is False for a log of the past."""

    def __init__(
        self,
        config: Config,
        sessions: Sessions,
        found: Callable[[Finding], None],
        *,
        live: bool = True,
    ) -> None:
        self.live = live
        self._sessions = sessions
        self._found = found
        self.averages = action_anomaly.Averages(config.detectors.action_anomaly, self._anomaly)
        self.traces = Traces(self._leave)
        self._held: list[Steps] = []
        self._bytes = 0
        self._marks: dict[str, int] = {}
        self._tasks: dict[str, TaskType] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take up new settings."""
        self._config = config
        self._settings = config.detectors
        self._reorder = float(config.detectors.reorder)
        self._shapes = loop.shapes(config.detectors.loop)
        self._longest = max(total for _, total in self._shapes)
        self.averages.settings = config.detectors.action_anomaly
        self.averages.reorder = self._reorder
        self._marks.clear()
        self._tasks.clear()

    # --- lines -------------------------------------------------------------------------------------------------

    def add(self, action: Action, session: Session, now: float) -> None:
        """Take in an action that is no heartbeat, and that `session` has taken in already."""
        tokens = action.tokens
        if tokens is not None:
            self.averages.add(action, now)
            if self.live:
                self._spend(session, session.tokens, session.cost_usd, session.last)
        marks = self._marks.get(action.action)
        if marks is None:
            marks = self._mark(action.action)
        at = action.at
        duration = action.duration_ms
        retries = 0
        metadata = action.metadata
        if metadata is not None:
            if metadata.retry_count:
                retries = metadata.retry_count
            if metadata.session_end:
                marks |= END
        if action.status in FAILURES:
            marks |= FAILED
        step = Step(
            at,
            at if duration is None else at - duration / 1000,
            action.agent_id,
            action.session_id,
            action.action,
            marks,
            retries,
            action.line,
        )
        if not self.live and tokens is not None:
            step.tokens = (tokens.prompt or 0) + (tokens.completion or 0)
            step.cost_usd = tokens.cost_usd or 0.0
        trail = session.trail
        if not trail.held:
            self._hold(trail)
        self._bytes += len(action.line)
        ready = trail.put(step, now, self._reorder)
        if ready:
            self._decide(session, ready)
        name = action.trace_id or action.parent_trace_id
        if name is not None:
            self._pass_on(action, session, step, name, now)
        if self._bytes > MOST_HELD:
            self.settle()

    def beat(self, action: Action, session: Session, now: float) -> None:
        """Take in a heartbeat of an agent whose session this is, as far as is known."""
        marks = {"working": WORKING, "idle": IDLE}.get(action.state)
        if marks is None:
            return
        step = Step(action.at, action.at, action.agent_id, session.session_id, action.action, marks, 0)
        ready = session.trail.put(step, now, self._reorder)
        if ready:
            self._decide(session, ready)

    # --- in order ----------------------------------------------------------------------------------------------

    def _decide(self, session: Session, ready: Sequence[Step]) -> None:
        """Steps of a session in their turn."""
        trail = session.trail
        found = trail.found
        settings = self._settings.loop
        task = self._task(session.task_type)
        for step in ready:
            began = step.began
            marks = step.marks
            if began < trail.started and not marks & BEAT:
                trail.started = began
            if step.at >= trail.started + task.max_duration and "overtime" not in found:
                self._note_loop(session, step, loop.overtime(trail, step, task.max_duration))
            if marks & BEAT:
                trail.resting = bool(marks & IDLE)
                continue
            trail.resting = False
            if marks & END:
                trail.ended = True
            if step.retries > settings.max_retries and "retries" not in found:
                self._note_loop(session, step, loop.retries(step, settings))
            if step.tokens or step.cost_usd:
                trail.tokens += step.tokens
                trail.cost_usd += step.cost_usd
                self._spend(session, trail.tokens, trail.cost_usd, step.at)
            self._walk(session, trail.every, step)
            if not marks & MODEL:
                self._walk(session, trail.tools, step)

    def _walk(self, session: Session, steps: list[Step], step: Step) -> None:
        steps.append(step)
        evidence = loop.rounds(steps, self._shapes)
        if evidence is not None and evidence["loop"] not in session.trail.found:
            self._note_loop(session, step, evidence)
        if len(steps) > 2 * self._longest:
            del steps[: self._longest]

    def _spend(self, session: Session, tokens: int, cost_usd: float, at: float) -> None:
        task = self._task(session.task_type)
        if tokens <= task.session_tokens and task.session_cost_usd is None:
            return
        evidence = session_budget.exceeded(tokens, cost_usd, task)
        if evidence is not None and session_budget.KIND not in session.trail.found:
            session.trail.found.append(session_budget.KIND)
            evidence["task_type"] = session.task_type
            self._tell(session, "session_budget", at, evidence)

    def _note_loop(self, session: Session, step: Step, evidence: dict[str, Any] | None) -> None:
        if evidence is None:
            return
        session.trail.found.append(evidence["loop"])
        at = step.at
        if evidence["loop"] == "overtime":
            evidence["task_type"] = session.task_type
            # The instant at which the definition was met; the line only shows that the session is still at work.
            at = session.trail.started + evidence["max_seconds"]
        self._tell(session, "loop", at, evidence)

    # --- traces ------------------------------------------------------------------------------------------------

    def _pass_on(self, action: Action, session: Session, step: Step, name: str, now: float) -> None:
        """The step is also one of its trace."""
        trail = session.trail
        trace = self.traces.get(name)
        if trace is None or trail.trace != name:
            trace = self.traces.join(name, action, session)
            trail.trace = name
            if not trace.shared and len({member.agent_id for member in trace.members.values()}) > 1:
                self._share(trace, session, now)
        trace.seen = now
        if action.span_id is not None:
            self.traces.keep_span(trace, action.span_id, session)
        if trace.shared:
            self.traces.touch(trace)
            member = trace.members[cascade.key(action.agent_id, action.session_id)]
            if step.began < member.started:
                member.started = step.began
            if not trace.held:
                self._hold(trace)
            ready = trace.put(step, now, self._reorder)
            if ready:
                self._decide_in_trace(trace, ready)
        elif step.marks & FAILED:
            cascade.note(trace, step)
            self.traces.touch(trace)

    def _share(self, trace: Trace, newcomer: Session, now: float) -> None:
        """A second agent: the steps of the first become those of the trace, as if they had been all along."""
        trace.shared = True
        steps: list[Step] = []
        for member in trace.members.values():
            session = self._sessions.get(member.agent_id, member.session_id)
            if session is not None:
                member.started = min(member.started, session.started)
                if session is not newcomer:
                    steps += (*session.trail.every, *session.trail.waiting)
        for step in sorted(steps):
            if not step.marks & BEAT:
                self._decide_in_trace(trace, trace.put(step, now, self._reorder))

    def _decide_in_trace(self, trace: Trace, ready: Sequence[Step]) -> None:
        """Steps of a trace in their turn."""
        for step in ready:
            if step.marks & FAILED:
                self._fall(trace, step)
            self._walk_in_trace(trace, trace.every, step)
            if not step.marks & MODEL:
                self._walk_in_trace(trace, trace.tools, step)

    def _walk_in_trace(self, trace: Trace, steps: list[Step], step: Step) -> None:
        steps.append(step)
        if "cycle" not in trace.found:
            evidence = loop.rounds(steps, self._shapes[1:])
            if evidence is not None:
                agents = sorted({step.agent_id for step in steps[-len(evidence["actions"]) :]})
                if len(agents) > 1:
                    trace.found.append("cycle")
                    evidence["agents"] = agents
                    self._tell_of_trace(trace, "loop", step.agent_id, step.at, evidence)
        if len(steps) > 2 * self._longest:
            del steps[: self._longest]

    def _fall(self, trace: Trace, step: Step) -> None:
        fallen = cascade.failed(trace, step, self._settings.cascade)
        if fallen is None:
            return
        agents = [failure.agent_id for failure in fallen.failures]
        if fallen.root is not None:
            evidence = {
                "agents": agents,
                "seconds": round(step.at - fallen.failures[0].at, 3),
                "window_seconds": float(self._settings.cascade.window),
            }
            self._tell_of_trace(trace, "cascade", fallen.root, step.at, evidence, root=fallen.root)
        for failure in fallen.failures:
            self._tell_of_trace(trace, "cascade_member", failure.agent_id, failure.at, {}, root=fallen.root)

    # --- the clock ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Decide what waits where the log has gone quiet; forget what has been quiet for long."""
        before = now - self._reorder
        for session in self._sessions.everyone():
            trail = session.trail
            if trail.waiting and session.arrived <= before and trail.newest <= before:
                self.flush(session)
        for trace in self.traces:
            if trace.waiting and trace.seen <= before:
                self.traces.touch(trace)
                self._decide_in_trace(trace, trace.flush())
        self.averages.flush(before)
        self.traces.age(now)

    def flush(self, session: Session) -> None:
        """Decide what waits in a session: it is over, or quiet."""
        if session.trail.waiting:
            self._sessions.touch(session)
            self._decide(session, session.trail.flush())

    def _leave(self, trace: Trace) -> None:
        if trace.waiting:
            self._decide_in_trace(trace, trace.flush())

    # --- state -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Give up the lines that are kept for their fingerprints."""
        for steps in self._held:
            steps.settle()
        self._held.clear()
        self._bytes = 0

    def changes(self) -> Iterator[Row]:
        """Rows of the traces and averages that changed; what is remembered of a session is in that one's row."""
        yield from self.traces.changes()
        yield from self.averages.changes()

    def restore(self, rows: Callable[[str], Iterable[tuple[str, bytes]]], now: float) -> None:
        """Take up what a former run remembered; `rows` gives those of a kind."""
        self.traces.restore(rows(traces.ROW), now)
        self.averages.restore(rows(action_anomaly.ROW))

    # --- findings ----------------------------------------------------------------------------------------------

    def _tell(self, session: Session, kind: Kind, at: float, evidence: dict[str, Any]) -> None:
        name = session.trail.trace
        self._found(
            Finding(
                kind=kind,
                agent_id=session.agent_id,
                session_id=session.session_id,
                trace_id=trace_id_of(name or own_trace(session.agent_id, session.session_id)),
                parent_trace_id=name or None,
                at=at,
                evidence=evidence,
            )
        )

    def _tell_of_trace(
        self, trace: Trace, kind: Kind, agent_id: str, at: float, evidence: dict[str, Any], root: str | None = None
    ) -> None:
        self._found(
            Finding(
                kind=kind,
                agent_id=agent_id,
                trace_id=trace.trace_id,
                parent_trace_id=min(trace.names),
                root_agent=root,
                at=at,
                evidence=evidence,
            )
        )

    def _anomaly(self, agent_id: str, sample: Sample, evidence: dict[str, Any]) -> None:
        self._found(
            Finding(
                kind="action_anomaly",
                agent_id=agent_id,
                session_id=sample.session_id,
                trace_id=trace_id_of(sample.trace or own_trace(agent_id, sample.session_id)),
                parent_trace_id=sample.trace or None,
                at=sample.at,
                evidence=evidence,
            )
        )

    # --- settings ----------------------------------------------------------------------------------------------

    def _mark(self, action: str) -> int:
        polling = any(fnmatchcase(action, glob) for glob in self._settings.loop.polling_actions)
        marks = MODEL * self._config.is_llm(action) | POLLING * polling
        if len(self._marks) >= MOST_NAMES:
            self._marks.clear()
        self._marks[action] = marks
        return marks

    def _task(self, task_type: str) -> TaskType:
        task = self._tasks.get(task_type)
        if task is None:
            if len(self._tasks) >= MOST_NAMES:
                self._tasks.clear()
            task = self._tasks[task_type] = self._config.task_type(task_type)
        return task

    def _hold(self, steps: Steps) -> None:
        steps.held = True
        self._held.append(steps)
