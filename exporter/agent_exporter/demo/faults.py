"""What may go wrong with the fleet, one function each; a new fault is a function and a line in FAULTS.

All of it is logged by actions that an HTTP status would call a success. Each shows on the status page within a minute.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from agent_exporter.demo.fleet import OPUS
from agent_exporter.demo.history import DRIFTED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from agent_exporter.demo.fleet import Fleet

SOON = 5.0
"""Seconds of health first, so that a person sees what changes."""


async def loop(fleet: Fleet) -> None:
    """support-01 asks the same of a tool that is rate-limited, and never waits longer."""
    await asyncio.sleep(SOON)
    for number in itertools.count(1):
        with (
            fleet.logs["support-01"].session(task_type="support", task=f"ticket-loop-{number}") as s,
            fleet.stoppable(s),
        ):
            for attempt in range(40):
                with suppress(ConnectionError):
                    async with s.action("search_tickets", input={"like": "refund of order 4711"}) as a:
                        a.retried(attempt)
                        await fleet.pause(0.3, 0.5)
                        raise ConnectionError("429: rate limited")
            s.completed(False)
        await asyncio.sleep(20)


async def budget(fleet: Fleet) -> None:
    """reporter-01 reads the whole ledger into its context with every call: past its session's and its day's budget."""
    await asyncio.sleep(SOON)
    with fleet.logs["reporter-01"].session(task_type="report", task="report-of-everything") as s, fleet.stoppable(s):
        for page in range(60):
            async with s.action("llm_call", input={"page": page}) as a:
                await asyncio.sleep(0.8)
                fleet.spend(a, min(9_000 * (page + 1), 180_000), 700, OPUS)
                a.output = {"text": f"page {page} read"}


async def silent(fleet: Fleet) -> None:
    """watcher-01 stops: no error, no heartbeat, nothing."""
    await asyncio.sleep(SOON)
    fleet.silenced.add("watcher-01")


async def cascade(fleet: Fleet) -> None:
    """planner-01 hands on a plan that was cut off, and everybody after it fails."""
    await asyncio.sleep(SOON)
    for number in itertools.count(1):
        async with AsyncExitStack() as task:
            headers: dict[str, str] | None = None
            for agent, action, fault in (
                ("planner-01", "make_plan", ValueError("plan ends in the middle of a sentence")),
                ("researcher-01", "read_plan", KeyError("steps")),
                ("fetcher-01", "http_get", LookupError("no such host")),
                ("writer-01", "write", RuntimeError("nothing to write about")),
            ):
                started = {"task": f"question-cut-{number}"} if headers is None else {"headers": headers}
                s = task.enter_context(fleet.logs[agent].session(task_type="research", **started))
                with suppress(Exception):
                    async with s.action(action, input={"question": number, "by": agent}):
                        await fleet.pause(0.8, 1.2)
                        raise fault
                s.completed(False)
                headers = s.handoff()
        await asyncio.sleep(70)  # a cascade is reported again only after its trace was quiet; this is another one


async def drift(fleet: Fleet) -> None:
    """writer-01 got worse over two weeks (`history` writes those), and goes on as it was last."""
    fleet.confidence["writer-01"] = DRIFTED


FAULTS: dict[str, Callable[[Fleet], Coroutine[Any, Any, None]]] = {
    "loop": loop,
    "budget": budget,
    "silent": silent,
    "cascade": cascade,
    "drift": drift,
}
