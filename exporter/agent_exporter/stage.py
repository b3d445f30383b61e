"""A stage takes in one action after another. A Chain is the stages in order, after the sessions.

    Action  ->  sessions  ->  Action and Session  ->  each stage in turn

`run`, `replay` and `backtest` use the same chain; `explain` makes one of the stages that it shows (`explain.evidence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.action import HEARTBEAT
from agent_exporter.clocks import READ

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_exporter.action import Action
    from agent_exporter.lines import Origin
    from agent_exporter.sessions import Session, Sessions
    from agent_exporter.sources import Source
    from agent_exporter.state import Row, Store


class Reading:
    """How the current line was read. One object serves all lines of a batch, so a stage must not keep it."""

    __slots__ = ("arrived", "caught_up", "live", "now", "number", "source", "window")

    def __init__(self, source: Source | None = None, *, live: bool = False) -> None:
        self.source = source
        self.number = 0
        """The line's place in its batch."""
        self.live = live
        """Whether lines are read as they are written, as far as known: the log is not finished, nor far behind."""
        self.caught_up = False
        """Whether lines are read as they arrive: the source has been read to its end before, or an old log is read in
        the order of its times.
        """
        self.now = 0.0
        """The clock, seconds since 1970; in an old log the time of its newest line."""
        self.arrived = 0.0
        """The clock. In an old log no clock runs: there it is `now` if the log is read in the order of its times, else
        a number below 0 that grows with every batch.
        """
        self.window = READ
        """Seconds over which the clocks of the source's agents are measured."""

    @property
    def origin(self) -> Origin:
        """Where the line came from."""
        assert self.source is not None
        return self.source.origin(self.number)


class Stage:
    """The methods of a stage. Each stage overrides those that it needs; the defaults do nothing.

    The pipeline's thread calls all of them. The rows of all stages are written in one transaction, so after a restart
    all stages have taken in the same lines.
    """

    inactive: bool = False
    """Whether it ignores all lines now."""

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:
        """An action other than a heartbeat; the session includes it already."""

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """A heartbeat, and the session that it keeps alive, if there is one."""

    def on_written_twice(self, action: Action, reading: Reading) -> None:
        """A record that the log has twice: it counts as a line, but not for findings."""

    def on_duplicate(self, action: Action, reading: Reading) -> None:
        """A record that an OTLP sender delivers again: it does not count."""

    def tick(self, now: float) -> None:
        """Close, decide or forget what has waited long enough. Called about once a second; `now` is the clock."""

    def thin(self, newest: float) -> None:
        """Forget what is surely over. Called every few thousand lines of an old log, where no clock runs."""

    def finish(self, newest: float) -> None:
        """The log has ended: decide what waits for more lines. `newest` is the time of the newest line."""

    def close(self) -> None:
        """The process ends: pass on what is held back."""

    def restore(self, store: Store, now: float) -> None:
        """Restore from committed rows. Called once, from the first stage to the last."""

    def changes(self) -> Iterable[Row]:
        """The rows that changed since the last call, for the next commit. Called from the last stage to the first."""
        return ()

    def committed(self) -> bool:
        """The rows are on disk. Returns True if that leads to more changes, which are then committed at once."""
        return False

    def evicted(self) -> Iterable[tuple[str, int]]:
        """(table, entries evicted since the start) of each bounded table."""
        return ()


class Chain:
    """The stages in the order in which they take in an action; `sessions` is one of them, and finds its session."""

    def __init__(self, sessions: Sessions, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self._sessions = sessions
        self._inactive: list[bool] | None = None
        self.wake()

    def wake(self) -> None:
        """Check which stages are inactive. Called before each batch."""
        inactive = [stage.inactive for stage in self.stages]
        if inactive != self._inactive:
            self._inactive = inactive
            at_work = [stage for stage in self.stages if not stage.inactive]
            self._actions = [stage.on_action for stage in at_work if _overrides(stage, "on_action")]
            self._heartbeats = [stage.on_heartbeat for stage in at_work if _overrides(stage, "on_heartbeat")]
            self._written_twice = [stage.on_written_twice for stage in at_work if _overrides(stage, "on_written_twice")]
            self._duplicates = [stage.on_duplicate for stage in at_work if _overrides(stage, "on_duplicate")]

    def take(self, action: Action, reading: Reading) -> None:
        """Pass an action to the stages."""
        if action.action == HEARTBEAT:
            beating = self._sessions.heartbeat(action)
            for on_heartbeat in self._heartbeats:
                on_heartbeat(action, beating, reading)
            return
        session = self._sessions.add(action, reading.arrived)
        if session is None:
            for on_written_twice in self._written_twice:
                on_written_twice(action, reading)
            return
        for on_action in self._actions:
            on_action(action, session, reading)

    def duplicate(self, action: Action, reading: Reading) -> None:
        """Pass on a record that was delivered before."""
        for on_duplicate in self._duplicates:
            on_duplicate(action, reading)

    def tick(self, now: float) -> None:
        """Call `tick` of all stages, about once a second."""
        for stage in self.stages:
            stage.tick(now)

    def thin(self, newest: float) -> None:
        """Call `thin` of all stages, to keep a long log within bounds."""
        for stage in self.stages:
            stage.thin(newest)

    def finish(self, newest: float) -> None:
        """The end of an old log: finish and close all stages."""
        for stage in reversed(self.stages):  # the detectors finish before their sessions are closed
            stage.finish(newest)
        self.close()

    def close(self) -> None:
        """The end of the process."""
        for stage in self.stages:
            stage.close()


def _overrides(stage: Stage, name: str) -> bool:
    return getattr(type(stage), name) is not getattr(Stage, name)
