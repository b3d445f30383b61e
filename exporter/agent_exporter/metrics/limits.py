"""How many label sets there may be, and whose. Beyond the caps a name becomes `_overflow`; totals stay exact.

Measured: a million counters are 0.9 GB and a scrape of 16 s, longer than Prometheus waits, so one agent that invents
names would blind everyone. Three bounds, each counted in label sets or in samples of the exposition:

- each family has at most `max_series_per_family` label sets;
- all together make at most `max_samples` samples, which should be below Prometheus' `sample_limit`;
- one agent holds at most its SHARE of a family.

A fifth of each bound is reserved for the agents that the config names, so that junk names cannot crowd them out.
"""

from __future__ import annotations

from hashlib import sha256

from agent_exporter.metrics import cells
from agent_exporter.text import printable

OVERFLOW = "_overflow"
SHARE = 10
"""One agent takes at most 1/SHARE of a family's label sets."""
KEPT = 5
"""1/KEPT of every bound is reserved for configured agents."""
MAX_SERIES = 2_000
"""Label sets per family; docs/operating.md."""
MAX_SAMPLES = 100_000
"""About 10 MB of text and 0.2 s to write; the shipped prometheus.yml sets `sample_limit` above it."""
MAX_NAMES = 100
"""Distinct models, task types and error types; docs/operating.md."""
MAX_LABEL = 128
"""Bytes of a label value; docs/operating.md."""


def _histogram(bounds: tuple[float, ...]) -> int:
    return len(bounds) + 4  # the +Inf bucket, _count, _sum and _created


SAMPLES_PER_CELL: dict[type[cells.Cell], int] = {
    cells.AgentCell: 80 + _histogram(cells.CONFIDENCE),
    cells.ActionCell: 2 * 8 + 1 + _histogram(cells.DURATION),
    cells.ModelCell: 2 * 6,
    cells.ErrorCell: 2,
    cells.TaskCell: 2 * 6 + _histogram(cells.SESSION_SECONDS) + _histogram(cells.SESSION_TOKENS),
}
"""Samples that one cell makes in the exposition, at most; a test counts them."""


class Limits:
    """Decides whether a further cell may be made."""

    def __init__(self, max_series_per_family: int = MAX_SERIES, max_samples: int = MAX_SAMPLES) -> None:
        self.max_series_per_family = max_series_per_family
        self.max_samples = max_samples
        self.samples = 0
        self.sets: dict[type[cells.Cell], int] = dict.fromkeys(SAMPLES_PER_CELL, 0)
        self._of_agent: dict[tuple[type[cells.Cell], str], int] = {}

    def admit(self, kind: type[cells.Cell], agent: str, *, configured: bool, within_share: bool = True) -> bool:
        """Count one more cell of this kind if the bounds allow it."""
        held = self._of_agent.get((kind, agent), 0)
        if within_share and held >= max(1, self.max_series_per_family // SHARE):
            return False
        rest = 1 if configured else 1 - 1 / KEPT
        if (
            self.sets[kind] >= self.max_series_per_family * rest
            or self.samples + SAMPLES_PER_CELL[kind] > self.max_samples * rest
        ):
            return False
        self.count(kind, agent)
        return True

    def count(self, kind: type[cells.Cell], agent: str, sign: int = 1) -> None:
        """Count a cell that exists after a restart; with -1, one that was dropped."""
        self.samples += sign * SAMPLES_PER_CELL[kind]
        self.sets[kind] += sign
        held = self._of_agent.get((kind, agent), 0) + sign
        if held:
            self._of_agent[kind, agent] = held
        else:
            self._of_agent.pop((kind, agent), None)


def label(name: str) -> str:
    """A name as a label value: no control or direction characters, MAX_LABEL bytes at most, no two names the same.

    A changed name ends in a hash of the original.
    """
    encoded = name.encode()
    safe = printable(name)
    if safe == name and len(encoded) <= MAX_LABEL:
        return name
    cut = safe.encode()[: MAX_LABEL - 9].decode(errors="ignore")
    return f"{cut}~{sha256(encoded).hexdigest()[:8]}"
