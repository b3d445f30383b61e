"""Log records that an OpenTelemetry collector, or any OTLP/HTTP sender, posts to /v1/logs.

A record's body is a line: as text, as bytes, or already parsed into a map, which is written as JSON again so that
there is one decode path. The answer waits for the commit: what was answered with 200 is counted for good.
`otlp_protobuf` and `otlp_json` make lines of requests; here they wait, and pieces of lines are joined.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter import formats
from agent_exporter.clocks import SENT
from agent_exporter.lines import MAX_LINE, NO_ORIGIN, Batch, Origin
from agent_exporter.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.formats import Format
    from agent_exporter.sources.otlp_records import Record
    from agent_exporter.state import Row


ROW_KIND = "otlp_stream"
MAX_REQUESTS = 64
"""Waiting to be counted; a collector sends a handful at a time."""
MAX_BYTES = 64 << 20
"""Of lines waiting to be counted: three requests of the largest size."""
PER_RECORD = 200
"""Bytes of memory that a record takes beside its line."""
MAX_STREAMS = 1024
"""Files and containers of which unfinished pieces are remembered."""
MAX_PIECES = 64 << 20
"""Bytes of all unfinished pieces. Beyond either bound the oldest are handed on as they are, to be rejected."""


class QueueFull(Exception):  # noqa: N818
    """Not now: the queue is full, the disk refuses, or the end is near. The sender is to try again."""


class Receipt(NamedTuple):
    """What became of a request, once committed."""

    rejected: int = 0
    why: str = ""


class _Request(NamedTuple):
    records: Sequence[Record]
    size: int
    answer: Future[Receipt]
    origins: frozenset[Origin]


class OtlpSource(Source):
    """A bounded queue between the server's threads, which `deliver`, and the pipeline's."""

    name = "otlp"
    kinds = (ROW_KIND,)
    window = SENT

    def __init__(self, wake: Callable[[], None], max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._wake = wake
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._bytes = 0
        self._closed: str | None = None
        self._handed_out: list[tuple[_Request, Receipt]] = []
        self._current: _Request | None = None
        self._streams: OrderedDict[str, Format] = OrderedDict()
        """Those with unfinished pieces, the one touched last at the end."""
        self._held = 0
        self._before: dict[str, bytes | None] = {}
        """What the last commit holds of each stream that has changed since; None for nothing."""

    # --- the server's threads ----------------------------------------------------------------------------------

    def deliver(self, records: Sequence[Record]) -> Future[Receipt]:
        """Queue one request. The future is done once its lines are committed. Raises QueueFull."""
        size = sum(len(record.line) for record in records) + PER_RECORD * len(records)
        request = _Request(records, size, Future(), frozenset({id(r.origin): r.origin for r in records}.values()))
        with self._lock:
            if self._closed is not None:
                raise QueueFull(self._closed)
            if len(self._waiting) >= self._max_requests or self._bytes + size > max(self._max_bytes, size):
                raise QueueFull("too many requests are waiting to be counted")
            self._waiting.append(request)
            self._bytes += size
        self._wake()
        return request.answer

    # --- the pipeline's thread ---------------------------------------------------------------------------------

    @property
    def impatient(self) -> bool:  # type: ignore[override]
        """A sender waits for its answer."""
        return bool(self._handed_out)

    def backlog(self, counts: Callable[[Origin], bool]) -> Callable[[], bool] | None:
        with self._lock:
            waiting = tuple(self._waiting)
        last = next((request for request in reversed(waiting) if any(map(counts, request.origins))), None)
        if last is None:
            return None
        return lambda: not any(request is last for request in self._waiting)

    def unread(self) -> int:
        return self._bytes

    def read(self) -> Batch | None:
        """The lines of one request."""
        request = self._next()
        if request is None:
            return None
        lines: list[bytes] = []
        too_long = nul_bytes = 0
        envelopes: list[bytes] = []
        origins: list[tuple[int, Origin]] = []
        for stream, body, origin, envelope in request.records:
            if not origins or origins[-1][1] is not origin:
                origins.append((len(lines), origin))
            line = body.lstrip(b"\0") if body.startswith(b"\0") else body
            nul_bytes += len(body) - len(line)
            if len(line) > 2 * MAX_LINE:  # twice, as a wrapper's escapes may double it
                too_long += 1
                continue
            records, more, nuls, _ = self._records(stream, line)
            too_long += more
            nul_bytes += nuls
            for record in records:
                if len(record) > MAX_LINE:
                    too_long += 1
                else:
                    lines.append(record)
                    envelopes.append(envelope)
        origins.append((len(lines), NO_ORIGIN))
        while len(self._streams) > MAX_STREAMS or self._held > MAX_PIECES:
            pieces, more, *_ = self._forget(next(iter(self._streams)))
            lines += pieces
            envelopes += [b""] * len(pieces)
            too_long += more
        self._current = request
        self.origins = origins
        return Batch(lines, too_long, nul_bytes, envelopes)

    def _next(self) -> _Request | None:
        with self._lock:
            while self._waiting:
                request = self._waiting.popleft()
                self._bytes -= request.size
                if not request.answer.cancelled():  # else its sender gave up: it will retry
                    return request
        return None

    def _records(self, stream: str, line: bytes) -> Batch:
        """The records that a line ends. A format is kept only as long as it holds pieces."""
        format_ = self._streams.pop(stream, None)
        if format_ is None:
            format_ = formats.new()
            batch = format_.feed((line,))
            if not format_.unfinished:
                return batch
            self._before.setdefault(stream, None)
        else:
            self._remember(stream, format_)
            self._held -= format_.held
            batch = format_.feed((line,))
        if format_.unfinished:
            self._streams[stream] = format_
            self._held += format_.held
        return batch

    def _remember(self, stream: str, format_: Format) -> None:
        if stream not in self._before:
            self._before[stream] = format_.dump()

    def _forget(self, stream: str) -> Batch:
        format_ = self._streams.pop(stream)
        self._remember(stream, format_)
        self._held -= format_.held
        return format_.end()

    def note(self, rejected: int, why: str) -> None:
        """Keep for the answer what the pipeline says of the batch read last."""
        assert self._current is not None
        self._handed_out.append((self._current, Receipt(rejected, why)))
        self._current = None

    def committed(self) -> None:
        """Answer the requests whose lines are on disk."""
        for request, receipt in self._handed_out:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_result(receipt)
        self._handed_out.clear()
        self._before.clear()

    def refused(self) -> None:
        """Nothing is answered with 200 that is not on disk. What was counted stays; a retry delivers it again.

        Pieces go back to what they were, as the retry brings them again.
        """
        for stream, before in self._before.items():
            self._put(stream, before)
        handed_out, self._handed_out = self._handed_out, []
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            self._bytes = 0
        for request in [*(request for request, _ in handed_out), *waiting]:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(QueueFull(self._closed or "state cannot be written"))

    def close(self, why: str) -> None:
        """Refuse further requests; those that wait are answered with "try again"."""
        with self._lock:
            self._closed = why
        self.refused()

    def changes(self) -> Iterator[Row]:
        """Streams with unfinished pieces: what was answered with 200 must not wait in memory alone.

        Until a commit succeeds they are given each time, as `refused` may have changed them back.
        """
        for stream in self._before:
            format_ = self._streams.get(stream)
            yield ROW_KIND, stream, format_.dump() if format_ is not None else None

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up unfinished pieces."""
        for stream, value in rows:
            self._put(stream, value)

    def _put(self, stream: str, value: bytes | None) -> None:
        format_ = self._streams.pop(stream, None)
        if format_ is not None:
            self._held -= format_.held
        if value is not None:
            format_ = self._streams[stream] = formats.load(value)
            self._held += format_.held
