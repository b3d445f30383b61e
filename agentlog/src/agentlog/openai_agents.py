"""OpenAI Agents SDK: a tracing processor that writes its runs as the log of the agents in them.

    from agents import add_trace_processor
    from agentlog.openai_agents import Processor

    add_trace_processor(Processor(log))             # or set_trace_processors([...]): then OpenAI gets no traces

    a trace                         the task: its id is the task's trace, unless a `with log.session()` is around it
    an agent's span                 a session of an agent of that name, called by the agent before or around it
    a generation or response        llm_call, with its tokens
    a function                      an action of the tool's name
    handoff, guardrail and others   actions named `handoff`, as the guardrail, or as their kind

The SDK swallows errors in a processor, so guards cannot work here: give `max_turns` to the Runner.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.tracing import TracingProcessor

from agentlog.errors import ErrorInfo
from agentlog.quiet import quiet
from agentlog.session import current_session

if TYPE_CHECKING:
    from agents.tracing import Span, Trace

    from agentlog.action import Action
    from agentlog.logger import AgentLogger
    from agentlog.session import Session

DEFAULT_WORKFLOW = "Agent workflow"
"""The SDK's name for an unnamed workflow, which has no task type."""


@dataclass(eq=False)
class _Task:
    """A trace, and the sessions in it."""

    name: str
    task_type: str | None
    around: Session | None
    """The session that the agent's own code began."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """The last session of each agent."""
    handed: dict[str, Session] = field(default_factory=dict)
    """The caller of each agent that has not begun yet."""


@dataclass(eq=False)
class _Part:
    """What a span is in the log. Spans that are nothing share the part of the span around them."""

    task: _Task
    session: Session | None
    owner: str = ""
    """The id of the agent's span, which ends the session."""
    trouble: Any = None
    """Its error, in the SDK's words."""
    failure_logged: bool = False
    """Whether one of its actions has logged it."""


class Processor(TracingProcessor):
    """One processor for all runs. Agents are logged under the SDK's names, to the place of `log` and with its team.

    `task_type` is the name of the workflow unless given.
    """

    def __init__(self, log: AgentLogger, *, task_type: str | None = None) -> None:
        self._log = log
        self._task_type = task_type
        self._tasks: dict[str, _Task] = {}
        self._parts: dict[str, _Part] = {}
        self._actions: dict[str, Action] = {}

    @quiet
    def on_trace_start(self, trace: Trace) -> None:
        named = None if trace.name == DEFAULT_WORKFLOW else trace.name
        self._tasks[trace.trace_id] = _Task(
            trace.trace_id.removeprefix("trace_"), self._task_type or named, current_session()
        )

    @quiet
    def on_trace_end(self, trace: Trace) -> None:
        task = self._tasks.pop(trace.trace_id, None)
        for session in task.sessions.values() if task else ():
            session.end()  # the sessions of an aborted run; those that ended write nothing

    @quiet
    def on_span_start(self, span: Span[Any]) -> None:
        around = self._parts.get(span.parent_id or "")
        task = self._tasks.get(span.trace_id)
        if task is None:
            return
        part = around or _Part(task, None)
        kind = span.span_data.type
        if kind == "agent":
            session = self._begin(span.span_data.name, part)
            part = _Part(task, session, owner=span.span_id)
        elif kind not in _WIRING:
            if part.session is None:  # outside of all agents: the task's own session
                part.session = self._begin(self._log.agent_id, part)
            action = part.session.action(_name(span.span_data))
            self._actions[span.span_id] = action.begin(guarded=False)
        self._parts[span.span_id] = part

    @quiet
    def on_span_end(self, span: Span[Any]) -> None:
        part = self._parts.pop(span.span_id, None)
        if part is None:
            return
        data, error = span.span_data, _error(span.error)
        action = self._actions.pop(span.span_id, None)
        if action is not None:
            _TELL.get(data.type, _tell_other)(action, data)
            part.failure_logged = part.failure_logged or error is not None
            action.end(error)
        if data.type == "handoff" and part.session is not None and data.to_agent:
            part.task.handed[data.to_agent] = part.session
        if data.type == "turn" and error is not None:
            part.trouble = error
        if part.owner == span.span_id and part.session is not None:
            error = error or part.trouble
            part.session.completed(error is None)
            part.session.end(None if part.failure_logged else error)

    def shutdown(self) -> None:
        self._log.flush()

    def force_flush(self) -> None:
        self._log.flush()

    def _begin(self, agent: str, part: _Part) -> Session:
        """A session below its caller, or the session around it, or the one that began the task."""
        task = part.task
        first = next(iter(task.sessions.values()), None)  # of a second run in the same trace: the first one's root
        caller = task.handed.pop(agent, None) or part.session or task.around or first
        log = self._log.named(agent)
        if caller is not None:
            session = log.session(headers=caller.handoff(), task_type=task.task_type)
        else:
            session = log.session(headers={}, task=task.name, task_type=task.task_type)
        task.sessions[agent] = session
        return session.begin()


_WIRING = {"task", "turn"}


def _name(data: Any) -> str:
    if data.type in {"generation", "response"}:
        return "llm_call"
    return str(getattr(data, "name", None) or data.type)


def _tell_model(action: Action, data: Any) -> None:
    response = getattr(data, "response", None)
    action.given(_last(data.input))
    action.output = _answer(response.output if response is not None else getattr(data, "output", None))
    usage = data.usage or {}
    details = usage.get("input_tokens_details") or {}
    action.tokens(
        prompt=usage.get("input_tokens"),
        completion=usage.get("output_tokens"),
        cache_read=details.get("cached_tokens", usage.get("cached_input_tokens")),
        cache_write=details.get("cache_write_tokens", usage.get("cache_write_input_tokens")),
        model=getattr(response, "model", None) or getattr(data, "model", None),
    )


def _tell_function(action: Action, data: Any) -> None:
    action.given(_parsed(data.input))
    action.output = data.output


def _tell_handoff(action: Action, data: Any) -> None:
    action.given({"from": data.from_agent, "to": data.to_agent})


def _tell_guardrail(action: Action, data: Any) -> None:
    action.output = {"triggered": data.triggered}


def _tell_other(action: Action, data: Any) -> None:
    action.given(_plain(getattr(data, "input", None) or getattr(data, "data", None)))
    action.output = _plain(getattr(data, "output", None) or getattr(data, "result", None))
    action.tokens(model=getattr(data, "model", None))


_TELL = {
    "generation": _tell_model,
    "response": _tell_model,
    "function": _tell_function,
    "handoff": _tell_handoff,
    "guardrail": _tell_guardrail,
}


def _last(messages: Any) -> Any:
    """The number of messages and the last one; earlier lines have the others."""
    if messages is None or isinstance(messages, str):
        return messages
    messages = [_plain(message) for message in messages]
    return {"messages": len(messages), "last": messages[-1] if messages else None}


def _answer(items: Any) -> Any:
    return None if items is None else {"items": [_plain(item) for item in items]}


def _plain(value: Any) -> Any:
    """A value as JSON, without ids, which differ in every run, and without unset fields."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _IDS and item is not None}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


_IDS = {"id", "call_id", "tool_call_id"}


def _parsed(text: Any) -> Any:
    """The arguments of a tool, from JSON."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _error(error: Any) -> ErrorInfo | None:
    """The SDK gives no class, but one of a few fixed texts, which is the type."""
    if not error:
        return None
    words = re.findall(r"[A-Za-z]+", str(error.get("message")))[:4]
    detail = str((error.get("data") or {}).get("error", error.get("message")))
    timeout = "Timeout" if "timed out" in detail.lower() else ""
    return ErrorInfo("".join(word[:1].upper() + word[1:] for word in words) + timeout, detail)
