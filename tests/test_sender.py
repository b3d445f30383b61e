"""From the queue to a collector that refuses, stalls, redirects or lies: every span is sent or counted as dropped."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from running import Sink, eventually

from agent_exporter.eventloop import EventLoop
from agent_exporter.spans import encode, sender
from agent_exporter.spans.queue import ROW_KIND, SpanQueue
from agent_exporter.spans.sender import Sender
from agent_exporter.spans.target import Target
from agent_exporter.state import MemoryStore, SQLiteStore


def span(number: int, size: int = 0) -> bytes:
    identity = number.to_bytes(8)
    return encode.span(identity * 2, identity, b"", encode.head("x" * size or "x", 1), number, number, b"")


class Sending:
    """A queue, a sender and a pipeline that commits when told."""

    def __init__(self, url: str, store=None, *, compress: bool = True, **bounds) -> None:
        self.counts = {"sent": 0, "dropped": 0}
        self.store = store or MemoryStore()
        self.queue = SpanQueue(
            self.store, self.count, version="1", durable=isinstance(self.store, SQLiteStore), **bounds
        )
        self.sender = Sender(self.queue, Target(f"{url}/v1/traces", compress=compress))
        self.queue.wake = self.sender.wake

    def count(self, result: str, number: int) -> None:
        self.counts[result] += number

    def __enter__(self) -> Sending:
        self.loop = EventLoop()
        self.loop.start()
        self.task = self.loop.submit(self.sender.run())
        return self

    def __exit__(self, *_: object) -> None:
        self.task.cancel()
        self.loop.stop()

    def offer(self, count: int, start: int = 1, size: int = 0) -> None:
        for number in range(start, start + count):
            self.queue.offer(b"", "agent", span(number, size))

    def commit(self) -> dict[str, int]:
        self.store.commit(list(self.queue.changes()))
        self.queue.committed()
        return self.counts

    def settled(self) -> bool:
        self.commit()
        return self.queue.length == 0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The same rules in a hundredth of the time."""
    monkeypatch.setattr(sender, "FIRST_BACKOFF", 0.005)
    monkeypatch.setattr(sender, "LAST_BACKOFF", 0.05)
    monkeypatch.setattr(sender, "LINGER", 0.01)


@pytest.mark.parametrize("compress", [True, False])
def test_spans_arrive_in_batches(compress):
    """Protobuf over HTTP, compressed unless told otherwise."""
    with Sink() as sink, Sending(sink.url, compress=compress) as sending:
        sending.offer(5000)
        eventually(sending.settled)
        headers, _ = sink.requests[0]
        assert headers["Content-Type"] == "application/x-protobuf"
        assert (headers.get("Content-Encoding") == "gzip") == compress
        assert len(sink.requests) <= 12
        assert set(sink.spans) == {number.to_bytes(8) for number in range(1, 5001)}
        assert sending.counts == {"sent": 5000, "dropped": 0}


def test_a_collector_that_refuses_seven_of_ten_requests_gets_everything():
    """As OpenTelemetry's own correctness test has it."""
    with Sink() as sink, Sending(sink.url) as sending:
        sink.answer = lambda _: (
            (200, {}, b"") if len(sink.requests) % 10 > 6 else ([429, 502, 503, 504][len(sink.requests) % 4], {}, b"")
        )
        for start in range(1, 5001, 500):
            sending.offer(500, start)
            sending.commit()
        eventually(sending.settled)
        assert len(sink.spans) == 5000
        assert sending.counts == {"sent": 5000, "dropped": 0}


def test_a_request_that_is_slow_or_refused_holds_up_no_other():
    """Several are on their way at the same time, and each waits for itself."""
    go = threading.Event()

    def answer(number: int) -> tuple[int, dict[str, str], bytes]:
        if number == 0:
            go.wait(20)
        return (503 if number == 1 else 200), ({"Retry-After": "300"} if number == 1 else {}), b""

    numbers = itertools.count()
    with Sink() as sink, Sending(sink.url) as sending:
        sink.answer = lambda _: answer(next(numbers))
        for start in range(1, 5001, 500):
            sending.offer(500, start)
            sending.queue.seal()
            time.sleep(0.02)
        held = eventually(lambda: len(sink.requests) > 2 and sink.requests[0][1] + sink.requests[1][1])
        eventually(lambda: sending.commit()["sent"] == 5000 - held)
        go.set()
        eventually(lambda: sending.commit()["sent"] == 5000 - sink.requests[1][1])
        assert sending.counts["dropped"] == 0


def test_a_request_is_tried_again_soon_while_others_are_taken(monkeypatch):
    """A collector that takes none gets longer and longer pauses."""
    monkeypatch.setattr(sender, "FIRST_BACKOFF", 0.5)
    monkeypatch.setattr(sender, "LAST_BACKOFF", 30.0)
    clock = iter([100.0, 104.0, 500.0, 600.0])
    monkeypatch.setattr(sender, "monotonic", lambda: next(clock))
    one = Sending("http://127.0.0.1:9").sender
    assert [one._backoff(), one._backoff(), one._backoff()] == [0.5, 1.0, 30.0]
    one._refused_since = 0.0  # one was taken
    assert one._backoff() == 0.5


@pytest.mark.parametrize("code", [400, 401, 404, 413, 500, 301, 307])
def test_other_answers_are_final_and_counted(code):
    """By the OTLP specification; a redirect is never followed."""
    with Sink() as sink, Sending(sink.url) as sending:
        sink.answer = lambda _: (code, {"Location": f"{sink.url}/elsewhere"}, b"no")
        sending.offer(100)
        sending.queue.seal()
        eventually(sending.settled)
        assert sending.counts == {"sent": 0, "dropped": 100}
        assert len(sink.requests) == 1


def test_a_partial_success_counts_what_was_refused():
    """As dropped; the rest was sent."""
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 7
    partial.partial_success.error_message = "\x1b[31mno"
    with Sink() as sink, Sending(sink.url) as sending:
        sink.answer = lambda _: (200, {}, partial.SerializeToString())
        sending.offer(100)
        eventually(sending.settled)
        assert sending.counts == {"sent": 93, "dropped": 7}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        (None, 0),
        ("soon", 0),
        ("nan", 0),
        ("-5", 0),
        ("1e9", 300),
        ("inf", 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_retry_after_is_honoured_within_bounds(value, seconds):
    """Seconds or a date; nonsense counts as absent."""
    assert sender._retry_after(value) == seconds


def test_the_collectors_wish_to_wait_is_granted():
    """No request comes before Retry-After has passed."""
    times = []
    with Sink() as sink, Sending(sink.url) as sending:

        def answer(_):
            times.append(time.monotonic())
            return (503, {"Retry-After": "1"}, b"") if len(times) == 1 else (200, {}, b"")

        sink.answer = answer
        sending.offer(1)
        sending.queue.seal()
        eventually(sending.settled)
        assert times[1] - times[0] >= 0.99


def test_a_collector_that_never_answers_is_given_up_after_the_deadline(monkeypatch):
    """And asked again."""
    monkeypatch.setattr(sender, "DEADLINE", 0.2)
    with Sink() as sink, Sending(sink.url) as sending:

        def answer(handler):
            if len(sink.requests) == 1:
                time.sleep(1)
                return None
            return 200, {}, b""

        sink.answer = answer
        sending.offer(10)
        sending.queue.seal()
        eventually(sending.settled)
        assert sending.counts == {"sent": 10, "dropped": 0}


def test_a_collector_that_answers_a_byte_at_a_time_is_given_up_after_the_deadline(monkeypatch):
    """The deadline is for the whole exchange, not for each read."""
    monkeypatch.setattr(sender, "DEADLINE", 0.3)
    with Sink() as sink, Sending(sink.url) as sending:

        def drip(handler):
            if len(sink.requests) > 1:
                return 200, {}, b""
            try:
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n":
                    handler.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass
            handler.close_connection = True
            return None

        sink.answer = drip
        sending.offer(10)
        sending.queue.seal()
        eventually(sending.settled)
        assert len(sink.requests) == 2


def test_an_endless_answer_is_not_read(monkeypatch):
    """Four MiB are enough for anybody's error message."""
    monkeypatch.setattr(sender, "DEADLINE", 2.0)
    with Sink() as sink, Sending(sink.url) as sending:

        def flood(handler):
            if len(sink.requests) > 1:
                return 200, {}, b""
            written = 0
            try:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
                while written < 1 << 26:
                    written += handler.wfile.write(bytes(1 << 16))
            except OSError:
                pass
            assert written < 1 << 25
            handler.close_connection = True
            return None

        sink.answer = flood
        sending.offer(10)
        sending.queue.seal()
        eventually(sending.settled)
        assert sending.counts["sent"] == 10


def test_a_collector_that_is_not_there_yet_gets_everything_later():
    """Connection refused is no answer."""
    with Sink() as sink:
        url = sink.url
    with Sending(url) as sending:
        sending.offer(600)
        sending.queue.seal()
        eventually(lambda: sending.sender.failing)
        assert sending.commit() == {"sent": 0, "dropped": 0}
        assert sending.queue.length == 600


def test_without_a_file_the_oldest_spans_go_when_memory_is_full():
    """To the unit: offered = sent + dropped + waiting."""
    sending = Sending("http://127.0.0.1:9", memory_bytes=100_000)
    sending.offer(20_000)
    sending.commit()
    assert sending.counts["dropped"] > 0
    assert sending.counts["dropped"] + sending.queue.length == 20_000
    assert sending.queue._in_memory <= 100_000
    newest = sending.queue.take(10**9)[-1]
    assert b"\x00\x4e\x20" in newest.body


def test_with_a_file_spans_wait_on_disk_and_come_back(tmp_path):
    """Far more than memory holds, in the order in which they came, over a restart too."""
    store = SQLiteStore(tmp_path / "s.db")
    before = Sending("http://127.0.0.1:9", store, memory_bytes=100_000)
    for start in range(1, 20_001, 1000):
        before.offer(1000, start)
        before.commit()
    assert before.counts == {"sent": 0, "dropped": 0}
    assert before.queue._in_memory <= 100_000
    assert before.queue.spooled > 500_000
    store.close()
    with Sink() as sink:
        store = SQLiteStore(tmp_path / "s.db")
        with Sending(sink.url, store, memory_bytes=100_000) as after:
            after.queue.restore(store, 0.0)
            after.sender.wake()
            eventually(after.settled)
            assert after.counts == {"sent": 20_000, "dropped": 0}
            assert len(sink.spans) == 20_000
            after.commit()
            assert list(store.rows(ROW_KIND)) == []
            assert (after.queue.spooled, after.queue._in_memory) == (0, 0)
    store.close()


def test_the_spool_is_bounded_and_what_it_loses_is_counted(tmp_path):
    """The oldest go first."""
    store = SQLiteStore(tmp_path / "s.db")
    sending = Sending("http://127.0.0.1:9", store, memory_bytes=50_000, spool_bytes=200_000)
    for start in range(1, 20_001, 1000):
        sending.offer(1000, start)
        sending.commit()
    assert sending.queue.spooled <= 200_000
    assert sending.counts["dropped"] + sending.queue.length == 20_000
    assert sum(len(value) for _, value in store.rows(ROW_KIND)) <= 210_000
    store.close()


def test_what_is_refused_for_good_leaves_the_spool(tmp_path):
    """And does not come back after a restart."""
    store = SQLiteStore(tmp_path / "s.db")
    with Sink() as sink, Sending(sink.url, store) as sending:
        sink.answer = lambda _: (503, {}, b"")
        sending.offer(100)
        sending.commit()
        assert len(list(store.rows(ROW_KIND))) == 1
        sink.answer = lambda _: (400, {}, b"")
        eventually(sending.settled)
        sending.commit()
        assert list(store.rows(ROW_KIND)) == []
    store.close()


def test_a_sender_that_is_cancelled_gives_its_pieces_back():
    """They go on waiting."""

    async def cancelled(sending: Sending) -> None:
        task = asyncio.ensure_future(sending.sender.run())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    sending = Sending("http://127.0.0.1:9")
    sending.offer(600)
    asyncio.run(cancelled(sending))
    assert sum(piece.count for piece in sending.queue.take(10**9)) == 512
