"""LangChain and LangGraph: a callback handler that writes their runs as an agent's log.

    from agentlog.langchain import Handler

    graph.invoke({"messages": [...]}, {"callbacks": [Handler(log)]})

    an outermost run                    a session of `log`'s agent, or that of the `with log.session()` around it
    an agent within it                  a session of an agent of its own name, called by the agent around it
    a chat model or LLM                 llm_call, with its tokens
    a tool, a retriever                 an action of its name
    chains, graph nodes, parsers        nothing: they are structure, not actions
    a graph that `interrupt()` stops    its session pauses; the next run of its thread continues it

An agent within a run is one that `langchain.agents.create_agent(name=...)` made, or a graph or node whose name is in
`agents`. A model's input is written as the number of messages and the last one: earlier lines have the others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler

from agentlog import settings
from agentlog.errors import BudgetExceeded, ErrorInfo
from agentlog.quiet import quiet
from agentlog.session import current_session

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from agentlog.action import Action
    from agentlog.handoff import Headers
    from agentlog.logger import AgentLogger
    from agentlog.session import Session


MAX_PAUSED = 1_024
"""Sessions of this process that wait for a person. Beyond it, the oldest begins anew when its thread is resumed."""

_paused: OrderedDict[tuple[str, str], Session] = OrderedDict()
"""Waiting sessions by agent and thread. Shared by all handlers, as many programs make one for each run."""
_lock = threading.Lock()


class _Run(NamedTuple):
    """A run of LangChain, and what it is in the log."""

    session: Session
    agent: str | None
    """LangChain's name for the agent of the session."""
    owner: bool = False
    """Whether it began the session, and so ends it."""
    action: Action | None = None
    thread: str | None = None
    """LangGraph's thread, which a later run may resume; only for the outermost run."""


class Handler(BaseCallbackHandler):
    """One handler serves any number of runs, in parallel and in any thread.

    `task_type`, `headers` and `token_ceiling` are those of `AgentLogger.session`, for the sessions that it begins: a
    call of a model that would begin beyond the ceiling raises BudgetExceeded into the agent.
    """

    raise_error = True
    """LangChain re-raises the errors of the guards; `quiet` keeps all others."""
    run_inline = True
    """Run in the order of events, in async code too: nothing here blocks."""

    def __init__(
        self,
        log: AgentLogger,
        *,
        agents: Collection[str] = (),
        task_type: str | None = None,
        headers: Headers | None = None,
        token_ceiling: float | None = None,
    ) -> None:
        self._log = log
        self._agents = frozenset(agents)
        self._task_type = task_type
        self._headers = headers
        self._token_ceiling = settings.given(token_ceiling, "token_ceiling")  # now: LangChain swallows errors
        self._runs: dict[UUID, _Run] = {}
        self._interrupted: set[Session] = set()
        """Sessions that this handler began and did not end, in which a node waits for a person."""

    # --- chains: whose session it is ------------------------------------------------------------------------------

    @quiet
    def on_chain_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002
        inputs: dict[str, Any],  # noqa: ARG002
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name")
        agent = (metadata or {}).get("lc_agent_name")
        around = self._runs.get(parent_run_id) if parent_run_id else None
        if around is None:
            thread = (metadata or {}).get("thread_id")
            self._runs[run_id] = self._first(agent, run_id, None if thread is None else str(thread))
        elif name in self._agents or (agent and (agent != around.agent or agent == name)):
            session = around.session
            named = self._log.named(str(name if name in self._agents else agent))
            inner = named.session(
                headers=session.handoff(), session_id=str(run_id), task_type=session.task_type,
                token_ceiling=session.token_ceiling,
            )  # fmt: skip
            self._runs[run_id] = _Run(inner.begin(), agent, owner=True)
        else:
            self._runs[run_id] = around._replace(owner=False, action=None, thread=None)

    @quiet
    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **_: Any) -> None:
        if isinstance(outputs, dict) and outputs.get("__interrupt__"):
            self._interrupt(run_id)
        self._end(run_id)

    @quiet
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._end(run_id, error)

    # --- models, tools, retrievers: what is done ------------------------------------------------------------------

    @quiet
    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._begin("llm_call", _asked(messages), run_id, **kwargs)
        self._name_model(run_id, serialized, **kwargs)

    @quiet
    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        self._begin("llm_call", {"prompt": prompts[0] if len(prompts) == 1 else prompts}, run_id, **kwargs)
        self._name_model(run_id, serialized, **kwargs)

    @quiet
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        action = self._action(run_id)
        if action is not None:
            action.output = _answered(response)
            _count(action, response)
        self._end(run_id)

    @quiet
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._end(run_id, error)

    @quiet
    def on_retry(self, retry_state: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        action = self._action(run_id)
        if action is not None:
            action.retry()

    @quiet
    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name") or (serialized or {}).get("name") or "tool"
        self._begin(name, input_str if inputs is None else inputs, run_id, **kwargs)

    @quiet
    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        action = self._action(run_id)
        if action is not None:
            action.output = getattr(output, "content", output)
        failed = getattr(output, "status", None) == "error"
        self._end(run_id, ErrorInfo("ToolError", getattr(output, "content", None)) if failed else None)

    @quiet
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._end(run_id, error)

    @quiet
    def on_retriever_start(self, serialized: dict[str, Any], query: str, *, run_id: UUID, **kwargs: Any) -> None:
        name = kwargs.get("name") or (serialized or {}).get("name") or "retrieve"
        self._begin(name, {"query": query}, run_id, **kwargs)

    @quiet
    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **_: Any) -> None:
        action = self._action(run_id)
        if action is not None:
            action.output = {"documents": [getattr(document, "page_content", document) for document in documents]}
        self._end(run_id)

    @quiet
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._end(run_id, error)

    # --- begin and end --------------------------------------------------------------------------------------------

    def _first(self, agent: str | None, run_id: UUID, thread: str | None = None) -> _Run:
        """The outermost run, as far as this handler knows."""
        session = current_session()
        if session is not None and session.log.agent_id == self._log.agent_id:
            return _Run(session, agent)
        if thread is not None:
            with _lock:
                paused = _paused.pop((self._log.agent_id, thread), None)
            if paused is not None:
                return _Run(paused.begin(), agent, owner=True, thread=thread)
        session = self._log.session(
            session_id=str(run_id), task_type=self._task_type, headers=self._headers, token_ceiling=self._token_ceiling
        )
        return _Run(session.begin(), agent, owner=True, thread=thread)

    def _begin(self, name: str, given: object, run_id: UUID, /, parent_run_id: UUID | None = None, **_: Any) -> None:
        run = self._runs.get(parent_run_id) if parent_run_id else None
        run = self._first(None, run_id) if run is None else run._replace(owner=False, thread=None)
        action = run.session.action(name, input=given)
        self._runs[run_id] = run._replace(action=action)
        try:
            action.begin()
        except BudgetExceeded as error:
            self._end(run_id, error)
            raise

    def _action(self, run_id: UUID) -> Action | None:
        run = self._runs.get(run_id)
        return None if run is None else run.action

    def _end(self, run_id: UUID, error: BaseException | None = None) -> None:
        if error is not None and _is_a(error, "GraphBubbleUp"):  # LangGraph continues in this way
            if _is_a(error, "GraphInterrupt"):
                self._interrupt(run_id)
            error = None
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        if run.action is not None:
            run.action.end(error)
        if not run.owner:
            return
        interrupted = run.session in self._interrupted and error is None
        self._interrupted.discard(run.session)
        if not interrupted:
            run.session.completed(error is None)
            run.session.end(error)
        elif run.thread is None:  # an agent within the run: resumed, it is a run of its own
            run.session.end()
        else:
            run.session.pause()
            with _lock:
                _paused[run.session.log.agent_id, run.thread] = run.session
                while len(_paused) > MAX_PAUSED:
                    _paused.popitem(last=False)

    def _interrupt(self, run_id: UUID) -> None:
        """The run waits for a person. If the agent's own code began the session, that code ends it."""
        session = self._runs[run_id].session if run_id in self._runs else None
        if any(run.owner and run.session is session for run in self._runs.values()):
            assert session is not None
            self._interrupted.add(session)

    def _name_model(self, run_id: UUID, serialized: dict[str, Any], **kwargs: Any) -> None:
        """The requested model; the answer may name it more exactly."""
        action = self._action(run_id)
        for fields in (kwargs.get("metadata"), kwargs.get("invocation_params"), (serialized or {}).get("kwargs")):
            for key in ("ls_model_name", "model", "model_name"):
                if action is not None and fields and isinstance(fields.get(key), str):
                    action.tokens(model=fields[key])
                    return


def _is_a(error: BaseException, name: str) -> bool:
    """Whether a class of the error has this name. LangGraph raises to interrupt a graph, or to pass control to another.

    By name, as LangChain does not install LangGraph.
    """
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _said(message: BaseMessage) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.type, "content": message.content}
    calls = getattr(message, "tool_calls", None)
    if calls:  # their ids differ in every run, so equal calls would not look equal
        said["tool_calls"] = [{"name": call["name"], "args": call["args"]} for call in calls]
    return said


def _asked(conversations: list[list[BaseMessage]]) -> dict[str, Any]:
    messages = conversations[0] if conversations else []
    return {"messages": len(messages), "last": _said(messages[-1]) if messages else None}


def _answered(response: LLMResult) -> Any:
    [first, *_] = response.generations[0]
    message = getattr(first, "message", None)
    return {"text": first.text} if message is None else _said(message)


def _count(action: Action, response: LLMResult) -> None:
    """Chat models give usage in each answer, older ones once in `llm_output`."""
    counted = False
    output = response.llm_output or {}
    model = output.get("model_name") or output.get("model")
    for [first, *_] in response.generations:
        message = getattr(first, "message", None)
        model = (getattr(message, "response_metadata", None) or {}).get("model_name") or model
        usage = getattr(message, "usage_metadata", None)
        if usage:
            counted = True
            details = usage.get("input_token_details") or {}
            action.tokens(
                prompt=usage.get("input_tokens"),
                completion=usage.get("output_tokens"),
                cache_read=details.get("cache_read"),
                cache_write=details.get("cache_creation"),
            )
    usage = output.get("token_usage") or {}
    if usage and not counted:
        action.tokens(prompt=usage.get("prompt_tokens"), completion=usage.get("completion_tokens"))
    action.tokens(model=model)
