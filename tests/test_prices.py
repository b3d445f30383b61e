"""What calls cost: filled in where lines do not say it, checked where they do."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.action import Tokens
from agent_exporter.config import parse
from agent_exporter.config.strict import ConfigError
from agent_exporter.prices import Prices, cost, shipped
from agent_exporter.replay import replay

OWN = """
prices:
  models:
    fast: {input: 1, output: 4, cache_read: 0.1, cache_write: 1.25}
    "fast-*": {input: 2, output: 8}
    long: {input: 1, output: 2, long: {above: 1000, input: 10, output: 20}}
"""


def own(text: str = OWN) -> Prices:
    return Prices(parse(text).prices)


@pytest.mark.parametrize(
    ("tokens", "dollars"),
    [
        (Tokens(prompt=1_000_000, completion=1_000_000, model="fast"), 5.0),
        (Tokens(prompt=1_000_000, cache_read=400_000, cache_write=100_000, model="fast"), 0.5 + 0.04 + 0.125),
        (Tokens(prompt=1_000_000, cache_read=400_000, model="fast-2"), 2.0),
        (Tokens(prompt=1_000, completion=1_000, model="long"), 0.003),
        (Tokens(prompt=1_001, completion=1_000, model="long"), 0.03001),
        (Tokens(prompt=10, cache_read=20, model="fast"), 20 * 0.1e-6),
        (Tokens(completion=5, model="claude-sonnet-4-20250514"), 75e-6),
        (Tokens(model="fast"), 0.0),
    ],
)
def test_a_cost_that_a_line_does_not_say_is_the_price_tables(tokens, dollars):
    assert own().settle(tokens)
    assert tokens.cost_usd == pytest.approx(dollars)


def test_a_model_without_a_price_stays_without_a_cost():
    """Unknown is not zero."""
    for tokens in (Tokens(prompt=5, model="my-own"), Tokens(prompt=5)):
        assert own().settle(tokens)
        assert tokens.cost_usd is None


@pytest.mark.parametrize(
    ("logged", "same"), [(5.0, True), (5.49, True), (5.51, False), (4.49, False), (0.0, False), (50.0, False)]
)
def test_a_logged_cost_is_kept_and_checked(logged, same):
    """Within a tenth it is the same: agents round, and sum up."""
    tokens = Tokens(prompt=1_000_000, completion=1_000_000, model="fast", cost_usd=logged)
    assert own().settle(tokens) is same
    assert tokens.cost_usd == logged


def test_a_hundredth_of_a_cent_is_never_a_mismatch():
    assert own().settle(Tokens(prompt=1, model="fast", cost_usd=0.0001))


def test_an_exact_name_wins_over_a_glob_and_the_config_over_what_is_shipped():
    prices = Prices(
        parse('prices: {models: {"claude-*": {input: 9, output: 9}, claude-x: {input: 1, output: 1}}}').prices
    )
    assert prices.of("claude-x").input == 1
    assert prices.of("claude-sonnet-4-20250514").input == 9
    assert prices.of("gpt-4o-mini").input == 0.15
    assert Prices(parse("prices: {use_shipped: false}").prices).of("gpt-4o-mini") is None


def test_the_shipped_table_says_when_and_from_where_it_is():
    table = shipped()
    assert date.fromisoformat(table.date).year >= 2026
    assert table.source.startswith("genai-prices ")
    assert len(table.models) > 300
    # Of two globs that fit the first counts, so the longer of two beginnings comes first.
    globs = [name for name in table.models if set(name) & set("*?[")]
    assert all(len(one) >= len(other) for one, other in pairwise(globs))
    assert all(price.input >= 0 and price.output >= 0 for price in table.models.values())


@given(st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_a_cost_is_never_negative_and_always_finite(prompt, completion, read, write):
    """Whatever a line claims of its cached tokens."""
    price = own().of("fast")
    found = cost(price, Tokens(prompt=prompt, completion=completion, cache_read=read, cache_write=write))
    assert 0 <= found < 1_000


def test_what_is_wrong_in_a_price_table_is_told_with_its_path():
    with pytest.raises(ConfigError) as told:
        parse(
            "prices: {tolerance: -1, models: {a: {input: 1}, b: {input: x, output: 1, long: {above: 0, input: 1, output: 1}}}}"
        )
    assert told.value.faults == [
        "config: prices.tolerance: must be a number >= 0.0, not -1",
        "config: prices.models.a.output: is required",
        "config: prices.models.b.input: must be a number, not 'x'",
        "config: prices.models.b.long.above: must be a whole number >= 1, not 0",
    ]


def test_a_budget_in_dollars_holds_for_agents_that_log_tokens_alone(tmp_path):
    """Session cost, cost of the day, and the counter, from lines without any cost; a wrong one is counted."""
    line = (
        '{{"timestamp":"2026-03-18T09:15:3{n}.000Z","agent_id":"a","session_id":"s","action":"llm_call","status":"success",'
        '"tokens":{{"prompt":1000000,"completion":100000,"model":"fast"{more}}}}}\n'
    )
    log = tmp_path / "agents.log"
    log.write_text("".join(line.format(n=n, more=more) for n, more in enumerate(("", "", ',"cost_usd":9.5'))))
    config = parse(OWN + "task_types: {default: {session_cost_usd: 2.5, session_tokens: 9000000}}")
    stages = replay(config, [str(log)], lambda _: None)
    tally = stages.pipeline.sinks.tally
    [model] = tally.agents["a"].models.values()
    assert (model.cost_usd, model.mismatches) == (pytest.approx(1.4 + 1.4 + 9.5), 1)
    assert tally.agents["a"].today.cost_usd == pytest.approx(12.3)
    assert tally.agents["a"].tasks["default"].over_budget == 1


def test_a_model_without_a_price_is_told_of_once_while_its_lines_tell_no_cost(caplog):
    """Only by `run`: a budget in dollars would wait for ever."""
    for live in (False, True):
        prices = Prices(live=live)
        for cost_usd in (0.5, None, None):
            assert prices.settle(Tokens(prompt=1, model="own-7b", cost_usd=cost_usd))
    told = (
        "model own-7b has no price and its lines tell no cost: no budget in dollars ends it; prices.models gives it one"
    )
    assert caplog.messages == [told]
