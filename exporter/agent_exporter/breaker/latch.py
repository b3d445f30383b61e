"""Too many sessions to stop at once: a wrong ceiling or price, or made-up sessions, are likelier than so many runaways.

Beyond `max_terminations_per_minute` (5) of one agent, or beyond `max_termination_share` (20 %) of its live sessions if
those are at least `min_live_sessions` (20), the breaker latches for that agent: from then on it only observes it, even
after restarts, until an operator unlatches it. So an agent that makes up sessions protects only its own.

Above that, the breaker latches for all agents beyond `max_terminations_per_minute_overall` (twice the limit of one), or
beyond the same share of all live sessions. The agent with the most stops does not count towards that share: it has a
limit of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_exporter.config import Breaker
    from agent_exporter.state import Row

ROW_KIND = "latch"
MINUTE = 60.0
OVERALL = ""
"""Key of the latch for all agents."""
MAX_LATCHED = 10_000
"""Latches of agents held; if more agents have been latched, the breaker latches for all."""


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
        self.kills: deque[float] = deque()
        """When it let a session be stopped in the last minute."""

    def recent(self, now: float) -> int:
        """How many sessions it let be stopped in the last minute."""
        while self.kills and now - self.kills[0] >= MINUTE:
            self.kills.popleft()
        return len(self.kills)

    def close(self, now: float, why: str) -> None:
        """Latch."""
        self.since, self.why = now, why


class Latches:
    """One latch per agent, by its name, and one for all agents."""

    def __init__(self) -> None:
        self.overall = Latch()
        self._of: dict[str, Latch] = {}
        self._dirty: set[str] = set()

    def why(self, agent_id: str) -> str | None:
        """Why no session of this agent is stopped; None if it is not latched."""
        if self.overall.since:
            return f"latched: {self.overall.why}"
        latch = self._of.get(agent_id)
        return f"latched for this agent: {latch.why}" if latch is not None and latch.since else None

    @property
    def agents(self) -> dict[str, Latch]:
        """Those of agents that are latched, by name."""
        return {name: latch for name, latch in list(self._of.items()) if latch.since}

    def shown(self) -> list[tuple[str, str]]:
        """(agent, or "" for all agents; why) of the latches that are closed."""
        overall = [(OVERALL, self.overall.why)] if self.overall.since else []
        return overall + sorted((name, latch.why) for name, latch in self.agents.items())

    def admit(self, agent_id: str, now: float, live: Mapping[str, int], settings: Breaker) -> bool:
        """Count one more session to stop. `live` is the number of live sessions of each agent.

        Latches and returns False if that is too many.
        """
        if self.why(agent_id) is not None:
            return False
        self._forget(now)
        recent = Counter({name: latch.recent(now) for name, latch in self._of.items()})
        recent[agent_id] += 1
        self._dirty |= {agent_id, OVERALL}
        mine = recent[agent_id]
        whole = recent.total()
        beside = whole - max(recent.values())
        overall = settings.max_terminations_per_minute_overall or 2 * settings.max_terminations_per_minute
        if why := _too_many(mine, live.get(agent_id, 0), settings.max_terminations_per_minute, settings):
            self._latch(agent_id).close(now, f"{mine} {why}")
        elif whole > overall:
            self.overall.close(now, f"{whole} sessions to be stopped within a minute")
        elif why := _too_many(beside, sum(live.values()), overall, settings):
            self.overall.close(now, f"{whole} {why}")
        else:
            self._latch(agent_id).kills.append(now)
            return True
        return False

    def close(self, now: float, why: str) -> None:
        """Latch for all agents."""
        self.overall.close(now, why)
        self._dirty.add(OVERALL)

    def release(self, agent_id: str | None = None) -> list[tuple[str, str]]:
        """End the latch of an agent, or all of them. Returns what ended: (agent, or "" for all agents; why)."""
        ended = [(name, latch.why) for name, latch in self.agents.items() if agent_id in {None, name}]
        for name, _ in ended:
            del self._of[name]
            self._dirty.add(name)
        if agent_id is None:
            if self.overall.since:
                ended.insert(0, (OVERALL, self.overall.why))
            self._dirty |= {OVERALL, *self._of}
            self.overall = Latch()
            self._of.clear()
        return ended

    def changes(self) -> Iterator[Row]:
        """Rows that changed."""
        dirty, self._dirty = self._dirty, set()
        for name in sorted(dirty):
            latch = self.overall if name == OVERALL else self._of.get(name)
            value = None
            if latch is not None:
                value = msgspec.msgpack.encode(Latched(latch.since, latch.why, list(latch.kills)))
            yield ROW_KIND, name, value

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Restore from committed rows: whether a former run had latched, and whom it stopped in its last minute."""
        for name, value in rows:
            row = read(name, value)
            latch = self.overall if name == OVERALL else self._latch(name)
            latch.since, latch.why = row.since, row.why
            latch.kills.extend(row.kills)

    def _latch(self, agent_id: str) -> Latch:
        return self._of.setdefault(agent_id, Latch())

    def _forget(self, now: float) -> None:
        for name, latch in list(self._of.items()):
            if not latch.recent(now) and not latch.since:
                del self._of[name]
                self._dirty.add(name)
        if len(self._of) >= MAX_LATCHED:
            self.close(now, f"{len(self._of):,} agents are latched")


def _too_many(kills: int, live: int, most: int, settings: Breaker) -> str | None:
    """Why so many of so many live sessions are too many."""
    if kills > most:
        return "sessions to be stopped within a minute"
    if live >= settings.min_live_sessions and kills > settings.max_termination_share * live:
        return f"of {live} live sessions to be stopped within a minute"
    return None


def read(_: str, value: bytes) -> Latched:
    """The row."""
    return msgspec.msgpack.decode(value, type=Latched)
