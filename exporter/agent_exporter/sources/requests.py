"""Lines that senders post: a bounded queue of requests, each answered once its lines are committed.

What was answered with 200 is counted for good. A request that is not answered so may be sent again.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.clocks import SENT
from agent_exporter.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_exporter.lines import Batch, Origin
    from agent_exporter.sources.otlp_records import Record

MAX_REQUESTS = 64
"""Waiting to be counted; a collector sends a handful at a time."""
MAX_BYTES = 64 << 20
"""Of lines waiting to be counted: three requests of the largest size."""
PER_RECORD = 200
"""Bytes of memory that a record takes beside its line."""


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


class RequestSource(Source):
    """A bounded queue between the server's threads, which `deliver`, and the pipeline's."""

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
        batch = self._lines(request.records)
        self._current = request
        return batch

    def _lines(self, records: Sequence[Record]) -> Batch:
        """The lines of the records of one request; sets `origins`."""
        raise NotImplementedError

    def _next(self) -> _Request | None:
        with self._lock:
            while self._waiting:
                request = self._waiting.popleft()
                self._bytes -= request.size
                if not request.answer.cancelled():  # else its sender gave up: it will retry
                    return request
        return None

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

    def refused(self) -> None:
        """Nothing is answered with 200 that is not on disk. What was counted stays; a retry delivers it again."""
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
