"""agentlog: the way in for OpenTelemetry, with the real SDK and spans as OpenTelemetry's own GenAI utilities make them."""

from __future__ import annotations

import contextlib

import pytest
from agentlines import Log, ticking, told
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.util.genai.handler import TelemetryHandler
from running import Answering

from agentlog.opentelemetry import Processor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def log():
    return Log("service", clock=ticking())


@pytest.fixture
def provider(log):
    provider = TracerProvider()
    provider.add_span_processor(Processor(log, task_type="report"))
    yield provider
    provider.shutdown()


@pytest.fixture
def genai(provider):
    return TelemetryHandler(tracer_provider=provider)


def test_agents_models_and_tools_of_the_conventions_are_one_tree(log, genai):
    """As opentelemetry-util-genai, on which instrumentations are built, makes them."""
    with genai.workflow(name="report"), genai.invoke_local_agent(agent_name="planner"):
        with genai.inference("openai", request_model="gpt") as asked:
            asked.input_tokens, asked.output_tokens, asked.response_model_name = 10, 3, "gpt-2026"
        with pytest.raises(TimeoutError), genai.tool("web_search"):
            raise TimeoutError("slow")
        with genai.invoke_local_agent(agent_name="writer"), genai.inference("openai", request_model="gpt") as asked:
            asked.input_tokens = 1
    assert log.tree() == """\
invoke_agent service [service INTERNAL]
  invoke_agent planner [service CLIENT]
    invoke_agent planner [planner SERVER]
      chat gpt-2026 [planner CLIENT]
      execute_tool web_search [planner INTERNAL]  ERROR TimeoutError
      invoke_agent writer [planner CLIENT]
        invoke_agent writer [writer SERVER]
          chat gpt [writer CLIENT]
          execute_tool session_end [writer INTERNAL]
      execute_tool session_end [planner INTERNAL]
  execute_tool session_end [service INTERNAL]
"""  # fmt: skip
    asked, searched, *_ = log.lines()
    assert asked["tokens"] == {"prompt": 10, "completion": 3, "model": "gpt-2026"}
    assert (searched["status"], searched["error"]) == ("timeout", {"type": "TimeoutError", "message": "slow"})


def test_ids_and_times_are_those_of_the_spans(log, provider):
    """A line leads to its span in any other tracing that gets it; a conversation is the session."""
    around = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=True, trace_flags=TraceFlags(1))
    tracer = provider.get_tracer("t")
    agent = tracer.start_span(
        "invoke_agent planner",
        context=set_span_in_context(NonRecordingSpan(around)),
        attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "c1"},
    )
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    call = tracer.start_span(
        "chat m", set_span_in_context(agent), attributes=asked, start_time=1_773_835_200_000_000_000
    )
    call.end(1_773_835_202_500_000_000)
    agent.end()
    raw = log.raw()
    line, end = log.lines()
    assert f'"span_id":"{call.get_span_context().span_id:016x}"'.encode() in raw[0]
    assert line == {
        "timestamp": "2026-03-18T12:00:02.500000Z",
        "agent_id": "planner",
        "session_id": "c1",
        "parent_trace_id": TRACE,
        "parent_span_id": SPAN,
        "action": "llm_call",
        "status": "success",
        "tokens": {"model": "m"},
        "duration_ms": 2500.0,
        "metadata": {"task_type": "report"},
    }
    assert (end["parent_span_id"], end["session_id"]) == (SPAN, "c1")


OTEL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_creation.input_tokens": 2,
    "gen_ai.input.messages": '[{"role": "system"}, {"role": "user"}]',
    "gen_ai.output.messages": '[{"role": "assistant"}]',
}
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m",
    "llm.token_count.prompt": 10,
    "llm.token_count.completion": 3,
    "llm.token_count.prompt_details.cache_read": 4,
    "llm.token_count.prompt_details.cache_write": 2,
    "input.value": '[{"role": "system"}, {"role": "user"}]',
    "output.value": '[{"role": "assistant"}]',
}


@pytest.mark.parametrize("attributes", [OTEL, OPENINFERENCE], ids=["gen_ai", "openinference"])
def test_a_call_of_a_model_under_either_names(log, provider, attributes):
    """Without any agent around it, it is the service's own."""
    with provider.get_tracer("t").start_as_current_span("x", attributes=attributes):
        pass
    assert told(log.lines(), "agent_id", "action", "input", "output", "tokens") == [
        (
            "service",
            "llm_call",
            {"messages": 2, "last": {"role": "user"}},
            {"value": [{"role": "assistant"}]},
            {"prompt": 10, "completion": 3, "cache_read": 4, "cache_write": 2, "model": "m"},
        ),
        ("service", "session_end", None, None, None),
    ]


@pytest.mark.parametrize(
    ("attributes", "action"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}, "search"),
        ({"gen_ai.operation.name": "execute_tool"}, "execute_tool"),
        ({"gen_ai.operation.name": "text_completion"}, "llm_call"),
        ({"gen_ai.operation.name": "search_memory"}, "search_memory"),
        ({"openinference.span.kind": "TOOL", "tool.name": "search"}, "search"),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval"),
    ],
)
def test_what_is_done_has_a_name(log, provider, attributes, action):
    """The tool's, or the operation's."""
    with provider.get_tracer("t").start_as_current_span("x", attributes=attributes):
        pass
    assert [line["action"] for line in log.lines()] == [action, "session_end"]


@pytest.mark.parametrize(
    ("attributes", "agent"),
    [
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}, "planner"),
        ({"gen_ai.operation.name": "invoke_agent"}, "planner"),
        ({"openinference.span.kind": "AGENT", "graph.node.id": "planner"}, "planner"),
    ],
)
def test_an_agent_has_the_name_that_its_span_gives(log, provider, attributes, agent):
    """In an attribute, or else in the span's own name."""
    with provider.get_tracer("t").start_as_current_span("invoke_agent planner", attributes=attributes):
        pass
    assert [line["agent_id"] for line in log.lines()] == [agent]


def test_spans_that_are_of_no_agent_are_nothing(log, provider):
    """Requests, queries; nor is a workflow, in which nothing is done."""
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("GET /"), tracer.start_as_current_span("SELECT"):
        pass
    with tracer.start_as_current_span("w", attributes={"gen_ai.operation.name": "invoke_workflow"}):
        pass
    assert log.lines() == []


def test_what_ends_after_its_agent_still_belongs_to_it(log, provider):
    """A stream that is read to its end when the agent has long returned."""
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span(
        "a", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    ):
        call = tracer.start_span("c", attributes={"gen_ai.operation.name": "chat"})
    call.end()
    assert told(log.lines(), "agent_id", "action") == [("planner", "session_end"), ("planner", "llm_call")]


def test_an_error_without_a_type_takes_that_of_the_exception(log, provider):
    """Its class, without the module; or else none that is known."""
    tracer = provider.get_tracer("t")
    attributes = {"gen_ai.operation.name": "chat"}
    with pytest.raises(KeyError), tracer.start_as_current_span("c", attributes=attributes):
        raise KeyError("x")
    failed, end = log.lines()
    assert failed["error"]["type"] == "KeyError"
    assert (end["status"], end["metadata"]["task_completed"]) == ("success", False)


def test_a_call_that_nobody_could_stop_is_told_as_it_was():
    """It is over when its span comes, so the exporter is not asked about it; its tokens count."""
    with Answering(200, b'{"tokens":{"used":9,"max":1,"left":0},"enforced":true,"stop":true}') as exporter:
        log = Log("service", clock=ticking(), exporter=exporter.url)
        provider = TracerProvider()
        provider.add_span_processor(Processor(log))
        with TelemetryHandler(tracer_provider=provider).inference("openai", request_model="gpt") as asked:
            asked.input_tokens = 10
        provider.shutdown()
        assert exporter.asked == []
    assert told(log.lines()[:1], "status", "tokens") == [("success", {"prompt": 10, "model": "gpt"})]


# --- a call counts once --------------------------------------------------------------------------------------------

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
USAGE = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}


def calls(log: Log) -> list[tuple[str, int]]:
    """(status, prompt tokens) of each call of a model that was written."""
    return [
        (text["status"], text.get("tokens", {}).get("prompt", 0))
        for text in log.lines()
        if text["action"] == "llm_call"
    ]


@pytest.mark.parametrize(
    ("layers", "written"),
    [
        ([CHAT | USAGE], [("success", 100)]),
        ([CHAT | USAGE, CHAT | USAGE], [("success", 100)]),
        ([CHAT | USAGE, CHAT | USAGE, CHAT | USAGE], [("success", 100)]),
        ([CHAT | USAGE, CHAT], [("success", 100)]),
        ([CHAT, CHAT | USAGE], [("success", 100)]),
        ([CHAT, CHAT], [("success", 0)]),
        ([CHAT | USAGE, {}, CHAT | USAGE], [("success", 100)]),
    ],
)
def test_a_call_that_several_instrumentations_see_counts_once(layers, written, log, provider):
    """At its innermost span with usage; a framework's span encloses the client library's."""
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("agent", attributes=AGENT), contextlib.ExitStack() as stack:
        for attributes in layers:
            stack.enter_context(tracer.start_as_current_span("layer", attributes=attributes))
    assert calls(log) == written


def test_several_calls_below_one_span_count_each_and_their_sum_does_not(log, provider):
    """The framework's span and the agent's have sums of calls that are written already."""
    tracer = provider.get_tracer("t")
    total = {"gen_ai.usage.input_tokens": 200}
    with tracer.start_as_current_span("agent", attributes=AGENT | total):
        with tracer.start_as_current_span("outer", attributes=CHAT | total):
            for _ in range(2):
                with tracer.start_as_current_span("inner", attributes=CHAT | USAGE):
                    pass
    assert calls(log) == [("success", 100), ("success", 100)]


@pytest.mark.parametrize("below", [{}, CHAT, {"gen_ai.operation.name": "execute_tool"}])
def test_usage_on_the_agents_span_counts_where_nothing_below_has_any(below, log, provider):
    """Some frameworks tell the sum alone."""
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("agent", attributes=AGENT | USAGE):
        with tracer.start_as_current_span("below", attributes=below):
            pass
    assert sum(prompt for _, prompt in calls(log)) == 100


def test_a_call_that_fails_in_every_layer_failed_once(log, provider):
    """One that fails only in the framework, as when its answer cannot be parsed, is written without tokens."""
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("agent", attributes=AGENT):
        for inner_fails in (True, False):
            with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("outer", attributes=CHAT | USAGE):
                with tracer.start_as_current_span("inner", attributes=CHAT | USAGE):
                    if inner_fails:
                        raise ValueError("no")
                raise ValueError("no")
    assert calls(log) == [("error", 100), ("success", 100), ("error", 0)]


def test_spans_that_never_end_do_not_fill_the_memory(log, provider, monkeypatch):
    """The oldest is forgotten."""
    monkeypatch.setattr("agentlog.opentelemetry.MAX_OPEN", 3)
    processor = Processor(log)
    tracer = provider.get_tracer("t")
    for _ in range(9):
        processor.on_start(tracer.start_span("x", attributes=CHAT))
    assert len(processor._open) == 3


def usage(prompt: int) -> dict[str, object]:
    """Attributes of a call of a model."""
    return {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": 1,
    }  # fmt: skip


def prompts(log: Log) -> list[int]:
    """The prompt tokens of its lines."""
    return [line["tokens"]["prompt"] for line in log.lines() if "prompt" in line.get("tokens", {})]


def test_a_tool_that_asks_a_model_within_a_call_of_a_model_makes_another_call(log, provider):
    """Both count; the sums of the agent around them do not."""
    tracer = provider.get_tracer("t")
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "shorten"}
    agent = usage(999) | {"gen_ai.operation.name": "invoke_agent"}
    with (
        tracer.start_as_current_span("agent", attributes=agent),
        tracer.start_as_current_span("outer", attributes=usage(300)),
        tracer.start_as_current_span("tool", attributes=tool),
        tracer.start_as_current_span("inner", attributes=usage(40)),
    ):
        pass
    assert prompts(log) == [40, 300]


def test_a_span_that_ends_after_the_one_around_it_counts_a_call_once(log, provider):
    """As with an answer that streams on."""
    tracer = provider.get_tracer("t")
    outer = tracer.start_span("outer", attributes=usage(300))
    inner = tracer.start_span("inner", context=set_span_in_context(outer), attributes=usage(300))
    outer.end()
    inner.end()
    assert prompts(log) == [300]
