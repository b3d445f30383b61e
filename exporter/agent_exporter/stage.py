"""A stage takes in what is read, one action after another; a Chain is the stages in order, behind the sessions.

    Action  ->  sessions  ->  Action and Session  ->  each stage in turn

`run`, `replay` and `explain` hand on what they read through the same chain.
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
    """How the line at hand was read. One object serves all lines of a batch: a stage keeps nothing of it."""

    __slots__ = ("arrived", "caught_up", "live", "now", "number", "source", "window")

    def __init__(self, source: Source | None = None, *, live: bool = False) -> None:
        self.source = source
        self.number = 0
        """The line's place in its batch."""
        self.live = live
        """Lines are read as they are written, as far as is known: the log is not finished, and not far behind."""
        self.caught_up = False
        """Lines are read as they arrive: the source had nothing more to read at some time before, or a log of the past
        is read in the order of its times.
        """
        self.now = 0.0
        """The clock, seconds since 1970; in a log of the past the time of its newest line."""
        self.arrived = 0.0
        """The clock. In a log of the past none runs: there it is `now` if the log is read in the order of its times,
        else a number below 0 that grows with every batch.
        """
        self.window = READ
        """Seconds over which the clocks of the source's agents are measured."""

    @property
    def origin(self) -> Origin:
        """Who wrote the line."""
        assert self.source is not None
        return self.source.origin(self.number)


class Stage:
    """What a stage does with what is read. Each overrides what concerns it; the rest does nothing.

    All of it happens in the pipeline's thread. Rows are written together with those of all other stages, in one
    transaction, so that after a restart all of them have taken in the same lines.
    """

    inactive: bool = False
    """Nothing that is read concerns it now."""

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:
        """An action other than a heartbeat. The session has taken it in already."""

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """A heartbeat, and the session that it is a sign of life of, if there is one."""

    def on_written_twice(self, action: Action, reading: Reading) -> None:
        """The same record stands twice in the log: it counts, but is not evidence for a finding."""

    def on_duplicate(self, action: Action, reading: Reading) -> None:
        """The same record, delivered again by an OTLP sender: it counts nowhere."""

    def tick(self, now: float) -> None:
        """The time is `now`: close, decide on or forget what has waited long enough. Called about once a second."""

    def thin(self, newest: float) -> None:
        """Some thousand lines of a log of the past were read, where no clock runs: let go of what is surely over."""

    def finish(self, newest: float) -> None:
        """The log has ended: decide on what waits for more lines. `newest` is the time of the newest one."""

    def close(self) -> None:
        """The process ends: give out what is held back."""

    def restore(self, store: Store, now: float) -> None:
        """Take up what a former run committed. Called once, from the first stage to the last."""

    def changes(self) -> Iterable[Row]:
        """The rows that changed since the last call, for the next commit. Called from the last stage to the first."""
        return ()

    def committed(self) -> bool:
        """The rows are on disk. True if that leads to more changes, which are then committed at once."""
        return False

    def evicted(self) -> Iterable[tuple[str, int]]:
        """(table, how many entries were forgotten to keep within its bound) of each table, since the start."""
        return ()


class Chain:
    """The stages in the order in which they take in an action; `sessions` says whose it is, and is one of them."""

    def __init__(self, sessions: Sessions, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self._sessions = sessions
        self._inactive: list[bool] | None = None
        self.wake()

    def wake(self) -> None:
        """Look again at which stages are inactive. Called before each batch."""
        inactive = [stage.inactive for stage in self.stages]
        if inactive != self._inactive:
            self._inactive = inactive
            at_work = [stage for stage in self.stages if not stage.inactive]
            self._actions = [stage.on_action for stage in at_work if _overrides(stage, "on_action")]
            self._heartbeats = [stage.on_heartbeat for stage in at_work if _overrides(stage, "on_heartbeat")]
            self._written_twice = [stage.on_written_twice for stage in at_work if _overrides(stage, "on_written_twice")]
            self._duplicates = [stage.on_duplicate for stage in at_work if _overrides(stage, "on_duplicate")]

    def take(self, action: Action, reading: Reading) -> None:
        """Hand on an action that counts."""
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
        """Hand on a record that was delivered before."""
        for on_duplicate in self._duplicates:
            on_duplicate(action, reading)

    def tick(self, now: float) -> None:
        """What a clock does about once a second."""
        for stage in self.stages:
            stage.tick(now)

    def thin(self, newest: float) -> None:
        """What keeps a long log of the past within bounds."""
        for stage in self.stages:
            stage.thin(newest)

    def finish(self, newest: float) -> None:
        """The end of a log of the past: all is decided, and the rest is given out."""
        for stage in reversed(self.stages):  # detectors before the sessions that they decide on are closed
            stage.finish(newest)
        self.close()

    def close(self) -> None:
        """The end of the process."""
        for stage in self.stages:
            stage.close()


def _overrides(stage: Stage, name: str) -> bool:
    return getattr(type(stage), name) is not getattr(Stage, name)
