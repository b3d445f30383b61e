"""Keeps a trace's spans together until its sessions have ended (`otlp.buffer_traces`), between the tree and the queue.

A collector that samples decides once for a trace, and a span that comes after "drop" cannot bring the trace back. So it
needs the whole trace: actions, findings and the sessions with their totals go out together. A trace that lasts longer
than the hold goes out incomplete, marked `agent.trace.keep`, and is not held again: a sampler keeps it by that mark.
Held spans are rows of state, so a restart loses none. Beyond the bound the oldest trace goes out early, marked in the
same way: the buffer drops nothing.
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
"""Bytes of spans held at once: 100 actions a second for ten minutes, at 500 bytes each."""
QUIET = 3.0
"""Seconds to wait after the last session's end: another one may begin, and findings wait for the reorder window."""
MAX_MARKED = 65_536
"""Traces remembered as sent early; as many as the tree remembers."""
_MARK = encode.boolean("agent.trace.keep", value=True)


class _Trace:
    """The held spans of one trace: (agent_id, span) in order."""

    __slots__ = ("began", "rows", "size", "spans", "touched", "written")

    def __init__(self, began: float) -> None:
        self.began = self.touched = began
        self.spans: list[tuple[str, bytes]] = []
        self.size = 0
        self.rows: list[str] = []
        """Keys of its rows."""
        self.written = 0
        """How many of the spans are in these rows."""


class Held(Struct, array_like=True):
    """A row: when the trace began, seconds since 1970, and (agent_id, span) in order."""

    began: float
    spans: list[tuple[str, bytes]]


class TraceBuffer(Stage):
    """Passes spans on to `emit`. `is_open(trace_id)` says whether a trace has open sessions."""

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
        """Hold a span; pass it on at once if its trace went out early."""
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
        """Pass on the traces that are complete, and those held for too long."""
        for trace, held in list(self._traces.items()):
            if now - held.began >= self._seconds:
                self._release(trace, early=True)
            elif now - held.touched >= QUIET and not self._is_open(trace):
                self._release(trace, early=False)

    def close(self) -> None:
        """Pass on everything, as there will be no further tick."""
        for trace in list(self._traces):
            self._release(trace, early=False)

    def changes(self) -> Iterator[Row]:
        """Rows of the held traces, if the state outlives the process."""
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
        """Restore the traces that a former run held."""
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
    """The trace of a row, and the row. Raises ValueError if the row is of another trace."""
    trace, row = bytes.fromhex(key.partition(":")[0]), msgspec.msgpack.decode(value, type=Held)
    if not all(span.startswith(b"\x0a\x10" + trace) for _, span in row.spans):
        raise ValueError("a span of another trace")
    return trace, row
