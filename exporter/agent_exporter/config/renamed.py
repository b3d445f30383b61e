"""Keys that had another name before the first release: an old config gets an error that names the new key."""

NEW_NAMES: dict[str, dict[str, str]] = {
    "Agent": {
        "checks": "health_checks",
        "expected_cycle": "expected_interval",
        "long_call": "max_action_duration",
        "sources": "trusted_sources",
    },
    "Anomaly": {"window": "window_size"},
    "Breaker": {
        "grace": "termination_grace_period",
        "max_kill_share": "max_termination_share",
        "max_kills_per_minute": "max_terminations_per_minute",
    },
    "Cascade": {"agents": "min_agents"},
    "Detectors": {"reorder": "reorder_window"},
    "FileSource": {"foreign": "foreign_json"},
    "HealthCheck": {"json_path": "jmespath"},
    "Metrics": {"catch_up": "catch_up_timeout", "max_series": "max_series_per_family"},
    "OTLP": {"hold": "buffer_traces"},
    "OTLPLogs": {"foreign": "foreign_json"},
    "Price": {"long": "long_prompt"},
    "Request": {"json_path": "jmespath"},
    "TaskType": {"idle": "idle_timeout"},
}
"""The new name of each old key, by the name of its section's class."""
