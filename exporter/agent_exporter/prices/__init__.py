"""What a call of a model costs: fills in what a line does not say, and checks what it does.

    prices:
      models: {"my-model*": {input: 0.5, output: 1.5}}     # USD per million tokens; wins over the shipped table

The shipped table is `default.json`, with its date and source: list prices, so discounts (batches, contracts) belong
into the config. A model that neither names stays without a cost, which is not a cost of zero.
"""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import force_setattr

from agent_exporter.config import Long, Price
from agent_exporter.config import Prices as Settings

if TYPE_CHECKING:
    from agent_exporter.action import Tokens

log = logging.getLogger(__name__)

MILLION = 1e6
CENT = 0.0001
"""USD by which a logged cost may always differ: agents round to four digits."""
MOST = 1_024
"""Names of models whose prices are remembered."""
MOST_TOLD = 100
"""Models without a price that the log names: their names come from lines."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`default.json`. An exact name wins over a glob, and the first glob that fits over those after it."""

    note: str
    date: str
    source: str
    models: dict[str, Price]


@cache
def shipped() -> Table:
    """The table that comes with this version."""
    return msgspec.json.decode(resources.files(__package__).joinpath("default.json").read_bytes(), type=Table)


class Prices:
    """Of a config; a reload makes a new one."""

    def __init__(self, settings: Settings | None = None, *, live: bool = False) -> None:
        settings = settings or Settings()
        self._tolerance = settings.tolerance
        self._tables = [settings.models, *([shipped().models] if settings.use_shipped else [])]
        self._known: dict[str, Price | None] = {}
        self._live = live
        self._unpriced: set[str] = set()
        """Models that were told of."""

    def of(self, model: str) -> Price | None:
        """The price of a model, or None."""
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= MOST:
                self._known.clear()
            price = self._known[model] = self._look_up(model)
            return price

    def settle(self, tokens: Tokens) -> bool:
        """Fill in the cost if the line tells none; False if the one that it tells is not the table's.

        Within `prices.tolerance` of the table's, or CENT, is the same. Call it once per line, before anything else sees
        it: the decoder's struct is completed in place, as copying it would cost as much as decoding it.
        """
        price = self.of(tokens.model) if tokens.model is not None else None
        if price is None:
            if self._live and tokens.cost_usd is None:
                self._tell(tokens.model)
            return True
        computed = cost(price, tokens)
        if tokens.cost_usd is None:
            force_setattr(tokens, "cost_usd", computed)
            return True
        return abs(tokens.cost_usd - computed) <= max(self._tolerance * computed, CENT)

    def _tell(self, model: str | None) -> None:
        """Once each."""
        if model is not None and model not in self._unpriced and len(self._unpriced) < MOST_TOLD:
            self._unpriced.add(model)
            log.warning(
                "model %s has no price and its lines tell no cost: no budget in dollars ends it; prices.models gives it"
                " one",
                model,
            )

    def _look_up(self, model: str) -> Price | None:
        for table in self._tables:
            if model in table:
                return table[model]
            for glob, price in table.items():
                if fnmatchcase(model, glob):
                    return price
        return None


def cost(price: Price, tokens: Tokens) -> float:
    """USD of one call. `prompt` includes cached tokens; those without a price of their own cost what others cost."""
    prompt, completion = tokens.prompt or 0, tokens.completion or 0
    rate: Price | Long = price
    if price.long is not None and prompt > price.long.above:
        rate = price.long
    read, write = tokens.cache_read or 0, tokens.cache_write or 0
    fresh = max(0, prompt - read - write)
    return (
        fresh * rate.input
        + read * (rate.input if rate.cache_read is None else rate.cache_read)
        + write * (rate.input if rate.cache_write is None else rate.cache_write)
        + completion * rate.output
    ) / MILLION
