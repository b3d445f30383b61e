"""A session over the budget of its task type.

    task_types: {default: {session_tokens: 50000}}

    {"session_id": "s", "tokens": {"prompt": 30000, "completion": 2000}, ...}
    {"session_id": "s", "tokens": {"prompt": 19000, "completion": 1000}, ...}      <- 52,000 is over 50,000

Many small calls make a large bill, and no look at single calls sees it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exporter.config import Config

KIND: Final = "session_budget"


def exceeded(tokens: int, cost_usd: float, max_tokens: int, max_cost_usd: float | None) -> dict[str, Any] | None:
    """The evidence, if a session's sums are over its ceilings; exactly at a ceiling is within it."""
    if tokens > max_tokens:
        return {"tokens": tokens, "max_tokens": max_tokens}
    if max_cost_usd is not None and round(cost_usd, 9) > max_cost_usd:  # sums in any order are the same then
        return {"cost_usd": round(cost_usd, 6), "max_cost_usd": max_cost_usd}
    return None


def lowest(config: Config) -> tuple[float, float]:
    """The lowest ceilings of tokens and of dollars of any task type: below them there is nothing to look up."""
    tasks = [config.task_type("default"), *config.task_types.values()]
    dollars = [task.session_cost_usd for task in tasks if task.session_cost_usd is not None]
    return min(task.session_tokens for task in tasks), min(dollars, default=inf)
