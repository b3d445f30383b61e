"""Keeps a trace's spans together until its sessions have ended (`otlp.buffer_traces`), between the tree and the queue.

A collector that samples decides once for a trace, and a span that comes after "drop" cannot bring the trace back. So
what it decides on has to be whole: actions, findings and the sessions with their totals go out together. A trace
longer than the hold goes out with what there is, marked `agent.trace.keep`, and is not held again: a sampler keeps it
by the mark.

Held spans are rows of the state like all else, so a restart loses none. Beyond the bound the trace begun first goes out
early, marked: nothing is dropped here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from agent_exporter.spans import encode
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent_exporter.spans.tree import Emit
    from agent_exporter.state import Row, Store

ROW_KIND = "held"
MAX_BYTES = 32 << 20
"""Of spans held at once: 100 actions a second for ten minutes, at 500 bytes each."""
QUIET = 3.0
"""Seconds of quiet after the last session's end: another one may begin, and findings wait for the reorder window."""
MAX_MARKED = 65_536
"""Traces remembered as gone out early; as many as the tree remembers."""
_MARK = encode.boolean("agent.trace.keep", value=True)


class _Trace:
    """What is held of one trace: (agent_id, span) in order."""

    __slots__ = ("began", "rows", "size", "spans", "touched", "written")

    def __init__(self, began: float) -> None:
        self.began = self.touched = began
        self.spans: list[tuple[str, bytes]] = []
        self.size = 0
        self.rows: list[str] = []
        """Keys of its rows."""
        self.written = 0
        """How many spans are in them."""


class Held(Struct, array_like=True):
    """A row: when the trace began, seconds since 1970, and (agent_id, span) in order."""

    began: float
    spans: list[tuple[str, bytes]]


class TraceBuffer(Stage):
    """`emit` is where they go; `is_open(trace_id)` says whether sessions are still at work on a trace."""

    def __init__(
        self,
        emit: Emit,
        seconds: float,
        *,
        is_open: Callable[[bytes], bool],
        clock: Callable[[], float],
        durable: bool = True,
        most_bytes: int = MAX_BYTES,
    ) -> None:
        self.bytes = 0
        self._emit = emit
        self._seconds = seconds
        self._is_open = is_open
        self._clock = clock
        self._durable = durable
        self._most_bytes = most_bytes
        self._traces: dict[bytes, _Trace] = {}
        self._marked: dict[bytes, None] = {}
        self._dirty: set[bytes] = set()
        self._gone: list[str] = []

    def offer(self, trace: bytes, agent_id: str, span: bytes) -> None:
        """Hold a span, or let it go after those of its trace that have gone out early."""
        if trace in self._marked:
            self._emit(trace, agent_id, span)
            return
        now = self._clock()
        held = self._traces.get(trace)
        if held is None:
            held = self._traces[trace] = _Trace(now)
        held.spans.append((agent_id, span))
        held.size += len(span)
        held.touched = now
        self.bytes += len(span)
        self._dirty.add(trace)
        while self.bytes > self._most_bytes:
            self._release(next(iter(self._traces)), early=True)

    def tick(self, now: float) -> None:
        """Let go of what is whole, and of what has been held for too long."""
        for trace, held in list(self._traces.items()):
            if now - held.began >= self._seconds:
                self._release(trace, early=True)
            elif now - held.touched >= QUIET and not self._is_open(trace):
                self._release(trace, early=False)

    def close(self) -> None:
        """Let everything go: nobody will tick again."""
        for trace in list(self._traces):
            self._release(trace, early=False)

    def changes(self) -> Iterator[Row]:
        """A row for each trace that is held, where the state outlives the process."""
        if not self._durable:
            self._gone.clear()
            self._dirty.clear()
        for key in self._gone:
            yield ROW_KIND, key, None
        for trace in self._dirty:
            held = self._traces[trace]
            key = f"{trace.hex()}:{held.written}"
            yield ROW_KIND, key, msgspec.msgpack.encode(Held(held.began, held.spans[held.written :]))
            held.rows.append(key)
            held.written = len(held.spans)
        self._gone.clear()
        self._dirty.clear()

    def restore(self, store: Store, now: float) -> None:
        """Take up what a former run held."""
        for key, value in store.rows(ROW_KIND):
            trace, row = read(key, value)
            held = self._traces.setdefault(trace, _Trace(row.began))
            held.spans += row.spans
            held.touched = now
            size = sum(len(span) for _, span in row.spans)
            held.size += size
            self.bytes += size
            held.rows.append(key)
            held.written = len(held.spans)

    def _release(self, trace: bytes, *, early: bool) -> None:
        held = self._traces.pop(trace)
        self.bytes -= held.size
        self._dirty.discard(trace)
        self._gone += held.rows
        if early:
            if len(self._marked) >= MAX_MARKED:
                del self._marked[next(iter(self._marked))]
            self._marked[trace] = None
        for agent_id, span in held.spans:
            self._emit(trace, agent_id, span + _MARK if early else span)


def read(key: str, value: bytes) -> tuple[bytes, Held]:
    """The trace of a row, and what the row holds. Raises ValueError if that is of another trace."""
    trace, row = bytes.fromhex(key.partition(":")[0]), msgspec.msgpack.decode(value, type=Held)
    if not all(span.startswith(b"\x0a\x10" + trace) for _, span in row.spans):
        raise ValueError("a span of another trace")
    return trace, row
