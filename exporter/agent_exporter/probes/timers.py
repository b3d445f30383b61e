"""Tasks by name, each for as long as the config wants it as it is."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")
Name = tuple[str, str]
"""Agent, and check or suite."""

JITTER = 0.05
"""Share of an interval, up or down, so that agents are not all asked in one moment; three of 60 s stay within 200 s."""


def jittered(seconds: float) -> float:
    """About so many seconds."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311


class Timers(Generic[T]):
    """`watch` does the work for one name and its settings, until cancelled. All of it on one loop."""

    def __init__(self, watch: Callable[[Name, T], Coroutine[Any, Any, None]]) -> None:
        self._watch = watch
        self._running: dict[Name, tuple[T, asyncio.Task[None]]] = {}

    def configure(self, configured: Mapping[Name, T]) -> list[Name]:
        """Begin what is new, end what is gone, both if it has changed. Returns the names of what ended."""
        ended = [name for name, (settings, _) in self._running.items() if configured.get(name) != settings]
        for name in ended:
            self._running.pop(name)[1].cancel()
        for name, settings in configured.items():
            if name not in self._running:
                task = asyncio.get_running_loop().create_task(self._watch(name, settings))
                self._running[name] = settings, task
        return ended
