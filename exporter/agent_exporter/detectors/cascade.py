"""One agent fails, and takes down those that wait for it.

    {"timestamp": "...09:00:00Z", "agent_id": "planner", "parent_trace_id": "t", "status": "error", ...}
    {"timestamp": "...09:00:05Z", "agent_id": "research", "parent_trace_id": "t", "status": "timeout", ...}
    {"timestamp": "...09:00:11Z", "agent_id": "writer", "parent_trace_id": "t", "status": "error", ...}    <- the third

Three agents of one trace within 60 s. The suspected root is the most upstream in the trace's tree, then the earliest.
Agents that fail during a cascade are members of it. It ends once no agent of the trace has failed for 60 s.
"""

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.detectors.steps import Failure
from agent_exporter.lineage import Lineage

if TYPE_CHECKING:
    from agent_exporter.config import Cascade
    from agent_exporter.detectors.steps import Step, Trace

_time = attrgetter("at")

MEMBER = "cascade_member"
MAX_FAILURES = 256
"""Failures kept per trace, the latest: one agent that always fails must not fill the memory."""


class Fallen(NamedTuple):
    """A cascade that begins, or gets new members."""

    failures: list[Failure]
    """The first failure of each new agent, in order of time."""
    root: str | None
    """The suspected root, if the cascade begins with it."""


def note(trace: Trace, step: Step) -> Failure:
    """Remember a failure."""
    failure = Failure(step.at, step.agent_id, step.session_id)
    failures = trace.failures
    if failure not in failures:
        insort(failures, failure, key=_time)  # those of the same time stay in the order in which they were read
        del failures[: max(0, len(failures) - MAX_FAILURES)]
    return failure


def failed(trace: Trace, step: Step, settings: Cascade) -> Fallen | None:
    """Take in a failure, in order of time. Returns the cascade that it begins or extends, if any."""
    failure = note(trace, step)
    until = trace.failures[: trace.failures.index(failure) + 1] if failure in trace.failures else [failure]
    recent = [other for other in until if step.at - other.at <= settings.window]
    if trace.failing and len(recent) == 1:
        trace.failing = []
    if step.agent_id in trace.failing:
        return None
    first: dict[str, Failure] = {}
    for other in recent:
        first.setdefault(other.agent_id, other)
    if trace.failing:
        trace.failing.append(step.agent_id)
        return Fallen([failure], None)
    if len(first) < settings.min_agents:
        return None
    trace.failing = list(first)
    return Fallen(list(first.values()), root(trace, list(first.values())))


def root(trace: Trace, failures: list[Failure]) -> str:
    """Of those that failed, the most upstream, then the earliest."""
    lineage = Lineage(trace.trace_id, trace.members, trace.spans)

    def depth(failure: Failure) -> int:
        """Number of calls from the outermost session to this one."""
        member = trace.members.get(key(failure.agent_id, failure.session_id))
        handovers = steps = 0
        while member is not None and steps < len(trace.members):  # span ids may form a circle
            handovers += bool(member.parent_agent_id or member.parent_span_id)
            member = lineage.caller(member)
            steps += 1
        return handovers

    return min(failures, key=lambda failure: (depth(failure), failure.at)).agent_id


def key(agent_id: str, session_id: str) -> str:
    """Key of a member of a trace."""
    return f"{agent_id}\0{session_id}"
