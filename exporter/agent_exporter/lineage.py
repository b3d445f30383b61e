"""Who handed a task to whom: the one rule by which sessions of a trace hang below one another.

The tree of spans, the waterfall on the page, `explain` and the suspected root of a cascade all follow it, so a trace
viewer and an alert agree. Each keeps its own members, as they are bounded and forgotten in different ways.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

from agent_exporter.action import trace_id_of
from agent_exporter.state import row_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from agent_exporter.action import Action


class HandedOver(Protocol):
    """A session's part of a trace as far as `caller` needs it."""

    @property
    def agent_id(self) -> str: ...
    @property
    def parent_agent_id(self) -> str: ...
    @property
    def started(self) -> float: ...


class Member(Struct, eq=False, gc=False, array_like=True):
    """One session's part of a trace: where it hangs, by the first of its lines that was read."""

    agent_id: str
    session_id: str
    parent_agent_id: str
    """Empty if the line names none."""
    parent_span_id: str
    """16 lower-case hex digits; empty if the line names none."""
    started: float
    """Seconds since 1970."""

    @classmethod
    def of(cls, action: Action, started: float) -> Member:
        """The part of the session of an action, which is its first in the trace."""
        metadata = action.metadata
        return cls(
            action.agent_id,
            action.session_id,
            (metadata and metadata.parent_agent_id) or "",
            (action.parent_span_id or "").lower(),
            started,
        )

    @property
    def name(self) -> tuple[str, str]:
        """(agent_id, session_id)."""
        return self.agent_id, self.session_id


K = TypeVar("K", bound="Hashable")
M = TypeVar("M", bound=HandedOver)


def trace_name(action: Action) -> str:
    """The trace as its line names it; empty if it does not. A W3C id wins over the name of the task."""
    return action.trace_id or action.parent_trace_id or ""


def own_trace(agent_id: str, session_id: str) -> str:
    """The name of the trace of a session that names none: its agent and session stand for it."""
    return f"{agent_id}\0{session_id}"


def session_trace_id(name: str | None, agent_id: str, session_id: str) -> str:
    """The id, 32 hex digits, of a session's trace, which its lines call `name`; None or empty if they name none."""
    return trace_id_of(name or own_trace(agent_id, session_id))


def caller(member: M, members: Iterable[M]) -> M | None:
    """The session that handed over: the named agent's latest one that began earlier, so A -> B -> A is not a cycle."""
    parent = member.parent_agent_id
    if not parent:
        return None
    older = [other for other in members if other.agent_id == parent and other.started < member.started]
    return max(older, key=lambda other: other.started, default=None)


class Lineage(Generic[K]):
    """Who hangs below whom among the members of one trace, in the order in which they were read.

    `spans` says whose session a span id belongs to, where lines give span ids of their own (16 lower-case hex digits).
    """

    def __init__(self, trace_id: str, members: Mapping[K, Member], spans: Mapping[str, K]) -> None:
        self._members = members
        self.root = next(
            (member for member in members.values() if not member.parent_agent_id and not member.parent_span_id), None
        )
        """The first that nobody is said to have called."""
        self._owners: dict[str, Member] = {
            session_span_id(trace_id, member.agent_id, member.session_id).hex(): member for member in members.values()
        }
        if self.root is not None:
            self._owners[root_id(trace_id).hex()] = self.root
        self._owners |= {span_id: members[key] for span_id, key in spans.items() if key in members}

    def caller(self, member: Member) -> Member | None:
        """The session that handed over: whose span the line names, or else the named agent's; None if unknown."""
        owner = self._owners.get(member.parent_span_id)
        return owner if owner is not None and owner is not member else caller(member, self._members.values())

    def parent(self, member: Member) -> Member | None:
        """What it hangs below: its caller, or else the root; None for the root."""
        return None if member is self.root else self.caller(member) or self.root


def root_id(trace: str) -> bytes:
    """The id of a trace's root span: known before anything of the trace but its id is."""
    return span_id(sha256(trace.encode()).digest()[:8])


def session_span_id(*names: str) -> bytes:
    """The id of a session's span, from trace, agent and session."""
    return span_id(sha256(row_key(*names).encode()).digest()[:8])


def span_id(digest: bytes) -> bytes:
    """Eight bytes as a span id."""
    return digest if any(digest) else b"\0\0\0\0\0\0\0\1"  # all zero means none in W3C's format
