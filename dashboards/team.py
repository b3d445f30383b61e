"""One team, or all of them side by side."""

from __future__ import annotations

from dashboards.panels import (
    BAD,
    COLORED,
    GOOD,
    WARN,
    Json,
    board,
    column,
    now,
    prom,
    stat,
    table,
    thresholds,
    timeseries,
)  # fmt: skip
from dashboards.shared import (
    AGENT_COLUMN,
    ROW_TO_TEAM,
    SHARE_OF_BUDGET,
    STANDING,
    TEAM,
    TEAM_CHOICE,
    TITLES,
    TO_AGENT,
    WORST_SAID,
    links_but,
    marks,
)  # fmt: skip

OURS = 'and on (agent_id) agent:team:info{team=~"$team"}'
"""Only the agents of the chosen teams."""
TEAMS = '* on (agent_id) group_left (team) agent:team:info{team=~"$team"}'
"""With the label team."""


def build() -> Json:
    """The board."""
    return board(
        TEAM,
        TITLES[TEAM],
        "What a team's agents cost and how well they do. Agents without a team are under All only.",
        (
            "How is the team?",
            [
                stat(
                    "Agents",
                    "Agents of the chosen teams that have logged or are configured.",
                    "none",
                    now('count(agent:team:info{team=~"$team"})'),
                    w=8,
                ),
                stat(
                    "With a page",
                    "Its agents with a critical alert; the table below names them.",
                    "none",
                    now(
                        'count(count by (agent_id) (ALERTS{alertstate="firing", severity="critical", agent_id!=""} '
                        f"{OURS})) or vector(0)"
                    ),
                    w=8,
                    limits=thresholds((None, GOOD), (1, BAD)),
                ),
                stat(
                    "Tokens today",
                    "Since 00:00 UTC.",
                    "short",
                    now(f"sum(agent:tokens_today:sum {OURS})"),
                    w=8,
                ),
                stat(
                    "Dollars today",
                    "Since 00:00 UTC, as logged.",
                    "currencyUSD",
                    now(f"sum(agent:cost_usd_today:sum {OURS})"),
                    w=8,
                    decimals=2,
                ),
                stat(
                    "Tasks completed, 24 h",
                    "Of the sessions that said how they went. A fall without errors is the drift that no status code shows: "
                    "open the agent and compare with its first week.",
                    "percentunit",
                    now(
                        'sum(sum by (agent_id) (increase(agent_sessions_total{outcome="completed"}[1d])) '
                        f"{OURS}) / (sum(sum by (agent_id) "
                        f'(increase(agent_sessions_total{{outcome=~"completed|failed"}}[1d])) {OURS}) > 0)'
                    ),
                    w=8,
                    limits=thresholds((None, "text"), (0, BAD), (0.8, WARN), (0.95, GOOD)),
                    none="none said",
                ),
                stat(
                    "Error rate, 1 h",
                    "Share of actions that ended in error or timeout.",
                    "percentunit",
                    now(
                        f"sum(sum by (agent_id) (increase(agent_errors_total[1h])) {OURS}) "
                        f"/ (sum(agent:actions:increase1h {OURS}) > 0)"
                    ),
                    w=8,
                    limits=thresholds((None, GOOD), (0.05, WARN), (0.144, BAD)),
                    none="no actions",
                ),
            ],
        ),
        (
            "Which team?",
            [
                table(
                    "Teams",
                    "The chosen teams side by side.",
                    {
                        "Agents": (column('count by (team) (agent:team:info{team=~"$team"})'), "none", {}),
                        "Tokens today": (column(f"sum by (team) (agent:tokens_today:sum {TEAMS})"), "short", {}),
                        "Dollars today": (
                            column(f"sum by (team) (agent:cost_usd_today:sum {TEAMS})"),
                            "currencyUSD",
                            {"decimals": 2},
                        ),
                        "Errors, 1 h": (
                            column(
                                f"sum by (team) (agent:errors:ratio1h * agent:actions:increase1h {TEAMS}) "
                                f"/ sum by (team) (agent:actions:increase1h {TEAMS})"
                            ),
                            "percentunit",
                            {"thresholds": thresholds((None, GOOD), (0.05, WARN), (0.144, BAD)), **COLORED},
                        ),
                    },
                    by=("team",),
                    w=10,
                    h=9,
                    keys={"team": {"displayName": "Team", "links": [ROW_TO_TEAM]}},
                ),
                table(
                    "Its agents",
                    "Those with alerts first. A click on a name shows the agent.",
                    {
                        "Status": (column(f"({STANDING}) {OURS}"), "none", {"mappings": WORST_SAID, **COLORED}),
                        "Sessions": (column(f"sum by (agent_id) (agent_sessions_active) {OURS}"), "none", {}),
                        "Dollars today": (column(f"agent:cost_usd_today:sum {OURS}"), "currencyUSD", {"decimals": 2}),
                        "Of daily dollars": (
                            column(f"agent:daily_cost:ratio {OURS}"),
                            "percentunit",
                            {"thresholds": SHARE_OF_BUDGET, **COLORED},
                        ),
                        # Without a colour: Status, beside it, says whether there are enough actions to judge by.
                        "Errors, 1 h": (column(f"agent:errors:ratio1h {OURS}"), "percentunit", {}),
                    },
                    by=("agent_id",),
                    w=14,
                    h=9,
                    sort="Status",
                    keys=AGENT_COLUMN,
                ),
            ],
        ),
        (
            "What does it burn?",
            [
                timeseries(
                    "Dollars per hour, by team",
                    "At the pace of the moment, as logged.",
                    "currencyUSD",
                    prom(
                        f"3600 * sum by (team) (sum by (agent_id) (rate(agent_cost_usd_total[$__rate_interval])) {TEAMS})",
                        "{{team}}",
                    ),
                    stacked=True,
                ),
                timeseries(
                    "Tokens per minute, by agent",
                    "The ten that use most. One that climbs alone is in a loop or drags its context along.",
                    "short",
                    prom(
                        f"topk(10, 60 * sum by (agent_id) (rate(agent_tokens_total[$__rate_interval])) {OURS})",
                        "{{agent_id}}",
                    ),
                    links=[TO_AGENT],
                ),
            ],
        ),
        (
            "How well does it work?",
            [
                timeseries(
                    "Error rate, by agent",
                    "Over five minutes. Several that rise one after another are a cascade: the trace board shows its root.",
                    "percentunit",
                    prom(f"agent:errors:ratio5m {OURS}", "{{agent_id}}"),
                    limits=thresholds((None, GOOD), (0.144, BAD)),
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Retries, by agent",
                    "Share of actions of an hour that were a retry. It climbs before errors do: something behind the agent is "
                    "getting slow or full.",
                    "percentunit",
                    prom(f"agent:retries:ratio1h {OURS}", "{{agent_id}}"),
                    links=[TO_AGENT],
                ),
            ],
        ),
        variables=[TEAM_CHOICE],
        links=links_but(TEAM),
        annotations=marks(where=OURS),
    )
