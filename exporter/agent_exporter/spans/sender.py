"""Sends pieces to a collector: OTLP protobuf over HTTP.

The retry loop is our own: it has ten lines, and OTLP says which answers to retry, for how long, and what a partial
success means.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tornado.httpclient import HTTPError

from agent_exporter import outgoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    from agent_exporter.spans.queue import Piece, SpanQueue
    from agent_exporter.spans.target import Target

log = logging.getLogger(__name__)

DEADLINE = 10.0
"""Seconds for one export, connecting included; OTEL_EXPORTER_OTLP_TIMEOUT's default."""
RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses to retry, by the OTLP specification; every other answer is final."""
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 30.0
"""Seconds, with jitter. In between it is a quarter of the time for which the collector has refused all requests."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds. If a collector asks for a longer wait, it gets this one."""
MAX_SPANS = 4096
"""Spans in one request: about 2 MB before compression, half of what collectors accept by default in gRPC."""
MAX_ANSWER = 4 << 20
"""Bytes of an answer that are read."""
PARALLEL = 4
"""Requests at the same time: one that is refused, or answered slowly, does not hold up the others."""
SAY_EVERY = 60.0
"""Seconds."""
LINGER = 0.2
"""Seconds between requests when the queue is short, so that one request carries many spans."""


class Sender:
    """Tasks on the event loop. Cancel `run` to end them; pieces that are being sent go back to the queue."""

    def __init__(self, queue: SpanQueue, target: Target) -> None:
        self.queue = queue
        self.target = target
        self.failing = False
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._rest_until = 0.0
        self._refused_since = 0.0
        """When the collector began to refuse each request; 0 while it takes some."""
        self._said: dict[bool, float] = {}
        """When it was logged that the collector takes spans, and that it does not."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """Wake the sender, as there may be something to send. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Send until cancelled."""
        self._loop = asyncio.get_running_loop()
        client = outgoing.client(MAX_ANSWER)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(PARALLEL):
                    tasks.create_task(self._work(client))
        finally:
            client.close()

    async def _work(self, client: SimpleAsyncHTTPClient) -> None:
        while True:
            async with self._turn:
                pieces = await self._take()
            try:
                await self._export(client, pieces)
            except BaseException:
                self.queue.release(pieces)
                raise

    async def _take(self) -> list[Piece]:
        """The pieces of one request. After a small one, the next has LINGER to grow."""
        await asyncio.sleep(max(0.0, self._rest_until - monotonic()))
        while not (pieces := self.queue.take(MAX_SPANS)):
            self._wake.clear()
            await self._wake.wait()
        if sum(piece.count for piece in pieces) < MAX_SPANS // 2:
            self._rest_until = monotonic() + LINGER
        return pieces

    async def _export(self, client: SimpleAsyncHTTPClient, pieces: list[Piece]) -> None:
        body = b"".join(piece.body for piece in pieces if piece.body is not None)
        headers = {"Content-Type": "application/x-protobuf", **self.target.headers}
        if self.target.compress:
            body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        while True:
            wait, why = await self._attempt(client, body, headers, pieces)
            if wait is None:
                self._refused_since = 0.0
                if self.failing and not why:
                    self._say("%s takes spans again", failing=False)
                self.failing = bool(why)
                return
            if not self.failing:
                self._say("%s does not take spans (%s): trying again, they wait", why, failing=True)
                self.failing = True
            await asyncio.sleep(wait or self._backoff() * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)

    def _backoff(self) -> float:
        """Seconds until a refused request is tried again: soon, as long as others are taken."""
        now = monotonic()
        self._refused_since = self._refused_since or now
        return min(max(FIRST_BACKOFF, (now - self._refused_since) / 4), LAST_BACKOFF)

    def _say(self, message: str, *why: str, failing: bool) -> None:
        """Log a change, but each way once in SAY_EVERY: a collector may take one request and refuse the next."""
        now = monotonic()
        if now - self._said.get(failing, float("-inf")) >= SAY_EVERY:
            self._said[failing] = now
            log.warning(message, self.target.shown, *why)

    async def _attempt(
        self, client: SimpleAsyncHTTPClient, body: bytes, headers: Mapping[str, str], pieces: list[Piece]
    ) -> tuple[float | None, str]:
        """Send one request. Returns None if that is final (`why` then says if it was refused), else the seconds to
        wait; 0 means the usual backoff.
        """
        request = outgoing.request(self.target.url, headers, body, DEADLINE, ca_certs=self.target.ca_file)
        try:
            answer = await client.fetch(request, raise_error=False)
        except (OSError, HTTPError, ValueError) as error:
            return 0.0, str(error) or type(error).__name__
        code = answer.code
        if code in RETRYABLE or code == 599:  # tornado's own status for no answer, or none in time
            return _retry_after(answer.headers.get("Retry-After")), answer.reason or str(answer.error)
        if 200 <= code < 300:
            rejected, why = _partial(answer.body)
            if rejected:
                log.warning("%s refused %d of the spans sent: %s", self.target.shown, rejected, ascii(why))
            self.queue.done(pieces, rejected)
            return None, ""
        why = f"HTTP {code} {answer.reason}"
        if not self.failing:
            log.error("%s refuses spans for good (%s): they are dropped and counted", self.target.shown, ascii(why))
        self.queue.done(pieces, dropped=True)
        return None, why


def _partial(body: bytes) -> tuple[int, str]:
    """How many spans the collector refused, and why; 0 if the answer is not protobuf."""
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return 0, ""
    return max(0, partial.rejected_spans), partial.error_message[:200]


def _retry_after(value: str | None) -> float:
    """Seconds to wait, from a number or an HTTP date; 0 if absent or invalid."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else 0.0  # noqa: PLR0124  (not NaN)
