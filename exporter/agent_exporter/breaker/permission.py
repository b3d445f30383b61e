"""Whether a session may be stopped now, and if not, why: one sentence for the audit log and the status page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.breaker.account import account
from agent_exporter.detectors.session_budget import KIND as BUDGET

if TYPE_CHECKING:
    from agent_exporter.breaker.account import Account
    from agent_exporter.breaker.authority import Authority
    from agent_exporter.breaker.intent import Intent
    from agent_exporter.breaker.intents import Intents
    from agent_exporter.breaker.latch import Latches
    from agent_exporter.config import Config
    from agent_exporter.sessions import Session


class Permission:
    """Answers for one config. A reload creates a new instance."""

    def __init__(self, config: Config, authority: Authority, intents: Intents, latches: Latches) -> None:
        self._config = config
        self._settings = config.breaker
        self._authority = authority
        self._intents = intents
        self._latches = latches

    def why_not(self, intent: Intent, session: Session | None, now: float, offset: float) -> str | None:
        """Why a session may not be stopped now; None if it may.

        now: the clock. offset: how many seconds the agent's clock is ahead of it.
        """
        settings = self._settings
        withheld = self.withheld(intent)
        if withheld is not None:
            return withheld
        if session is None or session.closed or session.attested_end:
            return "its end is in the log already"
        age = now - session.last + offset
        if age > settings.max_line_age:
            return f"its newest line is {age:.0f} s old, over breaker.max_line_age"
        other = self._stopping(intent, session)
        if other is not None:
            return f"it is being stopped for {other.reason} already"
        if intent.reason == BUDGET:
            if self.account(session).excess is None:
                return (
                    f"of its {session.tokens:,} tokens, ${session.cost_usd:.4f}, lines from "
                    f"agents.NAME.trusted_sources have only {session.attested_tokens:,}, "
                    f"${session.attested_cost_usd:.4f}: within its budget"
                )
        elif session.foreign:
            return "its session has a line from outside agents.NAME.trusted_sources"
        return None

    def withheld(self, intent: Intent) -> str | None:
        """Why no session, or none of this agent, may be stopped now; None if they may."""
        if self._settings.mode != "enforce":
            return "breaker.mode is observe"
        latched = self._latches.why(intent.agent_id)
        if latched is not None:
            return latched
        if not self._authority.guards(intent.agent_id):
            return "agents.NAME.terminate is not configured for it"
        return None

    def account(self, session: Session) -> Account:
        """What counts against the session's budget."""
        return account(session, self._config, vouched=self._authority.vouched(session.agent_id))

    def _stopping(self, intent: Intent, session: Session) -> Intent | None:
        """Another reason for which the session is being stopped, or was."""
        others = self._intents.of(intent.agent_id, intent.session_id)
        return next(
            (
                other
                for other in others
                if other is not intent and (other.status == "intended" or (other.called and session.terminated))
            ),
            None,
        )
