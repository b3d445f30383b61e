"""The lines that steps keep until their fingerprints are known: within a bound, and none once they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_exporter.detectors.steps import Steps, Trace
    from agent_exporter.sessions import Session

MAX_HELD = 8 << 20
"""Bytes of lines kept for their fingerprints."""


class HeldLines:
    """Which sessions and traces hold lines; `held` of their steps says so, too."""

    def __init__(self) -> None:
        self.sessions: dict[Session, None] = {}
        self.traces: dict[Trace, None] = {}
        self.size = 0
        """Bytes of all lines, at most."""

    def trim(self) -> None:
        """Give up the lines of steps that can be part of no loop any more; if that is too little, give up all."""
        holding = self._trim()
        kept: dict[int, int] = {}
        for steps in holding:
            kept |= steps.lines()
        self.size = sum(kept.values())
        if self.size > MAX_HELD // 2:
            self._drop(holding)

    def give_up(self) -> None:
        """Replace all lines by their fingerprints."""
        self._drop(self._trim())

    def forget_session(self, session: Session) -> None:
        """The session is over. It may be forgotten next, so it must not be held here."""
        trail = session.trail
        if trail.held:
            trail.held = False
            del self.sessions[session]
            if not trail.shared:  # else its trace keeps the lines
                self.size -= sum(trail.lines().values())

    def forget_trace(self, trace: Trace) -> None:
        """The trace is about to be forgotten."""
        if trace.held:
            trace.held = False
            del self.traces[trace]

    def _trim(self) -> list[Steps]:
        holding = [*(session.trail for session in self.sessions), *self.traces]
        for steps in holding:
            steps.trim()
        return holding

    def _drop(self, holding: list[Steps]) -> None:
        for steps in holding:
            steps.drop_lines()
        self.sessions.clear()
        self.traces.clear()
        self.size = 0
