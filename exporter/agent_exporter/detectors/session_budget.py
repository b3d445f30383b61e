"""A session over the budget of its task type.

    task_types: {default: {session_tokens: 50000}}

    {"session_id": "s", "tokens": {"prompt": 30000, "completion": 2000}, ...}
    {"session_id": "s", "tokens": {"prompt": 19000, "completion": 1000}, ...}      <- 52,000 is over 50,000

Many small calls make a large bill, which no single call shows.
"""

from __future__ import annotations

from typing import Any, Final

KIND: Final = "session_budget"


def exceeded(tokens: int, cost_usd: float, max_tokens: int, max_cost_usd: float | None) -> dict[str, Any] | None:
    """The evidence, if a session's sums are over its ceilings; exactly at a ceiling is within it."""
    if tokens > max_tokens:
        return {"tokens": tokens, "max_tokens": max_tokens}
    if max_cost_usd is not None and cost_usd > max_cost_usd:
        return {"cost_usd": cost_usd, "max_cost_usd": max_cost_usd}
    return None
