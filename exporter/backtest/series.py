"""What Prometheus would have scraped while a log was written: the samples that rules read, with the times of the log.

    agent_tokens_today{agent_id="research-agent-01"} 2096 1773825345

Clocks and other gauges are told when they change, at every step; counters every minute, evenly, as `increase` wants
them; both are far from what any window of the shipped rules could tell apart (5 minutes are the shortest). Written out
in full, at every step, a week of ten agents would be five times as much.
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import TYPE_CHECKING

from exporter.metrics.families import FAMILIES, LE, fill

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from exporter.metrics.families import Live
    from exporter.state import Rows

STEP = 15.0
"""Seconds; the scrape interval of alert_rules/prometheus.yml. Silence is told by it: a cycle may be 30 s."""
COUNTERS_EVERY = 60.0
"""Seconds."""
REPEAT = 240.0
"""Seconds after which a gauge that did not change is told again: Prometheus looks 5 minutes back."""
CLOCKS = ("agent", "source")
"""Kinds of rows that gauges which change between two minutes are made of."""


class Series:
    """A page that keeps the samples named in `wanted`; `at` makes the lines of one step of them.

    Gauges in `stamped` are told at every step. Bounded by the caps on label sets that all metrics have.
    """

    def __init__(self, wanted: Container[str], stamped: Container[str] = ()) -> None:
        self._wanted = wanted
        self._stamped = stamped
        self._lines: list[str] = []
        self._at = 0.0
        self._counting = False
        self._heads: dict[tuple[str, ...], str] = {}
        """Name and labels of a sample, as they are written."""
        self._gauges: dict[str, tuple[float, float]] = {}
        """(value, when it was told) by head."""
        self._standing: dict[str, float] = {}
        """The values of gauges in `stamped`, by head, of all that there were at the last whole minute, and since."""
        self._rows: dict[str, dict[str, bytes]] = {kind: {} for kind in CLOCKS}
        """As they were at the step before."""

    def at(self, rows: Rows, live: Live) -> str:
        """The lines of a step, from rows that are committed."""
        self._at = live.now
        self._counting = live.now % COUNTERS_EVERY == 0
        if self._counting:
            self._standing.clear()
            fill(self, rows, live)
        else:
            before = self._standing.copy()
            fill(self, {kind: self._changed(kind, rows[kind]) for kind in CLOCKS}, live)
            self._lines += [
                f"{head} {value} {self._at}\n" for head, value in before.items() if self._gauges[head][1] < self._at
            ]
        self._rows = {kind: dict(rows[kind]) for kind in CLOCKS}
        text = "".join(self._lines)
        self._lines.clear()
        return text

    def _changed(self, kind: str, rows: Mapping[str, bytes]) -> dict[str, bytes]:
        before = self._rows[kind]
        return {key: row for key, row in rows.items() if before.get(key) is not row}

    # --- what `fill` calls -----------------------------------------------------------------------------------------

    def gauge(self, name: str, labels: Sequence[str], value: float) -> None:
        """One sample, if it is news."""
        if name not in self._wanted:
            return
        head = self._heads.get((name, *labels)) or self._head(name, name, labels)
        before = self._gauges.get(head)
        if before is None or before[0] != value or self._at - before[1] >= REPEAT or name in self._stamped:
            self._gauges[head] = value, self._at
            if name in self._stamped:
                self._standing[head] = value
            self._lines.append(f"{head} {value} {self._at}\n")

    def counter(self, name: str, labels: Sequence[str], value: float, created: float) -> None:
        """One sample."""
        if self._counting and name in self._wanted:
            self._count(name, name, labels, value, created)

    def counters(
        self, name: str, labels: Sequence[str], values: Mapping[str, float], created: float, exemplars: object = None,  # noqa: ARG002
    ) -> None:  # fmt: skip
        """A sample for each value of the last label."""
        if self._counting and name in self._wanted:
            for last, value in values.items():
                self._count(name, name, (*labels, last), value, created)

    def histogram(
        self,
        name: str,
        labels: Sequence[str],
        bounds: tuple[float, ...],
        counts: Iterable[int],
        total: float,
        created: float,
        exemplars: object = None,  # noqa: ARG002
    ) -> None:
        """Buckets, count and sum."""
        if not self._counting:
            return
        if f"{name}_bucket" in self._wanted:
            for le, value in zip(LE[bounds], accumulate(counts), strict=True):
                self._count(f"{name}_bucket", name, (*labels, le), value, created)
        self.summary(name, labels, sum(counts), total, created)

    def summary(self, name: str, labels: Sequence[str], count: int, total: float, created: float) -> None:
        """Count and sum."""
        for series, value in ((f"{name}_count", count), (f"{name}_sum", total)):
            if self._counting and series in self._wanted:
                self._count(series, name, labels, value, created)

    def _count(self, series: str, family: str, labels: Sequence[str], value: float, created: float) -> None:
        head = self._heads.get((series, *labels))
        if head is None:
            head = self._head(series, family, labels)
            if value and 0 < created < self._at:
                # As a server with created-timestamp-zero-ingestion has it: what is born at 1 has risen by 1.
                self._lines.append(f"{head} 0 {created}\n")
        self._lines.append(f"{head} {value} {self._at}\n")

    def _head(self, series: str, family: str, labels: Sequence[str]) -> str:
        names = (*FAMILIES[family].labels, "le")
        # JSON writes a text between quotes as OpenMetrics does: labels hold no control characters.
        pairs = ",".join(
            f"{name}={json.dumps(label, ensure_ascii=False)}" for name, label in zip(names, labels, strict=False)
        )
        head = self._heads[series, *labels] = f"{series}{{{pairs}}}"
        return head
