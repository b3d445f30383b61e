"""One call that takes far more tokens than this agent's calls of this action usually take.

    {"agent_id": "a", "action": "summarize", "tokens": {"prompt": 900, "completion": 100}, ...}      20 times and more
    {"agent_id": "a", "action": "summarize", "tokens": {"prompt": 2000, "completion": 100}, ...}     <- over 2 x 1,000

The average is over the last 50 earlier calls with tokens, and needs at least 20.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from agent_exporter.detectors.reorder import BATCH, Stream
from agent_exporter.state import row_key
from agent_exporter.sweep import oldest_eighth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.action import Action
    from agent_exporter.config import Anomaly
    from agent_exporter.state import Row

ROW_KIND = "window"
MAX_WINDOWS = 8_192
"""Pairs of agent and action, up to 2 KB each; the least recently used go first, counted in `evictions`."""


class Sample(Struct, frozen=True, gc=False, array_like=True):
    """The tokens of one call."""

    at: float
    tokens: int
    session_id: str
    trace: str


class Window(Stream[Sample], eq=False, gc=False, array_like=True, kw_only=True):
    """The latest calls of one action by one agent."""

    agent_id: str
    action: str
    tokens: list[int] = field(default_factory=list)
    total: int = 0
    seen: float = 0.0
    """The clock when its newest line was read, or that line's time in a past log."""
    dirty: bool = False
    stored: bool = False
    """There is a row of it."""


class Averages:
    """The rolling averages of all agents and actions. Calls `found(agent_id, sample, evidence)` for each anomaly."""

    def __init__(
        self,
        settings: Anomaly,
        found: Callable[[str, Sample, dict[str, Any]], None],
        reorder: float = 3.0,
        most: int = MAX_WINDOWS,
    ) -> None:
        self.settings = settings
        self.reorder = reorder
        self.evictions = 0
        self._found = found
        self._most = most
        self._windows: dict[tuple[str, str], Window] = {}
        self._dirty: set[Window] = set()
        self._gone: list[str] = []

    def add(self, action: Action, session_id: str, trace: str, now: float) -> None:
        """Take in a call with tokens; one without is unknown, not zero. `trace`: as its line names it."""
        tokens = action.tokens
        if tokens is None:
            return
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
        waiting = window.waiting
        at = action.at
        waiting.append(Sample(at if at < now else now, (prompt or 0) + (completion or 0), session_id, trace))
        if len(waiting) >= BATCH and window.due(self.reorder):
            self._compare(window, window.ready(self.reorder))

    def tick(self, now: float) -> None:
        """Process calls older than the reorder window."""
        for window in self._windows.values():
            if window.waiting:
                quiet = window.seen <= now - self.reorder
                ready = window.flush() if quiet else window.ready(self.reorder)
                if ready:
                    self._compare(window, ready)
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
            yield ROW_KIND, key, None
        self._gone.clear()
        for window in self._dirty:
            window.dirty = False
            window.stored = True
            yield ROW_KIND, key_of(window), msgspec.msgpack.encode(window)
        self._dirty.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up the windows of a former run."""
        decode = msgspec.msgpack.Decoder(Window).decode
        for _, value in rows:
            window = decode(value)
            window.dirty = False
            self._windows[window.agent_id, window.action] = window

    def _compare(self, window: Window, ready: Sequence[Sample]) -> None:
        settings = self.settings
        tokens = window.tokens
        for sample in ready:
            count = len(tokens)
            spent = sample.tokens
            if count >= settings.min_samples and spent * count > settings.factor * window.total:
                evidence = {
                    "action": window.action,
                    "tokens": spent,
                    "rolling_average": round(window.total / count, 1),
                    "factor": settings.factor,
                }
                self._found(window.agent_id, sample, evidence)
            tokens.append(spent)
            window.total += spent
            while len(tokens) > settings.window_size:
                window.total -= tokens.pop(0)

    def _open(self, agent_id: str, action: str) -> Window:
        if len(self._windows) >= self._most:
            for name, window in oldest_eighth(self._windows.items(), self._most, lambda item: item[1].seen):
                self._compare(window, window.flush())
                self._dirty.discard(window)
                del self._windows[name]
                if window.stored:
                    self._gone.append(row_key(*name))
                self.evictions += 1
        window = self._windows[agent_id, action] = Window(agent_id=agent_id, action=action)
        return window


def key_of(window: Window) -> str:
    """Of its row."""
    return row_key(window.agent_id, window.action)
