"""What the detectors remember of sessions and traces: their latest steps, in order of time.

Per step there are its time, a letter for the name of its action (`screen`), and its line. Times and letters tell of
most steps that nothing can be found in them; then but for the last few they are forgotten. A line is kept until it is
looked at closely or about to be stored: only then it becomes a `Step`, with a fingerprint of what it said.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.action import Action, decode
from exporter.detectors.fingerprint import UNKNOWN, fingerprint
from exporter.detectors.reorder import BATCH, Stream
from exporter.detectors.screen import LONGEST, is_tool, polls, tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from re import Pattern

    from exporter.detectors.screen import Screen

MOST_KEPT = 64
"""Decided steps that are remembered at most: room for a loop of tools with five calls of a model between two."""
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
    began: float = inf
    """Seconds since 1970, as the line has it."""
    line: bytes | None = None
    """Until the fingerprint is wanted, as for most it never is. None when stored."""
    mark: int = UNKNOWN

    @classmethod
    def of(cls, at: float, action: Action, *, polls: bool) -> Step:
        """What an action tells, once it is looked at closely."""
        tokens, metadata, duration = action.tokens, action.metadata, action.duration_ms
        return cls(
            at,
            action.agent_id,
            action.action,
            0,
            (metadata and metadata.retry_count) or 0,
            0 if tokens is None else (tokens.prompt or 0) + (tokens.completion or 0),
            (tokens and tokens.cost_usd) or 0.0,
            action.at if duration is None else action.at - duration / 1000,
            None if polls else action.line,
        )

    def fingerprint(self) -> int:
        """What it asked and what came of it; UNKNOWN equals nothing."""
        if self.line is not None:
            self.mark = fingerprint(self.line)
            self.line = None
        return self.mark

    def __lt__(self, other: Step) -> bool:
        """By time; at the same time by content, so that the order of arrival does not matter."""
        if self.at != other.at:
            return self.at < other.at
        return self._content() < other._content()

    def _content(self) -> tuple[int, str, str, int, int, float, int, float]:
        return (
            self.beat, self.agent_id, self.action, self.fingerprint(), self.retries,
            self.cost_usd, self.tokens, self.began,
        )  # fmt: skip


class Steps(Stream, eq=False, gc=False, array_like=True, kw_only=True):
    """The latest steps of a session or a trace."""

    letters: list[str] = []
    """Empty for a heartbeat, which is in no word."""
    lines: list[bytes | Step] = []
    """None of them bytes when stored."""
    odd: bool = False
    """Something that waits has to be looked at closely."""
    found: list[str] = []
    """Kinds and sub-kinds that were found already: each is told once."""

    def sort(self, window: float) -> None:
        """By time, then by content."""
        past = self.past
        came = sorted((self.step(index), self.letters[index]) for index in self.in_time(window))
        self.times[past:] = [step.at for step, _ in came]
        self.lines[past:] = [step for step, _ in came]
        self.letters[past:] = [letter for _, letter in came]

    def may_go_round(self, end: int, pattern: Pattern[str]) -> bool:
        """Whether the names up to an index could be those of a loop."""
        word = "".join(self.letters[:end])
        if pattern.search(word):
            return True
        of_tools = tools(word)
        return len(of_tools) < len(word) and pattern.search(of_tools) is not None

    def going(self, end: int) -> Iterator[list[Step]]:
        """For each step up to an index: those up to it, of tools alone and of all, as far as they could be a loop."""
        every: list[Step] = []
        calls: list[Step] = []
        for index in range(end):
            letter = self.letters[index]
            if not letter:
                continue
            step = self.step(index)
            every.append(step)
            if is_tool(letter):
                calls.append(step)
                if index >= self.past:
                    yield calls
            if index >= self.past:
                yield every

    def decided(self, end: int) -> None:
        """Up to an index nothing waits any longer: forget what no loop that goes on could begin with."""
        times, letters, lines = self.times, self.letters, self.lines
        if end > self.past:
            self.released = times[end - 1]
            if "" in letters[:end]:  # heartbeats have said what they had to
                kept = [index for index in range(len(letters)) if letters[index] or index >= end]
                end -= len(letters) - len(kept)
                times[:], lines[:] = [times[index] for index in kept], [lines[index] for index in kept]
                letters[:] = [letters[index] for index in kept]
            gone = end - _relevant("".join(letters[:end]))
            if gone > 0:
                del times[:gone], letters[:gone], lines[:gone]
                end -= gone
            self.past = end
            self.odd = self.odd and len(letters) > end
        self.due = len(letters) + BATCH

    def step(self, index: int) -> Step:
        """What is known of one."""
        line = self.lines[index]
        if line.__class__ is not Step:
            assert isinstance(line, bytes)
            action = decode(line)
            assert isinstance(action, Action)
            line = self.lines[index] = Step.of(self.times[index], action, polls=polls(self.letters[index]))
        assert isinstance(line, Step)
        return line

    def size(self) -> int:
        """Bytes of lines that are kept."""
        return sum(len(line if isinstance(line, bytes) else line.line or b"") for line in self.lines)

    def settle(self) -> None:
        """Give up the lines for what is known of them."""
        for index in range(len(self.lines)):
            self.step(index).fingerprint()

    def restore(self, screen: Screen) -> None:
        """Letters are those of one process."""
        steps = [self.step(index) for index in range(len(self.lines))]
        self.letters = ["" if step.beat else screen.letter(step.action) for step in steps]

    def forget(self) -> None:
        """Begin anew."""
        self.times, self.letters, self.lines = [], [], []
        self.past = 0
        self.due = BATCH
        self.odd = False


def _relevant(word: str) -> int:
    """How many of the latest could be part of a loop that goes on, over all actions or over those of tools alone."""
    most = _going_round(word)
    of_tools = tools(word)
    if len(of_tools) == len(word):
        return most
    wanted = _going_round(of_tools)
    back = 0
    while wanted and back < min(len(word), MOST_KEPT):
        back += 1
        wanted -= is_tool(word[-back])
    return max(most, back)


def _going_round(word: str) -> int:
    """Names that come again after LONGEST steps at most, and at least as many steps as could begin with the next."""
    most = LONGEST
    for period in range(1, LONGEST + 1):
        same = 0
        while same + period < len(word) and word[-1 - same] == word[-1 - same - period]:
            same += 1
        if same + period > most:
            most = same + period
    return min(most, MOST_KEPT)


class Trail(Steps, eq=False, gc=False, array_like=True, kw_only=True):
    """What is remembered of one session."""

    who: tuple[str, str] = "", ""
    """(session, trace as its latest line names it), one object for all that is remembered of it."""
    shared: bool = False
    """Other agents are at work in that trace."""
    resting: bool = False
    """Its agent said `idle` after the latest action."""
    started: float = inf
    """When the first of its actions began, of those that are decided."""
    begun: float = inf
    """The same of those that have come."""
    earlier: tuple[tuple[float, float], ...] = ()
    """(time, begin) of those that wait and began before any that came before."""
    ended: float = inf
    """Time of the line that told its end."""
    passed_over: tuple[int, float] = 0, 0.0
    """(tokens, US dollars) of what came too late."""

    def sort(self, window: float) -> None:
        """And look at it closely."""
        late = set(range(self.past, len(self.times))).difference(self.in_time(window))
        tokens, cost_usd = self.passed_over
        for step in map(self.step, late):
            tokens += step.tokens
            cost_usd += step.cost_usd
        self.passed_over = tokens, cost_usd
        self.odd = True
        super().sort(window)
        self.earlier = tuple((step.at, step.began) for step in map(self.step, range(self.past, len(self.times))))

    def begin(self, until: float) -> None:
        """All up to that time is decided: it may show that the session began earlier."""
        while self.earlier and self.earlier[0][0] <= until:
            self.started = min(self.started, self.earlier[0][1])
            self.earlier = self.earlier[1:]


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
    stored: bool = False
    """There is a row of it."""
