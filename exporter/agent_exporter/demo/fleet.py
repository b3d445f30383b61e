"""Simulated agents in four teams. What they say is invented; how they say it is agentlog, as in anyone's agent.

research   planner -> researcher -> fetcher, then planner -> writer -> reviewer: five agents, one task
support    triage -> support -> billing
finance    a reporter, every two minutes
platform   a watcher, every few seconds
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from agentlog import AgentLogger, Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from agentlog import Action, Session

TEAMS = {
    "research": ("planner-01", "researcher-01", "fetcher-01", "writer-01", "reviewer-01"),
    "support": ("triage-01", "support-01", "billing-01"),
    "finance": ("reporter-01",),
    "platform": ("watcher-01",),
}
HEARTBEAT = 4.0
"""Seconds, less than half of the 10 s cycle in config.yaml: one may be late without a word."""
SONNET, OPUS = "claude-sonnet-4-20250514", "claude-opus-4-20250514"
"""What they cost the price table knows."""
TOPICS = (
    "pod autoscaling", "vector index size", "rate limits", "prompt caching", "blue-green deploys", "back-pressure",
    "cold starts", "token pricing", "schema drift", "canary analysis", "log sampling", "trace propagation",
)  # fmt: skip
MACHINE = Clock()
SURE = (0.78, 0.96)
"""Confidence of a healthy agent, from and to."""
FLAKY = 0.04
"""Share of fetches that fail once and are tried again: what a healthy fleet does, too."""


class Fleet:
    """The agents of one process. `speed` divides every pause; `seed` makes the same day again."""

    def __init__(
        self, speed: float = 1.0, *, seed: int | None = None, stream: TextIO | None = None, clock: Clock = MACHINE
    ) -> None:
        self.speed = speed
        self.random = random.Random(seed)  # noqa: S311  (it draws a demo)
        self.logs = {
            agent: AgentLogger(agent, team=team, stream=stream, clock=clock)
            for team, agents in TEAMS.items()
            for agent in agents
        }
        self.confidence: dict[str, tuple[float, float]] = {}
        """Of agents that are less sure than others: from, to."""
        self.silenced: set[str] = set()
        """Agents that have fallen silent: they neither work nor beat."""
        self._tasks = 0
        self._stoppable: dict[str, asyncio.Task[Any]] = {}

    async def run(self, *faults: Callable[[Fleet], Coroutine[Any, Any, None]]) -> None:
        """Work until cancelled, with these faults."""
        async with asyncio.TaskGroup() as group:
            for log in self.logs.values():
                group.create_task(self._beat(log))
            for work in (self.research, self.support, self.report, self.watch):
                group.create_task(self._again(work))
            for fault in faults:
                group.create_task(fault(self))

    # --- their work --------------------------------------------------------------------------------------------

    async def research(self) -> None:
        """Five agents on one question."""
        topic, number = self.draw(TOPICS), self._number()
        async with AsyncExitStack() as task:
            planner = self.open(task, "planner-01", "research", task=f"question-{number}")
            await self.think(planner, 900, 260, given={"question": f"What is new in {topic}? ({number})"})
            await self.hand_over(planner, self._gather, topic)
            await self.hand_over(planner, self._write, topic)
            planner.feedback(self.random.uniform(0.3, 1.0))
            planner.completed()
        await self.pause(2, 4)

    async def _gather(self, headers: dict[str, str], topic: str) -> None:
        with self.logs["researcher-01"].session(task_type="research", headers=headers) as s:
            await self.think(s, 1100, 300, given={"topic": topic, "plan": "find three sources"})
            await self.use(s, "web_search", 0.8, given={"query": f"{topic} {self.random.randrange(10**6)}"})
            await self.hand_over(s, self._fetch, topic)
            await self.think(s, 1300, 420, given={"topic": topic, "summarise": self.random.randrange(10**6)})
            s.completed()

    async def _fetch(self, headers: dict[str, str], topic: str) -> None:
        with self.logs["fetcher-01"].session(task_type="research", headers=headers) as s:
            for page in range(2):
                where = {"url": f"https://example.org/{topic.replace(' ', '-')}/{self.random.randrange(10**6)}-{page}"}
                failing = self.random.random() < FLAKY
                async for attempt in s.attempts("http_get", input=where, base=0.2 / self.speed, retry_on=OSError):
                    async with attempt as a:
                        await self.pause(0.3, 0.9)
                        if failing:
                            failing = False
                            raise ConnectionResetError("reset by peer")
                        a.output = {"bytes": self.random.randrange(2_000, 90_000)}
            s.completed()

    async def _write(self, headers: dict[str, str], topic: str) -> None:
        with self.logs["writer-01"].session(task_type="research", headers=headers) as s:
            await self.think(s, 1500, 650, given={"topic": topic, "outline": self.random.randrange(10**6)})
            await self.hand_over(s, self._review, topic)
            await self.use(s, "publish", 0.3, given={"topic": topic, "draft": self.random.randrange(10**6)})
            s.completed()

    async def _review(self, headers: dict[str, str], topic: str) -> None:
        with self.logs["reviewer-01"].session(task_type="research", headers=headers) as s:
            await self.think(s, 1200, 180, given={"topic": topic, "draft": self.random.randrange(10**6)})
            s.completed()

    async def support(self) -> None:
        """A ticket: triage, an answer, sometimes a look at the bill."""
        ticket = f"ticket-{self._number()}"
        async with AsyncExitStack() as task:
            triage = self.open(task, "triage-01", "support", task=ticket)
            await self.think(triage, 500, 60, given={"ticket": ticket})
            await self.hand_over(triage, self._answer, ticket)
            triage.completed()
        await self.pause(1, 3)

    async def _answer(self, headers: dict[str, str], ticket: str) -> None:
        with self.logs["support-01"].session(task_type="support", headers=headers) as s:
            await self.use(s, "search_tickets", 0.4, given={"like": ticket})
            await self.think(s, 900, 280, given={"ticket": ticket, "step": "answer"})
            if self.random.random() < 0.5:
                await self.hand_over(s, self._bill, ticket)
            s.feedback(self.random.uniform(0.2, 1.0))
            s.completed()

    async def _bill(self, headers: dict[str, str], ticket: str) -> None:
        with self.logs["billing-01"].session(task_type="support", headers=headers) as s:
            await self.use(s, "get_invoice", 0.3, given={"ticket": ticket})
            await self.think(s, 600, 90, given={"ticket": ticket, "step": "explain the invoice"})
            s.completed()

    async def report(self) -> None:
        """Long calls, and few of them."""
        with self.logs["reporter-01"].session(task_type="report", task=f"report-{self._number()}") as s:
            await self.use(s, "query_ledger", 1.0, given={"since": self.random.randrange(10**6)})
            await self.think(s, 5000, 900, given={"rows": self.random.randrange(10**6)})
            s.completed()
        await self.pause(100, 120)

    async def watch(self) -> None:
        """The same question again and again, and another answer each time: not a loop."""
        if "watcher-01" in self.silenced:
            await asyncio.Event().wait()  # for ever
        with self.logs["watcher-01"].session(task_type="watch", task=f"watch-{self._number()}") as s:
            await self.use(s, "poll_status", 0.1, given={"of": "ingest queue"})
            s.completed()
        await self.pause(4, 6)

    # --- how they are stopped ------------------------------------------------------------------------------------

    @contextmanager
    def stoppable(self, session: Session) -> Iterator[None]:
        """Ends the block early, as if by itself, when the breaker stops the session."""
        task = asyncio.current_task()
        assert task is not None
        self._stoppable[session.id] = task
        try:
            yield
        finally:
            self._stoppable.pop(session.id, None)

    def stop(self, session_id: str) -> bool:
        """Tell a session to stop; False if there is none of this id that can be."""
        task = self._stoppable.pop(session_id, None)
        return task is not None and task.cancel()

    # --- what they do it with ----------------------------------------------------------------------------------

    def open(self, stack: AsyncExitStack, agent: str, task_type: str, task: str) -> Session:
        """A session that ends with the stack."""
        return stack.enter_context(self.logs[agent].session(task_type=task_type, task=task))

    async def hand_over(
        self, session: Session, work: Callable[[dict[str, str], str], Awaitable[None]], what: str
    ) -> None:
        """Have the next agent do something: all that goes over are the headers, as over HTTP."""
        async with session.action("delegate", input={"to": work.__name__.strip("_"), "what": what}) as a:
            await work(session.handoff(), what)
            a.output = {"done": True}

    async def think(self, session: Session, prompt: int, completion: int, *, given: Any, model: str = SONNET) -> None:
        """A call of a model that takes about so many tokens."""
        async with session.action("llm_call", input=given) as a:
            await self.pause(0.7, 1.8)
            self.spend(a, prompt, completion, model)
            a.confidence = round(self.random.uniform(*self.confidence.get(session.log.agent_id, SURE)), 2)
            a.output = {"text": f"thought {self.random.randrange(10**9)}"}

    def spend(self, action: Action, prompt: int, completion: int, model: str) -> None:
        """Tokens within a quarter of what is usual: never twice the average."""
        prompt, completion = (round(number * self.random.uniform(0.75, 1.25)) for number in (prompt, completion))
        action.tokens(prompt=prompt, completion=completion, model=model)

    async def use(self, session: Session, tool: str, seconds: float, *, given: Any) -> None:
        """A call of a tool."""
        async with session.action(tool, input=given) as a:
            await self.pause(seconds * 0.7, seconds * 1.3)
            a.output = {"results": self.random.randrange(1, 1000)}

    async def pause(self, least: float, most: float) -> None:
        """Seconds at speed 1."""
        await asyncio.sleep(self.random.uniform(least, most) / self.speed)

    def draw(self, choices: tuple[str, ...]) -> str:
        """One of them."""
        return self.random.choice(choices)

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()

    async def _beat(self, log: AgentLogger) -> None:
        beats = log.heartbeats()  # its thread is not started: one loop does it all, and may run on a clock of a test
        while log.agent_id not in self.silenced:
            beats.beat()
            await asyncio.sleep(HEARTBEAT)

    def _number(self) -> int:
        self._tasks += 1
        return self._tasks
