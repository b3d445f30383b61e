"""agentlog: one task through several agents, and the one tree that the exporter makes of it."""

from __future__ import annotations

import random

import pytest
from agentlines import Log, ticking, tree
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.action import trace_id_of
from agent_exporter.lineage import root_id, session_span_id
from agentlog import ids

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def test_the_headers_of_a_handoff_are_a_traceparent_the_task_and_the_caller():
    """The span is the one that the exporter makes of the caller's session."""
    s = Log("plänner 1").session(task="ticket 4711\n")
    trace = trace_id_of("ticket 4711\n")
    assert s.handoff() == {
        "traceparent": f"00-{trace}-{root_id(trace).hex()}-01",
        "agentlog-task": "ticket%204711%0A",
        "agentlog-agent": "pl%C3%A4nner%201",
    }


def relay(*agents: str) -> list[bytes]:
    """Every agent calls the next one from within its first action, as over HTTP: the caller's lines come last."""
    log = Log(clock=ticking())

    def serve(name: str, headers: dict[str, str] | None, rest: tuple[str, ...]) -> None:
        with log.named(name).session(headers=headers) as s:
            if rest:
                with s.action("delegate"):
                    serve(rest[0], s.handoff(), rest[1:])
            with s.action("llm_call") as a:
                a.tokens(prompt=10, model="small")

    serve(agents[0], None, agents[1:])
    return log.raw()


RELAY = """\
invoke_agent planner [planner INTERNAL]
  execute_tool delegate [planner INTERNAL]
  invoke_agent researcher [planner CLIENT]
    invoke_agent researcher [researcher SERVER]
      execute_tool delegate [researcher INTERNAL]
      invoke_agent fetcher [researcher CLIENT]
        invoke_agent fetcher [fetcher SERVER]
          execute_tool delegate [fetcher INTERNAL]
          invoke_agent planner [fetcher CLIENT]
            invoke_agent planner [planner SERVER]
              chat small [planner CLIENT]
              execute_tool session_end [planner INTERNAL]
          chat small [fetcher CLIENT]
          execute_tool session_end [fetcher INTERNAL]
      chat small [researcher CLIENT]
      execute_tool session_end [researcher INTERNAL]
  chat small [planner CLIENT]
  execute_tool session_end [planner INTERNAL]
"""


def test_a_task_handed_on_over_four_sessions_is_one_tree():
    """Back to the first agent, too, and although every caller's lines come after those of whom it called."""
    assert tree(relay("planner", "researcher", "fetcher", "planner")) == RELAY


@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_the_tree(rng: random.Random):
    """Any order at all: every line says whose child its session is."""
    lines = relay("planner", "researcher", "fetcher", "planner")
    rng.shuffle(lines)
    assert tree(lines) == RELAY


def test_handoffs_to_several_agents_hang_side_by_side():
    """All of them below the one that called."""
    log = Log(clock=ticking())
    with log.session() as s:
        headers = s.handoff()
        for name in ("b", "c"):
            with log.named(name).session(headers=headers) as called, called.action("act"):
                pass
    assert log.tree() == """\
invoke_agent planner [planner INTERNAL]
  invoke_agent b [planner CLIENT]
    invoke_agent b [b SERVER]
      execute_tool act [b INTERNAL]
      execute_tool session_end [b INTERNAL]
  invoke_agent c [planner CLIENT]
    invoke_agent c [c SERVER]
      execute_tool act [c INTERNAL]
      execute_tool session_end [c INTERNAL]
  execute_tool session_end [planner INTERNAL]
"""  # fmt: skip


def test_a_session_within_a_session_is_handed_over_by_itself():
    """In one process no headers are needed."""
    log = Log(clock=ticking())
    with log.session(task="ticket-1") as s, s.action("delegate"):
        with log.named("b").session(), log.named("c").session():
            pass
        with log.session(headers={}) as other:
            assert other.origin.is_root  # from outside, and without a parent: a task of its own
    assert [line.get("metadata", {}).get("parent_agent_id") for line in log.lines()] == [
        "b",
        "planner",
        None,
        None,
        None,
    ]
    assert {line["parent_trace_id"] for line in log.lines()} == {"ticket-1", other.origin.task}


@pytest.mark.parametrize(
    "headers",
    [
        {"Traceparent": TRACEPARENT, "Agentlog-Task": "ticket-1", "AGENTLOG-AGENT": "pl%C3%A4nner"},
        [(b"traceparent", TRACEPARENT.encode()), (b"agentlog-task", b"ticket-1"), (b"agentlog-agent", b"pl%C3%A4nner")],
    ],
)  # fmt: skip
def test_headers_are_taken_in_any_case_and_as_asgi_has_them(headers):
    """A trace that is not the task's own is told beside it."""
    log = Log()
    with log.session(headers=headers):
        pass
    [line] = log.lines()
    assert line["parent_trace_id"] == "ticket-1"
    assert line["trace_id"] == TRACE
    assert line["parent_span_id"] == SPAN
    assert line["metadata"]["parent_agent_id"] == "plänner"


@pytest.mark.parametrize("given", [{"traceparent": TRACEPARENT}, {"headers": {"traceparent": TRACEPARENT.upper()}}])
def test_a_traceparent_of_anybodys_tracer_is_enough(given):
    """Its trace is the task, its span the parent; the next agent stays in it."""
    log = Log()
    with log.session(**given) as s:
        headers = s.handoff()
        assert headers["traceparent"].startswith(f"00-{TRACE}-")
        with log.named("b").session(headers=headers) as next_one:
            pass
    first, second = log.lines()
    assert (second["parent_trace_id"], second["parent_span_id"]) == (TRACE, SPAN)
    assert (first["parent_trace_id"], first["parent_span_id"]) == (TRACE, s.span_id)
    assert next_one.origin.parent_agent_id == "planner"


@pytest.mark.parametrize(
    "wrong",
    [
        "", "00", TRACEPARENT + "-00", TRACEPARENT[:-1], TRACEPARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}", "xx" + TRACEPARENT[2:],
    ],
)  # fmt: skip
def test_a_traceparent_that_is_none_begins_a_task_of_its_own(wrong):
    """As W3C has it: what cannot be read is ignored."""
    log = Log()
    assert log.session(traceparent=wrong).origin.is_root


def test_a_traceparent_of_a_later_version_may_go_on():
    """W3C: its first fields are read."""
    later = "01" + TRACEPARENT[2:] + "-what-comes-then"
    assert Log().session(traceparent=later).origin.trace_id == TRACE


names = st.text(min_size=1, max_size=300)


@given(agent=names, task=names, session=names)
def test_whatever_the_names_a_handoff_is_understood(agent, task, session):
    """Safe as HTTP headers, and the same at the other end; the ids are those that the exporter gives."""
    log = Log(agent)
    first = log.session(task=task, session_id=session)
    headers = first.handoff()
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())
    second = Log("b").session(headers=headers, session_id=session)
    trace = trace_id_of(first.origin.task)
    assert second.origin == (first.origin.task, trace, root_id(trace).hex(), log.agent_id)
    third = Log("c").session(headers=second.handoff())
    assert third.origin == (first.origin.task, trace, session_span_id(trace, "b", second.id).hex(), "b")


def test_no_id_is_all_zero(monkeypatch):
    """W3C: that is none."""
    monkeypatch.setattr(ids._random, "getrandbits", lambda _: 0)
    assert int(ids.trace_id(), 16) == int(ids.span_id(), 16) == 1
