"""What a call of a model costs: fills in what a line does not say, and checks what it does.

    prices:
      models: {"my-model*": {input: 0.5, output: 1.5}}     # USD per million tokens; wins over the shipped table

The shipped table is `default.json`, with its date and source: list prices, so discounts (batches, contracts) belong
into the config. Both know a model by the names that gateways give it, too (`names`). One that neither names stays
without a cost, which is not a cost of zero.
"""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from agent_exporter.config import LongPrompt, Price
from agent_exporter.config import Prices as Settings
from agent_exporter.prices.names import is_free, plainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_exporter.action import Action, Tokens

log = logging.getLogger(__name__)

MILLION = 1e6
CENT = 0.0001
"""USD by which a logged cost may always differ: agents round to four digits."""
MISMATCH, UNPRICED, CACHE_APART = 1, 2, 4
"""What is odd about a line's tokens: its cost is not the table's; no price is known; `prompt` lacks the cache."""
FREE = Price(input=0, output=0)
MAX_MODELS = 1_024
"""Names of models whose prices are remembered."""
MAX_NAMED = 100
"""Models without a price that the log names: their names come from lines."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`default.json`. An exact name wins over a glob, and the first glob that fits over those after it.

    None for a model that is not priced by tokens of text.
    """

    note: str
    date: str
    source: str
    models: dict[str, Price | None]


@cache
def shipped() -> Table:
    """The table that comes with this version."""
    return msgspec.json.decode(resources.files(__package__).joinpath("default.json").read_bytes(), type=Table)


class Prices:
    """Of a config; a reload makes a new one."""

    def __init__(self, settings: Settings | None = None, *, live: bool = False) -> None:
        settings = settings or Settings()
        self._tolerance = settings.tolerance
        self._tables: list[Mapping[str, Price | None]] = [
            settings.models,
            *([shipped().models] if settings.use_shipped else []),
        ]
        self._known: dict[str, Price | None] = {}
        self._live = live
        self._unpriced: set[str] = set()
        """Models that were told of."""
        self._apart: set[tuple[str, str | None]] = set()
        """(agent, model) whose lines have shown that `prompt` leaves out the cache: so it does in those that do not."""
        self._told_of_cache: set[str] = set()
        """Agents of which it was logged."""

    def of(self, model: str) -> Price | None:
        """The price of a model, or None."""
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= MAX_MODELS:
                self._known.clear()
            price = self._known[model] = self._look_up(model)
            return price

    def complete(self, action: Action) -> tuple[Action, int]:
        """An action with its cost if the line has none, and with the cached tokens if `prompt` does not include them.

        Returns with it 0, or flags of MISMATCH, UNPRICED and CACHE_APART. A logged cost within `prices.tolerance` of
        the computed one, or within CENT, is not a mismatch. An action never changes, so what is filled in stands in a
        copy: 0.2 us more for lines that have tokens and no cost. Call it once per line, before anything else reads it.
        """
        tokens = logged = action.tokens
        if tokens is None:
            return action, 0
        odd = 0
        if tokens.cache_read or tokens.cache_write:
            cached = (tokens.cache_read or 0) + (tokens.cache_write or 0)
            whose = (action.agent_id, tokens.model)
            if cached > (tokens.prompt or 0):
                # Anthropic's input_tokens leave out the cache; a part of `prompt` cannot be more than all of it.
                if tokens.prompt is not None and len(self._apart) < MAX_MODELS:
                    self._apart.add(whose)
                odd = CACHE_APART
            if odd or whose in self._apart:
                tokens = replace(tokens, prompt=(tokens.prompt or 0) + cached)
                odd = CACHE_APART
        price = self.of(tokens.model) if tokens.model is not None else None
        if price is not None:
            computed = cost(price, tokens)
            if tokens.cost_usd is None:
                tokens = replace(tokens, cost_usd=computed)
            elif abs(tokens.cost_usd - computed) > max(self._tolerance * computed, CENT):
                odd |= MISMATCH
        elif tokens.cost_usd is None and (tokens.prompt or tokens.completion):
            if self._live:
                self._tell(tokens.model)
            odd |= UNPRICED
        return action if tokens is logged else replace(action, tokens=tokens), odd

    def tell_of_cache(self, agent_id: str) -> None:
        """Log that an agent's `prompt` leaves out the cache: once each, and only when reading live."""
        if self._live and agent_id not in self._told_of_cache and len(self._told_of_cache) < MAX_NAMED:
            self._told_of_cache.add(agent_id)
            log.warning(
                "agent %a logs a prompt without its cached tokens, as Anthropic counts: they are added; log the sum of"
                " all three as tokens.prompt",
                agent_id,
            )

    def _tell(self, model: str | None) -> None:
        """Once each."""
        if model is not None and model not in self._unpriced and len(self._unpriced) < MAX_NAMED:
            self._unpriced.add(model)
            log.warning(
                "model %s has no price and its lines have no cost: it never triggers a budget in dollars; add it to"
                " prices.models",
                model,
            )

    def _look_up(self, model: str) -> Price | None:
        """The config's price wins over the shipped one, and the name as it is over what is taken out of it."""
        for table in self._tables:
            if table is not self._tables[0] and is_free(model):
                return FREE
            for name in plainer(model):
                if name in table:
                    return table[name]
                for glob, price in table.items():
                    if fnmatchcase(name, glob):
                        return price
        return FREE if is_free(model) else None


def cost(price: Price, tokens: Tokens) -> float:
    """USD of one call. `prompt` includes cached tokens; without their own price they cost the same as input."""
    prompt, completion = tokens.prompt or 0, tokens.completion or 0
    rate: Price | LongPrompt = price
    if price.long_prompt is not None and prompt > price.long_prompt.above:
        rate = price.long_prompt
    read, write = tokens.cache_read or 0, tokens.cache_write or 0
    fresh = max(0, prompt - read - write)
    return (
        fresh * rate.input
        + read * (rate.input if rate.cache_read is None else rate.cache_read)
        + write * (rate.input if rate.cache_write is None else rate.cache_write)
        + completion * rate.output
    ) / MILLION
