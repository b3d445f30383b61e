"""What logging an action costs an agent: `python benchmarks/agentlog.py [--actions N] [--rounds N]`; a minute or less.

    agentlog            an action with input, output and tokens; the CPU of the agent's thread and the writer's

Both write to a file of their own in memory, pinned to one core. CPU time of the whole process, in rounds that take
turns; only ratios within a round mean much on a machine that others use.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

# This file has the package's name, and Python looks beside it first.
sys.path = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

from pythonjsonlogger.json import JsonFormatter  # noqa: E402

from agentlog import AgentLogger  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL = 60.0
"""Microseconds of CPU per action."""
INPUT = {"query": "kubernetes pod autoscaling best practices", "source": "task_queue"}
OUTPUT = {"results_count": 8, "selected": 3}
TOKENS = {"prompt": 1240, "completion": 856, "model": "small"}


def with_agentlog(path: Path, actions: int) -> float:
    """Seconds of CPU, until all is written."""
    log = AgentLogger("research-agent-01", team="research", path=path)
    began = time.process_time()
    with log.session(task_type="research") as s:
        for n in range(actions):
            with s.action("web_search", input=INPUT) as a:
                a.output = OUTPUT
                a.confidence = 0.87
                a.tokens(**TOKENS)
            if n % 1_000 == 999:  # as fast as this no agent acts: the queue is bounded
                log.flush()
    log.flush()
    return time.process_time() - began


def with_logging(path: Path, actions: int) -> float:
    """The same line by hand."""
    handler = logging.StreamHandler(path.open("w"))
    handler.setFormatter(JsonFormatter("%(timestamp)s"))
    logger = logging.Logger("alone")  # noqa: LOG001
    logger.addHandler(handler)
    began = time.process_time()
    for n in range(actions):
        started = time.perf_counter()
        logger.info(
            {
                "timestamp": datetime.now(UTC).isoformat(),
                "agent_id": "research-agent-01",
                "session_id": "sess_8f2a1b8f2a1b8f2a",
                "parent_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "action": "web_search",
                "status": "success",
                "span_id": f"{n:016x}",
                "input": INPUT,
                "output": {**OUTPUT, "confidence": 0.87},
                "tokens": TOKENS,
                "duration_ms": round((time.perf_counter() - started) * 1000, 3),
                "metadata": {"team": "research", "task_type": "research"},
            }
        )
    handler.stream.close()
    return time.process_time() - began


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ways: dict[str, Callable[[Path, int], float]] = {"agentlog": with_agentlog, "logging alone": with_logging}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for turn in range(options.rounds):
            for name, way in ways.items():
                path = Path(folder) / f"{turn}-{name}"
                taken[name].append(way(path, options.actions) / options.actions * 1e6)
                lines = path.read_bytes().count(b"\n")
                assert lines == options.actions + (name == "agentlog"), f"{name} wrote {lines} lines"
                path.unlink()
    ratio = statistics.median(ours / alone for ours, alone in zip(*taken.values(), strict=True))
    print("| us of CPU per action | median | fastest | slowest |\n|---|---|---|---|")
    for name, times in taken.items():
        print(f"| {name} | {statistics.median(times):.1f} | {min(times):.1f} | {max(times):.1f} |")
    print(f"\nagentlog / logging alone, median of the rounds: {ratio:.2f}; goal: {GOAL:.0f} us or less")


if __name__ == "__main__":
    main()
