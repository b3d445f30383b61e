"""Past logs, read to their end: one exposition of the whole, or one at every step of the log's own time."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.exposition import generate_latest

from agent_exporter.action import MAX_AHEAD, Action
from agent_exporter.lines import Batch
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.metrics.collector import Collector, StaticCollector
from agent_exporter.records import read
from agent_exporter.sources.once import PastFiles
from agent_exporter.stages import Stages, open_sources
from agent_exporter.state import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from agent_exporter.config import Config
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.sources import Source

log = logging.getLogger(__name__)

REPLAY_AHEAD = 20_000
"""Spans that `replay` lets wait before it reads on: some 10 MB."""
REPLAY_PATIENCE = 30.0
"""Seconds that `replay` waits for a collector that takes nothing."""
LONGEST_GAP = 7 * 86_400.0
"""Seconds; see `in_steps`."""
MAX_LINES = 4096
"""Lines handed on at once; a step of a busy log may hold millions."""


def replay(
    config: Config,
    paths: Sequence[str],
    progress: Callable[[Source], None],
    *listeners: Callable[[Finding], None],
) -> Stages:
    """Read logs to their end, and send their spans if the config has an endpoint.

    `progress` is called with a source after each block, `listeners` with each finding. Raises OSError for a missing
    file.
    """
    stages = past(config, paths)
    stages.listeners += listeners
    queue = stages.queue
    if queue is None:
        stages.pipeline.drain(progress)
        return stages
    # What sends brings 15 MB with it, a third of what a log without spans takes.
    from agent_exporter.eventloop import EventLoop  # noqa: PLC0415
    from agent_exporter.spans.sender import Sender  # noqa: PLC0415
    from agent_exporter.spans.target import target  # noqa: PLC0415

    loop = EventLoop()
    loop.start()
    sender = Sender(queue, target(config))
    queue.wake = sender.wake
    sending = loop.submit(sender.run())

    def hold_back(source: Source) -> None:
        progress(source)
        queue.count_reports()
        # Nothing presses here: rather than drop spans, wait for a collector that takes them.
        while queue.length > REPLAY_AHEAD and not sender.failing and not sending.done():
            time.sleep(0.005)
            queue.count_reports()

    try:
        stages.pipeline.drain(hold_back)
        give_up = time.monotonic() + REPLAY_PATIENCE
        while queue.length and time.monotonic() < give_up and not sending.done():
            before = queue.length
            time.sleep(0.02)
            queue.count_reports()
            if queue.length < before:
                give_up = time.monotonic() + REPLAY_PATIENCE
        if queue.length:
            log.error("%d spans were not sent: the collector does not take them", queue.length)
            queue.abandon()
        stages.pipeline.commit()
    finally:
        sending.cancel()
        loop.stop()
    return stages


def replay_in_steps(config: Config, paths: Sequence[str], step: float) -> Iterator[bytes]:
    """The exposition at every multiple of `step` seconds of the log's own time, each sample with its timestamp.

    For `promtool tsdb create-blocks-from openmetrics`, which takes families interleaved like this.
    """
    stages = past(config, paths)
    for at in in_steps(stages, step, lambda _: None):
        families = Collector(stages.pipeline.store.committed, stages.live(at), created=True).collect()
        stamped = StaticCollector([_stamped(family, at) for family in families if family.samples])
        page: bytes = generate_latest(stamped)  # type: ignore[no-untyped-call]
        yield page.removesuffix(b"# EOF\n")
    yield b"# EOF\n"


def past(config: Config, paths: Sequence[str]) -> Stages:
    """The stages, for logs that are read to their end. Raises OSError for a file that is not there."""
    return Stages(config, MemoryStore(CELL_TYPES), open_sources(config, paths, follow=False), live=False)


def in_steps(stages: Stages, step: float, progress: Callable[[Source], None]) -> Iterator[float]:
    """Read the lines of all sources in order of time; at every multiple of `step` seconds all before it is committed.

    Yields those times, seconds since 1970, the last of them after the newest line. A silence of more than LONGEST_GAP
    is stepped over. What claims to be of the future of its neighbours is rejected, as it would have been at the time.
    """
    pipeline = stages.pipeline
    boundary = at = 0.0
    pipeline.clock = lambda: at
    pipeline.in_order = True
    lines: list[bytes] = []
    of: Source | None = None
    for at, source, line in _merged(pipeline.sources, progress, pipeline.skip):
        if at >= boundary or source is not of or len(lines) >= MAX_LINES:
            if of is not None and lines:
                pipeline.feed(of, Batch(lines))
            lines, of = [], source
        if at and not 0 <= at - boundary <= LONGEST_GAP:
            boundary = max(boundary, (at // step + 1) * step)
        while at >= boundary > 0:
            pipeline.chain.tick(boundary)
            pipeline.commit()
            yield boundary
            boundary += step
        if line is None:
            pipeline.feed(source, Batch([], 1))
        else:
            lines.append(line)
    if of is not None and lines:
        pipeline.feed(of, Batch(lines))
    if boundary:
        pipeline.chain.tick(boundary)
        pipeline.commit()
        yield boundary


def _merged(
    sources: Sequence[Source], progress: Callable[[Source], None], skip: Callable[[Source, Batch], None]
) -> Iterator[tuple[float, Source, bytes | None]]:
    """(time, source, line) of all files by time; None for a line that is too long.

    The time of a file never goes back, so lines that are late stay where they are; one without a time has that of the
    line before it. A file is opened when its first line is due: there may be thousands of them.
    """
    files = [
        (part, source) for source in sources for part in (source.parts() if isinstance(source, PastFiles) else [source])
    ]
    if len(files) == 1:
        yield from _timed(*files[0], progress, skip)
        return
    waiting = sorted(((_begin(part), number) for number, (part, _) in enumerate(files)), reverse=True)
    opened: list[tuple[float, int, Source, bytes | None, Iterator[tuple[float, Source, bytes | None]]]] = []
    while waiting or opened:
        if waiting and (not opened or waiting[-1] <= opened[0][:2]):
            _, number = waiting.pop()
            rest = _timed(*files[number], progress, skip)
        else:
            at, number, source, line, rest = heappop(opened)
            yield at, source, line
        if (item := next(rest, None)) is not None:
            heappush(opened, (item[0], number, *item[1:], rest))


def _begin(source: Source) -> float:
    """The time of the first line that has one; 0 if there is none, or if the source can be read only once."""
    look = source.peek() if isinstance(source, PastFiles) else None
    if look is None:
        return 0.0
    with closing(look):
        while (batch := look.read()) is not None:
            for line in batch.lines:
                action = read(line)
                if isinstance(action, Action):
                    return action.at
    return 0.0


def _timed(
    part: Source, source: Source, progress: Callable[[Source], None], skip: Callable[[Source, Batch], None]
) -> Iterator[tuple[float, Source, bytes | None]]:
    """The lines of a part of a source, in order."""
    newest = leap = 0.0
    held: list[bytes] = []
    """From a line on that leaps ahead, until the next one says whether time did."""
    while not part.finished:
        batch = part.read()
        if batch is None:
            continue
        progress(source)
        if batch.skipped or batch.silent:
            skip(source, batch)
        for line in batch.lines:
            action = read(line)
            at = action.at if isinstance(action, Action) else newest
            if held and (isinstance(action, Action) or len(held) >= MAX_LINES):
                if at > newest + MAX_AHEAD:
                    newest = min(leap, at)
                for before in held:
                    yield newest, source, before
                held.clear()
            if held or at > newest + MAX_AHEAD:
                leap = leap if held else at
                held.append(line)
                continue
            newest = max(newest, at)
            yield newest, source, line
        for _ in range(batch.too_long):
            yield newest, source, None
    for line in held:
        yield leap, source, line


def _stamped(family: Metric, at: float) -> Metric:
    family.samples = [sample._replace(timestamp=at, exemplar=None) for sample in family.samples]
    return family
