"""One health check, once: a question to an agent, and whether its answer is right."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agent_exporter.config import Expect
from agent_exporter.probes.endpoint import ask
from agent_exporter.probes.expectation import judge
from agent_exporter.probes.settings import SUM

if TYPE_CHECKING:
    from agent_exporter.config.values import JMESPath
    from agent_exporter.probes.endpoint import Answer
    from agent_exporter.probes.settings import Check

_DRAW = random.SystemRandom()


class Result(NamedTuple):
    """The result of a check. `at` is when it ended, seconds since 1970; `why` a sentence if it did not pass.

    `since` is when the first run of the present series with this result ended.
    """

    agent: str
    name: str
    passed: bool
    seconds: float
    at: float
    interval: float
    """Seconds between two runs, so that rules know when it is overdue."""
    why: str | None = None
    since: float = 0.0


async def perform(check: Check) -> Result:
    """Ask the agent and judge the answer. Raises RequestError."""
    body, expect = drawn(check.body, check.expect)
    answer = await ask(check.endpoint, check.path, body, check.timeout)
    why = verdict(answer, check.status, check.jmespath, expect)
    now = time.time()
    return Result(check.agent, check.name, why is None, answer.seconds, now, check.interval, why, now)


def verdict(answer: Answer, status: int, jmespath: JMESPath | None, expect: Expect) -> str | None:
    """Why an answer does not pass, or None."""
    if answer.problem is not None:
        return answer.problem
    if answer.status != status:
        return f"HTTP status {answer.status}, not {status}"
    if jmespath is None and expect == Expect():
        return None  # any answer passes
    try:
        why = judge(expect, answer.part(jmespath))
    except ValueError as error:
        why = str(error)
    except RecursionError:
        why = "is nested too deeply"
    return None if why is None else f"the answer {why}"


def drawn(body: dict[str, Any] | None, expect: Expect) -> tuple[dict[str, Any] | None, Expect]:
    """The body with two new numbers, and their sum as the expectation; both unchanged if the body has no sum."""
    a, b = _DRAW.randint(100, 999), _DRAW.randint(100, 999)  # like the article's 127 + 385
    asking = None if body is None else filled(body, SUM, f"{a} + {b}")
    return (body, expect) if asking == body else (asking, msgspec.structs.replace(expect, number=float(a + b)))


def filled(value: Any, mark: str, text: str) -> Any:
    """A JSON value with the text in place of each mark."""
    if isinstance(value, str):
        return value.replace(mark, text)
    if isinstance(value, dict):
        return {key: filled(inner, mark, text) for key, inner in value.items()}
    return [filled(inner, mark, text) for inner in value] if isinstance(value, list) else value
