"""Samples as families of prometheus_client: for registries, encoders, and code that changes samples."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.samples import Exemplar

from agent_exporter.action import trace_id_of
from agent_exporter.metrics.families import FAMILIES
from agent_exporter.metrics.samples import LE, ScrapeContext, fill, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent_exporter.metrics import cells
    from agent_exporter.state import Rows

_TYPES = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
    "summary": SummaryMetricFamily,
}


class Collector:
    """A collector for prometheus_client: `collect()` yields the families of one scrape."""

    def __init__(self, rows: Rows, live: ScrapeContext, *, created: bool) -> None:
        self._arguments = rows, live, created

    def collect(self) -> Iterable[Metric]:
        """Families in the order of FAMILIES, also those without samples, so that HELP names them."""
        rows, live, created = self._arguments
        page = Exposition(created=created)
        fill(page, rows, live)
        return [page.families[family.name] for family in shown(live)]

    @staticmethod
    def describe() -> Iterator[Metric]:
        """Names without samples, for a registry that checks for clashes."""
        for name, kind, text, labels in FAMILIES.values():
            yield _TYPES[kind](name.removesuffix("_total"), text, labels=labels)


class StaticCollector:
    """Wraps families as a collector: the encoders of prometheus_client take nothing else."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


class Exposition:
    """A page of families."""

    def __init__(self, *, created: bool) -> None:
        self._created = created
        self.families: dict[str, Metric] = {}
        for name, kind, text, labels in FAMILIES.values():
            self.families[name] = _TYPES[kind](name.removesuffix("_total"), text, labels=labels)

    def gauge(self, name: str, labels: Sequence[str], value: float) -> None:
        """One sample."""
        self.families[name].add_metric(labels, value)  # type: ignore[attr-defined]

    def counter(self, name: str, labels: Sequence[str], value: float, created: float) -> None:
        """A counter's sample, with `_created` if this exposition has it."""
        born = created if self._created and created else None
        self.families[name].add_metric(labels, value, created=born)  # type: ignore[attr-defined]

    def counters(
        self,
        name: str,
        labels: Sequence[str],
        values: Mapping[str, float],
        created: float,
        exemplars: Mapping[str, cells.Exemplar] | None = None,
    ) -> None:
        """A sample for each value of the last label."""
        born = created if self._created and created else None
        shown = {value: _exemplar(exemplar) for value, exemplar in (exemplars or {}).items() if self._created}
        for last, value in values.items():
            self.families[name].add_metric((*labels, last), value, created=born, exemplar=shown.get(last))  # type: ignore[attr-defined]

    def histogram(
        self,
        name: str,
        labels: Sequence[str],
        bounds: tuple[float, ...],
        counts: list[int],
        total: float,
        created: float,
        exemplars: Mapping[int, cells.Exemplar] | None = None,
    ) -> None:
        """The buckets of a histogram, made cumulative."""
        family = self.families[name]
        names = LE[bounds]
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = list(
            zip(names, accumulate(counts), strict=True)
        )
        if exemplars and self._created:
            for index, exemplar in exemplars.items():
                buckets[index] = (*buckets[index][:2], _exemplar(exemplar))
        family.add_metric(labels, buckets, total)  # type: ignore[attr-defined]
        self._add_created(name, labels, created)

    def summary(self, name: str, labels: Sequence[str], count: int, total: float, created: float) -> None:
        """Sum and count; no quantiles, as those cannot be added over replicas."""
        self.families[name].add_metric(labels, count, total)  # type: ignore[attr-defined]
        self._add_created(name, labels, created)

    def _add_created(self, name: str, labels: Sequence[str], created: float) -> None:
        if self._created and created:
            pairs = dict(zip(FAMILIES[name].labels, labels, strict=True))
            self.families[name].add_sample(f"{name}_created", pairs, created)


def _exemplar(exemplar: cells.Exemplar) -> Exemplar:
    trace, value, at = exemplar
    return Exemplar({"trace_id": trace_id_of(trace)}, value, at)
