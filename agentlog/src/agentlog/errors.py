"""Errors in the words of the schema, and agentlog's own three errors, which guards raise."""

from __future__ import annotations

import asyncio
from typing import Literal

from agentlog import record

Status = Literal["success", "error", "timeout", "cancelled"]


class ErrorInfo(Exception):  # noqa: N818
    """An error from a framework that gives only the name of its type and its message."""

    def __init__(self, kind: object, message: object = None) -> None:
        super().__init__("" if message is None else message)
        self.kind = record.name(kind)


class BudgetExceeded(Exception):  # noqa: N818  (reads as what it says)
    """A ceiling of the session, its own or the exporter's, does not allow this action. Raised before it begins."""


class RetriesExhausted(Exception):  # noqa: N818
    """The action failed in all allowed attempts. The last error is its cause."""


def status_of(error: BaseException | None) -> Status:
    """The status of an action that ended in this error."""
    if error is None:
        return "success"
    if isinstance(error, _CANCELLED):
        return "cancelled"
    # The timeouts of HTTP clients share no base class (ReadTimeout, APITimeoutError), so look at their names.
    names = [error.kind] if isinstance(error, ErrorInfo) else [kind.__name__ for kind in type(error).__mro__]
    return "timeout" if any(name.lower().endswith(_TIMEOUTS) for name in names) else "error"


def error_fields(error: BaseException, *, message: bool) -> record.Fields:
    """The line's `error`. A message may quote private text."""
    fields = {"type": error.kind if isinstance(error, ErrorInfo) else record.name(type(error).__name__)}
    return {**fields, "message": record.text(error)} if message else fields


_CANCELLED = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""The work was cancelled, which is not a failure of the agent."""
_TIMEOUTS = ("timeout", "timeouterror", "timeoutexception")
