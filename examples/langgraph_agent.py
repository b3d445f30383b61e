"""A LangGraph agent with two tools, logged by one callback. Its model is scripted: no key, no network.

python examples/langgraph_agent.py | agent-exporter validate -
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from agentlog import AgentLogger
from agentlog.langchain import Handler


class Scripted(BaseChatModel):
    """Says what it is told to, in this order."""

    script: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Scripted:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        answer = self.script[sum(message.type == "ai" for message in messages)].model_copy()
        answer.usage_metadata = {"input_tokens": 100 * len(messages), "output_tokens": 20, "total_tokens": 0}
        answer.response_metadata = {"model_name": "scripted-1"}
        return ChatResult(generations=[ChatGeneration(message=answer)])


def call(name: str, **arguments: Any) -> AIMessage:
    """A wish to have a tool called."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name}])


@tool
def web_search(query: str) -> str:
    """Search the web."""
    return f"three pages about {query}"


@tool
def word_count(text: str) -> int:
    """Count words."""
    return len(text.split())


MODEL = Scripted(
    script=[
        call("web_search", query="pods"),
        call("word_count", text="three pages about pods"),
        AIMessage("Four words."),
    ]
)
AGENT = create_agent(MODEL, [web_search, word_count], name="researcher")

if __name__ == "__main__":
    log = AgentLogger("researcher", team="research")
    AGENT.invoke({"messages": [HumanMessage("How long is it?")]}, {"callbacks": [Handler(log, task_type="research")]})
