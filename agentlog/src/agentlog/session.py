"""One task of one agent, from its begin to the line that ends it.

with log.session(task_type="research", token_ceiling=50_000) as s:
    with s.action("llm_call", expected_tokens=2_000) as a: ...
    s.completed()
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from agentlog import ids, record, settings
from agentlog.action import Action, leave
from agentlog.attempts import Attempts
from agentlog.budget import Account, Answer
from agentlog.clock import written
from agentlog.errors import BudgetExceeded, error_fields, status_of
from agentlog.handoff import Origin, sent

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from agentlog.logger import AgentLogger

END = "session_end"
PAUSE = "session_pause"
FEEDBACK = "feedback"


class Session:
    """Made by `AgentLogger.session`. Within it, `current_session()` is this one, in this task or thread."""

    def __init__(
        self,
        log: AgentLogger,
        origin: Origin,
        *,
        task_type: str | None = None,
        session_id: str | None = None,
        token_ceiling: float | None = None,
        max_retries: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self.log = log
        self.origin = origin
        self.id = f"sess_{ids.span_id()}" if session_id is None else record.name(session_id)
        self.span_id = ids.span_id_of(origin.trace_id, *(() if origin.is_root else (log.agent_id, self.id)))
        """The id of the span that the exporter makes of this session, 16 hex digits."""
        self.task_type = None if task_type is None else record.name(task_type)
        self.token_ceiling = settings.given(token_ceiling, "token_ceiling")
        self.max_retries = settings.given(max_retries, "max_retries", 0)
        self.timeout = settings.given(timeout, "timeout")
        self.spent = 0
        """Tokens, prompt and completion, that its actions have logged so far."""
        self._held = 0
        """Tokens that open actions expect, less those that they have logged."""
        self._account = None if log.budget is None else Account()
        self._lock = threading.Lock()
        self._actions: dict[Action, None] = {}
        self._completed: bool | None = None
        self._logged_error: record.Fields | None = None
        """The fields of an action's last error. Not the error itself: between threads it may become another object."""
        self._is_open = self._is_paused = False
        self._outer: Token[Session | None] | None = None
        self._head: record.Fields = {"agent_id": log.agent_id, "session_id": self.id, "parent_trace_id": origin.task}
        if origin.trace_id != ids.trace_id_of(origin.task):
            self._head["trace_id"] = origin.trace_id
        if origin.parent_span_id is not None:
            self._head["parent_span_id"] = origin.parent_span_id
        metadata = {"team": log.team, "task_type": self.task_type, "parent_agent_id": origin.parent_agent_id}
        self._metadata = {key: value for key, value in metadata.items() if value is not None}

    # --- what an agent does with it -----------------------------------------------------------------------------

    def action(
        self,
        name: str,
        *,
        input: object = None,
        expected_tokens: int = 0,
        timeout: float | None = None,
        span_id: str | None = None,
    ) -> Action:
        """An action: `with` times and logs it.

        `expected_tokens` are reserved from the session's ceilings until they are logged or the action ends. Raises
        BudgetExceeded before it begins if they do not fit. `timeout`, in seconds, is the session's unless given; `async
        with` enforces it, else `Action.remaining` says what is left. `span_id`, 16 hex digits, if it has one already.
        """
        timeout = self.timeout if timeout is None else settings.number(timeout, "timeout")
        return Action(self, name, input=input, expected_tokens=expected_tokens, timeout=timeout, span_id=span_id)

    def attempts(
        self,
        name: str,
        *,
        input: object = None,
        max_retries: float | None = None,
        base: float = 0.5,
        cap: float = 30.0,
        retry_on: type[Exception] | tuple[type[Exception], ...] = Exception,
        expected_tokens: int = 0,
        timeout: float | None = None,
    ) -> Attempts:
        """An action to retry until it works: `for` or `async for`, each round `with` one attempt as an action.

        After a failure it waits a random time up to `base`, doubled with every retry, at most `cap` (seconds), and
        tries again, at most `max_retries` times (the session's unless given, or 3). Then it raises RetriesExhausted.
        """
        if max_retries is None:
            max_retries = 3 if self.max_retries is None else self.max_retries
        timeout = settings.given(timeout, "timeout")

        def attempt() -> Action:
            return self.action(name, input=input, expected_tokens=expected_tokens, timeout=timeout)

        return Attempts(attempt, self.log.clock, max_retries, base, cap, retry_on)

    def handoff(self) -> dict[str, str]:
        """Headers for the next agent, who gives them to its `session(headers=...)`: one task, one tree."""
        return sent(self.origin, self.span_id, self.log.agent_id)

    def feedback(self, score: float) -> None:
        """Log the user's rating, -1 bad to 1 good, as a line of its own: it may come after the end."""
        left_out: dict[str, str] = {}

        def leave_out(field: str, value: object) -> None:
            left_out[field] = record.described(value)

        feedback = record.number(score, "metadata.feedback", leave_out, -1, 1)
        self._say(
            {
                "action": FEEDBACK,
                "status": "success",
                "metadata": {"left_out": left_out} if feedback is None else {"feedback": feedback},
            }
        )

    def completed(self, completed: bool = True) -> None:  # noqa: FBT001, FBT002  (reads as what it says)
        """Set whether the task was achieved. Else it is unknown; an exception out of the session means no.

        A session that waits for a person goes on.
        """
        self._completed = bool(completed)
        if self._is_paused:
            self.begin()

    # --- begin and end ------------------------------------------------------------------------------------------

    def begin(self) -> Self:
        """For code that cannot use `with`, such as callbacks."""
        self._is_open, self._is_paused = True, False
        self.log.opened(self)
        return self

    def end(self, error: BaseException | None = None, *, at: float | None = None) -> None:
        """Write the line that ends it, once.

        The end is a line of its own. To mark the last action instead would mean to hold back every action until the
        next one, and the exporter would see a runaway session one action late. The line has no duration, so no
        histogram counts it. An error that an action has logged already is not logged twice.
        """
        if not self._is_open:
            return
        self._is_open = False
        self.log.closed(self)
        if error is not None:
            self._completed = False
        metadata: record.Fields = {"session_end": True}
        if self._completed is not None:
            metadata["task_completed"] = self._completed
        fields: record.Fields = {"action": END, "status": "success", "metadata": metadata}
        if error is not None and not self._has_told(error) and not self._has_told(error.__cause__):
            fields |= {"status": status_of(error), "error": error_fields(error, message=self.log.content)}
        self._say(fields, at)

    def pause(self) -> None:
        """Log that the session waits for a person, for up to a week.

        `begin`, the next action or `completed` continues it. The exporter takes the wait neither for the session's end
        nor for part of its duration. An action that is open may end meanwhile. A session that is left while it waits
        has no end yet.
        """
        if self._is_open:
            self._is_open, self._is_paused = False, True
            self.log.closed(self)
            self._say({"action": PAUSE, "status": "success", "metadata": {"session_paused": True}})

    def __enter__(self) -> Self:
        self.begin()
        self._outer = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer is not None:
            leave(_current, self._outer)
        self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # --- what its actions do with it ----------------------------------------------------------------------------

    def reserve(self, tokens: int) -> None:
        """Reserve tokens of the ceiling. Raises BudgetExceeded if the spent and reserved ones leave no room.

        The same for the exporter's ceilings, if there is an exporter to ask.
        """
        if self._account is not None and self.log.budget is not None:
            self.log.budget.renew(self, self._account)
        with self._lock:
            refusal = None if self._account is None else self._account.refusal(self._held, tokens)
            if refusal is not None:
                raise BudgetExceeded(f"session {self.id} {refusal}")
            if self.token_ceiling is not None and self.spent + self._held + tokens > self.token_ceiling:
                raise BudgetExceeded(
                    f"session {self.id} may use {self.token_ceiling} tokens: {self.spent} are spent, "
                    f"{self._held} held by open actions, and {tokens} more do not fit"
                )
            self._held += tokens

    def answered(self, answer: Answer | None, now: float) -> None:
        """Take an answer of the exporter; None if it did not answer."""
        with self._lock:
            if self._account is not None:
                self._account.note(answer, now)

    def spend(self, tokens: int, dollars: float, held: int) -> None:
        """Add used tokens and dollars, and release the tokens that were reserved for them."""
        with self._lock:
            self.spent += tokens
            self._held -= held
            if self._account is not None:
                self._account.spend(tokens, dollars)

    def opened(self, action: Action) -> None:
        """An action has begun. A session that waited for a person goes on."""
        if self._is_paused:
            self.begin()
        self._actions[action] = None

    def closed(self, action: Action, held: int) -> None:
        """An action has ended: release what it reserved. Its line comes next."""
        self._actions.pop(action, None)
        if held or self._account is not None:
            with self._lock:
                self._held -= held
                if self._account is not None:
                    self._account.logged(action.used_tokens, action.used_dollars, self.log.clock.monotonic())

    def say(self, action: Action, error: BaseException | None, at: float | None, duration: float | None) -> None:
        """Write an action's line."""
        if error is not None:
            self._logged_error = error_fields(error, message=True)
        self._say(action.fields(error, duration), at)

    @property
    def at_work_on(self) -> str:
        """Its text in a heartbeat: its newest open action, and its id."""
        actions = list(self._actions)
        return f"{actions[-1].name} in {self.id}" if actions else self.id

    def _has_told(self, error: BaseException | None) -> bool:
        return error is not None and error_fields(error, message=True) == self._logged_error

    def _say(self, fields: record.Fields, at: float | None = None) -> None:
        fields["metadata"] = {**self._metadata, **fields["metadata"]}
        now = self.log.clock.now() if at is None else at
        self.log.write({"timestamp": written(now), **self._head, **fields})


def current_session() -> Session | None:
    """The session around this code, in this task or thread."""
    return _current.get()


_current: ContextVar[Session | None] = ContextVar("agentlog_session", default=None)
