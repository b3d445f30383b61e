"""agentlog: the way in for the OpenAI Agents SDK, with the real SDK and models behind a transport that is no network."""

from __future__ import annotations

import asyncio
import json

import httpx2
import openai
import pytest
from agentlines import Log, ticking, told
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    custom_span,
    function_tool,
    generation_span,
    input_guardrail,
    set_trace_processors,
    trace,
)
from running import Answering

from agentlog.openai_agents import Processor


class Service:
    """Answers as OpenAI's service would, from a script."""

    def __init__(self) -> None:
        self.script: list[dict] = []
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))
        self.client = openai.AsyncOpenAI(
            api_key="none", base_url="http://model.invalid", http_client=client, max_retries=0
        )
        self.chat = OpenAIChatCompletionsModel("gpt-chat", self.client)
        self.responses = OpenAIResponsesModel("gpt-responses", self.client)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        told = self.script.pop(0)
        if told is None:
            raise httpx2.ReadTimeout("no answer")
        if request.url.path.endswith("/responses"):
            usage = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
            usage |= {"input_tokens_details": {"cached_tokens": 8}, "output_tokens_details": {"reasoning_tokens": 0}}
            body = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-responses-2026", "output": [told]}
            body |= {
                "parallel_tool_calls": False,
                "tool_choice": "auto",
                "tools": [],
                "usage": usage,
                "status": "completed",
            }
        else:
            usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None} | told}
            body = {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
        return httpx2.Response(200, json=body)


def chat_call(name: str, **arguments) -> dict:
    """A chat completion that wants a tool called."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"id": name, "type": "function", "function": function}]}


def call(name: str, **arguments) -> dict:
    """The same as a response's item."""
    return {"type": "function_call", "call_id": name, "name": name, "arguments": json.dumps(arguments)}


def say(text: str) -> dict:
    """A message, as a response's item."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}


@function_tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@function_tool
def publish(page: str) -> str:
    """Publish."""
    raise PermissionError(page)


@pytest.fixture
def log():
    """With the processor in place, and no other: nothing goes to OpenAI."""
    log = Log("service", clock=ticking(), team="press")
    set_trace_processors([Processor(log)])
    yield log
    set_trace_processors([])


@pytest.fixture
def service():
    return Service()


def team(service: Service) -> Agent:
    """A planner that hands over to a writer."""
    writer = Agent(name="writer", model=service.responses, tools=[publish])
    return Agent(name="planner", model=service.chat, tools=[search], handoffs=[writer])


def test_a_run_with_a_handoff_is_one_tree(log, service):
    """The writer below the planner; a tool that failed is marked, and the run went on."""
    service.script = [
        chat_call("search", query="pods"),
        chat_call("transfer_to_writer"),
        call("publish", page="x"),
        say("done"),
    ]
    assert asyncio.run(Runner.run(team(service), "a page")).final_output == "done"
    assert log.tree() == """\
invoke_agent planner [planner INTERNAL]
  chat gpt-chat [planner CLIENT]
  execute_tool search [planner INTERNAL]
  chat gpt-chat [planner CLIENT]
  execute_tool handoff [planner INTERNAL]
  execute_tool session_end [planner INTERNAL]
  invoke_agent writer [planner CLIENT]
    invoke_agent writer [writer SERVER]
      chat gpt-responses-2026 [writer CLIENT]
      execute_tool publish [writer INTERNAL]  ERROR ErrorRunningToolNon
      chat gpt-responses-2026 [writer CLIENT]
      execute_tool session_end [writer INTERNAL]
"""  # fmt: skip
    first, found, _, handoff, end, answer, *_ = log.lines()
    assert first["tokens"] == {"prompt": 10, "completion": 3, "cache_read": 0, "cache_write": 0, "model": "gpt-chat"}
    assert first["input"] == {"messages": 1, "last": {"role": "user", "content": "a page"}}
    assert (found["input"], found["output"]) == ({"query": "pods"}, "found pods")
    assert handoff["input"] == {"from": "planner", "to": "writer"}
    assert end["metadata"] == {"team": "press", "session_end": True, "task_completed": True}
    assert (answer["tokens"]["prompt"], answer["tokens"]["cache_read"]) == (20, 8)
    assert answer["metadata"]["parent_agent_id"] == "planner"


def test_an_agent_called_as_a_tool_hangs_below_its_caller(log, service):
    """as_tool."""
    writer = Agent(name="writer", model=service.responses)
    boss = Agent(name="boss", model=service.chat, tools=[writer.as_tool("ask_writer", "asks")])
    service.script = [chat_call("ask_writer", input="x"), say("sub"), {"content": "end"}]
    asyncio.run(Runner.run(boss, "a page"))
    assert told(log.lines(), "agent_id", "action", "status") == [
        ("boss", "llm_call", "success"),
        ("writer", "llm_call", "success"),
        ("writer", "session_end", "success"),
        ("boss", "ask_writer", "success"),
        ("boss", "llm_call", "success"),
        ("boss", "session_end", "success"),
    ]
    log.tree()


def test_a_model_that_does_not_answer_is_a_timeout_told_once(log, service):
    """The session's end says only that it was in vain."""
    service.script = [None]
    with pytest.raises(openai.APITimeoutError):
        asyncio.run(Runner.run(team(service), "a page"))
    failed, end = log.lines()
    assert (failed["status"], failed["error"]["type"]) == ("timeout", "ErrorGettingResponseTimeout")
    assert (end["status"], end["metadata"]["task_completed"]) == ("success", False)


def test_a_guardrail_is_an_action_and_its_tripwire_ends_the_session(log, service):
    """It did what it is for; the agent did not get to do anything."""

    @input_guardrail(run_in_parallel=False)
    async def polite(context, agent, given):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    agent = Agent(name="guarded", model=service.chat, input_guardrails=[polite])
    with pytest.raises(InputGuardrailTripwireTriggered):
        asyncio.run(Runner.run(agent, "!"))
    checked, end = log.lines()
    assert (checked["action"], checked["status"], checked["output"]) == ("polite", "success", {"triggered": True})
    assert end["error"]["type"] == "GuardrailTripwireTriggered"
    assert end["metadata"]["task_completed"] is False


def test_a_run_that_goes_round_until_it_may_not_is_not_completed(log, service):
    """max_turns: the SDK's own guard."""
    service.script = [chat_call("search", query="pods")] * 2
    with pytest.raises(MaxTurnsExceeded):
        asyncio.run(Runner.run(team(service), "a page", max_turns=2))
    assert log.lines()[-1]["error"]["type"] == "MaxTurnsExceeded"


def test_runs_within_a_session_of_the_agents_own_are_handed_over_by_it(log, service):
    """And so are runs in one trace of the SDK's, one after the other: it stays one tree."""
    service.script = [{"content": "one"}, {"content": "two"}]
    with log.session(task="ticket-1", task_type="press"), trace("briefing"):
        asyncio.run(Runner.run(team(service), "a"))
        asyncio.run(Runner.run(team(service), "b"))
    lines = log.lines()
    assert {line["parent_trace_id"] for line in lines} == {"ticket-1"}
    assert {line["metadata"].get("parent_agent_id") for line in lines} == {"service", None}
    assert {line["metadata"]["task_type"] for line in lines} == {"briefing", "press"}
    log.tree()


def test_two_runs_in_one_trace_are_one_tree(log, service):
    """The second hangs below the first."""
    service.script = [{"content": "one"}, {"content": "two"}]
    with trace("briefing"):
        asyncio.run(Runner.run(team(service), "a"))
        asyncio.run(Runner.run(team(service), "b"))
    log.tree()


def test_spans_outside_of_any_agent_are_the_services_own(log):
    """A session of the processor's log, which ends with the trace."""
    with trace("pipeline"), custom_span("fetch", {"url": "x"}), generation_span(model="m", input=[{"content": "?"}]):
        pass
    assert told(log.lines(), "agent_id", "action", "input") == [
        ("service", "llm_call", {"messages": 1, "last": {"content": "?"}}),
        ("service", "fetch", {"url": "x"}),
        ("service", "session_end", None),
    ]


def test_a_call_that_nobody_could_stop_is_told_as_it_was():
    """The SDK would keep a guard's error to itself and make the call, so the exporter is not asked; its tokens count."""
    with Answering(200, b'{"tokens":{"used":9,"max":1,"left":0},"enforced":true,"stop":true}') as exporter:
        log = Log("service", clock=ticking(), exporter=exporter.url)
        set_trace_processors([Processor(log)])
        with trace("t"), generation_span(model="m", usage={"input_tokens": 120, "output_tokens": 3}):
            pass
        set_trace_processors([])
        assert exporter.asked == []
    assert told(log.lines()[:1], "status", "tokens") == [("success", {"prompt": 120, "completion": 3, "model": "m"})]
