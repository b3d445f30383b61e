"""What otlp.buffer_traces promises: a trace goes out whole, or marked; nothing is lost on the way."""

from __future__ import annotations

import json

import pytest
from conftest import Rows, record
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from running import Running, Sink, eventually

from agent_exporter.spans import encode
from agent_exporter.spans.queue import SpanQueue
from agent_exporter.spans.trace_buffer import QUIET, TraceBuffer
from agent_exporter.state import SQLiteStore

TRACE = bytes(15) + b"\1"
OTHER = bytes(15) + b"\2"


def span(trace: bytes, number: int) -> bytes:
    return encode.span(
        trace,
        number.to_bytes(8, "big"),
        b"",
        encode.head(f"span {number}", encode.INTERNAL),
        1,
        2,
        encode.text("k", "v" * 200),
    )


class Held:
    """A hold with a clock of ours, of which all traces are at work until it is said."""

    def __init__(self, **options) -> None:
        self.now = 1000.0
        self.out: list[tuple[str, bytes]] = []
        self.open = {TRACE, OTHER}
        self.hold = TraceBuffer(
            lambda _, agent, text: self.out.append((agent, text)),
            600.0,
            is_open=lambda trace: trace in self.open,
            clock=lambda: self.now,
            **options,
        )

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.hold.tick(self.now)

    def spans(self) -> list[tuple[int, bool]]:
        """Number and mark of what went out."""
        found = []
        for _, text in self.out:
            decoded = Span.FromString(text)
            marks = [pair.value.bool_value for pair in decoded.attributes if pair.key == "agent.trace.keep"]
            found.append((int.from_bytes(decoded.span_id, "big"), marks == [True]))
        return found


def test_spans_wait_until_no_session_is_open_and_go_out_as_they_came():
    """In order, to the byte, none marked."""
    held = Held()
    given = [("a", span(TRACE, 1)), ("b", span(TRACE, 2))]
    for agent, text in given:
        held.hold.offer(TRACE, agent, text)
    held.tick(500)
    assert held.out == []
    held.open.clear()
    held.tick(1)
    assert held.out == given
    assert held.hold.bytes == 0


def test_a_trace_between_two_sessions_is_not_over_yet():
    """The next one begins within the time that lines may be late."""
    held = Held()
    held.open.clear()
    held.hold.offer(TRACE, "a", span(TRACE, 1))
    held.tick(QUIET - 0.1)
    assert held.out == []
    held.tick(0.2)
    assert held.spans() == [(1, False)]


def test_a_trace_held_for_too_long_goes_out_marked_and_what_follows_is_not_held():
    """A sampler that keeps it by the mark lets later spans through."""
    held = Held()
    held.hold.offer(TRACE, "a", span(TRACE, 1))
    held.tick(600)
    held.hold.offer(TRACE, "a", span(TRACE, 2))
    assert held.spans() == [(1, True), (2, False)]


def test_beyond_its_bound_the_oldest_trace_goes_out_early():
    """Bounded, and nothing is dropped."""
    size = len(span(TRACE, 1))
    held = Held(most_bytes=2 * size)
    held.hold.offer(TRACE, "a", span(TRACE, 1))
    held.hold.offer(OTHER, "a", span(OTHER, 2))
    held.hold.offer(OTHER, "a", span(OTHER, 3))
    assert held.spans() == [(1, True)]
    assert held.hold.bytes == 2 * size


def test_held_spans_survive_a_restart():
    """Rows of several commits are taken up in order, and are gone once the spans have been let go."""
    first = Held()
    rows: dict[str, bytes] = {}

    def commit(held: Held) -> None:
        for _, key, value in held.hold.changes():
            if value is None:
                del rows[key]
            else:
                rows[key] = value

    for number in (1, 2, 3):
        first.hold.offer(TRACE, "a", span(TRACE, number))
        commit(first)
    assert len(rows) == 3
    second = Held()
    second.hold.restore(Rows(rows.items()), second.now)
    second.hold.offer(TRACE, "a", span(TRACE, 4))
    commit(second)
    second.open.clear()
    second.tick(QUIET)
    commit(second)
    assert second.spans() == [(1, False), (2, False), (3, False), (4, False)]
    assert rows == {}


def test_what_was_held_is_sent_by_a_run_that_no_longer_holds(tmp_path):
    """Switching it off loses nothing, and leaves no rows behind."""

    def queue(store: SQLiteStore) -> SpanQueue:
        return SpanQueue(store, lambda _result, _count: None, version="0", durable=True)

    store = SQLiteStore(tmp_path / "s.db")
    first, held = queue(store), Held()
    held.hold.offer(TRACE, "a", span(TRACE, 1))
    held.hold.offer(OTHER, "b", span(OTHER, 2))
    store.commit([*held.hold.changes(), *first.changes()])
    assert first.length == 0
    store.close()
    store = SQLiteStore(tmp_path / "s.db")
    second = queue(store)
    second.restore(store, 0.0)
    store.commit(second.changes())
    assert second.length == 2
    assert list(store.rows("held")) == []
    [piece] = second.take(10)
    assert span(TRACE, 1) in piece.body
    assert span(OTHER, 2) in piece.body
    store.close()


@pytest.mark.slow
def test_an_exporter_that_holds_sends_a_trace_in_one_request_also_over_sigkill(tmp_path):
    """Actions before the kill, the session's end after it: one request, with all three spans."""
    log = tmp_path / "agents.log"
    line = {"parent_trace_id": "t", "session_id": "s"}
    log.write_text(json.dumps(record(**line)) + "\n" + json.dumps(record(**line, action="b")) + "\n")
    with Sink() as sink:
        arguments = ("--otlp.endpoint", sink.url, "--otlp.buffer-traces", "10m", "--state.path", tmp_path / "s.db", log)
        with Running(*arguments) as running:
            eventually(lambda: running.total("agent_exporter_lines_accepted_total") == 2)
            running.kill()
        assert sink.requests == []
        with log.open("a") as file:
            file.write(json.dumps(record(**line, action="end", metadata={"session_end": True})) + "\n")
        with Running(*arguments):
            eventually(lambda: sink.requests)
        assert [count for _, count in sink.requests] == [4]
        assert len(sink.spans) == 4
