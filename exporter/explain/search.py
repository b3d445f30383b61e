"""From what is asked for to lines: those of the tasks, and those that the detectors need beside them.

What the detectors say of a task depends on nothing but the lines of its agents, and of these on few:

    around    what the task's sessions did before, in other tasks, back to a silence of their idle time; and what its
              agents did meanwhile, as a heartbeat is a sign of life of the session begun last
    before    as many calls of each agent's actions as the rolling average has

So a log is only searched for one name, and then read from the task back until both are there. In a log that is out of
order, or for an action that is rare, that may be all of it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from exporter.action import HEARTBEAT, trace_id_of
from exporter.lineage import own_trace, trace_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.action import Action
    from exporter.config import Config
    from exporter.explain.log import Block, Log

FEW = 4
"""Names that are looked for one by one; of more, every record is decoded instead."""
MOST_TASKS = 100
"""Tasks that are looked into, the latest: a person reads the first few."""
FAR = 3600.0
"""Seconds before a task from which lines are kept if a log that is out of order has them at hand."""
MOST_LINES = 50_000
"""Lines of these tasks, the first; some 100 MB."""
MOST_BESIDE = 50_000
"""Lines around them; more are there only for agents that do thousands of actions a minute."""
_PLAIN = re.compile(r"[0-9A-Za-z_.:@-]+")
"""What every writer of JSON leaves as it is."""


Pair = tuple[str, str]
"""An agent and an action of it."""


class Found(NamedTuple):
    """`tasks` are the lines of each by trace id, in order of time; `beside` what the detectors need beside them."""

    tasks: dict[str, list[Action]]
    beside: list[Action]
    more: int = 0
    """Tasks of before that are not looked into."""
    dropped: int = 0
    """Lines of the tasks beyond MOST_LINES."""


def task_of(action: Action) -> str:
    """The id of its trace: 32 hex digits. A session that names none is a trace of its own."""
    return trace_id_of(trace_name(action) or own_trace(action.agent_id, action.session_id))


def began(action: Action) -> float:
    """Seconds since 1970."""
    return action.at - (action.duration or 0.0)


def needle(name: str) -> bytes:
    """What every line has that holds this name, however it is escaped there; empty if nothing is certain."""
    return max(_PLAIN.findall(name), key=len, default="").encode()


class _Names(msgspec.Struct, gc=False):
    """Of a line: four times as fast as all of it."""

    agent_id: str
    session_id: str
    parent_trace_id: str | None = None
    trace_id: str | None = None


_decode_names = msgspec.json.Decoder(_Names).decode


def _text(raw: bytes) -> str | None:
    """What a JSON string without its quotes says."""
    try:
        return raw.decode() if b"\\" not in raw else msgspec.json.decode(b'"' + raw + b'"', type=str)
    except ValueError:
        return None


class Search:
    """Over some logs. Each question is answered with None if no line fits it."""

    def __init__(self, logs: Sequence[Log], config: Config) -> None:
        self.instead: str | None = None
        """What the name stands for where it does not for what was asked: trace, session or agent."""
        self._logs = logs
        self._dropped = 0
        self._window = config.detectors.action_anomaly.window
        tasks = [config.task_type("default"), *(config.task_type(name) for name in config.task_types)]
        self._margin = max(float(task.idle) for task in tasks) + max(float(task.max_duration) for task in tasks)
        """Seconds: a session goes on after silences up to its idle time, and may be at work until its time is up."""

    def trace(self, name: str) -> Found | None:
        """The task with this id, or of this name."""
        wanted = trace_id_of(name)
        searched = {name, wanted, wanted.upper()} if name.lower() == wanted else {name, wanted}
        lines = self._naming(searched)
        self._look(lines, name, "session_id", "agent_id")
        ids = {task_of(line) for line in lines if task_of(line) == wanted or line.parent_trace_id == name}
        if not ids and name.lower() == wanted:
            # As a trace viewer has it: of a name that only hashing tells, or of a session that names none.
            lines = self._naming(self._hashed({wanted}) or self._alone(wanted) or {wanted})
            ids = {task_of(line) for line in lines} & {wanted}
        return self._follow(lines, ids, searched)

    def session(self, session_id: str) -> Found | None:
        """The tasks that this session had a part in."""
        lines = self._naming({session_id})
        ids = [task_of(line) for line in lines if line.session_id == session_id and line.action != HEARTBEAT]
        self._look(lines, session_id, "parent_trace_id", "trace_id", "agent_id")
        return self._follow(lines, _latest(ids), {session_id}, len(set(ids)))

    def agent(self, agent_id: str, since: float) -> Found | None:
        """The tasks that this agent worked on in the last `since` seconds of the log."""
        begin, end = self.now() - since, float("inf")
        lines = [
            action
            for block in self._blocks()
            if block.latest >= begin
            for action in block.actions(needle(agent_id))
            if action.agent_id == agent_id and action.at >= begin and action.action != HEARTBEAT
        ]
        if not lines:
            return None
        ids = [task_of(action) for action in sorted(lines, key=lambda action: action.at)]
        tasks = _latest(ids)

        def wanted(action: Action) -> bool:
            return task_of(action) in tasks

        return self._answer(self._around(begin, end, wanted, wanted)[0], len(set(ids)) - len(tasks))

    def now(self) -> float:
        """Time of the newest line, 0 if there is none."""
        blocks = self._blocks()
        known = max((block.earliest for block in blocks), default=0.0)
        return max((action.at for block in blocks if block.latest >= known for action in block.actions()), default=0.0)

    # --- the lines of the tasks --------------------------------------------------------------------------------

    def _naming(self, names: set[str]) -> list[Action]:
        """The lines that have one of these names for a trace, a session or an agent."""
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
        """As many as memory has room for; the others are counted, once in two searches for the same ones."""
        actions = iter(actions)
        held = list(islice(actions, MOST_LINES))
        self._dropped = max(self._dropped, sum(1 for _ in actions))
        return held

    def _look(self, lines: Iterable[Action], name: str, *fields: str) -> None:
        for line in lines:
            for field in fields:
                if getattr(line, field) == name and line.action != HEARTBEAT:
                    self.instead = field.removeprefix("parent_").removesuffix("_id")
                    return

    def _hashed(self, wanted: set[str]) -> set[str]:
        """The names of traces that have these ids."""
        known: set[bytes] = set()
        names = set()
        for log in self._logs:
            for written in log.names():
                for raw in written - known:
                    name = _text(raw)
                    if name is not None and trace_id_of(name) in wanted:
                        names.add(name)
                known = written  # the next window has many of them again
        return names

    def _alone(self, wanted: str) -> set[str]:
        """The session that is a trace of its own and has this id."""
        for log in self._logs:
            for line in log.lines():
                try:
                    names = _decode_names(line)
                except (ValueError, RecursionError):
                    continue
                if names.parent_trace_id or names.trace_id:
                    continue
                if trace_id_of(own_trace(names.agent_id, names.session_id)) == wanted:
                    return {names.session_id}
        return set()

    def _follow(self, lines: list[Action], ids: set[str], searched: set[str], total: int = 0) -> Found | None:
        """All lines of the tasks that are known from some of their lines."""
        if not ids:
            return None
        own = [line for line in lines if task_of(line) in ids]
        names = {name for line in own for name in (line.trace_id, line.parent_trace_id) if name} - searched
        # An agent that logs the id itself does not tell what others, that log the name, call it.
        unnamed = {task_of(line) for line in own if line.trace_id} - {
            trace_id_of(line.parent_trace_id) for line in own if line.parent_trace_id
        }
        names |= self._hashed(unnamed) if unnamed else set()
        if len(names) > FEW:
            lines = self._held(action for log in self._logs for action in log.every() if task_of(action) in ids)
        elif names:
            lines += self._naming(names)
        return self._answer([line for line in lines if task_of(line) in ids], max(0, total - len(ids)))

    def _answer(self, lines: Iterable[Action], more: int) -> Found | None:
        """A line that came twice is one line, and a heartbeat is no work."""
        unique = {line.line: line for line in lines if line.action != HEARTBEAT}
        if not unique:
            return None
        ordered = sorted(unique.values(), key=lambda action: action.at)
        self._dropped += max(0, len(ordered) - MOST_LINES)
        del ordered[MOST_LINES:]
        tasks: defaultdict[str, list[Action]] = defaultdict(list)
        for action in ordered:
            tasks[task_of(action)].append(action)
        beside = {line.line: line for line in self._beside(ordered) if line.line not in unique}
        return Found(dict(tasks), list(beside.values()), more, self._dropped)

    # --- the lines beside them ---------------------------------------------------------------------------------

    def _beside(self, task: list[Action]) -> list[Action]:
        """What the detectors need beside the lines of the tasks."""
        begin, end = min(map(began, task)), task[-1].at
        agents = {action.agent_id for action in task}
        sessions = {(action.agent_id, action.session_id) for action in task}
        first: dict[Pair, float] = {}
        for action in task:
            if _tells_tokens(action):
                first.setdefault(_pair(action), action.at)

        def of_sessions(action: Action) -> bool:
            return (action.agent_id, action.session_id) in sessions

        def wanted(action: Action) -> bool:
            if action.agent_id not in agents:
                return False
            if begin - self._margin - FAR <= action.at <= end + self._margin or of_sessions(action):
                return True
            return _pair(action) in first and _tells_tokens(action)

        near, unread = self._around(begin, end, wanted, of_sessions, agents)
        history = self._before(first, [*task, *near], unread)
        earliest = min(began(action) for action in [*task, *near] if of_sessions(action)) - self._margin
        return history + [action for action in near if action.at >= earliest]

    def _around(
        self,
        begin: float,
        end: float,
        wanted: Callable[[Action], bool],
        carries_on: Callable[[Action], bool],
        agents: Iterable[str] = (),
    ) -> tuple[list[Action], list[Block]]:
        """Lines of that time and of the margin around it, some of further away, and the blocks that hold none.

        The time begins earlier if a line of the margin `carries_on`: a long session's, a task's that began before.
        """
        needles = _needles(agents)
        unread = self._blocks()
        taken: list[Action] = []
        while True:
            begin = min((began(action) for action in taken if carries_on(action)), default=begin)
            earliest, latest = begin - self._margin, end + self._margin
            near = [block for block in unread if block.latest >= earliest and block.earliest <= latest]
            if not near:
                return taken, unread
            unread = [block for block in unread if not (block.latest >= earliest and block.earliest <= latest)]
            for block in near:
                if len(taken) < MOST_BESIDE:
                    taken += [action for action in block.actions(*needles) if wanted(action)]

    def _before(self, first: dict[Pair, float], near: Iterable[Action], unread: Iterable[Block]) -> list[Action]:
        """The latest calls before the `first` of each action, as many as its average has."""
        samples: defaultdict[Pair, list[Action]] = defaultdict(list)

        def keep(actions: Iterable[Action]) -> None:
            for action in actions:
                if action.at < first.get(pair := _pair(action), 0.0) and _tells_tokens(action):
                    samples[pair].append(action)

        keep(near)
        wanting = set(first)
        for block in sorted(unread, key=lambda block: block.latest, reverse=True):
            # What is not read yet is older than that.
            wanting = {
                pair for pair in wanting if sum(action.at >= block.latest for action in samples[pair]) < self._window
            }
            if not wanting:
                break
            if block.earliest < max(first[pair] for pair in wanting):
                keep(block.actions(*_needles(agent for agent, _ in wanting)))
        return [
            action
            for found in samples.values()
            for action in sorted(found, key=lambda action: action.at)[-self._window :]
        ]

    def _blocks(self) -> list[Block]:
        return [block for log in self._logs for block in log.blocks()]


def _pair(action: Action) -> Pair:
    return action.agent_id, action.action


def _tells_tokens(action: Action) -> bool:
    tokens = action.tokens
    return tokens is not None and (tokens.prompt is not None or tokens.completion is not None)


def _needles(names: Iterable[str]) -> set[bytes]:
    """None if they are too many."""
    needles = {needle(name) for name in names}
    return needles if len(needles) <= FEW else set()


def _latest(ids: list[str]) -> set[str]:
    """The last that are named, MOST_TASKS at most."""
    return set(list(dict.fromkeys(reversed(ids)))[:MOST_TASKS])
