"""An exporter that remembers something of every kind, and a state file of a former version that another takes up.

work(folder)           an exporter has worked in the folder, with a clock of its own; it ends as by SIGKILL
dump(folder)           what its state file holds, as SQL that is the same each time
laid_out(sql, folder)  the state file made from that, with the logs that it has read
"""

from __future__ import annotations

import json
import os
import sqlite3
from io import BytesIO
from typing import TYPE_CHECKING
from unittest.mock import patch

import msgspec
from conftest import LOGS
from detecting import START, call, line

from agent_exporter.benchmark.history import History
from agent_exporter.benchmark.run import Outcome, Report
from agent_exporter.config import parse
from agent_exporter.lines import Origin
from agent_exporter.pipeline import Pipeline
from agent_exporter.row_kinds import ROW_KINDS
from agent_exporter.sources.files import FileSource
from agent_exporter.sources.otlp import OtlpSource
from agent_exporter.sources.otlp_records import Record
from agent_exporter.stages import MIRRORED, Stages, render
from agent_exporter.state import FORMAT, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
agents:
  runaway: {team: night, trusted_sources: ["*"], terminate: {url: "http://127.0.0.1:9/{session_id}"}}
  never-seen: {expected_interval: 60s}
task_types: {default: {session_tokens: 1000}, refund: {session_tokens: 100000}, report: {session_tokens: 100000}}
otlp: {endpoint: "http://127.0.0.1:9", buffer_traces: 60s}
breaker: {mode: enforce, reasons: [session_budget]}
state: {path: FOLDER/state.db}
"""


class Clock:
    """Seconds since 1970, the same for all."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Remembering:
    """An exporter over the logs of a folder, in the hand of a test."""

    def __init__(self, folder: Path, now: float) -> None:
        self.clock = Clock(now)
        self.printed: list[bytes] = []
        self.files = FileSource("logs", str(folder / "*.log"), clock=self.clock)
        self.files.origin = lambda _: Origin(path="/logs/docker.log")
        self.otlp = OtlpSource(wake=lambda: None)
        self.store = SQLiteStore(folder / "state.db", MIRRORED, ROW_KINDS)
        config = parse(CONFIG.replace("FOLDER", str(folder)))
        with patch("time.time", self.clock), patch.dict(Pipeline.__init__.__kwdefaults__, clock=self.clock):
            self.stages = Stages(config, self.store, [self.files, self.otlp], write=self.printed.append)
        self.pipeline = self.stages.pipeline
        self.called: list[str] = []
        self.stages.buffer._clock = self.clock
        self.stages.breaker.call = lambda intent: self.called.append(intent.session_id)

    def read(self, at: float) -> None:
        """Read all there is at that time, then do what is due, and commit."""
        self.clock.now = at
        for source in self.pipeline.sources:
            while (batch := source.read()) is not None:
                source.note(*self.pipeline.feed(source, batch))
        if self.stages.breaker.undecided:
            self.stages.breaker.decide(at)
        self.pipeline._tick()
        self.pipeline.commit()

    def page(self) -> str:
        """What a scrape shows."""
        page = BytesIO()
        render(page, self.pipeline.snapshot(), self.stages.live(self.clock.now), "text/plain")
        return "".join(row for row in page.getvalue().decode().splitlines(True) if "build_info{" not in row)


def docker(*lines: bytes) -> bytes:
    """As docker's json-file driver writes them."""
    return b"".join(json.dumps({"log": f"{row.decode()}\n", "stream": "stdout"}).encode() + b"\n" for row in lines)


def delivered(text: bytes, stream: str = "s", envelope: bytes = b"1") -> Record:
    """A record of OTLP."""
    return Record(stream, text, Origin(attributes=(("service.name", "otlp"),)), envelope)


ENDS = {"session_end": True, "task_completed": True}
ONE = line(60, agent_id="otlp", session_id="o1", action="search")
PARTS = b"2026-03-18T09:01:00Z stdout P " + ONE[:40], b"2026-03-18T09:01:00Z stdout F " + ONE[40:]
TRANSCRIPT = [
    {"type": "last-prompt", "sessionId": "7c1e0000-0000-4000-8000-000000000001"},
    {
        "type": "assistant",
        "uuid": "u1",
        "sessionId": "7c1e0000-0000-4000-8000-000000000001",
        "isSidechain": False,
        "timestamp": "2026-03-18T09:01:01.500Z",
        "message": {
            "id": "msg_1",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}],
            "usage": {"input_tokens": 10, "output_tokens": 5},
        },
    },
]
"""Of Claude Code: a type that is skipped, a call that is counted once, and one that has begun."""


def work(folder: Path) -> None:
    """Exercise every kind of row."""
    docker_log, cri_log = folder / "docker.log", folder / "cri.log"

    def say(text: bytes) -> None:
        with docker_log.open("ab") as file:
            file.write(text)

    say(docker(*(LOGS / "outage.ndjson").read_bytes().splitlines()))  # a cascade, and a loop
    exporter = Remembering(folder, START - 6 * 3600)
    exporter.stages.duplicates.seed = 7
    exporter.stages.duplicates._rows = [("duplicates", "seed", (7).to_bytes(8))]
    exporter.read(START - 6 * 3600)
    say(docker(*(LOGS / "chain.ndjson").read_bytes().splitlines()))
    exporter.read(START + 20)
    exporter.read(START + 50)  # the trace is whole: its spans are queued
    spend = {"agent_id": "runaway", "action": "llm_call", "tokens": {"prompt": 2000, "completion": 1, "model": "m"}}
    say(docker(line(51, session_id="r1", **spend)))
    exporter.read(START + 51)
    say(
        docker(
            line(52, session_id="r2", **spend),
            *(call(53 + number / 10, session_id="loop", agent_id="looper") for number in range(4)),
            line(55, session_id="w", agent_id="waiting", metadata={"session_paused": True, "feedback": 0.5}),
            line(
                56,
                session_id="w2",
                agent_id="waiting",
                status="error",
                error={"type": "Odd"},
                output={"confidence": 0.3},
            ),
            line(57, session_id="w2", agent_id="waiting", action="heartbeat", metadata={"state": "working"}),
            line(58, session_id="w3", agent_id="waiting", duration_ms="long", metadata=ENDS),
            b"{no line",
        )
    )
    exporter.otlp.deliver([delivered(ONE), delivered(PARTS[0], "pieces")])
    cri_log.write_bytes(b"2026-03-18T09:01:01Z stderr P " + line(61, agent_id="cri", session_id="c")[:30] + b"\n")
    (folder / "transcript.log").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in TRANSCRIPT))
    exporter.read(START + 62)
    say(
        docker(line(63, agent_id="docker", session_id="d")[:-1]).replace(b"\\n", b"").replace(b"stdout", b"stderr")
    )  # half a record
    exporter.read(START + 64)
    exporter.store.commit(History().add(Report("runaway", "golden", START + 65, [Outcome("sum", 1, 2, 0.5, "no")])))
    say(docker(line(66, session_id="r3", **spend)))
    exporter.stages.breaker.audit.path = folder / "not there" / "audit.ndjson"  # entries wait
    exporter.read(START + 66)
    exporter.store.close()


def dump(folder: Path) -> str:
    """Rows by kind and key; of files the names and numbers that every machine gives anew are replaced."""
    database = sqlite3.connect(folder / "state.db")
    rows = database.execute("SELECT kind, key, value FROM row ORDER BY kind, key").fetchall()
    database.close()
    lines = [f"PRAGMA user_version = {FORMAT};"]
    lines.append(
        "CREATE TABLE row (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key));"
    )
    for kind, key, value in rows:
        if kind == "file":
            place = msgspec.msgpack.decode(value)
            name = os.path.basename(place["path"])  # noqa: PTH119  (bytes)
            lines.append(
                _insert(kind, name.decode(), msgspec.msgpack.encode(place | {"path": name, "dev": 0, "inode": 0}))
            )
        else:
            lines.append(_insert(kind, key, value))
    return "\n".join([*lines[:2], *sorted(lines[2:])]) + "\n"


def _insert(kind: str, key: str, value: bytes) -> str:
    quoted = key.replace("'", "''")
    return f"INSERT INTO row VALUES ('{kind}', '{quoted}', X'{value.hex()}');"


def laid_out(sql: str, logs: Path, folder: Path) -> None:
    """The state file in a folder, and beside it the logs of another folder, known to it as those that it has read."""
    database = sqlite3.connect(folder / "state.db", isolation_level=None)
    database.executescript(sql)
    for key, value in database.execute("SELECT key, value FROM row WHERE kind = 'file'").fetchall():
        path = folder / key
        path.write_bytes((logs / key).read_bytes())
        st = path.stat()
        place = msgspec.msgpack.decode(value) | {"path": os.fsencode(path), "dev": st.st_dev, "inode": st.st_ino}
        database.execute(
            "UPDATE row SET key = ?, value = ? WHERE kind = 'file' AND key = ?",
            (f"{st.st_dev:x}:{st.st_ino:x}", msgspec.msgpack.encode(place), key),
        )
    database.close()
