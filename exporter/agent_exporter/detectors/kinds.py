"""Kinds of findings, as data: what all that shows, pages, counts or stops for a finding has to know of its kind.

CONTRIBUTING.md ("Adding a detector") says what else a new kind needs. Tests compare this table with the kinds of
`finding`, the config, the alert rules and the runbooks.
"""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """What is known of a kind. `name` is the label `kind` of `agent_finding_timestamp_seconds`."""

    name: str
    doing: str
    """What an agent of which it was found just now is said to be doing."""
    alert: str
    """The alert that fires for it, and the name of its runbook."""
    pages: bool
    """Whether that pages a person; else it waits for the daily digest."""
    stops: bool
    """Whether the breaker may stop a session for it, where `breaker.reasons` names its kind."""


TOPICS = {
    topic.name: topic
    for topic in (
        Topic("loop", "looping", "AgentLoop", pages=True, stops=True),
        # Most of what stalls is a poll that goes on as planned: nobody is woken, and nothing is stopped for it.
        Topic("loop_stalled", "asking again and again without progress", "AgentLoopStalled", pages=False, stops=False),
        Topic("session_budget", "a session over its budget", "AgentSessionOverBudget", pages=True, stops=True),
        Topic(
            "action_anomaly",
            "an action with unusually many tokens",
            "AgentActionTokensAnomalous",
            pages=False,
            stops=True,
        ),
        Topic("cascade", "suspected root of a cascade", "AgentCascade", pages=True, stops=False),
        Topic("cascade_member", "failing in a cascade", "AgentInCascade", pages=False, stops=False),
    )
}
"""By name. A finding's topic is its kind, but for a stalled loop (`Finding.topic`)."""
