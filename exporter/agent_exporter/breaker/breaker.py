"""The stage: findings and lines in, intents out. Everything here belongs to the pipeline's thread.

What a finding or a line brings is decided once the sources have been read up: the session's end may stand in the very
next line. An intent is then committed, and only after that handed to `call`, which reports every attempt by `answered`.

Sums, task types and ends count only if a line tells them that may speak for the agent (`authority`), so a forged line
can neither stop a session nor keep one from being stopped for its budget. A loop or an unusual call has no sums: one
foreign line in its session makes it observed only.
"""

from __future__ import annotations

import logging
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.breaker import audit, latch
from agent_exporter.breaker.authority import Authority
from agent_exporter.breaker.confirmation import ENDED, Confirmation
from agent_exporter.breaker.intent import ROW_KIND as INTENT
from agent_exporter.breaker.intent import Intent
from agent_exporter.breaker.intents import Intents
from agent_exporter.breaker.latch import Latch
from agent_exporter.breaker.permission import Permission
from agent_exporter.clocks import READ, SENT, ClockOffset
from agent_exporter.detectors.finding import Finding
from agent_exporter.detectors.session_budget import KIND as BUDGET
from agent_exporter.lineage import session_trace_id
from agent_exporter.lines import NO_ORIGIN, Origin
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.action import Action
    from agent_exporter.breaker.audit import Audit
    from agent_exporter.breaker.terminator import Refused
    from agent_exporter.config import Config
    from agent_exporter.sessions import Session, Sessions
    from agent_exporter.stage import Reading
    from agent_exporter.state import Row, Store

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that a decision waits for sources that are never read up, as under full load: half of what it may take."""


OPEN = frozenset({"met", "observed", "failed"})
"""What a further line, or finding, has decided on again."""
MAX_ORIGINS = 4_096
"""Agents of which it is remembered where they spoke last, for the audit log alone."""
MAX_COPIED = 65_536
"""Lines whose copies are looked for."""


class BreakerMetrics(NamedTuple):
    """What the breaker tells the metrics."""

    terminated: Callable[[str, str, str, float], None]
    """(agent_id, reason, result, now)"""
    unconfirmed: Callable[[str, int, float], None]
    """(agent_id, how many of its sessions still log, now)"""


class Breaker(Stage):
    """`call` is handed a copy of each intent that is committed and to be carried out; `reconsider` has the detectors
    look at a session's budget again.
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
        self.latch = Latch()
        self._sessions = sessions
        self._reconsider = reconsider
        self.intents = Intents(sessions, audit_log, metrics.terminated)
        self.confirmation = Confirmation(self.intents, sessions, config.breaker, metrics.unconfirmed)
        self._pending: dict[str, Intent] = {}
        """To be decided on."""
        self._since = 0.0
        """Of the oldest of them, the clock."""
        self._handing: list[Intent] = []
        """Intended, and not committed yet."""
        self._clocks: dict[str, ClockOffset] = {}
        """Of agents that can be stopped, by lines that may speak for them alone."""
        self._last_origin: dict[str, Origin] = {}
        """Where an agent's newest line that counts came from: what waited for its turn has no line of its own."""
        self._copied: dict[int, None] = {}
        """Hashes of lines in the name of agents that can be stopped, from where they must not come."""
        self.settings = config.breaker
        self.configure(config)

    def configure(self, config: Config, now: float = 0.0) -> None:
        """Take up new settings. A raised ceiling begins a new generation, as an operator's extension does."""
        before, self.settings = self.settings, config.breaker
        self.confirmation.settings = config.breaker
        self._reorder = float(config.detectors.reorder_window)
        self._authority = Authority(config)
        self.permission = Permission(config, self._authority, self.intents, self.latch)
        self.watches = self._authority.watches
        self.inactive = self._authority.idle
        if before.mode != self.settings.mode:
            log.warning("breaker.mode is %s now, and was %s", self.settings.mode, before.mode)
            self.audit.write("mode", now, mode=self.settings.mode, before=before.mode)
        if self.settings.mode == "enforce" and not any(agent.terminate for agent in config.agents.values()):
            log.warning("breaker.mode is enforce, but no agent has agents.NAME.terminate: nobody can be stopped")
        for intent in list(self.intents):
            session = self._sessions.get(intent.agent_id, intent.session_id)
            if session is not None and not session.closed:
                self.budget_raised(session, "its budget was raised in the config", now)

    @property
    def enforcing(self) -> bool:
        """Whether sessions are stopped now."""
        return self.settings.mode == "enforce" and not self.latch.since

    @property
    def enforces_budgets(self) -> bool:
        """Whether a session over its budget is stopped now. From any thread."""
        return self.enforcing and BUDGET in self.settings.reasons

    @property
    def evictions(self) -> int:
        """Intents that had to make room though their session goes on."""
        return self.intents.evictions

    @property
    def urgent(self) -> bool:
        """Something waits for the next commit."""
        return bool(self._handing)

    # --- findings and lines ------------------------------------------------------------------------------------

    def on_finding(self, finding: Finding, now: float) -> None:
        """A detector has found something; of its session, if that can be stopped for it."""
        if finding.kind not in self.settings.reasons or finding.session_id is None or not finding.topic.stops:
            return
        intent = self.intents.of(finding.agent_id, finding.session_id)
        standing = next(
            (o for o in intent if o.reason == finding.kind and not o.called and o.status != "withdrawn"), None
        )
        if standing is not None:  # another kind of loop: the same to stop
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
        """Look whether the session is over its budget, or goes on although it was told to stop."""
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
                # Else another session has begun under the same id, or somebody else writes in its name.
                if session.terminated and allowed:
                    self.confirmation.line(intent, action.at - self._offset(action.agent_id), session, now)
            elif allowed and not intent.hopeless and intent.status in OPEN:
                intent.origin = _shown(origin)
                self._put_off(intent, now)

    def may_begin(self, action: Action, reading: Reading) -> bool:
        """Whether a line may begin a session where one is open: a stranger must not set its sums to zero."""
        agent_id = action.agent_id
        return not self._authority.vouched(agent_id) or self._authority.allows(agent_id, reading.origin)

    def on_heartbeat(self, action: Action, session: Session | None, reading: Reading) -> None:
        """Note that others than its agent keep a session at work."""
        if session is None or not self.watches(action.agent_id):
            return
        if not self._authority.allows(action.agent_id, reading.origin):
            session.foreign = True

    def on_duplicate(self, action: Action, reading: Reading) -> None:
        """If somebody else has sent a copy of the record first, it is held against its agent now."""
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
        """Over its budget, whatever the detectors say: by others it may be found already, or of a large task type."""
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

    def impatient(self, now: float) -> bool:
        """Whether what is undecided has waited long enough for sources to be read up."""
        return now - self._since >= PATIENCE

    def _put_off(self, intent: Intent, now: float) -> None:
        if not self._pending:
            self._since = now
        self._pending[intent.key] = intent

    def decide(self, now: float) -> None:
        """Called between two blocks of lines, when no source has any more."""
        pending, self._pending = self._pending, {}
        for intent in pending.values():
            if self.intents.get(intent.key) is None:  # it had to make room while it waited
                self.intents.add(intent)
            self._decide(intent, now)

    def tick(self, now: float) -> None:
        """About once a second: who has ended, or gone quiet."""
        self.confirmation.tick(now)

    def _decide(self, intent: Intent, now: float) -> None:
        if intent.called or intent.status == "withdrawn":
            return
        session = self._sessions.get(intent.agent_id, intent.session_id)
        why = self.permission.why_not(intent, session, now, self._offset(intent.agent_id))
        if why is None and intent.status != "intended":
            # One that failed is tried again under the admission that it had.
            if intent.intended or self.latch.admit(now, sum(1 for _ in self._sessions.open()), self.settings):
                if intent.reason == BUDGET and session is not None and session.foreign:  # it was found by forged sums
                    intent.evidence = self.permission.account(session).excess or intent.evidence
                self.intents.change(intent, "intended", "", now)
                intent.intended, intent.attempts = now, 0
            else:
                why = self._latched(now)
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
        """Seconds that its clock is ahead, as far as is known: a line's age is that of its arrival then."""
        clock = self._clocks.get(agent_id)
        return (clock.offset if clock is not None else None) or 0.0

    def _latched(self, now: float) -> str:
        why = f"latched: {self.latch.why}"
        see = "see agent-exporter breaker status --config FILE"
        log.error("the breaker is latched and only observes: %s; %s", self.latch.why, see)
        self.audit.write("latched", now, why=self.latch.why)
        # What was decided a moment ago, and nobody was told of, is not done either: it may be of the same mistake.
        for intent in self._handing:
            self.intents.change(intent, "observed", why, now)
            intent.intended = 0.0
        self._handing.clear()
        return why

    # --- calls -------------------------------------------------------------------------------------------------

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Sessions to be stopped."""
        yield "intents", self.evictions

    def committed(self) -> bool:
        """The intents are on disk: now they are carried out."""
        self.audit.committed()
        handing, self._handing = self._handing, []
        for intent in handing:
            self.call(copy(intent))
        return False

    def answered(self, key: str, refused: Refused | None, now: float) -> bool:
        """What became of a call; `refused` says why it was not taken. Returns whether to try again."""
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
        """Asked before a further attempt: an operator, a reload, the latch or the session's end may have settled it."""
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
        """What is within its ceiling again is withdrawn, and found anew should it pass the new one."""
        self._reconsider(session)
        over, excess = BUDGET in session.trail.found, self.permission.account(session).excess
        for intent in self.intents.of(session.agent_id, session.session_id):
            still = excess if intent.intended else over  # what was decided rests on the attested sums alone
            if intent.reason == BUDGET and not intent.called and intent.status != "withdrawn" and not still:
                self._pending.pop(intent.key, None)
                self._handing = [other for other in self._handing if other is not intent]
                self.confirmation.late.pop(intent.key, None)
                self.intents.change(intent, "withdrawn", why, now or intent.changed)

    # --- state -------------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Row]:
        """Rows of what changed."""
        yield from self.intents.changes()
        yield from self.latch.changes()
        yield from self.audit.changes()

    def restore(self, store: Store, now: float) -> None:
        """Take up what a former run meant to do: what it had decided and perhaps not done is looked at again.

        If it cannot be known whether that run had latched, the breaker latches.
        """
        rows = store.rows
        self.latch.restore(rows(latch.ROW_KIND))
        if store.unreadable.get(latch.ROW_KIND):
            self.latch.close(now, "its row in the state file could not be read")
        self.audit.restore(rows(audit.ROW_KIND))
        self.intents.restore(rows(INTENT))
        for intent in self.intents:
            if intent.status in {"met", "intended"}:
                self._put_off(intent, now)
        self.confirmation.restore()


def _shown(origin: Origin) -> str:
    """For the audit log."""
    return origin.path or " ".join(f"{key}={value}" for key, value in origin.attributes)[:1024]
