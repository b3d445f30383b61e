"""The log of an invented fleet, with failures planted in it and the truth about them.

    fleet = Fleet(seed=1, apart=True)
    fleet.lines     every line with the second at which it is written, in that order
    fleet.truth     what must be found, and nothing else
    fleet.harmless  session or trace -> why what it shows is no failure

Each case is a function of one session. INCIDENTS plant a failure, and say so with `plant` at the step that meets the
definition in docs/detectors.md; NEGATIVES come as near to one as health can. Every agent goes through all of them in an
order of its own, with healthy sessions between. Then agents of one trace fail together.

The agents differ in their clocks: CLOCKS. Truth is told in the times that the lines claim.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 3, 18, 6, tzinfo=UTC).timestamp()
BUDGET, BATCH_BUDGET, IDLE, LIMIT, REVIEW_LIMIT = 20_000, 8_000, 300, 300, 1_800
"""Tokens, and seconds."""
CONFIG = f"""
task_types:
  default: {{session_tokens: {BUDGET}, idle_timeout: {IDLE}s, max_duration: {LIMIT}s}}
  batch: {{session_tokens: {BATCH_BUDGET}, idle_timeout: {IDLE}s, max_duration: 12h}}
  review: {{session_tokens: {BUDGET}, idle_timeout: 12h, max_duration: {REVIEW_LIMIT}s}}
"""


class Clock(NamedTuple):
    """How an agent tells the time."""

    ahead: float = 0
    """Seconds."""
    zone: float = 0
    """Hours east of UTC; the lines say so."""
    whole: bool = False
    """Whole seconds alone."""

    def read(self, second: float) -> datetime:
        """What it shows at a second since 1970."""
        shown = second + self.ahead
        return datetime.fromtimestamp(
            shown // 1 if self.whole else round(shown, 3), timezone(timedelta(hours=self.zone))
        )


CLOCKS = {
    "right": Clock(),
    "local-zone": Clock(zone=5.5),
    "whole-seconds": Clock(whole=True),
    "90s-ahead": Clock(ahead=90),
    "90s-behind": Clock(ahead=-90),
    "hour-behind": Clock(ahead=-3600),
    "hour-ahead": Clock(ahead=3600),
    "local-time-said-to-be-utc": Clock(ahead=-5 * 3600, whole=True),
}
"""Agent -> its clock."""


class Failure(NamedTuple):
    """What must be found: all of it has to be equal."""

    kind: str
    """With the kind of loop."""
    agent_id: str
    session_id: str
    """Or the trace."""
    at: str


class Agent:
    """One agent; `now` is the true second at which it is."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name, self.clock = fleet, name, CLOCKS[name]
        self.now = START + fleet.rng.uniform(0, 600)
        self.spent: list[int] = []
        """Tokens of its latest calls of the model."""

    def write(self, session_id: str, action: str, **fields: Any) -> float:
        """Log an action that ends now. What the line claims as its time, in seconds since 1970."""
        shown = self.clock.read(self.now)
        said = shown.isoformat(timespec="seconds" if self.clock.whole else "milliseconds").replace("+00:00", "Z")
        told = {"timestamp": said, "agent_id": self.name, "session_id": session_id, "action": action}
        delay = self.fleet.rng.uniform(0, 2) if self.fleet.rng.random() < 0.03 else 0
        if self.clock.ahead and not self.fleet.apart:
            delay = 0
        self.fleet.lines.append((self.now + delay, json.dumps(told | {"status": "success"} | fields).encode()))
        return shown.timestamp()

    def beat(self, state: str) -> None:
        """A heartbeat."""
        self.write(f"process-{self.name}", "heartbeat", output={"state": state})


class Session:
    """A session of an agent; each step takes `took` seconds and begins `gap` after the last."""

    def __init__(self, agent: Agent, name: str, trace: str | None = None, caller: str | None = None) -> None:
        self.agent, self.fleet, self.rng = agent, agent.fleet, agent.fleet.rng
        self.name, self.trace = f"{name}-{self.fleet.number()}", trace
        self.metadata: dict[str, Any] = {} if caller is None else {"parent_agent_id": caller}
        self.tokens = 0
        self.began = float("inf")
        self.at = 0.0
        """Both as its lines claim."""

    def do(
        self,
        action: str,
        *,
        took: float | None = None,
        gap: float | None = None,
        says: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Session:
        """Log an action; `says` is metadata."""
        took = self.rng.uniform(0.2, 1.5) if took is None else took
        self.agent.now += took + (self.rng.uniform(1, 3) if gap is None else gap)
        fields |= {"duration_ms": round(took * 1000), "parent_trace_id": self.trace or f"task-{self.name}"}
        self.at = self.agent.write(self.name, action, metadata=self.metadata | (says or {}), **fields)
        self.began = min(self.began, self.at - round(took * 1000) / 1000)
        return self

    def think(self, tokens: int = 0, **fields: Any) -> Session:
        """A call of the model, of ordinary size unless another is given."""
        tokens = tokens or self.rng.randint(750, 1250)
        self.tokens += tokens
        self.agent.spent = [*self.agent.spent, tokens][-50:]
        prompt = tokens * 4 // 5
        text = {"text": f"thought {self.fleet.number()}"}
        return self.do(
            "llm_call", **{"output": text, "tokens": {"prompt": prompt, "completion": tokens - prompt}} | fields
        )

    def work(self, steps: int, **fields: Any) -> Session:
        """Ordinary steps, each about another thing; now and then a call fails, and the second attempt does not."""
        for _ in range(steps):
            asked = {"input": {"order": self.fleet.number()}, "output": {"text": f"order {self.fleet.number()} found"}}
            action = self.rng.choice(["search", "read_file", "send_mail"])
            if self.rng.random() < 0.1:
                failed = {
                    "status": "error",
                    "output": None,
                    "error": {"type": "Timeout", "message": "no answer in 5 s"},
                }
                self.do(action, **asked | failed | fields)
                self.do(action, says={"retry_count": 1}, **asked | fields)
            else:
                self.do(action, **asked | fields)
        return self

    def wait(self, seconds: float, state: str | None = None) -> Session:
        """Nothing but heartbeats, one a minute, where they have a state to tell."""
        until = self.agent.now + seconds
        while state and self.agent.now + 60 < until:
            self.agent.now += 60
            self.agent.beat(state)
        self.agent.now = until
        return self

    def end(self) -> None:
        """Its last line, and its agent rests."""
        self.do("done", says={"session_end": True, "task_completed": True})
        self.agent.now += 2
        self.agent.beat("idle")

    def plant(self, kind: str, at: float | None = None) -> None:
        """It has failed with its latest step, or at another time."""
        self.fleet.truth.append(Failure(kind, self.agent.name, self.name, stamp(self.at if at is None else at)))


# --- failures --------------------------------------------------------------------------------------------------------


def fail(s: Session, action: str = "exec", why: str = "no such file", **fields: Any) -> Session:
    """A call with arguments of its own that fails in one way, told with other ids each time."""
    number = s.fleet.number()
    error = {"type": "ToolError", "message": f"{why}: /tmp/run-{number}/report.csv (request {number:08x})"}
    return s.do(action, input={"command": f"head -{number} report"}, status="error", error=error, **fields)


def failing(s: Session) -> None:
    """One tool fails in one way whatever it is given, and the model thinks in between."""
    for times in range(1, s.rng.randint(7, 10)):
        fail(s)
        if times == 6:
            s.plant("loop failing")
        if s.rng.random() < 0.5:
            s.think()


def model_failing(s: Session) -> None:
    """The same of the model itself."""
    for times in range(1, s.rng.randint(7, 10)):
        fail(s, "llm_call", "rate limited")
        if times == 6:
            s.plant("loop failing")


def stalled(s: Session) -> None:
    """Twenty looks at a job of which only the elapsed time moves on."""
    for times in range(1, s.rng.randint(21, 24)):
        s.do("status", input={"job": "j-7"}, output={"text": f"pid {4000 + times}: running for {times * 10} s"})
        if times == 20:
            s.plant("loop stalled")


def repeat(s: Session, **fields: Any) -> None:
    """The fourth like call in a row; where all fail, that is no `failing` loop beside it."""
    refused = s.rng.random() < 0.5
    came = {"status": "error", "error": "refused"} if refused else {"output": {"hits": 0}}
    for times in range(1, s.rng.randint(7, 9)):
        s.do("search", input={"q": "refund"}, **came, **fields)
        if times == 4:
            s.plant("loop repeat")


def retries(s: Session) -> None:
    """The fourth retry, by its own account."""
    s.do("search", input={"q": "x"}, status="timeout", says={"retry_count": 4}).plant("loop retries")


def cycle(s: Session) -> None:
    """Two calls by turns, with nothing new, three times round."""
    for times in range(1, 4):
        s.do("book", input={"flight": "F1"}, status="error", error="sold out")
        s.do("look", input={"flight": "F1"}, output={"seats": 0})
        if times == 3:
            s.plant("loop cycle")


def overtime(s: Session) -> None:
    """Small steps, one after the other, beyond its time."""
    while s.at < s.began + LIMIT:
        s.work(1, gap=s.rng.uniform(5, 15))
    s.plant("loop overtime", s.began + LIMIT)


def call_over_time(s: Session) -> None:
    """One call takes longer than the whole session may; the heartbeats meanwhile show it."""
    asked = s.agent.now
    s.wait(LIMIT + 150, "working")
    s.do("search", took=s.agent.now - asked, gap=0, input={"q": "all"}, output={"hits": 1})
    s.plant("loop overtime", s.began + LIMIT)


def waits_without_a_word(s: Session) -> None:
    """Hours between two steps, and nothing says that it waits for a person."""
    s.metadata["task_type"] = "review"
    s.work(3).wait(s.rng.uniform(2, 6) * 3600).work(3)
    s.plant("loop overtime", s.began + REVIEW_LIMIT)


def spend(s: Session, ceiling: int, **fields: Any) -> None:
    """Calls of the model, none of which is remarkable, until all together are too much, and two more."""
    while s.tokens <= ceiling:
        s.think(**fields)
    s.plant("session_budget")
    s.think(**fields).think(**fields)


def budget(s: Session) -> None:
    """Many small calls."""
    spend(s, BUDGET)


def budget_of_long_calls(s: Session) -> None:
    """Each call takes longer than the idle time, and begins soon after the last."""
    s.metadata["task_type"] = "batch"
    while s.tokens <= BATCH_BUDGET:
        s.think(took=s.rng.uniform(1.2, 4) * IDLE, gap=s.rng.uniform(1, 0.9 * IDLE))
    s.plant("session_budget")
    s.think()


def budget_between_heartbeats(s: Session) -> None:
    """Longer gaps than the idle time, in which heartbeats say that it works."""
    s.metadata["task_type"] = "batch"
    while s.tokens <= BATCH_BUDGET:
        s.think().wait(2 * IDLE, "working")
    s.plant("session_budget")  # with the call before the heartbeats


def budget_over_a_pause(s: Session) -> None:
    """Half of it before a person was asked, half after the answer."""
    while s.tokens < BUDGET / 2:
        s.think()
    s.do("ask", says={"session_paused": True}).wait(3 * 3600, "idle")
    spend(s, BUDGET)


def anomaly(s: Session) -> None:
    """One call of three times the mean."""
    while len(s.agent.spent) < 25:
        Session(s.agent, "warm-up").think().think().end()
    s.think(3 * sum(s.agent.spent) // len(s.agent.spent)).plant("action_anomaly")


def repeat_on_both_sides_of_a_gap(s: Session) -> None:
    """The same id after its idle time is a new session, in which all can be found again."""
    repeat(s)
    s.wait(2 * IDLE)
    s.tokens, s.began = 0, float("inf")
    repeat(s)


def tight_loop(s: Session) -> None:
    """Like calls, many a second: their lines are equal where times are whole seconds."""
    repeat(s, took=0.02, gap=0.005)


def tight_budget(s: Session) -> None:
    """Calls that a second holds fifty of, each line equal to the last, without a word of what was asked."""
    calls = {"took": 0.015, "gap": 0.005, "output": None}
    while s.tokens <= BUDGET:
        s.think(1000, **calls)
    s.plant("session_budget")


# --- what only looks like one ----------------------------------------------------------------------------------------


def five_failures(s: Session) -> None:
    """five failures, then a success, then five more"""
    for _ in range(5):
        fail(s)
    s.do("exec", input={"command": "ls"}, output={"text": "report.csv"})
    for _ in range(5):
        fail(s)


def failures_of_two_tools(s: Session) -> None:
    """another tool is tried after every three failures"""
    for _ in range(3):
        for _ in range(3):
            fail(s)
        s.work(1)


def other_failures(s: Session) -> None:
    """every failure is another one"""
    for why in (
        "no such file",
        "permission denied",
        "disk full",
        "broken pipe",
        "no such host",
        "is locked",
        "is empty",
    ):
        fail(s, why=why)


def nineteen_looks(s: Session) -> None:
    """a job that is done at the twentieth look"""
    for times in range(19):
        s.do("status", input={"job": "j-7"}, output={"text": f"{times * 5} % done"})
    s.do("status", input={"job": "j-7"}, output={"text": "finished"})


def looks_at_many_jobs(s: Session) -> None:
    """twenty-five looks, each at another job"""
    for job in range(25):
        s.do("status", input={"job": f"j-{job}"}, output={"text": f"running for {job} s"})


def progress_in_words(s: Session) -> None:
    """one look of twenty-five has another word to say"""
    for times in range(25):
        s.do("status", input={"job": "j-7"}, output={"text": f"{'building' if times < 12 else 'testing'}, {times} s"})


def three_alike(s: Session) -> None:
    """three like calls, something else, and three more"""
    for _ in range(2):
        for _ in range(3):
            s.do("search", input={"q": "refund"}, output={"hits": 0})
        s.work(1)


def two_rounds(s: Session) -> None:
    """two calls by turns, twice"""
    for _ in range(2):
        s.do("book", input={"flight": "F1"}, output={"text": "sold out"})
        s.do("look", input={"flight": "F1"}, output={"seats": 0})
    s.work(1)


def written_twice(s: Session) -> None:
    """two like calls and half a budget, which a logger with two handlers writes twice each"""
    if s.agent.clock.whole:  # nothing tells these from a tight loop
        return
    lines = s.fleet.lines
    while s.tokens < 0.6 * BUDGET:
        s.think()
        lines.append(lines[-1])
    for _ in range(2):
        s.do("search", input={"q": "refund"}, output={"hits": 0})
        lines.append(lines[-1])


def other_items_in_one_second(s: Session) -> None:
    """ten calls within a second, each about another item"""
    for item in range(10):
        s.do("read_file", took=0.02, gap=0.005, input={"item": item}, output={"text": "read"})


def just_within_budget(s: Session) -> None:
    """exactly its budget, which is within it"""
    while BUDGET - s.tokens > 1500:
        s.think()
    s.think(BUDGET - s.tokens)


def one_long_call(s: Session) -> None:
    """one call four times as long as the idle time, well within its time and budget"""
    s.metadata["task_type"] = "batch"
    s.think().think(took=4 * IDLE).think()


def real_gap(s: Session) -> None:
    """three like calls and most of a budget before an idle time, and as much after it: that is another session"""
    for seconds in (2 * IDLE, 0):
        s.tokens = 0
        while s.tokens < 0.7 * BUDGET:
            s.think()
        for _ in range(3):
            s.do("search", input={"q": "refund"}, output={"hits": 0})
        s.wait(seconds, "idle")


def paused(s: Session) -> None:
    """hours, in which it waits for a person as it has said"""
    for _ in range(2):
        s.work(3).do("ask", says={"session_paused": True}).wait(
            s.rng.uniform(2, 6) * 3600, s.rng.choice([None, "idle"])
        )
    s.work(3)


def works_on_after_the_end(s: Session) -> None:
    """the agent works on something else when this session has ended"""
    s.work(2).do("done", says={"session_end": True})
    s.wait(2 * LIMIT, "working")


def large_but_usual(s: Session) -> None:
    """one call of not quite twice the mean"""
    while len(s.agent.spent) < 25:
        Session(s.agent, "warm-up").think().think().end()
    s.think(int(1.9 * sum(s.agent.spent) / len(s.agent.spent)))


INCIDENTS: tuple[Callable[[Session], None], ...] = (
    failing, model_failing, stalled, repeat, retries, cycle, overtime, call_over_time, waits_without_a_word, budget,
    budget_of_long_calls, budget_between_heartbeats, budget_over_a_pause, anomaly, repeat_on_both_sides_of_a_gap,
    tight_loop, tight_budget,
)  # fmt: skip
NEGATIVES: tuple[Callable[[Session], None], ...] = (
    five_failures, failures_of_two_tools, other_failures, nineteen_looks, looks_at_many_jobs, progress_in_words,
    three_alike, two_rounds, written_twice, other_items_in_one_second, just_within_budget, one_long_call, real_gap,
    paused, works_on_after_the_end, large_but_usual,
)  # fmt: skip


# --- the fleet -------------------------------------------------------------------------------------------------------


class Fleet:
    """All agents, their log and its truth. The same seed gives the same bytes.

    `apart`: each agent logs into a file of its own. In one file the newest line is the clock, which a single agent that
    is behind does not move: nothing says of a late line of its own how late it is, so there are none.
    """

    def __init__(self, seed: int, *, apart: bool) -> None:
        self.rng = random.Random(seed)
        self.apart = apart
        self.lines: list[tuple[float, bytes]] = []
        self.truth: list[Failure] = []
        self.harmless: dict[str, str] = {}
        self._number = 1000
        agents = [Agent(self, name) for name in CLOCKS]
        for agent in agents:
            self._go_through(agent, [*INCIDENTS, *NEGATIVES])
        self._fail_together([agent for agent in agents if not agent.clock.ahead])
        self._watch(until=max(agent.now for agent in agents))
        self.lines.sort(key=lambda line: line[0])

    def number(self) -> int:
        """Another one each time."""
        self._number += 1
        return self._number

    def _go_through(self, agent: Agent, cases: list[Callable[[Session], None]]) -> None:
        self.rng.shuffle(cases)
        for case in cases:
            for _ in range(self.rng.randint(0, 2)):
                Session(agent, "healthy").think().work(self.rng.randint(2, 6)).think().end()
            session = Session(agent, case.__name__)
            if case in NEGATIVES:
                self.harmless[session.name] = case.__doc__ or ""
            if case is not retries or self.rng.random() < 0.5:
                session.work(2)
            case(session)
            session.end()
            agent.now += self.rng.uniform(5, 60)

    def _watch(self, until: float) -> None:
        """An agent whose clock is right says each minute that it is there: so the log knows how late it is.

        Without it, the first line after a long wait is far ahead of those around it, which may be of a slow clock.
        """
        watch = Agent(self, "right")
        watch.name, watch.now = "watch", START - 600
        while watch.now < until:
            watch.beat("idle")
            watch.now += 60

    def _fail_together(self, agents: list[Agent]) -> None:
        """The first calls the others. Each case: seconds between failures, how many agents, in one trace or several."""
        first, second, third = agents
        for name, seconds, chain, one_trace in (
            ("cascade", 15, [third, second, first], True),
            ("three agents of a trace, but never within a minute", 40, [third, second, first], True),
            ("one agent, three times, and another", 10, [first, first, first, second], True),
            ("three agents, each in a trace of its own", 10, [third, second, first], False),
            ("cascade", 25, [second, third, first], True),
        ):
            now = max(agent.now for agent in agents) + 300
            trace = f"trace-{self.number()}"
            sessions = {}
            for agent in agents:
                agent.now = now
                of = trace if one_trace else f"{trace}-{agent.name}"
                caller = None if agent is first or not one_trace else first.name
                sessions[agent] = Session(agent, "together", of, caller).work(1, status="success")
                if name != "cascade":
                    self.harmless[of] = name
            now += 30
            for agent in chain:
                now += seconds
                agent.now = now
                fail(sessions[agent])
            if name == "cascade":  # the one that called the others is suspected, though it was the last to fail
                self.truth.append(Failure("cascade", first.name, trace, stamp(sessions[chain[-1]].at)))
            for session in sessions.values():
                session.end()


def stamp(second: float) -> str:
    """As findings tell it."""
    return datetime.fromtimestamp(round(second, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
