"""Kinds of findings, as data: what all that shows, pages, counts or stops for a finding has to know of its kind.

CONTRIBUTING.md ("Adding a detector") says what else a new kind needs. Tests compare this table with the kinds of
`finding`, the config, the alert rules and the runbooks.
"""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """A kind of finding. `name` is the label `kind` of `agent_finding_timestamp_seconds`."""

    name: str
    doing: str
    """What the page says of an agent with a new finding of it."""
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
        # Most stalled loops are polls that work as planned: they page nobody and stop nothing.
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
