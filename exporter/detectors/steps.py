"""What the detectors remember of sessions and traces: their latest steps, in order of time.

Per step there are its time, a letter for the name of its action (`screen`), and its line. Times and letters tell of most
steps that nothing can be found in them; then but for the last few they are forgotten. A line is kept until it is
looked at closely or about to be stored: only then it becomes a `Step`, with a fingerprint of what it said.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.action import Action, decode
from exporter.detectors.fingerprint import UNKNOWN, fingerprint
from exporter.detectors.screen import is_tool, polls, tools

if TYPE_CHECKING:
    from re import Pattern

    from exporter.detectors.screen import Screen

BATCH = 8
"""Steps that wait before they are looked at. More would be cheaper to look at, and dearer to keep in the cache."""
LONGEST = 4
"""Actions in a cycle; docs/detectors.md."""
WORKING, IDLE = 1, 2
"""Heartbeats."""


class Step(Struct, eq=False, gc=False, array_like=True):
    """One action as far as its order matters."""

    at: float
    """Seconds since 1970. A line that claims to be of the future is of now: nothing waits for its time to come."""
    agent_id: str
    action: str
    beat: int = 0
    """It is no action but a heartbeat."""
    retries: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    mark: int = UNKNOWN
    """The fingerprint of what it asked and what came of it; UNKNOWN equals nothing."""

    @classmethod
    def of(cls, at: float, line: bytes, *, polls: bool) -> Step:
        """What a line says, once it is looked at closely."""
        action = decode(line)
        assert isinstance(action, Action)
        tokens, metadata = action.tokens, action.metadata
        return cls(
            at,
            action.agent_id,
            action.action,
            0,
            (metadata and metadata.retry_count) or 0,
            0 if tokens is None else (tokens.prompt or 0) + (tokens.completion or 0),
            (tokens and tokens.cost_usd) or 0.0,
            UNKNOWN if polls else fingerprint(line),
        )

    def __lt__(self, other: Step) -> bool:
        """By time; at the same time by content, so that the order of arrival does not matter."""
        if self.at != other.at:
            return self.at < other.at
        return self._content() < other._content()

    def _content(self) -> tuple[int, str, str, int, int, float, int]:
        return self.beat, self.agent_id, self.action, self.mark, self.retries, self.cost_usd, self.tokens


class Steps(Struct, eq=False, gc=False, array_like=True, kw_only=True):
    """The latest steps of a session or a trace: some that were decided, then those that wait in the order they came."""

    times: list[float] = []
    letters: list[str] = []
    """Empty for a heartbeat, which is in no word."""
    lines: list[bytes | Step] = []
    """None of them bytes when stored."""
    past: int = 0
    """How many of them are decided."""
    near: int = 0
    """How many of those, the latest, came one after the other; of older ones only tools are kept."""
    newest: float = 0.0
    """The watermark."""
    released: float = 0.0
    """Time of the step decided last: what comes with an earlier one comes too late, and is passed over."""
    odd: bool = False
    """Something that waits has to be looked at closely."""
    found: list[str] = []
    """Kinds and sub-kinds that were found already: each is told once."""

    def put_in_order(self, window: float) -> int:
        """Sort what waits, and say up to which index it need wait no longer: nothing earlier can come within `window`."""
        times, past = self.times, self.past
        waiting = times[past:]
        if not waiting:
            return past
        if waiting[0] <= self.released or waiting != sorted(set(waiting)):
            self._sort()
            if len(times) == past:
                return past
        self.newest = max(self.newest, times[-1])
        return bisect_left(times, self.newest - window, past)

    def _sort(self) -> None:
        """Some came out of order, at the same time, or too late."""
        past = self.past
        letters = dict(enumerate(self.letters[past:], past))
        order = sorted((self.step(index), index) for index in letters if self.times[index] >= self.released)
        self.times[past:] = [step.at for step, _ in order]
        self.lines[past:] = [step for step, _ in order]
        self.letters[past:] = [letters[index] for _, index in order]

    def may_go_round(self, end: int, pattern: Pattern[str]) -> bool:
        """Whether the names up to an index could be those of a loop."""
        letters = self.letters
        word = "".join(letters[self.past - self.near : end])
        if pattern.search(word):
            return True
        of_tools = tools("".join(letters[:end]))
        return of_tools != word and pattern.search(of_tools) is not None

    def decided(self, end: int) -> None:
        """Up to an index nothing waits any longer: forget what no loop that goes on could begin with."""
        if end == self.past:
            return
        self.released = self.times[end - 1]
        letters = self.letters
        actions = [index for index in range(self.past - self.near, end) if letters[index]]
        near = actions[-_relevant("".join([letters[index] for index in actions])) :]
        first = near[0] if near else end
        calls = [index for index in range(end) if letters[index] and is_tool(letters[index])]
        calls = calls[-_relevant("".join([letters[index] for index in calls])) :]
        kept = [index for index in calls if index < first] + near
        for column in (self.times, self.letters, self.lines):
            column[:end] = [column[index] for index in kept]  # type: ignore[attr-defined, index]
        self.past, self.near = len(kept), len(near)
        self.odd = self.odd and len(self.times) > self.past

    def step(self, index: int) -> Step:
        """What is known of one."""
        line = self.lines[index]
        if line.__class__ is not Step:
            assert isinstance(line, bytes)
            line = self.lines[index] = Step.of(self.times[index], line, polls=polls(self.letters[index]))
        assert isinstance(line, Step)
        return line

    def settle(self) -> None:
        """Give up the lines for what is known of them."""
        for index in range(len(self.lines)):
            self.step(index)

    def restore(self, screen: Screen) -> None:
        """Letters are those of one process."""
        self.letters = ["" if step.beat else screen.letter(step.action) for step in map(self.step, range(len(self.lines)))]

    def forget(self) -> None:
        """Begin anew."""
        for column in (self.times, self.letters, self.lines):
            column.clear()  # type: ignore[attr-defined]
        self.past = self.near = 0
        self.odd = False


def _relevant(word: str) -> int:
    """How many of the latest could be part of a loop that goes on: names that come again after LONGEST at most."""
    most = LONGEST
    for period in range(1, LONGEST + 1):
        same = 0
        while same + period < len(word) and word[-1 - same] == word[-1 - same - period]:
            same += 1
        if same + period > most:
            most = same + period
    return most


class Trail(Steps, eq=False, gc=False, array_like=True, kw_only=True):
    """What is remembered of one session."""

    trace: str = ""
    """As its latest line names it."""
    shared: bool = False
    """Other agents are at work in that trace."""
    resting: bool = False
    """Its agent said `idle` after the latest action."""


class Failure(Struct, frozen=True, order=True, gc=False, array_like=True):
    """An error or a timeout."""

    at: float
    agent_id: str
    session_id: str


class Member(Struct, eq=False, gc=False, array_like=True):
    """One session's part of a trace."""

    agent_id: str
    session_id: str
    parent_agent_id: str
    parent_span_id: str
    """Given by the line in so many words, or empty."""
    started: float
    """Seconds since 1970."""


class Trace(Steps, eq=False, gc=False, array_like=True, kw_only=True):
    """What is remembered of one trace. Its steps are those of all agents, and kept only while there are several."""

    trace_id: str
    names: list[str]
    """What lines call it."""
    members: dict[str, Member] = {}
    shared: bool = False
    """More than one agent is at work in it."""
    spans: dict[str, str] = {}
    """W3C ids that lines gave, with the member each belongs to."""
    fallen: list[Failure] = []
    """Failures that wait for their turn."""
    failures: list[Failure] = []
    """The latest others, in order of time."""
    failing: list[str] = []
    """Agents of the cascade that goes on."""
    seen: float = 0.0
    """The clock when its newest line was read, or that line's time in a log of the past."""
    dirty: bool = False
