"""The stage: actions of sessions in, findings out."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent_exporter.action import FAILED as FAILURES
from agent_exporter.detectors import action_anomaly, loop, session_budget, traces
from agent_exporter.detectors.across_agents import AcrossAgents
from agent_exporter.detectors.finding import Finding, Kind
from agent_exporter.detectors.fingerprint import UNKNOWN, failure
from agent_exporter.detectors.held_lines import MAX_HELD, HeldLines
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
    begins_after,
)
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

MAX_NAMES = 4096
"""Names of actions whose marks are kept."""


_BEATS = {"working": WORKING, "idle": IDLE}


class Detectors(Stage):
    """Calls `found` with every finding. `live` is False when an old log is read: then budgets wait for their turn."""

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
        self._lines = HeldLines()
        self._across_agents = AcrossAgents(sessions, self._lines, found)
        self.traces = self._across_agents.traces
        self._marks: dict[str, tuple[str, int]] = {}
        self._tasks: dict[str, TaskType] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take up new settings."""
        self._config = config
        self._settings = config.detectors
        self._reorder = float(config.detectors.reorder_window)
        self._shapes = loop.shapes(config.detectors.loop)
        self._longest = loop.longest(config.detectors.loop)
        self._across_agents.configure(config.detectors)
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
        failed_how = bare = UNKNOWN
        if marks & FAILED and not marks & POLLING:
            failed_how, bare = failure(line)
        # Use the session's strings: each line makes new ones, and a hundred thousand steps are kept.
        step = Step(
            at if at < now else now,  # treat future times as now
            at if duration is None else at - duration / 1000,  # inline: Action.began
            session.agent_id,
            session.session_id,
            name,
            marks,
            retries,
            line,
        )
        if failed_how:
            step.failure, step.bare = failed_how, bare
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
        lines = self._lines
        if not trail.held:
            trail.held = True
            lines.sessions[session] = None
        lines.size += len(line)
        waiting = trail.waiting
        waiting.append(step)
        if len(waiting) >= BATCH and trail.due(self._reorder):
            self._decide(session, trail.ready(self._reorder))
        if trace is not None and (trail.shared or trace != trail.trace or marks & FAILED or action.span_id is not None):
            self._across_agents.add(action, session, step, trace, now)
        if lines.size > MAX_HELD:
            self._make_room()

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """Take in a heartbeat, and the session that it keeps alive, if known."""
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
        """Look at steps of a session, in order of time."""
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
                if begins_after(trail.paused, step.began, step.at):
                    # The wait for a person does not count: move the session's start by as much.
                    since = max(trail.paused, every[-1].at if every else 0.0)
                    trail.started += max(0.0, min(step.began, step.at) - since)
                    trail.paused = 0.0
            if step.at >= trail.started + max_duration and "overtime" not in found and not trail.paused:
                self._note_loop(session, step, loop.overtime(trail, step, max_duration))
            if marks & BEAT:
                trail.resting = trail.resting or marks & IDLE != 0
                continue
            if step.began < trail.started:
                trail.started = min(step.began, step.at)  # `at` may be cut to now; the begin must not be later
            trail.resting = False
            if marks & END:
                trail.ended = True
            elif marks & PAUSED:
                trail.paused = max(trail.paused, step.at)
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
        """Count a step that failed, or that ends a run of failures."""
        trail = session.trail
        if step.marks & MODEL:
            run = trail.failing_model = loop.longer(trail.failing_model, trail.failing_model_bare, step)
            trail.failing_model_bare = step.bare
        else:
            run = trail.failing_tool = loop.longer(trail.failing_tool, trail.failing_tool_bare, step)
            trail.failing_tool_bare = step.bare
            trail.failing_model = NO_RUN
        if "repeat" not in trail.found:  # a failing repeat has been found already
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
            self._report(session, "session_budget", at, evidence, trace)

    def reconsider(self, session: Session) -> None:
        """Its ceilings have changed. If it is within them again, allow a new finding."""
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
            # The time at which the definition was met; the line only shows that the session is still at work.
            at = session.trail.started + evidence["max_seconds"]
        self._report(session, "loop", at, evidence, session.trail.trace)

    # --- the clock ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Process steps older than the reorder window; forget what has been quiet for long."""
        before = now - self._reorder
        for session in self._sessions.everyone():
            trail = session.trail
            if trail.waiting:
                quiet = session.arrived <= before and trail.waiting[-1].at <= before
                ready = trail.flush() if quiet else trail.ready(self._reorder)
                if ready:
                    self._decide(session, ready)
                    self._sessions.touch(session)
        self._across_agents.tick(before)
        self.averages.tick(now)
        self.traces.age(now)

    def flush(self, session: Session) -> None:
        """A session is over: process its waiting steps and forget all. If it continues, it begins anew."""
        trail = session.trail
        self._decide(session, trail.flush())
        self._lines.forget_session(session)
        trail.every.clear()
        trail.tools.clear()
        self._sessions.touch(session)

    def _make_room(self) -> None:
        """Process what is ready: after that most steps can be part of no loop, and need no fingerprint."""
        for session in self._lines.sessions:
            self._decide(session, session.trail.ready(self._reorder))
        for trace in self._lines.traces:
            self._across_agents.decide(trace, trace.ready(self._reorder))
        self._lines.trim()

    # --- state -------------------------------------------------------------------------------------------------

    def finish(self, newest: float) -> None:  # noqa: ARG002
        """Process all steps that wait."""
        self.tick(float("inf"))

    def thin(self, newest: float) -> None:
        """Forget traces that have been quiet for long."""
        self.traces.age(newest)

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Traces, and the rolling averages of actions."""
        yield "lineages", self.traces.evictions
        yield "windows", self.averages.evictions

    def changes(self) -> Iterator[Row]:
        """Rows of the traces and averages that changed. A session's steps are in the session's row."""
        self._lines.give_up()  # rows hold no lines
        for agent_id, action, mean in self.averages.averages():
            self._averaged(agent_id, action, mean)
        yield from self.traces.changes()
        yield from self.averages.changes()

    def restore(self, store: Store, now: float) -> None:
        """Restore from committed rows."""
        self.traces.restore(store.rows(traces.ROW_KIND), now)
        self.averages.restore(store.rows(action_anomaly.ROW_KIND))

    # --- findings ----------------------------------------------------------------------------------------------

    def _report(self, session: Session, kind: Kind, at: float, evidence: dict[str, Any], trace: str) -> None:
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
        """The name, always the same object, and the marks of all actions with it."""
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
