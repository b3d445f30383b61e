"""How far an agent's clock is from this one, measured on lines that are read as they are written.

    arrives   9:00:00   9:00:20   9:00:40        a line says 5 h less each time: its clock, or its zone, is off
    says      4:00:00   4:00:20   4:00:40        pace 1.0: the offset is -18,000 s

    arrives   9:00:00   9:00:20   9:00:40        a log of yesterday is read: a day goes by in a minute
    says      0:00:00   8:00:00  16:00:00        pace 1,440: nothing is known of the clock

The two differ in pace alone, whatever the source: files, a pipe, or a collector that catches up.
"""

from __future__ import annotations

from msgspec import Struct

READ = 1.0
"""Seconds of arrival over which the pace is taken, where lines are read from their file or pipe: ten looks at it."""
SENT = 30.0
"""The same of lines that are sent: a collector's batches of 5 s shift the pace by a third at most."""
SLOWEST, FASTEST = 0.5, 2.0
"""Paces between which lines count as read while they are written."""


class ClockOffset(Struct, gc=False):
    """One agent's. Times are seconds since 1970."""

    offset: float | None = None
    """Seconds; negative if the agent's clock is behind. None while it is not known."""
    due: float = 0.0
    """The clock from which on `observe` does something; before, the caller may spare the call."""
    _arrived: float = 0.0
    _at: float = 0.0

    def observe(self, at: float, now: float, window: float) -> bool:
        """Take in the time of a line that arrives now. True if a window has ended, and `offset` is set anew.

        The next window takes `window` seconds: READ or SENT.
        """
        if now < self.due:
            return False
        measured = self.due > 0
        if measured:
            pace = (at - self._at) / (now - self._arrived)
            self.offset = at - now if SLOWEST <= pace <= FASTEST else None
        self._arrived, self._at, self.due = now, at, now + window
        return measured
