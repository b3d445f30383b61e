"""Every check on its own timer. No check waits for another: each has a task, and the tasks share a bound of requests.

It has an event loop of its own, so that neither a name server that hangs (look-ups use the loop's threads) nor a long
answer delays scrapes, lines or spans.
"""

from __future__ import annotations

import asyncio
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from agent_exporter.probes.check import perform
from agent_exporter.probes.endpoint import RequestError
from agent_exporter.probes.settings import checks_of
from agent_exporter.probes.timers import Timers, jittered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_exporter.config import Config
    from agent_exporter.probes.check import Result
    from agent_exporter.probes.settings import Check
    from agent_exporter.probes.timers import Name

log = logging.getLogger(__name__)

SOON = 5.0
"""Seconds after the start within which every check runs for the first time."""
AGAIN = 60.0
"""Seconds at most from a failure to the next attempt, even with a longer interval: the rules need three in 200 s."""
MAX_AT_ONCE = 256
"""Requests at the same time: more than most fleets have agents, fewer than a process may open files."""
RESOLVERS = 32
"""Threads for look-ups of addresses, as a name server may hang."""


class Prober:
    """`perform` asks once; tests replace it. Call all methods but `results` on one event loop."""

    def __init__(self, perform: Callable[[Check], Awaitable[Result]] = perform) -> None:
        self._perform = perform
        self._timers = Timers(self._watch)
        self._results: dict[Name, Result] = {}
        self._unasked: dict[Name, str] = {}
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")

    def results(self) -> list[Result]:
        """The latest result of every check that has run. From any thread."""
        return list(self._results.values())

    async def configure(self, config: Config) -> None:
        """Start new checks, stop removed ones and forget their results. Unchanged checks continue."""
        asyncio.get_running_loop().set_default_executor(self._resolvers)
        configured = {(check.agent, check.name): check for name in config.names() for check in checks_of(config, name)}
        for pair in self._timers.configure(configured):
            for known in (self._results, self._unasked):
                known.pop(pair, None)

    async def _watch(self, pair: Name, check: Check) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.uniform(0, min(SOON, check.interval)))  # noqa: S311  (jitter)
        while True:
            async with self._slots:
                began = loop.time()
                await self._once(pair, check)
            result = self._results.get(pair)
            pause = check.interval if result is not None and result.passed else min(check.interval, AGAIN)
            await asyncio.sleep(max(0.0, began + jittered(pause) - loop.time()))

    async def _once(self, pair: Name, check: Check) -> None:
        """If the request could not be made, there is no new result: the check becomes overdue."""
        try:
            result = await self._perform(check)
        except RequestError as error:
            if self._unasked.get(pair) != str(error):
                log.error("%s cannot be asked for %s: %s", ascii(check.agent), ascii(check.name), error)  # noqa: TRY400
            self._unasked[pair] = str(error)
            return
        except Exception:  # a fault of ours must not end later checks
            log.exception("%s: %s could not be performed", ascii(check.agent), ascii(check.name))
            return
        self._unasked.pop(pair, None)
        before = self._results.get(pair)
        if before is not None and before.passed == result.passed:
            result = result._replace(since=before.since)
        self._results[pair] = result
        if result.why is not None and (before is None or before.passed):
            log.warning("%s fails %s: %s", ascii(check.agent), ascii(check.name), result.why)
        elif result.passed and before is not None and not before.passed:
            log.info("%s passes %s again", ascii(check.agent), ascii(check.name))
