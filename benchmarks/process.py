"""Starting, watching and stopping the programs that are measured. Linux only: it reads /proc and uses taskset."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPORTER = (sys.executable, "-m", "agent_exporter")
TICKS = os.sysconf("SC_CLK_TCK")
FULL = "metrics: {max_series_per_family: 20000, max_samples: 1000000}\n"
"""A config that gives every label set its series, as the peers do: the default bounds would fold some together."""


class Usage(NamedTuple):
    """What a program took, from its start to its end."""

    seconds: float
    cpu: float
    rss: float
    """Peak, in MB of 10**6 bytes."""


def cores() -> list[int]:
    """The cores we may use."""
    return sorted(os.sched_getaffinity(0))


def start(
    command: Iterable[object],
    *,
    core: int | None = None,
    out: Path | None = None,
    env: dict[str, str] | None = None,
    pipe: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program, pinned to a core if one is given. `out` takes its standard output, `pipe` hands it over."""
    words = [str(word) for word in command]
    if core is not None:
        words = ["taskset", "-c", str(core), *words]
    environment = {"PYTHONPATH": f"{ROOT}/exporter:{ROOT}/agentlog/src"} | os.environ | (env or {})
    if pipe:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    with Path(out or os.devnull).open("wb") as stdout:
        return subprocess.Popen(words, stdout=stdout, stderr=subprocess.DEVNULL, env=environment)


def finish(process: subprocess.Popen[bytes], began: float, most: float = 600.0) -> Usage:
    """Wait for its end, and kill it if that takes too long.

    The peak is sampled while it runs: ru_maxrss of a child is at least what its parent had when it was made.
    """
    peak = 0
    while True:
        with suppress(OSError, IndexError):
            status_file = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            peak = int(status_file.partition("VmHWM:")[2].split()[0])
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > most:
            process.kill()
        time.sleep(0.01)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, -signal.SIGTERM}:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, peak * 1024 / 1e6)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL after ten seconds."""
    if process.returncode is not None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def so_far(pid: int, began: float) -> Usage:
    """What a running program has taken until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    return Usage(time.monotonic() - began, (int(fields[11]) + int(fields[12])) / TICKS, peak * 1024 / 1e6)


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def connected(port: int, most: float = 15.0) -> None:
    """Wait until somebody listens there."""
    give_up = time.monotonic() + most
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def samples(page: bytes, *names: str) -> dict[str, float]:
    """The sum over all series of each of these names."""
    sums = dict.fromkeys(names, 0.0)
    for line in page.splitlines():
        name = line.partition(b"{")[0].partition(b" ")[0].decode()
        if name in sums:
            sums[name] += float(line.rpartition(b" ")[2])
    return sums


def read_until(state: Path) -> int:
    """How far the one file was read, as the state file has it: to look there costs the exporter nothing."""
    try:
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=0.1)) as database:
            found = database.execute("SELECT value FROM row WHERE kind = 'file'").fetchone()
    except sqlite3.Error:
        return 0
    return msgspec.msgpack.decode(found[0])["marks"][-1][0] if found else 0


class Running(NamedTuple):
    """`run`, at work."""

    process: subprocess.Popen[bytes]
    port: int
    began: float
    state: Path

    def so_far(self) -> Usage:
        """What it has taken until now."""
        return so_far(self.process.pid, self.began)

    def until_read(self, size: int, most: float = 1200.0) -> Usage:
        """Wait until the state says that all of a file was read; what that took."""
        while read_until(self.state) < size:
            if self.process.poll() is not None or time.monotonic() - self.began > most:
                raise RuntimeError("`run` did not come to the end of the log")
            time.sleep(0.05)
        return self.so_far()


@contextmanager
def exporter(log: Path, folder: Path, *options: object) -> Iterator[Running]:
    """`run` with a state file in `folder`, following `log`, on the first core."""
    port = free_port()
    began = time.monotonic()
    state = folder / f"state-{port}"
    own = ["--state.path", state, "--web.listen-address", f"127.0.0.1:{port}"]
    process = start([*EXPORTER, "run", *own, *options, log], core=cores()[0])
    try:
        connected(port)
        yield Running(process, port, began, state)
    finally:
        stop(process)


def available(program: str) -> bool:
    """Whether a peer is there; says so loudly if not."""
    if shutil.which(program):
        return True
    print(f"*** {program} IS NOT ON PATH: LEFT OUT ***", file=sys.stderr, flush=True)
    return False


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def versions() -> Iterator[str]:
    """What was measured with."""
    yield f"Python {sys.version.split()[0]}"
    for words in (["mtail", "--version"], ["otelcol", "--version"]):
        if shutil.which(words[0]):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            yield (done.stdout + done.stderr).strip().splitlines()[0][:60]
