"""Who handed a task to whom: the one rule by which sessions of a trace hang below one another.

The tree of spans and the suspected root of a cascade both follow it, so a trace viewer and an alert tell one story.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from agent_exporter.action import trace_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.action import Action


class Member(Protocol):
    """One session's part of a trace."""

    @property
    def agent_id(self) -> str: ...
    @property
    def parent_agent_id(self) -> str: ...
    @property
    def started(self) -> float: ...


M = TypeVar("M", bound=Member)


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
    """The session that handed over: the named agent's latest one that began earlier, so A -> B -> A is no cycle."""
    parent = member.parent_agent_id
    if not parent:
        return None
    older = [other for other in members if other.agent_id == parent and other.started < member.started]
    return max(older, key=lambda other: other.started, default=None)
