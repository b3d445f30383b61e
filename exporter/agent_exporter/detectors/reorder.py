"""The reorder buffer: what depends on order waits until nothing earlier can come any more.

    arrives        at 10.0   at 12.0   at 11.0   at 14.5
    is ready                                     10.0, 11.0      a window of 3 s: nothing before 11.5 is waited for

A stream is a session, a trace, or the calls of one action by one agent. Each has a watermark of its own: an agent whose
clock is ahead makes nobody else late. Equal times are put in order by content, so every order of arrival within the
window gives one order of release.

Putting an item in is `waiting.append`: most lines come in order, and are looked at BATCH at a time or when a second has
passed. That costs a third of keeping the buffer in order on every line. A busy stream is looked at when half of it is
`due`: a window of 3 s holds thousands of lines then, and to look at all of them for each new one costs a millisecond.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import lt
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 16
"""Items that wait before they are looked at without being asked to."""
CROWD = 4096
"""Items after which they are looked at whatever their times are: one that claims to be later may hide that."""


class Item(Protocol):
    """What can wait: ordered by time, then by content."""

    @property
    def at(self) -> float:
        """Seconds since 1970."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Item)


class Stream(Struct, Generic[T], eq=False, gc=False, array_like=True, kw_only=True):
    """Items that are not released yet."""

    waiting: list[T] = []
    newest: float = 0.0
    """The watermark. A line that claims to be of the future is of now, so it never runs ahead of the clock."""
    released: float = 0.0
    """Time of the item released last: what comes with an earlier one comes too late, and is passed over."""

    def due(self, window: float) -> bool:
        """Whether a look pays. Asked once BATCH items wait, after each that is put in."""
        waiting = self.waiting
        return waiting[-1].at - waiting[0].at > 2 * window or len(waiting) % CROWD == 0

    def ready(self, window: float) -> Sequence[T]:
        """Take out, in order, what need wait no longer."""
        waiting = self.waiting
        if not waiting:
            return ()
        times = [item.at for item in waiting]
        if not all(map(lt, times, times[1:])):  # some came out of order, or at the same time
            waiting.sort()
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
        """Take out all: the stream has gone quiet, or is at its end."""
        return self.ready(float("-inf"))
