"""A session over the budget of its task type.

    task_types: {default: {session_tokens: 50000}}

    {"session_id": "s", "tokens": {"prompt": 30000, "completion": 2000}, ...}
    {"session_id": "s", "tokens": {"prompt": 19000, "completion": 1000}, ...}      <- 52,000 is over 50,000

Many small calls make a large bill, and no look at single calls sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.config import TaskType

KIND = "session_budget"


def exceeded(tokens: int, cost_usd: float, task: TaskType) -> dict[str, Any] | None:
    """The evidence, if a session's sums are over its ceilings; exactly at a ceiling is within it."""
    if tokens > task.session_tokens:
        return {"tokens": tokens, "max_tokens": task.session_tokens}
    if task.session_cost_usd is not None and cost_usd > task.session_cost_usd:
        return {"cost_usd": cost_usd, "max_cost_usd": task.session_cost_usd}
    return None
