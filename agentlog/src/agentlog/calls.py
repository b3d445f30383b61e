"""A decorator that makes every call of a function an action.

@log.action("web_search")
def search(query: str, limit: int = 10) -> list[str]: ...      input {"query": "pods", "limit": 10}
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentlog import record, settings
from agentlog.session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentlog.logger import AgentLogger
    from agentlog.session import Session

F = TypeVar("F", bound="Callable[..., Any]")


class Calls:
    """Made by `AgentLogger.action`; the decorator."""

    def __init__(self, log: AgentLogger, name: str, *, expected_tokens: int, timeout: float | None) -> None:
        if callable(name):
            raise TypeError('an action needs its name: @log.action("name")')
        self._log = log
        self._name = name
        self._options: dict[str, Any] = {
            "expected_tokens": expected_tokens,
            "timeout": settings.given(timeout, "timeout"),
        }

    def __call__(self, function: F) -> F:
        """Raises TypeError for a generator function, whose call does nothing yet. Use `with` inside it.

        Also for anything that is not a function: a classmethod becomes a method only within its class.
        """
        if isinstance(function, (classmethod, staticmethod)):
            kind = type(function).__name__
            raise TypeError(f"@log.action({self._name!r}) above @{kind} finds no function: put it below @{kind}")
        if not callable(function):
            raise TypeError(f"@log.action({self._name!r}) is for functions, not for {record.described(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__name__} is a generator, whose call does nothing yet: use `with` inside of it")
        signature = inspect.signature(function)

        def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:  # the call itself will raise
                return None
            bound.apply_defaults()
            return {name: value for name, value in bound.arguments.items() if name not in {"self", "cls"}}

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*args: Any, **kwargs: Any) -> Any:
                given = arguments(args, kwargs)
                async with self._around() as s, s.action(self._name, input=given, **self._options) as a:
                    result = await function(*args, **kwargs)
                    a.output = result if a.output is None else a.output
                    return result

            return cast("F", asynchronous)

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            given = arguments(args, kwargs)
            with self._around() as s, s.action(self._name, input=given, **self._options) as a:
                result = function(*args, **kwargs)
                a.output = result if a.output is None else a.output
                return result

        return cast("F", plain)

    def _around(self) -> Session | contextlib.nullcontext[Session]:
        session = current_session()
        if session is not None and session.log is self._log:
            return contextlib.nullcontext(session)
        return self._log.session()
