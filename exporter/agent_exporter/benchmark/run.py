"""One run of a suite: every input, one after the other, and whether the answers are as expected.

One after the other, as the agent has other work: a benchmark should not be a load test.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.benchmark.suite import body_of, name_of
from agent_exporter.probes.check import verdict
from agent_exporter.probes.endpoint import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_exporter.benchmark.suite import Suite
    from agent_exporter.probes.endpoint import Endpoint

FLOOR = 0.9
"""A run with a smaller share of passed answers has regressed; the alert AgentBenchmarkRegressed uses the same
number.
"""
HOPELESS = 3
"""Inputs without an answer, from the first on, after which the agent counts as down."""


class Unanswered(Exception):  # noqa: N818  (reads as what it says)
    """The agent does not answer at all: no run, and a sentence why. Health checks cover that."""


class Outcome(NamedTuple):
    """The result of a case. `why` is about its first answer that did not pass."""

    name: str
    passed: int
    of: int
    seconds: float
    """Mean seconds of its answers."""
    why: str | None


class Report(NamedTuple):
    """A run of a suite on an agent. `at` is when it ended, seconds since 1970."""

    agent: str
    suite: str
    at: float
    outcomes: Sequence[Outcome]

    @property
    def passed(self) -> int:
        """Number of answers that were as expected."""
        return sum(outcome.passed for outcome in self.outcomes)

    @property
    def of(self) -> int:
        """Number of answers requested."""
        return sum(outcome.of for outcome in self.outcomes)

    @property
    def ratio(self) -> float:
        """0 to 1."""
        return self.passed / self.of

    @property
    def regressed(self) -> bool:
        """Whether it regressed, as the alert defines it."""
        return self.ratio < FLOOR


async def run(
    suite: Suite,
    endpoint: Endpoint,
    *,
    agent: str,
    name: str,
    repetitions: int = 1,
    within: float = 60.0,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Give every input to an agent. `progress` gets the number of answers so far. Raises RequestError, Unanswered."""
    outcomes: list[Outcome] = []
    answered = asked = 0
    request = suite.request
    for number, case in enumerate(suite.cases, 1):
        passed, seconds, why = 0, 0.0, None
        for _ in range(repetitions):
            answer = await ask(endpoint, request.path, body_of(suite, case), within)
            asked += 1
            answered += 0 < answer.status < 500
            if not answered and asked == min(HOPELESS, len(suite.cases) * repetitions):
                raise Unanswered(answer.problem or f"HTTP status {answer.status}")
            progress(asked)
            wrong = verdict(answer, request.status, request.jmespath, case.expect)
            passed += wrong is None
            seconds += answer.seconds
            why = why or wrong
        outcomes.append(Outcome(name_of(case, number), passed, repetitions, seconds / repetitions, why))
    return Report(agent, name, time.time(), outcomes)
