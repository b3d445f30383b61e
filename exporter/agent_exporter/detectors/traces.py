"""The table of traces: the sessions of each, and the steps of traces with several agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_exporter.action import trace_id_of
from agent_exporter.detectors.cascade import key
from agent_exporter.detectors.steps import Trace
from agent_exporter.lineage import Member
from agent_exporter.sweep import next_threshold, oldest_eighth, sweep_target, sweep_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.action import Action
    from agent_exporter.sessions import Session, Sessions
    from agent_exporter.state import Row

ROW_KIND = "lineage"
MAX_TRACES = 16_384
"""Traces kept, 1 KB for one with one session; the least recently used go first, counted in `evictions`."""
LINGER = 600.0
"""Seconds that a trace is kept after its last line, as in the tree of spans."""
MAX_MEMBERS = 512
"""Sessions kept of a trace, the latest: some agents use one trace for everything."""
MAX_SPANS = 256
"""Span ids kept of a trace, the latest."""


class Traces:
    """Calls `leaving` before it forgets a trace, to process its waiting steps. `sessions` has its members' sessions."""

    def __init__(self, sessions: Sessions, leaving: Callable[[Trace], None], most: int = MAX_TRACES) -> None:
        self.evictions = 0
        self._sessions = sessions
        self._leaving = leaving
        self._most = most
        self._look_at = sweep_threshold(most)
        self._table: dict[str, Trace] = {}
        self._named: dict[str, Trace] = {}
        self._dirty: dict[str, Trace] = {}
        self._gone: list[str] = []

    def get(self, name: str) -> Trace | None:
        """The trace of this name."""
        return self._named.get(name)

    def join(self, name: str, action: Action, session: Session) -> Trace:
        """The trace, with the session as one of its members."""
        trace = self._named.get(name)
        if trace is None:
            trace = self._open(name)
        who = key(session.agent_id, session.session_id)
        if who not in trace.members:
            if len(trace.members) >= MAX_MEMBERS:
                del trace.members[next(iter(trace.members))]
            trace.members[who] = Member.of(action, session.started)
            self.touch(trace)
        return trace

    def keep_span(self, trace: Trace, span_id: str, session: Session) -> None:
        """Remember the session of a span id: another session may name it as its parent."""
        if len(trace.spans) >= MAX_SPANS:
            del trace.spans[next(iter(trace.spans))]
        trace.spans[span_id.lower()] = key(session.agent_id, session.session_id)
        self.touch(trace)

    def touch(self, trace: Trace) -> None:
        """Mark the trace as changed, so that its row is written."""
        if not trace.dirty:
            trace.dirty = True
            self._dirty[trace.trace_id] = trace

    def __iter__(self) -> Iterator[Trace]:
        return iter(self._table.values())

    def age(self, now: float) -> None:
        """Forget the traces that have been quiet for long, and so have their sessions."""
        for trace in [trace for trace in self._table.values() if now - trace.seen > LINGER]:
            for session in self._members(trace):
                trace.seen = max(trace.seen, session.last, session.arrived)
            if now - trace.seen > LINGER:
                self._forget(trace)

    def changes(self) -> Iterator[Row]:
        """Rows of the traces that changed."""
        for trace_id in self._gone:
            yield ROW_KIND, trace_id, None
        self._gone.clear()
        dirty, self._dirty = self._dirty, {}
        for trace in dirty.values():
            trace.dirty = False
            trace.stored = True
            yield ROW_KIND, trace.trace_id, msgspec.msgpack.encode(trace)

    def restore(self, rows: Iterable[tuple[str, bytes]], now: float) -> None:
        """Restore from committed rows. The age of a trace begins anew: it is not stored with every line."""
        decode = msgspec.msgpack.Decoder(Trace).decode
        for _, value in rows:
            trace = decode(value)
            trace.dirty = trace.held = False
            trace.stored = True
            trace.seen = max(trace.seen, now)
            self._table[trace.trace_id] = trace
            for name in trace.names:
                self._named[name] = trace

    def _open(self, name: str) -> Trace:
        trace_id = trace_id_of(name)
        trace = self._table.get(trace_id)
        if trace is None:
            if len(self._table) >= self._look_at:
                self._make_room()
            trace = self._table[trace_id] = Trace(trace_id=trace_id, names=[])
        trace.names.append(name)
        self._named[name] = trace
        return trace

    def _forget(self, trace: Trace) -> None:
        self._leaving(trace)
        trace.dirty = False
        self._dirty.pop(trace.trace_id, None)
        del self._table[trace.trace_id]
        for name in trace.names:
            del self._named[name]
        if trace.stored:  # a past log is committed at its end alone: its traces must not pile up here
            self._gone.append(trace.trace_id)

    def _members(self, trace: Trace) -> Iterator[Session]:
        """Its sessions that are still in the table."""
        for member in trace.members.values():
            session = self._sessions.get(member.agent_id, member.session_id)
            if session is not None:
                yield session

    def _make_room(self) -> None:
        """Forget traces without a session in the table, the oldest first. That loses nothing."""
        for trace in list(self._table.values()):
            if len(self._table) <= sweep_target(self._most):
                break
            if not any(self._members(trace)):
                self._forget(trace)
        if len(self._table) >= self._most:
            self._evict()
        self._look_at = next_threshold(len(self._table), self._most)

    def _evict(self) -> None:
        """Make room. Traces that have long been quiet are not counted: that loses nothing."""
        newest = max(trace.seen for trace in self._table.values())
        for trace in oldest_eighth(self._table.values(), self._most, lambda trace: trace.seen):
            self.evictions += newest - trace.seen <= LINGER
            self._forget(trace)
