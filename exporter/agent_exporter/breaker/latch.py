"""Too many sessions to stop at once: a wrong ceiling or price, or forged lines, are likelier than so many runaways.

Beyond `max_terminations_per_minute` (5), or beyond `max_termination_share` (20 %) of at least `min_live_sessions` (20),
the breaker latches: from then on it only observes, even after restarts, until an operator unlatches it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_exporter.config import Breaker
    from agent_exporter.state import Row

ROW_KIND = "latch"
MINUTE = 60.0


class Latched(Struct, array_like=True):
    """The row. Times are seconds since 1970."""

    since: float
    why: str
    kills: list[float]


class Latch:
    """`since` is when it latched, seconds since 1970; 0 while it is open."""

    def __init__(self) -> None:
        self.since = 0.0
        self.why = ""
        self._kills: deque[float] = deque()
        self._dirty = False

    def admit(self, now: float, live: int, settings: Breaker) -> bool:
        """Count one more session to stop, of `live` ones. Latches and returns False if that is too many."""
        if self.since:
            return False
        while self._kills and now - self._kills[0] >= MINUTE:
            self._kills.popleft()
        kills = len(self._kills) + 1
        self._dirty = True
        if kills > settings.max_terminations_per_minute:
            self.since, self.why = now, f"{kills} sessions to be stopped within a minute"
        elif live >= settings.min_live_sessions and kills > settings.max_termination_share * live:
            self.since, self.why = now, f"{kills} of {live} live sessions to be stopped within a minute"
        else:
            self._kills.append(now)
            return True
        return False

    def close(self, now: float, why: str) -> None:
        """Latch for another reason."""
        self.since, self.why = now, why
        self._dirty = True

    def release(self) -> None:
        """End the latch."""
        self.since, self.why = 0.0, ""
        self._kills.clear()
        self._dirty = True

    def changes(self) -> Iterator[Row]:
        """Its row, if it changed."""
        if self._dirty:
            self._dirty = False
            yield ROW_KIND, "", msgspec.msgpack.encode(Latched(self.since, self.why, list(self._kills)))

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Restore from committed rows: whether a former run had latched, and whom it stopped in its last minute."""
        for key, value in rows:
            row = read(key, value)
            self.since, self.why = row.since, row.why
            self._kills.extend(row.kills)


def read(_: str, value: bytes) -> Latched:
    """The row."""
    return msgspec.msgpack.decode(value, type=Latched)
