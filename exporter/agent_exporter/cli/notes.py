"""What `replay` and `backtest` say of the lines that they read, beside their output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.cli.console import say
from agent_exporter.metrics.table import UNKNOWN

if TYPE_CHECKING:
    from agent_exporter.stages import Stages

MAX_MODELS = 10
"""Models without a price that are named."""


def say_rejected(stages: Stages) -> None:
    """Name each source that had lines rejected."""
    for source in stages.tally.sources.values():
        rejected = sum(source.rejected.values())
        if rejected:
            say(f"{source.source}: {rejected:,} of {source.read:,} lines rejected; `agent-exporter validate` says why")


def say_unpriced(stages: Stages) -> None:
    """Name the models that have no price, those with the most tokens first."""
    unpriced = sorted(stages.tally.unpriced().items(), key=lambda item: (-item[1], item[0]))
    for model, tokens in unpriced[:MAX_MODELS]:
        whose = "no model" if model == UNKNOWN else f"the model {model!a}"
        say(f"{tokens:,} tokens of {whose} have no price and no logged cost: no budget in dollars sees them")
    if len(unpriced) > MAX_MODELS:
        say(f"{len(unpriced) - MAX_MODELS:,} more models have no price")
