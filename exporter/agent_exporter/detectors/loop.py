"""A session that repeats itself, or does not end.

Each of its six kinds is found once in a session, a cycle across agents once in a trace.

    retries    {"action": "search", "metadata": {"retry_count": 4}, ...}                   <- more than 3

    repeat     {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}
               {"action": "search", "input": {"q": "x"}, "output": {"hits": 0}, ...}       <- more than 3 in a row

    cycle      book, refused; think; book, refused; think; book, refused; think            <- 2 to 4 actions, 3 rounds

    overtime   {"timestamp": "...09:00:00Z", "session_id": "s", ...}
               {"timestamp": "...09:05:00Z", "session_id": "s", ...}                       <- after 5 minutes

    failing    {"action": "exec", "input": {"command": "cat a"}, "error": {"message": "no such file: a.csv"}, ...}
               {"action": "exec", "input": {"command": "head a"}, "error": {"message": "no such file: a.csv"}, ...}
               ...                                           <- 6 calls of it in a row, whatever they are given

    stalled    {"action": "status", "input": {"job": "j"}, "output": {"text": "running for 10 s"}, ...}
               {"action": "status", "input": {"job": "j"}, "output": {"text": "running for 20 s"}, ...}
               ...                                           <- 20 in a row that differ in numbers only

An outcome that changes is progress: one step with another one ends a repeat and a cycle. Numbers that move on are
progress until the session is stalled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_exporter.detectors.fingerprint import UNKNOWN
from agent_exporter.detectors.steps import BEAT, IDLE, LONGEST, NO_RUN

if TYPE_CHECKING:
    from agent_exporter.config import Loop
    from agent_exporter.detectors.steps import Run, Step, Trail


def retries(step: Step, settings: Loop) -> dict[str, Any] | None:
    """The agent logs that it retries too often."""
    if step.retries > settings.max_retries:
        return {"loop": "retries", "action": step.action, "retry_count": step.retries}
    return None


def overtime(trail: Trail, step: Step, max_duration: float) -> dict[str, Any] | None:
    """Still at work after its time. A heartbeat shows that too, unless the session has ended or its agent is idle."""
    if step.at < trail.started + max_duration or step.marks & IDLE:
        return None
    if step.marks & BEAT and (trail.ended or trail.resting):
        return None
    return {"loop": "overtime", "max_seconds": float(max_duration)}


def longer(run: Run, bare: int, step: Step) -> Run:
    """The run of alike failures after a step, which extends, begins or ends one. `bare` is of the step before it."""
    if not step.failure:
        return NO_RUN
    action, how, times = run
    alike = action == step.action and (how == step.failure or bare == step.bare != UNKNOWN)
    return step.action, step.failure, times + 1 if alike else 1


def failing(run: Run, settings: Loop) -> dict[str, Any] | None:
    """One action fails again and again in the same way, whatever its input."""
    action, _, times = run
    return {"loop": "failing", "action": action, "times": times} if times >= settings.failing_calls else None


def stalled(tools: list[Step], names: list[str], calls: int) -> dict[str, Any] | None:
    """The latest calls have one action and one input, and their outcomes differ only in numbers."""
    name = names[-1]
    if len(names) < calls or names[-2] != name or names[-calls] != name or names[-calls:].count(name) < calls:
        return None
    for step in tools[-calls:]:
        step.fingerprint()
        if step.gist != tools[-1].gist or not step.gist:
            return None
    return {"loop": "stalled", "action": name, "times": calls}


def shapes(settings: Loop) -> list[tuple[int, int]]:
    """(actions in a round, steps in all rounds) of a repeat and of every cycle."""
    return [
        (1, settings.max_repeats + 1),
        *((length, length * settings.cycle_rounds) for length in range(2, LONGEST + 1)),
    ]


def longest(settings: Loop) -> int:
    """How many steps the detection of a loop needs, at most."""
    return max(settings.stalled_calls, *(total for _, total in shapes(settings)))


def rounds(steps: list[Step], names: list[str], shapes: list[tuple[int, int]]) -> dict[str, Any] | None:
    """The evidence if the latest steps repeat; the shortest of several cycles. `names` are those of the `steps`."""
    name = names[-1]
    if name not in names[-1 - LONGEST : -1]:  # most steps end here
        return None
    count = len(names)
    for length, total in shapes:
        # Compare names first: that ends nearly all other cases, without fingerprints.
        if count >= total and names[-1 - length] == name and names[-total:-length] == names[length - total :]:
            latest = steps[-total:]
            if not _alike(latest, length):
                continue
            if length == 1:
                return {"loop": "repeat", "action": name, "times": total}
            if any(step.mark != latest[-1].mark for step in latest[-length:]):
                return {"loop": "cycle", "actions": names[-length:], "rounds": total // length}
    return None


def _alike(steps: list[Step], length: int) -> bool:
    """Whether each call, after the first round, equals the one `length` before it."""
    return all(
        steps[at].fingerprint() == steps[at - length].fingerprint() != UNKNOWN
        for at in range(len(steps) - 1, length - 1, -1)
    )
