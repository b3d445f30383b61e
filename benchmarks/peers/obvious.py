"""What anyone writes first: `python obvious.py FILE`, json and prometheus_client, one `.labels()` per update.

The same families as agents.mtail; no sessions, no spans, no state, no bounds.
"""

import json
import sys
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

registry = CollectorRegistry()
AGENT, ACTION, MODEL = ("agent_id",), ("agent_id", "action"), ("agent_id", "model")
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
actions = Counter("agent_actions", "Actions.", (*ACTION, "status"), registry=registry)
durations = Histogram("agent_action_duration_seconds", "Seconds.", ACTION, registry=registry, buckets=SECONDS)
tokens = Counter("agent_tokens", "Tokens.", (*MODEL, "token_type"), registry=registry)
costs = Counter("agent_cost_usd", "Dollars.", MODEL, registry=registry)
retries = Counter("agent_retries", "Retries.", ACTION, registry=registry)
confidences = Histogram("agent_confidence_ratio", "Confidence.", AGENT, registry=registry, buckets=RATIOS)
rejected = Counter("lines_rejected", "Lines that are no record.", registry=registry)


def main() -> None:
    with open(sys.argv[1], "rb") as file:  # noqa: PTH123
        for line in file:
            try:
                record = json.loads(line)
                datetime.fromisoformat(record["timestamp"])
                count(record)
            except (ValueError, KeyError, TypeError, AttributeError):
                rejected.inc()
    sys.stdout.buffer.write(generate_latest(registry))


def count(record: dict) -> None:
    agent, action = record["agent_id"], record["action"]
    if record.get("duration_ms") is not None:
        durations.labels(agent, action).observe(record["duration_ms"] / 1000)
    actions.labels(agent, action, record["status"]).inc()
    used = record.get("tokens")
    if used:
        model = used.get("model", "unknown")
        tokens.labels(agent, model, "prompt").inc(used.get("prompt", 0))
        tokens.labels(agent, model, "completion").inc(used.get("completion", 0))
        costs.labels(agent, model).inc(used.get("cost_usd", 0))
    if (record.get("metadata") or {}).get("retry_count"):
        retries.labels(agent, action).inc()
    confidence = (record.get("output") or {}).get("confidence")
    if confidence is not None:
        confidences.labels(agent).observe(confidence)


main()
