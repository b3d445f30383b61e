"""The latest runs of each suite on each agent, in the state file: a run is rare and expensive, so a restart keeps it.

/metrics shows the last run of each, with its own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from agent_exporter.state import row_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_exporter.benchmark.run import Report
    from agent_exporter.config import Config
    from agent_exporter.state import Row

ROW_KIND = "benchmark"
"""Kind of its rows."""
MAX_RUNS = 100
"""Runs kept of one suite on one agent: three months of daily runs."""
MAX_NAMED = 20
"""Names of failing cases kept of one run."""


class Run(Struct, array_like=True, frozen=True):
    """A run, without its answers. `failed` has the names of cases in which an answer did not pass."""

    at: float
    passed: int
    of: int
    failed: list[str] = []

    @property
    def ratio(self) -> float:
        """0 to 1."""
        return self.passed / self.of


class Kept(Struct, array_like=True):
    """The runs of a suite on an agent, oldest first."""

    agent: str
    suite: str
    runs: list[Run] = []


class History:
    """The runs as rows of state. Use it in the pipeline's thread, except for `last`."""

    def __init__(self, rows: Iterable[tuple[str, bytes]] = ()) -> None:
        self._kept = {key: read(key, value) for key, value in rows}

    def last(self, agent: str, suite: str) -> Run | None:
        """The latest run. From any thread."""
        kept = self._kept.get(row_key(agent, suite))
        return kept.runs[-1] if kept is not None else None

    def add(self, report: Report) -> list[Row]:
        """Keep a run."""
        key = row_key(report.agent, report.suite)
        before = self._kept.get(key)
        failed = [outcome.name for outcome in report.outcomes if outcome.passed < outcome.of]
        run = Run(report.at, report.passed, report.of, failed[:MAX_NAMED])
        kept = Kept(report.agent, report.suite, [*(before.runs if before else ()), run][-MAX_RUNS:])
        self._kept[key] = kept
        return [(ROW_KIND, key, msgspec.msgpack.encode(kept))]

    def keep_only(self, config: Config) -> list[Row]:
        """Forget suites and agents that the config no longer names, so that their series end."""
        names = set(config.names())
        newest = {
            row_key(agent, suite)
            for suite, benchmark in config.benchmarks.items()
            for agent in benchmark.agents
            if agent in names
        }
        gone = [key for key in self._kept if key not in newest]
        for key in gone:
            del self._kept[key]
        return [(ROW_KIND, key, None) for key in gone]


def latest(rows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str, Run]]:
    """(agent, suite, run) of committed rows of the kind ROW_KIND."""
    for key, value in sorted(rows):
        kept = read(key, value)
        yield kept.agent, kept.suite, kept.runs[-1]


def read(_: str, value: bytes) -> Kept:
    """The runs of a row. Raises ValueError if there are none, or if one has no answers."""
    kept = msgspec.msgpack.decode(value, type=Kept)
    if not kept.runs or not all(run.of for run in kept.runs):
        raise ValueError("a run without answers")
    return kept
