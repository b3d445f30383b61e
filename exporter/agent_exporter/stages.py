"""The stages put together from a config, and what a scrape shows of them: the same for `run` and `replay`."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from prometheus_client.exposition import choose_encoder

from agent_exporter import __version__
from agent_exporter.benchmark import history
from agent_exporter.breaker import Audit, Breaker, BreakerMetrics
from agent_exporter.config import BUILT_IN_TASK_TYPES
from agent_exporter.detectors import Detectors, cascade
from agent_exporter.detectors import journal as findings
from agent_exporter.detectors.journal import Journal
from agent_exporter.duplicates import Duplicates
from agent_exporter.formats import Choice
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.metrics.collector import Collector, StaticCollector
from agent_exporter.metrics.exposition import write
from agent_exporter.metrics.limits import Limits
from agent_exporter.metrics.samples import AgentSettings, ScrapeContext, TaskSettings
from agent_exporter.metrics.tally import Tally
from agent_exporter.pipeline import Pipeline
from agent_exporter.prices import Prices
from agent_exporter.records import Foreign
from agent_exporter.sessions import Session, Sessions
from agent_exporter.sources.files import FileSource
from agent_exporter.sources.once import PastFiles
from agent_exporter.sources.place import Claims
from agent_exporter.sources.stdin import StdinSource
from agent_exporter.spans.queue import SpanQueue
from agent_exporter.spans.trace_buffer import TraceBuffer
from agent_exporter.spans.tree import Tree
from agent_exporter.stage import Chain
from agent_exporter.status.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.metrics_core import Metric

    from agent_exporter import config
    from agent_exporter.action import Rejection
    from agent_exporter.config import Config
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.probes.check import Result
    from agent_exporter.sources import Source
    from agent_exporter.state import Rows, Store


MIRRORED = (*CELL_TYPES, findings.ROW_KIND, history.ROW_KIND)
"""Kinds of rows of which a page is made: metrics, the latest findings, and the latest benchmark runs."""


class Stages:
    """All stages and the pipeline, made from a config that a reload may replace.

    `tree` and `queue` are None where no spans are wanted, `buffer` where they do not wait, `recent` and `breaker` in a
    past log.

    `write` begins to print lines on standard output, and is not called while `busy`. Each of `listeners` gets every
    finding as it is made, in the pipeline's thread and before it is committed.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        sources: Sequence[Source],
        *,
        live: bool = True,
        write: Callable[[bytes], None] | None = None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config = config
        self.listeners: list[Callable[[Finding], None]] = []
        tally = Tally(
            self._is_llm,
            limits=Limits(config.metrics.max_series_per_family, config.metrics.max_samples),
            team=lambda name: self.config.agent(name).team,
            configured=config.names(),
            baseline_from=self._baseline_from,
            ttl=config.metrics.agent_ttl,
            gen_ai=config.metrics.gen_ai,
        )
        tree = buffer = queue = None
        if config.otlp.endpoint is not None:
            buffered = live and config.otlp.buffer_traces is not None
            queue = SpanQueue(
                store,
                lambda result, count: tally.count("spans", result, count, self.pipeline.now()),
                version=__version__,
                durable=store.durable,
                buffered=buffered,
                spool_bytes=config.otlp.spool_bytes,
            )
            if live and config.otlp.buffer_traces is not None:
                buffer = TraceBuffer(
                    queue.offer,
                    config.otlp.buffer_traces,
                    is_open=lambda trace: tree is not None and tree.is_open(trace.hex()),
                    clock=time.time,
                    durable=queue.durable,
                )
            tree = Tree(self._is_llm, (buffer or queue).offer)

        journal = Journal(write, busy)

        def on_finding(finding: Finding) -> None:
            tally.on_finding(finding, self.pipeline.now(), live=live)
            if finding.kind == cascade.MEMBER:
                return
            journal.add(finding)
            if tree is not None:
                tree.on_finding(finding)
            for listener in self.listeners:
                listener(finding)

        def opened(session: Session) -> None:
            tally.opened(session, self.pipeline.now())

        def closed(session: Session) -> None:
            detectors.flush(session)
            tally.closed(session, self.pipeline.now())
            if tree is not None:
                tree.end(session)

        idle = {"default": float(config.task_type("default").idle_timeout)}
        idle |= {name: float(task.idle_timeout) for name, task in config.task_types.items()}
        self._idle = idle
        sessions = Sessions(
            self._idle_of,
            opened,
            closed,
            reorder=config.detectors.reorder_window,
            shortest_idle=min(idle.values()),
            longest_call=lambda name: self.config.agent(name).max_action_duration,
        )
        detectors = Detectors(config, sessions, on_finding, averaged=tally.average, live=live)
        duplicates = Duplicates(time.time(), stored=store.durable)
        recent = breaker = None
        if live:
            recent = Recent(time.time())
            metrics = BreakerMetrics(tally.terminated, tally.unconfirmed)
            breaker = Breaker(config, sessions, Audit(config.audit_log()), metrics, detectors.reconsider)
            self.listeners.append(lambda finding: breaker.on_finding(finding, self.pipeline.now()))
        self.tally = tally
        self.sessions = sessions
        self.tree = tree
        self.recent = recent
        self.detectors = detectors
        self.journal = journal
        self.buffer = buffer
        self.queue = queue
        self.breaker = breaker
        self.duplicates = duplicates
        order = (tally, sessions, tree, recent, detectors, journal, buffer, queue, breaker, duplicates)
        self.pipeline = Pipeline(
            sources,
            Chain(sessions, [stage for stage in order if stage is not None]),
            tally,
            sessions,
            duplicates,
            store,
            breaker=breaker,
            live=live,
            prices=Prices(config.prices, live=live),
            words=config.statuses.words(),
            ignores=self._ignores,
        )
        if breaker is not None:
            sessions.may_speak = lambda action: breaker.may_speak(action, self.pipeline.reading)
        self.pipeline.restore()
        tally.configure(config.names(), self.pipeline.now())

    def live(self, now: float, gauges: dict[str, float] | None = None, checks: Sequence[Result] = ()) -> ScrapeContext:
        """What a scrape shows in addition to the committed rows."""
        config = self.config
        return ScrapeContext(
            now,
            __version__,
            lambda name: agent_settings(config, name, now),
            {name: _task_settings(config, name) for name in self._task_types()},
            gauges or {},
            sorted(self.breaker.latches.agents) if self.breaker is not None else (),
            {source.name: source.unread() for source in self.pipeline.sources} if self.pipeline.live else {},
            config.metrics.gen_ai,
            checks,
        )

    def _task_types(self) -> set[str]:
        """Those to show: built-in ones only once a session has one."""
        seen = self.tally.knows_task_type
        return {"default", *(name for name in self.config.task_types if name not in BUILT_IN_TASK_TYPES or seen(name))}

    def _is_llm(self, action: str) -> bool:
        return self.config.is_llm(action)

    def _idle_of(self, task_type: str) -> float:
        return self._idle.get(task_type) or self._idle["default"]

    def _ignores(self, source: str, line: bytes, rejection: Rejection) -> bool:
        """Whether to ignore a line that does not decode: plain text, or the JSON of another program."""
        settings: dict[str, config.FileSource | config.NDJSON | config.OTLPLogs]
        settings = {"otlp": self.config.otlp_logs, "ndjson": self.config.ndjson, **self.config.sources}
        own = settings.get(source)
        if isinstance(rejection, Foreign):
            return own is None or own.foreign_json == "ignore"
        return own is not None and own.ignore_plain_text and rejection.reason == "not_json" and line[:1] != b"{"

    def _baseline_from(self, name: str) -> float:
        """Seconds since 1970."""
        start = self.config.agent(name).baseline_from
        return datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp() if start else 0.0


def agent_settings(config: Config, name: str, now: float) -> AgentSettings:
    """The settings of an agent that a scrape shows."""
    agent = config.agent(name)
    # Silent by plan until its first line after them is due: it has had no reason to log before they ended.
    due = 2 * (agent.expected_interval or 0.0)
    quiet = agent.quiet_hours is not None and (agent.quiet_hours.contain(now) or agent.quiet_hours.contain(now - due))
    return AgentSettings(
        agent.expected_interval, agent.max_action_duration, quiet, agent.daily_tokens, agent.daily_cost_usd
    )


def _task_settings(config: Config, name: str) -> TaskSettings:
    task = config.task_type(name)
    return TaskSettings(task.session_tokens, task.session_cost_usd, task.normal_duration, task.max_duration)


def render(file: BinaryIO, rows: Rows, live: ScrapeContext, accept: str, others: Iterable[Metric] = ()) -> str:
    """Write an exposition in the format that the Accept header asks for; `others` come last. Returns its Content-Type.

    Only OpenMetrics has creation times and exemplars; in the old format they would be series of their own.
    """
    encode, content_type = choose_encoder(accept)
    openmetrics = "openmetrics" in content_type
    if content_type.endswith(("escaping=dots", "escaping=values")):  # names change: rare, so it may be slow
        file.write(encode(StaticCollector([*Collector(rows, live, created=openmetrics).collect(), *others])))
    else:
        write(file, rows, live, openmetrics=openmetrics)
        file.write(encode(StaticCollector(others)))
    return content_type


def open_sources(
    config: Config, paths: Sequence[str], *, follow: bool = True, memory: Memory | None = None
) -> list[Source]:
    """Those of the command line and those of the config. Raises OSError for a file to read once that is not there.

    Raises ConfigError for a format that is none; commands have checked that (`cli.settings`).
    """
    claims = Claims()
    memory = Memory() if memory is None else memory
    choice = Choice.named(config.format, memory)
    if "-" in paths and stat.S_ISREG((st := os.fstat(0)).st_mode):
        claims[st.st_dev, st.st_ino] = "-"  # as in `run - log < log`
    sources: list[Source] = []
    for path in paths:
        if path == "-":
            sources.append(StdinSource(announce=follow, choice=choice))
        elif follow:
            sources.append(FileSource(path, path, claims=claims, choice=choice))
        else:
            sources.append(PastFiles(path, path, claims=claims, choice=choice))
    if follow:
        for name, source in config.sources.items():
            own = choice if source.format is None else Choice.named(source.format, memory)
            start = source.start_at
            sources.append(FileSource(name, source.path, start_at=start, claims=claims, choice=own))
    return sources
