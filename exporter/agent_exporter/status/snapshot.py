"""What one page is made from: copies, taken by the pipeline's thread between two blocks, so that it may read on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.detectors import journal
from agent_exporter.detectors.journal import recent as findings_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_exporter.breaker.intent import Intent
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.metrics.samples import ScrapeContext
    from agent_exporter.oddities import Example
    from agent_exporter.sessions import Session
    from agent_exporter.stages import Stages
    from agent_exporter.state import Rows
    from agent_exporter.status.recent import ActionSummary, Trace


class Snapshot(NamedTuple):
    """A moment of the exporter."""

    rows: Rows
    """Committed cells."""
    live: ScrapeContext
    problem: str | None
    """Why the exporter is not ready."""
    since: float
    """When it began, seconds since 1970."""
    rates: Mapping[str, list[tuple[int, int, int]]] = {}
    findings: Sequence[Finding] = ()
    """Newest first."""
    actions: Sequence[ActionSummary] = ()
    """Of the agent asked for, newest first."""
    sessions: Sequence[Session] = ()
    """Of the agent asked for, those that are open."""
    trace: Trace | None = None
    """The one asked for."""
    stops: Mapping[tuple[str, str, str], Intent] = {}
    """What the breaker did, by agent, session and reason."""
    oddities: Mapping[str, Example] = {}
    """What is odd about the lines, an example of each kind."""
    latched: Sequence[tuple[str, str]] = ()
    """(agent, or "" for all; why) of those that are only observed, as the breaker was to stop too much at once."""


def take_snapshot(
    stages: Stages, live: ScrapeContext, problem: str | None, agent: str | None, trace_id: str | None
) -> Snapshot:
    """What there is now; with an agent its actions and open sessions, with a trace id that trace."""
    recent, breaker = stages.recent, stages.breaker
    assert recent is not None
    assert breaker is not None
    rows = (
        stages.pipeline.snapshot()
    )  # as a scrape: all that was read until now, so that no two numbers of a page differ
    findings = sorted(
        findings_in(rows.get(journal.ROW_KIND, {}).items()),
        key=lambda finding: finding.at,
        reverse=True,
    )
    return Snapshot(
        rows,
        live,
        problem,
        recent.since,
        recent.rates(live.now),
        findings,
        recent.agent(agent) if agent is not None else (),
        stages.sessions.of(agent) if agent is not None else (),
        recent.trace(trace_id) if trace_id is not None else None,
        breaker.intents.of_findings(findings),
        dict(stages.pipeline.oddities.examples),
        breaker.latches.shown(),
    )
