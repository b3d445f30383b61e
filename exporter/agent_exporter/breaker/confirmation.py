"""Whether sessions that were told to stop did: their end, or quiet, confirms it; one that still logs pages.

    called -> confirmed      its end was read, or it was quiet for `confirm_after` (10 s)
           -> unconfirmed    it still logs `termination_grace_period` (30 s) after the call was taken
    confirmed -> called      it was only quiet, and goes on

`late` are the intents of sessions that still log although they were to stop, those that could not be told among them.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.breaker.intent import Intent
    from agent_exporter.breaker.intents import Intents
    from agent_exporter.config import Breaker
    from agent_exporter.sessions import Session, Sessions

log = logging.getLogger(__name__)

ENDED = "its end is in the log"


class Confirmation:
    """`show` is told of an agent how many of its sessions are late: (agent_id, number, now). `now` is the clock."""

    def __init__(
        self, intents: Intents, sessions: Sessions, settings: Breaker, show: Callable[[str, int, float], None]
    ) -> None:
        self.settings = settings
        self.late: dict[str, Intent] = {}
        self._intents = intents
        self._sessions = sessions
        self._show = show
        self._shown: Counter[str] = Counter()

    def line(self, mine: Intent, at: float, session: Session, now: float) -> None:
        """A line of a session that was told to stop; `at` is its own time."""
        if mine.status == "unconfirmed":
            self.late[mine.key] = mine
            return
        settings = self.settings
        mine.last = now
        self._intents.touch(mine)
        # By its own time, as lines from before the call may come late; a clock that lags must not hide it for ever.
        on = at - mine.called
        if (
            on <= settings.termination_grace_period
            and now - mine.called > settings.termination_grace_period + settings.max_line_age
        ):
            on = now - mine.called
        if session.attested_end:
            if mine.status == "called":
                self.confirm(mine, ENDED, now)
        elif on > settings.termination_grace_period:
            self._intents.change(mine, "unconfirmed", f"it still logs {on:.0f} s after it was told", now)
            self.late[mine.key] = mine
            log.error("session %s of %s was told to stop and still logs", mine.session_id, mine.agent_id)
        elif on > 0 and mine.status == "confirmed":  # quiet for a while was not the end
            mine.status = "called"

    def confirm(self, mine: Intent, why: str, now: float) -> None:
        """It has stopped, perhaps before it could be told."""
        self.late.pop(mine.key, None)
        self._intents.change(mine, "confirmed", why if mine.called else f"{why}, though no call was taken", now)

    def fail(self, mine: Intent, why: str, now: float) -> None:
        """It could not be told."""
        self._intents.change(mine, "failed", why, now)
        self.late[mine.key] = mine
        log.error("session %s of %s could not be stopped: %s", mine.session_id, mine.agent_id, why)

    def tick(self, now: float) -> None:
        """About once a second: who has ended, or gone quiet."""
        for mine in [mine for mine in self._intents if mine.status == "called"]:
            session = self._sessions.get(mine.agent_id, mine.session_id)
            if session is None or session.attested_end:
                self.confirm(mine, ENDED, now)
            elif now - max(mine.called, mine.last) >= self.settings.confirm_after:
                self.confirm(mine, f"it has been quiet for {self.settings.confirm_after:g} s", now)
        for key, mine in list(self.late.items()):
            session = self._sessions.get(mine.agent_id, mine.session_id)
            if session is None or session.closed:
                del self.late[key]
        counts = self._counts()
        for agent_id in counts.keys() | self._shown.keys():
            if counts[agent_id] != self._shown[agent_id]:
                self._show(agent_id, counts[agent_id], now)
        self._shown = counts

    def restore(self) -> None:
        """From the intents of a former run; how many it showed is in the state of the metrics."""
        for mine in self._intents:
            if mine.status in {"unconfirmed", "failed"}:
                self.late[mine.key] = mine
        self._shown = self._counts()

    def _counts(self) -> Counter[str]:
        """By agent."""
        return Counter(mine.agent_id for mine in self.late.values())
