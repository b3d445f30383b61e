"""Suites at their intervals, on the event loop of the health checks, each on its own timer."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.benchmark.run import Unanswered, run
from agent_exporter.benchmark.suite import load
from agent_exporter.config.strict import ConfigError
from agent_exporter.probes.endpoint import RequestError
from agent_exporter.probes.settings import endpoint_of
from agent_exporter.probes.timers import Timers, jittered

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.benchmark.history import Run
    from agent_exporter.benchmark.run import Report
    from agent_exporter.config import Benchmark, Config
    from agent_exporter.probes.endpoint import Endpoint
    from agent_exporter.probes.timers import Name

log = logging.getLogger(__name__)

SOON = 60.0
"""Seconds after the start within which a due suite begins: health checks come first."""
AGAIN = 300.0
"""Seconds at most from a failed run to the next attempt."""
MAX_AT_ONCE = 16
"""Runs at the same time; each has one request in flight."""
MAX_NAMED = 5
"""Failing cases that the log names."""


class Due(NamedTuple):
    """A suite for an agent."""

    benchmark: Benchmark
    endpoint: Endpoint
    interval: float


class Schedule:
    """`last` returns the latest run of an agent and suite. Calls `keep` with each new run, on this event loop."""

    def __init__(self, last: Callable[[str, str], Run | None], keep: Callable[[Report], None]) -> None:
        self._last = last
        self._keep = keep
        self._timers = Timers(self._watch)
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def configure(self, config: Config) -> None:
        """Start new suites and stop removed ones. A run continues if its settings are unchanged."""
        names = set(config.names())
        self._timers.configure(
            {
                (agent, suite): Due(benchmark, endpoint, benchmark.interval)
                for suite, benchmark in config.benchmarks.items()
                for agent in benchmark.agents
                if agent in names and (endpoint := endpoint_of(config, agent)) is not None
                if benchmark.interval is not None
            }
        )

    async def _watch(self, pair: Name, due: Due) -> None:
        before = self._last(*pair)
        wait = 0.0 if before is None else before.at + due.interval - time.time()
        await asyncio.sleep(max(wait, random.uniform(0, min(SOON, due.interval))))  # noqa: S311  (jitter)
        while True:
            async with self._slots:
                done = await self._once(pair, due)
            await asyncio.sleep(jittered(due.interval if done else min(due.interval, AGAIN)))

    async def _once(self, pair: Name, due: Due) -> bool:
        agent, name = pair
        try:
            suite = load(Path(due.benchmark.suite))  # each time, so that it can change without a reload
            report = await run(
                suite,
                due.endpoint,
                agent=agent,
                name=name,
                repetitions=due.benchmark.repetitions,
                within=due.benchmark.timeout,
            )
        except (ConfigError, RequestError, Unanswered) as error:
            log.error("benchmark %s cannot be run on %s: %s", ascii(name), ascii(agent), error)  # noqa: TRY400
            return False
        except Exception:  # a fault of ours must not end later runs
            log.exception("benchmark %s cannot be run on %s", ascii(name), ascii(agent))
            return False
        failed = [outcome.name for outcome in report.outcomes if outcome.passed < outcome.of]
        log.log(
            logging.WARNING if report.regressed else logging.INFO,
            "benchmark %s: %s passes %d of %d%s",
            ascii(name),
            ascii(agent),
            report.passed,
            report.of,
            f", fails {', '.join(map(ascii, failed[:MAX_NAMED]))}" if failed else "",
        )
        self._keep(report)
        return True
