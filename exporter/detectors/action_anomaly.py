"""One call that takes far more tokens than this agent's calls of this action usually take.

    {"agent_id": "a", "action": "summarize", "tokens": {"prompt": 900, "completion": 100}, ...}      20 times and more
    {"agent_id": "a", "action": "summarize", "tokens": {"prompt": 2000, "completion": 100}, ...}     <- over 2 x 1,000

The average is that of the last 50 calls before it that told their tokens; below 20 there is none to speak of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import field

from exporter.detectors.reorder import BATCH, Stream
from exporter.state import row_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.action import Action
    from exporter.config import Anomaly
    from exporter.state import Row

KIND = "action_anomaly"
ROW = "window"
MOST = 8_192
"""Pairs of agent and action, up to 2 KB each; the least recently used go first, counted in `evictions`."""


class Window(Stream, eq=False, gc=False, array_like=True, kw_only=True):
    """The latest calls of one action by one agent."""

    agent_id: str
    action: str
    spent: list[int] = field(default_factory=list)
    """Tokens of the calls that wait."""
    who: list[tuple[str, str]] = field(default_factory=list)
    """(session, trace) of those."""
    tokens: list[int] = field(default_factory=list)
    """Of the calls that are averaged."""
    total: int = 0
    seen: float = 0.0
    """The clock when its newest line was read, or that line's time in a log of the past."""
    dirty: bool = False
    stored: bool = False
    """There is a row of it."""

    def sort(self, window: float) -> None:
        """By time, then by content."""
        came = sorted((self.times[index], self.spent[index], self.who[index]) for index in self.in_time(window))
        self.times[:] = [at for at, _, _ in came]
        self.spent[:] = [spent for _, spent, _ in came]
        self.who[:] = [who for _, _, who in came]


class Averages:
    """The rolling averages of all agents and actions; `found(agent_id, who, at, evidence)` is told of each anomaly."""

    def __init__(
        self,
        settings: Anomaly,
        found: Callable[[str, tuple[str, str], float, dict[str, Any]], None],
        reorder: float = 3.0,
        most: int = MOST,
    ) -> None:
        self.settings = settings
        self.reorder = reorder
        self.evictions = 0
        self._found = found
        self._most = most
        self._windows: dict[tuple[str, str], Window] = {}
        self._dirty: set[Window] = set()
        self._gone: list[str] = []

    def add(self, action: Action, at: float, who: tuple[str, str], now: float) -> None:
        """Take in a call that told its tokens; one without is unknown, not zero."""
        tokens = action.tokens
        assert tokens is not None
        prompt, completion = tokens.prompt, tokens.completion
        if prompt is None and completion is None:
            return
        window = self._windows.get((action.agent_id, action.action))
        if window is None:
            window = self._open(action.agent_id, action.action)
        window.seen = now
        if not window.dirty:
            window.dirty = True
            self._dirty.add(window)
        window.times.append(at)
        window.spent.append((prompt or 0) + (completion or 0))
        window.who.append(who)
        if len(window.times) >= window.due:
            self._compare(window)

    def tick(self, now: float) -> None:
        """Decide on what need wait no longer."""
        for window in self._windows.values():
            if window.times:
                self._compare(window, quiet=window.seen <= now - self.reorder)
                if not window.dirty:
                    window.dirty = True
                    self._dirty.add(window)

    def averages(self) -> Iterator[tuple[str, str, float]]:
        """(agent, action, mean) of those that changed since the last commit."""
        return (
            (window.agent_id, window.action, window.total / len(window.tokens))
            for window in self._dirty
            if window.tokens
        )

    def changes(self) -> Iterator[Row]:
        """Rows of the windows that changed."""
        for key in self._gone:
            yield ROW, key, None
        self._gone.clear()
        for window in self._dirty:
            window.dirty = False
            window.stored = True
            yield ROW, row_key(window.agent_id, window.action), msgspec.msgpack.encode(window)
        self._dirty.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up the windows of a former run."""
        decode = msgspec.msgpack.Decoder(Window).decode
        for _, value in rows:
            window = decode(value)
            window.dirty = False
            self._windows[window.agent_id, window.action] = window

    def _compare(self, window: Window, *, quiet: bool = False) -> None:
        settings = self.settings
        end = window.ready(self.reorder, quiet=quiet)
        window.due = len(window.times) - end + BATCH
        if end == 0:
            return
        tokens, total = window.tokens, window.total
        least, most, factor = settings.min_samples, settings.window, settings.factor
        for index, spent in enumerate(window.spent[:end]):
            count = len(tokens)
            if count >= least and spent * count > factor * total:
                evidence = {
                    "action": window.action,
                    "tokens": spent,
                    "rolling_average": round(total / count, 1),
                    "factor": factor,
                }
                self._found(window.agent_id, window.who[index], window.times[index], evidence)
            tokens.append(spent)
            total += spent
            while len(tokens) > most:
                total -= tokens.pop(0)
        window.total = total
        window.released = window.times[end - 1]
        del window.times[:end], window.spent[:end], window.who[:end]

    def _open(self, agent_id: str, action: str) -> Window:
        if len(self._windows) >= self._most:
            oldest = sorted(self._windows.items(), key=lambda item: item[1].seen)
            for name, window in oldest[: self._most // 8]:
                self._compare(window, quiet=True)
                self._dirty.discard(window)
                del self._windows[name]
                if window.stored:
                    self._gone.append(row_key(*name))
                self.evictions += 1
        window = self._windows[agent_id, action] = Window(agent_id=agent_id, action=action)
        return window
