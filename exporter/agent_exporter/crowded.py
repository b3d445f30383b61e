"""When a table is looked through for what is over, so that it has a bound without a clock.

A day of logs that is read in a minute is over but for its last minutes, and the clock cannot tell: to it, all was read
just now. So tables of sessions and traces ask their own entries, once there are CROWDED of them, and again when those
that are left have doubled: a look costs as much as the entries that came since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

CROWDED = 4_096
"""Entries, some 10 MB of sessions: about those of 5 min of a day of a million."""


def first_look(most: int) -> int:
    """At how many entries a table of `most` is looked through."""
    return min(CROWDED, most)


def enough(most: int) -> int:
    """How many entries may stay in it that are over: what was read last may yet go on."""
    return first_look(most) * 3 // 4


def next_look(left: int, most: int) -> int:
    """At how many it is looked through again, now that it has been, and so many were left."""
    return first_look(most) if left <= enough(most) else min(most, 2 * left)


def eighth(entries: Iterable[T], most: int, key: Callable[[T], Any]) -> list[T]:
    """What makes room in a full table of `most`: an eighth of it, the entries with the lowest `key`, in that order.

    Sorting so rarely costs less than keeping the table in order on every line.
    """
    return sorted(entries, key=key)[: most // 8]
