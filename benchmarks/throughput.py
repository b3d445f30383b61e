"""Lines per second over a log that is already there: `python benchmarks/throughput.py [--lines N] [--rounds 3]`.

Every contender runs once per round, as a fresh process on one core, and in turns, so that a slow minute of the machine
hits all alike. Ratios are taken within a round. Where we count, the counts are checked against what was planted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from process import (
    EXPORTER,
    FULL,
    HERE,
    Usage,
    available,
    connected,
    cores,
    exporter,
    finish,
    free_port,
    samples,
    so_far,
    start,
    stop,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPTED = "agent_exporter_lines_accepted_total"
REJECTED = "agent_exporter_lines_rejected_total"
SENT = "agent_exporter_spans_sent_total"
PROMPT = "agent_tokens_total"
COST = "agent_cost_usd_total"


class Bench:
    """The contenders; each is run by a method and gives what it took."""

    def __init__(self, folder: Path, disk: Path, lines: int) -> None:
        self.log = folder / "log.ndjson"
        self.page = folder / "page"
        self.disk = disk
        self.core, self.other = cores()[0], cores()[-1]
        # In a process of its own: this one stays small, as a child's peak RSS begins with that of its parent.
        subprocess.run([sys.executable, HERE / "generate.py", str(lines), self.log], check=True, capture_output=True)
        self.planted = json.loads(self.log.with_name("log.ndjson.json").read_text())
        self.full = folder / "full.yaml"
        self.full.write_text(FULL)
        self.plain = folder / "plain.yaml"
        self.plain.write_text(FULL + "otlp: {compression: none}\n")

    def replay(self, *options: object) -> Usage:
        began = time.monotonic()
        process = start([*EXPORTER, "replay", *options, self.log], core=self.core, out=self.page)
        usage = finish(process, began)
        self.check(self.page.read_bytes())
        return usage

    def spans(self, config: Path) -> Usage:
        port = free_port()
        sink = start([sys.executable, HERE / "sink.py", port], core=self.other)
        try:
            connected(port)
            usage = self.replay("--config", config, "--otlp.endpoint", f"http://127.0.0.1:{port}")
        finally:
            stop(sink)
        sent = samples(self.page.read_bytes(), SENT)[SENT]
        if sent < self.planted["accepted"]:
            raise RuntimeError(f"{sent:.0f} spans were sent for {self.planted['accepted']} actions")
        return usage

    def run(self) -> Usage:
        """Until the state says that all of the file was read: looking there costs the exporter nothing."""
        with exporter(self.log, self.disk, "--config", self.full) as running:
            usage = running.until_read(self.planted["bytes"])
            with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=30) as answer:
                self.check(answer.read())
        return usage

    def mtail(self) -> Usage:
        began = time.monotonic()
        program = HERE / "peers/agents.mtail"
        command = ["mtail", "-one_shot", "-one_shot_format", "prometheus", "-progs", program, "-logs", self.log]
        usage = finish(start(command, core=self.core, out=self.page, env={"GOMAXPROCS": "1"}), began)
        if not samples(self.page.read_bytes(), "agent_actions_total")["agent_actions_total"]:
            raise RuntimeError("mtail counted nothing")
        return usage

    def obvious(self) -> Usage:
        began = time.monotonic()
        command = [sys.executable, HERE / "peers/obvious.py", self.log]
        return finish(start(command, core=self.core, out=self.page), began)

    def otelcol(self) -> Usage:
        """Until its own telemetry says that all lines that are JSON have passed the receiver."""
        port = free_port()
        env = {"BENCH_LOG": str(self.log), "BENCH_PORT": str(port), "GOMAXPROCS": "1"}
        began = time.monotonic()
        process = start(["otelcol", "--config", HERE / "peers/otelcol.yaml"], core=self.core, env=env)
        name = "otelcol_receiver_accepted_log_records"
        wanted = self.planted["lines"] - self.planted["not_json"]
        try:
            connected(port)
            while True:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                    sums = samples(answer.read(), name, name + "_total")
                if max(sums.values()) >= wanted:
                    return so_far(process.pid, began)
                if process.poll() is not None or time.monotonic() - began > 600:
                    raise RuntimeError(f"otelcol took {sums} of {wanted} records")
                time.sleep(0.2)
        finally:
            stop(process)

    def check(self, page: bytes) -> None:
        """Our counts are those that were planted, to the unit; dollars to a hundredth of a cent."""
        found = samples(page, ACCEPTED, REJECTED, PROMPT, COST)
        wanted = self.planted
        if (
            found[ACCEPTED] != wanted["accepted"]
            or found[REJECTED] != wanted["rejected"]
            or found[PROMPT] != wanted["prompt"] + wanted["completion"]
            or abs(found[COST] - wanted["cost_usd"]) > 1e-3
        ):
            raise RuntimeError(f"counted {found}, planted {wanted}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure lines per second, beside others.")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="contenders whose name has the word")
    options = parser.parse_args()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="agent-exporter-bench-", dir=memory))
    disk = Path(tempfile.mkdtemp(prefix="agent-exporter-bench-"))
    try:
        measure(Bench(folder, disk, options.lines), options.rounds, options.only)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(disk)


def measure(bench: Bench, rounds: int, only: list[str]) -> None:
    contenders: dict[str, Callable[[], Usage]] = {
        "replay, metrics only": lambda: bench.replay("--config", bench.full),
        "replay, metrics only, default bounds": bench.replay,
        "replay, metrics and spans": lambda: bench.spans(bench.plain),
        "replay, metrics and spans, gzip": lambda: bench.spans(bench.full),
        "run, state file on disk": bench.run,
        "json + prometheus_client": bench.obvious,
    }
    if available("otelcol"):
        contenders["otelcol, counts only"] = bench.otelcol
    contenders = {name: run for name, run in contenders.items() if not only or any(word in name for word in only)}
    if available("mtail"):
        contenders = {"mtail": bench.mtail} | contenders
    lines = bench.planted["lines"]
    print(f"{lines:,} lines, {bench.planted['bytes'] / 1e6:.0f} MB, {rounds} rounds; {', '.join(versions())}\n")
    taken: dict[str, list[Usage]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, run in contenders.items():
            usage = run()
            taken[name].append(usage)
            print(f"round {number + 1}: {name}: {usage.seconds:.2f} s", file=sys.stderr, flush=True)
    print("| | seconds | klines/s | x mtail | us of CPU per line | peak RSS, MB | spread |")
    print("|---|---|---|---|---|---|---|")
    for name, usages in taken.items():
        seconds = [usage.seconds for usage in usages]
        median = statistics.median(seconds)
        ratio = "-"
        if "mtail" in taken:
            pairs = zip(taken["mtail"], usages, strict=True)
            ratio = f"{statistics.median(mtail.seconds / own.seconds for mtail, own in pairs):.2f}"
        cpu = statistics.median(usage.cpu for usage in usages) / lines * 1e6
        rss = max(usage.rss for usage in usages)
        spread = (max(seconds) - min(seconds)) / median
        print(
            f"| {name} | {median:.2f} | {lines / median / 1e3:.0f} | {ratio} | {cpu:.1f} | {rss:.0f} | {spread:.0%} |"
        )


if __name__ == "__main__":
    main()
