"""What operators ask of the breaker: its status, to unlatch it, and more budget for a session.

All of it runs in the pipeline's thread. `control` passes the orders on, and `client` is the command line's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_exporter.breaker.breaker import Breaker
    from agent_exporter.breaker.intent import Intent
    from agent_exporter.sessions import Sessions

MAX_SHOWN = 100
"""Sessions in the answer to `breaker status`."""


class Operators:
    """Carries out the orders of operators on the breaker and its sessions."""

    def __init__(self, breaker: Breaker, sessions: Sessions) -> None:
        self._breaker = breaker
        self._sessions = sessions

    def status(self) -> dict[str, Any]:
        """The breaker, and the sessions to be stopped: what needs a person or is under way first, then the newest."""
        breaker = self._breaker
        shown = sorted(breaker.intents, key=lambda intent: (not self._unfinished(intent), -intent.changed))
        del shown[MAX_SHOWN:]
        return {
            "mode": breaker.settings.mode,
            "enforcing": breaker.enforcing,
            "latched_since": breaker.latches.overall.since or None,
            "latched_why": breaker.latches.overall.why or None,
            "latched_agents": [
                {"agent_id": name, "since": latch.since, "why": latch.why}
                for name, latch in sorted(breaker.latches.agents.items())[:MAX_SHOWN]
            ],
            "audit_log": str(breaker.audit.path) if breaker.audit.path else None,
            "audit_head": breaker.audit.head,
            "audit_problem": breaker.audit.problem,
            "intents": [
                {
                    "agent_id": intent.agent_id,
                    "session_id": intent.session_id,
                    "reason": intent.reason,
                    "generation": intent.generation,
                    "status": intent.status,
                    "why": intent.why,
                    "changed": intent.changed,
                    "idempotency_key": intent.idempotency_key,
                }
                for intent in shown
            ],
            "more": len(breaker.intents) - len(shown),
        }

    def _unfinished(self, intent: Intent) -> bool:
        """A person should look at it, or it is under way."""
        return intent.key in self._breaker.confirmation.late or intent.status in {"intended", "called"}

    def unlatch(self, agent_id: str | None, now: float, who: str) -> str:
        """End the latch of an agent, or all, after an operator has looked. Returns a sentence."""
        breaker = self._breaker
        ended = breaker.latches.release(agent_id)
        for name, why in ended:
            breaker.audit.write("unlatched", now, **({"agent_id": name} if name else {}), by=who, why=why)
        if not ended:
            return "the breaker is not latched" + (f" for {agent_id!r}" if agent_id is not None else "")
        whom = ", ".join(repr(name) for name, _ in ended[:MAX_SHOWN] if name)
        return f"unlatched{f' for {whom}' if whom else ''}; breaker.mode is {breaker.settings.mode}"

    def extend(self, session_id: str, agent_id: str | None, tokens: int, cost_usd: float, now: float, who: str) -> str:
        """Grant a session more than its task type allows. Returns a sentence; raises ValueError with one."""
        breaker = self._breaker
        sessions = [
            session
            for session in self._sessions.open()
            if session.session_id == session_id and agent_id in {None, session.agent_id}
        ]
        if not sessions:
            raise ValueError(f"no open session {session_id!r}{f' of {agent_id!r}' if agent_id else ''}")
        if len(sessions) > 1:
            names = ", ".join(sorted(session.agent_id for session in sessions))
            raise ValueError(f"several agents have a session {session_id!r}: name one with --agent ({names})")
        [session] = sessions
        if session.terminated:
            raise ValueError(f"session {session_id!r} was told to stop already")
        intents = breaker.intents.of(session.agent_id, session.session_id)
        calling = any(intent.status == "intended" for intent in intents)
        session.granted_tokens += tokens
        session.granted_cost_usd += cost_usd
        breaker.budget_raised(session, "its budget was extended", now)
        breaker.audit.write(
            "extended", now, agent_id=session.agent_id, session_id=session_id, tokens=tokens, cost_usd=cost_usd, by=who
        )
        may = breaker.permission.account(session)
        ceiling = f"{may.max_tokens} tokens" + (f" and ${may.max_cost_usd:g}" if may.max_cost_usd is not None else "")
        answer = f"session {session_id!r} of {session.agent_id!r} may now use {ceiling}; it has used {session.tokens}"
        if calling:
            answer += "; it was being told to stop, and a call that is on its way may still do that"
        return answer
