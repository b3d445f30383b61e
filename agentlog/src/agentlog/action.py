"""One action of an agent, from its begin to its line.

with session.action("web_search", input={"query": "pods"}, timeout=10) as a:
    a.output = search("pods", timeout=a.remaining)
    a.confidence = 0.87
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from agentlog import ids, record
from agentlog.errors import RetriesExhausted, error_fields, status_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from agentlog.session import Session

COUNTS = ("prompt", "completion", "cache_read", "cache_write")


class Action:
    """Made by `Session.action`, for sync and async code. Times the action, logs an exception and lets it pass."""

    def __init__(
        self,
        session: Session,
        name: object,
        *,
        input: object = None,
        expected_tokens: int = 0,
        timeout: float | None = None,
        span_id: str | None = None,
    ) -> None:
        self.session = session
        self.name = record.name(name)
        self.span_id = span_id or ids.span_id()
        self.output: object = None
        """The output: an object or text; any other value is written as {"value": ...}."""
        self.confidence: float | None = None
        """0 to 1."""
        self._input = session.log.snapshot(input)  # now, as an agent keeps appending to its messages
        self._left_out: dict[str, str] = {}
        self._expected = record.count(expected_tokens, "expected_tokens", self._leave_out) or 0
        self._timeout = timeout
        self._tokens: dict[str, Any] = {}
        self._metadata: dict[str, Any] = {}
        self._began: float | None = None
        self._outer: Token[Action | None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        self._cancelled_before = 0

    # --- what the agent tells of it -----------------------------------------------------------------------------

    def tokens(
        self,
        *,
        prompt: int | None = None,
        completion: int | None = None,
        model: str | None = None,
        cost_usd: float | None = None,
        cache_read: int | None = None,
        cache_write: int | None = None,
    ) -> None:
        """Add the tokens of a call of a model; several calls are added up. `prompt` includes cached tokens."""
        used = 0
        for field, value in zip(COUNTS, (prompt, completion, cache_read, cache_write), strict=True):
            if value is not None:
                counted = record.count(value, f"tokens.{field}", self._leave_out)
                if counted is not None:
                    self._tokens[field] = self._tokens.get(field, 0) + counted
                    if field in {"prompt", "completion"}:
                        used += counted
        cost: float | None = None
        if cost_usd is not None:
            cost = record.number(cost_usd, "tokens.cost_usd", self._leave_out, 0, record.MAX_COST_USD)
            if cost is not None:
                self._tokens["cost_usd"] = self.used_dollars + cost
        if model is not None:
            self._tokens["model"] = record.name(model)
        if used or cost:
            held = min(used, self._expected) if self._expected and self._began is not None else 0
            self._expected -= held  # logged tokens are not expected any more
            self.session.spend(used, cost or 0.0, held)

    @property
    def used_tokens(self) -> int:
        """Prompt and completion tokens so far."""
        used: int = self._tokens.get("prompt", 0) + self._tokens.get("completion", 0)
        return used

    @property
    def used_dollars(self) -> float:
        """US dollars so far, without calls that have no cost: only the exporter knows their prices."""
        used: float = self._tokens.get("cost_usd", 0.0)
        return used

    def retry(self) -> None:
        """Count a retry. Raises RetriesExhausted after the session's `max_retries`."""
        retries = self._metadata.get("retry_count", 0)
        most = self.session.max_retries
        if most is not None and retries >= most:
            raise RetriesExhausted(
                f"{self.name} was tried again {retries} times, as often as session {self.session.id} allows"
            )
        self._metadata["retry_count"] = retries + 1

    def retried(self, times: int) -> None:
        """Set how many attempts came before this one."""
        counted = record.count(times, "metadata.retry_count", self._leave_out, record.MAX_COUNT)
        if counted is not None:
            self._metadata["retry_count"] = counted

    def given(self, value: object) -> None:
        """Set its input, if that is known only now."""
        self._input = self.session.log.snapshot(value)

    def fallback(self) -> None:
        """Note that a fallback does the action."""
        self._metadata["fallback_used"] = True

    @property
    def remaining(self) -> float | None:
        """Seconds until its timeout, for calls that wait; None without one. Raises TimeoutError if it is over."""
        if self._timeout is None:
            return None
        left = self._timeout - (self._elapsed() or 0.0)
        if left <= 0:
            raise TimeoutError(self._overtime())
        return left

    # --- begin and end ------------------------------------------------------------------------------------------

    def begin(self, *, guarded: bool = True) -> Self:
        """For code without `with`, such as callbacks. Raises BudgetExceeded if the session's ceiling forbids it.

        `guarded=False` is for actions that happen in any case: no ceiling stops them, and their line has the tokens.
        """
        self._began = self.session.log.clock.monotonic()
        try:
            if guarded:
                self.session.reserve(self._expected)
            else:
                self._expected = 0
        except Exception as error:
            self._expected = 0
            self.end(error)
            raise
        self.session.opened(self)
        return self

    def end(
        self, error: BaseException | None = None, *, at: float | None = None, duration: float | None = None
    ) -> None:
        """Write the line, once. Callers that know better give `at`, seconds since 1970, and `duration`, seconds."""
        if self._began is None:
            return
        elapsed = self._elapsed() if duration is None else duration
        self._began = None
        self.session.closed(self, self._expected)
        self.session.say(self, error, at, elapsed)

    def fields(self, error: BaseException | None, duration: float | None) -> record.Fields:
        """The fields of its line."""
        log = self.session.log
        fields: record.Fields = {"action": self.name, "status": status_of(error), "span_id": self.span_id}
        if self._input is not None:
            fields["input"] = self._input
        output = self.output if log.content else None
        if output is not None or self.confidence is not None:
            result = record.result(output, self.confidence, log.max_content, self._leave_out)
            if result is not None:
                fields["output"] = result
        if self._tokens:
            fields["tokens"] = self._checked_tokens()
        if duration is not None:
            fields["duration_ms"] = round(min(max(duration * 1000, 0.0), record.MAX_DURATION_MS), 3)
        if error is not None:
            fields["error"] = error_fields(error, message=log.content)
        if self._left_out:
            self._metadata["left_out"] = self._left_out
        fields["metadata"] = self._metadata
        return fields

    def _checked_tokens(self) -> dict[str, Any]:
        """Leave out sums that are too large for a record."""
        checked = dict(self._tokens)
        for field, most in (*((field, record.MAX_TOKENS) for field in COUNTS), ("cost_usd", record.MAX_COST_USD)):
            if checked.get(field, 0) > most:
                self._leave_out(f"tokens.{field}", checked.pop(field))
        return checked

    def _leave_out(self, field: str, value: object) -> None:
        self._left_out[field] = record.described(value)

    def _elapsed(self) -> float | None:
        return None if self._began is None else self.session.log.clock.monotonic() - self._began

    def _overtime(self) -> str:
        return f"{self.name} took longer than {self._timeout:g} s"

    # --- with, and async with -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.begin()
        self._outer = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._leave()
        self.end(error)
        return None

    async def __aenter__(self) -> Self:
        self.__enter__()
        if self._timeout is not None:
            self._task = asyncio.current_task()
            cancelling = getattr(self._task, "cancelling", None)
            self._cancelled_before = cancelling() if cancelling else 0
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired and self._is_own_cancellation() and isinstance(error, asyncio.CancelledError):
            timeout = TimeoutError(self._overtime())
            self.__exit__(TimeoutError, timeout, trace)
            raise timeout from error
        return self.__exit__(kind, error, trace)

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def _is_own_cancellation(self) -> bool:
        # From 3.11 on a task counts its cancellations: one by other code must get through.
        uncancel = getattr(self._task, "uncancel", None)
        return uncancel is None or uncancel() <= self._cancelled_before

    def _leave(self) -> None:
        if self._outer is not None:
            leave(_current, self._outer)


def leave(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Undo a `set` if possible: callbacks and async generators may end in another context than they began in."""
    with contextlib.suppress(ValueError):
        variable.reset(token)


def current_action() -> Action | None:
    """The action around this code, in this task or thread."""
    return _current.get()


_current: ContextVar[Action | None] = ContextVar("agentlog_action", default=None)
