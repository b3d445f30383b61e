"""agentlog: the way in for LangChain and LangGraph, with the real packages and scripted models."""

from __future__ import annotations

import asyncio
import runpy
from typing import TypedDict

import pytest
from agentlines import Log, ticking, told
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from running import ROOT

from agentlog import BudgetExceeded
from agentlog.langchain import Handler


@pytest.fixture(scope="module")
def graph():
    """The example's parts: Scripted, call, tools."""
    return runpy.run_path(str(ROOT / "examples" / "langgraph_agent.py"))


def test_a_langgraph_agent_is_logged_with_its_tokens_and_contents(graph):
    """Of a model's input, how many messages there are and the last; the tools' arguments and results in full."""
    log = Log("researcher")
    graph["AGENT"].invoke(
        {"messages": [HumanMessage("How long is it?")]}, {"callbacks": [Handler(log, task_type="count")]}
    )
    lines = log.lines()
    assert told(lines, "action", "input", "output", "tokens") == [
        (
            "llm_call",
            {"messages": 1, "last": {"role": "human", "content": "How long is it?"}},
            {"role": "ai", "content": "", "tool_calls": [{"name": "web_search", "args": {"query": "pods"}}]},
            {"prompt": 100, "completion": 20, "model": "scripted-1"},
        ),
        ("web_search", {"query": "pods"}, "three pages about pods", None),
        (
            "llm_call",
            {"messages": 3, "last": {"role": "tool", "content": "three pages about pods"}},
            {
                "role": "ai",
                "content": "",
                "tool_calls": [{"name": "word_count", "args": {"text": "three pages about pods"}}],
            },
            {"prompt": 300, "completion": 20, "model": "scripted-1"},
        ),
        ("word_count", {"text": "three pages about pods"}, "4", None),
        (
            "llm_call",
            {"messages": 5, "last": {"role": "tool", "content": "4"}},
            {"role": "ai", "content": "Four words."},
            {"prompt": 500, "completion": 20, "model": "scripted-1"},
        ),
        ("session_end", None, None, None),
    ]
    assert lines[-1]["metadata"] == {"task_type": "count", "session_end": True, "task_completed": True}


def test_agents_within_agents_are_agents_of_their_own(graph):
    """One called as a tool, one as a node of a graph, async; an error is told where it happened and by who called."""
    scripted, call = graph["Scripted"], graph["call"]

    @tool
    def fetch(url: str) -> str:
        """Fetch a page."""
        raise TimeoutError(url)

    fetcher = create_agent(scripted(script=[call("fetch", url="x"), AIMessage("no")]), [fetch], name="fetcher")

    @tool
    async def ask_fetcher(question: str) -> str:
        """Ask the fetcher."""
        return (await fetcher.ainvoke({"messages": [HumanMessage(question)]}))["messages"][-1].content

    boss = create_agent(
        scripted(script=[call("ask_fetcher", question="?"), AIMessage("done")]), [ask_fetcher], name="boss"
    )
    builder = StateGraph(MessagesState)
    builder.add_node("plan", lambda _: {"messages": [HumanMessage("a plan")]})
    builder.add_node("work", boss)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "work")
    builder.add_edge("work", END)
    log = Log("team", clock=ticking())
    options = {"callbacks": [Handler(log, agents=["plan"])]}
    asked = {"messages": [HumanMessage("go")]}
    with pytest.raises(TimeoutError):
        asyncio.run(builder.compile().ainvoke(asked, options))
    assert log.tree() == """\
invoke_agent team [team INTERNAL]  ERROR failed
  invoke_agent plan [team CLIENT]
    invoke_agent plan [plan SERVER]
      execute_tool session_end [plan INTERNAL]
  invoke_agent boss [team CLIENT]  ERROR failed
    invoke_agent boss [boss SERVER]  ERROR failed
      chat scripted-1 [boss CLIENT]
      execute_tool ask_fetcher [boss INTERNAL]  ERROR TimeoutError
      invoke_agent fetcher [boss CLIENT]  ERROR failed
        invoke_agent fetcher [fetcher SERVER]  ERROR failed
          chat scripted-1 [fetcher CLIENT]
          execute_tool fetch [fetcher INTERNAL]  ERROR TimeoutError
          execute_tool session_end [fetcher INTERNAL]
      execute_tool session_end [boss INTERNAL]
  execute_tool session_end [team INTERNAL]  ERROR TimeoutError
"""  # fmt: skip


def test_a_graph_that_asks_a_person_has_not_failed(graph):
    """LangGraph raises to interrupt it."""
    log = Log("asker")
    builder = StateGraph(MessagesState)
    builder.add_node("ask", lambda _: {"messages": [interrupt("may I?")]})
    builder.add_edge(START, "ask")
    compiled = builder.compile(checkpointer=InMemorySaver())
    compiled.invoke({"messages": []}, {"callbacks": [Handler(log, agents=["ask"])], "configurable": {"thread_id": "1"}})
    assert told(log.lines(), "agent_id", "action", "status") == [
        ("ask", "session_end", "success"),
        ("asker", "session_end", "success"),
    ]


def test_a_ceiling_that_is_no_number_is_said_when_the_handler_is_made():
    """A callback would keep the error to itself, and the agent would go on without a ceiling."""
    with pytest.raises(TypeError, match="token_ceiling must be a number, not '100'"):
        Handler(Log(), token_ceiling="100")


def test_a_ceiling_ends_a_langgraph_agent_before_the_call_that_passes_it(graph):
    """BudgetExceeded comes out of the graph."""
    log = Log("researcher")
    handler = Handler(log, token_ceiling=100)
    with pytest.raises(BudgetExceeded):
        graph["AGENT"].invoke({"messages": [HumanMessage("How long is it?")]}, {"callbacks": [handler]})
    assert told(log.lines(), "action", "status") == [
        ("llm_call", "success"),
        ("web_search", "error"),
        ("session_end", "success"),
    ]
    assert handler._runs == {}


def test_a_session_around_a_graph_is_the_graphs(graph):
    """The agent's own code has begun it, and ends it."""
    log = Log("researcher")
    with log.session(session_id="mine") as s:
        graph["AGENT"].invoke({"messages": [HumanMessage("How long is it?")]}, {"callbacks": [Handler(log)]})
        assert s.spent == 960
    assert {line["session_id"] for line in log.lines()} == {"mine"}
    assert len(log.lines()) == 6


def test_models_tools_and_retrievers_are_logged_outside_of_any_chain():
    """Each is a session by itself."""

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query, **_):
            return [Document("a page")]

    log = Log("reader")
    options = {"callbacks": [Handler(log)]}
    FakeListLLM(responses=["yes"]).invoke("Is it?", options)
    Shelf().invoke("pages", options)
    assert told(log.lines(), "action", "input", "output") == [
        ("llm_call", {"prompt": "Is it?"}, {"text": "yes"}),
        ("session_end", None, None),
        ("Shelf", {"query": "pages"}, {"documents": ["a page"]}),
        ("session_end", None, None),
    ]


# --- waiting for a person ------------------------------------------------------------------------------------------


def asking(times: int):
    """A graph that asks a person so many times, one after the other."""

    class State(TypedDict):
        said: list[str]

    def ask(state):
        return {"said": [interrupt(f"may I? {number}") for number in range(times)]}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_pauses_the_session_and_the_resume_goes_on_with_it(times):
    """One session, completed once; also with a handler for each run, as most make it."""

    log = Log()
    graph = asking(times)
    graph.invoke({"said": []}, {"callbacks": [Handler(log)], "configurable": {"thread_id": "t1"}})
    for _ in range(times):
        graph.invoke(Command(resume="yes"), {"callbacks": [Handler(log)], "configurable": {"thread_id": "t1"}})
    lines = log.lines()
    assert len({text["session_id"] for text in lines}) == 1
    assert [
        (text["action"], text["metadata"].get("session_paused"), text["metadata"].get("task_completed"))
        for text in lines
    ] == [("session_pause", True, None)] * times + [("session_end", None, True)]


def test_threads_that_are_never_resumed_stay_paused_and_others_are_not_touched():
    """Each thread is a session of its own, and a run after a completed one begins a new one."""

    log = Log()
    graph = asking(1)
    for thread in ("t1", "t2"):
        graph.invoke({"said": []}, {"callbacks": [Handler(log)], "configurable": {"thread_id": thread}})
    for command in (Command(resume="yes"), {"said": []}):
        graph.invoke(command, {"callbacks": [Handler(log)], "configurable": {"thread_id": "t2"}})
    first, second, ended, third = log.lines()
    assert [text["action"] for text in (first, second, ended, third)] == [
        "session_pause", "session_pause", "session_end", "session_pause",
    ]  # fmt: skip
    assert second["session_id"] == ended["session_id"]
    assert len({first["session_id"], second["session_id"], third["session_id"]}) == 3


def test_an_interrupt_within_a_session_of_somebody_else_is_not_remembered():
    """`with log.session()` around the run writes its own end."""
    log = Log()
    handler = Handler(log)
    with log.session():
        asking(1).invoke({"said": []}, {"callbacks": [handler], "configurable": {"thread_id": "t1"}})
    assert [text["action"] for text in log.lines()] == ["session_end"]
    assert handler._interrupted == set()
    assert handler._runs == {}
