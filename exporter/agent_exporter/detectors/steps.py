"""The state of the detectors for sessions and traces: their latest steps, in order of time.

A `Step` keeps the bytes of its line. Its fingerprint is computed only if it could be part of a loop, or before it is
stored: in an old log, for one line in thirty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from xxhash import xxh3_64_intdigest

from agent_exporter.detectors.fingerprint import UNKNOWN, fingerprints, has_milliseconds
from agent_exporter.detectors.reorder import Stream
from agent_exporter.lineage import Member  # noqa: TC001  (msgspec reads the annotations)

if TYPE_CHECKING:
    from agent_exporter.action import Action

MODEL, POLLING, FAILED, END, WORKING, IDLE, PAUSED = 1, 2, 4, 8, 16, 32, 64
"""Marks: a call of a model; an action that may repeat; error or timeout; the session's end; heartbeats (two marks); the
session waits for a person from here on."""
BEAT = WORKING | IDLE
WRITTEN_TWICE = 64
"""Latest steps to search for a record that was written twice."""
MAX_COPIES = 2
"""Further copies of a line that count as written twice. A logger has two handlers, perhaps three; more is a loop."""
BLUR = 0.001
"""Seconds by which the begin of a call may seem too late, as a line's times are rounded to milliseconds."""
LONGEST = 4
"""Actions in a cycle; docs/detectors.md."""


class Step(Struct, eq=False, gc=False, array_like=True):
    """One action, with what the detectors need. Times are seconds since 1970."""

    at: float
    began: float
    agent_id: str
    session_id: str
    action: str
    marks: int
    retries: int
    line: bytes | None = None
    mark: int = UNKNOWN
    """The fingerprint, once the line is given up for it."""
    tokens: int = 0
    cost_usd: float = 0.0
    gist: int = UNKNOWN
    """The fingerprint without the numbers in its output."""
    record: int = 0
    """63 bits of a hash of the line, once the line is given up."""
    failure: int = UNKNOWN
    """A hash of how it failed, whatever its input."""
    copies: int = 0
    """Copies of its line that counted as written twice."""
    bare: int = UNKNOWN
    """The hash of how it failed, without the words of its input."""

    def fingerprint(self) -> int:
        """A hash of its input and outcome. UNKNOWN equals no other."""
        if self.line is not None:
            if not self.marks & (POLLING | BEAT):
                self.mark, self.gist = fingerprints(self.line, failed=self.marks & FAILED != 0)
            self.record = xxh3_64_intdigest(self.line) >> 1
            self.line = None
        return self.mark


def begins_after(pause: float, began: float, at: float) -> bool:
    """Whether an action from `began` to `at` goes on with a session that waits for a person since `pause`.

    A call that was open at the pause does not, nor does the action within which the agent said that it pauses.
    """
    return began >= (pause + BLUR if began < at else pause)


class Steps(Stream[Step], eq=False, gc=False, array_like=True, kw_only=True):
    """The latest steps, in two lists: all of them, and only the calls of tools.

    Real runs put a call of a model, with ever new text, between the tools of a loop.
    """

    every: list[Step] = field(default_factory=list)
    tools: list[Step] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    """Kinds and sub-kinds that were found already: each is reported once."""
    held: bool = False
    """Whether a step still has its line."""

    def trim(self) -> None:
        """Forget the steps that cannot become part of a loop any more."""
        for steps in (self.every, self.tools):
            del steps[: max(0, len(steps) - _relevant(steps))]

    def lines(self) -> dict[int, int]:
        """Bytes of each step that keeps its line, by its identity: a step may be in several lists, and in a trace."""
        return {id(step): len(step.line) for step in (*self.every, *self.tools, *self.waiting) if step.line is not None}

    def drop_lines(self) -> None:
        """Replace lines by their fingerprints."""
        self.held = False
        for step in (*self.every, *self.tools, *self.waiting):
            step.fingerprint()


Run = tuple[str, int, int]
"""Calls in a row that failed in the same way: (action, `fingerprint.failure`, number of calls)."""
NO_RUN: Run = ("", UNKNOWN, 0)


class Trail(Steps, eq=False, gc=False, array_like=True, kw_only=True):
    """The state of one session."""

    trace: str = ""
    """The trace, as its latest line names it."""
    shared: bool = False
    """Whether other agents work in that trace."""
    started: float = float("inf")
    ended: bool = False
    resting: bool = False
    """Its agent logged an `idle` heartbeat after the latest action."""
    tokens: int = 0
    cost_usd: float = 0.0
    paused: float = 0.0
    """Since when it waits for a person; 0 if it does not."""
    failing_tool: Run = NO_RUN
    """The latest calls of tools, if they failed in the same way; calls of a model in between do not count."""
    failing_model: Run = NO_RUN
    """The same for calls of a model."""
    failing_tool_bare: int = UNKNOWN
    failing_model_bare: int = UNKNOWN
    """Of the latest of these calls, how it failed without the words of its input."""

    def has(self, action: Action) -> bool:
        """Whether the latest steps have the same record, with a time in milliseconds or finer; counts it as a copy.

        Then the line was written twice, for example by a logger with two handlers: two calls do not end in the same
        millisecond, take the same time and get the same answer. With coarser times they may, so these never count as
        one record, and neither do more than MAX_COPIES: a tight loop writes many. Only the latest WRITTEN_TWICE are
        compared.
        """
        if action.at.is_integer():
            return False
        began, line = action.began, action.line
        same = [
            step
            for step in (*self.waiting[-WRITTEN_TWICE:], *self.every)
            if step.began == began and step.action == action.action  # not `at`: it may be cut to now
            and (step.line == line or (step.line is None and step.record == xxh3_64_intdigest(line) >> 1))
        ]  # fmt: skip
        if len(same) != 1 or same[0].copies >= MAX_COPIES or not has_milliseconds(line):
            return False
        same[0].copies += 1
        return True


class Trace(Steps, eq=False, gc=False, array_like=True, kw_only=True):
    """The state of one trace."""

    trace_id: str
    names: list[str]
    """Its names in the lines."""
    members: dict[str, Member] = field(default_factory=dict)
    shared: bool = False
    """Whether several agents work in it: only then has it a path that no single session shows."""
    spans: dict[str, str] = field(default_factory=dict)
    """Span ids from lines, with the member of each."""
    failures: list[Failure] = field(default_factory=list)
    """The latest failures, in order of time."""
    failing: list[str] = field(default_factory=list)
    """Agents of the present cascade."""
    seen: float = 0.0
    """The clock when its newest line was read, or that line's time in a past log."""
    dirty: bool = False
    stored: bool = False
    """There is a row of it."""


class Failure(Struct, frozen=True, gc=False, array_like=True):
    """An error or a timeout."""

    at: float
    agent_id: str
    session_id: str


def _relevant(steps: list[Step]) -> int:
    """How many of the latest steps could be part of an unfinished cycle: names repeat after at most LONGEST."""
    names = [step.action for step in steps]
    most = LONGEST
    for period in range(1, LONGEST + 1):
        same = 0
        while same + period < len(names) and names[-1 - same] == names[-1 - same - period]:
            same += 1
        most = max(most, same + period)
    return most
