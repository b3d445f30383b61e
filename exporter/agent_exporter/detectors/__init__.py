"""Action -> Finding: what PromQL cannot see, as it needs a session, a trace or a single call.

    loop            a session goes round, or on and on        loop.py             per session, and per trace
    session_budget  a session costs too much                  session_budget.py   per session
    action_anomaly  one call costs far more than usual        action_anomaly.py   per agent and action
    cascade         agents of one trace fail together         cascade.py          per trace

The sums of a budget do not depend on the order of lines and are checked on arrival. All else waits in a `reorder`
buffer until it is in order.
Times are those of the lines, so a log of the past gives what reading it live gave. `docs/detectors.md` has the
definitions.

Most detectors are functions of a step and of what is remembered (`steps`) that give evidence or None, called in
`Detectors._decide` (per session) or `_decide_in_trace`. `action_anomaly` has a table of its own.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent_exporter.action import FAILED as FAILURES
from agent_exporter.detectors import action_anomaly, cascade, loop, session_budget, traces
from agent_exporter.detectors.finding import Finding, Kind
from agent_exporter.detectors.fingerprint import UNKNOWN, failure
from agent_exporter.detectors.reorder import BATCH
from agent_exporter.detectors.steps import (
    BEAT,
    END,
    FAILED,
    IDLE,
    MODEL,
    NO_RUN,
    PAUSED,
    POLLING,
    WORKING,
    Step,
    Steps,
    Trace,
)
from agent_exporter.detectors.traces import Traces
from agent_exporter.lineage import session_trace_id
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.action import Action
    from agent_exporter.config import Config, TaskType
    from agent_exporter.detectors.action_anomaly import Sample
    from agent_exporter.sessions import Session, Sessions
    from agent_exporter.stage import Reading
    from agent_exporter.state import Row, Store

MAX_HELD = 8 << 20
"""Bytes of lines kept for their fingerprints."""
MAX_NAMES = 4096
"""Actions whose marks are kept."""


_BEATS = {"working": WORKING, "idle": IDLE}


class Detectors(Stage):
    """Tells `found` of every finding. `live` is False for a log of the past."""

    def __init__(
        self,
        config: Config,
        sessions: Sessions,
        found: Callable[[Finding], None],
        *,
        averaged: Callable[[str, str, float], None] = lambda *_: None,
        live: bool = True,
    ) -> None:
        self.live = live
        self._sessions = sessions
        self._found = found
        self._averaged = averaged
        self.averages = action_anomaly.Averages(config.detectors.action_anomaly, self._anomaly)
        self.traces = Traces(sessions, self._leave)
        self._held: dict[Session, None] = {}
        self._held_in_traces: dict[Trace, None] = {}
        self._bytes = 0
        self._marks: dict[str, tuple[str, int]] = {}
        self._tasks: dict[str, TaskType] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take up new settings."""
        self._config = config
        self._settings = config.detectors
        self._reorder = float(config.detectors.reorder_window)
        self._shapes = loop.shapes(config.detectors.loop)
        self._cycles = self._shapes[1:]
        self._longest = max(config.detectors.loop.stalled_calls, *(total for _, total in self._shapes))
        self.averages.settings = config.detectors.action_anomaly
        self.averages.reorder = self._reorder
        self._marks.clear()
        self._tasks.clear()

    # --- lines -------------------------------------------------------------------------------------------------

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:
        """Take in an action."""
        now = reading.now
        name, marks = self._marks.get(action.action) or self._mark(action.action)
        at = action.at
        duration = action.duration_ms
        retries = 0
        metadata = action.metadata
        if metadata is not None:
            if metadata.retry_count:
                retries = metadata.retry_count
            if metadata.session_end:
                marks |= END
            elif metadata.session_paused:
                marks |= PAUSED
        if action.status in FAILURES:
            marks |= FAILED
        line = action.line
        failed_how = UNKNOWN
        if marks & FAILED and not marks & POLLING:
            failed_how = failure(line)
        # The session's own strings: each line brings new ones, and a hundred thousand steps are remembered.
        step = Step(
            at if at < now else now,  # a line that claims to be of the future is of now
            at if duration is None else at - duration / 1000,  # inline: Action.began
            session.agent_id,
            session.session_id,
            name,
            marks,
            retries,
            line,
        )
        if failed_how:
            step.failure = failed_how
        trail = session.trail
        trace = action.trace_id or action.parent_trace_id
        if trace == trail.trace:
            trace = trail.trace
        tokens = action.tokens
        if tokens is not None:
            self.averages.add(action, session.session_id, trace or "", now)
            if self.live:
                self._spend(session, session.tokens, session.cost_usd, session.last, trace or trail.trace)
            else:
                step.tokens = (tokens.prompt or 0) + (tokens.completion or 0)  # inline: Tokens.total
                step.cost_usd = tokens.cost_usd or 0.0
        if not trail.held:
            trail.held = True
            self._held[session] = None
        self._bytes += len(line)
        waiting = trail.waiting
        waiting.append(step)
        if len(waiting) >= BATCH and trail.due(self._reorder):
            self._decide(session, trail.ready(self._reorder))
        if trace is not None and (trail.shared or trace != trail.trace or marks & FAILED or action.span_id is not None):
            self._pass_on(action, session, step, trace, now)
        if self._bytes > MAX_HELD:
            self._make_room()

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """Take in a heartbeat of an agent whose session this is, as far as is known."""
        mark = _BEATS.get(action.state)
        if mark is not None and session is not None:
            at = min(action.at, reading.now)
            step = Step(at, at, action.agent_id, session.session_id, action.action, mark, 0)
            trail = session.trail
            trail.waiting.append(step)
            if len(trail.waiting) >= BATCH and trail.due(self._reorder):
                self._decide(session, trail.ready(self._reorder))

    # --- in order ----------------------------------------------------------------------------------------------

    def _decide(self, session: Session, ready: Sequence[Step]) -> None:
        """Steps of a session in their turn."""
        trail = session.trail
        found = trail.found
        settings = self._settings.loop
        max_duration = self._task(session.task_type).max_duration
        every, tools = trail.every, trail.tools
        names, tool_names = [step.action for step in every], [step.action for step in tools]
        for step in ready:
            marks = step.marks
            if trail.paused:
                if marks & BEAT:
                    continue
                # The wait for a person is not the session's time: its clock starts later by as much.
                trail.started += max(0.0, min(step.began, step.at) - trail.paused)
                trail.paused = 0.0
            if step.at >= trail.started + max_duration and "overtime" not in found:
                self._note_loop(session, step, loop.overtime(trail, step, max_duration))
            if marks & BEAT:
                trail.resting = trail.resting or marks & IDLE != 0
                continue
            if step.began < trail.started:
                trail.started = min(step.began, step.at)  # where `at` is cut to now, the begin is no later
            trail.resting = False
            if marks & END:
                trail.ended = True
            elif marks & PAUSED:
                trail.paused = step.at
            if step.retries > settings.max_retries and "retries" not in found:
                self._note_loop(session, step, loop.retries(step, settings))
            if not self.live:
                trail.tokens += step.tokens
                trail.cost_usd += step.cost_usd
                self._spend(session, trail.tokens, trail.cost_usd, step.at, trail.trace)
            if not marks & MODEL:
                tools.append(step)
                tool_names.append(step.action)
                evidence = loop.rounds(tools, tool_names, self._shapes)
                if evidence is not None:
                    self._note_loop(session, step, evidence)
                elif len(tools) >= settings.stalled_calls and "repeat" not in found:
                    self._note_loop(session, step, loop.stalled(tools, tool_names, settings.stalled_calls))
            every.append(step)
            names.append(step.action)
            evidence = loop.rounds(every, names, self._shapes)
            if evidence is not None:
                self._note_loop(session, step, evidence)
            if marks & FAILED or trail.failing_tool[2] or trail.failing_model[2]:
                self._count_failures(session, step)
        del every[: -self._longest], tools[: -self._longest]

    def _count_failures(self, session: Session, step: Step) -> None:
        """A step that failed, or that ends what failed before it."""
        trail = session.trail
        if step.marks & MODEL:
            run = trail.failing_model = loop.longer(trail.failing_model, step)
        else:
            run = trail.failing_tool = loop.longer(trail.failing_tool, step)
            trail.failing_model = NO_RUN
        if "repeat" not in trail.found:  # a repeat that fails has been found already
            self._note_loop(session, step, loop.failing(run, self._settings.loop))

    def _spend(self, session: Session, tokens: int, cost_usd: float, at: float, trace: str) -> None:
        """Check the budget. `trace` is how the lines name the trace; empty if they do not."""
        task = self._task(session.task_type)
        if tokens <= task.session_tokens and task.session_cost_usd is None:
            return
        evidence = session_budget.exceeded(tokens, cost_usd, *session.ceilings(task))
        if evidence is not None and session_budget.KIND not in session.trail.found:
            session.trail.found.append(session_budget.KIND)
            evidence["task_type"] = session.task_type
            self._tell(session, "session_budget", at, evidence, trace)

    def reconsider(self, session: Session) -> None:
        """Its ceilings have changed: if it is within them again, it can be found once more."""
        found, ceilings = session.trail.found, session.ceilings(self._task(session.task_type))
        if session_budget.KIND in found and not session_budget.exceeded(session.tokens, session.cost_usd, *ceilings):
            found.remove(session_budget.KIND)
        self._sessions.touch(session)

    def _note_loop(self, session: Session, step: Step, evidence: dict[str, Any] | None) -> None:
        if evidence is None or evidence["loop"] in session.trail.found:
            return
        session.trail.found.append(evidence["loop"])
        at = step.at
        if evidence["loop"] == "overtime":
            evidence["task_type"] = session.task_type
            # The instant at which the definition was met; the line only shows that the session is still at work.
            at = session.trail.started + evidence["max_seconds"]
        self._tell(session, "loop", at, evidence, session.trail.trace)

    # --- traces ------------------------------------------------------------------------------------------------

    def _pass_on(self, action: Action, session: Session, step: Step, name: str, now: float) -> None:
        """The step is also one of its trace."""
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
                self._held_in_traces[trace] = None
            trace.waiting.append(step)
            if len(trace.waiting) >= BATCH and trace.due(self._reorder):
                self._decide_in_trace(trace, trace.ready(self._reorder))
        elif step.marks & FAILED:
            cascade.note(trace, step)
            self.traces.touch(trace)

    def _share(self, trace: Trace, newcomer: Session) -> None:
        """A second agent: the steps of the first become those of the trace, as if they had been all along."""
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

    def _decide_in_trace(self, trace: Trace, ready: Sequence[Step]) -> None:
        """Steps of a trace in their turn."""
        every, tools = trace.every, trace.tools
        names, tool_names = [step.action for step in every], [step.action for step in tools]
        for step in ready:
            if step.marks & FAILED:
                self._fall(trace, step)
            if not step.marks & MODEL:
                tools.append(step)
                tool_names.append(step.action)
                self._note_cycle(trace, tools, loop.rounds(tools, tool_names, self._cycles))
            every.append(step)
            names.append(step.action)
            self._note_cycle(trace, every, loop.rounds(every, names, self._cycles))
        del every[: -self._longest], tools[: -self._longest]

    def _note_cycle(self, trace: Trace, steps: list[Step], evidence: dict[str, Any] | None) -> None:
        """A cycle of one agent alone is its session's matter."""
        if evidence is None or "cycle" in trace.found:
            return
        agents = [step.agent_id for step in steps[-len(evidence["actions"]) :]]
        if len(set(agents)) > 1:
            trace.found.append("cycle")
            evidence["agents"] = agents
            self._tell_of_trace(trace, "loop", agents[-1], steps[-1].at, evidence)

    def _fall(self, trace: Trace, step: Step) -> None:
        fallen = cascade.failed(trace, step, self._settings.cascade)
        if fallen is None:
            return
        agents = [one.agent_id for one in fallen.failures]
        if fallen.root is not None:
            evidence = {
                "agents": agents,
                "seconds": round(step.at - fallen.failures[0].at, 3),
                "window_seconds": float(self._settings.cascade.window),
            }
            self._tell_of_trace(trace, "cascade", fallen.root, step.at, evidence, root=fallen.root)
        for one in fallen.failures:
            self._tell_of_trace(trace, "cascade_member", one.agent_id, one.at, {}, root=fallen.root)

    # --- the clock ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Decide on what need wait no longer; forget what has been quiet for long."""
        before = now - self._reorder
        for session in self._sessions.everyone():
            trail = session.trail
            if trail.waiting:
                quiet = session.arrived <= before and trail.waiting[-1].at <= before
                ready = trail.flush() if quiet else trail.ready(self._reorder)
                if ready:
                    self._decide(session, ready)
                    self._sessions.touch(session)
        for trace in self.traces:
            if trace.waiting:
                ready = trace.flush() if trace.seen <= before else trace.ready(self._reorder)
                if ready:
                    self._decide_in_trace(trace, ready)
                    self.traces.touch(trace)
        self.averages.tick(now)
        self.traces.age(now)

    def flush(self, session: Session) -> None:
        """A session is over: decide on what waits in it, and forget its steps. Should it go on, it begins anew."""
        trail = session.trail
        self._decide(session, trail.flush())
        if trail.held:  # it may be forgotten next, and must not be held here
            trail.held = False
            del self._held[session]
            if not trail.shared:  # else its trace keeps the lines
                self._bytes -= sum(trail.lines().values())
        trail.every.clear()
        trail.tools.clear()
        self._sessions.touch(session)

    def _leave(self, trace: Trace) -> None:
        self._decide_in_trace(trace, trace.flush())
        if trace.held:
            trace.held = False
            del self._held_in_traces[trace]

    # --- state -------------------------------------------------------------------------------------------------

    def finish(self, newest: float) -> None:  # noqa: ARG002
        """Decide on all that waits."""
        self.tick(float("inf"))

    def thin(self, newest: float) -> None:
        """Forget traces that have been quiet for long."""
        self.traces.age(newest)

    def _give_up_all_lines(self) -> None:
        """Those that are kept for their fingerprints: what is committed holds none."""
        holding = self._holding()
        for steps in holding:
            steps.trim()
        self._give_up_lines(holding)

    def _make_room(self) -> None:
        """Most steps are no part of a loop any more once they are decided on: their fingerprints need not be known."""
        for session in self._held:
            self._decide(session, session.trail.ready(self._reorder))
        for trace in self._held_in_traces:
            self._decide_in_trace(trace, trace.ready(self._reorder))
        holding = self._holding()
        for steps in holding:
            steps.trim()
        kept: dict[int, int] = {}
        for steps in holding:
            kept |= steps.lines()
        self._bytes = sum(kept.values())
        if self._bytes > MAX_HELD // 2:
            self._give_up_lines(holding)

    def _holding(self) -> list[Steps]:
        return [*(session.trail for session in self._held), *self._held_in_traces]

    def _give_up_lines(self, holding: list[Steps]) -> None:
        for steps in holding:
            steps.drop_lines()
        self._held.clear()
        self._held_in_traces.clear()
        self._bytes = 0

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Traces, and the rolling averages of actions."""
        yield "lineages", self.traces.evictions
        yield "windows", self.averages.evictions

    def changes(self) -> Iterator[Row]:
        """Rows of the traces and averages that changed; what is remembered of a session is in that one's row."""
        self._give_up_all_lines()
        for agent_id, action, mean in self.averages.averages():
            self._averaged(agent_id, action, mean)
        yield from self.traces.changes()
        yield from self.averages.changes()

    def restore(self, store: Store, now: float) -> None:
        """Take up what a former run remembered; `rows` gives those of a kind."""
        self.traces.restore(store.rows(traces.ROW), now)
        self.averages.restore(store.rows(action_anomaly.ROW))

    # --- findings ----------------------------------------------------------------------------------------------

    def _tell(self, session: Session, kind: Kind, at: float, evidence: dict[str, Any], trace: str) -> None:
        self._found(
            Finding(
                kind=kind,
                agent_id=session.agent_id,
                session_id=session.session_id,
                trace_id=session_trace_id(trace, session.agent_id, session.session_id),
                parent_trace_id=trace or None,
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
                trace_id=session_trace_id(sample.trace, agent_id, sample.session_id),
                parent_trace_id=sample.trace or None,
                at=sample.at,
                evidence=evidence,
            )
        )

    # --- settings ----------------------------------------------------------------------------------------------

    def _mark(self, action: str) -> tuple[str, int]:
        """The name, one and the same object each time, and what all actions of it are marked with."""
        polling = any(fnmatchcase(action, glob) for glob in self._settings.loop.polling_actions)
        marks = MODEL * self._config.is_llm(action) | POLLING * polling
        if len(self._marks) >= MAX_NAMES:
            self._marks.clear()
        self._marks[action] = action, marks
        return action, marks

    def _task(self, task_type: str) -> TaskType:
        task = self._tasks.get(task_type)
        if task is None:
            if len(self._tasks) >= MAX_NAMES:
                self._tasks.clear()
            task = self._tasks[task_type] = self._config.task_type(task_type)
        return task
