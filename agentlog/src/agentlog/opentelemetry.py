"""OpenTelemetry: a span processor that writes spans of the GenAI conventions as an agent's log.

    from agentlog.opentelemetry import Processor

    tracer_provider.add_span_processor(Processor(log))

    invoke_agent                        a session of the agent that `gen_ai.agent.name` names
    chat, generate_content, ...         llm_call, with `gen_ai.usage.*`
    execute_tool                        an action named by `gen_ai.tool.name`
    any other gen_ai operation          an action of its name
    invoke_workflow, create_agent       nothing: they contain no action of their own
    spans that are not a gen_ai operation  nothing

A call counts once, even if several instrumentations report it: if spans of a model enclose one another, as a
framework's and the client library's do, the innermost one with usage is the call, and those around it write nothing but
a failure. Usage on the agent's span counts if no span below it has any.

The trace stays the same, and an action has the span's id. Spans outside of all agents' spans are in a session of
`log`'s own agent. It knows the names of the conventions of 2026, of older ones, and of OpenInference. Inputs and
outputs are logged if the instrumentation captures them; most do so only if configured to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from agentlog.errors import ErrorInfo
from agentlog.handoff import Origin
from agentlog.quiet import quiet
from agentlog.session import Session

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from agentlog.action import Action
    from agentlog.logger import AgentLogger

AGENT = "invoke_agent"
MAX_OPEN = 10_000
"""Open spans kept. Beyond it the oldest is forgotten and writes nothing. Most spans end in seconds."""
MODEL = {"chat", "generate_content", "text_completion"}
WIRING = {"invoke_workflow", "create_agent"}
OPENINFERENCE = {
    "AGENT": AGENT,
    "LLM": "chat",
    "TOOL": "execute_tool",
    "RETRIEVER": "retrieval",
    "EMBEDDING": "embeddings",
}

# The first of these that a span has counts.
OPERATION = ("gen_ai.operation.name", "llm.request.type")
CONVERSATION = ("gen_ai.conversation.id", "session.id")
NAME = ("gen_ai.agent.name", "agent.name", "graph.node.id")  # not the id: some make a new one for every run
TOOL = ("gen_ai.tool.name", "tool.name")
REQUESTED = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name")
PROMPT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
COMPLETION = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
CACHE_READ = ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read")
CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
INPUT = ("gen_ai.tool.call.arguments", "gen_ai.input.messages", "input.value")
OUTPUT = ("gen_ai.tool.call.result", "gen_ai.output.messages", "output.value")


class _Open:
    """An open span, the span around it if that is in this process, and the session that it is."""

    def __init__(self, span: Span, around: _Open | None) -> None:
        self.span = span
        self.around = around
        self.session: Session | None = None
        self.failure_logged = False
        self.counted = False
        """Whether a span below it has logged its usage."""
        self.told = False
        """Whether it has logged its own usage."""
        self.failed = False
        """Whether a call of a model below it has logged the failure."""

    @property
    def is_agent(self) -> bool:
        """Read late, as some instrumentations set the attributes after the start."""
        return _operation(self.span) == AGENT


class Processor(SpanProcessor):
    """One processor for a tracer provider. `task_type` is the task type of all sessions."""

    def __init__(self, log: AgentLogger, *, task_type: str | None = None) -> None:
        self._log = log
        self._task_type = task_type
        self._open: dict[int, _Open] = {}

    @quiet
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        around = None if span.parent is None else self._open.get(span.parent.span_id)
        context = span.get_span_context()
        if context is not None:
            if len(self._open) >= MAX_OPEN:
                self._open.pop(next(iter(self._open)), None)
            self._open[context.span_id] = _Open(span, around)

    @quiet
    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        part = None if context is None else self._open.pop(context.span_id, None)
        if part is None:
            return
        operation, error = _operation(span), _error(span)
        if operation == AGENT:
            self._session(part)
            if _has_usage(span) and not part.counted:
                self._log_usage(part, span)
        elif operation and operation not in WIRING and not _told_elsewhere(part, operation, failed=error is not None):
            self._log_action(part, span, operation, error)
            if operation in MODEL and error is not None and part.around is not None:
                part.around.failed = True
        if part.session is not None:
            part.session.completed(error is None)
            part.session.end(None if part.failure_logged else error, at=_seconds(span.end_time))

    def shutdown(self) -> None:
        self._log.flush()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        self._log.flush()
        return True

    def _log_usage(self, part: _Open, span: ReadableSpan) -> None:
        """Log a sum that only the agent's own span has, as one call of the model."""
        action = self._session(part).action("llm_call")
        action.begin(guarded=False)
        _tell_usage(action, part, span)
        action.end(at=_seconds(span.end_time), duration=0.0)

    def _log_action(self, part: _Open, span: ReadableSpan, operation: str, error: ErrorInfo | None) -> None:
        owner = _owner(part)
        owner.failure_logged = owner.failure_logged or error is not None
        tool = _first(span, TOOL)
        name = "llm_call" if operation in MODEL else tool if operation == "execute_tool" and tool else operation
        context = span.get_span_context()
        session = self._session(owner)
        action = session.action(name, span_id=None if context is None else f"{context.span_id:016x}")
        action.begin(guarded=False)
        action.given(_content(span, INPUT))
        action.output = _content(span, OUTPUT)
        _tell_usage(action, part, span)
        began, ended = _seconds(span.start_time), _seconds(span.end_time)
        action.end(error, at=ended, duration=None if began is None or ended is None else ended - began)

    def _session(self, owner: _Open) -> Session:
        """The session of an agent's span, or of the outermost span of this process."""
        if owner.session is not None:
            return owner.session
        span, log = owner.span, self._log
        if owner.is_agent:
            log = log.named(str(_first(span, NAME) or span.name.removeprefix(AGENT).strip()))
        context = span.get_span_context()
        trace_id = f"{0 if context is None else context.trace_id:032x}"
        around = None if owner.around is None else self._session(_owner(owner.around))
        if around is not None:
            origin = Origin(trace_id, trace_id, around.span_id, around.log.agent_id)
        elif span.parent is not None:
            origin = Origin(trace_id, trace_id, f"{span.parent.span_id:016x}")
        else:
            origin = Origin(trace_id, trace_id)
        conversation = _first(span, CONVERSATION) or f"{0 if context is None else context.span_id:016x}"
        owner.session = Session(log, origin, session_id=conversation, task_type=self._task_type).begin()
        return owner.session


def _owner(part: _Open) -> _Open:
    """The nearest agent's span from here outwards, or the outermost one."""
    while not part.is_agent and part.around is not None:
        part = part.around
    return part


def _told_elsewhere(part: _Open, operation: str, *, failed: bool) -> bool:
    """Whether another span logs this call of a model: one below it, or, if it has no usage, one around it."""
    if operation not in MODEL:
        return False
    if failed:
        return part.failed
    if part.counted:
        return True
    has_usage = _has_usage(part.span)
    around = part.around
    while around is not None and not around.is_agent and _operation(around.span) != "execute_tool":
        if _operation(around.span) in MODEL and (around.told or not has_usage):
            return True  # it shows the same call, and may have ended before
        around = around.around
    return False


def _tell_usage(action: Action, part: _Open, span: ReadableSpan) -> None:
    """The usage of a call, unless spans below it have logged it. Spans around it then do not log it again."""
    if part.counted or not _has_usage(span):
        action.tokens(model=_first(span, REQUESTED))
        return
    action.tokens(
        prompt=_first(span, PROMPT),
        completion=_first(span, COMPLETION),
        cache_read=_first(span, CACHE_READ),
        cache_write=_first(span, CACHE_WRITE),
        model=_first(span, REQUESTED),
    )
    part.told = True
    around, is_same_call = part.around, True
    while around is not None:
        operation = _operation(around.span)
        is_same_call = is_same_call and operation != "execute_tool"  # a tool that asks a model makes another call
        if is_same_call or operation not in MODEL:
            around.counted = True
        around = around.around


def _has_usage(span: ReadableSpan | Span) -> bool:
    return _first(span, PROMPT) is not None or _first(span, COMPLETION) is not None


def _operation(span: ReadableSpan | Span) -> str | None:
    attributes = span.attributes or {}
    return _first(span, OPERATION) or OPENINFERENCE.get(str(attributes.get("openinference.span.kind")))


def _first(span: ReadableSpan | Span, names: tuple[str, ...]) -> Any:
    attributes = span.attributes or {}
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _content(span: ReadableSpan, names: tuple[str, ...]) -> Any:
    """Messages and arguments, from JSON; of a list of messages, their number and the last one."""
    text = _first(span, names)
    try:
        content = json.loads(text)
    except (TypeError, ValueError):
        return text
    if isinstance(content, list) and names is INPUT:
        return {"messages": len(content), "last": content[-1] if content else None}
    return content


def _error(span: ReadableSpan) -> ErrorInfo | None:
    attributes = span.attributes or {}
    kind = attributes.get("error.type")
    if kind is None and span.status.status_code is not StatusCode.ERROR:
        return None
    raised: Any = next((event.attributes for event in span.events if event.name == "exception"), None) or {}
    return ErrorInfo(
        str(kind or raised.get("exception.type") or "_OTHER").rpartition(".")[2],
        span.status.description or raised.get("exception.message"),
    )


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
