"""The cells of all label sets: made for a new name if the bounds allow it, stored, and dropped with their agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_exporter.clocks import ClockOffset
from agent_exporter.metrics.cells import (
    CELL_TYPES,
    DAY,
    ActionCell,
    AgentCell,
    Baseline,
    C,
    Cell,
    CountCell,
    Day,
    ErrorCell,
    GenAICell,
    ModelCell,
    Reader,
    SourceCell,
    TaskCell,
)
from agent_exporter.metrics.limits import MAX_NAMES, OVERFLOW, Limits, label
from agent_exporter.state import row_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.state import Row, Store

AGENT_TTL = 7.0 * DAY
"""Seconds; docs/operating.md."""
UNKNOWN = "unknown"
"""The label `model` of tokens without a model."""
OTHER = "_OTHER"
"""The label `error_type` of an error without a type, as in OpenTelemetry."""
MAX_TYPES = 40
"""Types of records of one format with a count of their own: Claude Code and Codex have some twenty each."""
MAX_REFUSED = 8192
"""Names kept as having no series of their own; about 1 MB."""

_KIND_OF = {cell: kind for kind, cell in CELL_TYPES.items() if cell is not CountCell}


class Agent:
    """An agent's cells by the names in its lines. Not stored: `restore` makes it from the cells."""

    __slots__ = (
        "actions", "baseline_from", "cell", "clock", "configured", "errors", "midnight", "models", "next_midnight",
        "tasks", "today", "windows",
    )  # fmt: skip

    def __init__(self, cell: AgentCell, *, configured: bool, baseline_from: float = 0.0) -> None:
        self.cell = cell
        self.clock = ClockOffset()
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


class Table:
    """All cells. `is_llm(action)` says whether it is a call of a model; `team(agent)` is its team in the config."""

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
        self._refused: dict[tuple[type[Cell], str, str], Cell] = {}
        """For each agent, the cells that count names without series of their own: so a full table costs little."""

    # --- the exporter's own counters -----------------------------------------------------------------

    def source(self, name: str, now: float) -> SourceCell:
        """The cell of a source, at zero if it is new. The caller adds to it and calls `touch`."""
        cell = self.sources.get(name)
        if cell is None:
            cell = self.sources[name] = SourceCell(row_key(name), now, dirty=False, source=label(name))
            self.touch(cell)
        return cell

    def touch(self, cell: Cell) -> None:
        """Mark the cell as changed."""
        if not cell.dirty:
            cell.dirty = True
            self._dirty.append(cell)

    def count(self, kind: str, name: str, by: int, now: float) -> None:
        """Add to one of the counters with one label: overflow, eviction, spans, ..."""
        cell = self.counts.get((kind, name))
        if cell is None:
            cell = self.counts[kind, name] = CountCell(row_key(name), now, dirty=False, kind=kind, label=name)
            self.touch(cell)
        if by:
            cell.count += by
            self.touch(cell)

    def skipped(self, name: str, by: int, now: float) -> None:
        """Count records that a format has no rule for, by `format/type`. The type is text from a log: it is bounded."""
        format_, _, _ = name.partition("/")
        if ("record_skipped", name) not in self.counts:
            known = sum(kind == "record_skipped" and each.startswith(f"{format_}/") for kind, each in self.counts)
            if known >= MAX_TYPES:
                name = f"{format_}/other"
        self.count("record_skipped", name, by, now)

    def knows_task_type(self, name: str) -> bool:
        """Whether a session of this type was counted."""
        return name in self._names["task_type"]

    # --- cells that are new ------------------------------------------------------------------------------------

    def _agent(self, name: str, now: float, *, by_line: bool = True) -> Agent:
        configured = name in self.configured
        if name != OVERFLOW and self.limits.admit(AgentCell, name, configured=configured):
            return self._make_agent(name, now, configured=configured)
        if by_line:
            self.count("overflow", "agent", 1, now)
        return self._rest(now)

    def _make_agent(self, name: str, now: float, *, configured: bool) -> Agent:
        team = self.team(name) or ""
        cell = AgentCell(row_key(name), now, dirty=False, agent=name, team=team, configured=configured)
        agent = self.agents[name] = Agent(cell, configured=configured, baseline_from=self.baseline_from(name))
        self.touch(cell)
        return agent

    def _action(self, agent: Agent, name: str, now: float) -> ActionCell:
        def make(key: str, who: str, what: str) -> ActionCell:
            llm = None if what == OVERFLOW else self.is_llm(name)
            return ActionCell(key, now, dirty=False, agent=who, action=what, llm=llm)

        return self._cell(agent, "actions", ActionCell, name, make)

    def _model(self, agent: Agent, name: str | None, now: float) -> ModelCell:
        known = self._name("model", name or UNKNOWN)
        cell = self._cell(
            agent,
            "models",
            ModelCell,
            known,
            lambda key, who, what: ModelCell(key, now, dirty=False, agent=who, model=what),
        )
        if cell.model != OVERFLOW:
            agent.models[name] = cell
        return cell

    def _error(self, agent: Agent, name: str | None, now: float) -> ErrorCell:
        known = self._name("error_type", name or OTHER)
        cell = self._cell(
            agent,
            "errors",
            ErrorCell,
            known,
            lambda key, who, what: ErrorCell(key, now, dirty=False, agent=who, error_type=what),
        )
        if cell.error_type != OVERFLOW:
            agent.errors[name] = cell
        return cell

    def _task(self, agent: Agent, name: str, now: float) -> TaskCell:
        known = self._name("task_type", name)
        return self._cell(
            agent,
            "tasks",
            TaskCell,
            known,
            lambda key, who, what: TaskCell(key, now, dirty=False, agent=who, task_type=what),
        )

    def _cell(self, agent: Agent, where: str, kind: type[C], name: str, make: Callable[[str, str, str], C]) -> C:
        """The agent's cell of this name. If its share is full: its `_overflow` cell; at the caps: the shared one."""
        cells: dict[str, C] = getattr(agent, where)
        found = cells.get(name)
        if found is not None and name != OVERFLOW:
            return found
        who = agent.cell.agent
        refused = self._refused.get((kind, who, name))
        if refused is None and (name == OVERFLOW or not self.limits.admit(kind, who, configured=agent.configured)):
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            refused = self._refused[kind, who, name] = self._overflow_cell(agent, where, kind, make)
        if refused is not None:
            self.count("overflow", _KIND_OF[kind], 1, agent.cell.created)
            return refused  # type: ignore[return-value]  # its key has the kind
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
        """The `_overflow` agent, for all agents without series of their own."""
        if self._everyone is None:
            self._everyone = Agent(AgentCell(row_key(OVERFLOW), now, dirty=False, agent=OVERFLOW), configured=False)
        return self._everyone

    def _name(self, kind: str, name: str) -> str:
        """The name if it is among the first MAX_NAMES of its kind, else `_overflow`."""
        names = self._names[kind]
        known = names.get(name)
        if known is not None:
            return known
        if len(names) >= MAX_NAMES:
            return OVERFLOW
        names[name] = name
        return name

    def _gen_ai_cell(self, name: str, now: float) -> GenAICell:
        model = self._name("model", name)
        cell = self.gen_ai.get(model)
        if cell is None:
            cell = self.gen_ai[model] = GenAICell(row_key(model), now, dirty=False, model=model)
        return cell

    # --- settings, time to live --------------------------------------------------------------------------------

    def configure(self, names: Iterable[str], now: float) -> None:
        """Give the agents that the config names series before their first line, and room in the caps."""
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

    def tick(self, now: float) -> None:
        """Drop agents that have logged nothing for `ttl` seconds and have no open session."""
        for agent_id in [
            name
            for name, agent in self.agents.items()
            if not agent.configured
            and not agent.cell.active
            and 0 < agent.cell.last_seen < now - self.ttl
            and agent.cell.created < now - self.ttl
        ]:
            self.forget(agent_id)

    def forget(self, agent_id: str) -> None:
        """Drop an agent and all its series: after its time to live, retired, or removed from the config."""
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

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Restore from committed rows."""
        rows = store.rows
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
        for kind in (kind for kind, cell in CELL_TYPES.items() if cell is CountCell):
            for count in _decoded(rows, kind, CountCell):
                self.counts[kind, count.label] = count

    def _take(self, cell: Cell, agent_id: str, where: str, name: str) -> None:
        agent = self._everyone if agent_id == OVERFLOW else self.agents.get(agent_id)
        if agent is None:  # its row is unreadable: all its series begin at zero together
            self._gone.append((_KIND_OF[type(cell)], cell.key, None))
            return
        getattr(agent, where)[name] = cell
        self.limits.count(type(cell), agent_id)


def _decoded(rows: Callable[[str], Iterable[tuple[str, bytes]]], kind: str, cell: type[C]) -> list[C]:
    read = Reader(cell)
    return [read(key, value) for key, value in rows(kind)]
