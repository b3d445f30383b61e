"""The stage: findings and lines in, intents out. All of it runs in the pipeline's thread.

The breaker decides on a session once all is read that was there when it was found and may speak for its agent: that may
be the session's end. Lines of others, and what is written later, are not waited for. The breaker commits the intent and
only then passes it to `call`, whose attempts `answered` reports.

Sums, task types and ends count only from trusted lines (`authority`), so a forged line can neither stop a session nor
keep one from being stopped for its budget. A loop or an unusual call has no sums: if its session has one foreign line,
the breaker only observes it.
"""

from __future__ import annotations

import logging
from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.breaker import audit, latch
from agent_exporter.breaker.authority import Authority
from agent_exporter.breaker.confirmation import ENDED, Confirmation
from agent_exporter.breaker.intent import ROW_KIND as INTENT
from agent_exporter.breaker.intent import Intent
from agent_exporter.breaker.intents import Intents
from agent_exporter.breaker.latch import Latches
from agent_exporter.breaker.permission import Permission
from agent_exporter.clocks import READ, SENT, ClockOffset
from agent_exporter.detectors.finding import Finding
from agent_exporter.detectors.session_budget import KIND as BUDGET
from agent_exporter.lineage import session_trace_id
from agent_exporter.lines import NO_ORIGIN, Origin
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.action import Action
    from agent_exporter.breaker.audit import Audit
    from agent_exporter.breaker.terminator import Refused
    from agent_exporter.config import Config
    from agent_exporter.sessions import Session, Sessions
    from agent_exporter.sources import Source
    from agent_exporter.stage import Reading
    from agent_exporter.state import Row, Store

log = logging.getLogger(__name__)

OPEN = frozenset({"met", "observed", "failed"})
"""Statuses in which a further line or finding leads to a new decision."""
MAX_ORIGINS = 4_096
"""Agents whose last origin is kept, for the audit log."""
MAX_COPIED = 65_536
"""Foreign lines whose hash is kept, to find their copies."""


class BreakerMetrics(NamedTuple):
    """Where the breaker counts."""

    terminated: Callable[[str, str, str, float], None]
    """(agent_id, reason, result, now)"""
    unconfirmed: Callable[[str, int, float], None]
    """(agent_id, how many of its sessions still log, now)"""


class _Pending:
    """An intent to decide on, since when, and what is to be read before; None until that was looked at."""

    def __init__(self, intent: Intent, since: float) -> None:
        self.intent = intent
        self.since = since
        self.backlog: list[Callable[[], bool]] | None = None


class Breaker(Stage):
    """Passes a copy of each intent to `call` once it is committed. `reconsider(session)` has the detectors check a
    session's budget again.
    """

    def __init__(
        self,
        config: Config,
        sessions: Sessions,
        audit_log: Audit,
        metrics: BreakerMetrics,
        reconsider: Callable[[Session], None],
    ) -> None:
        self.call: Callable[[Intent], None] = lambda _: None
        self.audit = audit_log
        self.latches = Latches()
        self._sessions = sessions
        self._reconsider = reconsider
        self.intents = Intents(sessions, audit_log, metrics.terminated)
        self.confirmation = Confirmation(self.intents, sessions, config.breaker, metrics.unconfirmed)
        self._pending: dict[str, _Pending] = {}
        """Intents to decide on, by key; the one that has waited for longest first."""
        self._handing: list[Intent] = []
        """Intended, but not committed yet."""
        self._clocks: dict[str, ClockOffset] = {}
        """Clock offsets of watched agents, from their trusted lines only."""
        self._last_origin: dict[str, Origin] = {}
        """The origin of an agent's newest trusted line: a finding that waited for its turn has no line of its own."""
        self._copied: dict[int, None] = {}
        """Hashes of foreign lines that name a watched agent."""
        self.settings = config.breaker
        self.configure(config)

    def configure(self, config: Config, now: float = 0.0) -> None:
        """Use new settings. A raised ceiling begins a new generation, as an operator's extension does."""
        before, self.settings = self.settings, config.breaker
        self.confirmation.settings = config.breaker
        self._reorder = float(config.detectors.reorder_window)
        self._authority = Authority(config)
        self.permission = Permission(config, self._authority, self.intents, self.latches)
        self.watches = self._authority.watches
        self.inactive = self._authority.idle
        if before.mode != self.settings.mode:
            log.warning("breaker.mode is %s now, and was %s", self.settings.mode, before.mode)
            self.audit.write("mode", now, mode=self.settings.mode, before=before.mode)
        if self.settings.mode == "enforce" and not any(agent.terminate for agent in config.agents.values()):
            log.warning("breaker.mode is enforce, but no agent has agents.NAME.terminate: no session can be stopped")
        for intent in list(self.intents):
            session = self._sessions.get(intent.agent_id, intent.session_id)
            if session is not None and not session.closed:
                self.budget_raised(session, "its budget was raised in the config", now)

    @property
    def enforcing(self) -> bool:
        """Whether sessions are stopped now, but for those of agents that are latched."""
        return self.settings.mode == "enforce" and not self.latches.overall.since

    def enforces_budgets(self, agent_id: str) -> bool:
        """Whether a session of this agent that is over its budget is stopped now. From any thread."""
        return self.enforcing and BUDGET in self.settings.reasons and self.latches.why(agent_id) is None

    @property
    def evictions(self) -> int:
        """Intents that made room although their session goes on."""
        return self.intents.evictions

    @property
    def urgent(self) -> bool:
        """Whether an intent waits for the next commit."""
        return bool(self._handing)

    # --- findings and lines ------------------------------------------------------------------------------------

    def on_finding(self, finding: Finding, now: float) -> None:
        """Add an intent if the finding is a reason to stop its session."""
        if finding.kind not in self.settings.reasons or finding.session_id is None or not finding.topic.stops:
            return
        intent = self.intents.of(finding.agent_id, finding.session_id)
        standing = next(
            (o for o in intent if o.reason == finding.kind and not o.called and o.status != "withdrawn"), None
        )
        if standing is not None:  # another kind of loop is the same reason
            if standing.status in OPEN:
                self._put_off(standing, now)
            return
        session = self._sessions.get(finding.agent_id, finding.session_id)
        if session is not None and session.terminated and any(o.reason == finding.kind for o in intent):
            return
        generation = 1 + max((other.generation for other in intent if other.reason == finding.kind), default=0)
        new = Intent(
            agent_id=finding.agent_id,
            session_id=finding.session_id,
            reason=finding.kind,
            generation=generation,
            at=finding.at,
            evidence=finding.evidence,
            trace_id=finding.trace_id or "",
            origin=_shown(self._last_origin.get(finding.agent_id, NO_ORIGIN)),
            changed=now,
        )
        self.intents.add(new)
        self._put_off(new, now)

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:
        """Check whether the session is over its budget, or still logs although it should have stopped."""
        if not self.watches(action.agent_id):
            return
        origin, now = reading.origin, reading.now
        allowed = self._authority.allows(action.agent_id, origin)
        if allowed:
            if len(self._last_origin) >= MAX_ORIGINS and action.agent_id not in self._last_origin:
                self._last_origin.clear()
                self._clocks.clear()
            self._last_origin[action.agent_id] = origin
            clock = self._clocks.get(action.agent_id)
            if clock is None:
                clock = self._clocks[action.agent_id] = ClockOffset()
            clock.observe(action.at, now, READ if origin.path else SENT)
            session.attest(action, self._reorder)
            self._overspent(session, action.at, now)
        else:
            while len(self._copied) >= MAX_COPIED:
                del self._copied[next(iter(self._copied))]
            self._copied[hash(action.line)] = None
            session.foreign = True
        for intent in self.intents.of(action.agent_id, action.session_id):
            if intent.called:
                # If not, a new session has the same id, or someone else writes in its name.
                if session.terminated and allowed:
                    self.confirmation.line(intent, action.at - self._offset(action.agent_id), session, now)
            elif allowed and not intent.hopeless and intent.status in OPEN:
                intent.origin = _shown(origin)
                self._put_off(intent, now)

    def may_speak(self, action: Action, reading: Reading) -> bool:
        """Whether a line may say when a session begins and ends: any may, unless its agent has `trusted_sources`."""
        agent_id = action.agent_id
        return not self._authority.vouched(agent_id) or self._authority.allows(agent_id, reading.origin)

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """Note that the session has a foreign heartbeat."""
        if session is None or not self.watches(action.agent_id):
            return
        if not self._authority.allows(action.agent_id, reading.origin):
            session.foreign = True

    def on_duplicate(self, action: Action, reading: Reading) -> None:
        """Count a trusted record if only a foreign copy of it was counted so far."""
        line = hash(action.line)
        if line not in self._copied or not self.watches(action.agent_id):
            return
        if self._authority.allows(action.agent_id, reading.origin):
            del self._copied[line]
            session = self._sessions.get(action.agent_id, action.session_id)
            if session is not None:
                self.on_action(action, session, reading)
                self._sessions.touch(session)

    on_written_twice = on_duplicate

    def _overspent(self, session: Session, at: float, now: float) -> None:
        """Add an intent if the trusted sums are over budget, whatever the detectors found.

        Foreign lines may have made them find it earlier, or not at all, by naming a larger task type.
        """
        evidence = self.permission.account(session).excess if BUDGET in self.settings.reasons else None
        if evidence is None:
            return
        for intent in self.intents.of(session.agent_id, session.session_id):
            if intent.reason == BUDGET and intent.status != "withdrawn" and (session.terminated or not intent.called):
                return
        finding = Finding(
            kind="session_budget",
            agent_id=session.agent_id,
            session_id=session.session_id,
            trace_id=session_trace_id(session.trail.trace, session.agent_id, session.session_id),
            at=at,
            evidence=evidence,
        )
        self.on_finding(finding, now)

    # --- decisions ---------------------------------------------------------------------------------------------

    @property
    def undecided(self) -> bool:
        """Whether `decide` has anything to do."""
        return bool(self._pending)

    def waits(self, now: float) -> float:
        """Seconds that the decision has waited which has waited for longest; 0 if none does."""
        return max(0.0, now - next(iter(self._pending.values())).since) if self._pending else 0.0

    def _put_off(self, intent: Intent, now: float) -> None:
        if intent.key not in self._pending:
            self._pending[intent.key] = _Pending(intent, now)

    def decide(self, now: float, sources: Sequence[Source] = ()) -> None:
        """Decide on what need not wait for these sources. Called between two blocks of lines."""
        backlogs: dict[str, list[Callable[[], bool]]] = {}
        for key, pending in list(self._pending.items()):
            intent = pending.intent
            agent_id = intent.agent_id
            if pending.backlog is None:
                if agent_id not in backlogs:
                    backlogs[agent_id] = list(self._backlog(agent_id, sources))
                pending.backlog = backlogs[agent_id]
            if sources and not all(read() for read in pending.backlog):
                continue
            del self._pending[key]
            if self.intents.get(key) is None:  # it made room while it waited
                self.intents.add(intent)
            self._decide(intent, now)

    def _backlog(self, agent_id: str, sources: Sequence[Source]) -> Iterator[Callable[[], bool]]:
        if not self._authority.vouched(agent_id):  # no line counts against it
            return
        for source in sources:
            read = source.backlog(lambda origin: self._authority.allows(agent_id, origin))
            if read is not None:
                yield read

    def tick(self, now: float) -> None:
        """Confirm sessions that have ended or gone quiet."""
        self.confirmation.tick(now)

    def _decide(self, intent: Intent, now: float) -> None:
        if intent.called or intent.status == "withdrawn":
            return
        session = self._sessions.get(intent.agent_id, intent.session_id)
        why = self.permission.why_not(intent, session, now, self._offset(intent.agent_id))
        if why is None and intent.status != "intended":
            # An intent that failed is tried again; the latch counts it once.
            if intent.intended or self._admit(intent, now):
                if intent.reason == BUDGET and session is not None and session.foreign:  # its sums may be forged
                    intent.evidence = self.permission.account(session).excess or intent.evidence
                self.intents.change(intent, "intended", "", now)
                intent.intended, intent.attempts = now, 0
            else:
                why = self._latched(intent.agent_id, now)
        if why is None:
            self._handing.append(intent)
        elif intent.status == "intended" and (session is None or session.attested_end):
            self.confirmation.confirm(intent, ENDED, now)
        elif intent.status != "observed":
            self.intents.change(intent, "observed", why, now)
        elif intent.why != why:
            intent.why = why
            self.intents.touch(intent)

    def _offset(self, agent_id: str) -> float:
        """Seconds that the agent's clock is ahead, 0 while unknown."""
        clock = self._clocks.get(agent_id)
        return (clock.offset if clock is not None else None) or 0.0

    def _admit(self, intent: Intent, now: float) -> bool:
        live = Counter(session.agent_id for session in self._sessions.open())
        return self.latches.admit(intent.agent_id, now, live, self.settings)

    def _latched(self, agent_id: str, now: float) -> str:
        why = self.latches.why(agent_id) or ""
        latch = self.latches.agents.get(agent_id, self.latches.overall)
        see = "see agent-exporter breaker status --config FILE"
        if latch is self.latches.overall:
            log.error("the breaker is latched and only observes: %s; %s", latch.why, see)
            self.audit.write("latched", now, why=latch.why)
        else:
            log.error("the breaker is latched for %s and only observes it: %s; %s", agent_id, latch.why, see)
            self.audit.write("latched", now, agent_id=agent_id, why=latch.why)
        # Do not make the calls decided a moment ago either: they may rest on the same mistake.
        for intent in self._handing:
            held = self.latches.why(intent.agent_id)
            if held is not None:
                self.intents.change(intent, "observed", held, now)
                intent.intended = 0.0
        self._handing = [intent for intent in self._handing if intent.intended]
        return why

    # --- calls -------------------------------------------------------------------------------------------------

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Intents."""
        yield "intents", self.evictions

    def committed(self) -> bool:
        """The intents are on disk: carry them out."""
        self.audit.committed()
        handing, self._handing = self._handing, []
        for intent in handing:
            self.call(copy(intent))
        return False

    def answered(self, key: str, refused: Refused | None, now: float) -> bool:
        """Note the result of a call; `refused` is None if it was taken. Returns whether to try again."""
        intent = self.intents.get(key)
        if intent is None or intent.called:
            return False
        session = self._sessions.get(intent.agent_id, intent.session_id)
        if refused is None:
            intent.called = intent.last = now
            self.intents.change(intent, "called", "", now)
            log.warning("session %s of %s was told to stop: %s", intent.session_id, intent.agent_id, intent.reason)
            if session is not None:
                session.terminated = True
                self._sessions.touch(session)
            return False
        if intent.status != "intended":
            return False
        refusal = str(refused)
        intent.attempts += 1
        intent.why = refusal
        self.intents.touch(intent)
        if session is None or session.attested_end:
            self.confirmation.confirm(intent, ENDED, now)
            return False
        if intent.attempts == 1:
            log.warning("session %s of %s is not stopped yet: %s", intent.session_id, intent.agent_id, refusal)
            self.intents.write("refused", intent, now, why=refusal)
        if not refused.final and now - intent.intended < self.settings.termination_grace_period:
            return True
        intent.hopeless = refused.final
        self.confirmation.fail(intent, refusal, now)
        return False

    def still_intended(self, key: str, now: float) -> bool:
        """Whether to make a further attempt. An operator, a reload, the latch or the session's end may forbid it."""
        intent = self.intents.get(key)
        if intent is None or intent.status != "intended":
            return False
        session = self._sessions.get(intent.agent_id, intent.session_id)
        if session is None or session.attested_end:
            self.confirmation.confirm(intent, ENDED, now)
            return False
        held = self.permission.withheld(intent)
        if held is not None:
            self.intents.change(intent, "observed", held, now)
        return held is None

    # --- budgets that are raised -----------------------------------------------------------------------------------

    def budget_raised(self, session: Session, why: str, now: float) -> None:
        """Withdraw the intents of a session that is within its budget again. Over the new one, it is found again."""
        self._reconsider(session)
        over, excess = BUDGET in session.trail.found, self.permission.account(session).excess
        for intent in self.intents.of(session.agent_id, session.session_id):
            still = excess if intent.intended else over  # a decision rests on the trusted sums alone
            if intent.reason == BUDGET and not intent.called and intent.status != "withdrawn" and not still:
                self._pending.pop(intent.key, None)
                self._handing = [other for other in self._handing if other is not intent]
                self.confirmation.late.pop(intent.key, None)
                self.intents.change(intent, "withdrawn", why, now or intent.changed)

    # --- state -------------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Row]:
        """Rows that changed."""
        yield from self.intents.changes()
        yield from self.latches.changes()
        yield from self.audit.changes()

    def restore(self, store: Store, now: float) -> None:
        """Restore from committed rows. What a former run decided, and perhaps did not carry out, is decided again.

        If the row of a latch cannot be read, the breaker latches for all agents.
        """
        rows = store.rows
        self.latches.restore(rows(latch.ROW_KIND))
        if store.unreadable.get(latch.ROW_KIND):
            self.latches.close(now, "its row in the state file could not be read")
        self.audit.restore(rows(audit.ROW_KIND))
        self.intents.restore(rows(INTENT))
        for intent in self.intents:
            if intent.status in {"met", "intended"}:
                self._put_off(intent, now)
        self.confirmation.restore()


def _shown(origin: Origin) -> str:
    """For the audit log."""
    return origin.path or " ".join(f"{key}={value}" for key, value in origin.attributes)[:1024]
