"""Tokens and dollars: who is over, who will be by midnight, and what it is spent on."""

from __future__ import annotations

from dashboards.panels import (
    BAD,
    COLORED,
    GOOD,
    WARN,
    Json,
    bars,
    board,
    column,
    now,
    prom,
    stat,
    table,
    thresholds,
    timeseries,
    variable,
)  # fmt: skip
from dashboards.shared import (
    AGENT_COLUMN,
    BUDGET,
    NONE_IS_WELL,
    SHARE_OF_BUDGET,
    TEAM_CHOICE,
    TITLES,
    TO_AGENT,
    links_but,
    marks,
    troubled,
)  # fmt: skip

WHO = 'agent_id=~"$agent_id"'
OURS = 'and on (agent_id) agent_info{team=~"$team"}'
TO_COME = "(86400 - time() % 86400)"
"""Seconds until midnight UTC, when the day's sums begin anew."""
DOLLARS_BY_MIDNIGHT = (
    f"agent:cost_usd_today:sum{{{WHO}}} + on (agent_id) "
    f"sum by (agent_id) (rate(agent_cost_usd_total{{{WHO}}}[1h])) * {TO_COME}"
)
TOKENS_BY_MIDNIGHT = f"agent:tokens_today:sum{{{WHO}}} + on (agent_id) sum by (agent_id) (rate(agent_tokens_total{{{WHO}}}[1h])) * {TO_COME}"


def build() -> Json:
    """The board."""
    return board(
        BUDGET,
        TITLES[BUDGET],
        "Days are UTC. Dollars are what agents log; a forecast goes on at the pace of the last hour.",
        (
            "Is somebody over?",
            [
                stat(
                    "Dollars today",
                    "Of the chosen agents, since 00:00 UTC.",
                    "currencyUSD",
                    now(f"sum(agent:cost_usd_today:sum{{{WHO}}} {OURS})"),
                    w=8,
                    decimals=2,
                ),
                stat(
                    "Dollars by midnight",
                    "If the last hour goes on. Far above yesterday: find who it is in the table before the day is over.",
                    "currencyUSD",
                    now(f"sum({DOLLARS_BY_MIDNIGHT} {OURS})"),
                    w=8,
                    decimals=2,
                ),
                stat(
                    "Tokens today",
                    "Of the chosen agents, since 00:00 UTC.",
                    "short",
                    now(f"sum(agent:tokens_today:sum{{{WHO}}} {OURS})"),
                    w=8,
                ),
                troubled(
                    "Over daily budget",
                    "Agents beyond their tokens or dollars of the day; they page. Stop them, or raise the budget in the config.",
                    f"count((agent:daily_tokens:ratio{{{WHO}}} > 1) or (agent:daily_cost:ratio{{{WHO}}} > 1)) or vector(0)",
                    w=8,
                ),
                stat(
                    "Sessions over, 24 h",
                    "Sessions beyond the tokens of their task type. The breaker stops them if it may; see the agent's findings.",
                    "none",
                    now(f"sum(increase(agent_session_budget_exceeded_total{{{WHO}}}[1d]))"),
                    w=8,
                    decimals=0,
                    limits=NONE_IS_WELL,
                ),
                stat(
                    "Sessions stopped, 24 h",
                    "What the breaker terminated, or in observe mode would have (observed). unconfirmed still logged after it.",
                    "none",
                    now(f"sum by (result) (increase(agent_terminations_total{{{WHO}}}[1d])) > 0", "{{result}}"),
                    w=8,
                    decimals=0,
                    none="none",
                    text="value_and_name",
                ),
            ],
        ),
        (
            "Who will be by midnight?",
            [
                table(
                    "Agents, today",
                    "Sorted by what they will have cost at midnight UTC if the last hour goes on.",
                    {
                        "Dollars today": (
                            column(f"agent:cost_usd_today:sum{{{WHO}}} {OURS}"),
                            "currencyUSD",
                            {"decimals": 2},
                        ),
                        "By midnight": (column(f"({DOLLARS_BY_MIDNIGHT}) {OURS}"), "currencyUSD", {"decimals": 2}),
                        "Budget": (
                            column(f"max by (agent_id) (agent_daily_cost_budget_usd{{{WHO}}}) {OURS}"),
                            "currencyUSD",
                            {},
                        ),
                        "Spent": (
                            column(f"agent:daily_cost:ratio{{{WHO}}} {OURS}"),
                            "percentunit",
                            {"thresholds": SHARE_OF_BUDGET, **COLORED},
                        ),
                        "Tokens today": (column(f"agent:tokens_today:sum{{{WHO}}} {OURS}"), "short", {}),
                        "Tokens by midnight": (column(f"({TOKENS_BY_MIDNIGHT}) {OURS}"), "short", {}),
                        "Of token budget": (
                            column(f"agent:daily_tokens:ratio{{{WHO}}} {OURS}"),
                            "percentunit",
                            {"thresholds": SHARE_OF_BUDGET, **COLORED},
                        ),
                    },
                    by=("agent_id",),
                    w=15,
                    sort="By midnight",
                    keys=AGENT_COLUMN,
                ),
                bars(
                    "Forecast at midnight, of the budget",
                    "Over 100 %: it passes its dollars before the day is over if nothing changes.",
                    "percentunit",
                    now(
                        f"sort_desc(({DOLLARS_BY_MIDNIGHT}) / on (agent_id) "
                        f"max by (agent_id) (agent_daily_cost_budget_usd) {OURS})",
                        "{{agent_id}}",
                    ),
                    limits=SHARE_OF_BUDGET,
                    w=9,
                    h=10,
                    most=1.5,
                    links=[TO_AGENT],
                    none="no agent has a daily budget in dollars",
                ),
            ],
        ),
        (
            "What is it spent on?",
            [
                timeseries(
                    "Dollars per hour, by agent",
                    "The ten that cost most. A step up without more sessions is a dearer model or a grown context.",
                    "currencyUSD",
                    prom(
                        f"topk(10, 3600 * sum by (agent_id) (rate(agent_cost_usd_total{{{WHO}}}[$__rate_interval])) {OURS})",
                        "{{agent_id}}",
                    ),
                    w=8,
                    stacked=True,
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Dollars per hour, by model",
                    "A model that should not be there shows here.",
                    "currencyUSD",
                    prom(
                        f"3600 * sum by (model) (rate(agent_cost_usd_total{{{WHO}}}[$__rate_interval]) {OURS})",
                        "{{model}}",
                    ),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Dollars per hour, by team",
                    "Agents without a team are one line without a name.",
                    "currencyUSD",
                    prom(
                        f"3600 * sum by (team) (sum by (agent_id) (rate(agent_cost_usd_total{{{WHO}}}[$__rate_interval])) "
                        '* on (agent_id) group_left (team) agent:team:info{team=~"$team"})',
                        "{{team}}",
                    ),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Dollars per completed task, 24 h",
                    "The price of a result: cost over sessions that said they were completed. It rises when prices do, and when "
                    "less comes out of it.",
                    "currencyUSD",
                    prom(
                        f"sum by (agent_id) (increase(agent_cost_usd_total{{{WHO}}}[1d])) / on (agent_id) (sum by (agent_id) "
                        f'(increase(agent_sessions_total{{{WHO}, outcome="completed"}}[1d])) > 0) {OURS}',
                        "{{agent_id}}",
                    ),
                    w=8,
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Day's cost against its own week",
                    "Cost of the last day over the mean of the seven days before. Three times that goes into the digest.",
                    "suffix: x",
                    prom(
                        f"agent:cost_usd:increase1d{{{WHO}}} / on (agent_id) "
                        f"(avg_over_time(agent:cost_usd:increase1d{{{WHO}}}[7d] offset 1d) > 0)",
                        "{{agent_id}}",
                    ),
                    none="no week to compare with yet",
                    w=8,
                    limits=thresholds((None, GOOD), (3, WARN)),
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Logged cost that the price table does not confirm",
                    "Lines per hour whose cost differs from tokens times price. A wrong model name, or an old price.",
                    "none",
                    prom(
                        f"sum by (agent_id, model) (increase(agent_cost_mismatch_total{{{WHO}}}[1h])) > 0",
                        "{{agent_id}} {{model}}",
                    ),
                    none="● none",
                    w=8,
                    limits=thresholds((None, GOOD), (1, BAD)),
                ),
            ],
        ),
        (
            "What does a session cost?",
            [
                timeseries(
                    "Tokens of a session, 95 %, of its task type's budget",
                    "Of sessions that ended within the hour. Near 1 the next long one is over and is stopped.",
                    "percentunit",
                    prom(
                        "histogram_quantile(0.95, sum by (task_type, le) "
                        f"(rate(agent_session_tokens_bucket{{{WHO}}}[1h]))) "
                        "/ on (task_type) max by (task_type) (agent_session_token_budget)",
                        "{{task_type}}",
                    ),
                    limits=thresholds((None, GOOD), (1, BAD)),
                ),
                timeseries(
                    "Mean tokens of a session, by agent",
                    "Of sessions that ended within the day. A slow climb is context that grows.",
                    "short",
                    prom(f"agent:session_tokens:mean1d{{{WHO}}} {OURS}", "{{agent_id}}"),
                    links=[TO_AGENT],
                ),
            ],
        ),
        variables=[
            TEAM_CHOICE,
            variable("agent_id", "Agent", 'label_values(agent_info{team=~"$team"}, agent_id)'),
        ],
        links=links_but(BUDGET),
        annotations=marks(WHO, where=OURS),
        since="now-24h",
    )
