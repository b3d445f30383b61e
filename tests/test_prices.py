"""What calls cost: filled in where lines do not say it, checked where they do."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import msgspec
import pytest
from conftest import line
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import run, samples

from agent_exporter.action import Tokens, decode
from agent_exporter.config import parse
from agent_exporter.config.strict import ConfigError
from agent_exporter.prices import CACHE_APART, FREE, MISMATCH, UNPRICED, Prices, cost, shipped
from agent_exporter.prices.names import plainer
from agent_exporter.replay import replay

OWN = """
prices:
  models:
    fast: {input: 1, output: 4, cache_read: 0.1, cache_write: 1.25}
    "fast-*": {input: 2, output: 8}
    long: {input: 1, output: 2, long_prompt: {above: 1000, input: 10, output: 20}}
"""


def completed(prices: Prices, tokens: Tokens):
    """The tokens of a line once they are complete, and what is odd about them."""
    logged = msgspec.structs.replace(decode(line()), tokens=tokens)
    action, odd = prices.complete(logged)
    assert logged.tokens is tokens
    return action.tokens, odd


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
        (Tokens(prompt=10, cache_read=20, model="fast"), 10e-6 + 20 * 0.1e-6),
        (Tokens(completion=5, model="claude-sonnet-4-20250514"), 75e-6),
        (Tokens(model="fast"), 0.0),
    ],
)
def test_a_cost_that_a_line_does_not_say_is_the_price_tables(tokens, dollars):
    priced, odd = completed(own(), tokens)
    assert not odd & MISMATCH
    assert priced.cost_usd == pytest.approx(dollars)


def test_a_model_without_a_price_stays_without_a_cost():
    """Unknown is not zero."""
    for tokens in (Tokens(prompt=5, model="my-own"), Tokens(completion=5)):
        assert completed(own(), tokens) == (tokens, UNPRICED)
    for tokens in (Tokens(model="my-own"), Tokens(prompt=5, model="my-own", cost_usd=1.0)):
        assert completed(own(), tokens) == (tokens, 0)


@pytest.mark.parametrize(
    ("logged", "same"), [(5.0, True), (5.49, True), (5.51, False), (4.49, False), (0.0, False), (50.0, False)]
)
def test_a_logged_cost_is_kept_and_checked(logged, same):
    """Within a tenth it is the same: agents round, and sum up."""
    tokens = Tokens(prompt=1_000_000, completion=1_000_000, model="fast", cost_usd=logged)
    assert completed(own(), tokens) == (tokens, 0 if same else MISMATCH)


def test_a_hundredth_of_a_cent_is_never_a_mismatch():
    assert completed(own(), Tokens(prompt=1, model="fast", cost_usd=0.0001))[1] == 0


def test_an_exact_name_wins_over_a_glob_and_the_config_over_what_is_shipped():
    prices = Prices(
        parse('prices: {models: {"claude-*": {input: 9, output: 9}, claude-x: {input: 1, output: 1}}}').prices
    )
    assert prices.of("claude-x").input == 1
    assert prices.of("claude-sonnet-4-20250514").input == 9
    assert prices.of("gpt-4o-mini").input == 0.15
    assert Prices(parse("prices: {use_shipped: false}").prices).of("gpt-4o-mini") is None


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o-mini", "gpt-4o-mini"),
        ("openai:gpt-4o-mini", "gpt-4o-mini"),
        ("GPT-4o", "gpt-4o"),
        ("azure/eu/gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-2031-01-30", "gpt-4o"),
        ("o3-mini-20310130", "o3-mini"),
        ("gpt-4o-latest", "gpt-4o"),
        ("openai/gpt-4o:extended", "gpt-4o:extended"),
        ("x-ai/grok-4:online", "grok-4"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("bedrock/eu-central-1/anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku-20240307"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/apac.anthropic.claude-sonnet-4-20250514-v1:0",
            "claude-sonnet-4",
        ),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
        ("vertex_ai/claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("litellm_proxy/anthropic/claude-sonnet-4", "claude-sonnet-4"),
    ],
)
def test_a_model_has_its_price_under_every_name_that_gateways_give_it(written, plain):
    """Prefixes of providers and regions, dates and versions."""
    assert own().of(plain) is not None
    assert own().of(written) == own().of(plain)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "gpt-4o-ultra",
            "my-gpt-4o",
            "tunes/gpt-4o",
            "groq/openai/gpt-4o",
            "azure/our-deployment",
            "openai/",
            "openai/x",
        ),
        *("gpt-4o-audio-preview", "gpt-4o-1", "gpt", "4o", "models/", "us.", "-latest", ":free x", "", "a" * 1000),
    ],
)
def test_no_model_has_the_price_of_another(name):
    """What is not known to be only around a name is part of it."""
    assert own().of(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("gemini-2.5-pro", "google/gemini-2.5-pro", "gemini/gemini-2.5-pro", "models/gemini-2.5-pro-preview-06-05"),
        *("gemini-3.8-flash", "gemini-2.5-flash-lite-preview-09-2025", "gemini-3.5-flash-001"),
        *("codestral", "codestral-latest", "mistral/pixtral-large", "mistral-small", "text-embedding-3-small"),
    ],
)
def test_a_family_has_a_price_though_the_source_says_more_of_it_than_a_glob_can(name):
    """It excludes models that speak from a family, and names some families by their newest model only."""
    assert Prices().of(name).input > 0


@pytest.mark.parametrize("name", ["gemini-2.5-pro-tts", "gemini-2.5-pro-preview-tts", "gemini-3.8-flash-tts-2"])
def test_a_model_that_speaks_does_not_have_the_price_of_its_family(name):
    """It is not priced by tokens of text."""
    assert Prices().of(name) is None


def test_a_free_variant_is_free_and_the_configs_word_on_a_name_is_the_last():
    """A known price of zero is not an unknown one."""
    assert own().of("deepseek/deepseek-r1:free") == FREE
    assert Prices().of("openai/gpt-4o-mini").input == 0.15
    prices = own('prices: {models: {gpt-4o: {input: 9, output: 9}, "openai/gpt-4o": {input: 8, output: 8}}}')
    assert [prices.of(name).input for name in ("openai/gpt-4o", "azure/gpt-4o", "gpt-4o")] == [8, 9, 9]


@given(st.sampled_from(sorted(shipped().models)))
def test_a_name_of_the_table_has_its_own_price(name):
    """However it reads, it is taken as it is first."""
    if not set(name) & set("*?["):
        assert Prices().of(name) == shipped().models[name]


@given(st.text(max_size=30) | st.from_regex(r"(openai/|us\.|@|:|-latest|-v1:0|\d){0,9}", fullmatch=True))
def test_any_name_is_looked_up_in_bounded_time(name):
    """Names come from lines."""
    assert len(list(plainer(name))) <= len(name) + 2


@pytest.mark.parametrize(
    ("logged", "prompt", "odd"),
    [
        ({"prompt": 7, "cache_read": 40_000, "cache_write": 0}, 40_007, CACHE_APART),
        ({"prompt": 7, "cache_read": 4, "cache_write": 4}, 15, CACHE_APART),
        ({"cache_read": 5}, 5, CACHE_APART),
        ({"prompt": 40_007, "cache_read": 40_000}, 40_007, 0),
        ({"prompt": 8, "cache_read": 4, "cache_write": 4}, 8, 0),
        ({"prompt": 8}, 8, 0),
    ],
)
def test_cached_tokens_beyond_the_prompt_are_added_to_it(logged, prompt, odd):
    """A part cannot be more than the whole: then it was none, and all three are the prompt. Once is enough."""
    once, found = completed(own(), Tokens(**logged, model="fast"))
    assert (found, once.prompt) == (odd, prompt)
    twice, found = completed(own(), once)
    assert (found, twice.prompt) == (0, prompt)


def test_what_a_prompt_leaves_out_once_it_always_leaves_out():
    """Of an agent and a model: a call whose prompt is longer than what is cached shows nothing, but is counted alike."""
    prices = own()
    mixed = {"prompt": 45_000, "cache_read": 40_000, "model": "fast"}
    shown = {"prompt": 7, "cache_read": 40_000, "model": "fast"}
    found = [
        completed(prices, Tokens(**(tokens | {"model": model})))[0].prompt
        for tokens, model in ((mixed, "fast"), (shown, "fast"), (mixed, "fast"), (mixed, "fast-2"), (shown, "fast"))
    ]
    assert found == [45_000, 40_007, 85_000, 45_000, 40_007]
    only_cache = Tokens(cache_read=5, model="fast-2")  # a part of the usage alone shows nothing
    assert completed(prices, only_cache)[0].prompt == 5
    assert completed(prices, Tokens(**(mixed | {"model": "fast-2"})))[0].prompt == 45_000


def test_corrected_tokens_are_those_of_metrics_budgets_and_findings():
    """And what has no price is counted and named."""
    lines = [
        line(
            timestamp=f"2026-03-18T09:15:{n:02}Z",
            action="llm_call",
            tokens={"prompt": 7, "completion": 200, "cache_read": 40_000, "model": model},
        )
        for n, model in enumerate(("fast", "my-own"))
    ]
    stages = run(*lines, config=OWN)
    found = samples(stages)
    assert found["agent_tokens_total"] == {
        ("a", "fast", "prompt"): 40_007,
        ("a", "fast", "completion"): 200,
        ("a", "my-own", "prompt"): 40_007,
        ("a", "my-own", "completion"): 200,
    }
    assert found["agent_tokens_today"] == {("a",): 80_414}
    assert found["agent_tokens_unpriced_total"] == {("a", "fast"): 0, ("a", "my-own"): 40_207}
    assert found["agent_prompts_without_cache_total"] == {("a", "fast"): 1, ("a", "my-own"): 1}
    assert found["agent_session_budget_exceeded_total"] == {("a", "default"): 1}
    assert stages.tally.unpriced() == {"my-own": 40_207}


def test_the_shipped_table_says_when_and_from_where_it_is():
    table = shipped()
    assert date.fromisoformat(table.date).year >= 2026
    assert table.source.startswith("genai-prices ")
    assert len(table.models) > 300
    # Of two globs that fit the first counts, so the longer of two beginnings comes first.
    globs = [name for name in table.models if set(name) & set("*?[")]
    assert all(len(one) >= len(other) for one, other in pairwise(globs))
    assert all(price.input >= 0 and price.output >= 0 for price in table.models.values() if price is not None)


@given(st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_a_cost_is_never_negative_and_always_finite(prompt, completion, read, write):
    """Whatever a line claims of its cached tokens."""
    price = own().of("fast")
    found = cost(price, Tokens(prompt=prompt, completion=completion, cache_read=read, cache_write=write))
    assert 0 <= found < 1_000


def test_what_is_wrong_in_a_price_table_is_told_with_its_path():
    with pytest.raises(ConfigError) as told:
        parse(
            "prices: {tolerance: -1, models: {a: {input: 1}, b: {input: x, output: 1, long_prompt: {above: 0, input: 1, output: 1}}}}"
        )
    assert told.value.faults == [
        "config: prices.tolerance: must be a number >= 0.0, not -1",
        "config: prices.models.a.output: is required",
        "config: prices.models.b.input: must be a number, not 'x'",
        "config: prices.models.b.long_prompt.above: must be a whole number >= 1, not 0",
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
    tally = stages.tally
    [model] = tally.agents["a"].models.values()
    assert (model.cost_usd, model.mismatches) == (pytest.approx(1.4 + 1.4 + 9.5), 1)
    assert tally.agents["a"].today.cost_usd == pytest.approx(12.3)
    assert tally.agents["a"].tasks["default"].over_budget == 1


def test_a_model_without_a_price_is_told_of_once_while_its_lines_tell_no_cost(caplog):
    """Only by `run`: a budget in dollars would wait for ever."""
    for live in (False, True):
        prices = Prices(live=live)
        for cost_usd in (0.5, None, None):
            _, odd = completed(prices, Tokens(prompt=1, model="own-7b", cost_usd=cost_usd))
            assert odd == (UNPRICED if cost_usd is None else 0)
    told = "model own-7b has no price and its lines have no cost: it never triggers a budget in dollars; add it to prices.models"
    assert caplog.messages == [told]
