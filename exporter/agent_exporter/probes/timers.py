"""Tasks by name; each runs as long as its settings stay the same."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")
Name = tuple[str, str]
"""(agent, check or suite)."""

JITTER = 0.05
"""Share of an interval, up or down, to spread the requests; three of 60 s stay within 200 s."""


def jittered(seconds: float) -> float:
    """About so many seconds, at random."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311


class Timers(Generic[T]):
    """`watch(name, settings)` does the work for one name until cancelled. All of it on one event loop."""

    def __init__(self, watch: Callable[[Name, T], Coroutine[Any, Any, None]]) -> None:
        self._watch = watch
        self._running: dict[Name, tuple[T, asyncio.Task[None]]] = {}

    def configure(self, configured: Mapping[Name, T]) -> list[Name]:
        """Start new names, end removed ones, restart changed ones. Returns the names that ended."""
        ended = [name for name, (settings, _) in self._running.items() if configured.get(name) != settings]
        for name in ended:
            self._running.pop(name)[1].cancel()
        for name, settings in configured.items():
            if name not in self._running:
                task = asyncio.get_running_loop().create_task(self._watch(name, settings))
                self._running[name] = settings, task
        return ended
