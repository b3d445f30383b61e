"""The reorder buffer: items wait until no earlier one can come any more.

    arrives        at 10.0   at 12.0   at 11.0   at 14.5
    is ready                                     10.0, 11.0      a window of 3 s: items before 11.5 are ready

A stream is a session, a trace, or the calls of one action by one agent. Each has its own watermark, so an agent whose
clock is ahead delays no other. Items of the same time stay in the order in which they arrived: where times have whole
seconds only, that order alone says what came first.

`waiting.append` adds an item: most lines come in order, and are processed BATCH at a time or after a second. That costs
a third of sorting on every line. A busy stream is processed when half of it is `due`: then a window of 3 s holds
thousands of lines, and to go through them for each new one takes a millisecond.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter, le
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 16
"""Items that wait before a look is worth while."""
CROWD = 4096
"""Items after which a look is due in any case: one item with a late time may hide that others are ready."""


class Item(Protocol):
    """An item: ordered by its time."""

    @property
    def at(self) -> float:
        """Seconds since 1970."""


_time = attrgetter("at")


T = TypeVar("T", bound=Item)


class Stream(Struct, Generic[T], eq=False, gc=False, array_like=True, kw_only=True):
    """Items that are not released yet."""

    waiting: list[T] = []
    newest: float = 0.0
    """The watermark. Future times are treated as now, so it is never ahead of the clock."""
    released: float = 0.0
    """Time of the last released item. Earlier items come too late and are skipped."""

    def due(self, window: float) -> bool:
        """Whether a look is worth while. Called after each new item once BATCH items wait."""
        waiting = self.waiting
        return waiting[-1].at - waiting[0].at > 2 * window or len(waiting) % CROWD == 0

    def ready(self, window: float) -> Sequence[T]:
        """Take out the items that are older than the window, in order."""
        waiting = self.waiting
        if not waiting:
            return ()
        times = [item.at for item in waiting]
        if not all(map(le, times, times[1:])):  # some are out of order
            waiting.sort(key=_time)  # stable
            times.sort()
        if times[-1] > self.newest:
            self.newest = times[-1]
        late = bisect_left(times, self.released)
        end = bisect_left(times, self.newest - window)
        if end <= late:
            del waiting[:late]
            return ()
        items = waiting[late:end]
        del waiting[:end]
        self.released = times[end - 1]
        return items

    def flush(self) -> Sequence[T]:
        """Take out all items: the stream is quiet, or at its end."""
        return self.ready(float("-inf"))
