"""Adds actions and sessions to cells. `add` is the hottest code of the program after the decoder."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, TypeVar

import msgspec

from exporter.action import FAILED, HEARTBEAT, Output, Tokens
from exporter.detectors.finding import RESULTS
from exporter.metrics.cells import (
    CONFIDENCE,
    DURATION,
    GEN_AI_SECONDS,
    GEN_AI_TOKENS,
    SESSION_SECONDS,
    SESSION_TOKENS,
    ActionCell,
    AgentCell,
    Baseline,
    Cell,
    CountCell,
    Day,
    ErrorCell,
    GenAICell,
    ModelCell,
    SourceCell,
    TaskCell,
)
from exporter.metrics.limits import MAX_NAMES, OVERFLOW, Limits, label
from exporter.state import row_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.action import Action, Rejection
    from exporter.detectors.finding import Finding
    from exporter.sessions import Session
    from exporter.state import Row

DAY = 86_400
BASELINE_DAYS = 7
"""A week: the rhythm of most work."""
AGENT_TTL = 7.0 * DAY
"""Seconds; docs/operating.md."""
NEWS = 3600.0
"""Seconds; what was found in older lines is no news, so that the first read of an old log pages nobody."""
UNKNOWN = "unknown"
"""The label `model` of tokens that name none."""
OTHER = "_OTHER"
"""The label `error_type` of an error that names none, as OpenTelemetry has it."""

MAX_REFUSED = 8192
"""Names of actions that are known to have no series; about 1 MB."""

KINDS: dict[str, type[Cell]] = {
    "agent": AgentCell,
    "action": ActionCell,
    "model": ModelCell,
    "error": ErrorCell,
    "task": TaskCell,
    "gen_ai": GenAICell,
    "source": SourceCell,
    "overflow": CountCell,
    "eviction": CountCell,
    "spans": CountCell,
}
"""The kinds of rows that the exposition is made from."""
_KIND_OF = {cell: kind for kind, cell in KINDS.items() if cell is not CountCell}

C = TypeVar("C", bound=Cell)


class Agent:
    """An agent's cells by the names that its lines use. Not stored: it is found again from the cells."""

    __slots__ = (
        "actions", "baseline_from", "cell", "configured", "errors", "midnight", "models", "next_midnight", "tasks",
        "today", "windows",
    )  # fmt: skip

    def __init__(self, cell: AgentCell, *, configured: bool, baseline_from: float = 0.0) -> None:
        self.cell = cell
        self.configured = configured
        self.baseline_from = baseline_from
        self.windows: dict[str, Baseline] = {}
        self.today = Day()
        self.midnight = self.next_midnight = 0.0
        self.actions: dict[str, ActionCell] = {}
        # None stands for a line that names no model, or no error type.
        self.models: dict[str | None, ModelCell] = {}
        self.errors: dict[str | None, ErrorCell] = {}
        self.tasks: dict[str, TaskCell] = {}


class Tally:
    """All cells. `is_llm` says whether an action is a call of a model; `team` what the config says of an agent."""

    def __init__(
        self,
        is_llm: Callable[[str], bool],
        *,
        limits: Limits | None = None,
        team: Callable[[str], str | None] = lambda _: None,
        configured: Iterable[str] = (),
        baseline_from: Callable[[str], float] = lambda _: 0.0,
        ttl: float = AGENT_TTL,
        gen_ai: bool = True,
    ) -> None:
        self.ttl = ttl
        self.count_gen_ai = gen_ai
        self.is_llm = is_llm
        self.team = team
        self.baseline_from = baseline_from
        self.configured = set(configured)
        self.limits = limits or Limits()
        self.agents: dict[str, Agent] = {}
        self.gen_ai: dict[str, GenAICell] = {}
        self.sources: dict[str, SourceCell] = {}
        self.counts: dict[tuple[str, str], CountCell] = {}
        self._names: dict[str, dict[str, str]] = {"model": {}, "error_type": {}, "task_type": {}}
        self._dirty: list[Cell] = []
        self._gone: list[Row] = []
        self._everyone: Agent | None = None
        self._refused: dict[tuple[str, str], ActionCell] = {}
        """Actions without series of their own, by agent and name: so that a cap that is reached costs little."""

    # --- an action ---------------------------------------------------------------------------------------------

    def add(self, action: Action, now: float) -> None:
        """Count an action. `now` is the clock, seconds since 1970: no gauge runs ahead of it."""
        agent = self.agents.get(action.agent_id) or self._agent(action.agent_id, now)
        cell = agent.cell
        dirty = self._dirty
        if not cell.dirty:
            cell.dirty = True
            dirty.append(cell)
        at = action.at
        seen = at if at < now else now
        metadata = action.metadata
        if at > cell.last_active:
            cell.last_active = seen
            if not cell.first_seen:
                cell.first_seen = seen
            if metadata is not None and metadata.team is not None and metadata.team != cell.team:
                self._move(agent, metadata.team)
        name = action.action
        if name == HEARTBEAT:
            self._heartbeat(cell, action.state, seen)
            return
        if at > cell.last_action:
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
            done.others[action.outcome] += 1
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
            today = agent.today if agent.midnight <= at < agent.next_midnight else self._turn(agent, at)
            today.tokens += prompt + completion
            if cost is not None:
                model.cost_usd += cost
                today.cost_usd += cost
        if self.count_gen_ai and (done.llm or (done.llm is None and self.is_llm(name))):
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
                window = agent.windows.get("confidence") or self._window(agent, "confidence", at)
                if at < window.end and not window.frozen:
                    window.total += confidence
                    window.count += 1
                else:
                    window.frozen = True

    def mismatch(self, action: Action, now: float) -> None:
        """The cost that an action told is not the price table's. Called before `add`."""
        assert action.tokens is not None
        agent = self.agents.get(action.agent_id) or self._agent(action.agent_id, now)
        name = action.tokens.model
        model = agent.models.get(name) or self._model(agent, name, now)
        model.mismatches += 1
        self.touch(model)

    @staticmethod
    def _heartbeat(cell: AgentCell, state: str, at: float) -> None:
        cell.heartbeats[state] += 1
        if at > cell.states.get(state, at):
            cell.states[state] = at

    def _feedback(self, agent: Agent, feedback: float, at: float) -> None:
        ratio = (feedback + 1) / 2
        agent.cell.feedback_sum += ratio
        agent.cell.feedback_count += 1
        _average(self._window(agent, "feedback", at), ratio, at)

    @staticmethod
    def _turn(agent: Agent, at: float) -> Day:
        """The day that a time belongs to becomes the one that is written to; of an older one than two, nobody asks."""
        number = int(at // DAY)
        days = agent.cell.days
        day = days.get(number)
        if day is None:
            if len(days) >= 2 and number < min(days):
                return Day()
            day = days[number] = Day()
            if len(days) > 2:
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

    def _gen_ai_cell(self, name: str, now: float) -> GenAICell:
        model = self._name("model", name)
        cell = self.gen_ai.get(model)
        if cell is None:
            cell = self.gen_ai[model] = GenAICell(row_key(model), now, model)
        return cell

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
        seconds = max(0.0, session.last - session.started)
        task.seconds[bisect_left(SESSION_SECONDS, seconds)] += 1
        task.seconds_sum += seconds
        task.tokens[bisect_left(SESSION_TOKENS, session.tokens)] += 1
        task.tokens_sum += session.tokens
        self.touch(task)
        if session.task_completed is not None:
            _average(self._window(agent, "completion", session.last), float(session.task_completed), session.last)

    # --- findings ----------------------------------------------------------------------------------------------

    def found(self, finding: Finding, now: float, *, live: bool) -> None:
        """A detector has found something. `now` is the clock, or in a log of the past the time of its newest line."""
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
        else:
            cell.cascade_members += 1
        if not live:
            cell.findings[kind] = max(cell.findings[kind], finding.at)
        elif now - finding.at <= NEWS:
            cell.findings[kind] = now
        self.touch(cell)

    def terminated(self, agent_id: str, reason: str, result: str, now: float) -> None:
        """What became of a session that was to be stopped."""
        agent = self.agents.get(agent_id) or self._agent(agent_id, now, by_line=False)
        results = agent.cell.terminations.setdefault(reason, dict.fromkeys(RESULTS, 0))
        results[result] += 1
        self.touch(agent.cell)

    def unconfirmed(self, agent_id: str, sessions: int, now: float) -> None:
        """How many of an agent's sessions still log though they were told to stop."""
        agent = self.agents.get(agent_id) or self._agent(agent_id, now, by_line=False)
        agent.cell.unconfirmed = sessions
        self.touch(agent.cell)

    def average(self, agent_id: str, action: str, tokens: float) -> None:
        """The rolling average of an action's tokens; of one without series of its own, nobody asks."""
        agent = self.agents.get(agent_id)
        done = agent.actions.get(action) if agent is not None else None
        if done is not None and done.action == action:
            done.average = tokens
            self.touch(done)

    # --- lines and the exporter's own counters -----------------------------------------------------------------

    def source(self, name: str, now: float) -> SourceCell:
        """The cell of a source, made at zero if it is new; the caller adds to it and calls `touch`."""
        cell = self.sources.get(name)
        if cell is None:
            cell = self.sources[name] = SourceCell(row_key(name), now, label(name))
            self.touch(cell)
        return cell

    def touch(self, cell: Cell) -> None:
        """The cell has changed."""
        if not cell.dirty:
            cell.dirty = True
            self._dirty.append(cell)

    @staticmethod
    def reject(cell: SourceCell, rejection: Rejection) -> None:
        """Count a rejected line."""
        cell.rejected[rejection.reason] = cell.rejected.get(rejection.reason, 0) + 1

    def count(self, kind: str, name: str, by: int, now: float) -> None:
        """Add to one of the counters with one label: overflow, eviction, spans."""
        cell = self.counts.get((kind, name))
        if cell is None:
            cell = self.counts[kind, name] = CountCell(row_key(name), now, kind, name)
            self.touch(cell)
        if by:
            cell.count += by
            self.touch(cell)

    # --- cells that are new ------------------------------------------------------------------------------------

    def _agent(self, name: str, now: float, *, by_line: bool = True) -> Agent:
        configured = name in self.configured
        if name != OVERFLOW and self.limits.admit(AgentCell, name, configured=configured):
            return self._make_agent(name, now, configured=configured)
        if by_line:
            self.count("overflow", "agent", 1, now)
        return self._rest(now)

    def _make_agent(self, name: str, now: float, *, configured: bool) -> Agent:
        cell = AgentCell(row_key(name), now, name, self.team(name) or "", configured=configured)
        agent = self.agents[name] = Agent(cell, configured=configured, baseline_from=self.baseline_from(name))
        self.touch(cell)
        return agent

    def _action(self, agent: Agent, name: str, now: float) -> ActionCell:
        refused = self._refused.get((agent.cell.agent, name))
        if refused is not None:
            self.count("overflow", "action", 1, now)
            return refused
        llm = self.is_llm(name)

        def make(key: str, who: str, what: str) -> ActionCell:
            return ActionCell(key, now, who, what, None if what == OVERFLOW else llm)

        cell = self._cell(agent, "actions", ActionCell, name, make)
        if cell.action != name and cell.agent == agent.cell.agent:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[cell.agent, name] = cell
        return cell

    def _model(self, agent: Agent, name: str | None, now: float) -> ModelCell:
        known = self._name("model", name or UNKNOWN)
        cell = self._cell(agent, "models", ModelCell, known, lambda key, who, what: ModelCell(key, now, who, what))
        if cell.model != OVERFLOW:
            agent.models[name] = cell
        return cell

    def _error(self, agent: Agent, name: str | None, now: float) -> ErrorCell:
        known = self._name("error_type", name or OTHER)
        cell = self._cell(agent, "errors", ErrorCell, known, lambda key, who, what: ErrorCell(key, now, who, what))
        if cell.error_type != OVERFLOW:
            agent.errors[name] = cell
        return cell

    def _task(self, agent: Agent, name: str, now: float) -> TaskCell:
        known = self._name("task_type", name)
        return self._cell(agent, "tasks", TaskCell, known, lambda key, who, what: TaskCell(key, now, who, what))

    def _cell(self, agent: Agent, where: str, kind: type[C], name: str, make: Callable[[str, str, str], C]) -> C:
        """The agent's cell of this name; if its share forbids one, its `_overflow` cell; if the caps do, everyone's."""
        cells: dict[str, C] = getattr(agent, where)
        found = cells.get(name)
        if found is not None and name != OVERFLOW:
            return found
        who = agent.cell.agent
        if name == OVERFLOW or not self.limits.admit(kind, who, configured=agent.configured):
            self.count("overflow", _KIND_OF[kind], 1, agent.cell.created)
            return self._overflow_cell(agent, where, kind, make)
        cell = cells[name] = make(row_key(who, name), who, name)
        self.touch(cell)
        return cell

    def _overflow_cell(self, agent: Agent, where: str, kind: type[C], make: Callable[[str, str, str], C]) -> C:
        cells: dict[str, C] = getattr(agent, where)
        found = cells.get(OVERFLOW)
        if found is not None:
            return found
        who = agent.cell.agent
        if agent is self._everyone:
            self.limits.count(kind, who)
        elif not self.limits.admit(kind, who, configured=agent.configured, within_share=False):
            return self._overflow_cell(self._rest(agent.cell.created), where, kind, make)
        cell = cells[OVERFLOW] = make(row_key(who, OVERFLOW), who, OVERFLOW)
        self.touch(cell)
        return cell

    def _rest(self, now: float) -> Agent:
        """The agent that stands for all those without series of their own."""
        if self._everyone is None:
            self._everyone = Agent(AgentCell(row_key(OVERFLOW), now, OVERFLOW), configured=False)
        return self._everyone

    def _name(self, kind: str, name: str) -> str:
        """The name itself if it is among the first MAX_NAMES of its kind, else `_overflow`."""
        names = self._names[kind]
        known = names.get(name)
        if known is not None:
            return known
        if len(names) >= MAX_NAMES:
            return OVERFLOW
        names[name] = name
        return name

    # --- baselines, teams, time to live ------------------------------------------------------------------------

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

    def configure(self, names: Iterable[str], now: float) -> None:
        """The config names these agents: they have series before their first line, and room in the caps."""
        self.configured = set(names)
        self._refused.clear()
        for name, agent in self.agents.items():
            agent.configured = agent.cell.configured = name in self.configured
            agent.baseline_from = self.baseline_from(name)
            agent.windows.clear()
            self.touch(agent.cell)
            team = self.team(name)
            if team is not None:
                agent.cell.team = team
        for name in self.configured - self.agents.keys():
            self._agent(name, now)

    def age(self, now: float) -> None:
        """Drop agents that have not been seen for `ttl` seconds."""
        for agent_id in [
            name
            for name, agent in self.agents.items()
            if not agent.configured
            and 0 < agent.cell.last_active < now - self.ttl
            and agent.cell.created < now - self.ttl
        ]:
            self.forget(agent_id)

    def forget(self, agent_id: str) -> None:
        """Drop an agent and all its series: unseen for its time to live, retired, or taken out of the config."""
        agent = self.agents.pop(agent_id, None)
        if agent is None:
            return
        held: list[Cell] = [agent.cell]
        for cells in (agent.actions, agent.models, agent.errors, agent.tasks):
            held.extend({id(cell): cell for cell in cells.values()}.values())
        for cell in held:
            self.limits.count(type(cell), agent_id, -1)
            key, cell.key = cell.key, ""
            self._gone.append((_KIND_OF[type(cell)], key, None))
        self._refused.clear()  # there is room again

    # --- state -------------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Row]:
        """A row for every cell that changed."""
        encode = msgspec.msgpack.encode
        yield from self._gone
        self._gone = []
        dirty, self._dirty = self._dirty, []
        for cell in dirty:
            if not cell.key:  # forgotten since
                continue
            cell.dirty = False
            kind = cell.kind if isinstance(cell, CountCell) else _KIND_OF[type(cell)]
            yield kind, cell.key, encode(cell)

    def restore(self, rows: Callable[[str], Iterable[tuple[str, bytes]]]) -> None:
        """Take up the cells of a former run; `rows` gives those of a kind."""
        for cell in _decoded(rows, "agent", AgentCell):
            name = cell.agent
            agent = Agent(cell, configured=name in self.configured, baseline_from=self.baseline_from(name))
            if cell.agent == OVERFLOW:
                self._everyone = agent
                continue
            if self.team(cell.agent) is not None:
                cell.team = self.team(cell.agent) or ""
            self.agents[cell.agent] = agent
            self.limits.count(AgentCell, cell.agent)
        for done in _decoded(rows, "action", ActionCell):
            self._take(done, done.agent, "actions", done.action)
        for model in _decoded(rows, "model", ModelCell):
            self._take(model, model.agent, "models", model.model)
            self._name("model", model.model)
        for error in _decoded(rows, "error", ErrorCell):
            self._take(error, error.agent, "errors", error.error_type)
            self._name("error_type", error.error_type)
        for task in _decoded(rows, "task", TaskCell):
            self._take(task, task.agent, "tasks", task.task_type)
            self._name("task_type", task.task_type)
        for gen_ai in _decoded(rows, "gen_ai", GenAICell):
            self.gen_ai[gen_ai.model] = gen_ai
        for source in _decoded(rows, "source", SourceCell):
            self.sources[source.source] = source
        for kind in ("overflow", "eviction", "spans"):
            for count in _decoded(rows, kind, CountCell):
                self.counts[kind, count.label] = count

    def _take(self, cell: Cell, agent_id: str, where: str, name: str) -> None:
        agent = self._everyone if agent_id == OVERFLOW else self.agents.get(agent_id)
        if agent is not None:
            getattr(agent, where)[name] = cell
            self.limits.count(type(cell), agent_id)


def _exemplify(done: ActionCell, action: Action) -> None:
    trace = action.trace_id or action.parent_trace_id
    if trace is None or len(trace) > 256:
        return
    done.status_exemplars[action.outcome] = (trace, 1.0, action.at)
    duration = action.duration
    if duration is not None:
        done.duration_exemplars[bisect_left(DURATION, duration)] = (trace, duration, action.at)


def _average(window: Baseline, value: float, at: float) -> None:
    if at >= window.end:
        window.frozen = True
    elif not window.frozen:
        window.total += value
        window.count += 1


_NO_TOKENS = Tokens()


def _decoded(rows: Callable[[str], Iterable[tuple[str, bytes]]], kind: str, cell: type[C]) -> list[C]:
    decode = msgspec.msgpack.Decoder(cell).decode
    return [decode(value) for _, value in rows(kind)]
