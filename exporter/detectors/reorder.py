"""The reorder buffer: what depends on order waits until nothing earlier can come any more.

    arrives        at 10.0   at 12.0   at 11.0   at 14.5
    is ready                                     10.0, 11.0      a window of 3 s: nothing before 11.5 is waited for

A stream is a session, a trace, or the calls of one action by one agent. Each has a watermark of its own: one agent
whose clock is ahead makes nobody else late. Equal times are put in order by content, so every order of arrival within
the window gives one order of release.

Most lines come in order. So an item is put in by appending to columns of its stream, and those are looked at a few at a
time: what came out of order is sorted then.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from msgspec import Struct

BATCH = 16
"""Items that come before it is looked at them. More would be cheaper to look at, and dearer to keep in the cache."""


class Stream(Struct, eq=False, gc=False, array_like=True, kw_only=True):
    """Columns of items; those from `past` on wait, in the order in which they came."""

    times: list[float] = []
    past: int = 0
    due: int = BATCH
    """How many items there are to be before it is looked at them again."""
    newest: float = 0.0
    """The watermark. A line that claims to be of the future is of now, so it never runs ahead of the clock."""
    released: float = 0.0
    """Time of the item released last."""

    def ready(self, window: float, *, quiet: bool = False) -> int:
        """Put in order what waits. Up to this index it need wait no longer: nothing earlier comes within `window`.

        All of it, when the stream has gone `quiet`.
        """
        times, past = self.times, self.past
        waiting = times[past:] if past else times
        if not waiting:
            return past
        if waiting[0] <= self.released or waiting != sorted(set(waiting)):
            self.sort(window)
            if len(times) == past:
                return past
        if times[-1] > self.newest:
            self.newest = times[-1]
        return bisect_left(times, inf if quiet else self.newest - window, past)

    def sort(self, window: float) -> None:
        """Put the columns in order, in place: some that wait came out of order, at the same time, or too late."""
        raise NotImplementedError

    def in_time(self, window: float) -> list[int]:
        """The indices of what waits, but for what came too late: `window` after the newest before it, or more.

        So it does not matter when the stream was looked at; but what came after it had gone quiet must be newer, too.
        """
        newest, kept = self.newest, []
        for index in range(self.past, len(self.times)):
            at = self.times[index]
            if at > newest:
                newest = at
            if at >= newest - window and at >= self.released:
                kept.append(index)
        return kept

    def is_late(self, at: float, window: float) -> bool:
        """Whether what comes now, with that time, comes too late."""
        return at < max(self.released, max(self.times, default=0.0) - window, self.newest - window)
