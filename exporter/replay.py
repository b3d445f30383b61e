"""Logs of the past, read to their end: one exposition of the whole, or one at every step of the log's own time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.exposition import generate_latest

from exporter.action import Action, decode
from exporter.eventloop import EventLoop
from exporter.metrics.families import Collector, Given
from exporter.metrics.tally import KINDS
from exporter.sources import Batch
from exporter.spans.sender import Sender
from exporter.stages import Stages, open_sources, target
from exporter.state import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from exporter.config import Config
    from exporter.detectors.finding import Finding
    from exporter.sources import Source

log = logging.getLogger(__name__)

REPLAY_AHEAD = 20_000
"""Spans that `replay` lets wait before it reads on: some 10 MB."""
REPLAY_PATIENCE = 30.0
"""Seconds that `replay` waits for a collector that takes nothing."""
LONGEST_GAP = 7 * 86_400.0
"""Seconds; see `replay_in_steps`."""


def replay(
    config: Config,
    paths: Sequence[str],
    progress: Callable[[Source], None],
    *listeners: Callable[[Finding], None],
) -> Stages:
    """Read logs to their end, and send their spans if the config has an endpoint.

    `progress` is told of a source after each block, `listeners` of each finding. Raises OSError for a file that is not
    there.
    """
    stages = Stages(config, Memory(KINDS), open_sources(config, paths, follow=False), live=False)
    stages.listeners += listeners
    queue = stages.pipeline.sinks.queue
    if queue is None:
        stages.pipeline.drain(progress)
        return stages
    loop = EventLoop()
    loop.start()
    sender = Sender(queue, target(config))
    queue.wake = sender.wake
    sending = loop.submit(sender.run())

    def hold_back(source: Source) -> None:
        progress(source)
        # Nothing presses here: rather than drop spans, wait for a collector that takes them.
        while queue.length > REPLAY_AHEAD and not sender.failing and not sending.done():
            time.sleep(0.005)
            queue.settle()

    try:
        stages.pipeline.drain(hold_back)
        give_up = time.monotonic() + REPLAY_PATIENCE
        while queue.length and time.monotonic() < give_up and not sending.done():
            before = queue.length
            time.sleep(0.02)
            queue.settle()
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

    For `promtool tsdb create-blocks-from openmetrics`, which takes families interleaved like this. A silence of more
    than LONGEST_GAP is stepped over: a single line with a wrong date would otherwise make years of samples.
    """
    stages = Stages(config, Memory(KINDS), open_sources(config, paths, follow=False), live=False)
    pipeline = stages.pipeline
    boundary = 0.0
    for source in pipeline.sources:
        while not source.finished:
            batch = source.read()
            for line in batch.lines if batch is not None else ():
                action = decode(line)
                if isinstance(action, Action):
                    if not 0 <= action.at - boundary <= LONGEST_GAP:
                        boundary = max(boundary, (action.at // step + 1) * step)
                    while action.at >= boundary:
                        yield _step(stages, boundary)
                        boundary += step
                pipeline.feed(source, Batch([line]))
            if batch is not None and batch.too_long:
                pipeline.feed(source, Batch([], batch.too_long))
    if boundary:
        yield _step(stages, boundary)
    yield b"# EOF\n"


def _step(stages: Stages, at: float) -> bytes:
    """One exposition with timestamps, without its end mark."""
    pipeline = stages.pipeline
    pipeline.sinks.detectors.tick(at)
    pipeline.sinks.sessions.settle(at)
    pipeline.sinks.sessions.tick(at)
    pipeline.commit()
    families = Collector(pipeline.store.committed, stages.live(at), created=True).collect()
    stamped = Given([_stamped(family, at) for family in families if family.samples])
    page: bytes = generate_latest(stamped)  # type: ignore[no-untyped-call]
    return page.removesuffix(b"# EOF\n")


def _stamped(family: Metric, at: float) -> Metric:
    family.samples = [sample._replace(timestamp=at, exemplar=None) for sample in family.samples]
    return family
