"""What Prometheus would have scraped while a log was written: the samples that rules read, with the times of the log.

    agent_tokens_today{agent_id="research-agent-01"} 2096 1773825345.0

Gauges, including the clocks, are written once a minute, and at the steps between if they have changed. Counters
are written evenly, for `increase`: every minute, or every four where even the shortest window over them in any
rule holds five points then. Written in full at every step, a week of ten agents would be 50 million samples and not 6.
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import TYPE_CHECKING

from agent_exporter.metrics.families import FAMILIES
from agent_exporter.metrics.samples import LE, ScrapeContext, fill

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from agent_exporter.state import Rows

STEP = 15.0
"""Seconds; the scrape interval of alert_rules/prometheus.yml. An expected interval may be 30 s."""
MINUTE = 60.0
"""Seconds."""
SELDOM = 240.0
"""Seconds; below the 5 minutes that Prometheus looks back."""
POINTS = 5
"""In the shortest window over a counter, as many as a minute's make of five minutes."""
CLOCKS = ("agent", "source")
"""Kinds of rows that hold gauges; some of those change by themselves, at midnight or as quiet hours begin."""
_NOW = "\0"
"""Stands for the time in texts that are kept."""


class Series:
    """A page that keeps the samples named in `wanted`; `at` makes the lines of one step of them.

    Gauges in `stamped` are written each step; `windows` are the shortest, in seconds, of each counter. Bounded by the
    caps on label sets that all metrics have.
    """

    def __init__(
        self, names: Container[str], stamped: Container[str] = (), windows: Mapping[str, float] | None = None
    ) -> None:
        self._names = names
        self._stamped = stamped
        self._slow = {name for name, window in (windows or {}).items() if window >= POINTS * SELDOM}
        self._lines: list[str] = []
        self._seldom: list[str] = []
        """Lines of counters in `_slow`."""
        self._births: list[str] = []
        self._at = 0.0
        self._counting = False
        self._heads: dict[tuple[str, ...], str] = {}
        """Name and labels of a sample, as they are written."""
        self._gauges: dict[str, tuple[float, bool]] = {}
        """(value, whether it is in `stamped`) by head."""
        self._rows: dict[str, dict[str, bytes]] = {kind: {} for kind in CLOCKS}
        """As they were at the step before."""
        self._texts: dict[tuple[str, str], tuple[bytes, str, str]] = {}
        """(row, its lines, its seldom lines) of all others by (kind, key): most do not change within a minute."""

    def at(self, rows: Rows, live: ScrapeContext) -> str:
        """The lines of a step, from rows that are committed."""
        self._at = live.now
        self._counting = live.now % MINUTE == 0
        if self._counting:
            self._gauges.clear()
            fill(self, {kind: rows[kind] for kind in CLOCKS}, live)
            parts = [self._take(), *self._others(rows, live)]
            lines = [often for often, _ in parts]
            if live.now % SELDOM == 0:
                lines += [seldom for _, seldom in parts]
        else:
            before = [head for head, (_, stamped) in self._gauges.items() if stamped]
            fill(self, {kind: self._changed(kind, rows[kind]) for kind in CLOCKS}, live)
            news = {line.rpartition(" ")[0].rpartition(" ")[0] for line in self._lines}
            lines = [f"{head} {self._gauges[head][0]} {_NOW}\n" for head in before if head not in news]
            lines.append(self._take()[0])
        self._rows = {kind: dict(rows[kind]) for kind in CLOCKS}
        text = "".join((*self._births, *lines)).replace(_NOW, str(self._at))
        self._births.clear()
        return text

    def _changed(self, kind: str, rows: Mapping[str, bytes]) -> dict[str, bytes]:
        before = self._rows[kind]
        return {key: row for key, row in rows.items() if before.get(key) is not row}

    def _others(self, rows: Rows, live: ScrapeContext) -> Iterable[tuple[str, str]]:
        """The lines of the rows that hold counters; those of a row that is the same as a minute ago are kept."""
        alone = live._replace(tasks={}, gauges={})
        before, self._texts = self._texts, {}
        for kind in rows.keys() - set(CLOCKS):
            for key, row in rows[kind].items():
                kept = before.get((kind, key))
                if kept is None or kept[0] is not row:
                    fill(self, {kind: {key: row}}, alone)
                    kept = row, *self._take()
                self._texts[kind, key] = kept
        return ((often, seldom) for _, often, seldom in self._texts.values())

    def _take(self) -> tuple[str, str]:
        """The lines that were put on this page, and the seldom ones; it is blank again."""
        text = "".join(self._lines), "".join(self._seldom)
        self._lines.clear()
        self._seldom.clear()
        return text

    # --- what `fill` calls -----------------------------------------------------------------------------------------

    def gauge(self, name: str, labels: Sequence[str], value: float) -> None:
        """One sample, if it is news."""
        if name in self._names:
            head = self._heads.get((name, *labels)) or self._head(name, name, labels)
            if self._counting or self._gauges.get(head, (None,))[0] != value:
                self._gauges[head] = value, name in self._stamped
                self._lines.append(f"{head} {value} {_NOW}\n")

    def counter(self, name: str, labels: Sequence[str], value: float, created: float) -> None:
        """One sample."""
        if self._counting and name in self._names:
            self._count(name, name, labels, value, created)

    def counters(
        self,
        name: str,
        labels: Sequence[str],
        values: Mapping[str, float],
        created: float,
        exemplars: object = None,  # noqa: ARG002
    ) -> None:
        """A sample for each value of the last label."""
        if self._counting and name in self._names:
            for last, value in values.items():
                self._count(name, name, (*labels, last), value, created)

    def histogram(
        self,
        name: str,
        labels: Sequence[str],
        bounds: tuple[float, ...],
        counts: Sequence[int],
        total: float,
        created: float,
        exemplars: object = None,  # noqa: ARG002
    ) -> None:
        """Buckets, count and sum."""
        if self._counting and f"{name}_bucket" in self._names:
            for le, value in zip(LE[bounds], accumulate(counts), strict=True):
                self._count(f"{name}_bucket", name, (*labels, le), value, created)
        self.summary(name, labels, sum(counts), total, created)

    def summary(self, name: str, labels: Sequence[str], count: int, total: float, created: float) -> None:
        """Count and sum."""
        for series, value in ((f"{name}_count", count), (f"{name}_sum", total)):
            if self._counting and series in self._names:
                self._count(series, name, labels, value, created)

    def _count(self, series: str, family: str, labels: Sequence[str], value: float, created: float) -> None:
        head = self._heads.get((series, *labels))
        if head is None:
            head = self._head(series, family, labels)
            if value and 0 < created < self._at:
                # As a server with created-timestamp-zero-ingestion has it: what is born at 1 has risen by 1.
                self._births.append(f"{head} 0 {created}\n")
        (self._seldom if series in self._slow else self._lines).append(f"{head} {value} {_NOW}\n")

    def _head(self, series: str, family: str, labels: Sequence[str]) -> str:
        names = (*FAMILIES[family].labels, "le")
        # JSON writes a text between quotes as OpenMetrics does: labels hold no control characters.
        pairs = ",".join(
            f"{name}={json.dumps(label, ensure_ascii=False)}" for name, label in zip(names, labels, strict=False)
        )
        head = self._heads[series, *labels] = f"{series}{{{pairs}}}"
        return head
