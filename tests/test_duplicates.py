"""Duplicates: the window in lines and in seconds, its bounds, and its memory over restarts."""

from __future__ import annotations

from conftest import Rows
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter import duplicates
from agent_exporter.duplicates import Duplicates


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"line %d" % number for number in range(start, start + count)]


def seen(window: Duplicates, line: bytes) -> bool:
    """As the only record of a request."""
    return window.request()(line, b"")


def test_the_same_bytes_are_seen_once():
    """Whichever request they come by."""
    window = Duplicates(0.0)
    assert [seen(window, line) for line in (b"a", b"b", b"a", b"a ")] == [False, False, True, False]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([b"", b"t1", b"t2"])), max_size=12), st.data())
def test_equal_records_of_one_request_are_several_and_the_request_sent_again_is_none(records, data):
    """Nor is a part of it, as it is sent again by a sender that splits what was refused."""
    window = Duplicates(0.0)
    first = window.request()
    assert [first(*record) for record in records] == [False] * len(records)
    again = window.request()
    assert [again(*record) for record in data.draw(st.permutations(records))] == [True] * len(records)
    more = window.request()
    assert [more(*record) for record in [*records, *records[:1]]] == [True] * len(records) + [False] * len(records[:1])


def test_a_record_is_known_by_its_line_and_its_own_times_and_attributes():
    """The same line at another time is another record."""
    window = Duplicates(0.0)
    records = [(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"a1", b"")]
    assert [window.request()(*record) for record in records] == [False] * 4
    assert [window.request()(*record) for record in records] == [True] * 4


def test_a_record_is_remembered_for_65536_lines_whatever_the_clock_says():
    """A log that is read fast has no time in it."""
    window = Duplicates(0.0)
    for line in numbered(duplicates.LINES):
        seen(window, line)
        window.age(float("inf"))
    assert seen(window, b"line 0")


def test_a_record_is_forgotten_after_two_generations():
    """The table is bounded."""
    window = Duplicates(0.0)
    for line in numbered(2 * duplicates.LINES + 2):
        seen(window, line)
        window.age(float("inf"))
    assert not seen(window, b"line 0")
    assert seen(window, b"line 131073")
    assert window.evictions == 0


def test_a_record_is_remembered_for_a_minute_at_any_rate(monkeypatch):
    """A collector's retry comes after up to half a minute."""
    monkeypatch.setattr(duplicates, "LINES", 10)
    window = Duplicates(0.0)
    seen(window, b"first")
    for second in range(59):
        for line in numbered(100, 100 * second):
            seen(window, line)
        window.age(float(second))
    assert seen(window, b"first")


def test_a_flood_is_bounded_and_what_is_forgotten_early_is_counted(monkeypatch):
    """Memory has a bound whatever the rate."""
    monkeypatch.setattr(duplicates, "LINES", 10)
    monkeypatch.setattr(duplicates, "MAX_RECORDS", 1000)
    window = Duplicates(0.0)
    for number, line in enumerate(numbered(5_000)):
        seen(window, line)
        window.age(number / 1e6)
    assert len(window._young) + len(window._old) <= 2_000
    assert window.evictions == 4_000


def test_the_key_differs_from_start_to_start():
    """Nobody can prepare a line that passes for another agent's."""
    assert Duplicates(0.0).seed != Duplicates(0.0).seed


def apply(rows: dict[str, bytes], window: Duplicates) -> None:
    for _, key, value in window.changes():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


@given(st.lists(st.integers(0, 300), max_size=400), st.data())
def test_restarts_change_nothing(numbers, data):
    """A window that is stored and taken up again answers as one that never stopped."""
    small, chunk = duplicates.LINES, duplicates.CHUNK
    duplicates.LINES, duplicates.CHUNK = 40, 7
    try:
        steady, stopped = Duplicates(0.0), Duplicates(0.0)
        rows: dict[str, bytes] = {}
        for number in numbers:
            line = b"%d" % number
            assert seen(steady, line) == seen(stopped, line)
            if data.draw(st.integers(0, 9)) == 0:
                steady.age(float("inf"))
                stopped.age(float("inf"))
            if data.draw(st.integers(0, 9)) == 0:
                apply(rows, stopped)
            if data.draw(st.integers(0, 19)) == 0:
                apply(rows, stopped)
                stopped = Duplicates(0.0)
                in_order = sorted(
                    rows.items(), key=lambda row: [*map(int, row[0].split("/"))] if "/" in row[0] else [0]
                )
                stopped.restore(Rows(in_order), 0.0)
        apply(rows, stopped)
        assert len(rows) <= 3 + (len(numbers) + 2 * 40) / 7 + 40
    finally:
        duplicates.LINES, duplicates.CHUNK = small, chunk


def test_without_a_file_nothing_is_set_aside_for_one():
    """A log of the past may have a billion lines."""
    window = Duplicates(0.0, stored=False)
    for line in numbered(2 * duplicates.LINES - 1):
        seen(window, line)
        window.age(float("inf"))
    assert len(window._fresh) <= 1
    assert sum(len(value or b"") for _, _, value in window.changes()) < 100
    assert seen(window, b"line 0")
