"""While lines are being written: `python benchmarks/live.py [--seconds N]`. Ends by itself after about two minutes.

    latency   from a line's last byte in the file to the scrape that counts it, at 1,000 lines/s
    load      CPU of the exporter and duration of scrapes, at 10,000 lines/s and 10,000 series or more
    linear    time per line of a log four times as long

The exporter has one core, this program with its writer the other. The latency contains the scrape that sees the line,
and is measured with few series, so that the prober looks often.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from itertools import accumulate
from pathlib import Path

from generate import RATE, Log
from process import (
    EXPORTER,
    HERE,
    cores,
    exporter,
    finish,
    quantile,
    read_until,
    samples,
    start,
)

ACCEPTED = "agent_exporter_lines_accepted_total"
READ = "agent_exporter_lines_read_total"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Writer(threading.Thread):
    """Appends lines at a steady rate, some every 5 ms, and notes when each batch of them was on disk."""

    def __init__(self, path: Path, lines: list[bytes], rate: int) -> None:
        super().__init__(daemon=True)
        self.path, self.lines, self.rate = path, lines, rate
        self.written: list[tuple[int, float]] = []
        """(lines so far, time)"""

    def run(self) -> None:
        began = time.monotonic()
        done = 0
        with self.path.open("ab", buffering=0) as file:
            while done < len(self.lines):
                due = min(len(self.lines), int((time.monotonic() - began) * self.rate) + 1)
                if due > done:
                    file.write(b"".join(self.lines[done:due]))
                    self.written.append((due, time.monotonic()))
                    done = due
                time.sleep(0.005)

    @property
    def seconds(self) -> float:
        return self.written[-1][1] - self.written[0][1]


class Scraper:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, accept: str = "text/plain") -> bytes:
        self._connection.request("GET", "/metrics", headers={"Accept": accept})
        return self._connection.getresponse().read()


def latency(folder: Path, seconds: float, rate: int = 1000) -> None:
    """Twice: as a scrape sees it, which itself makes the exporter look at the file, and as the state file has it."""
    lines = [line for line in Log(int(rate * seconds * 1.05) + 1, agents=5, actions=4, rate=rate) if _is_record(line)]
    first, lines = lines[0], lines[1 : int(rate * seconds) + 1]
    offsets = [0, *accumulate(map(len, lines))]
    for what in ("scraped without pause", "committed to the state file, not scraped"):
        log = folder / "latency.ndjson"
        log.write_bytes(first)
        with exporter(log, folder) as running:
            time.sleep(2)  # a new file is found within a second: not what is measured here
            scraper = Scraper(running.port)

            def count(scraper: Scraper = scraper, state: Path = running.state, what: str = what) -> int:
                if what.startswith("scraped"):
                    return int(samples(scraper.get(), ACCEPTED)[ACCEPTED]) - 1
                time.sleep(0.002)
                return bisect_right(offsets, read_until(state) - len(first)) - 1

            writer = Writer(log, lines, rate)
            writer.start()
            seen: list[tuple[int, float]] = []
            end = time.monotonic() + seconds + 10
            while time.monotonic() < end and (not seen or seen[-1][0] < len(lines)):
                seen.append((count(), time.monotonic()))
            writer.join()
        if seen[-1][0] != len(lines):
            raise RuntimeError(f"{seen[-1][0]} of {len(lines)} lines were counted")
        counts = [upto for upto, _ in seen]
        delays = []
        before = 0
        for upto, at in writer.written:
            noticed = (seen[bisect_left(counts, number)][1] for number in range(before + 1, upto + 1))
            delays += [(then - at) * 1000 for then in noticed]
            before = upto
        p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
        figures = f"{p50:.0f} / {p99:.0f} / {max(delays):.0f} ms"
        print(f"| latency at {rate:,} lines/s, {what}, p50 / p99 / longest | {figures} |")
        looks = len(seen) / (seen[-1][1] - seen[0][1])
        print(f"| looks meanwhile | {looks:.0f} a second |", flush=True)
        log.unlink()


def _is_record(line: bytes) -> bool:
    return line.endswith(b"}\n") and b'"slow"' not in line and line.startswith(b"{")


def load(folder: Path, seconds: float, rate: int = 10_000) -> None:
    log = folder / "load.ndjson"
    log.touch()
    generated = Log(int(rate * seconds), agents=40, actions=5, rate=rate)
    lines = list(generated)
    with exporter(log, folder) as running:
        idle = running.so_far()
        writer = Writer(log, lines, rate)
        writer.start()
        time.sleep(2)  # until the series are there
        before = running.so_far()
        scraper = Scraper(running.port)
        taken: dict[str, list[float]] = {"text": [], "OpenMetrics": []}
        series = 0
        while writer.is_alive():
            for name, accept in (("text", "text/plain"), ("OpenMetrics", OPENMETRICS)):
                began = time.monotonic()
                page = scraper.get(accept)
                taken[name].append((time.monotonic() - began) * 1000)
                if name == "text":
                    series = sum(not row.startswith(b"#") for row in page.splitlines())
                time.sleep(0.1)
        writer.join()
        after = running.so_far()
        lag = time.monotonic()
        while samples(scraper.get(), READ)[READ] < len(lines) and time.monotonic() - lag < 60:
            time.sleep(0.05)
        lag = time.monotonic() - lag
        found = samples(scraper.get(), READ, ACCEPTED)
    share_without = unscraped(folder, lines, rate)
    if found[READ] != len(lines) or found[ACCEPTED] != generated.accepted:
        raise RuntimeError(f"counted {found}, planted {generated.planted()}")
    share = (after.cpu - before.cpu) / (after.seconds - before.seconds)
    written = len(lines) / writer.seconds
    print(f"| lines/s written over {seconds:.0f} s | {written:,.0f} |")
    print(f"| CPU share of a core, not scraped | {share_without:.0%} |")
    print(f"| CPU share of a core, scraped every 0.1 s | {share:.0%} |")
    print(f"| behind at the end | {lag:.2f} s |")
    print(f"| series | {series:,} |")
    for name, times in taken.items():
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        print(f"| scrape meanwhile, {name}, p50 / p99 of {len(times)} | {p50:.0f} / {p99:.0f} ms |")
    print(f"| peak RSS (at start {idle.rss:.0f} MB) | {after.rss:.0f} MB |", flush=True)


def unscraped(folder: Path, lines: list[bytes], rate: int) -> float:
    """The CPU share over the same lines when nobody looks."""
    log = folder / "quiet.ndjson"
    log.touch()
    with exporter(log, folder) as running:
        writer = Writer(log, lines[: len(lines) // 2], rate)
        writer.start()
        time.sleep(0.5)
        before = running.so_far()
        writer.join()
        after = running.so_far()
    return (after.cpu - before.cpu) / (after.seconds - before.seconds)


def linear(folder: Path, rounds: int = 3) -> None:
    """The cost of a line, whether there are few or many, and whether they are of an hour or of 25 s."""
    logs = {"none": (0, RATE), "short": (250_000, RATE), "long": (1_000_000, RATE), "dense": (250_000, 10_000)}
    costs: dict[str, list[float]] = {name: [] for name in logs}
    peaks: dict[str, float] = dict.fromkeys(logs, 0.0)
    for name, (lines, rate) in logs.items():
        command = [sys.executable, HERE / "generate.py", lines, folder / f"{name}.ndjson", "--rate", rate]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    sessions = json.loads((folder / "long.ndjson.json").read_text())["sessions"]
    for _ in range(rounds):
        for name, taken in costs.items():
            began = time.monotonic()
            usage = finish(start([*EXPORTER, "replay", folder / f"{name}.ndjson"], core=cores()[0]), began)
            taken.append(usage.cpu)
            peaks[name] = max(peaks[name], usage.rss)

    def per_line(name: str) -> float:
        return statistics.median(b - a for a, b in zip(costs["none"], costs[name], strict=True)) / logs[name][0]

    short = per_line("short")
    print(f"| time per line, 1,000,000 lines ({sessions:,} sessions) to 250,000 | {per_line('long') / short:.2f} |")
    print(f"| time per line, of a log of 10,000 lines/s to one of {RATE} | {per_line('dense') / short:.2f} |")
    print(f"| peak RSS, 250,000 / 1,000,000 lines | {peaks['short']:.0f} / {peaks['long']:.0f} MB |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure while lines are being written.")
    parser.add_argument("--seconds", type=float, default=15.0, help="of load; the latency takes two thirds of it")
    parser.add_argument("--only", nargs="*", default=["latency", "load", "linear"])
    options = parser.parse_args()
    print("| | |\n|---|---|")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="agent-exporter-live-", dir=memory) as name:
        folder = Path(name)
        if "latency" in options.only:
            latency(folder, options.seconds * 2 / 3)
        if "load" in options.only:
            load(folder, options.seconds)
        if "linear" in options.only:
            linear(folder)


if __name__ == "__main__":
    main()
