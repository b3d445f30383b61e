"""Retries: exponential backoff with a cap and full jitter.

    for attempt in session.attempts("web_search", input={"query": "pods"}, max_retries=3):
        with attempt as a:
            a.output = search("pods")

Every attempt is an action with its `retry_count`. The first attempt without an error ends the loop.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from agentlog import record, settings
from agentlog.errors import BudgetExceeded, RetriesExhausted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from agentlog.action import Action
    from agentlog.clock import Clock

# Not `random` itself: agents may have seeded it, and would then all wait equally long.
_uniform = random.SystemRandom().uniform


class Attempt:
    """One attempt; use it with `with` or `async with`."""

    def __init__(self, action: Action, attempts: Attempts) -> None:
        self._action = action
        self._attempts = attempts

    def __enter__(self) -> Action:
        return self._action.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._action.__exit__(kind, error, trace)
        return self._attempts.note(self._action, error)

    async def __aenter__(self) -> Action:
        return await self._action.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            await self._action.__aexit__(kind, error, trace)
        except (TimeoutError, asyncio.TimeoutError) as timeout:  # the cancellation is a timeout now
            return self._attempts.note(self._action, timeout)
        return self._attempts.note(self._action, error)


class Attempts:
    """The loop."""

    def __init__(
        self,
        action: Callable[[], Action],
        clock: Clock,
        max_retries: float,
        base: float,
        cap: float,
        retry_on: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        self._action = action
        self._clock = clock
        self._max_retries = settings.number(max_retries, "max_retries", 0)
        self._base = settings.number(base, "base", 0)
        self._cap = settings.number(cap, "cap", 0)
        try:
            isinstance(None, retry_on)
        except TypeError:
            raise TypeError(f"retry_on must be classes of exceptions, not {record.described(retry_on)}") from None
        self._retry_on = retry_on
        self._failed = 0
        self._done = False

    def __iter__(self) -> Iterator[Attempt]:
        while not self._done:
            if self._failed:
                self._clock.sleep(self._pause())
            yield self._next()

    async def __aiter__(self) -> AsyncIterator[Attempt]:
        while not self._done:
            if self._failed:
                await self._clock.asleep(self._pause())
            yield self._next()

    def _next(self) -> Attempt:
        self._done = True  # unless it fails
        action = self._action()
        action.retried(self._failed)
        return Attempt(action, self)

    def _pause(self) -> float:
        """Seconds to wait. The exponent stops at 60, far beyond any cap, as larger ones overflow."""
        return _uniform(0.0, min(self._cap, self._base * 2.0 ** min(self._failed - 1, 60)))

    def note(self, action: Action, error: BaseException | None) -> bool:
        """An attempt is over. Returns True if the loop tries again after its error."""
        if (
            error is None
            or not isinstance(error, self._retry_on)
            or isinstance(error, (BudgetExceeded, RetriesExhausted))
        ):
            return False
        if self._failed >= self._max_retries:
            raise RetriesExhausted(f"{action.name} failed {self._failed + 1} times: {type(error).__name__}") from error
        self._failed += 1
        self._done = False
        return True
