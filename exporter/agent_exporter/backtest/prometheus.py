"""promtool and a real Prometheus on a folder of its own: samples in, recorded series in, answers out.

Nothing here is downloaded and nothing is left: the server listens on a loopback port, scrapes nothing, and is killed
with its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_exporter.backtest.alerts import Labels
    from agent_exporter.backtest.rules import Rule

BLOCK = 18 * 3600
"""Seconds in a block, the longest that promtool makes when allowed a day. It reads its input anew for each block."""
MAX_BYTES = 128 << 20
"""Of samples as text that lie on disk before they are blocks; twice that, as the next ones are written meanwhile."""
MAX_POINTS = 10_000
"""Evaluations asked for at once; Prometheus answers up to 11,000."""
QUERY_TIMEOUT = 600.0
"""Seconds for one query over MAX_POINTS."""


RECORD = "record.yml"
"""The instants of recording rules hang on the name of their file, too: so it is the same each time."""


class Failed(Exception):  # noqa: N818  (a sentence for the user)
    """promtool or Prometheus did not do what it was asked."""


_BLOCKS_FROM = "tsdb", "create-blocks-from", "--max-block-duration=24h"


class Programs(NamedTuple):
    """Paths of programs."""

    prometheus: str
    promtool: str


def find() -> Programs | None:
    """Those on PATH, or named by PROMETHEUS_BIN and PROMTOOL_BIN; None unless both are there."""
    found = [os.environ.get(f"{name.upper()}_BIN") or shutil.which(name) for name in Programs._fields]
    return Programs(*(str(Path(path).absolute()) for path in found if path)) if all(found) else None


def check(programs: Programs, files: Sequence[Path]) -> None:
    """Have promtool look at rule files. Raises Failed with what it says."""
    _run(programs.promtool, "check", "rules", "--lint=none", *files)


class Database:
    """A TSDB in `folder`. `add` takes lines of OpenMetrics and has them made into blocks while more are written."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        (folder / "prometheus.yml").write_text("{}\n")
        self._text: IO[str] | None = None
        self._block = 0
        self._chunks = 0
        self._making: tuple[subprocess.Popen[bytes], Path] | None = None

    def add(self, lines: str, at: float) -> None:
        """Samples of one time, in seconds since 1970, or a little before; times never go back."""
        if self._text is not None and (at // BLOCK != self._block or self._text.tell() > MAX_BYTES):
            self._make_blocks()
        if self._text is None:
            self._block = int(at // BLOCK)
            self._text = (self._folder / f"{self._chunks}.om").open("w", encoding="utf-8")
            self._chunks += 1
        self._text.write(lines)

    def finish(self) -> None:
        """All that was added is in blocks."""
        if self._text is not None:
            self._make_blocks()
        self._await_blocks()

    def _make_blocks(self) -> None:
        assert self._text is not None
        self._text.write("# EOF\n")
        self._text.close()
        path = Path(self._text.name)
        self._text = None
        self._await_blocks()
        command = self._programs.promtool, *_BLOCKS_FROM, "openmetrics", "--quiet", path, self._data
        with path.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        self._making = process, path

    def _await_blocks(self) -> None:
        if self._making is None:
            return
        process, path = self._making
        code = process.wait()
        self._making = None
        path.unlink()
        if code:
            raise Failed(f"promtool could not make blocks: {path.with_suffix('.log').read_text(errors='replace')}")

    def record(self, rules: Sequence[Rule], start: float, end: float) -> None:
        """Evaluate recording rules, none of which reads what another records, from `start` to `end`."""
        # Groups keep their names over all levels: the instants within an interval hang on them, and so a rule reads
        # what was recorded at its own instant, as in a server.
        groups: dict[str, dict[str, Any]] = {}
        for rule in rules:
            interval = f"{int(rule.interval * 1000)}ms"
            group = groups.setdefault(rule.group, {"name": rule.group, "interval": interval, "rules": []})
            group["rules"].append({"record": rule.name, "expr": rule.expr, "labels": dict(rule.labels)})
        (self._folder / RECORD).write_text(yaml.safe_dump({"groups": list(groups.values())}), encoding="utf-8")
        with self.server() as server:
            end = max(end, start + 1)  # a single instant is no range to promtool
            flags = f"--start={int(start)}", f"--end={int(end)}", f"--url={server.url}", f"--output-dir={self._data}"
            _run(self._programs.promtool, *_BLOCKS_FROM, "rules", *flags, RECORD, folder=self._folder)

    @contextlib.contextmanager
    def server(self) -> Iterator[Server]:
        """A Prometheus that has all blocks made so far: it looks for new ones when it starts."""
        command = (
            self._programs.prometheus,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._data}",
            "--storage.tsdb.retention.time=100y",
            "--storage.tsdb.no-lockfile",
            # No block is made larger, nor one of two that overlap: that costs more than it saves in such a short life.
            "--storage.tsdb.min-block-duration=2h",
            "--storage.tsdb.max-block-duration=2h",
            "--no-storage.tsdb.allow-overlapping-compaction",
            "--web.listen-address=127.0.0.1:0",
            f"--query.timeout={QUERY_TIMEOUT:.0f}s",
        )
        nothing = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE) as process:  # noqa: S603
            server = None
            try:
                server = Server(process)
                yield server
            finally:
                process.kill()
                if server is not None:
                    server.log.join()

    def close(self) -> None:
        """End what still runs and let go of what is open; the folder is the caller's to remove."""
        if self._text is not None:
            self._text.close()
        if self._making is not None:
            self._making[0].kill()
            self._making[0].wait()


class Server:
    """A Prometheus that was just started: waits until it is ready, or raises Failed with what it said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.url = ""
        ready = False
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        said = deque[bytes](maxlen=20)
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            listening = re.search(rb'msg="Listening on".* address=(127\.0\.0\.1:\d+)', line)
            if listening:
                self.url = f"http://{listening[1].decode()}"
            ready = ready or b"Server is ready" in line
            if ready and self.url:  # said by two of its threads, in either order
                break
        else:
            raise Failed(f"Prometheus did not start: {b''.join(said).decode(errors='replace')}")
        self.log = threading.Thread(target=_drain, args=(process.stderr,), daemon=True)
        """Reads what else it says, so that it need not wait for anybody to."""
        self.log.start()

    def query(self, rule: Rule, start: float, end: float) -> Iterator[tuple[Labels, float, float]]:
        """(labels, time, value) of every sample that its expression gives at its interval, by labels and time.

        The labels are those of the expression, without its name. Raises Failed.
        """
        step = rule.interval
        start = -(-start // step) * step
        while start <= end:
            last = min(end, start + (MAX_POINTS - 1) * step)
            for series in self._ask(query=rule.expr, start=start, end=last, step=step)["result"]:
                labels = tuple(sorted((name, text) for name, text in series["metric"].items() if name != "__name__"))
                for at, value in series["values"]:
                    yield labels, at, float(value)
            start = last + step - (last - start) % step

    def _ask(self, **parameters: object) -> dict[str, Any]:
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with self._open(f"{self.url}/api/v1/query_range", body, QUERY_TIMEOUT) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            with error:
                answer = error.read().decode(errors="replace")
            raise Failed(f"Prometheus refused {parameters['query']!r}: {answer}") from error
        except OSError as error:
            raise Failed(f"Prometheus does not answer: {error}") from error


def _drain(pipe: IO[bytes]) -> None:
    for _ in pipe:
        pass


_ENDING = (signal.SIGINT, signal.SIGTERM)


def _run(*command: str | Path, folder: Path | None = None) -> None:
    # A signal that came while the program starts would leave it behind: Popen has not returned, and nobody knows it.
    came: list[int] = []
    before = {number: signal.signal(number, lambda got, _: came.append(got)) for number in _ENDING}
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)  # noqa: S603
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with process:
        try:
            for missed in came:
                signal.raise_signal(missed)
            out, error = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        output = (out + error).decode(errors="replace").strip()
        raise Failed(f"{Path(command[0]).name} {' '.join(map(str, command[1:4]))}: {output[-2000:]}")
