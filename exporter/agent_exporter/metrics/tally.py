"""Adds actions and sessions to cells. `on_action` is the hottest code of the program after the decoder."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from agent_exporter.action import FAILED, HEARTBEAT, Output, Tokens
from agent_exporter.detectors.finding import RESULTS
from agent_exporter.metrics.cells import (
    CONFIDENCE,
    DAY,
    DAYS,
    DURATION,
    GEN_AI_SECONDS,
    GEN_AI_TOKENS,
    SESSION_SECONDS,
    SESSION_TOKENS,
    ActionCell,
    AgentCell,
    Baseline,
    Day,
    Mean,
    SourceCell,
)
from agent_exporter.metrics.table import UNKNOWN, Table
from agent_exporter.prices import CACHE_APART, MISMATCH, UNPRICED
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from agent_exporter.action import Action, Rejection
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.metrics.table import Agent
    from agent_exporter.sessions import Session
    from agent_exporter.stage import Reading

BASELINE_DAYS = 7
"""A week: the rhythm of most work."""
TOLERANCE = 60.0
"""Seconds that a line may take to arrive: beyond them, its agent's clock is wrong."""
NEWS = 3600.0
"""Seconds. A finding in an older line does not page, so the first read of an old log pages nobody."""


class Tally(Table, Stage):
    """Adds actions, sessions and findings to a table of cells."""

    # --- an action ---------------------------------------------------------------------------------------------

    def on_action(self, action: Action, session: Session | None, reading: Reading) -> None:
        """Count an action, or a heartbeat. No gauge runs ahead of the clock."""
        now = reading.now
        agent = self.agents.get(action.agent_id) or self._agent(action.agent_id, now)
        cell = agent.cell
        dirty = self._dirty
        if not cell.dirty:
            cell.dirty = True
            dirty.append(cell)
        at = action.at
        seen = at if at < now else now
        if reading.live and now >= agent.clock.due and agent.clock.observe(action.written, now, reading.window):
            cell.clock_offset = agent.clock.offset
        if reading.caught_up:
            cell.heard = now
            if at < now - TOLERANCE:
                seen = now  # written now, whatever the agent's clock says
        metadata = action.metadata
        if seen > cell.last_active:
            cell.last_active = seen
            if not cell.first_seen:
                cell.first_seen = seen
            if metadata is not None and metadata.team is not None and metadata.team != cell.team:
                self._move(agent, metadata.team)
        name = action.action
        if name == HEARTBEAT:
            self._heartbeat(cell, action.state, seen)
            return
        if seen > cell.last_action:
            cell.last_action = seen

        done = agent.actions.get(name)
        if done is None:
            done = self._action(agent, name, now)
            _exemplify(done, action)
        status = action.status
        failed = False
        if status == "success":
            done.successes += 1
        else:
            done.others[status] += 1
            failed = status in FAILED
        if not done.dirty:
            done.dirty = True
            dirty.append(done)
            _exemplify(done, action)  # once per commit is often enough for an exemplar
        elif failed:
            _exemplify(done, action)
        duration = action.duration_ms
        if duration is not None:
            duration /= 1000
            done.durations[bisect_left(DURATION, duration)] += 1
            done.duration_sum += duration
        if metadata is not None:
            if metadata.retry_count:
                done.retries += 1
            if metadata.fallback_used:
                done.fallbacks += 1
            if metadata.feedback is not None:
                self._feedback(agent, metadata.feedback, at)

        tokens = action.tokens
        if tokens is not None:
            prompt = tokens.prompt or 0
            completion = tokens.completion or 0
            cost = tokens.cost_usd
            model = agent.models.get(tokens.model) or self._model(agent, tokens.model, now)
            if not model.dirty:
                model.dirty = True
                dirty.append(model)
            model.prompt += prompt
            model.completion += completion
            if cost is not None:
                model.cost_usd += cost
            if (
                session is not None
            ):  # the copy of a record that was written twice does not count against the daily budget
                today = agent.today if agent.midnight <= at < agent.next_midnight else self._turn(agent, at)
                today.tokens += prompt + completion
                if cost is not None:
                    today.cost_usd += cost
        if done.llm or (done.llm is None and self.is_llm(name)):
            cell.model_calls += 1
            if not failed and (tokens is None or not (tokens.prompt or tokens.completion)):
                cell.calls_without_tokens += 1
            if self.count_gen_ai:
                self._gen_ai(tokens or _NO_TOKENS, duration, now)
        if failed:
            kind = action.error_type
            error = agent.errors.get(kind) or self._error(agent, kind, now)
            error.errors += 1
            self.touch(error)
        output = action.output
        if output.__class__ is Output:
            confidence = output.confidence
            if confidence is not None:
                cell.confidence[bisect_left(CONFIDENCE, confidence)] += 1
                cell.confidence_sum += confidence
                if status == "success":
                    cell.confidence_successes += 1
                self._quality(agent, "confidence", confidence, at)

    on_heartbeat = on_action

    def on_written_twice(self, action: Action, reading: Reading) -> None:
        """Count the second copy of a record: for the line metrics, but for no budget."""
        self.on_action(action, None, reading)

    def odd_tokens(self, action: Action, odd: int, now: float) -> None:
        """What `Prices.complete` found odd about an action's tokens. Called before `on_action`."""
        assert action.tokens is not None
        agent = self.agents.get(action.agent_id) or self._agent(action.agent_id, now)
        name = action.tokens.model
        model = agent.models.get(name) or self._model(agent, name, now)
        if odd & MISMATCH:
            model.mismatches += 1
        if odd & UNPRICED:
            model.unpriced += action.tokens.total
        if odd & CACHE_APART:
            model.cache_apart += 1
        self.touch(model)

    def unpriced(self) -> dict[str, int]:
        """Tokens without a known price, by model."""
        found: dict[str, int] = {}
        everyone = [] if self._everyone is None else [self._everyone]
        for agent in [*self.agents.values(), *everyone]:
            for model in {id(cell): cell for cell in agent.models.values()}.values():
                if model.unpriced:
                    found[model.model] = found.get(model.model, 0) + model.unpriced
        return found

    @staticmethod
    def _heartbeat(cell: AgentCell, state: str, at: float) -> None:
        cell.heartbeats[state] += 1
        if at > cell.states.get(state, at):
            cell.states[state] = at

    def _feedback(self, agent: Agent, feedback: float, at: float) -> None:
        ratio = (feedback + 1) / 2
        agent.cell.feedback_sum += ratio
        agent.cell.feedback_count += 1
        self._quality(agent, "feedback", ratio, at)

    def _quality(self, agent: Agent, metric: str, value: float, at: float) -> None:
        """One value of a signal, for its first week and for its day."""
        window = agent.windows.get(metric) or self._window(agent, metric, at)
        if at >= window.end:
            window.frozen = True
        elif not window.frozen:
            window.total += value
            window.count += 1
        day = agent.today if agent.midnight <= at < agent.next_midnight else self._turn(agent, at)
        mean = day.quality.get(metric)
        if mean is None:
            mean = day.quality[metric] = Mean()
        mean.total += value
        mean.count += 1

    @staticmethod
    def _turn(agent: Agent, at: float) -> Day:
        """Make the day of this time the current one. Days older than DAYS are not kept."""
        number = int(at // DAY)
        days = agent.cell.days
        day = days.get(number)
        if day is None:
            if len(days) >= DAYS and number < min(days):
                return Day()
            day = days[number] = Day()
            if len(days) > DAYS:
                del days[min(days)]
        agent.today, agent.midnight, agent.next_midnight = day, number * DAY, (number + 1) * DAY
        return day

    def _gen_ai(self, tokens: Tokens, duration: float | None, now: float) -> None:
        cell = self.gen_ai.get(tokens.model or UNKNOWN) or self._gen_ai_cell(tokens.model or UNKNOWN, now)
        prompt, completion = tokens.prompt, tokens.completion
        if prompt is not None:
            cell.input[bisect_left(GEN_AI_TOKENS, prompt)] += 1
            cell.input_sum += prompt
        if completion is not None:
            cell.output[bisect_left(GEN_AI_TOKENS, completion)] += 1
            cell.output_sum += completion
        if duration is not None:
            cell.seconds[bisect_left(GEN_AI_SECONDS, duration)] += 1
            cell.seconds_sum += duration
        if not cell.dirty:
            cell.dirty = True
            self._dirty.append(cell)

    @staticmethod
    def reject(cell: SourceCell, rejection: Rejection) -> None:
        """Count a rejected line."""
        cell.rejected[rejection.reason] = cell.rejected.get(rejection.reason, 0) + 1

    # --- a session ---------------------------------------------------------------------------------------------

    def opened(self, session: Session, now: float) -> None:
        """A session has begun, or goes on after its end was counted."""
        agent = self.agents.get(session.agent_id) or self._agent(session.agent_id, now, by_line=False)
        agent.cell.active += 1
        self.touch(agent.cell)
        self._task(agent, session.task_type, now)

    def closed(self, session: Session, now: float) -> None:
        """A session has ended."""
        agent = self.agents.get(session.agent_id) or self._agent(session.agent_id, now, by_line=False)
        cell = agent.cell
        cell.active = max(0, cell.active - 1)
        self.touch(cell)
        if session.counted:
            return
        task = self._task(agent, session.task_type, now)
        task.outcomes[session.outcome] += 1
        seconds = session.duration
        task.seconds[bisect_left(SESSION_SECONDS, seconds)] += 1
        task.seconds_sum += seconds
        task.tokens[bisect_left(SESSION_TOKENS, session.tokens)] += 1
        task.tokens_sum += session.tokens
        self.touch(task)
        if session.task_completed is not None:
            self._quality(agent, "completion", float(session.task_completed), session.last)

    # --- findings ----------------------------------------------------------------------------------------------

    def on_finding(self, finding: Finding, now: float, *, live: bool) -> None:
        """Count a finding. `now` is the clock, or in an old log the time of its newest line."""
        agent = self.agents.get(finding.agent_id) or self._agent(finding.agent_id, now, by_line=False)
        cell = agent.cell
        kind = finding.kind
        if kind == "loop":
            cell.loops[finding.evidence["loop"]] += 1
        elif kind == "session_budget":
            task = self._task(agent, finding.evidence["task_type"], now)
            task.over_budget += 1
            self.touch(task)
        elif kind == "action_anomaly":
            done = agent.actions.get(finding.evidence["action"]) or self._action(agent, finding.evidence["action"], now)
            done.anomalies += 1
            self.touch(done)
        elif kind == "cascade":
            cell.cascades += 1
        elif kind == "cascade_member":
            cell.cascade_members += 1
            cell.cascade_trace = finding.trace_id or ""
        else:
            raise ValueError(f"nothing counts findings of the kind {kind!r}")
        topic = finding.topic.name
        if not live:
            cell.findings[topic] = max(cell.findings[topic], finding.at)
        elif now - finding.at + min(cell.clock_offset or 0.0, 0.0) <= NEWS:  # its clock may be hours behind
            cell.findings[topic] = now
        self.touch(cell)

    def terminated(self, agent_id: str, reason: str, result: str, now: float) -> None:
        """Count the result of a termination."""
        agent = self.agents.get(agent_id) or self._agent(agent_id, now, by_line=False)
        results = agent.cell.terminations.setdefault(reason, dict.fromkeys(RESULTS, 0))
        results[result] = results.get(result, 0) + 1
        self.touch(agent.cell)

    def unconfirmed(self, agent_id: str, sessions: int, now: float) -> None:
        """Set how many of an agent's sessions still log although they should have stopped."""
        agent = self.agents.get(agent_id) or self._agent(agent_id, now, by_line=False)
        agent.cell.unconfirmed = sessions
        self.touch(agent.cell)

    def average(self, agent_id: str, action: str, tokens: float) -> None:
        """Set the rolling average of an action's tokens; ignored for actions counted under _overflow."""
        agent = self.agents.get(agent_id)
        done = agent.actions.get(action) if agent is not None else None
        if done is not None and done.action == action:
            done.average = tokens
            self.touch(done)

    # --- baselines and teams -----------------------------------------------------------------------------------

    def _move(self, agent: Agent, team: str) -> None:
        if agent is not self._everyone and self.team(agent.cell.agent) is None:
            agent.cell.team = team

    def _window(self, agent: Agent, metric: str, at: float) -> Baseline:
        """The first 7 UTC days of a signal, or those from the config's `baseline_from` on."""
        found = agent.windows.get(metric)
        if found is not None:
            return found
        stored = agent.cell.baselines.get(metric)
        if stored is None or stored.start < agent.baseline_from:
            midnight = at // DAY * DAY
            if midnight < agent.baseline_from:
                return Baseline(midnight, midnight)
            stored = agent.cell.baselines[metric] = Baseline(midnight, midnight + BASELINE_DAYS * DAY)
        agent.windows[metric] = stored
        return stored


def _exemplify(done: ActionCell, action: Action) -> None:
    trace = action.trace_id or action.parent_trace_id
    if trace is None or len(trace) > 256:
        return
    done.status_exemplars[action.status] = (trace, 1.0, action.at)
    duration = action.duration
    if duration is not None:
        done.duration_exemplars[bisect_left(DURATION, duration)] = (trace, duration, action.at)


_NO_TOKENS = Tokens()
