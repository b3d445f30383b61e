"""The breaker's decisions: who is stopped, for what, and above all who is not."""

from __future__ import annotations

import json

import msgspec
import pytest
from breaking import CONFIG, OWN, Rig
from detecting import START, Kept, call, line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_exporter.breaker import client, intents, operators
from agent_exporter.breaker.audit import verify
from agent_exporter.breaker.terminator import Refused
from agent_exporter.config import parse
from agent_exporter.config.strict import ConfigError
from agent_exporter.lines import Origin
from agent_exporter.server.budget import budget
from agent_exporter.sources.files import FileSource
from agent_exporter.stages import Stages

ANY = Origin(path="/any")
ELSEWHERE = Origin(path="/logs/other/b.log")
DOWN = Refused("HTTP 503 Service Unavailable")


@pytest.fixture
def rig(tmp_path) -> Rig:
    return Rig(tmp_path)


def end(rig: Rig, **fields) -> None:
    rig.say(
        line(rig.seconds, agent_id="runaway", session_id="s", action="done", metadata={"session_end": True}, **fields)
    )


# --- one session that runs away --------------------------------------------------------------------------------------


def test_a_session_over_its_ceiling_is_told_to_stop_once_and_confirmed_by_its_end(rig):
    """Committed before the call, which the rig asserts; further lines make no further call."""
    rig.spend(600)
    assert rig.calls == []
    rig.spend(600)
    rig.spend(600)
    [mine] = rig.calls
    assert (mine.agent_id, mine.session_id, mine.reason, mine.generation) == ("runaway", "s", "session_budget", 1)
    assert mine.evidence == {"tokens": 1200, "max_tokens": 1000, "task_type": "default"}
    assert len(mine.idempotency_key) == 32
    assert rig.statuses == [("session_budget 1", "intended", "")]
    assert not rig.answer()
    rig.wait(2)
    end(rig)
    rig.wait(2)
    assert rig.statuses == [("session_budget 1", "confirmed", "its end is in the log")]
    assert rig.results() == {"confirmed": 1}
    rig.wait(3)
    tasks = rig.stages.tally.agents["runaway"].tasks["default"]
    assert tasks.outcomes["terminated"] == 1
    assert len(rig.calls) == 1


def test_a_session_that_goes_quiet_is_confirmed_too(rig):
    rig.spend(1_001)
    rig.answer()
    rig.wait(9)
    assert rig.statuses[0][1] == "called"
    rig.wait(2)
    assert rig.statuses == [("session_budget 1", "confirmed", "it has been quiet for 10 s")]


def test_lines_from_before_the_call_that_come_late_do_not_make_it_unconfirmed(rig):
    """It wrote them before it was told."""
    rig.seconds = 50
    rig.spend(1_001)
    rig.answer()
    rig.wait(8)
    rig.say(line(49, agent_id="runaway", session_id="s"))
    rig.wait(8)
    assert rig.statuses[0][1] == "called"
    rig.wait(3)
    assert rig.statuses[0][1] == "confirmed"


def test_a_session_that_still_logs_after_the_grace_period_pages(rig):
    rig.spend(1_001)
    rig.answer()
    for _ in range(7):
        rig.wait(5)
        rig.spend(10)
    rig.wait(1)
    assert rig.statuses == [("session_budget 1", "unconfirmed", "it still logs 30 s after it was told")]
    assert rig.results() == {"unconfirmed": 1}
    assert rig.stages.tally.agents["runaway"].cell.unconfirmed == 1
    assert len(rig.calls) == 1
    end(rig)
    rig.wait(4)
    assert rig.stages.tally.agents["runaway"].cell.unconfirmed == 0


def test_one_that_falls_quiet_and_goes_on_is_not_confirmed_for_good(rig):
    rig.spend(1_001)
    rig.answer()
    rig.wait(12)
    assert rig.statuses[0][1] == "confirmed"
    rig.wait(20)
    rig.spend(10)
    assert rig.statuses[0][1] == "unconfirmed"
    assert rig.results() == {"confirmed": 1, "unconfirmed": 1}


def test_an_agent_whose_clock_lags_cannot_pass_for_quiet(rig):
    """Its lines are all of the time before the call."""
    rig.seconds = 55
    rig.say(line(0, agent_id="runaway", session_id="s", tokens={"prompt": 1_001}))
    rig.answer()
    for _ in range(20):
        rig.wait(5)
        rig.say(line(rig.seconds - 55, agent_id="runaway", session_id="s"))
        assert rig.statuses[0][1] != "confirmed"
    assert rig.statuses[0][1] == "unconfirmed"


def test_a_call_that_is_not_taken_is_tried_until_the_grace_period_is_over_and_again_with_the_next_line(rig):
    """It has failed then, which pages; the key stays the same."""
    rig.spend(1_001)
    assert rig.answer(DOWN)
    rig.wait(29)
    assert rig.answer(DOWN)
    rig.wait(1)
    assert not rig.answer(DOWN)
    assert rig.statuses == [("session_budget 1", "failed", "HTTP 503 Service Unavailable")]
    assert rig.results() == {"failed": 1}
    rig.wait(1)
    assert rig.stages.tally.agents["runaway"].cell.unconfirmed == 1
    rig.spend(10)
    first, second = rig.calls
    assert first.idempotency_key == second.idempotency_key
    rig.answer()
    end(rig)
    rig.wait(1)
    assert rig.results() == {"failed": 1, "confirmed": 1}
    assert rig.stages.tally.agents["runaway"].cell.unconfirmed == 0


def test_a_call_that_can_never_succeed_is_not_tried_for_ever(rig):
    rig.spend(1_001)
    assert not rig.answer(Refused("session_id '..' cannot stand in a URL", final=True))
    rig.spend(10)
    assert len(rig.calls) == 1
    assert rig.results() == {"failed": 1}


def test_an_agent_that_is_gone_has_stopped(rig):
    """Its end is read, and nobody answers at its address any more."""
    rig.spend(1_001)
    end(rig)
    assert not rig.answer(Refused("connection refused"))
    assert rig.statuses == [("session_budget 1", "confirmed", "its end is in the log, though no call was taken")]


# --- who is left alone -----------------------------------------------------------------------------------------------


def test_in_observe_mode_it_is_counted_and_nobody_is_called(tmp_path):
    rig = Rig(tmp_path, CONFIG.replace("enforce", "observe"))
    rig.spend(1_001)
    rig.spend(10)
    assert rig.calls == []
    assert rig.statuses == [("session_budget 1", "observed", "breaker.mode is observe")]
    assert rig.results() == {"observed": 1}


def test_an_agent_without_a_way_to_stop_it_is_observed(rig):
    rig.spend(1_001, agent_id="other")
    assert rig.results("other") == {"observed": 1}
    assert rig.calls == []


def test_nobody_is_stopped_for_an_old_line_and_the_first_fresh_one_is_enough(rig):
    """A first start on yesterday's log; the session still runs."""
    rig.seconds = 86_400
    rig.say(line(0, agent_id="runaway", session_id="s", tokens={"prompt": 1_001}))
    assert rig.statuses == [
        ("session_budget 1", "observed", "its newest line is 86400 s old, over breaker.max_line_age")
    ]
    assert rig.calls == []
    rig.say(line(86_390, agent_id="runaway", session_id="s"))
    # Its session idle for a day, this is another one: what it used yesterday is forgotten.
    assert rig.calls == []
    rig.spend(1_001)
    assert len(rig.calls) == 1


def test_a_runaway_found_in_old_lines_is_stopped_as_soon_as_it_logs_now(rig):
    rig.seconds = 200
    rig.say(line(0, agent_id="runaway", session_id="s", tokens={"prompt": 1_001}))
    assert rig.calls == []
    rig.spend(1)
    assert len(rig.calls) == 1
    assert rig.results() == {"observed": 1}


def test_a_session_whose_end_is_read_with_the_line_that_crosses_is_left_alone(rig):
    """The end is the next line, in the same block or the next."""
    crossing = line(0, agent_id="runaway", session_id="s", tokens={"prompt": 1_001})
    over = line(0.1, agent_id="runaway", session_id="s", action="done", metadata={"session_end": True})
    rig.source.batches = [([crossing], OWN), ([over], OWN)]
    rig.read()
    assert rig.statuses == [("session_budget 1", "observed", "its end is in the log already")]
    assert rig.calls == []


def test_a_forged_line_kills_nobody_and_the_true_ones_count(rig):
    """Nor does it keep a runaway from being stopped."""
    rig.spend(100)
    rig.spend(5_000, origin=ELSEWHERE)
    assert rig.statuses == [
        (
            "session_budget 1",
            "observed",
            "of its 5,100 tokens, $0.0000, lines from agents.NAME.trusted_sources have only 100, $0.0000: within its budget",
        )
    ]
    rig.spend(800)
    assert rig.calls == []
    rig.spend(101)
    assert len(rig.calls) == 1
    assert rig.calls[0].evidence == {"tokens": 1_001, "max_tokens": 1_000, "task_type": "default"}


def test_a_forged_end_neither_saves_a_runaway_nor_passes_for_its_stop(rig):
    def forge() -> None:
        fields = {"agent_id": "runaway", "session_id": "s", "action": "done", "metadata": {"session_end": True}}
        rig.say(line(rig.seconds, **fields), origin=ELSEWHERE)

    rig.spend(900)
    forge()
    rig.spend(101)
    assert rig.statuses == [("session_budget 1", "intended", "")]
    forge()
    assert rig.answer(DOWN)
    rig.answer()
    rig.wait(4)
    assert rig.statuses == [("session_budget 1", "called", "")]


@pytest.mark.parametrize("metadata", [{"session_end": True}, {"session_paused": True}])
def test_a_forged_end_or_pause_leaves_a_session_as_it_is(rig, metadata):
    """The agent that asks gets its true sums, and a call that takes longer than the idle time goes on with them."""

    def used() -> tuple[int, bool]:
        answer = budget(rig.stages.sessions, rig.config, "s", "runaway", "default", lambda _: True)
        return answer["tokens"]["used"], answer["stop"]

    rig.spend(900)
    rig.say(line(rig.seconds, agent_id="runaway", session_id="s", metadata=metadata), origin=ELSEWHERE)
    rig.wait(4)
    session = rig.stages.sessions.get("runaway", "s")
    assert (session.ended, session.closed, session.paused) == (False, False, False)
    assert used() == (900, False)
    for _ in range(40):
        rig.wait(10)
    rig.spend(101, duration_ms=390_000)
    assert used() == (1_001, True)
    assert [mine.evidence["tokens"] for mine in rig.calls] == [1_001]


@pytest.mark.parametrize("delivers", [True, False])
def test_a_copy_that_is_sent_before_the_line_is_read_does_not_hide_it(rig, delivers):
    """Of OTLP the second is a duplicate; it is the second that may have it stopped. A third says nothing new.

    Of files the second is a line that was written twice.
    """
    rig.source.delivers = delivers
    own = line(0.1, agent_id="runaway", session_id="s", tokens={"prompt": 600})
    for origin in (ELSEWHERE, OWN, OWN):
        rig.say(own, origin=origin)
    session = rig.stages.sessions.get("runaway", "s")
    assert (session.tokens, session.attested_tokens) == (600, 600)
    rig.say(line(0.2, agent_id="runaway", session_id="s", tokens={"prompt": 401}))
    assert [mine.session_id for mine in rig.calls] == ["s"]


def test_trusted_folders_may_be_links(tmp_path):
    """An origin is a real path; a name in a trusted folder that only begins like it is not of that folder."""
    real = tmp_path / "v2"
    real.mkdir()
    (tmp_path / "current").symlink_to(real)
    rig = Rig(tmp_path, CONFIG.replace("/logs/runaway", f"{tmp_path}/current"))
    rig.spend(1_001, origin=Origin(path=f"{real}x/a.log"))
    assert rig.calls == []
    rig.spend(1_001, origin=Origin(path=f"{real}/a.log"))
    assert len(rig.calls) == 1


def test_a_forged_task_type_neither_lowers_a_ceiling_nor_raises_it(rig):
    """The detectors believe it, as they cannot know better; the breaker does not."""
    rig.spend(1, origin=ELSEWHERE, session_id="lifted", metadata={"task_type": "batch"})
    rig.spend(1_001, session_id="lifted")
    assert [mine.session_id for mine in rig.calls] == ["lifted"]
    assert rig.calls[0].evidence == {"tokens": 1_001, "max_tokens": 1_000, "task_type": "default"}
    rig.spend(1, origin=ELSEWHERE, session_id="lowered", metadata={"task_type": "default"})
    rig.spend(1_001, session_id="lowered", metadata={"task_type": "batch"})
    assert [mine.session_id for mine in rig.calls] == ["lifted"]


def test_a_forged_line_does_not_set_a_runaways_sums_to_zero(rig):
    """Dated ahead by more than the idle time, it would begin the next session; a line of the agent's own still does."""
    rig.spend(900)
    rig.say(line(rig.seconds + 400, agent_id="runaway", session_id="s", action="x"), origin=ELSEWHERE)
    rig.spend(101)
    assert rig.calls[0].evidence["tokens"] == 1_001
    rig.spend(900, session_id="own")
    rig.seconds += 400
    rig.spend(101, session_id="own")
    assert [mine.session_id for mine in rig.calls] == ["s"]


def test_a_forged_task_type_does_not_shorten_the_idle_time_of_a_runaway(tmp_path):
    """Its calls are 6.5 s apart, which is a session each by the type that the forged line names."""
    rig = Rig(tmp_path, CONFIG.replace("  batch:", "  quick: {idle_timeout: 5s}\n  batch:"))
    for number in range(4):
        rig.spend(300)
        if not number:
            rig.spend(1, origin=ELSEWHERE, metadata={"task_type": "quick"})
        rig.seconds += 6.5
    assert rig.calls[0].evidence["tokens"] == 1_200


def test_forged_lines_neither_confirm_a_stop_nor_deny_it(rig):
    """A stopped agent is quiet whatever others write, and one that goes on is not made quiet by a line dated ahead."""
    rig.spend(1_001)
    rig.answer()
    rig.wait(12)
    assert [status for _, status, _ in rig.statuses] == ["confirmed"]
    rig.seconds += 40
    rig.say(line(rig.seconds, agent_id="runaway", session_id="s", action="x"), origin=ELSEWHERE)
    rig.wait(2)
    assert [status for _, status, _ in rig.statuses] == ["confirmed"]
    assert rig.results().get("unconfirmed") is None


def test_an_agent_that_asks_hears_of_the_budget_by_which_it_is_stopped(rig):
    """Its lines name no task type. The one that it asks for stands until they tell of tokens, whatever others write."""

    def asked() -> tuple[str, dict[str, int]]:
        answer = budget(rig.stages.sessions, rig.config, "s", "runaway", "batch", lambda _: True)
        return answer["task_type"], answer["tokens"]

    unused = ("batch", {"used": 0, "max": 5000, "left": 5000})
    assert asked() == unused
    rig.spend(600, origin=ELSEWHERE)
    assert asked() == unused
    rig.spend(600)
    assert asked() == ("default", {"used": 600, "max": 1000, "left": 400})
    rig.spend(401)
    assert rig.calls[0].evidence == {"tokens": 1001, "max_tokens": 1000, "task_type": "default"}


def test_an_agent_that_asks_is_to_stop_where_it_would_be_stopped(rig, tmp_path):
    """Not in observe mode, nor latched, nor if budgets are no reason to stop; what was told to stop is to stop there, too."""

    def stop(session_id: str) -> bool:
        enforces = rig.breaker.enforces_budgets
        sessions = rig.stages.sessions
        return budget(sessions, rig.config, session_id, "runaway", "default", enforces)["stop"]

    def stops() -> list[bool]:
        return [stop(session_id) for session_id in ("within", "over", "told")]

    rig.spend(1_001, session_id="told")
    rig.answer()
    rig.spend(1_000, session_id="within")
    rig.spend(1_001, session_id="over")
    assert stops() == [False, True, True]
    for before, after in (("mode: enforce", "mode: observe"), ("session_budget, loop", "loop")):
        rig.breaker.configure(parse(CONFIG.replace(before, after).replace("PATH", str(tmp_path))))
        assert stops() == [False, False, True]
    rig.breaker.configure(rig.config)
    assert stops() == [False, True, True]
    rig.breaker.latches.close(1.0, "too many")
    assert stops() == [False, False, True]


def test_a_flood_of_findings_about_others_does_not_have_a_runaway_forgotten(rig, monkeypatch):
    """It is found before its time by a forged line, and the finding makes room for ever new ones."""
    monkeypatch.setattr(intents, "MAX_INTENTS", 8)
    rig.spend(5_000, origin=ELSEWHERE)
    for n in range(20):
        rig.spend(5_000, origin=ELSEWHERE, session_id=f"flood-{n}")
    assert "s" not in {mine.session_id for mine in rig.breaker.intents}
    rig.spend(1_001)
    assert [mine.session_id for mine in rig.calls] == ["s"]


def test_one_that_had_to_make_room_while_it_waited_is_called_once_and_its_answer_is_known(rig, monkeypatch):
    """Its own line and the flood come in one block."""
    monkeypatch.setattr(intents, "MAX_INTENTS", 8)
    rig.spend(5_000, origin=ELSEWHERE)
    over = {"agent_id": "runaway", "action": "llm_call", "tokens": {"prompt": 5_000, "completion": 0}}
    flood = [line(1, session_id=f"flood-{n}", **over) for n in range(20)]
    rig.source.batches = [([line(1, session_id="s", **over)], OWN), (flood, ELSEWHERE)]
    rig.read()
    assert [mine.session_id for mine in rig.calls] == ["s"]
    rig.answer()
    assert [why for _, status, why in rig.statuses if status == "called"] == [""]


def test_a_flood_of_findings_about_others_does_not_have_one_told_to_stop_again(rig, monkeypatch):
    """It still logs. What made room is counted, as it might still have been wanted."""
    monkeypatch.setattr(intents, "MAX_INTENTS", 8)
    rig.spend(1_001)
    rig.answer()
    rig.wait(12)
    assert rig.statuses == [("session_budget 1", "confirmed", "it has been quiet for 10 s")]
    for n in range(20):
        rig.spend(5_000, origin=ELSEWHERE, session_id=f"flood-{n}")
    rig.spend(1)
    assert [mine.session_id for mine in rig.calls] == ["s"]
    assert rig.evictions("intents") == 13


def test_intents_of_sessions_that_are_over_make_room_first_and_uncounted(rig, monkeypatch):
    """Nothing is lost with them."""
    monkeypatch.setattr(intents, "MAX_INTENTS", 8)
    rig.spend(5_000, origin=ELSEWHERE, session_id="open")
    for n in range(20):
        rig.spend(1_001, origin=ELSEWHERE, session_id=f"over-{n}")
        rig.spend(0, session_id=f"over-{n}", metadata={"session_end": True})
        rig.wait(4)
    assert "open" in {mine.session_id for mine in rig.breaker.intents}
    assert rig.evictions("intents") == 0


def test_a_flood_of_sessions_does_not_have_the_sum_of_one_forgotten_that_may_be_stopped(rig):
    sessions = rig.stages.sessions
    sessions._most = sessions._look_at = 8
    rig.spend(1_000)
    for n in range(20):
        rig.spend(1, origin=ELSEWHERE, session_id=f"flood-{n}")
    rig.spend(1)
    assert [mine.session_id for mine in rig.calls] == ["s"]


def test_one_that_says_it_has_ended_and_works_on_is_stopped_all_the_same(rig):
    """Feedback after the end is not work, nor is what comes late."""
    rig.spend(1_000)
    end(rig)
    rig.seconds += 1
    rig.spend(1)
    assert rig.statuses == [("session_budget 1", "observed", "its end is in the log already")]
    rig.seconds += 5
    rig.say(line(rig.seconds, agent_id="runaway", session_id="s", action="feedback"))
    assert rig.calls == []
    rig.spend(1)
    assert [mine.session_id for mine in rig.calls] == ["s"]


@pytest.mark.parametrize(
    ("sources", "origin", "counts"),
    [
        ('["/logs/runaway/*"]', OWN, True),
        ('["/logs/runaway/*"]', Origin(path="/logs/runaway/../other/b.log"), True),  # paths come resolved
        ('["/logs/runaway/*"]', Origin(), False),
        ('["/logs/runaway/*"]', Origin(attributes=(("/logs/runaway/a", "x"),)), False),
        ('["-"]', Origin(path="-"), True),
        ('["k8s.pod.name=run-*"]', Origin(attributes=(("k8s.pod.name", "run-1"),)), False),  # nobody attests it
        ('["*"]', Origin(), True),
    ],
)
def test_a_line_counts_if_it_comes_from_where_the_config_says(tmp_path, sources, origin, counts):
    rig = Rig(tmp_path, CONFIG.replace('["/logs/runaway/*"]', sources))
    rig.spend(1_001, origin=origin)
    assert bool(rig.calls) == counts


@pytest.mark.parametrize(
    ("attributes", "counts"),
    [
        ((("k8s.pod.name", "run-1"),), True),
        ((("service.name", "x"), ("k8s.pod.name", "run-1")), True),
        ((("k8s.pod.name", "other"),), False),
        ((("k8s.pod.name=run-1", ""),), False),
        ((("*", "run-1"),), False),
    ],
)
def test_with_a_token_the_collectors_word_counts(tmp_path, attributes, counts):
    (tmp_path / "token").write_text("t")
    config = CONFIG.replace('["/logs/runaway/*"]', '["k8s.pod.name=run-*"]') + "server: {token_file: PATH/token}\n"
    rig = Rig(tmp_path, config)
    rig.spend(1_001, origin=Origin(attributes=attributes))
    assert bool(rig.calls) == counts


def round_and_round(rig: Rig, agent_id: str = "loop-1", **fields) -> list[bytes]:
    return [call(rig.seconds + n / 10, agent_id=agent_id, session_id="l", **fields) for n in range(5)]


def test_a_loop_is_stopped_if_the_config_wants_it(rig):
    """Found after the reorder window, so without a further line."""
    rig.say(*round_and_round(rig))
    rig.wait(4)
    [mine] = rig.calls
    assert (mine.reason, mine.evidence["loop"], mine.origin) == ("loop", "repeat", "/logs/runaway/a.log")


def test_a_loop_with_a_foreign_line_in_it_is_observed(tmp_path):
    rig = Rig(
        tmp_path,
        CONFIG.replace('"loop-*":\n    trusted_sources: ["*"]', '"loop-*":\n    trusted_sources: ["/logs/runaway/*"]'),
    )
    rig.say(*round_and_round(rig)[:2])
    rig.say(*round_and_round(rig)[2:], origin=ELSEWHERE)
    rig.wait(4)
    assert rig.calls == []
    assert rig.statuses[0][1:] == (
        "observed",
        "its session has a line from outside agents.NAME.trusted_sources",
    )


def test_a_forged_heartbeat_does_not_have_a_session_stopped_for_being_at_work_too_long(rig):
    """The agent's own would."""
    for session_id, origin in (("forged", ELSEWHERE), ("own", OWN)):
        rig.spend(1, session_id=session_id)
        rig.wait(290)
        rig.spend(1, session_id=session_id)
        rig.wait(11)
        fields = {"agent_id": "runaway", "session_id": session_id, "action": "heartbeat"}
        rig.say(line(rig.seconds, output={"state": "working"}, **fields), origin=origin)
        rig.wait(5)
    assert [(mine.session_id, mine.reason) for mine in rig.calls] == [("own", "loop")]


def test_two_reasons_make_one_call(rig):
    rig.say(*round_and_round(rig, tokens={"prompt": 300}))
    rig.wait(4)
    [mine] = rig.calls
    assert mine.reason == "session_budget"
    assert rig.statuses[1] == ("loop 1", "observed", "it is being stopped for session_budget already")


# --- too many at once ------------------------------------------------------------------------------------------------


def test_the_sixth_session_within_a_minute_latches_and_a_person_has_to_look(rig, tmp_path):
    """Those before it had been told already; it and all after it are observed, over a restart too."""
    for n in range(6):
        rig.spend(1_001, session_id=f"s{n}")
    assert [mine.session_id for mine in rig.calls] == ["s0", "s1", "s2", "s3", "s4"]
    why = "6 sessions to be stopped within a minute"
    assert rig.statuses[5] == ("session_budget 1", "observed", f"latched for this agent: {why}")
    assert not rig.breaker.enforces_budgets("runaway")
    again = rig.restart(tmp_path)
    again.spend(1_001, session_id="s6")
    assert [mine for mine in again.calls if mine.session_id == "s6"] == []
    [latched] = again.operators.status()["latched_agents"]
    assert (latched["agent_id"], latched["why"]) == ("runaway", why)
    assert again.operators.unlatch("another", 0.0, "op") == "the breaker is not latched for 'another'"
    assert again.operators.unlatch(None, 0.0, "op") == "unlatched for 'runaway'; breaker.mode is enforce"
    again.spend(1, session_id="s6")
    assert "s6" in [mine.session_id for mine in again.calls]


def test_when_it_latches_what_was_decided_with_it_and_not_done_is_not_done(rig):
    """Six in one block: likelier a wrong ceiling than six runaways."""
    rig.say(*[line(0, agent_id="runaway", session_id=f"s{n}", tokens={"prompt": 1_001}) for n in range(6)])
    assert rig.calls == []
    assert {status for _, status, _ in rig.statuses} == {"observed"}


def test_a_fifth_of_all_live_sessions_is_too_many(tmp_path):
    """Of twenty or more of the agent's; below that a share says nothing."""
    config = CONFIG.replace("breaker: {", "breaker: {max_terminations_per_minute: 100, ")
    rig = Rig(tmp_path, config)
    rig.say(*[line(0, agent_id="runaway", session_id=f"q{n}") for n in range(20)])
    for n in range(6):
        rig.spend(1_001, session_id=f"s{n}")
    assert len(rig.calls) == 5
    assert rig.breaker.latches.why("runaway") == (
        "latched for this agent: 6 of 26 live sessions to be stopped within a minute"
    )
    few = Rig(tmp_path, config)
    for n in range(6):
        few.spend(1_001, session_id=f"s{n}")
    assert len(few.calls) == 6


def test_an_agent_that_makes_up_sessions_keeps_nobody_elses_from_being_stopped(rig):
    """Six fakes of one latch only its own; the runaway beside it is stopped."""
    rig.spend(900)
    for n in range(8):
        rig.spend(1_001, origin=ANY, agent_id="loop-1", session_id=f"fake-{n}")
    rig.spend(101)
    assert [mine.agent_id for mine in rig.calls] == ["loop-1"] * 5 + ["runaway"]
    assert rig.breaker.enforces_budgets("runaway")
    assert rig.breaker.latches.shown() == [("loop-1", "6 sessions to be stopped within a minute")]


def test_too_many_of_several_agents_latch_for_all(tmp_path):
    """Twice as many as of one."""
    rig = Rig(tmp_path)
    for n in range(11):
        rig.spend(1_001, origin=ANY, agent_id=f"loop-{n % 4}", session_id=f"s{n}")
    assert len(rig.calls) == 10
    assert rig.breaker.latches.shown() == [("", "11 sessions to be stopped within a minute")]
    assert not rig.breaker.enforcing
    assert rig.operators.unlatch(None, 0.0, "op") == "unlatched; breaker.mode is enforce"


def test_a_fifth_of_the_sessions_of_all_agents_latches_for_all(tmp_path):
    """Without those of the agent that has the most: that has a limit of its own."""
    rig = Rig(tmp_path, CONFIG.replace("breaker: {", "breaker: {max_terminations_per_minute: 50, "))
    rig.say(*[line(0, agent_id="quiet", session_id=f"q{n}") for n in range(20)])
    for n in range(12):
        rig.spend(1_001, origin=ANY, agent_id=f"loop-{n // 4}", session_id=f"s{n}")
    assert len(rig.calls) == 10
    assert rig.breaker.latches.shown() == [("", "11 of 31 live sessions to be stopped within a minute")]


# --- what is waited for ----------------------------------------------------------------------------------------------


class Folders:
    """A runaway's log and another's, read by an exporter a block at a time."""

    def __init__(self, tmp_path) -> None:
        self.seconds = 0.0
        self.own, self.other = tmp_path / "runaway.log", tmp_path / "other.log"
        self.own.touch()
        self.other.touch()
        config = parse(CONFIG.replace("/logs/runaway/*", str(self.own)).replace("PATH", str(tmp_path)))
        self.sources = [FileSource(file.stem, str(file), clock=lambda: self.seconds) for file in (self.other, self.own)]
        self.stages = Stages(config, Kept(), self.sources)
        self.pipeline = self.stages.pipeline
        self.pipeline.clock = lambda: START + 10
        self.calls: list[str] = []
        self.stages.breaker.call = lambda intent: self.calls.append(intent.session_id)

    def append(self, file, number: int, **fields) -> None:
        fields = {"agent_id": "runaway", "session_id": "s", "action": "llm_call", "tokens": {"prompt": 300}} | fields
        with file.open("ab") as opened:
            for n in range(number):
                opened.write(line(0, duration_ms=n, **fields) + b"\n")

    def turn(self) -> bool:
        """One turn of the pipeline's loop; whether there was anything to read."""
        busy = False
        self.seconds += 0.1
        for source in self.sources:
            batch = source.read()
            if batch is not None:
                self.pipeline.feed(source, batch)
                busy = True
        self.pipeline._decide(self.stages.breaker, caught_up=not busy)
        self.pipeline.commit()
        return busy


def test_a_flood_of_others_delays_no_stop(tmp_path):
    """Only lines that may speak for the agent can end its session."""
    folders = Folders(tmp_path)
    folders.append(folders.other, 5_000, agent_id="other")
    folders.append(folders.own, 4)
    folders.turn()
    assert folders.calls == ["s"]
    assert folders.sources[0].unread() > 500_000


def test_a_session_whose_end_is_in_the_log_already_is_not_stopped(tmp_path):
    """However long the log is; what is written later is not waited for."""
    folders = Folders(tmp_path)
    folders.append(folders.own, 2_000)
    folders.append(folders.own, 1, metadata={"session_end": True})
    while folders.turn():
        pass
    assert folders.calls == []
    folders.append(folders.own, 2_000, session_id="t")
    folders.turn()
    assert folders.stages.breaker.waits(START + 12) == 2
    for _ in range(20):
        folders.append(folders.own, 1_000, session_id="t")
        folders.turn()
    assert folders.sources[1].unread() > 500_000
    assert folders.calls == ["t"]
    assert folders.stages.breaker.waits(START + 12) == 0


# --- extensions and generations --------------------------------------------------------------------------------------


def test_an_extended_session_may_go_on_to_its_new_ceiling_and_is_stopped_there_under_another_key(rig, tmp_path):
    rig = Rig(tmp_path, CONFIG.replace("enforce", "observe"))
    rig.spend(1_001)
    sentence = rig.operators.extend("s", None, 500, 0.0, rig.pipeline.now(), "op")
    assert sentence == "session 's' of 'runaway' may now use 1500 tokens; it has used 1001"
    assert rig.statuses == [("session_budget 1", "withdrawn", "its budget was extended")]
    rig.pipeline.commit()
    again = rig.restart(tmp_path, CONFIG)
    again.spend(499)
    assert again.calls == []
    again.spend(1)
    [mine] = again.calls
    assert (mine.generation, mine.evidence["max_tokens"]) == (2, 1500)
    assert mine.idempotency_key != next(iter(again.breaker.intents)).idempotency_key


def test_an_extension_comes_too_late_for_a_session_that_was_told(rig):
    rig.spend(1_001)
    rig.answer()
    with pytest.raises(ValueError, match="was told to stop already"):
        rig.operators.extend("s", None, 500, 0.0, 0.0, "op")


def test_whoever_was_not_told_yet_is_left_alone_as_soon_as_it_is_extended(rig):
    """Also between two attempts; one that is on its way cannot be called back, which the answer says."""
    rig.spend(1_001)
    assert rig.answer(DOWN)
    now = rig.pipeline.now()
    key = rig.calls[0].key
    assert rig.breaker.still_intended(key, now)
    told = rig.operators.extend("s", None, 500, 0.0, now, "ada")
    assert told == (
        "session 's' of 'runaway' may now use 1500 tokens; it has used 1001; it was being told to stop, and a call "
        "that is on its way may still do that"
    )
    assert not rig.breaker.still_intended(key, now)
    assert rig.statuses == [("session_budget 1", "withdrawn", "its budget was extended")]


def test_forged_tokens_do_not_undo_an_extension(rig):
    rig.spend(5_000, origin=ELSEWHERE)
    rig.spend(1_001)
    assert rig.answer(DOWN)
    rig.operators.extend("s", None, 500, 0.0, rig.pipeline.now(), "ada")
    assert rig.statuses == [("session_budget 1", "withdrawn", "its budget was extended")]
    rig.spend(499)
    assert len(rig.calls) == 1
    rig.spend(1)
    assert [mine.generation for mine in rig.calls] == [1, 2]


def test_a_change_of_mode_is_in_the_log_and_in_the_audit_log(rig, tmp_path, caplog):
    observe = CONFIG.replace("mode: enforce", "mode: observe").replace("PATH", str(tmp_path))
    rig.breaker.configure(parse(observe), rig.pipeline.now())
    rig.breaker.configure(parse(observe), rig.pipeline.now())
    nobody = "breaker: {mode: enforce}\nstate: {path: state.db}"
    rig.breaker.configure(parse(nobody), rig.pipeline.now())
    assert caplog.messages == [
        "breaker.mode is observe now, and was enforce",
        "breaker.mode is enforce now, and was observe",
        "breaker.mode is enforce, but no agent has agents.NAME.terminate: no session can be stopped",
    ]
    rig.pipeline.commit()
    entries = [msgspec.json.decode(row) for row in (tmp_path / "audit.ndjson").read_bytes().splitlines()]
    assert [(entry["event"], entry["before"], entry["mode"]) for entry in entries] == [
        ("mode", "enforce", "observe"),
        ("mode", "observe", "enforce"),
    ]


def test_the_status_begins_with_what_wants_a_person_and_says_how_much_it_leaves_out(rig, monkeypatch):
    """A flood of made-up sessions does not hide it."""
    monkeypatch.setattr(operators, "MAX_SHOWN", 3)
    rig.spend(1_001)
    rig.answer(Refused("no", final=True))
    for n in range(5):
        rig.spend(5_000, origin=ELSEWHERE, session_id=f"flood-{n}")
    told = rig.operators.status()
    assert [one["session_id"] for one in told["intents"]] == ["s", "flood-4", "flood-3"]
    assert client.status(told, rig.pipeline.now()).splitlines()[-1] == "... and 3 more"


def test_between_two_attempts_a_reload_counts(rig, tmp_path):
    """To observe mode, or without the agent; and if it is there again, the next line is enough."""
    path = str(tmp_path)
    rig.spend(1_001)
    key = rig.calls[0].key
    for config, why in (
        (CONFIG.replace("mode: enforce", "mode: observe"), "breaker.mode is observe"),
        (CONFIG.replace("  runaway:", "  another:"), "agents.NAME.terminate is not configured for it"),
    ):
        assert rig.answer(DOWN)
        rig.breaker.configure(parse(config.replace("PATH", path)))
        assert not rig.breaker.still_intended(key, rig.pipeline.now())
        assert rig.statuses == [("session_budget 1", "observed", why)]
        rig.breaker.configure(parse(CONFIG.replace("PATH", path)))
        rig.spend(1)
        assert rig.statuses == [("session_budget 1", "intended", "")]


def test_between_two_attempts_an_end_and_the_latch_count(rig):
    rig.spend(1_001)
    rig.spend(1_001, session_id="t")
    assert rig.answer(DOWN, 0)
    assert rig.answer(DOWN, 1)
    end(rig)
    assert not rig.breaker.still_intended(rig.calls[0].key, rig.pipeline.now())
    rig.breaker.latches.close(1.0, "too many")
    assert not rig.breaker.still_intended(rig.calls[1].key, rig.pipeline.now())
    assert rig.statuses == [
        ("session_budget 1", "confirmed", "its end is in the log, though no call was taken"),
        ("session_budget 1", "observed", "latched: too many"),
    ]


def test_an_extension_names_a_session_that_is_there(rig):
    rig.spend(1, agent_id="loop-1")
    rig.spend(1)
    with pytest.raises(
        ValueError, match=r"several agents have a session 's': name one with --agent \(loop-1, runaway\)"
    ):
        rig.operators.extend("s", None, 500, 0.0, 0.0, "op")
    with pytest.raises(ValueError, match="no open session 'x'"):
        rig.operators.extend("x", None, 500, 0.0, 0.0, "op")
    assert "may now use 1500 tokens" in rig.operators.extend("s", "loop-1", 500, 0.0, 0.0, "op")


def test_a_ceiling_that_the_config_raises_begins_another_generation(rig, tmp_path):
    rig = Rig(tmp_path, CONFIG.replace("enforce", "observe"))
    rig.spend(1_001)
    config = parse(CONFIG.replace("PATH", str(tmp_path)).replace("1000", "1500"))
    rig.stages.config = config
    rig.stages.detectors.configure(config)
    rig.breaker.configure(config)
    assert rig.statuses == [("session_budget 1", "withdrawn", "its budget was raised in the config")]
    rig.spend(500)
    assert [(mine.generation, mine.evidence["max_tokens"]) for mine in rig.calls] == [(2, 1500)]


def test_dollars_have_a_ceiling_too(rig):
    rig.say(
        line(
            0,
            agent_id="runaway",
            session_id="s",
            metadata={"task_type": "batch"},
            tokens={"prompt": 1, "cost_usd": 1.01},
        )
    )
    assert [mine.evidence for mine in rig.calls] == [{"cost_usd": 1.01, "max_cost_usd": 1, "task_type": "batch"}]


# --- restarts --------------------------------------------------------------------------------------------------------


def test_what_was_intended_before_a_crash_is_done_after_it_under_the_same_key(rig, tmp_path):
    rig.spend(1_001)
    again = rig.restart(tmp_path)
    again.read()
    assert [mine.idempotency_key for mine in again.calls] == [rig.calls[0].idempotency_key]


def test_what_was_called_before_a_crash_is_only_watched_after_it(rig, tmp_path):
    rig.spend(1_001)
    rig.answer()
    again = rig.restart(tmp_path)
    again.spend(10)
    again.wait(1)
    assert again.calls == []
    assert again.statuses[0][1] == "called"


def test_a_session_that_ended_while_the_exporter_was_away_is_not_called(rig, tmp_path):
    """Its end is read before anything is done."""
    rig.spend(1_001)
    again = rig.restart(tmp_path)
    end(again)
    assert again.calls == []
    assert again.statuses == [("session_budget 1", "confirmed", "its end is in the log, though no call was taken")]


def test_nobody_is_stopped_for_what_a_crash_left_if_the_mode_is_observe_now(rig, tmp_path):
    rig.spend(1_001)
    again = rig.restart(tmp_path, CONFIG.replace("enforce", "observe"))
    again.read()
    assert again.calls == []


EVENTS = st.lists(st.sampled_from(["spend", "forge", "crash", "refuse", "take", "wait", "end", "latch"]), max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_whatever_happens_there_is_one_key_and_no_call_after_one_that_was_taken(tmp_path_factory, events):
    """Crashes at any commit, refusals, silence, forged lines, ends."""
    tmp_path = tmp_path_factory.mktemp("rig")
    rig = Rig(tmp_path)
    calls: list[str] = []
    taken = over = False
    spent = 0
    for event in events:
        before = len(rig.calls)
        if event == "spend" and not over:
            rig.spend(400)
            spent += 400
        elif event == "forge" and not over:
            rig.spend(9_999, origin=ELSEWHERE)
        elif event == "crash":
            rig = rig.restart(tmp_path)
            before = 0
            rig.read()
        elif event == "wait":
            rig.wait(1)
        elif event == "end":
            end(rig)
            over = True
        elif event in {"refuse", "take"} and rig.calls:
            rig.answer(DOWN if event == "refuse" else None)
            taken = taken or event == "take"
        made = rig.calls[before:]
        assert not (taken and made), event
        calls += [mine.idempotency_key for mine in made]
    assert len(set(calls)) <= 1
    assert not calls or spent > 1_000
    if spent > 1_000 and not over and events[-1] == "spend":
        assert calls  # never zero


# --- config and audit ------------------------------------------------------------------------------------------------


def test_what_is_wrong_in_the_breakers_config_is_told():
    with pytest.raises(ConfigError) as told:
        parse(
            "breaker: {mode: enforce, reasons: [cascade]}\n"
            "agents:\n"
            "  a: {terminate: {url: 'http://{agent_id}:1/x'}, trusted_sources: [relative/path, k=v]}\n"
            "  b: {terminate: {url: 'http://h/x', argv: [kill]}}\n"
            "  c: {terminate: {argv: ['{session_id}']}, trusted_sources: ['*']}\n"
            "  d: {terminate: {argv: [sh, -c, 'stop {session_id}', '{agent}']}, trusted_sources: ['*']}\n"
        )
    assert told.value.faults == [
        "config: breaker.reasons: must be session_budget or loop or action_anomaly, not 'cascade'",
        (
            "config: agents.a.trusted_sources: 'relative/path' must be an absolute path, \"-\", "
            'an attribute such as "k8s.pod.name=research-*", or "*"'
        ),
        "config: agents.a.terminate.url: an id from a log line cannot be part of the host",
        "config: agents.b.terminate: needs url or argv, and not both",
        ('config: agents.b.trusted_sources: is required in enforce mode; ["*"] trusts every line'),
        "config: agents.c.terminate.argv: an id from a log line cannot be the command",
        "config: agents.d.terminate.argv: unknown placeholder {agent}; there are {session_id} and {agent_id}",
        (
            "config: agents.d.terminate.argv: sh reads commands, and an id from a log line must not become one: call a "
            'program of your own with the id as an argument, or have a script read "$SESSION_ID" and "$AGENT_ID"'
        ),
        (
            "config: agents.d.terminate.argv: stop {session_id}: an id from a log line must be an argument of its own "
            'that is not read as a program: the command also gets "$SESSION_ID" and "$AGENT_ID"'
        ),
        "config: breaker.mode: enforce needs state.path, so that a restart knows which sessions it has stopped",
    ]


@pytest.mark.parametrize(
    "argv",
    [
        ["bash", "-lc", "stop {session_id}"],
        ["/bin/sh", "-c", "x", "{session_id}"],
        ["ssh", "host", "stop-session", "{session_id}"],
        ["env", "-S", "stop {session_id}"],
        ["python3", "-Ic", "{session_id}"],
        ["node", "--eval", "{session_id}"],
        ["stop", "--session={session_id}"],
        ["su", "app", "--command", "{session_id}"],
        ["kubectl", "exec", "p", "--", "bash", "-lc", "stop {session_id}"],
        ["{agent_id}"],
    ],
)
def test_an_id_from_a_log_can_become_no_command(argv):
    """Whoever prompts an agent may choose its session's id."""
    with pytest.raises(ConfigError, match=r"agents\.a\.terminate\.argv: "):
        parse(json.dumps({"agents": {"a": {"terminate": {"argv": argv}}}}))


@pytest.mark.parametrize(
    "argv",
    [
        ["/usr/local/bin/stop", "{session_id}", "--agent", "{agent_id}"],
        ["kubectl", "delete", "pod", "{session_id}"],
        ["sh", "-c", 'stop "$SESSION_ID"'],
    ],
)
def test_a_program_may_have_an_id_as_its_argument_and_a_shell_in_its_environment(argv):
    """Neither reads it as a command."""
    assert parse(json.dumps({"agents": {"a": {"terminate": {"argv": argv}}}})).agent("a").terminate.argv == argv


def test_enforcing_needs_a_state_and_sources():
    with pytest.raises(ConfigError) as told:
        parse("breaker: {mode: enforce}\nagents: {a: {terminate: {url: 'http://h/x'}}}")
    assert told.value.faults == [
        'config: agents.a.trusted_sources: is required in enforce mode; ["*"] trusts every line',
        "config: breaker.mode: enforce needs state.path, so that a restart knows which sessions it has stopped",
    ]


def test_everything_is_in_the_audit_log_with_its_evidence_and_the_chain_is_sound(rig, tmp_path):
    """Beside the state, one line per step."""
    rig.spend(1_001)
    rig.answer(DOWN)
    rig.answer()
    end(rig)
    rig.wait(1)
    rig.operators.unlatch(None, 0.0, "op")
    path = tmp_path / "audit.ndjson"
    entries = [msgspec.json.decode(row) for row in path.read_bytes().splitlines()]
    assert [entry["event"] for entry in entries] == ["intended", "refused", "called", "confirmed"]
    assert entries[0] | {"prev": "", "hash": ""} == {
        "at": "2026-03-18T09:00:00.001Z",
        "event": "intended",
        "agent_id": "runaway",
        "session_id": "s",
        "trace_id": rig.calls[0].trace_id,
        "reason": "session_budget",
        "generation": 1,
        "idempotency_key": rig.calls[0].idempotency_key,
        "evidence": {"tokens": 1001, "max_tokens": 1000, "task_type": "default"},
        "source": "/logs/runaway/a.log",
        "n": 1,
        "prev": "",
        "hash": "",
    }
    assert verify(path)[:2] == (4, [])


def test_a_second_kind_of_loop_does_not_call_again_while_a_call_is_being_tried(rig):
    """One intent, one caller."""
    rig.say(*round_and_round(rig))
    rig.wait(4)
    assert rig.answer(DOWN)
    rig.say(call(rig.seconds, agent_id="loop-1", session_id="l", metadata={"retry_count": 9}))
    rig.wait(4)
    assert len(rig.calls) == 1


def test_a_session_that_ended_while_the_exporter_was_away_no_longer_pages(rig, tmp_path):
    """The gauge is in the state, and what it counted is gone at the first look."""
    rig.spend(1_001)
    rig.answer()
    rig.wait(31)
    rig.spend(10)
    rig.wait(1)
    assert rig.stages.tally.agents["runaway"].cell.unconfirmed == 1
    end(rig)
    again = rig.restart(tmp_path)
    again.wait(4)
    assert again.stages.tally.agents["runaway"].cell.unconfirmed == 0
