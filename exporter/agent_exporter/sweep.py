"""When a table is swept: the entries that are over leave it, so that it has a bound without a clock.

A day of logs is read in a minute, and all but its last minutes is over by then. The clock cannot show that: for it, all
lines are a minute old. So tables of sessions and traces check their own entries once they hold SWEEP_FROM of them, and
again when the entries that are left have doubled. A sweep costs as much as the entries that came since the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

SWEEP_FROM = 4_096
"""Entries, some 10 MB of sessions: about those of 5 min of a day of a million."""


def sweep_threshold(most: int) -> int:
    """Size at which a table of at most `most` entries is swept first."""
    return min(SWEEP_FROM, most)


def sweep_target(most: int) -> int:
    """Number of finished entries to keep: a session or trace that was read last may go on."""
    return sweep_threshold(most) * 3 // 4


def next_threshold(left: int, most: int) -> int:
    """Size at which a table is swept next, if a sweep has left so many entries."""
    return sweep_threshold(most) if left <= sweep_target(most) else min(most, 2 * left)


def oldest_eighth(entries: Iterable[T], most: int, key: Callable[[T], Any]) -> list[T]:
    """What makes room in a full table of `most`: an eighth of it, the entries with the lowest `key`, in that order.

    Sorting so rarely costs less than keeping the table in order on every line.
    """
    return sorted(entries, key=key)[: most // 8]
