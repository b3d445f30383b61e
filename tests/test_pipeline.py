"""The loop: how often it commits. Its clock is moved by the source, so no real time is measured."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from agent_exporter import pipeline as module
from agent_exporter.config import parse
from agent_exporter.lines import Batch
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.sources import Source
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.state import Row

STEP = 1 / 64
"""Seconds that a read takes."""


class Endless(Source):
    """Always has one more line, and says how many bytes lie behind it."""

    name = "endless"

    def __init__(self, left: int) -> None:
        self.left = left
        self.clock = 0.0

    def read(self) -> Batch:
        self.clock += STEP
        return Batch([b"{}"])

    def progress(self) -> tuple[int, int]:
        return 0, self.left


@pytest.mark.parametrize(("left", "impatient", "takes", "every"), [
    (0, False, 0, module.COMMIT_EVERY),
    (0, False, 1, module.COMMIT_SHARE),
    (module.BEHIND_BYTES, False, 0, module.COMMIT_EVERY),
    (module.BEHIND_BYTES + 1, False, 0, module.COMMIT_BEHIND_EVERY),
    (module.BEHIND_BYTES + 1, True, 0, STEP),
    (module.BEHIND_BYTES + 1, True, 1, 1 + STEP),
])  # fmt: skip
def test_commits_are_rare_only_while_far_behind_or_slow_and_nobody_waits(monkeypatch, left, impatient, takes, every):
    """Up to date five times a second; far behind every three seconds; at once for who waits."""
    source, times = Endless(left), []
    source.impatient = impatient

    class Noting(MemoryStore):
        def commit(self, rows: Iterable[Row]) -> None:
            super().commit(rows)
            times.append(source.clock)
            source.clock += takes
            if len(times) == 5:
                loop.stop()

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: source.clock))
    loop = Stages(parse(""), Noting(CELL_TYPES), [source]).pipeline
    loop.run()
    gaps = [later - earlier for earlier, later in pairwise(times[:5])]
    # A check every 0.2 s, each up to one read late.
    assert all(every <= gap <= every + 6 * STEP for gap in gaps)
