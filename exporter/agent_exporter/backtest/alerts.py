"""When an alert would have fired: the times at which its expression held, and its `for`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from agent_exporter.backtest.rules import Rule

Labels = tuple[tuple[str, str], ...]
"""Sorted (name, value)."""


class Alert(NamedTuple):
    """An alert that would have fired. Times are seconds since 1970."""

    rule: Rule
    labels: Labels
    """Those of the expression's sample and those of the rule."""
    since: float
    """The expression began to hold."""
    at: float
    """It fired: the expression had held for as long as `for` requires."""
    until: float | None
    """The first evaluation at which it was over; None if the log ends before that."""
    value: float
    """Of the expression when it fired."""


class _Holding(Struct):
    since: float
    last: float
    fired: tuple[float, float] | None = None
    """(time, value)."""


class Watch:
    """One alerting rule over time: told of every sample of its expression, it finds when it fired.

    Holds one state for each set of labels, however long the log.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._holding: dict[Labels, _Holding] = {}
        self.alerts: list[Alert] = []

    def see(self, labels: Labels, at: float, value: float) -> None:
        """The expression holds at an evaluation. Of one set of labels the earlier ones come first."""
        rule = self._rule
        state = self._holding.get(labels)
        if state is not None and at > self._over(state):
            self._end(labels, state)
            state = None
        if state is None:
            state = self._holding[labels] = _Holding(at, at)
        state.last = at
        if state.fired is None and at - state.since >= rule.hold:
            state.fired = at, value

    def end(self, at: float) -> None:
        """Nothing is evaluated after this."""
        for labels, state in self._holding.items():
            self._end(labels, state, at)
        self._holding.clear()

    def _over(self, state: _Holding) -> float:
        """When it is over, should nothing more be seen; one that only waits for its `for` is not kept firing."""
        return state.last + self._rule.interval + (self._rule.keep if state.fired else 0.0)

    def _end(self, labels: Labels, state: _Holding, now: float = float("inf")) -> None:
        if state.fired is None:
            return
        at, value = state.fired
        over = self._over(state)
        every = tuple(sorted((dict(labels) | dict(self._rule.labels)).items()))
        self.alerts.append(Alert(self._rule, every, state.since, at, over if over <= now else None, value))
