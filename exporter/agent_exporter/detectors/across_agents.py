"""What several agents of one trace do together: cycles that go through more than one of them, and cascades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_exporter.detectors import cascade, loop
from agent_exporter.detectors.finding import Finding, Kind
from agent_exporter.detectors.reorder import BATCH
from agent_exporter.detectors.steps import BEAT, FAILED, MODEL, Step, Trace
from agent_exporter.detectors.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_exporter.action import Action
    from agent_exporter.config import Detectors
    from agent_exporter.detectors.held_lines import HeldLines
    from agent_exporter.sessions import Session, Sessions


class AcrossAgents:
    """Calls `found` with every finding. Call `configure` first."""

    def __init__(self, sessions: Sessions, lines: HeldLines, found: Callable[[Finding], None]) -> None:
        self.traces = Traces(sessions, self._leave)
        self._sessions = sessions
        self._lines = lines
        self._found = found

    def configure(self, settings: Detectors) -> None:
        """Take up new settings."""
        self._reorder = float(settings.reorder_window)
        self._cycles = loop.shapes(settings.loop)[1:]
        self._longest = loop.longest(settings.loop)
        self._cascade = settings.cascade

    def add(self, action: Action, session: Session, step: Step, name: str, now: float) -> None:
        """Take in a step of a session as a step of its trace, which the line calls `name`."""
        trail = session.trail
        trace = self.traces.get(name)
        if trace is None or trail.trace != name:
            trace = self.traces.join(name, action, session)
            trail.trace = name
            trail.shared = trace.shared
            if not trace.shared and len({member.agent_id for member in trace.members.values()}) > 1:
                self._share(trace, session)
        trace.seen = now
        if action.span_id is not None:
            self.traces.keep_span(trace, action.span_id, session)
        if trace.shared:
            self.traces.touch(trace)
            member = trace.members.get(cascade.key(action.agent_id, action.session_id))
            if member is not None and step.began < member.started:
                member.started = step.began
            if not trace.held:
                trace.held = True
                self._lines.traces[trace] = None
            trace.waiting.append(step)
            if len(trace.waiting) >= BATCH and trace.due(self._reorder):
                self.decide(trace, trace.ready(self._reorder))
        elif step.marks & FAILED:
            cascade.note(trace, step)
            self.traces.touch(trace)

    def _share(self, trace: Trace, newcomer: Session) -> None:
        """A second agent has come: add the steps of the first to the trace, as if they had always been there."""
        trace.shared = True
        for member in trace.members.values():
            session = self._sessions.get(member.agent_id, member.session_id)
            if session is not None:
                session.trail.shared = True
                self._sessions.touch(session)
                member.started = min(member.started, session.started)
                if session is not newcomer:
                    steps = (*session.trail.every, *session.trail.waiting)
                    trace.waiting += [step for step in steps if not step.marks & BEAT]

    def decide(self, trace: Trace, ready: Sequence[Step]) -> None:
        """Look at steps of a trace, in order of time."""
        every, tools = trace.every, trace.tools
        names, tool_names = [step.action for step in every], [step.action for step in tools]
        for step in ready:
            if step.marks & FAILED:
                self._note_cascade(trace, step)
            if not step.marks & MODEL:
                tools.append(step)
                tool_names.append(step.action)
                self._note_cycle(trace, tools, loop.rounds(tools, tool_names, self._cycles))
            every.append(step)
            names.append(step.action)
            self._note_cycle(trace, every, loop.rounds(every, names, self._cycles))
        del every[: -self._longest], tools[: -self._longest]

    def _note_cycle(self, trace: Trace, steps: list[Step], evidence: dict[str, Any] | None) -> None:
        """Report a cycle through several agents. One of a single agent is found in its session."""
        if evidence is None or "cycle" in trace.found:
            return
        agents = [step.agent_id for step in steps[-len(evidence["actions"]) :]]
        if len(set(agents)) > 1:
            trace.found.append("cycle")
            evidence["agents"] = agents
            self._report(trace, "loop", agents[-1], steps[-1].at, evidence)

    def _note_cascade(self, trace: Trace, step: Step) -> None:
        fallen = cascade.failed(trace, step, self._cascade)
        if fallen is None:
            return
        agents = [one.agent_id for one in fallen.failures]
        if fallen.root is not None:
            evidence = {
                "agents": agents,
                "seconds": round(step.at - fallen.failures[0].at, 3),
                "window_seconds": float(self._cascade.window),
            }
            self._report(trace, "cascade", fallen.root, step.at, evidence, root=fallen.root)
        for one in fallen.failures:
            self._report(trace, "cascade_member", one.agent_id, one.at, {}, root=fallen.root)

    def tick(self, before: float) -> None:
        """Look at the steps that are as old as the reorder window: `before` is when it begins, by the clock."""
        for trace in self.traces:
            if trace.waiting:
                ready = trace.flush() if trace.seen <= before else trace.ready(self._reorder)
                if ready:
                    self.decide(trace, ready)
                    self.traces.touch(trace)

    def _leave(self, trace: Trace) -> None:
        self.decide(trace, trace.flush())
        self._lines.forget_trace(trace)

    def _report(
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
