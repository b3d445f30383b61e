"""Every kind of row in the state file: what reads it, and what it means if a row cannot be read.

`state.SQLiteStore` tries the readers on all rows when it opens a file, and sets aside the rows that they refuse. So no
stage is given a row that its own reader refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from agent_exporter import duplicates, sessions
from agent_exporter.benchmark import history
from agent_exporter.breaker import audit, intent, latch
from agent_exporter.detectors import action_anomaly, journal, steps, traces
from agent_exporter.formats import ContainerFormat
from agent_exporter.formats.mapping import memory
from agent_exporter.metrics.cells import CELL_TYPES, Reader
from agent_exporter.sources import otlp, place
from agent_exporter.spans import queue, trace_buffer, tree
from agent_exporter.state import RowKind

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def _struct(struct: type[T], key_of: Callable[[T], str]) -> Callable[[str, bytes], T]:
    decode = msgspec.msgpack.Decoder(struct).decode

    def read(key: str, value: bytes) -> T:
        row = decode(value)
        if key_of(row) != key:
            raise ValueError("the row of another key")
        return row

    return read


def _trace_id(trace: steps.Trace) -> str:
    return trace.trace_id


_session = _struct(sessions.Session, sessions.key_of)
_trace = _struct(steps.Trace, _trace_id)
_window = _struct(action_anomaly.Window, action_anomaly.key_of)
_invocation = _struct(tree.Invocation, tree.key_of)
_intent = _struct(intent.Intent, intent.key_of)
_SERIES = "the series that were made from it begin at zero"

ROW_KINDS: dict[str, RowKind] = {
    **{kind: RowKind(Reader(cell), _SERIES) for kind, cell in CELL_TYPES.items()},
    sessions.ROW_KIND: RowKind(_session, "the session starts again with its next line"),
    traces.ROW_KIND: RowKind(_trace, "loops and cascades of the trace are found from its next line on"),
    action_anomaly.ROW_KIND: RowKind(_window, "the rolling average of the action starts again"),
    journal.ROW_KIND: RowKind(
        journal.read, "the finding is shown no more, and if it was not printed yet, it never will be"
    ),
    duplicates.ROW_KIND: RowKind(duplicates.read, "records that an OTLP sender delivers again may count twice"),
    tree.ROW_KIND: RowKind(_invocation, "the span of the session has no totals of its earlier actions"),
    queue.ROW_KIND: RowKind(queue.read, "the spans in it are lost"),
    trace_buffer.ROW_KIND: RowKind(trace_buffer.read, "the spans in it are lost"),
    intent.ROW_KIND: RowKind(_intent, "a session may get a second call to stop, with the same key"),
    latch.ROW_KIND: RowKind(latch.read, "the breaker only observes until an operator unlatches it"),
    audit.ROW_KIND: RowKind(audit.read, "the entry is missing in the audit log"),
    history.ROW_KIND: RowKind(history.read, "former runs of the benchmark are forgotten"),
    place.ROW_KIND: RowKind(place.read, "the file is read from its beginning, so that its lines may count twice"),
    memory.ROW_KIND: RowKind(memory.read, "what a fork or a rewritten file repeats may count twice"),
    otlp.ROW_KIND: RowKind(lambda _, value: ContainerFormat.load(value), "an unfinished line is lost"),
}
"""By the kind of row."""
