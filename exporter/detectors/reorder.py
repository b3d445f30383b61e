"""The reorder buffer: what depends on order waits until nothing earlier can come any more.

    arrives        at 10.0   at 12.0   at 11.0   at 14.5
    is released                                  10.0, 11.0      a window of 3 s: nothing before 11.5 is waited for

A stream is a session, a trace, or the calls of one action by one agent. Each has a watermark of its own: one agent whose
clock is ahead makes nobody else late. Equal times are put in order by content, so every order of arrival within the
window gives one order of release.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Item(Protocol):
    """What can wait."""

    @property
    def at(self) -> float:
        """Seconds since 1970."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Item)


class Stream(Struct, Generic[T], eq=False, gc=False, array_like=True, kw_only=True):
    """Items in order of time that are not released yet."""

    waiting: list[T] = []
    newest: float = 0.0
    """The watermark."""
    released: float = 0.0
    """Time of the item released last: what comes with an earlier one comes too late, and is passed over."""

    def put(self, item: T, now: float, window: float) -> Sequence[T]:
        """Add an item; return those that need wait no longer. The watermark never runs ahead of `now`."""
        at = item.at
        waiting = self.waiting
        if waiting and at <= waiting[-1].at:
            if at < self.released:
                return ()
            insort(waiting, item)
        elif at < self.released:
            return ()
        else:
            waiting.append(item)
        if at > self.newest:
            self.newest = at if at < now else now
        limit = self.newest - window
        if waiting[0].at >= limit:
            return ()
        ready = 1
        while ready < len(waiting) and waiting[ready].at < limit:
            ready += 1
        return self._release(ready)

    def flush(self) -> Sequence[T]:
        """Release all: the stream has gone quiet, or is at its end."""
        return self._release(len(self.waiting)) if self.waiting else ()

    def _release(self, ready: int) -> Sequence[T]:
        items = self.waiting[:ready]
        del self.waiting[:ready]
        self.released = items[-1].at
        return items
