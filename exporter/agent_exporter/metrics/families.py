"""The only place with names of metrics: names, types, help and labels. `samples` adds the values."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """A metric's name, type, help and labels. A counter's name includes `_total`."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


AGENT, AGENT_ACTION = ("agent_id",), ("agent_id", "action")
AGENT_CHECK, AGENT_SUITE = ("agent_id", "check"), ("agent_id", "suite")
FAMILIES = {
    family.name: family
    for family in (
        Family("agent_info", "gauge", "1 for every agent, with the team it belongs to.", ("agent_id", "team")),
        Family("agent_actions_total", "counter", "Actions by outcome.", (*AGENT_ACTION, "status")),
        Family("agent_action_duration_seconds", "histogram", "Duration of actions.", AGENT_ACTION),
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
            "Calls whose logged cost differs from the price table.",
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
            "Calls whose prompt did not include the cached tokens, which were added.",
            ("agent_id", "model"),
        ),
        Family("agent_model_calls_total", "counter", "Calls of a model, whatever became of them.", AGENT),
        Family(
            "agent_model_calls_without_tokens_total",
            "counter",
            "Calls of a model that did not fail and have no tokens, or zero: no budget sees them.",
            AGENT,
        ),
        Family("agent_retries_total", "counter", "Actions that were a retry.", AGENT_ACTION),
        Family("agent_fallbacks_total", "counter", "Actions that used a fallback.", AGENT_ACTION),
        Family("agent_errors_total", "counter", "Actions that ended in error or timeout.", ("agent_id", "error_type")),
        Family("agent_confidence_ratio", "histogram", "The agent's own confidence, 0 to 1.", AGENT),
        Family("agent_confidence_success_total", "counter", "Successful actions that reported a confidence.", AGENT),
        Family("agent_feedback_ratio", "summary", "User feedback, -1..1 mapped to 0..1.", AGENT),
        Family(
            "agent_baseline_ratio", "gauge", "Mean of the first 7 UTC days, frozen after them.", ("agent_id", "metric")
        ),
        Family("agent_first_seen_timestamp_seconds", "gauge", "Time of the agent's first line.", AGENT),
        Family(
            "agent_last_active_timestamp_seconds",
            "gauge",
            "Time of the agent's newest line, or its arrival if that is later.",
            AGENT,
        ),
        Family(
            "agent_clock_offset_seconds",
            "gauge",
            "How far the agent's clock is ahead of the exporter's; negative if it is behind.",
            AGENT,
        ),
        Family(
            "agent_last_action_timestamp_seconds",
            "gauge",
            "Time of the agent's newest action; heartbeats do not count.",
            AGENT,
        ),
        Family(
            "agent_state_timestamp_seconds",
            "gauge",
            "Time of the latest heartbeat with this state; 0 if there was none.",
            (*AGENT, "state"),
        ),
        Family(
            "agent_expected_cycle_seconds", "gauge", "Longest expected time between two lines, from the config.", AGENT
        ),
        Family("agent_long_call_seconds", "gauge", "Longest expected duration of an action, from the config.", AGENT),
        Family("agent_quiet_hours", "gauge", "1 during the quiet hours of the agent, from the config.", AGENT),
        Family("agent_heartbeats_total", "counter", "Heartbeats by state.", (*AGENT, "state")),
        Family("agent_sessions_active", "gauge", "Sessions that are open.", AGENT),
        Family("agent_sessions_total", "counter", "Ended sessions by outcome.", (*AGENT, "task_type", "outcome")),
        Family(
            "agent_session_duration_seconds",
            "histogram",
            "From first to last action of a session.",
            (*AGENT, "task_type"),
        ),
        Family("agent_session_tokens", "histogram", "Tokens of a session.", (*AGENT, "task_type")),
        Family("agent_tokens_today", "gauge", "Tokens since 00:00 UTC.", AGENT),
        Family("agent_cost_usd_today", "gauge", "Cost in US dollars since 00:00 UTC.", AGENT),
        Family(
            "agent_daily_token_budget", "gauge", "Tokens that the agent may use in a UTC day, as configured.", AGENT
        ),
        Family("agent_daily_cost_budget_usd", "gauge", "Dollars that the agent may cost in a UTC day.", AGENT),
        Family("agent_session_token_budget", "gauge", "Tokens that a session may use, as configured.", ("task_type",)),
        Family("agent_session_cost_budget_usd", "gauge", "Dollars that a session may cost.", ("task_type",)),
        Family(
            "agent_session_normal_duration_seconds",
            "gauge",
            "Normal duration of a session, from the config.",
            ("task_type",),
        ),
        Family(
            "agent_session_max_duration_seconds",
            "gauge",
            "Longest allowed duration of a session, from the config.",
            ("task_type",),
        ),
        Family(
            "agent_session_budget_exceeded_total", "counter", "Sessions over their budget.", ("agent_id", "task_type")
        ),
        Family(
            "agent_action_token_anomalies_total",
            "counter",
            "Calls over a multiple of their rolling average.",
            AGENT_ACTION,
        ),
        Family(
            "agent_action_tokens_rolling_average",
            "gauge",
            "Mean tokens of the latest calls of an action.",
            AGENT_ACTION,
        ),
        Family("agent_loops_total", "counter", "Loops found, by kind.", (*AGENT, "kind")),
        Family("agent_cascades_total", "counter", "Cascades, by the suspected root.", ("root_agent_id",)),
        Family("agent_cascade_members_total", "counter", "Cascades in which the agent failed.", AGENT),
        Family(
            "agent_finding_timestamp_seconds",
            "gauge",
            "Time of the latest finding of this kind; 0 if there was none.",
            (*AGENT, "kind"),
        ),
        Family("agent_health_check_success", "gauge", "1 if the latest run of a health check passed.", AGENT_CHECK),
        Family(
            "agent_health_check_duration_seconds", "gauge", "Duration of the latest run of a health check.", AGENT_CHECK
        ),
        Family(
            "agent_health_check_timestamp_seconds",
            "gauge",
            "Time at which the latest run of a health check ended.",
            AGENT_CHECK,
        ),
        Family(
            "agent_health_check_interval_seconds",
            "gauge",
            "Time between two runs of a health check that passes.",
            AGENT_CHECK,
        ),
        Family("agent_benchmark_passed_ratio", "gauge", "Share of a suite that passed in its latest run.", AGENT_SUITE),
        Family(
            "agent_benchmark_timestamp_seconds", "gauge", "Time at which the latest run of a suite ended.", AGENT_SUITE
        ),
        Family(
            "agent_terminations_total",
            "counter",
            "Sessions to be stopped, by result; observed: the breaker did not stop it.",
            (*AGENT, "reason", "result"),
        ),
        Family("agent_sessions_unconfirmed", "gauge", "Sessions that still log after they were told to stop.", AGENT),
        Family(
            "agent_breaker_latched",
            "gauge",
            "1 while the breaker is latched: it stopped too many sessions, and only observes.",
        ),
        Family(
            "agent_breaker_agent_latched",
            "gauge",
            "1 while the breaker is latched for this agent: it stopped too many of its sessions, and only observes it.",
            AGENT,
        ),
        Family(
            "agent_breaker_wait_seconds",
            "gauge",
            "How long the breaker has waited to read what may end a session that is to be stopped; 0 without one.",
        ),
        Family("agent_breaker_enforcing", "gauge", "1 in enforce mode, 0 in observe mode."),
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
        Family(
            "agent_exporter_lines_read_total",
            "counter",
            "Lines read: accepted, rejected, duplicate and ignored ones.",
            ("source",),
        ),
        Family("agent_exporter_lines_accepted_total", "counter", "Lines that were counted.", ("source",)),
        Family(
            "agent_exporter_lines_rejected_total", "counter", "Lines that are not valid records.", ("source", "reason")
        ),
        Family("agent_exporter_lines_duplicate_total", "counter", "Records that were delivered again.", ("source",)),
        Family(
            "agent_exporter_lines_ignored_total",
            "counter",
            "Lines ignored: JSON of other programs, and plain text if the config ignores it.",
            ("source",),
        ),
        Family(
            "agent_exporter_records_skipped_total",
            "counter",
            "Records of another program's log format for which its mapping has no rule.",
            ("format", "type"),
        ),
        Family(
            "agent_exporter_nul_bytes_dropped_total",
            "counter",
            "NUL bytes before a line, as a copytruncate or a crash leaves them.",
            ("source",),
        ),
        Family(
            "agent_exporter_fields_ignored_total",
            "counter",
            "Optional fields left out because their value is invalid.",
            ("field",),
        ),
        Family(
            "agent_exporter_line_warnings_total",
            "counter",
            "Odd lines that count; field_misnamed is checked in a sample, whole_seconds counts sources.",
            ("warning",),
        ),
        Family(
            "agent_exporter_last_line_timestamp_seconds",
            "gauge",
            "Time at which the newest line was read.",
            ("source",),
        ),
        Family("agent_exporter_checkpoint_timestamp_seconds", "gauge", "Time of the latest commit of the state."),
        Family(
            "agent_exporter_unread_bytes",
            "gauge",
            "Bytes of files and of OTLP requests that are known and not read yet.",
            ("source",),
        ),
        Family(
            "agent_exporter_file_lost_bytes_total",
            "counter",
            "Estimate of the bytes that were cut from files before they were read, where no copy of them was read.",
            ("source",),
        ),
        Family(
            "agent_exporter_file_truncations_total",
            "counter",
            "Times that a file became shorter than what was read of it.",
            ("source",),
        ),
        Family(
            "agent_exporter_lines_repeated_total",
            "counter",
            "Accepted lines that were written twice: they count, but are not evidence for a finding.",
            ("source",),
        ),
        Family(
            "agent_exporter_late_lines_total",
            "counter",
            "Lines that arrived later than the reorder window.",
            ("source",),
        ),
        Family(
            "agent_exporter_series_overflow_total",
            "counter",
            "Samples counted under _overflow because a limit was reached.",
            ("metric",),
        ),
        Family("agent_exporter_table_evictions_total", "counter", "Entries dropped from a full table.", ("table",)),
        Family("agent_exporter_spans_sent_total", "counter", "Spans accepted by the collector."),
        Family(
            "agent_exporter_spans_dropped_total",
            "counter",
            "Spans lost: rejected by the collector, or dropped from a full queue.",
        ),
        Family("agent_exporter_span_queue_length", "gauge", "Spans waiting to be sent."),
        Family("agent_exporter_span_spool_bytes", "gauge", "Bytes of waiting spans in the state file."),
        Family("agent_exporter_series_samples", "gauge", "Samples of the agents' families, against max_samples."),
        Family("agent_exporter_state_available", "gauge", "0 while the state file cannot be written; reading pauses."),
        Family(
            "agent_exporter_state_rows_unreadable_total",
            "counter",
            "Rows of the state that could not be read at a start and were set aside.",
            ("kind",),
        ),
        Family(
            "agent_exporter_config_last_reload_successful", "gauge", "1 if the latest reload of the config succeeded."
        ),
        Family(
            "agent_exporter_config_last_reload_success_timestamp_seconds",
            "gauge",
            "Time of the latest successful reload of the config.",
        ),
        Family("agent_exporter_build_info", "gauge", "1, with the version.", ("version",)),
    )
}
TABLES = (
    "duplicates",
    "format_calls",
    "format_keys",
    "intents",
    "lineages",
    "recent",
    "sessions",
    "traces",
    "unprinted",
    "unreadable",
    "windows",
)
"""The label `table`."""
OVERFLOWS = ("agent", "action", "model", "error", "task")
"""The label `metric` of series_overflow: the group of families that share their label sets."""
