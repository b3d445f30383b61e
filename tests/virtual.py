"""Minutes of asyncio in a second: an event loop whose clock jumps to whatever is waited for next."""

from __future__ import annotations

import asyncio
import io
import json
import selectors

from agent_exporter.demo.fleet import Fleet
from agentlog import Clock

START = 1_790_000_000.0
"""Seconds since 1970 when virtual time begins: noon or so of a day in 2026, far from midnight."""


class _Jump(selectors.SelectSelector):
    """Nothing is ever waited for: the time is added up instead."""

    waited = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.waited += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is all that was waited for: small numbers, as asyncio adds nanoseconds to them."""

    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.waited


def fleet_log(seconds: float, *faults, seed: int = 1, speed: float = 1.0) -> list[bytes]:
    """The lines of a demo fleet that worked for so many seconds, in the order in which they were written."""
    stream = io.StringIO()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()

        async def work() -> None:
            clock = Clock(now=lambda: START + loop.time(), monotonic=loop.time)
            fleet = Fleet(speed, seed=seed, stream=stream, clock=clock)
            try:
                async with asyncio.timeout(seconds):
                    while True:  # the writer's queue is bounded, and virtual time leaves it none
                        await flushing(fleet)
            except TimeoutError:
                pass

        async def flushing(fleet: Fleet) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fleet.run(*faults))
                while True:
                    await asyncio.sleep(1)
                    next(iter(fleet.logs.values())).flush()

        runner.run(work())
    lines = stream.getvalue().encode().splitlines()
    assert all(json.loads(line) for line in lines)
    return lines
