"""A day of a million sessions: `python benchmarks/sessions.py [--sessions 1000000]`. About four minutes.

Each is one to three lines long and a trace of its own, half of them say when they end, and hundreds are open at once.
Memory has a bound if the whole day takes as much as its first quarter, and time is linear if a session costs the same.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from heapq import heappop, heappush
from pathlib import Path
from time import gmtime, strftime
from typing import TYPE_CHECKING

from generate import START
from process import EXPORTER, cores, exporter, finish, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from process import Usage

AGENTS = 200
DAY = 86_400.0
ACTIONS = ("search", "fetch", "answer", "lookup", "write")


def lines(sessions: int, per_day: int, seed: int = 1) -> Iterator[bytes]:
    """Those of the first so many of `per_day` sessions, in order of time."""
    rng = random.Random(seed)
    waiting: list[tuple[float, int, int, int]] = []
    for number in range(sessions):
        began = number * DAY / per_day
        while waiting and waiting[0][0] <= began:
            yield _line(rng, *heappop(waiting))
        at, count = began, rng.randint(1, 3)
        for left in reversed(range(count)):
            heappush(waiting, (at, number, left, rng.randrange(len(ACTIONS))))
            at += rng.uniform(1, 60)
    while waiting:
        yield _line(rng, *heappop(waiting))


def _line(rng: random.Random, at: float, number: int, left: int, action: int) -> bytes:
    stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(START + int(at)))
    end = ',"metadata":{"session_end":true,"task_completed":true}' if not left and number % 2 else ""
    return (
        f'{{"timestamp":"{stamp}.{int(at % 1 * 1000):03}Z","agent_id":"agent-{number % AGENTS}",'
        f'"session_id":"{number:032x}","action":"{ACTIONS[action]}","status":"success",'
        f'"parent_trace_id":"trace-{number:x}","duration_ms":{rng.randint(50, 900)},'
        f'"input":{{"query":"{rng.getrandbits(64):x}"}},'
        f'"tokens":{{"prompt":{rng.randint(300, 500)},"completion":{rng.randint(50, 150)}}}{end}}}\n'
    ).encode()


def replay(log: Path) -> Usage:
    began = time.monotonic()
    return finish(start([*EXPORTER, "replay", log], core=cores()[0]), began)


def run(log: Path, folder: Path) -> Usage:
    """`run` with a state file on disk, catching up: to it, all of that day is of now."""
    with exporter(log, folder) as running:
        return running.until_read(log.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a day of very many sessions.")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="of the whole day")
    parser.add_argument("--write", type=Path, metavar="OUT", help="only write the log of that day")
    parser.add_argument("--share", type=float, default=1.0, help="of the day that is written")
    options = parser.parse_args()
    if options.write is not None:
        with options.write.open("wb") as file:
            file.writelines(lines(int(options.sessions * options.share), options.sessions))
        return
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    print("| | sessions | lines | us of CPU per session | peak RSS, MB |\n|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory(prefix="agent-exporter-sessions-", dir=memory) as name,
        tempfile.TemporaryDirectory(prefix="agent-exporter-sessions-") as disk,
    ):
        for share in (0.25, 1.0):
            log = Path(name) / f"{share}.ndjson"
            # In a process of its own: a child's peak RSS begins with that of its parent.
            command = [sys.executable, __file__, "--sessions", options.sessions, "--write", log, "--share", share]
            subprocess.run([str(word) for word in command], check=True)
            with log.open("rb") as file:
                count = sum(1 for _ in file)
            sessions = int(options.sessions * share)
            for what, usage in (("replay", replay(log)), ("run, catching up", run(log, Path(disk)))):
                cost = usage.cpu / sessions * 1e6
                print(f"| {what} | {sessions:,} | {count:,} | {cost:.1f} | {usage.rss:.0f} |", flush=True)


if __name__ == "__main__":
    main()
