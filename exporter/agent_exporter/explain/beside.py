"""The further lines that the detectors need to judge a task.

Findings of a task depend only on lines of its agents, and on few of these:

    around    what the task's sessions did before, in other tasks, back to a pause of their idle time; and what its
              agents did at that time, as a heartbeat counts for the session begun last
    before    as many calls of each agent's actions as the rolling average has

So blocks are read backwards from the task until both are found: all blocks if the log is out of order, or if an action
is rare.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from agent_exporter.config import BUILT_IN_TASK_TYPES
from agent_exporter.explain.log import merged
from agent_exporter.explain.names import needles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_exporter.action import Action
    from agent_exporter.config import Config
    from agent_exporter.explain.log import Block

FAR = 3600.0
"""Seconds before a task from which lines are kept, if a log out of order has them there."""
MAX_BESIDE = 50_000
"""Lines kept; only agents with thousands of actions a minute have more."""

Pair = tuple[str, str]
"""(agent_id, action)."""


class Surroundings:
    """Of any task in these blocks."""

    def __init__(self, blocks: Sequence[Block], config: Config) -> None:
        self._blocks = blocks
        self._window = config.detectors.action_anomaly.window_size
        self._config = config
        self._margin = self._margin_of({"default", *config.task_types} - BUILT_IN_TASK_TYPES.keys())
        """Seconds: a session continues after pauses up to its idle time, and may work until its `max_duration`."""

    def _margin_of(self, task_types: Iterable[str]) -> float:
        tasks = [self._config.task_type(name) for name in task_types]
        return max(float(task.idle_timeout) for task in tasks) + max(float(task.max_duration) for task in tasks)

    def of(self, task: list[Action]) -> list[Action]:
        """Finds the further lines that the detectors need."""
        named = {action.metadata.task_type for action in task if action.metadata}
        self._margin = max(self._margin, self._margin_of({name or "default" for name in named} or {"default"}))
        begin, end = min(action.began for action in task), task[-1].at
        agents = {action.agent_id for action in task}
        sessions = {(action.agent_id, action.session_id) for action in task}
        first: dict[Pair, float] = {}
        for action in task:
            if _tells_tokens(action):
                first.setdefault(_pair(action), action.at)

        def of_sessions(action: Action) -> bool:
            return (action.agent_id, action.session_id) in sessions

        def is_relevant(action: Action) -> bool:
            if action.agent_id not in agents:
                return False
            if begin - self._margin - FAR <= action.at <= end + self._margin or of_sessions(action):
                return True
            return _pair(action) in first and _tells_tokens(action)

        near, unread = self.around(begin, end, is_relevant, of_sessions, agents)
        history = self._before(first, [*task, *near], unread)
        earliest = min(action.began for action in [*task, *near] if of_sessions(action)) - self._margin
        return merged([action for action in near if action.at >= earliest], history)

    def around(
        self,
        begin: float,
        end: float,
        is_relevant: Callable[[Action], bool],
        carries_on: Callable[[Action], bool],
        agents: Iterable[str] = (),
    ) -> tuple[list[Action], list[Block]]:
        """Lines of that time and of the margin around it, a few from further away, and the blocks without such lines.

        The time begins earlier if a line of the margin `carries_on`: one of a long session, or of a task that began
        before.
        """
        looked_for = needles(agents)
        unread = list(self._blocks)
        taken: list[Action] = []
        while True:
            earliest, latest = begin - self._margin, end + self._margin
            near = [block for block in unread if block.latest >= earliest and block.earliest <= latest]
            if not near:
                return taken, unread
            unread = [block for block in unread if not (block.latest >= earliest and block.earliest <= latest)]
            for block in near:
                if len(taken) < MAX_BESIDE:
                    more = [action for action in block.actions(*looked_for) if is_relevant(action)]
                    begin = min([begin, *(action.began for action in more if carries_on(action))])
                    taken += more

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
            # Blocks that are not read yet are older than that.
            wanting = {
                pair for pair in wanting if sum(action.at >= block.latest for action in samples[pair]) < self._window
            }
            if not wanting:
                break
            if block.earliest < max(first[pair] for pair in wanting):
                keep(block.actions(*needles(agent for agent, _ in wanting)))
        return [
            action
            for found in samples.values()
            for action in sorted(found, key=lambda action: action.at)[-self._window :]
        ]


def _pair(action: Action) -> Pair:
    return action.agent_id, action.action


def _tells_tokens(action: Action) -> bool:
    tokens = action.tokens
    return tokens is not None and (tokens.prompt is not None or tokens.completion is not None)
