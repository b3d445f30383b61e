"""Whether sessions that should stop did stop. Their end, or silence, confirms it; a session that still logs pages.

    called -> confirmed      its end was read, or it was quiet for `confirm_after` (10 s)
           -> unconfirmed    it still logs `termination_grace_period` (30 s) after the call was taken
    confirmed -> called      it was only quiet, and logs again

`late` holds the intents of sessions that should have stopped and still log, even if no call was taken.
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
    """Calls `show` when an agent's number of late sessions changes: (agent_id, number, now). `now` is the clock."""

    def __init__(
        self, intents: Intents, sessions: Sessions, settings: Breaker, show: Callable[[str, int, float], None]
    ) -> None:
        self.settings = settings
        self.late: dict[str, Intent] = {}
        self._intents = intents
        self._sessions = sessions
        self._show = show
        self._shown: Counter[str] = Counter()

    def line(self, intent: Intent, at: float, session: Session, now: float) -> None:
        """A line of a session that was told to stop; `at` is its own time."""
        if intent.status == "unconfirmed":
            self.late[intent.key] = intent
            return
        settings = self.settings
        intent.last = now
        self._intents.touch(intent)
        # Use the line's own time, as lines from before the call may come late. A clock that lags must not hide the
        # session for ever: then use the time of arrival.
        on = at - intent.called
        if (
            on <= settings.termination_grace_period
            and now - intent.called > settings.termination_grace_period + settings.max_line_age
        ):
            on = now - intent.called
        if session.attested_end:
            if intent.status == "called":
                self.confirm(intent, ENDED, now)
        elif on > settings.termination_grace_period:
            self._intents.change(intent, "unconfirmed", f"it still logs {on:.0f} s after it was told", now)
            self.late[intent.key] = intent
            log.error("session %s of %s was told to stop and still logs", intent.session_id, intent.agent_id)
        elif on > 0 and intent.status == "confirmed":  # quiet for a while was not the end
            intent.status = "called"

    def confirm(self, intent: Intent, why: str, now: float) -> None:
        """The session has stopped, perhaps before a call was taken."""
        self.late.pop(intent.key, None)
        self._intents.change(intent, "confirmed", why if intent.called else f"{why}, though no call was taken", now)

    def fail(self, intent: Intent, why: str, now: float) -> None:
        """No call was taken."""
        self._intents.change(intent, "failed", why, now)
        self.late[intent.key] = intent
        log.error("session %s of %s could not be stopped: %s", intent.session_id, intent.agent_id, why)

    def tick(self, now: float) -> None:
        """Confirm sessions that have ended or gone quiet. Call it about once a second."""
        for intent in [intent for intent in self._intents if intent.status == "called"]:
            session = self._sessions.get(intent.agent_id, intent.session_id)
            if session is None or session.attested_end:
                self.confirm(intent, ENDED, now)
            elif now - max(intent.called, intent.last) >= self.settings.confirm_after:
                self.confirm(intent, f"it has been quiet for {self.settings.confirm_after:g} s", now)
        for key, intent in list(self.late.items()):
            session = self._sessions.get(intent.agent_id, intent.session_id)
            if session is None or session.closed:
                del self.late[key]
        counts = self._counts()
        for agent_id in counts.keys() | self._shown.keys():
            if counts[agent_id] != self._shown[agent_id]:
                self._show(agent_id, counts[agent_id], now)
        self._shown = counts

    def restore(self) -> None:
        """Restore from the intents of a former run. The numbers it has shown are in the state of the metrics."""
        for intent in self._intents:
            if intent.status in {"unconfirmed", "failed"}:
                self.late[intent.key] = intent
        self._shown = self._counts()

    def _counts(self) -> Counter[str]:
        """Late sessions by agent."""
        return Counter(intent.agent_id for intent in self.late.values())
