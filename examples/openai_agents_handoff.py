"""OpenAI Agents SDK: a planner hands over to a writer, logged by one tracing processor. Its model is scripted.

python examples/openai_agents_handoff.py | agent-exporter validate -
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, generation_span, set_trace_processors
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from agentlog import AgentLogger
from agentlog.openai_agents import Processor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agents.items import TResponseOutputItem


class Scripted(Model):
    """Says what it is told to, in this order; with a span around it, as the SDK's own models have."""

    def __init__(self, *script: TResponseOutputItem) -> None:
        self.script = list(script)

    async def get_response(self, *_: Any, input: Any = None, **__: Any) -> ModelResponse:  # noqa: A002
        with generation_span(model="scripted-1", input=input) as span:
            answer = self.script.pop(0)
            span.span_data.output = [answer.model_dump()]
            span.span_data.usage = {"input_tokens": 100, "output_tokens": 20}
            return ModelResponse(output=[answer], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError("it does not stream")


def call(name: str, arguments: str = "{}") -> ResponseFunctionToolCall:
    """A wish to have a tool called."""
    return ResponseFunctionToolCall(type="function_call", name=name, arguments=arguments, call_id=name)


def say(text: str) -> ResponseOutputMessage:
    """The end of it."""
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[content])


@function_tool
def web_search(query: str) -> str:
    """Search the web."""
    return f"three pages about {query}"


def team() -> Agent[Any]:
    """Two agents, of which the first hands over to the second."""
    writer = Agent(name="writer", model=Scripted(say("A page about pods.")))
    model = Scripted(call("web_search", '{"query": "pods"}'), call("transfer_to_writer"))
    return Agent(name="planner", model=model, tools=[web_search], handoffs=[writer])


if __name__ == "__main__":
    set_trace_processors([Processor(AgentLogger("planner", team="research"))])  # and none that sends anything anywhere
    asyncio.run(Runner.run(team(), "Write a page about pods."))
