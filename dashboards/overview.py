"""All agents at a glance: who wants attention, what is burnt, how well it goes."""

from __future__ import annotations

from dashboards.panels import (
    BAD,
    COLORED,
    GOOD,
    QUIET,
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
    words,
)  # fmt: skip
from dashboards.shared import (
    AGENT_COLUMN,
    OVERVIEW,
    RUNBOOKS,
    SHARE_OF_BUDGET,
    STANDING,
    TITLES,
    TO_AGENT,
    WORST_SAID,
    alerts,
    links_but,
    marks,
    troubled,
)  # fmt: skip


def build() -> Json:
    """The board."""
    return board(
        OVERVIEW,
        TITLES[OVERVIEW],
        "Start here. Red words in the first row say what to look at; a click on an agent shows it alone.",
        (
            "Does anybody want attention?",
            [
                stat(
                    "Watched",
                    "Whether Prometheus reaches the exporter. BLIND: nothing else here can be trusted, as it is old. "
                    "Restart the exporter, then look at its own board.",
                    "none",
                    now('max(up{job="agent-exporter"}) or vector(0)'),
                    mappings=words({1: ("● watching", GOOD), 0: ("▲ BLIND", BAD)}),
                ),
                troubled(
                    "Agents paging",
                    "Agents with a critical alert. The list below names them; each alert links to its runbook.",
                    (
                        'count(count by (agent_id) (ALERTS{alertstate="firing", severity="critical", agent_id!=""})) '
                        "or vector(0)"
                    ),
                ),
                troubled(
                    "Silent",
                    "Agents that logged nothing, not even a heartbeat, for over twice their expected interval. They hang or "
                    "are gone: look at the agent's process, then restart it.",
                    "count(agent:overdue:seconds) or vector(0)",
                ),
                troubled(
                    "Over budget",
                    "Agents beyond the tokens or dollars that their config allows in a UTC day. Stop the agent or raise "
                    "its budget; the budget board shows what it spends on.",
                    "count((agent:daily_tokens:ratio > 1) or (agent:daily_cost:ratio > 1)) or vector(0)",
                ),
                troubled(
                    "Findings 10m",
                    "Agents found looping, over a session's budget or in a cascade in the last ten minutes: what pages. "
                    "The table names the latest.",
                    (
                        "count(count by (agent_id) (time() - max by (agent_id, kind) "
                        '(agent_finding_timestamp_seconds{kind=~"loop|session_budget|cascade"}) < 600)) or vector(0)'
                    ),
                ),
                stat(
                    "Errors 15m",
                    "Share of all actions that ended in error or timeout. Above 5 % something that many agents share is "
                    "failing: compare the agents below.",
                    "percentunit",
                    now(
                        "sum(increase(agent_errors_total[15m])) "
                        '/ (sum(increase(agent_actions_total{status!="cancelled"}[15m])) > 0)'
                    ),
                    limits=thresholds((None, GOOD), (0.05, WARN), (0.144, BAD)),
                    none="no actions",
                ),
                stat(
                    "Tokens/min",
                    "All agents together, over five minutes. A jump without more work is a loop or a grown context.",
                    "short",
                    now("60 * sum(rate(agent_tokens_total[5m]))"),
                ),
                stat(
                    "Dollars/h",
                    "What all agents cost at the pace of the last five minutes, as they log it.",
                    "currencyUSD",
                    now("3600 * sum(rate(agent_cost_usd_total[5m]))"),
                    decimals=2,
                ),
            ],
        ),
        (
            "Who is it?",
            [
                alerts(
                    "Alerts",
                    "Critical and warning, firing and pending, the gravest first. A click on an alert opens its runbook, on an "
                    "agent its board. Empty is good, as long as the first tile says watching.",
                    'severity=~"critical|warning"',
                    "agent_id",
                    "team",
                    h=8,
                ),
                table(
                    "Agents",
                    "One line per agent; those with alerts first. _overflow is everything beyond the exporter's cap of series, "
                    "together. A click on a name shows the agent.",
                    {
                        "Status": (column(STANDING), "none", {"mappings": WORST_SAID, "custom.width": 110, **COLORED}),
                        "Last line": (
                            column("time() - max by (agent_id) (agent_last_active_timestamp_seconds)"),
                            "s",
                            {"decimals": 0},
                        ),
                        "Cycles": (
                            column(
                                "(time() - max by (agent_id) (agent_last_active_timestamp_seconds)) "
                                "/ on (agent_id) max by (agent_id) (agent_expected_cycle_seconds)"
                            ),
                            "suffix: x",
                            {"decimals": 1, "thresholds": thresholds((None, GOOD), (1, QUIET), (2, BAD)), **COLORED},
                        ),
                        "Open": (column("sum by (agent_id) (agent_sessions_active)"), "none", {}),
                        "Tokens/min": (column("60 * sum by (agent_id) (rate(agent_tokens_total[5m]))"), "short", {}),
                        "$/h": (
                            column("3600 * sum by (agent_id) (rate(agent_cost_usd_total[5m]))"),
                            "currencyUSD",
                            {"decimals": 2},
                        ),
                        # Without a colour: Status, before it, says whether there are enough actions to judge by.
                        "Errors": (column("agent:errors:ratio1h"), "percentunit", {"decimals": 1}),
                        "Budget": (
                            column("max by (agent_id) (agent:daily_tokens:ratio or agent:daily_cost:ratio)"),
                            "percentunit",
                            {"decimals": 0, "thresholds": SHARE_OF_BUDGET, **COLORED},
                        ),
                        "Found": (
                            column(
                                "time() - max by (agent_id) "
                                '(agent_finding_timestamp_seconds{kind=~"loop|session_budget|cascade"} > 0)'
                            ),
                            "s",
                            {
                                "decimals": 0,
                                "thresholds": thresholds((None, "text"), (0, BAD), (600, "text")),
                                **COLORED,
                            },
                        ),
                    },
                    by=("agent_id",),
                    h=12,
                    sort="Status",
                    keys=AGENT_COLUMN,
                ),
            ],
        ),
        (
            "What does it burn?",
            [
                timeseries(
                    "Tokens per minute",
                    "The ten agents that use most. One that climbs alone is in a loop or drags its context along: open it.",
                    "short",
                    prom(
                        "topk(10, 60 * sum by (agent_id) (rate(agent_tokens_total[$__rate_interval])))", "{{agent_id}}"
                    ),
                    w=8,
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Dollars per hour",
                    "The ten agents that cost most at their present pace, as they log it.",
                    "currencyUSD",
                    prom(
                        "topk(10, 3600 * sum by (agent_id) (rate(agent_cost_usd_total[$__rate_interval])))",
                        "{{agent_id}}",
                    ),
                    w=8,
                    links=[TO_AGENT],
                ),
                bars(
                    "Share of daily budget",
                    "Tokens or dollars since 00:00 UTC, whichever is nearer to its cap. From 80 % a warning, over 100 % a page. "
                    "Only agents that have a budget.",
                    "percentunit",
                    now(
                        'sort_desc(max by (agent_id) (label_replace(agent:daily_tokens:ratio, "of", "tokens", "", "") '
                        'or label_replace(agent:daily_cost:ratio, "of", "dollars", "", "")))',
                        "{{agent_id}}",
                    ),
                    limits=SHARE_OF_BUDGET,
                    w=8,
                    most=1,
                    links=[TO_AGENT],
                    none="no agent has a daily budget",
                ),
            ],
        ),
        (
            "How well does it work?",
            [
                timeseries(
                    "Error rate",
                    "Share of an agent's actions that ended in error or timeout, over five minutes. Many at once: look for a "
                    "cascade or a tool that all of them use. The dashed line is where the burn-rate alert stands.",
                    "percentunit",
                    prom("topk(10, agent:errors:ratio5m > 0)", "{{agent_id}}"),
                    w=8,
                    limits=thresholds((None, GOOD), (0.144, BAD)),
                    links=[TO_AGENT],
                ),
                timeseries(
                    "Findings",
                    "Loops by kind, sessions over budget and cascades, in each five minutes. Any of them is one too many.",
                    "none",
                    prom("sum by (kind) (increase(agent_loops_total[5m])) > 0", "loop: {{kind}}"),
                    prom("sum(increase(agent_session_budget_exceeded_total[5m])) > 0", "session over budget"),
                    prom("sum(increase(agent_cascades_total[5m])) > 0", "cascade"),
                    prom("sum(increase(agent_action_token_anomalies_total[5m])) > 0", "unusually many tokens"),
                    w=8,
                ),
                timeseries(
                    "Sessions ended",
                    "Per minute, by how. failed: the agent said so; abandoned: it went quiet without an end; terminated: the "
                    "breaker stopped it.",
                    "none",
                    prom("60 * sum by (outcome) (rate(agent_sessions_total[$__rate_interval]))", "{{outcome}}"),
                    w=8,
                    stacked=True,
                ),
            ],
        ),
        (
            "Is anybody silent?",
            [
                bars(
                    "Silence, in expected intervals",
                    "Time since an agent's newest line over the cycle that its config expects. Above 2 it is silent and pages, "
                    "unless it is in its quiet hours. Only agents with a cycle.",
                    "suffix: x",
                    now(
                        "sort_desc((time() - max by (agent_id) (agent_last_active_timestamp_seconds)) "
                        "/ on (agent_id) max by (agent_id) (agent_expected_cycle_seconds))",
                        "{{agent_id}}",
                    ),
                    limits=thresholds((None, GOOD), (1, WARN), (2, BAD)),
                    most=4,
                    links=[TO_AGENT],
                    none="no agent has an expected interval",
                ),
                timeseries(
                    "Slowest actions",
                    "95th percentile of an agent's actions over half an hour. A rise with steady errors is a slow tool or model; "
                    "open the agent to see which.",
                    "s",
                    prom("topk(10, agent:action_duration_seconds:p95_30m)", "{{agent_id}}"),
                    links=[TO_AGENT],
                ),
            ],
        ),
        variables=[RUNBOOKS],
        links=links_but(OVERVIEW),
        annotations=marks(),
    )
