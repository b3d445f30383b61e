"""The headers from one agent to the next: which task it is, and the caller.

    traceparent:    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01     W3C Trace Context
    agentlog-task:  ticket-4711                 the name of the task in the lines; the trace's id if it has none
    agentlog-agent: research-agent-01           the caller

Values are percent-encoded. A `traceparent` alone, from any tracer, is enough to stay within its trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from agentlog import ids, record

TRACEPARENT = "traceparent"
TASK = "agentlog-task"
AGENT = "agentlog-agent"

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""A mapping, or pairs as in ASGI. Names in any case."""


class Origin(NamedTuple):
    """The origin of a session."""

    task: str
    """The name of the task in the lines."""
    trace_id: str
    """32 hex digits."""
    parent_span_id: str | None = None
    parent_agent_id: str | None = None

    @property
    def is_root(self) -> bool:
        """Whether the session has no caller."""
        return self.parent_span_id is None and self.parent_agent_id is None


def begun(task: object = None) -> Origin:
    """A new task."""
    if task is None:
        trace_id = ids.trace_id()
        return Origin(trace_id, trace_id)
    named = record.name(task)
    return Origin(named, ids.trace_id_of(named))


def received(headers: Headers, traceparent: str | None = None, task: object = None) -> Origin:
    """The origin in the headers of a request; without these headers, a new task. Never raises."""
    lowered = _lowered(headers)
    parent = _TRACEPARENT.match((traceparent or lowered.get(TRACEPARENT, "")).strip().lower())
    named = lowered.get(TASK) if task is None else task
    agent = lowered.get(AGENT)
    origin = begun(unquote(named) if isinstance(named, str) and task is None else named)
    if parent is not None:
        trace_id = parent["trace"]
        origin = Origin(trace_id if named is None else origin.task, trace_id, parent["span"])
    return origin._replace(parent_agent_id=record.name(unquote(agent))) if agent else origin


def sent(origin: Origin, span_id: str, agent_id: str) -> dict[str, str]:
    """The headers for the next agent."""
    return {
        TRACEPARENT: f"00-{origin.trace_id}-{span_id}-01",
        TASK: quote(origin.task, safe=""),
        AGENT: quote(agent_id, safe=""),
    }


_TRACEPARENT = re.compile(
    # Version 00 ends after the flags; later ones may have more.
    "(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    "-[0-9a-f]{2}(?:-|$)"
)


def _lowered(headers: Headers) -> dict[str, str]:
    try:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return {_text(name).lower(): _text(value) for name, value in pairs}
    except Exception:  # noqa: BLE001  (no headers then)
        return {}


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
