"""From a trace, session or agent to the lines of its tasks, and the further lines that the detectors need.

A log is searched for the name, and then for the other names of the same task in the lines found.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent_exporter.action import FAILED, HEARTBEAT, TraceId, trace_id_of
from agent_exporter.explain.beside import Surroundings
from agent_exporter.explain.log import merged
from agent_exporter.explain.names import FEW, needle, task_of
from agent_exporter.formats.prefixed import record_in
from agent_exporter.lineage import session_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_exporter.action import Action
    from agent_exporter.config import Config
    from agent_exporter.explain.log import Block, Log

MAX_TASKS = 100
"""Tasks shown: those in which the agent failed or retried, then the latest."""
MAX_LINES = 50_000
"""Lines kept of these tasks, the first ones; some 100 MB."""


class Found(NamedTuple):
    """`tasks`: the lines of each task by trace id, in order of time. `beside`: the further lines for the detectors."""

    tasks: dict[str, list[Action]]
    beside: list[Action]
    more: int = 0
    """How many tasks are left out."""
    dropped: int = 0
    """How many lines of the tasks are left out."""


class _Names(msgspec.Struct, gc=False):
    """The ids of a line: four times as fast to decode as all of it."""

    agent_id: str
    session_id: str
    parent_trace_id: str | None = None
    trace_id: TraceId | None = None


_decode_names = msgspec.json.Decoder(_Names).decode


def _names(line: bytes) -> _Names | None:
    for text in (line, record_in(line.lstrip(b"\0"))):
        try:
            return _decode_names(text or b"")
        except (ValueError, RecursionError):
            pass
    return None


def _text(raw: bytes) -> str | None:
    """The value of a JSON string given without its quotes."""
    try:
        return raw.decode() if b"\\" not in raw else msgspec.json.decode(b'"' + raw + b'"', type=str)
    except ValueError:
        return None


class Search:
    """Searches some logs. Each method returns None if no line matches."""

    def __init__(self, logs: Sequence[Log], config: Config) -> None:
        self.instead: str | None = None
        """What the name is instead, if not what was asked for: a trace, session or agent."""
        self.seen: float | None = None
        """When the agent acted last, if not lately; None if never."""
        self._logs = logs
        self._dropped = 0
        self._config = config

    def trace(self, name: str) -> Found | None:
        """The task with this id or name."""
        trace_id = trace_id_of(name)
        searched = {name, trace_id, trace_id.upper()} if name.lower() == trace_id else {name, trace_id}
        lines = self._naming(searched)
        self._look(lines, name, "session_id", "agent_id")
        ids = {task_of(line) for line in lines if task_of(line) == trace_id or line.parent_trace_id == name}
        if not ids and name.lower() == trace_id:
            # An id from a trace viewer: the hash of a name, or of a session that names no trace.
            lines = self._naming(self._hashed({trace_id}) or self._alone(trace_id) or {trace_id})
            ids = {task_of(line) for line in lines} & {trace_id}
        return self._follow(lines, ids, searched)

    def session(self, session_id: str) -> Found | None:
        """The tasks of this session."""
        lines = self._naming({session_id})
        ids = [task_of(line) for line in lines if line.session_id == session_id and line.action != HEARTBEAT]
        self._look(lines, session_id, "parent_trace_id", "trace_id", "agent_id")
        return self._follow(lines, _latest(ids), {session_id}, len(set(ids)))

    def agent(self, agent_id: str, since: float) -> Found | None:
        """The tasks that this agent worked on in the last `since` seconds of the log."""
        begin, end = self.now() - since, float("inf")
        lines = [
            action
            for block in self._blocks
            if block.latest >= begin
            for action in block.actions(needle(agent_id))
            if action.agent_id == agent_id and action.at >= begin and action.action != HEARTBEAT
        ]
        if not lines:
            self.seen = self._last_seen(agent_id)
            return None
        lines.sort(key=lambda action: action.at)
        ids = [task_of(action) for action in lines]
        tasks = _latest([*ids, *(task_of(action) for action in lines if _troubled(action))])

        def of_tasks(action: Action) -> bool:
            return task_of(action) in tasks

        return self._answer(self._surroundings.around(begin, end, of_tasks, of_tasks)[0], len(set(ids)) - len(tasks))

    def _last_seen(self, agent_id: str) -> float | None:
        named = (action for log in self._logs for action in log.naming([needle(agent_id)]))
        acted = (action.at for action in named if action.agent_id == agent_id and action.action != HEARTBEAT)
        return max(acted, default=None)

    def now(self) -> float:
        """Time of the newest line, 0 if there is none."""
        blocks = self._blocks
        known = max((block.earliest for block in blocks), default=0.0)
        return max((action.at for block in blocks if block.latest >= known for action in block.actions()), default=0.0)

    # --- the lines of the tasks --------------------------------------------------------------------------------

    def _naming(self, names: set[str]) -> list[Action]:
        """The lines that use one of these names for a trace, a session or an agent."""
        needles = {needle(name) for name in names}
        return self._held(
            action
            for log in self._logs
            for action in log.naming(needles)
            if action.parent_trace_id in names
            or action.session_id in names
            or action.trace_id in names
            or action.agent_id in names
            or task_of(action) in names
        )

    def _held(self, actions: Iterable[Action]) -> list[Action]:
        """As many as memory has room for; counts the others, once even if two searches find them."""
        actions = iter(actions)
        held = list(islice(actions, MAX_LINES))
        self._dropped = max(self._dropped, sum(1 for _ in actions))
        return held

    def _look(self, lines: Iterable[Action], name: str, *fields: str) -> None:
        for line in lines:
            for field in fields:
                if getattr(line, field) == name and line.action != HEARTBEAT:
                    self.instead = field.removeprefix("parent_").removesuffix("_id")
                    return

    def _hashed(self, trace_ids: set[str]) -> set[str]:
        """The names of traces with these ids."""
        known: set[bytes] = set()
        names = set()
        for log in self._logs:
            for written in log.names():
                for raw in written - known:
                    name = _text(raw)
                    if name is not None and trace_id_of(name) in trace_ids:
                        names.add(name)
                known = written  # the next window has many of the same names
        return names

    def _alone(self, trace_id: str) -> set[str]:
        """The session that is a trace of its own, with this id."""
        for log in self._logs:
            for line in log.lines():
                names = _names(line)
                if names is None or names.parent_trace_id or names.trace_id:
                    continue
                if session_trace_id(None, names.agent_id, names.session_id) == trace_id:
                    return {names.session_id}
        return set()

    def _follow(self, lines: list[Action], ids: set[str], searched: set[str], total: int = 0) -> Found | None:
        """All lines of the tasks, of which some lines were found."""
        if not ids:
            return None
        own = [line for line in lines if task_of(line) in ids]
        names = {name for line in own for name in (line.trace_id, line.parent_trace_id) if name} - searched
        # An agent may log only the id, while others log the name.
        unnamed = {task_of(line) for line in own if line.trace_id} - {
            trace_id_of(line.parent_trace_id) for line in own if line.parent_trace_id
        }
        names |= self._hashed(unnamed) if unnamed else set()
        if len(names) > FEW:
            lines = self._held(action for log in self._logs for action in log.every() if task_of(action) in ids)
        elif names:
            lines = merged(lines, self._naming(names))
        return self._answer([line for line in lines if task_of(line) in ids], max(0, total - len(ids)))

    def _answer(self, lines: Iterable[Action], more: int) -> Found | None:
        """Whether the line is work: a heartbeat is not."""
        ordered = sorted((line for line in lines if line.action != HEARTBEAT), key=lambda action: action.at)
        if not ordered:
            return None
        own = {line.line for line in ordered}
        self._dropped += max(0, len(ordered) - MAX_LINES)
        del ordered[MAX_LINES:]
        tasks: defaultdict[str, list[Action]] = defaultdict(list)
        for action in ordered:
            tasks[task_of(action)].append(action)
        beside = [line for line in self._surroundings.of(ordered) if line.line not in own]
        return Found(dict(tasks), beside, more, self._dropped)

    @cached_property
    def _blocks(self) -> list[Block]:
        return [block for log in self._logs for block in log.blocks()]

    @cached_property
    def _surroundings(self) -> Surroundings:
        return Surroundings(self._blocks, self._config)


def _troubled(action: Action) -> bool:
    metadata = action.metadata
    return action.status in FAILED or (
        metadata is not None and (bool(metadata.retry_count) or metadata.task_completed is False)
    )


def _latest(ids: list[str]) -> set[str]:
    """The last MAX_TASKS of the ids."""
    return set(list(dict.fromkeys(reversed(ids)))[:MAX_TASKS])
