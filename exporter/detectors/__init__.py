"""Action -> Finding: what PromQL cannot see, as it needs a session, a trace or a single call.

    loop            a session goes round, or on and on        loop.py             per session, and per trace
    session_budget  a session costs too much                  session_budget.py   per session
    action_anomaly  one call costs far more than usual        action_anomaly.py   per agent and action
    cascade         agents of one trace fail together         cascade.py          per trace

What commutes, the sums of a budget, is decided on arrival; all else waits in a `reorder` buffer until it is in order.
Times are those of the lines, so a log of the past gives what reading it live gave. `docs/detectors.md` has the
definitions.

A detector is a function of a step and what is remembered (`steps`), which gives evidence or None, and one line in
`Detectors._look_closely` or `_look_in_trace`.
"""

from __future__ import annotations

from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from exporter.action import FAILED as FAILURES
from exporter.action import trace_id_of
from exporter.detectors import action_anomaly, cascade, loop, session_budget, traces
from exporter.detectors.finding import Finding, Kind
from exporter.detectors.screen import Screen, polls, shapes
from exporter.detectors.steps import IDLE, WORKING, Failure, Step
from exporter.detectors.traces import Traces
from exporter.lineage import own_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.action import Action
    from exporter.config import Config, TaskType
    from exporter.detectors.steps import Trace
    from exporter.sessions import Session, Sessions
    from exporter.state import Row

MOST_HELD = 8 << 20
"""Bytes of lines that are kept at most, half as much again where an agent's lines are also those of a shared trace."""
MOST_TRAILS = 8_192
"""Sessions whose steps are remembered, 1 KB each; looked at every MOST_HELD bytes of lines."""
MOST_TASKS = 1024
"""Task types whose settings are kept at hand."""

_BEATS = {"working": WORKING, "idle": IDLE}


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
        self._bytes = 0
        self.evictions = 0
        """Sessions whose steps had to go though they may not have been over."""
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take up new settings."""
        self._config = config
        self._settings = config.detectors
        self._screen = Screen(config)
        self._letters = self._screen.letters
        self._reorder = float(config.detectors.reorder)
        self._most_retries = config.detectors.loop.max_retries
        self._shapes = shapes(config.detectors.loop)
        self._tasks: dict[str, TaskType] = {}
        lowest = session_budget.lowest(config)
        # In order, and so not on arrival, where nothing presses: then any order of the lines gives the same words.
        self._tokens, self._dollars = lowest if self.live else (inf, inf)
        self._priced = not self.live and lowest[1] < inf
        """What a line costs is remembered: it may be from the table of prices."""
        self.averages.settings = config.detectors.action_anomaly
        self.averages.reorder = self._reorder
        for steps in (*(session.trail for session in self._sessions.everyone()), *self.traces):
            steps.restore(self._screen)

    # --- lines -------------------------------------------------------------------------------------------------

    def add(self, action: Action, session: Session, now: float) -> None:
        """Take in an action that is no heartbeat, and that `session` has taken in already."""
        name = action.action
        letter = self._letters.get(name) or self._screen.learn(name)
        at = action.at
        if at > now:
            at = now
        trail = session.trail
        times = trail.times
        times.append(at)
        trail.letters.append(letter)
        trail.lines.append(Step.of(at, action, polls=polls(letter)) if self._priced else action.line)
        if session.started < trail.begun:
            trail.begun = session.started
            if not trail.is_late(at, self._reorder):
                trail.earlier = *trail.earlier, (at, session.started)
        metadata = action.metadata
        if metadata is not None:
            if metadata.retry_count and metadata.retry_count > self._most_retries:
                trail.odd = True
            if metadata.session_end and not trail.is_late(at, self._reorder):
                trail.ended = min(trail.ended, at)
        trace = action.trace_id or action.parent_trace_id
        if trace is not None and (
            trail.shared or trace != trail.who[1] or action.status in FAILURES or action.span_id is not None
        ):
            self._pass_on(action, session, trace, at, letter, now)
        if action.tokens is not None:
            self.averages.add(action, at, trail.who, now)
            if session.tokens > self._tokens or session.cost_usd > self._dollars:
                self._spend(session, session.tokens, session.cost_usd, session.last)
        if len(times) >= trail.due:
            self._look(session)

    def beat(self, action: Action, session: Session, now: float) -> None:
        """Take in a heartbeat of an agent whose session this is, as far as is known."""
        state = _BEATS.get(action.state)
        if state is not None:
            trail = session.trail
            at = min(action.at, now)
            trail.times.append(at)
            trail.letters.append("")
            trail.lines.append(Step(at, action.agent_id, action.action, state))
            trail.odd = True

    def read(self, size: int) -> None:
        """So many bytes of lines were read: of those that are kept there must not be too many."""
        self._bytes += size
        if self._bytes > MOST_HELD:
            self._bytes = 0
            self._make_room()
            if sum(session.trail.size() for session in self._sessions.everyone()) > MOST_HELD:
                self.settle()

    def _make_room(self) -> None:
        """Forget the steps of the sessions that have been quiet for longest, if there are too many."""
        walked = [session for session in self._sessions.everyone() if session.trail.times]
        if len(walked) > MOST_TRAILS:
            walked.sort(key=lambda session: session.last)
            newest = walked[-1].last
            for session in walked[: len(walked) - MOST_TRAILS * 3 // 4]:
                self.evictions += newest - session.last <= traces.LINGER
                self.flush(session)

    # --- sessions ----------------------------------------------------------------------------------------------

    def _look(self, session: Session, *, quiet: bool = False) -> None:
        """Decide on what need wait no longer."""
        trail = session.trail
        end = trail.ready(self._reorder, quiet=quiet)
        if end > trail.past:
            task = self._task(session.task_type)
            if (
                trail.odd
                or (trail.times[end - 1] >= trail.begun + task.max_duration and "overtime" not in trail.found)
                or (not self.live and self._is_over(session, task))
            ):
                self._look_closely(session, end, task)
            else:
                trail.resting = False
                trail.begin(trail.times[end - 1])
            if trail.may_go_round(end, self._screen.loops):
                for steps in trail.going(end):
                    self._note_loop(session, loop.rounds(steps, self._shapes), steps[-1].at)
        trail.decided(end)

    def _look_closely(self, session: Session, end: int, task: TaskType) -> None:
        """Step by step: what is not told from times and names."""
        trail = session.trail
        waiting = [trail.step(index) for index in range(trail.past, len(trail.times))]
        # What was spent before these is the sum of all less what is not decided yet, or never will be.
        tokens = session.tokens - trail.passed_over[0] - sum(step.tokens for step in waiting)
        cost_usd = session.cost_usd - trail.passed_over[1] - sum(step.cost_usd for step in waiting)
        for step in waiting[: end - trail.past]:
            trail.begin(step.at)
            self._note_loop(session, loop.overtime(session, step.at, task.max_duration, step.beat))
            if step.beat:
                trail.resting = trail.resting or step.beat == IDLE
                continue
            trail.resting = False
            if step.retries > self._most_retries:
                self._note_loop(session, loop.retries(step), step.at)
            tokens += step.tokens
            cost_usd += step.cost_usd
            if not self.live:
                self._spend(session, tokens, cost_usd, step.at)

    def _spend(self, session: Session, tokens: int, cost_usd: float, at: float) -> None:
        found = session.trail.found
        if session_budget.KIND in found:
            return
        evidence = session_budget.exceeded(tokens, cost_usd, *session.ceilings(self._task(session.task_type)))
        if evidence is not None:
            found.append(session_budget.KIND)
            evidence["task_type"] = session.task_type
            self._tell(session, "session_budget", at, evidence)

    @staticmethod
    def _is_over(session: Session, task: TaskType) -> bool:
        return (
            session_budget.KIND not in session.trail.found
            and session_budget.exceeded(session.tokens, session.cost_usd, *session.ceilings(task)) is not None
        )

    def reconsider(self, session: Session) -> None:
        """Its ceilings have changed: if it is within them again, it can be found once more."""
        found, ceilings = session.trail.found, session.ceilings(self._task(session.task_type))
        if session_budget.KIND in found and not session_budget.exceeded(session.tokens, session.cost_usd, *ceilings):
            found.remove(session_budget.KIND)
        self._sessions.touch(session)

    def _note_loop(self, session: Session, evidence: dict[str, Any] | None, at: float = 0.0) -> None:
        if evidence is None or evidence["loop"] in session.trail.found:
            return
        session.trail.found.append(evidence["loop"])
        if evidence["loop"] == "overtime":
            evidence["task_type"] = session.task_type
            # The instant at which the definition was met; the line only shows that the session is still at work.
            at = session.trail.started + evidence["max_seconds"]
        self._tell(session, "loop", at, evidence)

    # --- traces ------------------------------------------------------------------------------------------------

    def _pass_on(self, action: Action, session: Session, name: str, at: float, letter: str, now: float) -> None:
        """The action is also one of its trace."""
        trail = session.trail
        trace = self.traces.get(name)
        if trace is None or trail.who[1] != name:
            trace = self.traces.join(name, action, session)
            trail.who = (session.session_id, name)
            trail.shared = trace.shared
            if not trace.shared and len({member.agent_id for member in trace.members.values()}) > 1:
                self._share(trace, session)
        trace.seen = now
        if action.span_id is not None:
            self.traces.keep_span(trace, action.span_id, session)
        failed = action.status in FAILURES
        if trace.shared:
            self.traces.touch(trace)
            trace.times.append(at)
            trace.letters.append(letter)
            trace.lines.append(trail.lines[-1])
            if failed and not trace.is_late(at, self._reorder):
                trace.fallen.append(Failure(at, action.agent_id, action.session_id))
            if len(trace.times) >= trace.due:
                self._look_in_trace(trace)
        elif failed and not trail.is_late(at, self._reorder):
            self.traces.touch(trace)
            cascade.note(trace, Failure(at, action.agent_id, action.session_id))

    def _share(self, trace: Trace, newcomer: Session) -> None:
        """A second agent: the steps of the first become those of the trace, as if they had been all along."""
        trace.shared = True
        trace.fallen, trace.failures = [*trace.fallen, *trace.failures], []
        steps: list[tuple[float, str, bytes | Step]] = []
        for member in trace.members.values():
            session = self._sessions.get(member.agent_id, member.session_id)
            if session is not None:
                trail = session.trail
                trail.shared = True
                self._sessions.touch(session)
                if session is not newcomer:
                    self._look(session)
                    steps += zip(trail.times, trail.letters, trail.lines, strict=True)
        for at, letter, line in sorted(steps, key=itemgetter(0)):
            if letter:
                trace.times.append(at)
                trace.letters.append(letter)
                trace.lines.append(line)

    def _look_in_trace(self, trace: Trace, *, quiet: bool = False) -> None:
        """Decide on what need wait no longer."""
        end = trace.ready(self._reorder, quiet=quiet)
        if trace.fallen:
            limit = inf if quiet else trace.newest - self._reorder
            fallen = sorted(trace.fallen)
            trace.fallen = [failure for failure in fallen if failure.at >= limit]
            for failure in fallen[: len(fallen) - len(trace.fallen)]:
                self._fall(trace, failure)
        if "cycle" not in trace.found and trace.may_go_round(end, self._screen.cycles):
            for steps in trace.going(end):
                self._note_cycle(trace, steps)
        trace.decided(end)

    def _note_cycle(self, trace: Trace, steps: list[Step]) -> None:
        """A cycle of one agent alone is its session's matter."""
        evidence = loop.rounds(steps, self._shapes[1:])
        if evidence is None or "cycle" in trace.found:
            return
        agents = [step.agent_id for step in steps[-len(evidence["actions"]) :]]
        if len(set(agents)) > 1:
            trace.found.append("cycle")
            evidence["agents"] = agents
            self._tell_of_trace(trace, "loop", agents[-1], steps[-1].at, evidence)

    def _fall(self, trace: Trace, failure: Failure) -> None:
        """A failure in its turn."""
        for member in trace.members.values():
            session = self._sessions.get(member.agent_id, member.session_id)
            if session is not None and session.started < member.started:
                member.started = session.started
        fallen = cascade.failed(trace, failure, self._settings.cascade)
        if fallen is None:
            return
        if fallen.root is not None:
            evidence = {
                "agents": [one.agent_id for one in fallen.failures],
                "seconds": round(failure.at - fallen.failures[0].at, 3),
                "window_seconds": float(self._settings.cascade.window),
            }
            self._tell_of_trace(trace, "cascade", fallen.root, failure.at, evidence, root=fallen.root)
        for one in fallen.failures:
            self._tell_of_trace(trace, "cascade_member", one.agent_id, one.at, {}, root=fallen.root)

    # --- the clock ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Decide on what need wait no longer; forget what has been quiet for long."""
        before = now - self._reorder
        for session in self._sessions.everyone():
            trail = session.trail
            if len(trail.times) > trail.past:
                quiet = session.arrived <= before and trail.times[-1] <= before
                self._look(session, quiet=quiet)
                self._sessions.touch(session)
        for trace in self.traces:
            if len(trace.times) > trace.past or trace.fallen:
                self._look_in_trace(trace, quiet=trace.seen <= before)
                self.traces.touch(trace)
        self.averages.tick(now)
        self.traces.age(now, self._sessions)

    def flush(self, session: Session) -> None:
        """A session is over: decide on what waits in it, and forget its steps. Should it go on, it begins anew."""
        self._look(session, quiet=True)
        session.trail.forget()
        self._sessions.touch(session)

    def _leave(self, trace: Trace) -> None:
        self._look_in_trace(trace, quiet=True)

    # --- state -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Give up the lines that are kept, for what is known of them: before a commit, or when they become too many."""
        for session in self._sessions.changed():
            if len(session.trail.times) > session.trail.past:
                self._look(session)
            session.trail.settle()
        for trace in self.traces.changed():
            self._look_in_trace(trace)
            trace.settle()

    def changes(self) -> Iterator[Row]:
        """Rows of the traces and averages that changed; what is remembered of a session is in that one's row."""
        yield from self.traces.changes()
        yield from self.averages.changes()

    def restore(self, rows: Callable[[str], Iterable[tuple[str, bytes]]], now: float) -> None:
        """Take up what a former run remembered; `rows` gives those of a kind. The sessions are there already."""
        for session in self._sessions.everyone():
            session.trail.restore(self._screen)
        self.traces.restore(rows(traces.ROW), self._screen, now)
        self.averages.restore(rows(action_anomaly.ROW))

    # --- findings ----------------------------------------------------------------------------------------------

    def _tell(self, session: Session, kind: Kind, at: float, evidence: dict[str, Any]) -> None:
        name = session.trail.who[1]
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

    def _anomaly(self, agent_id: str, who: tuple[str, str], at: float, evidence: dict[str, Any]) -> None:
        session_id, name = who
        self._found(
            Finding(
                kind="action_anomaly",
                agent_id=agent_id,
                session_id=session_id,
                trace_id=trace_id_of(name or own_trace(agent_id, session_id)),
                parent_trace_id=name or None,
                at=at,
                evidence=evidence,
            )
        )

    def _task(self, task_type: str) -> TaskType:
        """The settings of a task type, which any line may invent."""
        task = self._tasks.get(task_type)
        if task is None:
            if len(self._tasks) >= MOST_TASKS:
                self._tasks.clear()
            task = self._tasks[task_type] = self._config.task_type(task_type)
        return task
