"""Which span is below which: one connected tree per trace, with exactly one root.

    invoke_agent planner                   the first session without a parent; its id is a hash of the trace's
      chat gpt-4o                          its actions
      execute_tool delegate
      invoke_agent researcher   CLIENT     a session that planner called: a pair, which Tempo's service
        invoke_agent researcher SERVER     graph reads as planner -> researcher
          execute_tool web_search

An `Invocation` is one session's part of one trace. Ids come from content (a session's from trace, agent and session,
an action's from its record), so a span that is sent again after a restart replaces itself, and an action can be sent
before its session ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_digest

from agent_exporter.action import FAILED, Metadata, Output
from agent_exporter.lineage import caller, root_id, session_span_id, session_trace_id, span_id, trace_name
from agent_exporter.spans import encode
from agent_exporter.stage import Stage
from agent_exporter.state import row_key
from agent_exporter.sweep import next_threshold, sweep_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.action import Action
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.sessions import Session
    from agent_exporter.stage import Reading
    from agent_exporter.state import Row, Store

ROW_KIND = "invocation"
MAX_INVOCATIONS = 65_536
"""Invocations held at once, about 600 bytes each; the oldest traces go first, counted in `evictions`."""
LINGER = 600.0
"""Seconds that a trace is kept after its last line, so that a late child still finds its parent."""
MAX_NAMES = 4096
"""Actions, and models, whose encoded bytes are kept."""
UNSUCCESSFUL = {"failed", "terminated"}
"""Outcomes that make a session's span an error. If a session only ended, its success is unknown."""
NO_PARENT = b""

Emit: TypeAlias = "Callable[[bytes, str, bytes], None]"
"""Takes a span: the id of its trace (16 bytes), its agent, and its fields as `encode.span` makes them."""
K = TypeVar("K")
V = TypeVar("V")


class Invocation(Struct, eq=False, gc=False, array_like=True):
    """One session's part of one trace. Times are seconds since 1970."""

    trace: str
    agent_id: str
    session_id: str
    named: str
    """The trace as the lines name it; empty if they do not."""
    span_id: bytes
    root: bool
    parent_agent_id: str
    parent_span_id: bytes
    """As the line gives it; empty if it does not."""
    task_type: str
    started: float
    last: float
    arrived: float
    actions: int = 0
    failures: int = 0
    prompt: int = 0
    completion: int = 0
    cost_usd: float = 0.0
    open: bool = True
    below_root: bool = False
    """Its span was sent as a child of the root, as no other parent was known."""
    findings: int = 0


class Tree(Stage):
    """Turns actions and ends of sessions into spans, and gives each to `emit(trace_id, agent_id, span)`."""

    def __init__(self, is_llm: Callable[[str], bool], emit: Emit, most: int = MAX_INVOCATIONS) -> None:
        self.evictions = 0
        self._is_llm = is_llm
        self._emit = emit
        self._most = most
        self._look_at = sweep_threshold(most)
        self._count = 0
        self._open: dict[tuple[str, str], dict[str, Invocation]] = {}
        self._traces: dict[str, dict[tuple[str, str], Invocation]] = {}
        self._actions: dict[str, tuple[bytes, bytes]] = {}
        self._models: dict[str | None, tuple[bytes, bytes]] = {}
        self._parts: dict[Invocation, tuple[bytes, bytes, bytes]] = {}
        self._dirty: set[Invocation] = set()
        self._gone: list[str] = []

    def on_action(self, action: Action, session: Session, reading: Reading) -> None:  # noqa: ARG002
        """Emit the span of an action."""
        now = reading.arrived
        named = trace_name(action)
        by_trace = self._open.get((action.agent_id, action.session_id))
        part = None if by_trace is None else by_trace.get(named)
        if part is None:
            part = self._begin(action, named, now)
        at = action.at
        duration = action.duration_ms
        began = at if duration is None else at - duration / 1000  # inline: Action.began
        if at > part.last:
            part.last = at
        if began < part.started:
            part.started = began
        part.arrived = now
        part.actions += 1
        failed = action.status in FAILED
        if failed:
            part.failures += 1
        self._dirty.add(part)

        trace, agent, conversation = self._parts.get(part) or self._describe_part(part)
        tokens = action.tokens
        model = None if tokens is None else tokens.model
        head, called = self._actions.get(action.action) or self._describe_action(action.action)
        if model or not head:
            chat, asked = self._models.get(model) or self._describe_model(model)
            attributes = [agent, called, asked, conversation]
            head = head or chat
        else:
            attributes = [agent, called, conversation]
        if tokens is not None:
            prompt, completion = tokens.prompt, tokens.completion
            if prompt is not None:
                part.prompt += prompt
                attributes.append(_INPUT_TOKENS(prompt))
            if completion is not None:
                part.completion += completion
                attributes.append(_OUTPUT_TOKENS(completion))
            if tokens.cache_read is not None:
                attributes.append(_CACHE_READ(tokens.cache_read))
            if tokens.cache_write is not None:
                attributes.append(_CACHE_WRITE(tokens.cache_write))
            cost = tokens.cost_usd
            if cost is not None:
                part.cost_usd += cost
                attributes.append(_COST(cost))
        output = action.output
        if output.__class__ is Output:
            confidence = output.confidence
            if confidence is not None:
                attributes.append(_CONFIDENCE(confidence))
        metadata = action.metadata
        if metadata is not None:
            if metadata.retry_count is not None:
                attributes.append(_RETRIES(metadata.retry_count))
            if metadata.fallback_used is not None:
                attributes.append(_FALLBACK if metadata.fallback_used else _NO_FALLBACK)
        if failed:
            attributes.append(_failure(action))
        micros = round(at * 1e6)
        started = micros if duration is None else max(0, micros - round(duration * 1e3))
        self._emit(
            trace,
            action.agent_id,
            encode.span(
                trace,
                bytes.fromhex(action.span_id) if action.span_id is not None else span_id(xxh3_64_digest(action.line)),
                part.span_id if action.parent_span_id is None else self._parent_of_action(action.parent_span_id, part),
                head,
                started * 1000,
                micros * 1000,
                *attributes,
            ),
        )

    def on_finding(self, finding: Finding) -> None:
        """Emit a finding: a span of no duration below its session, or below the root if the finding is about the trace.

        An event on the line's own span would be too late: that span is sent when the line is read, and most detectors
        decide later. To send it again would make a second span of the same id, of which Tempo shows one, not always the
        newer. An event on the session's span would come only when the runaway is over.
        """
        assert finding.trace_id is not None
        name = (finding.agent_id, finding.session_id or "")
        part = self._traces.get(finding.trace_id, {}).get(name)
        if part is not None:
            part.findings += 1
            self._dirty.add(part)
        at = round(finding.at * 1e6) * 1000
        evidence = [encode.pair(f"agent.finding.{key}", value) for key, value in finding.evidence.items()]
        if finding.root_agent is not None:
            evidence.append(encode.pair("agent.finding.root_agent", finding.root_agent))
        attributes = [
            encode.text("gen_ai.agent.name", finding.agent_id),
            encode.text("agent.finding.kind", finding.kind),
        ]
        if finding.session_id is not None:
            attributes.append(encode.text("gen_ai.conversation.id", finding.session_id))
        trace = bytes.fromhex(finding.trace_id)
        self._emit(
            trace,
            finding.agent_id,
            encode.span(
                trace,
                span_id(xxh3_64_digest(finding.to_json())),
                root_id(finding.trace_id) if part is None else part.span_id,
                encode.head(f"finding {finding.kind}", encode.INTERNAL),
                at,
                at,
                *attributes,
                encode.event(finding.kind, at, *evidence),
                encode.status(encode.ERROR, finding.kind),
            ),
        )

    def end(self, session: Session) -> None:
        """A session is over: emit its own spans, one for each of its traces."""
        for part in self._open.pop((session.agent_id, session.session_id), {}).values():
            part.open = False
            self._dirty.add(part)
            self._parts.pop(part, None)
            self._emit_session(part, session.outcome)

    def is_open(self, trace: str) -> bool:
        """Whether a trace has open sessions."""
        return any(part.open for part in self._traces.get(trace, {}).values())

    def tick(self, now: float) -> None:
        """Forget traces that have been quiet for long."""
        self._forget_quiet(lambda part: now - max(part.last, part.arrived))

    def close(self) -> None:
        """Emit the sessions that are still open."""
        for by_trace in list(self._open.values()):
            for part in by_trace.values():
                part.open = False
                self._emit_session(part, "open")
        self._open.clear()
        for trace in list(self._traces):
            self._forget(trace)

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Invocations evicted while their session was open."""
        yield "traces", self.evictions

    def changes(self) -> Iterator[Row]:
        """Rows of the invocations that changed."""
        for key in self._gone:
            yield ROW_KIND, key, None
        for part in self._dirty:
            yield ROW_KIND, key_of(part), msgspec.msgpack.encode(part)
        self._gone.clear()
        self._dirty.clear()

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Restore from committed rows."""
        decode = msgspec.msgpack.Decoder(Invocation).decode
        for _, value in store.rows(ROW_KIND):
            part = decode(value)
            name = (part.agent_id, part.session_id)
            self._traces.setdefault(part.trace, {})[name] = part
            self._count += 1
            if part.open:
                self._open.setdefault(name, {})[part.named] = part

    # --- the tree ----------------------------------------------------------------------------------------------

    def _begin(self, action: Action, named: str, now: float) -> Invocation:
        name = (action.agent_id, action.session_id)
        trace = session_trace_id(named, *name)
        parts = self._traces.get(trace)
        if parts is None:
            if self._count >= self._look_at:
                self._make_room()
            parts = self._traces[trace] = {}
        part = parts.get(name)
        if part is None:
            began = action.began
            explicit = bytes.fromhex(action.parent_span_id) if action.parent_span_id else NO_PARENT
            metadata = action.metadata or _NOTHING_TOLD
            orphan = metadata.parent_agent_id is None and not explicit
            root = orphan and not any(other.root for other in parts.values())
            part = Invocation(
                trace=trace,
                agent_id=action.agent_id,
                session_id=action.session_id,
                named=named,
                span_id=root_id(trace) if root else session_span_id(trace, *name),
                root=root,
                parent_agent_id=metadata.parent_agent_id or "",
                parent_span_id=explicit,
                task_type=metadata.task_type or "default",
                started=began,
                last=action.at,
                arrived=now,
            )
            parts[name] = part
            self._count += 1
        part.open = True
        self._open.setdefault(name, {})[named] = part
        return part

    @staticmethod
    def _parent_of_action(named: str, part: Invocation) -> bytes:
        """The parent span that the line names. If that is the session's parent, the action is below the session."""
        parent = bytes.fromhex(named)
        return part.span_id if parent == part.parent_span_id else parent

    def _parent_of_session(self, part: Invocation) -> bytes:
        """The parent span of a session; empty for the root."""
        if part.root:
            return NO_PARENT
        if part.parent_span_id:
            return part.parent_span_id
        parent = caller(part, self._traces[part.trace].values())
        if parent is not None:
            return parent.span_id
        part.below_root = True
        return root_id(part.trace)

    def _emit_session(self, part: Invocation, outcome: str) -> None:
        parent = self._parent_of_session(part)
        trace = bytes.fromhex(part.trace)
        times = (max(0, round(part.started * 1e6)) * 1000, round(part.last * 1e6) * 1000)
        attributes = b"".join(
            (
                _failed(outcome) if outcome in UNSUCCESSFUL else b"",
                encode.text("gen_ai.operation.name", "invoke_agent"),
                encode.text("gen_ai.agent.name", part.agent_id),
                encode.text("gen_ai.conversation.id", part.session_id),
                encode.text("agent.task.type", part.task_type),
                encode.text("agent.session.outcome", outcome),
                _ACTIONS(part.actions),
                _FAILURES(part.failures),
                _TOKENS(part.prompt + part.completion),
                _SESSION_COST(part.cost_usd),
                _FINDINGS(part.findings),
            )
        )
        name = f"invoke_agent {part.agent_id}"
        kind = encode.INTERNAL
        if part.parent_agent_id and not part.below_root and not part.root:
            client = session_span_id(part.trace, part.agent_id, part.session_id, "client")
            self._emit(
                trace,
                part.parent_agent_id,
                encode.span(trace, client, parent, encode.head(name, encode.CLIENT), *times, attributes),
            )
            parent, kind = client, encode.SERVER
        head = encode.head(name, kind)
        self._emit(trace, part.agent_id, encode.span(trace, part.span_id, parent, head, *times, attributes))

    def _forget(self, trace: str) -> None:
        """Forget a trace. If sessions are below a root that no session became, emit that root."""
        parts = self._traces.pop(trace)
        self._count -= len(parts)
        if any(part.below_root for part in parts.values()) and not any(part.root for part in parts.values()):
            first = min(parts.values(), key=lambda part: part.started)
            started = max(0, round(first.started * 1e6)) * 1000
            ended = round(max(part.last for part in parts.values()) * 1e6) * 1000
            self._emit(
                bytes.fromhex(trace),
                first.parent_agent_id or first.agent_id,
                encode.span(
                    bytes.fromhex(trace),
                    root_id(trace),
                    NO_PARENT,
                    encode.head("task", encode.INTERNAL),
                    started,
                    ended,
                    encode.text("agent.task.type", first.task_type),
                ),
            )
        for name, part in parts.items():
            self._dirty.discard(part)
            self._parts.pop(part, None)
            self._gone.append(key_of(part))
            by_trace = self._open.get(name)
            if by_trace is not None and by_trace.pop(part.named, None) is not None and not by_trace:
                del self._open[name]

    def _forget_quiet(self, quiet: Callable[[Invocation], float]) -> None:
        """Forget traces without an open session for LINGER. `quiet(part)` is for how many seconds a part has been
        quiet.
        """
        for trace, parts in list(self._traces.items()):
            if all(not part.open and quiet(part) > LINGER for part in parts.values()):
                self._forget(trace)

    def _make_room(self) -> None:
        """Forget traces that have been quiet for long by the time of the newest line, whatever the clock says."""
        newest = max(part.last for parts in self._traces.values() for part in parts.values())
        self._forget_quiet(lambda part: newest - part.last)
        if self._count >= self._most:
            self._evict()
        self._look_at = next_threshold(self._count, self._most)

    def _evict(self) -> None:
        """Remove an eighth, the oldest traces first. Emit their open sessions as they are."""
        for trace in list(self._traces):
            if self._count <= self._most - self._most // 8:
                return
            for part in self._traces[trace].values():
                if part.open:
                    self.evictions += 1
                    self._emit_session(part, "open")
            self._forget(trace)

    # --- bytes that many spans share ---------------------------------------------------------------------------

    def _describe_action(self, name: str) -> tuple[bytes, bytes]:
        """Name and kind of an action's spans, empty if they depend on the model, and the attributes that all of them
        share.
        """
        attributes = encode.text("agent.action", name)
        if self._is_llm(name):
            described = b"", attributes + encode.text("gen_ai.operation.name", "chat")
        else:
            attributes += encode.text("gen_ai.operation.name", "execute_tool") + encode.text("gen_ai.tool.name", name)
            described = encode.head(f"execute_tool {name}", encode.INTERNAL), attributes
        return _keep(self._actions, name, described)

    def _describe_model(self, name: str | None) -> tuple[bytes, bytes]:
        """Name and kind of the spans of a model's calls, and their attribute."""
        asked = encode.text("gen_ai.request.model", name) if name else b""
        return _keep(self._models, name, (encode.head(f"chat {name}" if name else "chat", encode.CLIENT), asked))

    def _describe_part(self, part: Invocation) -> tuple[bytes, bytes, bytes]:
        """The trace id, and the attributes that the actions of one session share."""
        made = self._parts[part] = (
            bytes.fromhex(part.trace),
            encode.text("gen_ai.agent.name", part.agent_id),
            encode.text("gen_ai.conversation.id", part.session_id),
        )
        return made


def _keep(table: dict[K, V], key: K, value: V) -> V:
    if len(table) >= MAX_NAMES:  # names may be hostile: start again instead of growing
        table.clear()
    table[key] = value
    return value


def _failure(action: Action) -> bytes:
    # Leave the message out: it is the agent's text and may quote private input.
    return _failed(action.error_type or ("timeout" if action.status == "timeout" else "_OTHER"))


def _failed(kind: str) -> bytes:
    return encode.text("error.type", kind) + encode.status(encode.ERROR, kind)


def key_of(part: Invocation) -> str:
    """Of its row."""
    return row_key(part.trace, part.agent_id, part.session_id)


_NOTHING_TOLD = Metadata()
_INPUT_TOKENS = encode.integer("gen_ai.usage.input_tokens")
_OUTPUT_TOKENS = encode.integer("gen_ai.usage.output_tokens")
_CACHE_READ = encode.integer("gen_ai.usage.cache_read.input_tokens")
_CACHE_WRITE = encode.integer("gen_ai.usage.cache_write.input_tokens")
_RETRIES = encode.integer("agent.retry.count")
_CONFIDENCE = encode.double("agent.confidence")
_COST = encode.double("agent.cost.usd")
_FALLBACK = encode.boolean("agent.fallback.used", value=True)
_NO_FALLBACK = encode.boolean("agent.fallback.used", value=False)
_ACTIONS = encode.integer("agent.session.actions")
_FAILURES = encode.integer("agent.session.errors")
_TOKENS = encode.integer("agent.session.tokens")
_FINDINGS = encode.integer("agent.session.findings")
_SESSION_COST = encode.double("agent.session.cost.usd")
