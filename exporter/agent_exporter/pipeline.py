"""The only loop: read, decode, drop what was delivered before, hand to each stage, commit.

    for each source:  block of lines  ->  for each line:  Action | Rejection
                                   Action  ->  duplicates  ->  prices  ->  sessions  ->  each stage of the chain
    every 200 ms, and before each scrape:  the changed rows of every stage, in one transaction

One thread owns all of it, so nothing here needs a lock. Other threads `ask` for something to be done between two
blocks, a scrape for example, which takes the rows last committed and is rendered elsewhere.

While the state cannot be written (disk full), nothing is read: what was read is kept in memory, and goes with the
next commit that succeeds.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from agent_exporter.action import MAX_AHEAD, OPTIONAL_FIELDS, Action, Mended, Rejection, decode
from agent_exporter.formats.mapping import memory as format_memory
from agent_exporter.metrics.families import OVERFLOWS, TABLES
from agent_exporter.oddities import COUNTED, Oddities
from agent_exporter.prices import CACHE_APART, UNPRICED, Prices
from agent_exporter.records import read_again
from agent_exporter.stage import Reading
from agent_exporter.state import Unavailable
from agent_exporter.statuses import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent_exporter.breaker import Breaker
    from agent_exporter.duplicates import Duplicates
    from agent_exporter.lines import Batch
    from agent_exporter.metrics.tally import Tally
    from agent_exporter.sessions import Sessions
    from agent_exporter.sources import Source
    from agent_exporter.stage import Chain
    from agent_exporter.state import Row, Rows, Store

log = logging.getLogger(__name__)

COMMIT_EVERY = 0.2
"""Seconds; docs/operating.md."""
BEHIND_BYTES = 8 << 20
"""Bytes still to be read, some 0.2 s of reading, from which on a commit shows nothing current anyway."""
COMMIT_BEHIND_EVERY = 3.0
"""Seconds then, a fifth of a usual scrape interval: the same rows change all the time, and writing them each second
took a fifth of the time. Whoever scrapes or sends has a commit of their own.
"""
COMMIT_SHARE = 5
"""A commit follows no sooner than so many times what the last one took: a slow disk, or ten thousand lines a second,
make them rarer, and not all that is done.
"""
POLL_EVERY = 0.1
"""Seconds between two looks at sources that had nothing: with COMMIT_EVERY, a line is counted within 250 ms."""
POLL_SOON = 0.01
"""Seconds to the first look after there was something, and twice as long to each of the next: what a file gets between
a look and a copytruncate is lost."""
POLL_SHARE = 20
"""A look follows no sooner than so many times what the last one took: 500 open files take a millisecond."""
TICK_EVERY = 1.0
"""Seconds between two looks at what has gone quiet."""
RETRY_EVERY = 1.0
"""Seconds between two tries at a disk that refused."""
THIN_EVERY = 4096
"""Lines of a past log after which what is over is let go of; no clock runs there."""

T = TypeVar("T")


class Pipeline:
    """`clock` gives seconds since 1970. `live` is False when a past log is read: then no clock ages anything."""

    def __init__(
        self,
        sources: Sequence[Source],
        chain: Chain,
        tally: Tally,
        sessions: Sessions,
        duplicates: Duplicates,
        store: Store,
        *,
        breaker: Breaker | None = None,
        live: bool = True,
        prices: Prices | None = None,
        words: Mapping[str, str] = WORDS,
        ignores: Callable[[str, bytes, Rejection], bool] = lambda *_: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sources = list(sources)
        self.prices = prices or Prices()
        self.chain = chain
        """All stages, of which the pipeline itself asks the three below, and `breaker`."""
        self.tally = tally
        self.sessions = sessions
        self.duplicates = duplicates
        self.breaker = breaker
        """What has to decide between two blocks, if anything stops sessions."""
        self.reading = Reading()
        """Of the line at hand."""
        self.store = store
        self.live = live
        self.clock = clock
        self.unavailable: str | None = None
        self.committed_at = 0.0
        self.newest = 0.0
        """Time of the newest line: "now" in a past log."""
        self.oddities = Oddities(words, lambda: self.prices)
        self.in_order = False
        """A past log is read by the time of its lines: each arrives at the newest time so far."""
        self._words = words
        self._ignores = ignores
        self._memories = {id(source.memory): source.memory for source in sources if source.memory is not None}
        self._asked: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._evicted = dict.fromkeys(TABLES, 0)
        self._unthinned = 0
        self._batches = 0
        self._cut: dict[str, tuple[int, int]] = {}
        """(truncations, lost bytes) of each source that are counted."""
        self._catching_up = False
        self.began_empty = True
        """No former run has left any lines in the state."""
        self.caught_up = False
        """All sources together had nothing to read at some time."""
        self._caught_up_sources: set[str] = set()
        """Sources that had nothing more to read at some time."""

    def now(self) -> float:
        """The clock, or in a past log the time of its newest line: so that results do not depend on today."""
        return self.clock() if self.live else self.newest

    # --- one batch ---------------------------------------------------------------------------------------------

    def feed(self, source: Source, batch: Batch) -> tuple[int, str]:
        """Count a batch of lines. Returns how many were rejected, and why the last one was."""
        tally, duplicates = self.tally, self.duplicates
        chain = self.chain
        chain.wake()
        live = self.live
        now = self.now()
        self._batches += 1
        reading = self.reading = Reading(source, live=live and not self._catching_up)
        reading.caught_up = self.in_order or (reading.live and source.name in self._caught_up_sources)
        reading.window = source.window
        reading.now = now
        reading.arrived = now if live or self.in_order else self._batches - 1e9  # below 0, as no clock runs
        in_order = self.in_order
        take = chain.take
        envelopes = batch.envelopes
        delivered = duplicates.request() if envelopes else None
        complete = self.prices.complete
        words = self._words
        latest = self.clock() + MAX_AHEAD
        newest = self.newest
        rejected, why = batch.too_long, "longer than 1 MiB" if batch.too_long else ""
        accepted = duplicate = ignored = 0
        cell = tally.source(source.name, now)
        mended: list[tuple[Mended, bytes]] = []
        odd_line = self.oddities.see
        for number, line in enumerate(batch.lines):
            action = decode(line, latest, words)
            if action.__class__ is not Action:
                if isinstance(action, Rejection):
                    action = read_again(line, action, latest, words)
                if isinstance(action, Rejection):
                    if self._ignores(source.name, line, action):
                        ignored += 1
                    else:
                        rejected += 1
                        why = action.detail
                        tally.reject(cell, action)
                    continue
                if isinstance(action, Mended):
                    if action.ahead and now:  # in a backlog, the time of its newest line
                        action = replace(action, at=now)
                    mended.append((action, line))
            reading.number = number
            if delivered is not None and delivered(line, envelopes[number]):
                duplicate += 1
                if mended and mended[-1][0] is action:
                    mended.pop()
                action, _ = complete(action)
                chain.duplicate(action, reading)
                continue
            accepted += 1
            if action.at > newest:
                newest = action.at
                if not live:
                    now = reading.now = self.newest = newest
                    if in_order:
                        reading.arrived = now
            if (tokens := action.tokens) is not None:
                action, odd = complete(action)
                if odd:
                    tally.odd_tokens(action, odd, now)
                    if odd & UNPRICED and tokens.model is not None:
                        odd_line("model_unpriced", line)
                    if odd & CACHE_APART:
                        self.prices.tell_of_cache(action.agent_id)
                        odd_line("prompt_without_cache", line)
            if action.status == "other":
                odd_line("status_other", line)
            take(action, reading)
        for action, line in mended:
            if action.ahead:
                odd_line("timestamp_ahead", line)
            if action.cleaned:
                odd_line("content_not_json", line)
            for field in action.ignored:
                odd_line("field_ignored", line)
                tally.count("ignored_field", field, 1, now)
        for kind, count in self.oddities.batch(source.name, batch.lines, now).items():
            tally.count("line_warning", kind, count, now)
        self.newest = newest
        cell.read += len(batch.lines) + batch.too_long
        cell.accepted += accepted
        cell.duplicate += duplicate
        cell.ignored += ignored
        cell.last_line = now
        cell.created = cell.created or now
        if batch.too_long:
            cell.rejected["too_long"] = cell.rejected.get("too_long", 0) + batch.too_long
        cell.nul_bytes += batch.nul_bytes
        cell.late += self.sessions.take_late()
        cell.repeated += self.sessions.take_written_twice()
        if batch.skipped or batch.silent:
            self.skip(source, batch)
        tally.touch(cell)
        if not live:
            self._unthinned += accepted
            if self._unthinned >= THIN_EVERY:
                self._unthinned = 0
                chain.thin(newest)
        return rejected, why

    def skip(self, source: Source, batch: Batch) -> None:
        """Count the records of other programs that became no line."""
        now = self.now()
        cell = self.tally.source(source.name, now)
        number = batch.silent + sum(batch.skipped.values())
        cell.read += number
        cell.ignored += number
        cell.last_line = now
        self.tally.touch(cell)
        for name, count in batch.skipped.items():
            self.tally.skipped(name, count, now)

    # --- state -------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Restore what a former run committed. The exporter's own counters begin at zero where there were none."""
        rows, tally = self.store.rows, self.tally
        for stage in self.chain.stages:
            stage.restore(self.store, self.clock())
        self.began_empty = not any(cell.read for cell in tally.sources.values())
        for source in self.sources:
            source.restore([row for kind in source.kinds for row in rows(kind)])
        for memory in self._memories.values():
            memory.restore(rows(format_memory.ROW_KIND))
        now = self.now()
        for source in self.sources:
            tally.source(source.name, now)
        for kind, names in (
            ("eviction", TABLES),
            ("overflow", OVERFLOWS),
            ("spans", ("sent", "dropped")),
            ("ignored_field", OPTIONAL_FIELDS),
            ("line_warning", COUNTED),
        ):
            for name in names:
                tally.count(kind, name, 0, now)
        for kind, count in self.store.unreadable.items():
            tally.count("unreadable_row", kind, count, now)
        tally.count("eviction", "unreadable", self.store.unreadable_dropped, now)

    def commit(self) -> bool:
        """Write what changed. False if the disk refuses; the rows are then kept."""
        try:
            self.store.commit(self._changes())
        except Unavailable as error:
            if self.unavailable is None:
                log.error("state cannot be written, reading pauses: %s", error)  # noqa: TRY400
            self.unavailable = str(error)
            for source in self.sources:
                source.refused()
            return False
        if self.unavailable is not None:
            log.warning("state can be written again, reading goes on")
            self.unavailable = None
        self.committed_at = self.now()
        for source in self.sources:
            source.committed()
        for stage in [stage for stage in self.chain.stages if stage.committed()]:
            with suppress(Unavailable):  # then these rows go with the next commit
                self.store.commit(stage.changes())
        return True

    def _changes(self) -> Iterator[Row]:
        for source in self.sources:
            yield from source.changes()
        for memory in self._memories.values():
            yield from memory.changes()
        for stage in reversed(self.chain.stages):  # tally is the first, so it comes last: all others count into it
            if stage is self.tally:
                self._count_evictions()
                self._count_losses()
            yield from stage.changes()

    def _count_evictions(self) -> None:
        now = self.now()
        evicted = [stage.evicted() for stage in self.chain.stages]
        evicted += [memory.evicted() for memory in self._memories.values()]
        for table, total in itertools.chain.from_iterable(evicted):
            self.tally.count("eviction", table, total - self._evicted[table], now)
            self._evicted[table] = total

    def _count_losses(self) -> None:
        for source in self.sources:
            cut = (source.truncations, source.lost_bytes)
            before = self._cut.get(source.name, (0, 0))
            if cut != before:
                self._cut[source.name] = cut
                cell = self.tally.source(source.name, self.now())
                cell.truncations += cut[0] - before[0]
                cell.lost_bytes += cut[1] - before[1]
                self.tally.touch(cell)

    def snapshot(self) -> Rows:
        """The rows of a scrape: committed ones, with all that was read until now if the disk allows."""
        self.commit()
        return {kind: dict(rows) for kind, rows in self.store.committed.items()}

    # --- the loop ----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to read. From any thread."""
        self._wake.set()

    def ask(self, what: Callable[[], T]) -> Future[T]:
        """Have something done in this thread, between two blocks. From any thread."""
        future: Future[T] = Future()
        if self._stopping:
            future.set_exception(RuntimeError("shutting down"))
            return future
        self._asked.append((what, future))  # type: ignore[arg-type]
        self._wake.set()
        return future

    def stop(self) -> None:
        """End the loop after the current block. From any thread, or a signal handler."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Read until told to stop, then commit."""
        monotonic = time.monotonic
        breaker = self.breaker
        next_commit = next_tick = overdue = monotonic()
        poll = POLL_EVERY
        while not self._stopping:
            busy = waited_for = False
            looked_at = monotonic()
            if self.unavailable is None:
                for source in self.sources:
                    batch = source.read()
                    if batch is not None:
                        source.note(*self.feed(source, batch))
                        busy = True
                        waited_for = waited_for or source.impatient
                    else:
                        self._caught_up_sources.add(source.name)
            look = monotonic() - looked_at
            self._answer()
            if breaker is not None and breaker.undecided:
                self._decide(breaker, caught_up=not busy)
                waited_for = waited_for or breaker.urgent
            now = monotonic()
            if waited_for or now >= next_commit:
                self._catching_up = self._behind()
                if not waited_for and now < overdue and self._catching_up:
                    next_commit = now + COMMIT_EVERY
                else:
                    pause = COMMIT_EVERY if self.commit() else RETRY_EVERY
                    next_commit = now + max(pause, COMMIT_SHARE * (monotonic() - now))
                    overdue = now + COMMIT_BEHIND_EVERY
            if now >= next_tick:
                next_tick = now + TICK_EVERY
                self._tick()
            if not busy:
                self.caught_up = True
                self._wake.wait(max(poll, min(POLL_EVERY, POLL_SHARE * look)))
                self._wake.clear()
                poll = min(POLL_EVERY, 2 * poll)
            else:
                poll = POLL_SOON
        self.commit()
        self._answer()

    def drain(self, progress: Callable[[Source], None] = lambda _: None) -> None:
        """Read every source to its end: a past log. `progress` is called with the source after each block."""
        for source in self.sources:
            while not source.finished:
                batch = source.read()
                if batch is None:
                    continue
                self.feed(source, batch)
                progress(source)
        self.chain.finish(self.newest)
        self.commit()

    def _behind(self) -> bool:
        return any(total - read > BEHIND_BYTES for read, total in (source.progress() for source in self.sources))

    def _decide(self, breaker: Breaker, *, caught_up: bool) -> None:
        """Sessions are stopped when all is read that counts: the next line may be their end."""
        if self.unavailable is None:
            breaker.decide(self.now(), () if caught_up else self.sources)

    def _tick(self) -> None:
        now = self.now()
        self.chain.tick(now)
        if self.unavailable is None:  # else senders will send again what is counted and not yet written
            self.duplicates.age(now)

    def _answer(self) -> None:
        while self._asked:
            what, future = self._asked.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(what())
            except Exception as error:  # noqa: BLE001  (it belongs to whoever asked)
                future.set_exception(error)
