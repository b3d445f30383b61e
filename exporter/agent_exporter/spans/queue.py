"""Spans between the pipeline and the sender: bounded in memory, and on disk too if there is a state file.

The pipeline's thread offers spans and seals them into pieces. If the collector has not taken a piece by the next
commit, the commit writes it, in the same transaction as the lines that its spans come from. So SIGKILL loses no span,
and a span that is sent twice replaces itself. The sender's thread takes pieces and reports the result. Every span is
sent or counted as dropped. Beyond the bounds the oldest are dropped first: the newest show what is wrong now.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from agent_exporter.spans import encode, trace_buffer
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent_exporter.state import Row, Store

ROW_KIND = "span"
PIECE = 512
"""Spans in a piece; OpenTelemetry's batch size."""
MEMORY_BYTES = 16 << 20
"""Bytes of the pieces in memory."""
SPOOL_BYTES = 256 << 20
"""Bytes of the pieces in the state file: ten minutes of 1,000 spans/s at 400 bytes."""


class Piece(Struct, eq=False):
    """Some spans as one encoded request. `body` is None while only the state file has it."""

    number: int
    count: int
    size: int
    body: bytes | None
    stored: bool = False
    taken: bool = False


class Spooled(Struct, array_like=True):
    """A row: a piece."""

    count: int
    body: bytes


class SpanQueue(Stage):
    """Calls `count("sent" or "dropped", n)` with numbers of spans, in the pipeline's thread."""

    def __init__(
        self,
        store: Store,
        count: Callable[[str, int], None],
        *,
        version: str,
        durable: bool,
        buffered: bool = False,
        wake: Callable[[], None] = lambda: None,
        memory_bytes: int = MEMORY_BYTES,
        spool_bytes: int = SPOOL_BYTES,
    ) -> None:
        self.durable = durable
        self.wake = wake
        self._store = store
        self._buffered = buffered
        """A TraceBuffer is in front of the queue."""
        self._count = count
        self._version = version
        self._memory_bytes = memory_bytes
        self._spool_bytes = spool_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Piece] = deque()
        self._in_memory = 0
        self._spooled = 0
        self._spans = 0
        self._reports: deque[tuple[Piece, int, int]] = deque()
        self._number = 0
        self._filling: dict[str, list[bytes]] = {}
        self._filled = 0
        self._fresh: list[Piece] = []
        self._rows: list[Row] = []

    # --- the pipeline's thread ---------------------------------------------------------------------------------

    def offer(self, trace: bytes, agent_id: str, span: bytes) -> None:  # noqa: ARG002
        """Add a span; arguments as in `tree.Emit`."""
        spans = self._filling.get(agent_id)
        if spans is None:
            spans = self._filling[agent_id] = []
        spans.append(span)
        self._filled += 1
        if self._filled >= PIECE:
            self.seal()

    def seal(self) -> None:
        """Close the current piece and give it to the sender."""
        if not self._filled:
            return
        body = b"".join(encode.request(agent, self._version, spans) for agent, spans in self._filling.items())
        self._number += 1
        piece = Piece(self._number, self._filled, len(body), body)
        self._filling = {}
        self._filled = 0
        with self._lock:
            self._waiting.append(piece)
            self._in_memory += piece.size
            self._spans += piece.count
        self._fresh.append(piece)
        self._trim()
        self.wake()

    def count_reports(self) -> None:
        """Count what the sender has reported since the last call. Call it before a commit."""
        while self._reports:
            piece, sent, dropped = self._reports.popleft()
            self._finish(piece, sent, dropped)

    def abandon(self) -> None:
        """Count all that is left as dropped, as it will not be sent."""
        self.seal()
        for piece in list(self._waiting):
            self._finish(piece, 0, piece.count)

    def changes(self) -> Iterator[Row]:
        """Rows of the pieces to store with the next commit, and of those to delete."""
        self.seal()
        self.count_reports()
        if self.durable:
            for piece in self._fresh:
                if piece.body is not None:
                    value = msgspec.msgpack.encode(Spooled(piece.count, piece.body))
                    self._rows.append((ROW_KIND, f"{piece.number:016}", value))
                    piece.stored = True
                    self._spooled += piece.size
        self._fresh = []
        rows, self._rows = self._rows, []
        yield from rows

    def close(self) -> None:
        """Give the last spans to the sender."""
        self.seal()

    def committed(self) -> bool:
        """The stored pieces are on disk: beyond the bound, drop them from memory."""
        with self._lock:
            for piece in reversed(self._waiting):
                if self._in_memory <= self._memory_bytes // 2:
                    break
                if piece.stored and not piece.taken and piece.body is not None:
                    piece.body = None
                    self._in_memory -= piece.size
        self._fill()
        self._trim()
        return False

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Restore the pieces that a former run has not sent, and its buffered spans if there is no TraceBuffer now."""
        for key, value in store.rows(ROW_KIND):
            number, row = read(key, value)
            size = len(row.body)
            keep = self._in_memory + size <= self._memory_bytes
            piece = Piece(number, row.count, size, row.body if keep else None, stored=True)
            self._number = max(self._number, piece.number)
            self._waiting.append(piece)
            self._in_memory += piece.size if keep else 0
            self._spooled += piece.size
            self._spans += piece.count
        for key, value in [] if self._buffered else list(store.rows(trace_buffer.ROW_KIND)):
            trace, held = trace_buffer.read(key, value)
            for agent_id, span in held.spans:
                self.offer(trace, agent_id, span)
            self._rows.append((trace_buffer.ROW_KIND, key, None))

    # --- the sender's thread -----------------------------------------------------------------------------------

    def take(self, most_spans: int) -> list[Piece]:
        """The oldest pieces in memory; at least one if there are any. They stay in the queue until `done`."""
        taken: list[Piece] = []
        spans = 0
        with self._lock:
            for piece in self._waiting:
                if piece.taken:
                    continue
                if piece.body is None or (taken and spans + piece.count > most_spans):
                    break
                piece.taken = True
                taken.append(piece)
                spans += piece.count
        return taken

    def done(self, pieces: list[Piece], rejected: int = 0, *, dropped: bool = False) -> None:
        """The collector took the pieces but for `rejected` spans, or they are dropped for good."""
        for piece in pieces:
            lost = piece.count if dropped else min(rejected, piece.count)
            rejected -= 0 if dropped else lost
            self._reports.append((piece, piece.count - lost, lost))

    def release(self, pieces: list[Piece]) -> None:
        """The pieces could not be sent now; keep them."""
        with self._lock:
            for piece in pieces:
                piece.taken = False

    # --- both --------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Number of spans that are neither sent nor dropped."""
        return self._spans + self._filled

    @property
    def spooled(self) -> int:
        """Bytes of these spans in the state file."""
        return self._spooled

    def _finish(self, piece: Piece, sent: int, dropped: int) -> None:
        with self._lock:
            try:
                self._waiting.remove(piece)
            except ValueError:
                return  # dropped while it was being sent: counted as dropped, though it may have arrived
            self._spans -= piece.count
            if piece.body is not None:
                self._in_memory -= piece.size
        piece.body = None
        if piece.stored:
            self._rows.append((ROW_KIND, f"{piece.number:016}", None))
            self._spooled -= piece.size
        if sent:
            self._count("sent", sent)
        if dropped:
            self._count("dropped", dropped)

    def _fill(self) -> None:
        """Bring spooled pieces back into memory once there is room."""
        if self._in_memory > self._memory_bytes // 2:
            return
        for piece in list(self._waiting):
            if piece.body is None and not piece.taken:
                key = f"{piece.number:016}"
                value = self._store.get(ROW_KIND, key)
                if value is None:
                    continue
                with self._lock:
                    piece.body = read(key, value)[1].body
                    self._in_memory += piece.size
                self.wake()
                if self._in_memory > self._memory_bytes // 2:
                    return

    def _trim(self) -> None:
        """Keep within the bounds: drop the oldest pieces that are not being sent."""
        while self._in_memory > self._memory_bytes or self._spooled > self._spool_bytes:
            over_memory = self._in_memory > self._memory_bytes
            with self._lock:
                oldest = next(
                    (
                        piece
                        for piece in self._waiting
                        if not piece.taken and (piece.body is not None if over_memory else piece.stored)
                    ),
                    None,
                )
            if oldest is None:
                return
            if over_memory and oldest.stored:
                with self._lock:
                    oldest.body = None
                    self._in_memory -= oldest.size
            else:
                self._finish(oldest, 0, oldest.count)


def read(key: str, value: bytes) -> tuple[int, Spooled]:
    """The number of a piece, and its row."""
    return int(key), msgspec.msgpack.decode(value, type=Spooled)
