"""The running program: the stages with a server, a state file and signals around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from prometheus_client.process_collector import ProcessCollector

from agent_exporter import __version__
from agent_exporter.benchmark import history
from agent_exporter.benchmark.history import History, Run
from agent_exporter.benchmark.schedule import Schedule
from agent_exporter.breaker import Operators
from agent_exporter.breaker.control import Control
from agent_exporter.breaker.terminator import Refused, Terminator
from agent_exporter.config import Config, load
from agent_exporter.config.strict import ConfigError
from agent_exporter.eventloop import EventLoop
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.metrics.samples import ScrapeContext
from agent_exporter.pipeline import RETRY_EVERY, Pipeline
from agent_exporter.prices import Prices
from agent_exporter.printer import Printer
from agent_exporter.probes.prober import Prober
from agent_exporter.row_kinds import ROW_KINDS
from agent_exporter.server import Server
from agent_exporter.server.budget import budget
from agent_exporter.server.handlers import CatchingUp
from agent_exporter.sources.ndjson import NdjsonSource
from agent_exporter.sources.otlp import OtlpSource
from agent_exporter.spans.sender import Sender
from agent_exporter.spans.target import target
from agent_exporter.stages import MIRRORED, Stages, agent_settings, open_sources, render
from agent_exporter.state import MemoryStore, SQLiteStore, Store, Unavailable
from agent_exporter.status.pages import Pages
from agent_exporter.status.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_exporter.benchmark.run import Report
    from agent_exporter.breaker.intent import Intent
    from agent_exporter.spans.queue import SpanQueue
    from agent_exporter.state import Row, Rows

log = logging.getLogger(__name__)

GOODBYE = 3.0
"""Seconds that the sender gets at the end for spans that would otherwise be lost."""
STALLED = 2.0
"""Seconds after which the reader of standard output counts as stalled: a shell that pages, or a full pipe."""
SCRAPE_WAIT = 8.0
"""Seconds that a scrape waits for the pipeline: less than Prometheus' usual timeout of 10."""

NEED_RESTART = (
    "server", "state", "format", "sources", "otlp", "otlp_logs", "ndjson", "metrics", "llm_actions", "statuses",
)  # fmt: skip
"""Keys of the config that a reload does not put in force."""


class Exporter:
    """The running program. `run` returns the exit code; `started` is called with the address once it serves."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        paths: Sequence[str],
        *,
        started: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = config
        self.config_path = config_path
        self.loaded_at = self._began = time.time()
        self.reload_ok = True
        self.stages: Stages | None = None
        self._paths = paths
        self._started = started
        self._problem: str | None = "starting"
        self._stopping = False
        self._loop = EventLoop()
        self._asking = EventLoop("probes")
        self._prober = Prober()
        self._history = History()
        self._schedule = Schedule(self._last, self._keep)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="scrape")
        self._reloads = ThreadPoolExecutor(1, thread_name_prefix="reload")
        self._reload_waits = False
        self._taking_up = False
        """The state is open, and its rows are being taken up."""
        self._printer = Printer()
        self._process = ProcessCollector(registry=None)
        self._memory = Memory()
        self._otlp = OtlpSource(wake=self._wake) if config.otlp_logs.enabled else None
        self._ndjson = NdjsonSource(self._wake, self._memory, config.ndjson.formats) if config.ndjson.enabled else None
        self._posted = [source for source in (self._otlp, self._ndjson) if source is not None]
        self._sender: Sender | None = None
        self.server = Server(
            self._loop,
            listen=config.server.listen,
            metrics=lambda accept: self._pool.submit(self._scrape, accept),
            ready=self._unready,
            status=Pages(self._look, metrics=not config.server.token_file).render,
            budget=self._budget,
            otlp=self._otlp,
            ndjson=self._ndjson,
            tls=_tls(config),
            token_file=Path(config.server.token_file) if config.server.token_file else None,
            allowed_hosts=config.server.allowed_hosts,
        )

    # --- from start to end -------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Raises OSError if the address is taken, Locked if the state file is."""
        store = None
        for number, handler in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self._hup)):
            signal.signal(number, handler)
        try:
            store = self._open_store()  # first of all: a locked file ends it here
            self._loop.start()
            self.server.start()
            log.info("listening at %s", self.address)
            self._started(self.address)
            while store is None and not self._stopping:
                time.sleep(RETRY_EVERY)
                store = self._open_store()
            if store is not None:
                self._work(store)
        finally:
            self._asking.stop()
            self.server.stop()
            self._loop.stop()
            self._pool.shutdown(wait=False, cancel_futures=True)
            if store is not None:
                store.close()
        log.info("ended")
        return 0

    @property
    def address(self) -> str:
        """The URL of the status page."""
        scheme = "https" if self.config.server.tls_cert_file else "http"
        return f"{scheme}://{self.config.server.listen.rpartition(':')[0]}:{self.server.port}/"

    def _open_store(self) -> Store | None:
        path = self.config.state.path
        if path is None:
            log.warning("no state: after a restart counters begin at zero, and files are read from their beginning")
            return MemoryStore(MIRRORED)
        try:
            return SQLiteStore(Path(path), MIRRORED, ROW_KINDS)
        except Unavailable as error:
            sentence = f"state cannot be opened, nothing is read until it can: {error}"
            if self._problem != sentence:
                log.error(sentence)  # noqa: TRY400
            self._problem = sentence
            return None

    def _work(self, store: Store) -> None:
        self._taking_up = True
        sources = open_sources(self.config, self._paths, memory=self._memory)
        if not sources and self._posted:
            log.info("no files are named: lines are taken at %sv1/logs and v1/ndjson only", self.address)
        sources += self._posted
        self.stages = stages = Stages(self.config, store, sources, write=self._printer, busy=self._printer.busy)
        pipeline = stages.pipeline
        self._retire(set())
        sending = None
        queue = stages.queue
        if queue is not None:
            self._sender = Sender(queue, target(self.config))
            queue.wake = self._sender.wake
            sending = self._loop.submit(self._sender.run())
        self._history = History(store.rows(history.ROW_KIND))
        self._asking.start()
        self._ask_agents()
        control = self._stand_by(stages)
        self._problem = None
        if self._stopping:
            pipeline.stop()
        try:
            pipeline.run()
        finally:
            if control is not None:
                self._loop.submit(control.stop())
            for source in self._posted:
                source.close("shutting down")
            if queue is not None and not queue.durable:
                self._say_goodbye(pipeline, queue)
            if sending is not None:
                sending.cancel()
            pipeline.commit()
            if self._printer.wait(GOODBYE):
                pipeline.commit()  # with what is known to be printed now

    def _stand_by(self, stages: Stages) -> Control | None:
        """Connect the breaker to its terminator, and operators to the breaker."""
        pipeline, breaker = stages.pipeline, stages.breaker
        assert breaker is not None

        async def answered(key: str, refusal: Refused | None) -> bool:
            return await asyncio.wrap_future(pipeline.ask(lambda: breaker.answered(key, refusal, pipeline.now())))

        async def still_intended(key: str) -> bool:
            return await asyncio.wrap_future(pipeline.ask(lambda: breaker.still_intended(key, pipeline.now())))

        def call(intent: Intent) -> None:
            self._loop.submit(terminator.carry_out(intent))

        terminator = Terminator(lambda name: self.config.agent(name).terminate, answered, still_intended)
        breaker.call = call
        path = self.config.control_socket()
        if path is None:
            return None
        operators = Operators(breaker, stages.sessions)
        control = Control(
            path,
            status=lambda: pipeline.ask(operators.status),
            unlatch=lambda order: pipeline.ask(lambda: operators.unlatch(order.agent_id, pipeline.now(), order.by)),
            extend=lambda order: pipeline.ask(
                lambda: operators.extend(
                    order.session_id, order.agent_id, order.tokens, order.cost_usd, pipeline.now(), order.by
                )
            ),
        )
        self._loop.submit(control.start()).result()
        return control

    @staticmethod
    def _say_goodbye(pipeline: Pipeline, queue: SpanQueue) -> None:
        """Without a state file, what is not sent now is lost."""
        pipeline.chain.close()
        deadline = time.monotonic() + GOODBYE
        while queue.length and time.monotonic() < deadline:
            time.sleep(0.02)
            queue.count_reports()
        if queue.length:
            log.error(
                "%d spans were not sent: the collector does not take them, and there is no state.path", queue.length
            )

    # --- signals -----------------------------------------------------------------------------------------------

    def stop(self, *_: object) -> None:
        """End `run` after the current block. From any thread, or a signal handler."""
        self._stopping = True
        self._problem = "shutting down"
        if self.stages is not None:
            self.stages.pipeline.stop()

    def _hup(self, *_: object) -> None:
        if self.stages is not None and not self._reload_waits:
            self._reload_waits = True
            self._reloads.submit(self.reload)

    def _wake(self) -> None:
        if self.stages is not None:
            self.stages.pipeline.wake()

    def reload(self) -> None:
        """Read the config file again; if it is wrong, log why and keep the current one.

        In a thread of its own, as the file of a large fleet takes seconds; the pipeline takes over what was read.
        """
        self._reload_waits = False
        if self.config_path is None or self.stages is None:
            return
        try:
            config = load(self.config_path)
        except ConfigError as error:
            self.reload_ok = False
            for fault in error.faults:
                log.error("config not reloaded: %s", fault)  # noqa: TRY400
            return
        self.stages.pipeline.ask(lambda: self._put_in_force(config))

    def _put_in_force(self, config: Config) -> None:
        """In the pipeline's thread."""
        assert self.stages is not None
        if config.state.path is None or (config.state.file is None and self.config.state.path is None):
            config = replace(config, state=self.config.state)  # the place that was chosen for it, or none
        for key in NEED_RESTART:
            if getattr(config, key) != getattr(self.config, key):
                log.warning("config: %s has changed, which needs a restart", key)
        before = set(self.config.names())
        self.config = self.stages.config = config
        self.stages.tally.configure(config.names(), time.time())
        self.stages.detectors.configure(config)
        self.stages.pipeline.prices = Prices(config.prices, live=True)
        assert self.stages.breaker is not None
        self.stages.breaker.configure(config, self.stages.pipeline.now())
        self._retire(before)
        self._ask_agents()
        self.reload_ok = True
        self.loaded_at = time.time()
        log.info("config reloaded from %s", self.config_path)

    def _retire(self, before: set[str]) -> None:
        """No series for agents that the config no longer names, or retires; if one logs again, it is new."""
        assert self.stages is not None
        tally = self.stages.tally
        gone = before - set(self.config.names())
        for name in [name for name in tally.agents if name in gone or self.config.agent(name).retired]:
            tally.forget(name)

    # --- questions to agents ----------------------------------------------------------------------------------

    def _ask_agents(self) -> None:
        """Start health checks and benchmarks as the current config says. In the pipeline's thread."""
        self._commit(self._history.keep_only(self.config))
        self._asking.submit(self._prober.configure(self.config))
        self._asking.submit(self._schedule.configure(self.config))

    def _last(self, agent: str, suite: str) -> Run | None:
        return self._history.last(agent, suite)

    def _keep(self, report: Report) -> None:
        """A benchmark has run; this is another thread."""
        if self.stages is not None:
            self.stages.pipeline.ask(lambda: self._commit(self._history.add(report)))

    def _commit(self, rows: Iterable[Row]) -> None:
        assert self.stages is not None
        with contextlib.suppress(Unavailable):  # then they go with the next commit
            self.stages.pipeline.store.commit(rows)

    # --- what the server shows ---------------------------------------------------------------------------------

    def _scrape(self, accept: str) -> tuple[str, bytes]:
        rows: Rows = {}
        if self.stages is None and self._taking_up:
            raise CatchingUp(1)  # a page without them would end all series of agents
        if self.stages is not None:
            wait = until_caught_up(
                self.stages.pipeline, self.config.metrics.catch_up_timeout - (time.time() - self._began)
            )
            if wait:
                raise CatchingUp(wait)
            pipeline = self.stages.pipeline
            rows, live = pipeline.ask(lambda: (pipeline.snapshot(), self._live())).result(SCRAPE_WAIT)
        else:
            live = self._live()
        page = BytesIO()
        content_type = render(page, rows, live, accept, self._process.collect())
        return content_type, page.getvalue()

    def _live(self) -> ScrapeContext:
        now = time.time()
        gauges = {
            "agent_exporter_config_last_reload_successful": float(self.reload_ok),
            "agent_exporter_config_last_reload_success_timestamp_seconds": self.loaded_at,
            "agent_exporter_state_available": 0.0,
        }
        if self.stages is None:
            return ScrapeContext(now, __version__, lambda name: agent_settings(self.config, name, now), {}, gauges)
        pipeline = self.stages.pipeline
        gauges["agent_exporter_state_available"] = float(pipeline.unavailable is None)
        gauges["agent_exporter_checkpoint_timestamp_seconds"] = pipeline.committed_at
        gauges["agent_exporter_series_samples"] = self.stages.tally.limits.samples
        if self.stages.breaker is not None:
            gauges["agent_breaker_latched"] = float(self.stages.breaker.latches.overall.since > 0)
            gauges["agent_breaker_wait_seconds"] = self.stages.breaker.waits(pipeline.now())
            gauges["agent_breaker_enforcing"] = float(self.stages.breaker.enforcing)
        if self.stages.queue is not None:
            gauges["agent_exporter_span_queue_length"] = self.stages.queue.length
            gauges["agent_exporter_span_spool_bytes"] = self.stages.queue.spooled
        return self.stages.live(now, gauges, self._prober.results())

    def _budget(self, session_id: str, agent_id: str | None, task_type: str) -> dict[str, Any]:
        """The remaining budget of a session. Does not wait for the pipeline, however busy that is."""
        if self.stages is None:
            raise LookupError(self._problem or "starting")
        assert self.stages.breaker is not None
        enforces = self.stages.breaker.enforces_budgets
        return budget(self.stages.sessions, self.config, session_id, agent_id, task_type, enforces)

    def _unready(self) -> str | None:
        if self.stages is not None and self.stages.pipeline.unavailable is not None:
            return f"state cannot be written, reading pauses: {self.stages.pipeline.unavailable}"
        if self._printer.stalled() > STALLED:
            return "standard output is not read: findings wait to be printed"
        return self._problem

    def _look(self, agent: str | None, trace_id: str | None) -> Snapshot:
        if self.stages is None:
            return Snapshot({}, self._live(), self._problem, self.loaded_at)
        stages = self.stages
        look = stages.pipeline.ask(lambda: take_snapshot(stages, self._live(), self._unready(), agent, trace_id))
        return look.result(SCRAPE_WAIT)


def until_caught_up(pipeline: Pipeline, left: float) -> int:
    """Seconds after which to scrape again, or 0 for now; `left` are those for which a scrape may be refused.

    On a first start, counters of logs that are half read would look like a burst of work.
    """
    if pipeline.began_empty and not pipeline.caught_up and left > 0:
        return min(5, math.ceil(left))
    return 0


def _tls(config: Config) -> tuple[Path, Path, Path | None] | None:
    server = config.server
    if server.tls_cert_file is None or server.tls_key_file is None:
        return None
    client_ca = Path(server.tls_client_ca_file) if server.tls_client_ca_file else None
    return Path(server.tls_cert_file), Path(server.tls_key_file), client_ca
