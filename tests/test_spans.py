"""Spans: the tree that a task becomes, decoded by the official protobuf classes."""

from __future__ import annotations

import random

import pytest
from conftest import LOGS, Rows, line
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from agent_exporter.action import decode, stamp, trace_id_of
from agent_exporter.detectors.finding import Finding
from agent_exporter.lineage import root_id
from agent_exporter.sessions import Sessions
from agent_exporter.spans import encode
from agent_exporter.spans.tree import Tree
from agent_exporter.stage import Chain, Reading

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Runs lines through sessions and tree, and decodes what comes out."""

    def __init__(self, most: int = 1000) -> None:
        self.sent: list[tuple[str, Span]] = []
        self.tree = Tree(lambda action: action == "llm_call", self.take, most)
        self.sessions = Sessions(lambda _: 300.0, lambda _: None, self.tree.end)

        self.chain = Chain(self.sessions, [self.sessions, self.tree])

    def take(self, trace: bytes, agent_id: str, span: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(encode.request(agent_id, "1", [span]))
        [resource] = request.resource_spans
        [scope] = resource.scope_spans
        [decoded] = scope.spans
        service = resource.resource.attributes[0].value.string_value
        assert service == agent_id
        assert decoded.trace_id == trace
        self.sent.append((service, decoded))

    def feed(self, lines: list[bytes]) -> Collector:
        for text in lines:
            self.chain.take(decode(text), Reading())
        return self

    def finish(self) -> Collector:
        self.chain.finish(0.0)
        return self

    def spans(self) -> dict[bytes, tuple[str, Span]]:
        """The last of each id: what is sent again replaces itself."""
        return {span.span_id: (service, span) for service, span in self.sent}

    def drawing(self) -> str:
        """The tree as text; fails if it is not one tree."""
        spans = self.spans()
        children: dict[bytes, list[Span]] = {}
        for _, span in spans.values():
            children.setdefault(span.parent_span_id, []).append(span)
        roots = children.pop(b"", [])
        assert len(roots) == 1, roots
        rows = []

        def draw(span: Span, level: int) -> None:
            service = spans[span.span_id][0]
            kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
            error = "  ERROR " + span.status.message if span.status.code == Status.STATUS_CODE_ERROR else ""
            rows.append(f"{'  ' * level}{span.name} [{service} {kind}]{error}")
            for child in sorted(children.pop(span.span_id, []), key=lambda s: (s.start_time_unix_nano, s.kind)):
                draw(child, level + 1)

        draw(roots[0], 0)
        assert not children, "spans hang below spans that were never sent"
        return "\n".join(rows) + "\n"


def attributes(span: Span) -> dict:
    """Attributes as a dict of Python values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


CHAIN = (LOGS / "chain.ndjson").read_bytes().splitlines()


def test_a_task_over_five_sessions_of_four_agents_becomes_one_tree(golden):
    """Handoffs hang below the caller's session, the handoff back below the writer, errors are marked."""
    golden("chain-tree.txt", Collector().feed(CHAIN).finish().drawing())


@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_break_the_tree(rng: random.Random):
    """Within the reorder window any order gives the same tree but for who was first without a parent."""
    lines = CHAIN.copy()
    rng.shuffle(lines)
    assert Collector().feed(lines).finish().drawing() == Collector().feed(CHAIN).finish().drawing()


def test_an_action_span_carries_what_the_conventions_name_and_what_is_ours():
    """And nothing of input, output or error text."""
    text = (LOGS / "article.ndjson").read_bytes().strip()
    [_, (_, span), *_] = [*Collector().feed([text]).sent, *Collector().feed([text]).finish().sent]
    assert span.name == "execute_tool web_search"
    assert span.kind == Span.SPAN_KIND_INTERNAL
    assert span.trace_id.hex() == trace_id_of("trace_4c9e2f")
    assert span.parent_span_id == root_id(trace_id_of("trace_4c9e2f"))
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1773825330101000000, 1773825332441000000)
    assert attributes(span) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.agent.name": "research-agent-01",
        "gen_ai.tool.name": "web_search",
        "gen_ai.conversation.id": "sess_8f2a1b",
        "gen_ai.request.model": "claude-sonnet-4-20250514",
        "gen_ai.usage.input_tokens": 1240,
        "gen_ai.usage.output_tokens": 856,
        "agent.action": "web_search",
        "agent.cost.usd": 0.0089,
        "agent.confidence": 0.87,
        "agent.retry.count": 0,
        "agent.fallback.used": False,
    }


def test_a_session_that_failed_or_was_stopped_is_marked_and_one_that_completed_or_just_ended_is_not():
    """On the caller's side of a handover as well: the service graph's failures are these."""
    found = {}
    for outcome, told in {
        "completed": {"task_completed": True}, "failed": {"task_completed": False}, "ended": {}, "terminated": {},
    }.items():  # fmt: skip
        collector = Collector().feed([line(agent_id="caller", session_id="c", parent_trace_id=TRACE)])
        metadata = {"session_end": True, "parent_agent_id": "caller"} | told
        action = decode(line(timestamp="2026-03-18T09:15:40Z", parent_trace_id=TRACE, metadata=metadata))
        collector.chain.take(action, Reading())
        session = collector.sessions.get("a", "s")
        session.terminated = outcome == "terminated"
        collector.finish()
        found[outcome] = [
            (service, span.status.message, attributes(span).get("error.type"))
            for service, span in collector.sent
            if span.name == "invoke_agent a"
        ]
    assert found == {
        "completed": [("caller", "", None), ("a", "", None)],
        "failed": [("caller", "failed", "failed"), ("a", "failed", "failed")],
        "ended": [("caller", "", None), ("a", "", None)],
        "terminated": [("caller", "terminated", "terminated"), ("a", "terminated", "terminated")],
    }


def test_a_session_span_carries_its_totals():
    """Under names of ours, so that summing tokens over a trace counts none twice."""
    spans = [span for _, span in Collector().feed(CHAIN).finish().sent if span.name == "invoke_agent researcher"]
    assert [span.kind for span in spans] == [Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER]
    assert attributes(spans[1]) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "researcher",
        "gen_ai.conversation.id": "r1",
        "agent.task.type": "report",
        "agent.session.outcome": "completed",
        "agent.session.actions": 3,
        "agent.session.errors": 0,
        "agent.session.tokens": 5360,
        "agent.session.cost.usd": pytest.approx(0.0216),
        "agent.session.findings": 0,
    }


def test_private_text_does_not_leave():
    """Input, output and error messages stay in the line, whatever they hold."""
    secret = "sk-very-secret"
    lines = [
        line(input={"q": secret}, output={"text": secret, "error": {"message": secret}}, status="error"),
        line(input=secret, output=secret, error=secret, status="timeout"),
    ]
    assert all(secret.encode() not in span.SerializeToString() for _, span in Collector().feed(lines).finish().sent)


def test_w3c_ids_of_a_line_win():
    """trace_id over parent_trace_id, span_id as it is, parent_span_id above the session."""
    first = line(
        trace_id=TRACE.upper(), parent_trace_id="x", span_id="00f067aa0ba902b7", parent_span_id="b7ad6b7169203331"
    )
    second = line(action="b", trace_id=TRACE.upper(), span_id="00f067aa0ba902b8", parent_span_id="00f067aa0ba902b7")
    collector = Collector().feed([first, second]).finish()
    by_name = {span.name: span for _, span in collector.sent}
    session = by_name["invoke_agent a"]
    assert {span.trace_id.hex() for span in by_name.values()} == {TRACE}
    assert session.parent_span_id.hex() == "b7ad6b7169203331"
    assert by_name["execute_tool search"].span_id.hex() == "00f067aa0ba902b7"
    assert by_name["execute_tool search"].parent_span_id == session.span_id
    assert by_name["execute_tool b"].parent_span_id.hex() == "00f067aa0ba902b7"


def test_a_parent_that_never_shows_up_is_replaced_by_a_root():
    """One tree still, with exactly one root."""
    lines = [
        line(agent_id="b", session_id="1", metadata={"parent_agent_id": "ghost"}, parent_trace_id="t"),
        line(
            agent_id="c",
            session_id="2",
            metadata={"parent_agent_id": "b"},
            parent_trace_id="t",
            timestamp="2026-03-18T09:16:00Z",
        ),
    ]
    assert Collector().feed(lines).finish().drawing().splitlines()[:2] == [
        "task [ghost INTERNAL]",
        "  invoke_agent b [b INTERNAL]",
    ]


def test_further_sessions_without_a_parent_hang_below_the_root():
    """Two agents that share a trace and say nothing of a handoff."""
    lines = [line(agent_id=name, session_id=name, parent_trace_id="t") for name in ("a", "b", "c")]
    drawn = Collector().feed(lines).finish().drawing()
    assert [row for row in drawn.splitlines() if "invoke_agent" in row] == [
        "invoke_agent a [a INTERNAL]",
        "  invoke_agent b [b INTERNAL]",
        "  invoke_agent c [c INTERNAL]",
    ]


def test_agents_that_name_each_other_as_parents_are_no_cycle():
    """A session's parent began earlier than itself; somebody is below the root."""
    lines = [
        line(agent_id="a", session_id="1", metadata={"parent_agent_id": "b"}, parent_trace_id="t"),
        line(agent_id="b", session_id="2", metadata={"parent_agent_id": "a"}, parent_trace_id="t"),
        line(agent_id="c", session_id="3", metadata={"parent_agent_id": "c"}, parent_trace_id="t"),
    ]
    Collector().feed(lines).finish().drawing()


def test_a_session_that_serves_two_tasks_has_a_part_in_each_tree():
    """One chat, two traces: two spans of the session, in their own traces."""
    lines = [line(parent_trace_id="t1"), line(parent_trace_id="t2"), line(parent_trace_id="t1", action="again")]
    collector = Collector().feed(lines).finish()
    sessions = {span.trace_id.hex() for _, span in collector.sent if span.name == "invoke_agent a"}
    assert sessions == {trace_id_of("t1"), trace_id_of("t2")}


def test_a_restart_in_the_middle_gives_the_same_spans():
    """Invocations come back from their rows, ids from content."""
    whole = Collector().feed(CHAIN).finish()
    for cut in range(1, len(CHAIN)):
        before = Collector().feed(CHAIN[:cut])
        after = Collector()
        after.tree.restore(Rows((key, value) for _, key, value in before.tree.changes() if value is not None), 0.0)
        after.sessions.restore(
            Rows((key, value) for _, key, value in before.sessions.changes() if value is not None), 0.0
        )
        after.feed(CHAIN[cut:]).finish()
        after.sent = before.sent + after.sent
        assert after.drawing() == whole.drawing()


def test_the_table_of_traces_is_bounded():
    """The oldest go, what was open in them is sent as it stands, and counted."""
    collector = Collector(most=80).feed([line(session_id=f"s{n}", parent_trace_id=f"t{n}") for n in range(1000)])
    assert len(collector.tree._traces) <= 80
    assert collector.tree.evictions >= 900
    collector.finish()
    assert sum(span.name == "invoke_agent a" for _, span in collector.sent) == 1000


def test_traces_that_are_over_make_room_first_and_uncounted(monkeypatch):
    """Also while the clock cannot tell, as a day of them is read in a minute."""
    monkeypatch.setattr("agent_exporter.sweep.SWEEP_FROM", 80)
    collector = Collector()
    for n in range(1000):
        name = {"session_id": f"s{n}", "parent_trace_id": f"t{n}", "metadata": {"session_end": n > 0}}
        collector.feed([line(timestamp=stamp(1773825332 + 20 * n), **name)])
        collector.sessions._close_ended(float("inf"))
        assert len(collector.tree._traces) <= 80
    assert collector.tree.evictions == 0
    assert collector.tree.is_open(trace_id_of("t0"))
    collector.finish()
    assert sum(span.name == "invoke_agent a" for _, span in collector.sent) == 1000


names = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    trace=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent=st.just(b"") | st.binary(min_size=8, max_size=8),
    name=names.filter(bool),
    agent=names.filter(bool),
    kind=st.sampled_from([1, 2, 3]),
    times=st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
    number=st.integers(0, 2**63 - 1),
    ratio=st.floats(allow_nan=False),
    flag=st.booleans(),
    value=names,
    message=names.filter(bool),
)
def test_the_encoder_writes_what_the_official_classes_would(
    trace, span_id, parent, name, agent, kind, times, number, ratio, flag, value, message
):
    """Byte by byte the same meaning: decoded, the two are equal."""
    ours = encode.request(
        agent,
        "1.0",
        [
            encode.span(
                trace, span_id, parent, encode.head(name, kind), *times,
                encode.text("t", value) + encode.integer("i")(number) + encode.double("d")(ratio)
                + encode.boolean("b", value=flag) + encode.status(2, message),
            )
        ],
    )  # fmt: skip
    theirs = ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=agent))]),
                scope_spans=[
                    ScopeSpans(
                        scope=InstrumentationScope(name="agent-exporter", version="1.0"),
                        spans=[
                            Span(
                                trace_id=trace,
                                span_id=span_id,
                                parent_span_id=parent,
                                name=name,
                                kind=kind,
                                start_time_unix_nano=times[0],
                                end_time_unix_nano=times[1],
                                attributes=[
                                    KeyValue(key="t", value=AnyValue(string_value=value)),
                                    KeyValue(key="i", value=AnyValue(int_value=number)),
                                    KeyValue(key="d", value=AnyValue(double_value=ratio)),
                                    KeyValue(key="b", value=AnyValue(bool_value=flag)),
                                ],
                                status=Status(code=2, message=message),
                            )
                        ],
                    )
                ],
            )
        ]
    )
    assert ExportTraceServiceRequest.FromString(ours) == theirs


def test_a_finding_is_a_span_below_its_session_with_the_evidence_in_an_event():
    """At once, and not when the session is over; that one's span has their number."""
    collector = Collector().feed([line(parent_trace_id="t")])
    found = Finding(
        kind="loop",
        agent_id="a",
        session_id="s",
        trace_id=trace_id_of("t"),
        at=1773825332.441,
        evidence={"loop": "cycle", "actions": ["b", "c"], "rounds": 3, "max_seconds": 1.5},
    )
    collector.tree.on_finding(found)
    of_trace = Finding(kind="cascade", agent_id="z", trace_id=trace_id_of("t"), root_agent="z", at=1773825332.441)
    collector.tree.on_finding(of_trace)
    collector.finish()
    spans = {span.name: (service, span) for service, span in collector.sent}
    service, span = spans["finding loop"]
    session = spans["invoke_agent a"][1]
    assert service == "a"
    assert span.parent_span_id == session.span_id
    assert span.start_time_unix_nano == span.end_time_unix_nano == 1773825332441000000
    assert attributes(span) == {
        "gen_ai.agent.name": "a",
        "gen_ai.conversation.id": "s",
        "agent.finding.kind": "loop",
    }
    [event] = span.events
    assert (event.name, event.time_unix_nano) == ("loop", 1773825332441000000)
    told = attributes(event)
    assert [value.string_value for value in told.pop("agent.finding.actions").values] == ["b", "c"]
    assert told == {"agent.finding.loop": "cycle", "agent.finding.rounds": 3, "agent.finding.max_seconds": 1.5}
    assert attributes(session)["agent.session.findings"] == 1
    service, span = spans["finding cascade"]
    assert (service, span.parent_span_id) == ("z", root_id(trace_id_of("t")))
    assert attributes(span.events[0]) == {"agent.finding.root_agent": "z"}
