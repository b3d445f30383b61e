"""Logs of a few lines, and what the detectors find in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from conftest import record

from agent_exporter.config import parse
from agent_exporter.lines import Batch
from agent_exporter.sources import Source
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.state import Row

START = datetime(2026, 3, 18, 9, tzinfo=UTC).timestamp()


def at(second: float) -> str:
    """The time of a line."""
    return datetime.fromtimestamp(START + second, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(second: float, **fields: Any) -> bytes:
    """A line that many seconds after the start."""
    return json.dumps(record(**({"timestamp": at(second)} | fields))).encode()


def call(second: float, action: str = "search", wanted: Any = "x", came: Any = "y", **fields: Any) -> bytes:
    """A call that tells its input and its output."""
    return line(second, action=action, input={"q": wanted}, output={"text": came}, **fields)


class Kept(MemoryStore):
    """Rows that the next exporter finds again."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], bytes] = {}

    def rows(self, kind: str) -> Iterable[tuple[str, bytes]]:
        """Those of a kind."""
        return [(key, value) for (name, key), value in self.kept.items() if name == kind]

    def commit(self, rows: Iterable[Row]) -> None:
        """Keep them."""
        for kind, key, value in rows:
            if value is None:
                self.kept.pop((kind, key), None)
            else:
                self.kept[kind, key] = value


class Exporter:
    """The stages over a log of the past, which can be stopped and started anew at any line."""

    def __init__(self, config: str = "") -> None:
        self.config = parse(config)
        self.store = Kept()
        self.found: list[dict[str, Any]] = []
        self.source = Source()
        self.source.name = "test"
        self.restart()

    def restart(self) -> None:
        """As after SIGKILL: what was not committed is gone."""
        self.stages = Stages(self.config, self.store, [], live=False)
        self.stages.listeners.append(lambda finding: self.found.append(json.loads(finding.to_json(w3c=False))))
        self.pipeline = self.stages.pipeline

    def read(self, *lines: bytes) -> Exporter:
        """Some lines, as one block."""
        self.pipeline.feed(self.source, Batch(list(lines)))
        return self

    def findings(self) -> list[dict[str, Any]]:
        """All, once the log is at its end; in order of time."""
        self.pipeline.drain()
        return sorted(self.found, key=lambda finding: (finding["at"], json.dumps(finding)))


def findings(*lines: bytes, config: str = "") -> list[dict[str, Any]]:
    """What is found in a log."""
    return Exporter(config).read(*lines).findings()


def loops(*lines: bytes, config: str = "") -> list[str]:
    """The sub-kinds of the loops in it."""
    return [found["evidence"]["loop"] for found in findings(*lines, config=config) if found["kind"] == "loop"]
