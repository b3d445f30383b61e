"""One agent: what it does now, how well, against its own past. Its session's lines are here, a click from its trace."""

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
    counted_column,
    found,
    given,
    heatmap,
    lines,
    link,
    logs,
    now,
    prom,
    stat,
    table,
    thresholds,
    timeline,
    timeseries,
    traces,
    variable,
    words,
)  # fmt: skip
from dashboards.shared import (
    AGENT,
    RUNBOOKS,
    SHARE_OF_BUDGET,
    STANDING,
    TITLES,
    TRACES,
    WORST_SAID,
    alerts,
    links_but,
    marks,
)

ME = 'agent_id="$agent_id"'
LINES = '{service_name="agents", agent=~"$agent_id|other"} | agent_id="$agent_id"'
"""Its lines; an agent that no config names is under `other`."""
BURNING, ELEVATED = "AgentErrorsBurning", "AgentErrorsElevated"
"""The alerts about its errors: with few actions a share alone, of one in three, is none."""
SESSION = '| session_id=~".*$session.*"'
TO_SESSION = link(
    "Its lines, below",
    f"/d/{AGENT}?var-agent_id=$agent_id&var-session=${{__data.fields.session_id:percentencode}}&${{__url_time_range}}",
)
TO_SESSION_TRACES = link(
    "Its traces", f"/d/{TRACES}?var-session=${{__data.fields.session_id:percentencode}}&${{__url_time_range}}"
)


def firing(alerts: str) -> str:
    """Its alerts of these names."""
    return f'ALERTS{{{ME}, alertstate="firing", alertname=~"{alerts}"}}'


def build() -> Json:
    """The board."""
    return board(
        AGENT,
        TITLES[AGENT],
        "What it does now, what it costs, how well it does. An empty session shows all of its sessions.",
        (
            "Is it well?",
            [
                stat(
                    "Status",
                    "Its worst alert; the list below has the words, and links to the runbook.",
                    "none",
                    now(
                        f"({STANDING.replace('(agent_info)', f'(agent_info{{{ME}}})')}) "
                        f"and on (agent_id) agent_info{{{ME}}}"
                    ),
                    mappings=WORST_SAID,
                ),
                stat(
                    "It says",
                    "What its last heartbeat told. working for long without an action is stuck; no heartbeats: it does not send "
                    "any (agentlog does, if asked).",
                    "none",
                    now(
                        f'(max(agent_state_timestamp_seconds{{{ME}, state="working"}}) '
                        f'> bool max(agent_state_timestamp_seconds{{{ME}, state="idle"}})) '
                        f"and on () max(agent_state_timestamp_seconds{{{ME}}}) > 0"  # 0: it never told that state
                    ),
                    mappings=words({1: ("working", GOOD), 0: ("idle", QUIET)}),
                    none="no heartbeats",
                ),
                stat(
                    "Last line",
                    "Time since its newest line. Over twice its expected interval it is silent and pages.",
                    "s",
                    now(f"time() - max(agent_last_active_timestamp_seconds{{{ME}}})"),
                    decimals=0,
                    none="never seen",
                ),
                stat(
                    "Open sessions",
                    "Sessions without an end. Many at once: it takes more than it can do, or never says that it is done.",
                    "none",
                    now(f"sum(agent_sessions_active{{{ME}}})"),
                ),
                stat(
                    "Errors 1h",
                    "Share of its actions that ended in error or timeout. Its colour is that of the alert made of it, and it has none "
                    "without: of a few actions it may be chance.",
                    "percentunit",
                    now(f"agent:errors:ratio1h{{{ME}}} and on (agent_id) {firing(BURNING)}"),
                    now(
                        f"agent:errors:ratio1h{{{ME}}} and on (agent_id) {firing(ELEVATED)} "
                        f"unless on (agent_id) {firing(BURNING)}"
                    ),
                    now(f"agent:errors:ratio1h{{{ME}}} unless on (agent_id) {firing(f'{BURNING}|{ELEVATED}')}"),
                    colours={"A": BAD, "B": WARN},
                    none="no actions",
                ),
                stat(
                    "Daily tokens",
                    "Tokens since 00:00 UTC over its budget.",
                    "percentunit",
                    now(f"agent:daily_tokens:ratio{{{ME}}}"),
                    limits=SHARE_OF_BUDGET,
                    none="no budget",
                ),
                stat(
                    "Daily dollars",
                    "Dollars since 00:00 UTC over its budget. From 80 % a warning, over 100 % a page.",
                    "percentunit",
                    now(f"agent:daily_cost:ratio{{{ME}}}"),
                    limits=SHARE_OF_BUDGET,
                    none="no budget",
                ),
                stat(
                    "Dollars today",
                    "Since 00:00 UTC, as it logs them.",
                    "currencyUSD",
                    now(f"agent:cost_usd_today:sum{{{ME}}}"),
                    decimals=2,
                ),
                alerts(
                    "Its alerts",
                    "Firing and pending. A click on one opens its runbook: what to do.",
                    'agent_id="$agent_id", severity=~"critical|warning"',
                    w=10,
                    h=7,
                ),
                bars(
                    "Findings, how long ago",
                    "When each kind was last found. Less than ten minutes ago pages for loop, session_budget and cascade. Kinds "
                    "never found are left out.",
                    "s",
                    now(
                        f"clamp_min(time() - max by (kind) (agent_finding_timestamp_seconds{{{ME}}} > 0), 0)",
                        "{{kind}}",
                    ),
                    limits=thresholds((None, GOOD), (0, BAD), (600, GOOD)),
                    w=6,
                    h=7,
                    most=3600,
                    none="nothing was ever found",
                    name="kind",
                ),
                timeline(
                    "Health checks",
                    "What the exporter's probes say: liveness, the model, a canary question, memory. reasoning_quality failing "
                    "while the rest is well: the model got worse, not the network.",
                    prom(f"min by (check) (agent_health_check_success{{{ME}}})", "{{check}}"),
                    prom(
                        f"2 * max(agent_info{{{ME}}}) unless on () agent_health_check_success{{{ME}}}",
                        "none configured",
                    ),
                    mappings=words(
                        {1: ("passes", GOOD), 0: ("FAILS", BAD), 2: ("none are configured (docs/probes.md)", QUIET)}
                    ),
                    w=8,
                    h=7,
                ),
            ],
        ),
        (
            "What is it doing now?",
            [
                table(
                    "Sessions of the last 15 minutes",
                    "By the tokens that their lines tell. A click on a session filters the lines below, or shows its traces. "
                    "One far above the others is the one to look at.",
                    {
                        "Tokens": (
                            counted_column(
                                "sum by (session_id) (sum_over_time("
                                f'{LINES} | json prompt="tokens.prompt", completion="tokens.completion" '
                                '| label_format tokens=`{{ addf (float64 (or .prompt "0")) (float64 (or .completion "0")) }}` '
                                '| unwrap tokens | __error__="" [15m]))'
                            ),
                            "short",
                            {},
                        ),
                        "Actions": (
                            counted_column(
                                f'sum by (session_id) (count_over_time({LINES} | json action="action" '
                                '| action!="heartbeat" [15m]))'
                            ),
                            "none",
                            {},
                        ),
                        "Failed": (
                            counted_column(
                                'sum by (session_id) (count_over_time({service_name="agents", agent=~"$agent_id|other", '
                                'level="error"} | agent_id="$agent_id" [15m]))'
                            ),
                            "none",
                            {"thresholds": thresholds((None, "text"), (1, WARN)), **COLORED},
                        ),
                    },
                    by=("session_id",),
                    w=10,
                    sort="Tokens",
                    keys={
                        "session_id": {
                            "displayName": "Session",
                            "custom.width": 190,
                            "links": [TO_SESSION, TO_SESSION_TRACES],
                        }
                    },
                ),
                found(
                    "Its newest tasks",
                    "Traces that it took part in, by root. A click shows the tree. A session's own span arrives when it ends.",
                    traces('{ span.gen_ai.agent.name = "$agent_id" && span.gen_ai.conversation.id =~ ".*$session.*" }'),
                    w=14,
                    h=10,
                ),
                logs(
                    "Recent actions",
                    "Its lines as they came, heartbeats left out, the newest first. Open one: its trace id is a link to its "
                    "trace, its session id is in the fields.",
                    lines(
                        f'{LINES} {SESSION} | json action="action", status="status", ms="duration_ms", '
                        'prompt="tokens.prompt", completion="tokens.completion", retry="metadata.retry_count", error="error.type" '
                        '| action!="heartbeat" '
                        "| line_format `{{ .status }}  {{ .action }}{{ if .ms }}  {{ .ms }} ms{{ end }}"
                        "{{ if .prompt }}  {{ .prompt }}+{{ .completion }} tokens{{ end }}"
                        '{{ if and .retry (ne .retry "0") }}  retry {{ .retry }}{{ end }}'
                        "{{ if .error }}  {{ .error }}{{ end }}  {{ .session_id }}`"
                    ),
                ),
                logs(
                    "Findings about it",
                    "What the exporter found, with its evidence, as it printed it. The trace id leads to the proof.",
                    lines('{service_name="agent-exporter"} | agent_id="$agent_id"'),
                    h=7,
                ),
            ],
        ),
        (
            "What does it burn?",
            [
                timeseries(
                    "Tokens per minute, by model",
                    "A new model shows as a new line, and as a mark on every graph.",
                    "short",
                    prom(
                        f"60 * sum by (model, token_type) (rate(agent_tokens_total{{{ME}}}[$__rate_interval]))",
                        "{{model}} {{token_type}}",
                    ),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Tokens per session",
                    "Median and 95th percentile of the sessions that ended, and the budget of its task types. A slow creep is "
                    "context that grows.",
                    "short",
                    prom(
                        f"histogram_quantile(0.5, sum by (le) (rate(agent_session_tokens_bucket{{{ME}}}[1h])))",
                        "median",
                    ),
                    prom(
                        f"histogram_quantile(0.95, sum by (le) (rate(agent_session_tokens_bucket{{{ME}}}[1h])))", "95 %"
                    ),
                    prom(
                        "max by (task_type) (agent_session_token_budget) and on (task_type) "
                        f"agent_sessions_total{{{ME}}}",
                        "budget of {{task_type}}",
                    ),
                    w=8,
                ),
                timeseries(
                    "Tokens of an action, usual",
                    "Rolling average by action; a single action over twice this is a finding (action_anomaly).",
                    "short",
                    prom(f"max by (action) (agent_action_tokens_rolling_average{{{ME}}})", "{{action}}"),
                    w=8,
                ),
            ],
        ),
        (
            "How well does it work?",
            [
                timeseries(
                    "Actions per minute, by outcome",
                    "error and timeout are failures; cancelled is not. Points on the graph are traces: click one.",
                    "none",
                    prom(
                        f"60 * sum by (status) (rate(agent_actions_total{{{ME}}}[$__rate_interval]))",
                        "{{status}}",
                        exemplar=True,
                    ),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Duration of an action, 95 %",
                    "By action. Points are single actions: a click on one shows its trace.",
                    "s",
                    prom(
                        "histogram_quantile(0.95, sum by (action, le) "
                        f"(rate(agent_action_duration_seconds_bucket{{{ME}}}[$__rate_interval])))",
                        "{{action}}",
                        exemplar=True,
                    ),
                    w=8,
                ),
                timeseries(
                    "Errors per minute, by type",
                    "What kind of thing fails; _OTHER did not say, _overflow is beyond the first hundred types.",
                    "none",
                    prom(
                        f"60 * sum by (error_type) (rate(agent_errors_total{{{ME}}}[$__rate_interval]))",
                        "{{error_type}}",
                    ),
                    none="● none",
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Retries and fallbacks per minute",
                    "By action. More than three retries of one action is a loop. Fallbacks: it works, but not as meant.",
                    "none",
                    prom(
                        f"60 * sum by (action) (rate(agent_retries_total{{{ME}}}[$__rate_interval])) > 0",
                        "retry of {{action}}",
                    ),
                    prom(
                        f"60 * sum by (action) (rate(agent_fallbacks_total{{{ME}}}[$__rate_interval])) > 0",
                        "fallback of {{action}}",
                    ),
                    none="● none",
                    w=8,
                ),
                timeseries(
                    "Sessions ended per hour",
                    "By how: abandoned went quiet without an end, terminated was stopped by the breaker.",
                    "none",
                    prom(f"sum by (outcome) (increase(agent_sessions_total{{{ME}}}[1h]))", "{{outcome}}"),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "What it spends its actions on",
                    "Share of each action in a day. A mix that moves without a deployment is a decision pattern that drifts.",
                    "percentunit",
                    prom(f"agent_action:share:mean1d{{{ME}}}", "{{action}}"),
                    w=8,
                    stacked=True,
                    most=1,
                ),
            ],
        ),
        (
            "Is it as good as in its first week?",
            [
                timeseries(
                    "Quality, three-day means",
                    "Confidence, tasks completed and user feedback; dashed lines are its first seven days. More than 0.08 "
                    "(confidence) or 0.15 below and still falling is drift: compare models, prompts and tools of then and now.",
                    "percentunit",
                    prom(f"agent:quality:mean3d{{{ME}}}", "{{metric}}"),
                    prom(f"max by (metric) (agent_baseline_ratio{{{ME}}})", "{{metric}}, first week"),
                    w=8,
                    most=1,
                    overrides=[
                        {
                            "matcher": {"id": "byRegexp", "options": "/first week/"},
                            "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}],
                        }
                    ],
                ),
                heatmap(
                    "Confidence",
                    "How sure it says it is. A band that sinks comes before failures do.",
                    "none",
                    prom(f"sum by (le) (increase(agent_confidence_ratio_bucket{{{ME}}}[$__rate_interval]))", "{{le}}"),
                    w=8,
                ),
                stat(
                    "Surer than right",
                    "Mean confidence minus the share of successes, over three days. Above 0.2 its confidence no longer tells "
                    "good answers from bad ones.",
                    "none",
                    now(f"agent:calibration:gap3d{{{ME}}}"),
                    w=4,
                    h=8,
                    decimals=2,
                    limits=thresholds((None, GOOD), (0.2, WARN)),
                    none="no confidence told",
                ),
                stat(
                    "Benchmark",
                    "Share of its known-good inputs that still come out as expected. Below 1 compare the failing cases.",
                    "percentunit",
                    now(f"min by (suite) (agent_benchmark_passed_ratio{{{ME}}})", "{{suite}}"),
                    w=4,
                    h=8,
                    limits=thresholds((None, "text"), (0, BAD), (0.9, WARN), (1, GOOD)),
                    none="none was run",
                    text="value_and_name",
                ),
            ],
        ),
        variables=[
            variable("agent_id", "Agent", "label_values(agent_info, agent_id)", many=False),
            given("session", "Session"),
            RUNBOOKS,
        ],
        links=links_but(AGENT),
        annotations=marks(ME),
        since="now-1h",
    )
