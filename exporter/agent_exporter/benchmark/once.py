"""Runs now, for `agent-exporter benchmark`, compared with the former runs in the state file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.benchmark import suite
from agent_exporter.benchmark.history import ROW_KIND, History
from agent_exporter.benchmark.run import Unanswered, run
from agent_exporter.probes.settings import endpoint_of
from agent_exporter.state import Locked, MemoryStore, SQLiteStore, Unavailable, peek

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent_exporter.benchmark.history import Run
    from agent_exporter.benchmark.run import Report
    from agent_exporter.config import Config
    from agent_exporter.probes.timers import Name
    from agent_exporter.state import Store


def runs_of(
    config: Config, pairs: Sequence[Name], *, progress: Callable[[str], None], say: Callable[[str], None]
) -> Iterator[tuple[Report, Run | None]]:
    """Run each pair of agent and suite; yield its run and the one before. Raises ConfigError, RequestError.

    Calls `progress` with how far it is, and `say` with a sentence if an agent does not answer or a run cannot be kept.
    """
    suites = {name: suite.load(Path(config.benchmarks[name].suite)) for _, name in pairs}  # all faults before any run
    history, store = _open(config, say)
    try:
        for agent, name in pairs:
            benchmark = config.benchmarks[name]
            endpoint = endpoint_of(config, agent)
            assert endpoint is not None  # the config has been checked
            total = len(suites[name].cases) * benchmark.repetitions

            def show(done: int, what: str = f"{name} on {agent}", total: int = total) -> None:
                progress(f"{what}: {done:,} of {total:,}")

            try:
                report = asyncio.run(
                    run(
                        suites[name],
                        endpoint,
                        agent=agent,
                        name=name,
                        repetitions=benchmark.repetitions,
                        within=benchmark.timeout,
                        progress=show,
                    )
                )
            except Unanswered as error:
                say(f"{name} cannot be run on {agent}: {error}")
                continue
            before = history.last(agent, name)
            try:
                store.commit(history.add(report))
            except Unavailable as error:
                say(f"this run is not kept: {error}")
            yield report, before
    finally:
        store.close()


def _open(config: Config, say: Callable[[str], None]) -> tuple[History, Store]:
    """Former runs, and where to keep new ones. A file in use is only read. None is made: its owner might be wrong."""
    path = None if config.state.path is None else Path(config.state.path)
    if path is None or not path.exists():
        return History(), MemoryStore()
    try:
        history = History(peek(path, ROW_KIND))
    except (Unavailable, ValueError) as error:  # msgspec's errors, too
        say(f"former runs are not known, and this one is not kept: {error}")
        return History(), MemoryStore()
    try:
        return history, SQLiteStore(path)
    except (Locked, Unavailable) as error:
        say(f"this run is compared with the last one of the exporter that is running, and not kept ({error})")
        return history, MemoryStore()
