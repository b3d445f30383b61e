"""A session that goes round, or goes on and on.

Each of its four kinds is found once in a session, a cycle across agents once in a trace.

    retries    {"action": "search", "metadata": {"retry_count": 4}, ...}                   <- more than 3

    repeat     {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}       <- more than 3 in a row

    cycle      book, refused; think; book, refused; think; book, refused; think            <- 2 to 4 actions, 3 rounds

    overtime   {"timestamp": "...09:00:00Z", "session_id": "s", ...}
               {"timestamp": "...09:05:00Z", "session_id": "s", ...}                       <- after 5 minutes

An outcome that changes is progress: one step with another one ends a repeat and a cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.detectors.fingerprint import UNKNOWN
from exporter.detectors.steps import IDLE

if TYPE_CHECKING:
    from exporter.detectors.steps import Step
    from exporter.sessions import Session

KIND = "loop"


def retries(step: Step) -> dict[str, Any]:
    """The agent itself says that it tries again and again."""
    return {"loop": "retries", "action": step.action, "retry_count": step.retries}


def overtime(session: Session, at: float, max_duration: float, beat: int = 0) -> dict[str, Any] | None:
    """At work at or after its time. A heartbeat says so too, unless the session has ended or its agent has rested."""
    trail = session.trail
    if at < trail.started + max_duration:
        return None
    if beat and (beat == IDLE or at >= trail.ended or trail.resting):
        return None
    return {"loop": "overtime", "max_seconds": float(max_duration)}


def rounds(steps: list[Step], wanted: list[tuple[int, int]]) -> dict[str, Any] | None:
    """The last of the steps go round. Of several cycles it is the shortest; a repeat is none."""
    names = [step.action for step in steps]
    for length, total in wanted:
        if len(steps) < total or names[-total:-length] != names[length - total :]:
            continue
        latest = steps[-total:]
        # The newest first: where names go round and calls do not, the rest is never compared.
        if not all(_alike(latest[at], latest[at - length]) for at in range(total - 1, length - 1, -1)):
            continue
        if length == 1:
            return {"loop": "repeat", "action": names[-1], "times": total}
        if any(step.mark != latest[-1].mark for step in latest[-length:]):
            return {"loop": "cycle", "actions": names[-length:], "rounds": total // length}
    return None


def _alike(step: Step, other: Step) -> bool:
    return step.fingerprint() == other.fingerprint() != UNKNOWN
