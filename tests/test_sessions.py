"""Sessions: when they begin, how they end, and that stragglers and restarts change nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from conftest import Rows, line
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.action import decode
from agent_exporter.sessions import Session, Sessions

START = 1773825300.0


class Watched:
    """A table of sessions that writes down what happens."""

    def __init__(self, most: int = 1000, longest_call: float = 0.0) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.table = Sessions(
            lambda task: 600.0 if task == "batch" else 300.0,
            self.opened,
            self.closed,
            most=most,
            longest_call=lambda _: longest_call,
        )

    def opened(self, session: Session) -> None:
        self.events.append(("open", session.session_id, ""))

    def closed(self, session: Session) -> None:
        self.events.append(("again" if session.counted else "close", session.session_id, session.outcome))

    def add(self, second: float, session_id: str = "s", *, now: float | None = None, **fields) -> Session:
        stamp = datetime.fromtimestamp(START + second, UTC).isoformat(timespec="milliseconds")
        action = decode(line(timestamp=stamp, session_id=session_id, **fields))
        return self.table.add(action, START + second if now is None else now)


def heartbeat(second: float, state: str):
    stamp = datetime.fromtimestamp(START + second, UTC).isoformat()
    return decode(line(timestamp=stamp, session_id="beats", action="heartbeat", output={"state": state}))


def end(**more):
    return {"metadata": {"session_end": True, **more}}


def test_a_session_ends_with_the_line_that_says_so_after_the_reorder_window():
    """A line that was overtaken by the end still belongs to it."""
    watched = Watched()
    watched.add(0, **end(task_completed=True))
    watched.table.tick(START + 2.9)
    watched.add(-1, now=START + 2.9)
    watched.table.tick(START + 5.8)
    assert watched.events == [("open", "s", "")]
    watched.table.tick(START + 5.9)
    assert watched.events[1:] == [("close", "s", "completed")]


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"session_end": True}, "ended"),
        ({"session_end": True, "task_completed": True}, "completed"),
        ({"session_end": True, "task_completed": False}, "failed"),
        ({"task_completed": True}, "completed"),
        ({}, "abandoned"),
    ],
)
def test_the_outcome_is_what_the_lines_said(metadata, outcome):
    """What goes quiet without a word is abandoned."""
    watched = Watched()
    watched.add(0, metadata=metadata)
    watched.table.tick(START + 301)
    assert watched.events[1:] == [("close", "s", outcome)]


def test_the_idle_time_is_that_of_the_task_type():
    """A batch may think longer."""
    watched = Watched()
    watched.add(0, "b", metadata={"task_type": "batch"})
    watched.add(0, "d")
    watched.table.tick(START + 301)
    watched.table.tick(START + 600)
    assert [event for event in watched.events if event[0] == "close"] == [("close", "d", "abandoned")]


def test_a_straggler_after_the_end_is_added_and_counts_no_second_session():
    """Budgets see its tokens; sending session_end again and again evades none."""
    watched = Watched()
    watched.add(0, tokens={"prompt": 10}, **end())
    watched.table.tick(START + 4)
    session = watched.add(5, tokens={"prompt": 5}, **end())
    watched.table.tick(START + 9)
    assert session.tokens == 15
    assert watched.events == [("open", "s", ""), ("close", "s", "ended"), ("open", "s", ""), ("again", "s", "ended")]


def test_the_same_id_after_its_idle_time_is_a_new_session():
    """Whether or not anybody looked in between: live reading and a replay agree."""
    looked, read = Watched(), Watched()
    for watched in (looked, read):
        watched.add(0)
        if watched is looked:
            watched.table.tick(START + 301)
            watched.table.tick(START + 302)
        session = watched.add(301)
        assert session.actions == 1
        assert watched.events == [("open", "s", ""), ("close", "s", "abandoned"), ("open", "s", "")]


@pytest.mark.parametrize("looked", [False, True])
def test_a_call_longer_than_the_idle_time_is_work(looked):
    """From the end of one call to the begin of the next is what counts; read live or afterwards."""
    watched = Watched(longest_call=300.0)
    for number in range(5):
        if looked:
            for second in range(30):
                watched.table.tick(START + number * 310 + 10 * second)
        session = watched.add((number + 1) * 310, duration_ms=309_000, tokens={"prompt": 100})
    assert (session.actions, session.tokens, session.started - START) == (5, 500, 1.0)
    assert watched.events == [("open", "s", "")]


def test_a_call_that_begins_after_the_idle_time_begins_a_new_session():
    """However long it takes."""
    watched = Watched()
    watched.add(0)
    assert watched.add(901, duration_ms=600_000).actions == 1
    assert watched.add(1_501, duration_ms=300_000).actions == 2


def test_a_session_whose_call_outlasts_every_expectation_goes_on_with_its_sums():
    """It was counted as abandoned by then, and counts no second time; a budget must see all of its tokens."""
    watched = Watched(longest_call=300.0)
    watched.add(0, tokens={"prompt": 10})
    for second in range(0, 1_800, 60):
        watched.table.tick(START + second)
    session = watched.add(1_800, duration_ms=1_790_000, tokens={"prompt": 5})
    assert session.tokens == 15
    watched.table.tick(START + 2_401)
    assert [event[0] for event in watched.events] == ["open", "close", "open", "again"]


def test_an_abandoned_session_is_forgotten_once_no_call_can_be_that_long():
    """The table must not hold what nobody goes on with."""
    watched = Watched()
    watched.add(0)
    for second in (301, 3_900):
        watched.table.tick(START + second)
        assert len(watched.table) == 1
    watched.table.tick(START + 3_901)
    assert len(watched.table) == 0


@pytest.mark.parametrize(("state", "sessions"), [("working", 1), ("idle", 2)])
def test_working_heartbeats_keep_a_session_open(state, sessions):
    """They open none, and those of an idle agent prolong none."""
    watched = Watched()
    watched.add(0)
    for second in range(100, 1_100, 100):
        watched.table.tick(START + second)
        watched.table.heartbeat(heartbeat(second, state))
    watched.add(1_200)
    assert [event[0] for event in watched.events].count("open") == sessions
    watched.table.tick(START + 1_501)
    assert watched.events[-1] == ("close", "s", "abandoned")


def test_a_heartbeat_after_the_idle_time_does_not_revive_a_session():
    """Its agent is at work on something else."""
    watched = Watched()
    watched.add(0)
    watched.table.heartbeat(heartbeat(400, "working"))
    assert watched.add(450).actions == 1


def test_a_session_that_waits_for_a_person_is_neither_over_nor_idle():
    """Its resume, two days later, goes on with it; the wait is not part of its duration."""
    watched = Watched()
    watched.add(0)
    watched.add(10, metadata={"session_paused": True})
    for hour in range(48):
        watched.table.tick(START + hour * 3600)
    session = watched.add(2 * 86_400, duration_ms=5_000, **end(task_completed=True))
    watched.table.tick(START + 2 * 86_400 + 4)
    assert watched.events == [("open", "s", ""), ("close", "s", "completed")]
    assert session.duration == 15.0


PAUSE = {"metadata": {"session_paused": True}}


@pytest.mark.parametrize("pause_last", [False, True])
def test_a_call_that_was_open_at_the_pause_does_not_end_it(pause_last):
    """In either order of their lines; nor does the action within which the agent said that it pauses."""
    watched = Watched()
    watched.add(0)
    lines = [(5, PAUSE), (6, {"duration_ms": 4_000}), (5.002, {"duration_ms": 2.4})]
    for second, fields in reversed(lines) if pause_last else lines:
        session = watched.add(second, **fields)
    watched.table.tick(START + 4_000)
    assert (session.paused, watched.events) == (True, [("open", "s", "")])
    watched.add(3_606, duration_ms=1_000)
    assert (session.paused, session.duration) == (False, 7.0)


def test_a_pause_in_the_second_of_other_calls_counts_by_its_place_among_them():
    """Whole seconds: a call before it does not end it, one after it does."""
    watched = Watched()
    watched.add(3)
    session = watched.add(3, **PAUSE)
    assert session.paused
    watched.add(3)
    assert not session.paused


def test_a_session_that_waits_for_ever_is_given_up_after_a_week():
    """People forget."""
    watched = Watched()
    watched.add(0, metadata={"session_paused": True})
    watched.table.tick(START + 7 * 86_400)
    assert watched.events == [("open", "s", "")]
    watched.table.tick(START + 7 * 86_400 + 1)
    assert watched.events[1:] == [("close", "s", "abandoned")]


def test_yesterdays_log_read_now_has_no_abandoned_sessions_while_it_is_read():
    """Quiet is measured from when lines were read, too."""
    watched = Watched()
    tomorrow = START + 86400
    watched.add(0, now=tomorrow)
    watched.table.tick(tomorrow + 100)
    watched.add(200, now=tomorrow + 100)
    watched.table.tick(tomorrow + 399)
    assert watched.events == [("open", "s", "")]
    watched.table.tick(tomorrow + 401)
    assert watched.events[1:] == [("close", "s", "abandoned")]


def test_two_agents_may_use_the_same_session_id():
    """A session is one agent's."""
    watched = Watched()
    assert watched.add(0, agent_id="a") is not watched.add(0, agent_id="b")


def test_a_session_spans_from_its_first_start_to_its_last_end_in_any_order():
    """duration_ms counts back from the end."""
    watched = Watched()
    watched.add(10, duration_ms=1000)
    watched.add(5, duration_ms=4000)
    session = watched.add(20)
    assert (session.started - START, session.last - START) == (1.0, 20.0)
    assert watched.table.take_late() == 1
    assert watched.table.take_late() == 0


def test_a_log_of_the_past_forgets_sessions_that_are_over_only_while_there_are_too_many(monkeypatch):
    """Those not read from for longest. One that is at work stays, and so do those that were read from since."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 8)
    watched = Watched()
    for number in range(8):
        watched.add(number, f"s{number}", now=number - 100, **end() if number % 2 else {})
    watched.add(1000, "at work", now=-90)
    watched.add(0, "s0", now=-89)  # of a file that is read later
    watched.table.thin(START + 1000)
    assert [session.session_id for session in watched.table.everyone()] == ["s0", "s4", "s5", "s6", "s7", "at work"]
    assert watched.events[-2:] == [("close", "s7", "ended"), ("close", "s2", "abandoned")]
    watched.table.thin(START + 5000)
    assert len(watched.table) == 6
    assert watched.table.evictions == 0


def test_a_day_that_is_read_in_a_minute_does_not_fill_the_table(monkeypatch):
    """The clock cannot tell that any of it is over; its agent's newer lines can. Nothing is evicted."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 8)
    watched = Watched()
    tomorrow = START + 1_000_000
    for number in range(1000):
        watched.add(200 * number, f"s{number}", now=tomorrow)
        assert len(watched.table) <= 8
    assert watched.table.evictions == 0
    assert [name for event, name, _ in watched.events if event == "open"] == [f"s{number}" for number in range(1000)]
    assert {outcome for event, _, outcome in watched.events if event == "close"} == {"abandoned"}


def test_a_crowd_at_work_is_kept_until_the_table_is_full(monkeypatch):
    """As is a session whose agent says nothing newer: its next line may be read later than those of others."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 8)
    watched = Watched()
    watched.add(-80_000, "late", agent_id="b", now=START)
    for number in range(100):
        watched.add(number, f"s{number}", now=START + number)
    assert len(watched.table) == 101
    for number in range(100):
        watched.add(900 + number, f"t{number}", now=START + 900 + number)
    assert {session.session_id for session in watched.table.everyone()} >= {"late", *(f"t{n}" for n in range(100))}
    assert len(watched.table) < 150
    assert watched.table.evictions == 0


def test_lines_of_the_future_have_no_session_forgotten_that_may_be_stopped(monkeypatch):
    """Nor do an end that others tell of it, or a crowd: its sum would begin at zero."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 8)
    watched = Watched()
    watched.add(0, "mine", now=START).attested_tokens = 900
    watched.add(1, "mine", now=START + 1, **end())
    watched.table.tick(START + 10)
    for number in range(100):
        watched.add(600, f"s{number}", now=START + 20)
    assert watched.table.get("a", "mine").attested_tokens == 900


def test_a_full_table_lets_the_least_recently_read_go():
    """Closed ones first; those that were open are counted."""
    watched = Watched(most=80)
    for number in range(80):
        watched.add(number, f"s{number}", **(end() if number >= 70 else {}))
    watched.table.tick(START + 100)
    watched.add(101, "new")
    assert len(watched.table) == 71
    assert watched.table.evictions == 0
    for number in range(200):
        watched.add(102 + number / 10, f"t{number}")
    assert len(watched.table) <= 80
    assert watched.table.evictions == 271 - len(watched.table)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 700), st.booleans(), st.integers(0, 50)), max_size=40),
    st.data(),
)
def test_restarts_change_nothing(steps, data):
    """A table that is stored and taken up again behaves as one that never stopped."""
    steady, stopped = Watched(), Watched()
    rows: dict[str, bytes] = {}
    now = START
    for who, wait, ends, tokens in steps:
        now += wait
        for watched in (steady, stopped):
            watched.add(now - START, f"s{who}", tokens={"prompt": tokens}, **(end() if ends else {}))
            watched.table.tick(now + 4)
        if data.draw(st.booleans()):
            for _, key, value in stopped.table.changes():
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = value
            restarted = Watched()
            restarted.events = stopped.events
            restarted.table.restore(Rows(rows.items()), 0.0)
            stopped = restarted
    # One look may close several sessions; which of them first is the table's order, and means nothing.
    assert sorted(steady.events) == sorted(stopped.events)
