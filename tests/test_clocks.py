"""Clocks of agents: how far they are off, and that a wrong one hides neither the agent nor its runaway session."""

from __future__ import annotations

import pytest
from breaking import CONFIG, Rig
from detecting import START, Exporter, call, line
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.clocks import READ, SENT, ClockOffset
from agent_exporter.config import parse
from agent_exporter.lines import Origin
from agent_exporter.replay import in_steps, past

HOURS = 3600.0
OTHER = Origin(path="/logs/other/a.log")
"""From where lines must not come in the runaway's name."""


@given(
    offset=st.floats(-86_400, 600),
    gaps=st.lists(st.floats(0.2, 100), min_size=2, max_size=20),
    window=st.sampled_from([READ, SENT]),
)
def test_the_offset_of_lines_that_arrive_as_they_are_written_is_measured(offset, gaps, window):
    """Whatever it is, and however often the agent logs."""
    clock, now = ClockOffset(), START
    for gap in gaps:
        clock.observe(now + offset, now, window)
        now += gap
    assert clock.offset is None or clock.offset == pytest.approx(offset, abs=1e-3)
    assert (clock.offset is not None) == (now - gaps[-1] - START >= window)


@given(pace=st.floats(3, 1e6), seconds=st.integers(2, 60))
def test_a_log_that_is_read_faster_than_it_was_written_says_nothing_of_the_clock(pace, seconds):
    """Yesterday's log, or a collector that catches up."""
    clock = ClockOffset()
    for tenth in range(seconds * 10):
        clock.observe(START + tenth / 10 * pace, START + 1e8 + tenth / 10, READ)
    assert clock.offset is None


def test_a_clock_that_is_set_right_is_measured_anew():
    """Within one window more it is known again."""
    clock = ClockOffset()
    seen = []
    for second in range(10):
        clock.observe(START + second - (5 * HOURS if second < 5 else 0), START + second, READ)
        seen.append(clock.offset)
    assert seen == [None, -5 * HOURS, -5 * HOURS, -5 * HOURS, -5 * HOURS, None, 0, 0, 0, 0]


def told(rig: Rig) -> tuple[float, float | None]:
    """(when it was last heard, its clock's offset); times since START."""
    cell = rig.stages.tally.agents["runaway"].cell
    return cell.last_seen - START, cell.clock_offset


def test_an_agent_whose_lines_arrive_is_heard_whatever_they_say_of_the_time(tmp_path):
    """From its first line on, if its source had been read up before."""
    rig = Rig(tmp_path, now=0.0)
    rig.pipeline._caught_up_sources.add("told")
    for second in range(3):
        rig.seconds = second
        rig.say(line(second - 5 * HOURS, agent_id="runaway", session_id="s"))
    assert told(rig) == (2, -5 * HOURS)


@pytest.mark.parametrize("offset", [660, 5 * HOURS])
def test_lines_far_ahead_of_the_clock_count_as_written_now_and_the_offset_says_so(tmp_path, offset):
    """It may be this machine whose clock is slow: then the lines of all agents would be lost."""
    rig = Rig(tmp_path, now=0.0)
    rig.pipeline._caught_up_sources.add("told")
    for second in range(3):
        rig.seconds = second
        rig.say(line(second + offset, agent_id="runaway", session_id="s", tokens={"prompt": 5}))
    cell = rig.stages.tally.sources["told"]
    assert (told(rig), cell.accepted, cell.rejected) == ((2, offset), 3, {})
    assert rig.stages.sessions.get("runaway", "s").last - START == 2


@pytest.mark.parametrize("offset", [-90.0, -5 * HOURS])
def test_an_agent_that_works_is_not_stuck_whatever_its_clock_says(tmp_path, offset):
    """The time of its last action goes on with its lines."""
    rig = Rig(tmp_path)
    rig.pipeline._caught_up_sources.add("told")
    for second in range(0, 100, 10):
        rig.seconds = second
        rig.say(line(second + offset, agent_id="runaway", session_id="s"))
    cell = rig.stages.tally.agents["runaway"].cell
    assert (cell.last_action - START, cell.last_active - START) == (90, 90)


def test_what_was_logged_before_the_start_was_heard_when_it_was_written(tmp_path):
    """Else a restart would hide for how long an agent has been silent."""
    rig = Rig(tmp_path, now=0.0)
    rig.say(line(-5 * HOURS, agent_id="runaway", session_id="s"))
    assert told(rig) == (-5 * HOURS, None)


def test_in_a_log_read_afterwards_no_clock_is_judged():
    """There is none to compare with."""
    exporter = Exporter().read(*(line(10 * n, agent_id="runaway", action=f"x{n}") for n in range(20)))
    assert exporter.stages.tally.agents["runaway"].cell.clock_offset is None


def test_in_a_log_read_in_order_an_agent_whose_clock_is_behind_is_heard_with_the_lines_around_it(tmp_path):
    """So `backtest` calls it no more silent than `run` would have."""
    log = tmp_path / "log"
    lines = [line(-20), line(-10)] + [
        text for n in range(40) for text in (line(10 * n), line(10 * n - 5 * HOURS, agent_id="behind"))
    ]
    log.write_bytes(b"\n".join(lines) + b"\n")
    stages = past(parse(""), [str(log)])
    assert [at - START for at in in_steps(stages, 15, lambda _: None)][-1] == 405
    agents = stages.tally.agents
    assert [agents[name].cell.last_seen - START for name in ("a", "behind")] == [390, 390]


@pytest.mark.parametrize("offset", [-90, -5 * HOURS, 300, 660, 5 * HOURS])
def test_a_runaway_whose_clock_is_off_is_stopped(tmp_path, offset):
    """Its lines' age is that of their arrival."""
    rig = Rig(tmp_path)
    for second in range(6):
        rig.seconds = float(second)
        rig.say(line(second + offset, agent_id="runaway", session_id="s", action="llm_call", tokens={"prompt": 250}))
    assert [call.session_id for call in rig.calls] == ["s"]


@pytest.mark.parametrize("offset", [-90, -5 * HOURS, 300, 660, 5 * HOURS])
def test_a_finding_of_an_agent_whose_clock_is_off_is_news(tmp_path, offset):
    """So that its alert pages, though the finding's own time is hours ago."""
    rig = Rig(tmp_path)
    for second in range(8):
        rig.seconds = float(second)
        rig.say(call(second + offset, agent_id="runaway"))
    rig.wait(4)
    assert rig.stages.tally.agents["runaway"].cell.findings["loop"] - START == 11


def test_yesterdays_log_stops_nobody(tmp_path):
    """However it comes: at once, or a block each tenth of a second."""
    rig = Rig(tmp_path, now=86_400.0)
    for block in range(100):
        rig.seconds += 0.1
        rig.say(
            *(
                line(40 * block + n, agent_id="runaway", session_id="s", action="llm_call", tokens={"prompt": 250})
                for n in range(0, 40, 4)
            )
        )
    assert rig.calls == []
    assert rig.statuses
    for _, status, why in rig.statuses:
        assert (status, why.endswith("s old, over breaker.max_line_age")) == ("observed", True)


def test_a_forged_line_does_not_move_the_clock_by_which_a_runaway_is_judged(tmp_path):
    """Another agent's line with an old time, in its name."""
    rig = Rig(tmp_path, CONFIG)
    for second in range(6):
        rig.seconds = float(second)
        rig.say(line(second - 90, agent_id="runaway", session_id="s", action="llm_call", tokens={"prompt": 250}))
        rig.say(line(second - 9_000, agent_id="runaway", session_id="x"), origin=OTHER)
    assert [call.session_id for call in rig.calls] == ["s"]
