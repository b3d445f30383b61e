"""The table of intents: bounded, stored, by session. Counts each change of an intent and writes it to the audit log."""

from __future__ import annotations

from copy import copy
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.breaker.intent import ROW_KIND, Intent
from agent_exporter.detectors.finding import RESULTS
from agent_exporter.sweep import oldest_eighth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.breaker.audit import Audit
    from agent_exporter.breaker.intent import Status
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.sessions import Sessions
    from agent_exporter.state import Row

MAX_INTENTS = 10_000
"""Intents kept: at a hundred a day, those of three months."""


class Intents:
    """Iterates over all intents, oldest first. Calls `count` with each result: (agent_id, reason, result, now).

    `evictions` counts intents that had to make room although their session goes on.
    """

    def __init__(self, sessions: Sessions, audit: Audit, count: Callable[[str, str, str, float], None]) -> None:
        self.evictions = 0
        self._sessions = sessions
        self._audit = audit
        self._count = count
        self._all: dict[str, Intent] = {}
        self._of_session: dict[tuple[str, str], list[Intent]] = {}
        self._dirty: set[Intent] = set()
        self._gone: list[str] = []

    def __iter__(self) -> Iterator[Intent]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: str) -> Intent | None:
        """The intent with a row key, or None."""
        return self._all.get(key)

    def of(self, agent_id: str, session_id: str) -> Sequence[Intent]:
        """The intents of a session."""
        return self._of_session.get((agent_id, session_id), ())

    def of_findings(self, findings: Iterable[Finding]) -> dict[tuple[str, str, str], Intent]:
        """The latest intent of these findings by agent, session and reason; copies, for a page."""
        sessions = {(finding.agent_id, finding.session_id) for finding in findings if finding.session_id is not None}
        return {
            (intent.agent_id, intent.session_id, intent.reason): copy(intent)
            for session in sessions
            for intent in self.of(*session)
        }

    def add(self, intent: Intent) -> None:
        """Add a new intent."""
        if len(self._all) >= MAX_INTENTS:
            self._evict()
        self._keep(intent)
        self.touch(intent)

    def touch(self, intent: Intent) -> None:
        """Mark an intent as changed."""
        self._dirty.add(intent)

    def change(self, intent: Intent, status: Status, why: str, now: float) -> None:
        """Change the status, for a reason that may be empty; count and log it."""
        intent.status, intent.why, intent.changed = status, why, now
        self.touch(intent)
        if status in RESULTS:
            self._count(intent.agent_id, intent.reason, status, now)
        self.write(status, intent, now, **({"why": why} if why else {}))

    def write(self, event: str, intent: Intent, now: float, **more: Any) -> None:
        """Write an entry to the audit log."""
        self._audit.write(
            event,
            now,
            agent_id=intent.agent_id,
            session_id=intent.session_id,
            trace_id=intent.trace_id,
            reason=intent.reason,
            generation=intent.generation,
            idempotency_key=intent.idempotency_key,
            evidence=intent.evidence,
            source=intent.origin,
            **more,
        )

    def changes(self) -> Iterator[Row]:
        """Rows that changed since the last call."""
        for key in self._gone:
            yield ROW_KIND, key, None
        self._gone.clear()
        for intent in self._dirty:
            yield ROW_KIND, intent.key, msgspec.msgpack.encode(intent)
        self._dirty.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Restore from committed rows."""
        decode = msgspec.msgpack.Decoder(Intent).decode
        for _, value in rows:
            self._keep(decode(value))

    def _keep(self, intent: Intent) -> None:
        self._all[intent.key] = intent
        self._of_session.setdefault((intent.agent_id, intent.session_id), []).append(intent)

    def _evict(self) -> None:
        """Remove an eighth. Intents of sessions that are over go first and are not counted: nothing is lost with them.
        Of the others those that were called go last, so that a flood of made-up sessions causes no second call.
        """
        idle = [
            (self._goes_on(intent), intent.called > 0, intent.changed, intent)
            for intent in self
            if intent.status not in {"met", "intended", "called"}
        ]
        for goes_on, *_, intent in oldest_eighth(idle, MAX_INTENTS, itemgetter(0, 1, 2)):
            self.evictions += goes_on
            del self._all[intent.key]
            self._dirty.discard(intent)
            self._gone.append(intent.key)
            others = self._of_session[intent.agent_id, intent.session_id]
            others.remove(intent)
            if not others:
                del self._of_session[intent.agent_id, intent.session_id]

    def _goes_on(self, intent: Intent) -> bool:
        session = self._sessions.get(intent.agent_id, intent.session_id)
        return session is not None and not session.closed
