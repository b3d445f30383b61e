"""The only place where a metric name is spelt: names, types, help and labels. `samples` puts values to them."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """A metric's name, type, help and labels. A counter's name is given as it is exposed, with `_total`."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


A, B, CHECK, SUITE = ("agent_id",), ("agent_id", "action"), ("agent_id", "check"), ("agent_id", "suite")
FAMILIES = {
    family.name: family
    for family in (
        Family("agent_info", "gauge", "1 for every agent, with the team it belongs to.", ("agent_id", "team")),
        Family("agent_actions_total", "counter", "Actions by outcome.", (*B, "status")),
        Family("agent_action_duration_seconds", "histogram", "How long actions took.", B),
        Family("agent_tokens_total", "counter", "Tokens used.", ("agent_id", "model", "token_type")),
        Family(
            "agent_cost_usd_total",
            "counter",
            "Cost in US dollars: as logged, else by the price table.",
            ("agent_id", "model"),
        ),
        Family(
            "agent_cost_mismatch_total",
            "counter",
            "Calls whose logged cost is not the price table's.",
            ("agent_id", "model"),
        ),
        Family(
            "agent_tokens_unpriced_total",
            "counter",
            "Tokens of calls that have neither a price nor a logged cost.",
            ("agent_id", "model"),
        ),
        Family(
            "agent_prompts_without_cache_total",
            "counter",
            "Calls whose prompt left out the cached tokens; these were added.",
            ("agent_id", "model"),
        ),
        Family("agent_retries_total", "counter", "Actions that were a retry.", B),
        Family("agent_fallbacks_total", "counter", "Actions that used a fallback.", B),
        Family("agent_errors_total", "counter", "Actions that ended in error or timeout.", ("agent_id", "error_type")),
        Family("agent_confidence_ratio", "histogram", "The agent's own confidence, 0 to 1.", A),
        Family("agent_confidence_success_total", "counter", "Successes among actions that told a confidence.", A),
        Family("agent_feedback_ratio", "summary", "User feedback, -1..1 mapped to 0..1.", A),
        Family(
            "agent_baseline_ratio", "gauge", "Mean of the first 7 UTC days, frozen after them.", ("agent_id", "metric")
        ),
        Family("agent_first_seen_timestamp_seconds", "gauge", "Time of the agent's first line.", A),
        Family(
            "agent_last_active_timestamp_seconds",
            "gauge",
            "Time of the agent's newest line, or its arrival if that is later.",
            A,
        ),
        Family(
            "agent_clock_offset_seconds",
            "gauge",
            "How far the agent's clock is ahead of the exporter's; negative if it is behind.",
            A,
        ),
        Family(
            "agent_last_action_timestamp_seconds", "gauge", "Time of the agent's newest line that is no heartbeat.", A
        ),
        Family(
            "agent_state_timestamp_seconds", "gauge", "When a heartbeat last told this state; 0 never.", (*A, "state")
        ),
        Family("agent_expected_cycle_seconds", "gauge", "A line is expected at least this often, as configured.", A),
        Family("agent_long_call_seconds", "gauge", "An action may take this long, as configured.", A),
        Family("agent_quiet_hours", "gauge", "1 while the agent is silent by plan.", A),
        Family("agent_heartbeats_total", "counter", "Heartbeats by the state they told.", (*A, "state")),
        Family("agent_sessions_active", "gauge", "Sessions that are open.", A),
        Family("agent_sessions_total", "counter", "Sessions that ended, by how.", (*A, "task_type", "outcome")),
        Family(
            "agent_session_duration_seconds", "histogram", "From first to last action of a session.", (*A, "task_type")
        ),
        Family("agent_session_tokens", "histogram", "Tokens of a session.", (*A, "task_type")),
        Family("agent_tokens_today", "gauge", "Tokens since 00:00 UTC.", A),
        Family("agent_cost_usd_today", "gauge", "Cost in US dollars since 00:00 UTC.", A),
        Family("agent_daily_token_budget", "gauge", "Tokens that the agent may use in a UTC day, as configured.", A),
        Family("agent_daily_cost_budget_usd", "gauge", "Dollars that the agent may cost in a UTC day.", A),
        Family("agent_session_token_budget", "gauge", "Tokens that a session may use, as configured.", ("task_type",)),
        Family("agent_session_cost_budget_usd", "gauge", "Dollars that a session may cost.", ("task_type",)),
        Family("agent_session_normal_duration_seconds", "gauge", "What a session usually takes.", ("task_type",)),
        Family("agent_session_max_duration_seconds", "gauge", "What a session may take at most.", ("task_type",)),
        Family(
            "agent_session_budget_exceeded_total", "counter", "Sessions over their budget.", ("agent_id", "task_type")
        ),
        Family("agent_action_token_anomalies_total", "counter", "Calls over a multiple of their rolling average.", B),
        Family("agent_action_tokens_rolling_average", "gauge", "Mean tokens of the latest calls of an action.", B),
        Family("agent_loops_total", "counter", "Loops found, by what gave them away.", (*A, "kind")),
        Family("agent_cascades_total", "counter", "Cascades, by the suspected root.", ("root_agent_id",)),
        Family("agent_cascade_members_total", "counter", "Cascades in which the agent failed.", A),
        Family(
            "agent_finding_timestamp_seconds",
            "gauge",
            "Clock when a finding of this kind was last made; 0 never.",
            (*A, "kind"),
        ),
        Family("agent_health_check_success", "gauge", "1 if the latest run of a health check passed.", CHECK),
        Family("agent_health_check_duration_seconds", "gauge", "How long that run took.", CHECK),
        Family("agent_health_check_timestamp_seconds", "gauge", "Clock when that run ended.", CHECK),
        Family("agent_health_check_interval_seconds", "gauge", "How often it is run while it passes.", CHECK),
        Family("agent_benchmark_passed_ratio", "gauge", "Share of a suite that passed in its latest run.", SUITE),
        Family("agent_benchmark_timestamp_seconds", "gauge", "Clock when that run ended.", SUITE),
        Family(
            "agent_terminations_total",
            "counter",
            "Sessions that were to be stopped, by what became of them; observed: left alone.",
            (*A, "reason", "result"),
        ),
        Family("agent_sessions_unconfirmed", "gauge", "Sessions that still log though they were to be stopped.", A),
        Family("agent_breaker_latched", "gauge", "1 while the breaker only observes as it stopped too much at once."),
        Family("agent_breaker_enforcing", "gauge", "1 while sessions are stopped, 0 while that is only observed."),
        Family(
            "gen_ai_client_token_usage",
            "histogram",
            "Tokens per call of a model, as the OpenTelemetry GenAI conventions name it.",
            ("gen_ai_operation_name", "gen_ai_request_model", "gen_ai_token_type"),
        ),
        Family(
            "gen_ai_client_operation_duration_seconds",
            "histogram",
            "Duration of calls of a model, as the OpenTelemetry GenAI conventions name it.",
            ("gen_ai_operation_name", "gen_ai_request_model"),
        ),
        Family("agent_exporter_lines_read_total", "counter", "Lines read: the sum of the four below.", ("source",)),
        Family("agent_exporter_lines_accepted_total", "counter", "Lines that were counted.", ("source",)),
        Family("agent_exporter_lines_rejected_total", "counter", "Lines that are no record.", ("source", "reason")),
        Family("agent_exporter_lines_duplicate_total", "counter", "Records that were delivered again.", ("source",)),
        Family(
            "agent_exporter_lines_ignored_total",
            "counter",
            "JSON of other programs, and plain text where it is to be ignored.",
            ("source",),
        ),
        Family(
            "agent_exporter_nul_bytes_dropped_total",
            "counter",
            "NUL bytes before a line, as a copytruncate or a crash leaves them.",
            ("source",),
        ),
        Family("agent_exporter_fields_ignored_total", "counter", "Optional fields that did not fit.", ("field",)),
        Family(
            "agent_exporter_line_warnings_total",
            "counter",
            "Lines that count and are odd; field_misnamed is looked for in a sample, whole_seconds counts sources.",
            ("warning",),
        ),
        Family("agent_exporter_last_line_timestamp_seconds", "gauge", "Clock at the newest line.", ("source",)),
        Family("agent_exporter_checkpoint_timestamp_seconds", "gauge", "Clock at the last commit of state."),
        Family("agent_exporter_file_truncations_total", "counter", "Files found shorter than read.", ("source",)),
        Family(
            "agent_exporter_lines_repeated_total",
            "counter",
            "Accepted lines that stand twice in their log: counted, and no evidence for a finding.",
            ("source",),
        ),
        Family("agent_exporter_late_lines_total", "counter", "Lines that came after the reorder window.", ("source",)),
        Family("agent_exporter_series_overflow_total", "counter", "Counted under _overflow.", ("metric",)),
        Family("agent_exporter_table_evictions_total", "counter", "Entries dropped from a full table.", ("table",)),
        Family("agent_exporter_spans_sent_total", "counter", "Spans that the collector took."),
        Family("agent_exporter_spans_dropped_total", "counter", "Spans lost: refused for good, or the queue was full."),
        Family("agent_exporter_span_queue_length", "gauge", "Spans waiting to be sent."),
        Family("agent_exporter_span_spool_bytes", "gauge", "Bytes of them in the state file."),
        Family("agent_exporter_series_samples", "gauge", "Samples of the agents' families, against max_samples."),
        Family("agent_exporter_state_available", "gauge", "0 while the state file cannot be written; reading pauses."),
        Family(
            "agent_exporter_state_rows_unreadable_total",
            "counter",
            "Rows of state that could not be read at a start, and were set aside.",
            ("kind",),
        ),
        Family("agent_exporter_config_last_reload_successful", "gauge", "1 if the config in force is the file's."),
        Family("agent_exporter_config_last_reload_success_timestamp_seconds", "gauge", "When that config was loaded."),
        Family("agent_exporter_build_info", "gauge", "1, with the version.", ("version",)),
    )
}
TABLES = ("duplicates", "intents", "lineages", "recent", "sessions", "traces", "unreadable", "windows")
"""The label `table`."""
OVERFLOWS = ("agent", "action", "model", "error", "task")
"""The label `metric` of series_overflow: the group of families that share their label sets."""
