"""What is odd about the lines that count: how often, and an example of each kind, for the metrics and the page.

What the pipeline sees of a line anyway is counted on every line. What takes a second look is looked for in a sample:
a clean line costs nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.action import MAX_AHEAD
from agent_exporter.lint import Lint, Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_exporter.lint import Warning_
    from agent_exporter.prices import Prices

FIRST = 100
"""Lines of each source that are looked at closely when it begins: an agent's way of writing shows in its first ones."""
EVERY = 1_000
"""After those, one line in so many is. A look takes some 100 us, so that a line costs 0.1 us more: 0.6 %."""
RENEW = 3600.0
"""Seconds after which a newer example takes the place of an older one."""
MAX_DETAIL = 300
"""Characters of an example's sentence, which may name a model or a status of any length."""
COUNTED: tuple[Warning_, ...] = (
    "field_ignored", "field_misnamed", "record_inside", "content_not_json", "timestamp_ahead", "status_other",
    "model_unpriced", "prompt_without_cache", "whole_seconds",
)  # fmt: skip
"""The warnings of `validate` but for `zone`: of a running agent `agent_clock_offset_seconds` says that."""


class Example(NamedTuple):
    """One odd line: the source it came from, when it was read (seconds since 1970), and what is odd about it.

    No excerpt, as `validate` has: beside the field stands what the agent was given and answered, which may be private.
    """

    source: str
    at: float
    detail: str


class Oddities:
    """For all sources of a pipeline. `words` are the config's statuses, `prices` gives the prices in force."""

    def __init__(self, words: Mapping[str, str], prices: Callable[[], Prices]) -> None:
        self.examples: dict[str, Example] = {}
        """The one kept of each kind of warning."""
        self._words = words
        self._prices = prices
        self._counts: dict[str, int] = {}
        self._lines: dict[str, bytes] = {}
        """One line of this batch for each kind that was seen in it."""
        self._samples: dict[str, _Sample] = {}

    def see(self, kind: Warning_, line: bytes) -> None:
        """The pipeline has met this oddity in a line."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._lines.setdefault(kind, line)

    def batch(self, source: str, lines: Sequence[bytes], now: float) -> Mapping[str, int]:
        """Look at a sample of a batch's lines. Returns how many oddities of each kind there were since the last one."""
        sample = self._samples.get(source)
        if sample is None:
            sample = self._samples[source] = _Sample(Lint(self._words, self._prices(), excerpts=False))
        for remark in sample.look(lines):
            self._counts[remark.kind] = self._counts.get(remark.kind, 0) + 1
            self._keep(source, now, remark)
        for kind, line in self._lines.items():
            if self._wants(kind, now):
                _, remarks = Lint(self._words, self._prices(), excerpts=False).line(line, now + MAX_AHEAD)
                for remark in remarks:
                    if remark.kind == kind:
                        self._keep(source, now, remark)
        counts, self._counts = self._counts, {}
        self._lines.clear()
        return counts

    def _wants(self, kind: str, now: float) -> bool:
        """Whether there is no example of a kind, or only an old one."""
        known = self.examples.get(kind)
        return known is None or now - known.at > RENEW

    def _keep(self, source: str, now: float, remark: Remark) -> None:
        if self._wants(remark.kind, now):
            self.examples[remark.kind] = Example(source, now, remark.detail[:MAX_DETAIL])


class _Sample:
    """The lines of one source that are looked at closely."""

    def __init__(self, lint: Lint) -> None:
        self._lint = lint
        self._read = 0
        self._told_of_file = False

    def look(self, lines: Sequence[bytes]) -> list[Remark]:
        """What is odd about those of the next lines that are in the sample, and cannot be seen without a look."""
        read, self._read = self._read, self._read + len(lines)
        first = min(max(0, FIRST - read), len(lines))
        after = (number for number in range(-read % EVERY, len(lines), EVERY) if number >= first)
        remarks = [
            remark
            for number in (*range(first), *after)
            for remark in self._lint.line(lines[number])[1]
            if remark.kind in {"field_misnamed", "record_inside"}
        ]
        if not self._told_of_file:
            of_file = [*self._lint.end(None)]
            self._told_of_file = bool(of_file)
            remarks += of_file
        return remarks
