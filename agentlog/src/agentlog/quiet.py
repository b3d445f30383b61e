"""Callbacks must not raise: an error would fail the agent, or be printed on every call."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentlog.errors import BudgetExceeded, RetriesExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., None]")

_logger = logging.getLogger("agentlog")


def quiet(method: F) -> F:
    """Send an error to the program's own logging, with a traceback; let only the guards' errors pass."""

    @functools.wraps(method)
    def quietly(*args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except (BudgetExceeded, RetriesExhausted):
            raise
        except Exception:
            _logger.exception("%s did not work: a line of the agent's log is missing", method.__qualname__)

    return cast("F", quietly)
