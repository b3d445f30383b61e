"""What a detector has found: data, for the metrics, the trace, standard output, the page and the breaker.

{"kind":"loop","agent_id":"billing-agent-01","session_id":"sess_84a0","trace_id":"5f0c...",
 "at":"2026-03-18T00:30:26.461Z","evidence":{"loop":"repeat","action":"issue_refund","times":4}}
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from agent_exporter.action import stamp
from agent_exporter.detectors.kinds import TOPICS, Topic
from agent_exporter.text import escaped

Kind = Literal["loop", "session_budget", "action_anomaly", "cascade", "cascade_member"]
"""cascade names the suspected root, cascade_member each agent that failed in it."""
Loop = Literal["retries", "repeat", "cycle", "overtime", "failing", "stalled"]
LOOPS: tuple[Loop, ...] = get_args(Loop)
"""The sub-kinds of a loop: `evidence.loop`."""
Result = Literal["confirmed", "unconfirmed", "failed", "observed"]
RESULTS: tuple[Result, ...] = get_args(Result)
"""Results of a termination: it stopped, still logs, could not be called, was only observed."""


class Finding(Struct, frozen=True, kw_only=True):
    """One failure. Without session_id it is about a trace."""

    kind: Kind
    agent_id: str
    at: float
    """Time of the line that met the definition, seconds since 1970."""
    session_id: str | None = None
    trace_id: str | None = None
    """The W3C trace id, 32 hex digits, as in a trace viewer."""
    parent_trace_id: str | None = None
    """As the lines name it."""
    root_agent: str | None = None
    evidence: dict[str, Any] = {}

    @property
    def topic(self) -> Topic:
        """The row of its kind in TOPICS. Raises KeyError if there is none."""
        return TOPICS["loop_stalled" if self.evidence.get("loop") == "stalled" else self.kind]

    def to_json(self, *, w3c: bool = True) -> bytes:
        """One line, absent keys left out. Without `w3c`, trace_id is what the lines say: to look it up in their log."""
        shown: dict[str, Any] = {"kind": self.kind, "agent_id": self.agent_id}
        if w3c:
            names = {"trace_id": self.trace_id, "parent_trace_id": self.parent_trace_id}
        else:
            names = {"trace_id": self.parent_trace_id}
        perhaps = {"session_id": self.session_id, **names, "root_agent": self.root_agent}
        shown |= {key: value for key, value in perhaps.items() if value is not None}
        shown["at"] = stamp(self.at)
        shown["evidence"] = self.evidence
        return escaped(msgspec.json.encode(shown))
