"""agentlog: what an agent says, and the line that comes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from agentlines import Log, told
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent_exporter.action import Action, decode
from agentlog import AgentLogger, current_action, current_session
from agentlog.record import MAX_CONTENT

HEAD = {"agent_id": "planner", "session_id": "s1", "parent_trace_id": "ticket-1"}
AT = {"timestamp": "2026-03-18T12:00:00.000000Z"}


def session(log: Log, **options):
    """A session with names that can be compared."""
    return log.session(session_id="s1", task="ticket-1", **options)


def actions(log: Log) -> list[str]:
    """The actions of its lines."""
    return [line["action"] for line in log.lines()]


def test_a_paused_session_goes_on_with_its_next_action_and_is_written_to_its_end():
    """What it says after that is not lost."""
    log = Log()
    with session(log) as s:
        with s.action("ask"):
            s.pause()
        with s.action("go_on"):
            pass
        s.completed()
    assert actions(log) == ["session_pause", "ask", "go_on", "session_end"]
    assert log.lines()[-1]["metadata"] == {"session_end": True, "task_completed": True}


def test_a_session_that_is_completed_while_it_waits_is_over_and_one_that_is_left_still_waits():
    """A person answered elsewhere, or has yet to answer."""
    log = Log()
    with session(log) as s:
        s.pause()
        s.completed()
    with session(log) as s:
        s.pause()
    assert actions(log) == ["session_pause", "session_end", "session_pause"]


def test_three_lines_make_an_agent_log_its_actions():
    """Everything that it may tell of an action, in the fields of the schema; and the end of the session."""
    log = Log(team="research")
    with session(log, task_type="report") as s:
        with s.action("web_search", input={"query": "pods"}) as a:
            log.hands.at += 2.34
            a.output = {"results_count": 8}
            a.confidence = 0.87
            a.tokens(prompt=1240, completion=856, model="claude", cost_usd=0.0089, cache_read=1000, cache_write=40)
            a.retry()
            a.fallback()
        s.completed()
    told = {"team": "research", "task_type": "report"}
    assert log.lines() == [
        HEAD
        | {
            "timestamp": "2026-03-18T12:00:02.340000Z",
            "action": "web_search",
            "status": "success",
            "input": {"query": "pods"},
            "output": {"results_count": 8, "confidence": 0.87},
            "tokens": {
                "prompt": 1240,
                "completion": 856,
                "cache_read": 1000,
                "cache_write": 40,
                "cost_usd": 0.0089,
                "model": "claude",
            },
            "duration_ms": 2340.0,
            "metadata": told | {"retry_count": 1, "fallback_used": True},
        },
        HEAD
        | {
            "timestamp": "2026-03-18T12:00:02.340000Z",
            "action": "session_end",
            "status": "success",
            "metadata": told | {"session_end": True, "task_completed": True},
        },
    ]


def test_what_is_not_told_is_not_written():
    """Unknown is not zero."""
    log = Log()
    with session(log) as s, s.action("web_search"):
        pass
    assert log.lines() == [
        AT | HEAD | {"action": "web_search", "status": "success", "duration_ms": 0.0, "metadata": {}},
        AT | HEAD | {"action": "session_end", "status": "success", "metadata": {"session_end": True}},
    ]


class ReadTimeout(OSError):
    """As those of HTTP clients are."""


class Silly(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ValueError("bad"), "error", {"type": "ValueError", "message": "bad"}),
        (TimeoutError("slow"), "timeout", {"type": "TimeoutError", "message": "slow"}),
        (ReadTimeout("slow"), "timeout", {"type": "ReadTimeout", "message": "slow"}),
        (asyncio.CancelledError(), "cancelled", {"type": "CancelledError", "message": ""}),
        (KeyboardInterrupt(), "cancelled", {"type": "KeyboardInterrupt", "message": ""}),
        (Silly(), "error", {"type": "Silly", "message": "<Silly>"}),
    ],
)
def test_an_action_that_raises_is_logged_and_the_error_passes(error, status, told):
    """And is told once: the session's end says only that the task was not completed."""
    log = Log()
    with pytest.raises(type(error)) as raised, session(log) as s, s.action("web_search"):
        raise error
    assert raised.value is error
    [action, end] = log.lines()
    assert action == AT | HEAD | {
        "action": "web_search", "status": status, "duration_ms": 0.0, "error": told, "metadata": {},
    }  # fmt: skip
    assert end == AT | HEAD | {
        "action": "session_end", "status": "success", "metadata": {"session_end": True, "task_completed": False},
    }  # fmt: skip


def test_a_session_that_raises_is_logged_as_an_error():
    """If no action did: then its end says what it was. A word of success before that does not count."""
    log = Log()
    with pytest.raises(ValueError, match="between"), session(log) as s:
        s.completed()
        raise ValueError("between the actions")
    assert log.lines() == [
        AT
        | HEAD
        | {
            "action": "session_end",
            "status": "error",
            "error": {"type": "ValueError", "message": "between the actions"},
            "metadata": {"session_end": True, "task_completed": False},
        }
    ]


def test_a_task_that_was_not_achieved_is_no_error():
    """completed(False)."""
    log = Log()
    with session(log) as s:
        s.completed(False)
    assert log.lines() == [
        AT | HEAD | {
            "action": "session_end", "status": "success", "metadata": {"session_end": True, "task_completed": False},
        }
    ]  # fmt: skip


def test_feedback_is_a_line_of_its_own_and_may_come_late():
    """When the user has read the answer, the session is over."""
    log = Log()
    with session(log) as s:
        pass
    log.hands.at += 60
    s.feedback(0.5)
    s.feedback(11)
    [_, late, wrong] = log.lines()
    assert late == HEAD | {
        "timestamp": "2026-03-18T12:01:00.000000Z", "action": "feedback", "status": "success",
        "metadata": {"feedback": 0.5},
    }  # fmt: skip
    assert wrong["metadata"] == {"left_out": {"metadata.feedback": "11"}}


def test_tokens_of_several_calls_add_up():
    """The model is the last one's."""
    log = Log()
    with session(log) as s:
        with s.action("llm_call") as a:
            a.tokens(prompt=10, completion=1, model="small", cost_usd=0.5)
            a.tokens(prompt=20, model="large", cost_usd=0.25)
        assert s.spent == 31
    assert log.lines()[0]["tokens"] == {"prompt": 30, "completion": 1, "cost_usd": 0.75, "model": "large"}


def test_a_value_that_cannot_be_is_left_out_and_the_line_says_so():
    """A wrong number is worse than none, and one that vanishes without a word is worse than either."""
    log = Log()
    with session(log) as s, s.action("llm_call") as a:
        a.tokens(prompt=-5, completion=10**9, cache_read="many", cache_write=2.5, cost_usd=float("nan"))
        a.confidence = 87
        a.output = {"confidence": "high", "state": {"n": 1}, "error": ["odd"], "detail": 7, "rows": 3}
    line = log.lines()[0]
    assert line["output"] == {"confidence": "high", "state": {"n": 1}, "error": ["odd"], "detail": 7, "rows": 3}
    assert "tokens" not in line
    assert line["metadata"]["left_out"] == {
        "tokens.prompt": "-5",
        "tokens.completion": "1000000000",
        "tokens.cache_read": "'many'",
        "tokens.cache_write": "2.5",
        "tokens.cost_usd": "nan",
        "output.confidence": "87",
    }


def test_answers_of_a_poll_stay_different():
    """A number in `state` belongs to the tool. It shows progress, so the poll is not found as a loop."""
    log = Log()
    with session(log) as s:
        for percent in (10, 30, 50, 70, 90):
            with s.action("job_status", input={"job": "j1"}) as a:
                a.output = {"state": percent}
    answers = [line["output"] for line in log.lines() if line["action"] == "job_status"]
    assert answers == [{"state": percent} for percent in (10, 30, 50, 70, 90)]


def test_sums_that_grow_too_large_are_left_out():
    """A record has its limits; docs/log-schema.md."""
    log = Log()
    with session(log) as s, s.action("llm_call") as a:
        a.tokens(prompt=9_000_000, completion=1)
        a.tokens(prompt=9_000_000)
    line = log.lines()[0]
    assert line["tokens"] == {"completion": 1}
    assert line["metadata"]["left_out"] == {"tokens.prompt": "18000000"}


class Colour:
    """Its repr has an address."""


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"query": "pods", "page": 2, "on": True, "off": None}, {"query": "pods", "page": 2, "on": True, "off": None}),
        ("a text", "a text"),
        (["a", ("b", 1)], {"value": ["a", ["b", 1]]}),
        (42, {"value": 42}),
        ({1: "one", None: "none", (2, 3): "pair"}, {"1": "one", "": "none", "(2, 3)": "pair"}),
        ({"n": float("nan"), "i": float("-inf"), "h": 2**70}, {"n": "nan", "i": "-inf", "h": str(2**70)}),
        ({"o": Colour(), "b": b"\x00", "s": {3}}, {"o": "<test_agentlog_lines.Colour object>", "b": "b'\\x00'", "s": "{3}"}),
        ({"x": Broken(), "y": 10**5000}, {"x": "<Broken>", "y": "<int>"}),
        ({"half": "\ud800", "\udfff": "key"}, {"half": "?", "?": "key"}),
    ],
)  # fmt: skip
def test_content_is_written_as_it_is_as_far_as_json_goes(given, written):
    """What cannot be serialised is its repr; without an address, so that two equal calls look equal."""
    log = Log()
    with session(log) as s, s.action("act", input=given) as a:
        a.output = given
    line = log.lines()[0]
    assert line["input"] == written
    assert line["output"] == written


def test_long_content_is_cut_and_equal_content_stays_equal():
    """It ends in its length and a hash; two that differ only behind the cut still differ."""
    log = Log(max_content=20)
    with session(log) as s:
        for tail in ("x", "y", "x"):
            with s.action("act", input={"a": "b" * 100 + tail, "c": "d", "e": "f"}):
                pass
    first, second, third, _ = (line.get("input") for line in log.lines())
    assert first == {"a": "bbbbbbbbbbb… (101 characters, 1dfa99340ef2)", "…": "3 fields"}
    assert first == third != second


def test_content_without_end_is_cut():
    """A list that holds itself twice, a hundred levels, a million items."""
    loop: list = []
    loop += [loop, loop]
    deep: dict = {}
    for _ in range(100):
        deep = {"in": deep}
    log = Log(max_content=10**9)
    with session(log) as s:
        for endless in (
            loop,
            deep,
            list(range(1_000_000)),
            dict.fromkeys(range(1_000_000)),
            "🦜" * 10**6,
            ["\0"] * 10**6,
        ):
            with s.action("act", input=endless) as a:
                a.output = endless
    assert max(map(len, log.raw())) < 2**20


def test_the_input_is_what_it_was_when_the_action_began():
    """An agent goes on appending to its messages."""
    log = Log()
    messages = ["hello"]
    with session(log) as s, s.action("llm_call", input={"messages": messages}):
        messages.append("and on")
    assert log.lines()[0]["input"] == {"messages": ["hello"]}


def test_confidence_goes_with_any_output():
    """The schema has it inside of the output, which then is an object."""
    log = Log()
    with session(log) as s:
        for output in (None, "text", [1], {"n": 1}):
            with s.action("act") as a:
                a.output, a.confidence = output, 0.5
    assert [line.get("output") for line in log.lines()[:-1]] == [
        {"confidence": 0.5},
        {"text": "text", "confidence": 0.5},
        {"value": [1], "confidence": 0.5},
        {"n": 1, "confidence": 0.5},
    ]


def test_content_can_be_left_out():
    """Inputs, outputs and messages may be private; what is counted is not."""
    log = Log(content=False)
    with pytest.raises(ValueError, match="secret"), session(log) as s:
        with s.action("act", input="secret") as a:
            a.output, a.confidence = {"text": "secret"}, 0.5
        with s.action("act", input="secret"):
            raise ValueError("secret")
    assert b"secret" not in b"".join(log.raw())
    first, second, _ = log.lines()
    assert first["output"] == {"confidence": 0.5}
    assert second["error"] == {"type": "ValueError"}


def test_long_names_are_cut_and_never_merge():
    """256 bytes; they end in a hash."""
    log = Log("ä" * 500, team="")
    with log.session(session_id="") as s, s.action("a" * 256 + "1"), s.action("a" * 256 + "2"), s.action("\ud800"):
        pass
    lines = log.lines()
    assert len(lines[0]["agent_id"].encode()) <= 256
    assert lines[0]["session_id"] == lines[0]["metadata"]["team"] == "unnamed"
    assert lines[0]["action"] == "?"
    assert lines[1]["action"] != lines[2]["action"]


# --- functions ------------------------------------------------------------------------------------------------------


def test_a_decorated_function_is_an_action_at_every_call():
    """Its arguments are the input, defaults included; its result is the output, unless it told one."""
    log = Log()

    @log.action("web_search")
    def search(query: str, *more: str, limit: int = 10) -> list[str]:
        """Finds."""
        current_action().tokens(prompt=7)
        return ["found"]

    @log.action("summarise")
    def summarise(text):
        current_action().output = {"words": 3}
        return text

    with session(log):
        assert search("pods", "nodes") == ["found"]
        assert summarise("abc") == "abc"
    found, summed, _ = log.lines()
    assert search.__doc__ == "Finds."
    assert found["input"] == {"query": "pods", "more": ["nodes"], "limit": 10}
    assert found["output"] == {"value": ["found"]}
    assert found["tokens"] == {"prompt": 7}
    assert summed["output"] == {"words": 3}


def test_a_decorated_coroutine_is_timed_to_its_end():
    """And a method's self is no argument."""
    log = Log()

    class Agent:
        @log.action("fetch")
        async def fetch(self, url: str) -> str:
            await asyncio.sleep(0)
            log.hands.at += 1.5
            return "page"

    async def task():
        async with session(log):
            assert await Agent().fetch("x") == "page"

    asyncio.run(task())
    assert log.lines()[0] == HEAD | {
        "timestamp": "2026-03-18T12:00:01.500000Z", "action": "fetch", "status": "success", "duration_ms": 1500.0,
        "input": {"url": "x"}, "output": "page", "metadata": {},
    }  # fmt: skip


def test_a_call_outside_of_any_session_is_a_session_by_itself():
    """So that no line is lost; within another agent's session it is handed over from there."""
    log = Log()

    @log.action("act")
    def act():
        pass

    act()
    with log.named("other").session(session_id="o1"):
        act()
    alone, end, handed, handed_end, _ = log.lines()
    assert alone["session_id"] == end["session_id"] != handed["session_id"] == handed_end["session_id"]
    assert handed["metadata"]["parent_agent_id"] == "other"


def test_a_wrong_call_fails_as_it_would_undecorated():
    """With a line about it."""
    log = Log()

    @log.action("act")
    def act(x):
        pass

    with pytest.raises(TypeError, match="missing 1 required"):
        act()
    assert [line["status"] for line in log.lines()] == ["error", "success"]


def test_a_generator_cannot_be_decorated():
    """Its call does nothing yet."""
    with pytest.raises(TypeError, match="stream is a generator, whose call does nothing yet"):

        @Log().action("act")
        def stream():
            yield 1


def test_what_is_no_function_cannot_be_decorated():
    """And the error says what to do."""
    log = Log()
    for kind in (classmethod, staticmethod):
        with pytest.raises(
            TypeError, match=rf"@log.action\('act'\) above @{kind.__name__} .*: put it below @{kind.__name__}"
        ):

            class Agent:
                @log.action("act")
                @kind
                def act(*_):
                    pass

    with pytest.raises(TypeError, match=r'an action needs its name: @log.action\("name"\)'):

        @log.action
        def act():
            pass

    with pytest.raises(TypeError, match="is for functions, not for 5"):
        log.action("act")(5)


def test_below_a_classmethod_it_is_one():
    """A staticmethod likewise; neither the class nor the object is an input."""
    log = Log()

    class Agent:
        @classmethod
        @log.action("made")
        def made(cls, x):
            return cls.__name__ + x

        @staticmethod
        @log.action("said")
        def said(x):
            return x

    with log.session():
        assert (Agent.made("a"), Agent().said("b")) == ("Agenta", "b")
    assert told(log.lines()[:2], "action", "input", "output") == [
        ("made", {"x": "a"}, "Agenta"),
        ("said", {"x": "b"}, "b"),
    ]


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_signal_that_comes_while_a_value_is_looked_at_is_not_lost(signal):
    """Ctrl-C, or a handler of SIGTERM that exits: it cannot be told from a repr that raises the same."""

    class Slow:
        def __repr__(self):
            raise signal

    log = Log()
    with pytest.raises(signal), log.session() as s, s.action("act") as a:
        a.output = Slow()
    with log.session() as s, s.action("act"):
        pass
    assert told(log.lines(), "action", "status") == [
        ("session_end", "cancelled"),
        ("act", "success"),
        ("session_end", "success"),
    ]


# --- settings -------------------------------------------------------------------------------------------------------

NUMBERS = [
    ("token_ceiling", lambda log, value: log.session(token_ceiling=value)),
    ("max_retries", lambda log, value: log.session(max_retries=value)),
    ("timeout", lambda log, value: log.session(timeout=value)),
    ("timeout", lambda log, value: log.session().action("act", timeout=value)),
    ("timeout", lambda log, value: log.action("act", timeout=value)),
    ("timeout", lambda log, value: log.session().attempts("act", timeout=value)),
    ("max_retries", lambda log, value: log.session().attempts("act", max_retries=value)),
    ("base", lambda log, value: log.session().attempts("act", base=value)),
    ("cap", lambda log, value: log.session().attempts("act", cap=value)),
    ("every", lambda log, value: log.heartbeats(every=value)),
    ("max_content", lambda _, value: Log(max_content=value)),
]


@pytest.mark.parametrize(("name", "give"), NUMBERS)
def test_a_setting_that_is_no_number_is_said_where_it_is_given(name, give):
    """Straight from the environment, for instance; not at the first action, nor in a thread."""
    log = Log()
    for value, said in (("50", "'50'"), (b"5", "b'5'"), (True, "True"), ([5], r"\[5\]"), (timedelta(5), "datetime")):
        with pytest.raises(TypeError, match=f"^{name} must be a number, not {said}"):
            give(log, value)
    with pytest.raises(ValueError, match=f"^{name} must be a number, not nan"):
        give(log, float("nan"))
    for value in (5, 5.0, Decimal(5), Fraction(5)):
        give(log, value)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("every", 0, "every must be 0.001 or more, not 0"),
        ("every", float("inf"), "every must be .* or less, not inf"),
        ("max_retries", -1, "max_retries must be 0 or more, not -1"),
        ("base", -0.5, "base must be 0 or more, not -0.5"),
        ("max_content", float("inf"), "max_content must be .* or less, not inf"),
    ],
)
def test_a_setting_out_of_bounds_is_said_as_well(setting, value, said):
    with pytest.raises(ValueError, match=said):
        dict(NUMBERS)[setting](Log(), value)


def test_what_is_neither_true_nor_false_does_not_decide_whether_inputs_are_written():
    """A text would be true, also "false"."""
    with pytest.raises(TypeError, match="content must be True or False, not 'false'"):
        Log(content="false")


def test_what_is_to_be_tried_again_is_said_by_classes():
    """One, or several."""
    with Log().session() as s:
        for wrong in ("OSError", OSError(), [OSError]):
            with pytest.raises(TypeError, match="retry_on must be classes of exceptions, not"):
                s.attempts("act", retry_on=wrong)
        s.attempts("act", retry_on=(OSError, ValueError))
        s.attempts("act", retry_on=OSError | ValueError)


# --- whose session it is --------------------------------------------------------------------------------------------


def test_tasks_and_threads_keep_their_own_sessions():
    """They run at the same time, and none sees another's."""
    log = Log()

    async def work(name: str, together: asyncio.Barrier) -> None:
        async with log.session(session_id=name) as s:
            await together.wait()
            assert current_session() is s
            async with s.action(name) as a:
                await together.wait()
                assert current_action() is a
            assert current_action() is None

    async def all_of_them() -> None:
        together = asyncio.Barrier(3)
        await asyncio.gather(*(work(f"task{n}", together) for n in range(3)))

    def thread(name: str, together: threading.Barrier) -> None:
        assert current_session() is None
        with log.session(session_id=name) as s, s.action(name):
            together.wait()
            assert current_session() is s

    with log.session(session_id="main") as main:
        together = threading.Barrier(3)
        threads = [threading.Thread(target=thread, args=(f"thread{n}", together)) for n in range(3)]
        for started in threads:
            started.start()
        for started in threads:
            started.join()
        assert current_session() is main
    asyncio.run(all_of_them())
    actions = [line for line in log.lines() if line["action"] != "session_end"]
    assert sorted(line["action"] for line in actions) == [f"{kind}{n}" for kind in ("task", "thread") for n in range(3)]
    assert all(line["session_id"] == line["action"] for line in actions)


def test_what_cannot_use_with_begins_and_ends():
    """Callbacks. A second end says nothing."""
    log = Log()
    s = session(log).begin()
    action = s.action("act").begin()
    log.hands.at += 1
    action.end(at=log.hands.at - 0.5, duration=0.25)
    action.end()
    s.end()
    s.end()
    assert [(line["action"], line["timestamp"], line.get("duration_ms")) for line in log.lines()] == [
        ("act", "2026-03-18T12:00:00.500000Z", 250.0),
        ("session_end", "2026-03-18T12:00:01.000000Z", None),
    ]


def test_a_session_that_ends_in_another_context_is_logged_all_the_same():
    """An async generator is closed wherever that happens to be."""
    log = Log()

    async def stream():
        async with session(log) as s, s.action("act"):
            yield 1

    async def consume():
        started = stream()
        await asyncio.create_task(started.__anext__())
        await asyncio.create_task(started.aclose())

    asyncio.run(consume())
    assert [line["status"] for line in log.lines()] == ["cancelled", "success"]


# --- heartbeats -----------------------------------------------------------------------------------------------------


def test_a_heartbeat_says_what_it_is_told(monkeypatch):
    """Idle, or working on something."""
    monkeypatch.setattr("os.getpid", lambda: 4711)
    log = Log(team="research")
    log.heartbeat("idle")
    with session(log):
        log.heartbeat("working", "on the summary")
    beat = AT | {"agent_id": "planner", "action": "heartbeat", "status": "success", "metadata": {"team": "research"}}
    assert log.lines()[:2] == [
        beat | {"session_id": "proc_4711", "output": {"state": "idle"}},
        beat | {"session_id": "s1", "output": {"state": "working", "detail": "on the summary"}},
    ]


def test_heartbeats_say_what_the_agent_is_at():
    """The newest session and its newest action, and how many more there are."""
    log = Log()
    beats = log.heartbeats()
    beats.beat()
    with session(log) as s:
        beats.beat()
        with s.action("plan"), s.action("web_search"):
            beats.beat()
            with log.session(session_id="s2"):
                beats.beat()
                with log.session(session_id="s3"):
                    beats.beat()
    beats.beat()
    assert [line["output"] for line in log.lines() if line["action"] == "heartbeat"] == [
        {"state": "idle"},
        {"state": "working", "detail": "s1"},
        {"state": "working", "detail": "web_search in s1"},
        {"state": "working", "detail": "s2 and 1 more session"},
        {"state": "working", "detail": "s3 and 2 more sessions"},
        {"state": "idle"},
    ]


def test_heartbeats_come_from_a_thread_until_they_are_stopped():
    """One at once, then one every so many seconds."""
    three = threading.Semaphore(0)

    class Counting(Log):
        def heartbeat(self, state, detail=None):
            super().heartbeat(state, detail)
            three.release()

    log = Counting()
    with log.heartbeats(every=0.001) as beats:
        assert beats.start() is beats
        for _ in range(3):
            three.acquire()
    count = len(log.lines())
    assert count >= 3
    assert not [thread for thread in threading.enumerate() if thread.name == "agentlog heartbeats"]
    assert len(log.lines()) == count


# --- nothing else touches the lines, and they touch nothing else ----------------------------------------------------


def test_the_agents_own_logging_is_left_alone(caplog):
    """Levels and filters of the program's logging silence no line, and its handlers see none."""
    log = Log()
    logging.disable(logging.CRITICAL)
    try:
        with session(log):
            pass
    finally:
        logging.disable(logging.NOTSET)
    assert len(log.lines()) == 1
    assert caplog.records == []


# --- whatever it is -------------------------------------------------------------------------------------------------


class Hostile:
    """Raises at every look."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __len__ = __iter__ = __float__ = __index__ = __bool__ = __repr__


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lo", "So"])) | st.just(10**400) | st.builds(Hostile)
    | st.builds(object)
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.tuples(inner, inner)
    | st.fixed_dictionaries({"confidence": inner, "error": inner, "state": inner, "detail": inner}),
    max_leaves=8,
)  # fmt: skip
shared = Log()


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], phases=set(Phase) - {Phase.shrink})
@given(st.data())
def test_every_line_that_can_be_written_is_accepted(data):
    """Whatever an agent passes for whatever, the exporter reads every line; none is longer than it takes."""

    def some():
        return data.draw(anything)

    shared.flush()
    shared.text.seek(0)
    shared.text.truncate()
    most = data.draw(st.sampled_from([1, 100, MAX_CONTENT, 10**9]))
    log = AgentLogger(some(), team=some(), stream=shared.text, max_content=most)
    told = data.draw(
        st.none() | st.dictionaries(st.sampled_from(["traceparent", "agentlog-agent", "Agentlog-Task"]), anything)
    )
    s = log.session(task_type=some(), session_id=some(), task=some(), headers=told)
    with s:
        with pytest.raises(ValueError), s.action(some(), input=some()) as a:  # noqa: PT011
            a.output, a.confidence = some(), some()
            a.tokens(
                prompt=some(), completion=some(), cost_usd=some(), model=some(), cache_read=some(), cache_write=some()
            )
            a.retried(some())
            raise ValueError(some())
        log.heartbeat(some(), some())
        s.feedback(some())
        s.completed(data.draw(st.booleans()))
    log.flush()
    lines = shared.text.getvalue().encode().splitlines()
    assert len(lines) == 4
    assert [decode(line) for line in lines if not isinstance(decode(line), Action)] == []
    assert max(map(len, lines)) < 2**20
    assert all(json.loads(line) for line in lines)
