"""Cells to samples: committed rows in, the samples of one scrape out, put on a page.

What one line becomes, abridged (`python -m agent_exporter replay` on the article's sample):

    agent_info{agent_id="research-agent-01",team=""} 1.0
    agent_actions_total{action="web_search",agent_id="research-agent-01",status="success"} 1.0
    agent_actions_total{action="web_search",agent_id="research-agent-01",status="error"} 0.0
    agent_action_duration_seconds_bucket{action="web_search",agent_id="research-agent-01",le="2.5"} 1.0
    agent_tokens_total{agent_id="research-agent-01",model="claude-sonnet-4-20250514",token_type="prompt"} 1240.0
    agent_cost_usd_total{agent_id="research-agent-01",model="claude-sonnet-4-20250514"} 0.0089
    agent_exporter_lines_read_total{source="-"} 1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from agent_exporter.action import REASONS
from agent_exporter.benchmark import history
from agent_exporter.metrics.cells import (
    CELL_TYPES,
    CONFIDENCE,
    DAY,
    DURATION,
    GEN_AI_SECONDS,
    GEN_AI_TOKENS,
    SESSION_SECONDS,
    SESSION_TOKENS,
    ActionCell,
    AgentCell,
    CountCell,
    Day,
    ErrorCell,
    GenAICell,
    ModelCell,
    SourceCell,
    TaskCell,
)
from agent_exporter.metrics.families import FAMILIES
from agent_exporter.metrics.limits import label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent_exporter.metrics import cells
    from agent_exporter.metrics.families import Family
    from agent_exporter.probes.check import Result
    from agent_exporter.state import Rows


class AgentSettings(NamedTuple):
    """The config of one agent; None means not configured."""

    expected_interval: float | None
    """Seconds."""
    max_action_duration: float
    """Seconds."""
    quiet: bool
    """It is in its quiet hours now, or they ended less than two expected intervals ago."""
    daily_tokens: int | None
    daily_cost_usd: float | None


class TaskSettings(NamedTuple):
    """The config of one task type."""

    session_tokens: int
    session_cost_usd: float | None
    normal_duration: float
    """Seconds."""
    max_duration: float
    """Seconds."""


class ScrapeContext(NamedTuple):
    """State of the running process at the scrape. It is not stored."""

    now: float
    version: str
    agent: Callable[[str], AgentSettings]
    tasks: Mapping[str, TaskSettings]
    gauges: Mapping[str, float] = {}
    """Gauge families without labels, by name."""
    latched: Sequence[str] = ()
    """Agents for which the breaker is latched."""
    unread: Mapping[str, int] = {}
    """Bytes that are known and not read, by source."""
    gen_ai: bool = True
    """Whether to show the metrics of the GenAI conventions."""
    checks: Sequence[Result] = ()
    """The latest health checks, each with its time. After a restart the next ones come within seconds."""


class Page(Protocol):
    """Takes the samples of one scrape. `labels` are values, in the order of the family's label names."""

    def gauge(self, name: str, labels: Sequence[str], value: float) -> None:
        """One sample."""

    def counter(self, name: str, labels: Sequence[str], value: float, created: float) -> None:
        """One sample, with `_created` if the page has those."""

    def counters(
        self,
        name: str,
        labels: Sequence[str],
        values: Mapping[str, float],
        created: float,
        exemplars: Mapping[str, cells.Exemplar] | None = None,
    ) -> None:
        """A sample for each value of the last label, which is a fixed set; `labels` are the others."""

    def histogram(
        self,
        name: str,
        labels: Sequence[str],
        bounds: tuple[float, ...],
        counts: list[int],
        total: float,
        created: float,
        exemplars: Mapping[int, cells.Exemplar] | None = None,
    ) -> None:
        """The buckets of a histogram, made cumulative, their count and their sum."""

    def summary(self, name: str, labels: Sequence[str], count: int, total: float, created: float) -> None:
        """Sum and count; no quantiles, as those cannot be added over replicas."""


_SPANS = {
    "sent": "agent_exporter_spans_sent_total",
    "dropped": "agent_exporter_spans_dropped_total",
}
LE = {
    bounds: (*(repr(bound) for bound in bounds), "+Inf")
    for bounds in (DURATION, CONFIDENCE, SESSION_SECONDS, SESSION_TOKENS, GEN_AI_TOKENS, GEN_AI_SECONDS)
}
"""The label `le` of buckets, by their bounds."""


def shown(live: ScrapeContext) -> Iterator[Family]:
    """The families of a page, also those without samples: HELP describes what there may be."""
    return (family for family in FAMILIES.values() if live.gen_ai or not family.name.startswith("gen_ai_"))


def fill(page: Page, rows: Rows, live: ScrapeContext) -> None:
    """Put all samples of one scrape on a page, from committed rows.

    Pure: the same rows and the same `live` give the same samples.
    """
    for name, show in _SHOWN.items():
        of_kind = rows.get(name)
        if of_kind:
            decode = msgspec.msgpack.Decoder(CELL_TYPES[name]).decode
            for _, value in sorted(of_kind.items()):
                show(page, decode(value), live)
    for name, settings in sorted(live.tasks.items()):
        page.gauge("agent_session_token_budget", (label(name),), settings.session_tokens)
        if settings.session_cost_usd is not None:
            page.gauge("agent_session_cost_budget_usd", (label(name),), settings.session_cost_usd)
        page.gauge("agent_session_normal_duration_seconds", (label(name),), settings.normal_duration)
        page.gauge("agent_session_max_duration_seconds", (label(name),), settings.max_duration)
    for check in sorted(live.checks):
        names = label(check.agent), label(check.name)
        page.gauge("agent_health_check_success", names, int(check.passed))
        page.gauge("agent_health_check_duration_seconds", names, check.seconds)
        page.gauge("agent_health_check_timestamp_seconds", names, check.at)
        page.gauge("agent_health_check_interval_seconds", names, check.interval)
    for agent, suite, run in history.latest(rows.get(history.ROW_KIND, {}).items()):
        names = label(agent), label(suite)
        page.gauge("agent_benchmark_passed_ratio", names, run.ratio)
        page.gauge("agent_benchmark_timestamp_seconds", names, run.at)
    for name, level in live.gauges.items():
        page.gauge(name, (), level)
    for name in live.latched:
        page.gauge("agent_breaker_agent_latched", (label(name),), 1)
    page.gauge("agent_exporter_build_info", (live.version,), 1)


def _agent(page: Page, cell: AgentCell, live: ScrapeContext) -> None:
    who = label(cell.agent)
    a = (who,)
    settings = live.agent(cell.agent)
    page.gauge("agent_info", (who, label(cell.team)), 1)
    # An agent that the config names, but that has not logged yet, has budgets and an interval, and no counters.
    for name, value in (
        ("agent_expected_cycle_seconds", settings.expected_interval),
        ("agent_daily_token_budget", settings.daily_tokens),
        ("agent_daily_cost_budget_usd", settings.daily_cost_usd),
    ):
        if value is not None:
            page.gauge(name, a, value)
    page.gauge("agent_long_call_seconds", a, settings.max_action_duration)
    page.gauge("agent_quiet_hours", a, int(settings.quiet))
    today = cell.days.get(int(live.now // DAY)) or Day()
    page.gauge("agent_tokens_today", a, today.tokens)
    page.gauge("agent_cost_usd_today", a, today.cost_usd)
    page.gauge("agent_sessions_active", a, cell.active)
    if cell.first_seen:
        page.gauge("agent_first_seen_timestamp_seconds", a, cell.first_seen)
        page.gauge("agent_last_active_timestamp_seconds", a, min(cell.last_seen, live.now))
    if cell.clock_offset is not None:
        page.gauge("agent_clock_offset_seconds", a, cell.clock_offset)
    if cell.last_action:
        page.gauge("agent_last_action_timestamp_seconds", a, min(cell.last_action, live.now))
    for state, at in cell.states.items():
        page.gauge("agent_state_timestamp_seconds", (who, state), min(at, live.now))
    page.counters("agent_heartbeats_total", a, cell.heartbeats, cell.created)
    page.histogram("agent_confidence_ratio", a, CONFIDENCE, cell.confidence, cell.confidence_sum, cell.created)
    page.counter("agent_confidence_success_total", a, cell.confidence_successes, cell.created)
    page.summary("agent_feedback_ratio", a, cell.feedback_count, cell.feedback_sum, cell.created)
    page.counter("agent_model_calls_total", a, cell.model_calls, cell.created)
    page.counter("agent_model_calls_without_tokens_total", a, cell.calls_without_tokens, cell.created)
    page.counters("agent_loops_total", a, cell.loops, cell.created)
    page.counter("agent_cascades_total", a, cell.cascades, cell.created)
    page.counter("agent_cascade_members_total", a, cell.cascade_members, cell.created)
    for kind, at in cell.findings.items():
        page.gauge("agent_finding_timestamp_seconds", (who, kind), at)
    page.gauge("agent_sessions_unconfirmed", a, cell.unconfirmed)
    for reason, results in cell.terminations.items():
        page.counters("agent_terminations_total", (who, reason), results, cell.created)
    for metric, baseline in cell.baselines.items():
        if baseline.frozen and baseline.count:
            page.gauge("agent_baseline_ratio", (who, metric), baseline.total / baseline.count)


def _action(page: Page, cell: ActionCell, _: ScrapeContext) -> None:
    names = label(cell.agent), label(cell.action)
    outcomes = {"success": cell.successes, **cell.others}
    page.counters("agent_actions_total", names, outcomes, cell.created, cell.status_exemplars)
    page.histogram(
        "agent_action_duration_seconds", names, DURATION, cell.durations, cell.duration_sum, cell.created,
        cell.duration_exemplars,
    )  # fmt: skip
    page.counter("agent_retries_total", names, cell.retries, cell.created)
    page.counter("agent_fallbacks_total", names, cell.fallbacks, cell.created)
    page.counter("agent_action_token_anomalies_total", names, cell.anomalies, cell.created)
    if cell.average is not None:
        page.gauge("agent_action_tokens_rolling_average", names, cell.average)


def _model(page: Page, cell: ModelCell, _: ScrapeContext) -> None:
    names = label(cell.agent), label(cell.model)
    tokens = {"prompt": cell.prompt, "completion": cell.completion}
    page.counters("agent_tokens_total", names, tokens, cell.created)
    page.counter("agent_cost_usd_total", names, cell.cost_usd, cell.created)
    page.counter("agent_cost_mismatch_total", names, cell.mismatches, cell.created)
    page.counter("agent_tokens_unpriced_total", names, cell.unpriced, cell.created)
    page.counter("agent_prompts_without_cache_total", names, cell.cache_apart, cell.created)


def _error(page: Page, cell: ErrorCell, _: ScrapeContext) -> None:
    page.counter("agent_errors_total", (label(cell.agent), label(cell.error_type)), cell.errors, cell.created)


def _task(page: Page, cell: TaskCell, _: ScrapeContext) -> None:
    names = (label(cell.agent), label(cell.task_type))
    page.counters("agent_sessions_total", names, cell.outcomes, cell.created)
    page.histogram(
        "agent_session_duration_seconds", names, SESSION_SECONDS, cell.seconds, cell.seconds_sum, cell.created
    )
    page.histogram("agent_session_tokens", names, SESSION_TOKENS, cell.tokens, cell.tokens_sum, cell.created)
    page.counter("agent_session_budget_exceeded_total", names, cell.over_budget, cell.created)


def _gen_ai(page: Page, cell: GenAICell, _: ScrapeContext) -> None:
    names = ("chat", label(cell.model))
    for what, counts, total in (("input", cell.input, cell.input_sum), ("output", cell.output, cell.output_sum)):
        page.histogram("gen_ai_client_token_usage", (*names, what), GEN_AI_TOKENS, counts, total, cell.created)
    page.histogram(
        "gen_ai_client_operation_duration_seconds", names, GEN_AI_SECONDS, cell.seconds, cell.seconds_sum, cell.created
    )


def _source(page: Page, cell: SourceCell, live: ScrapeContext) -> None:
    s = (label(cell.source),)
    page.counter("agent_exporter_lines_read_total", s, cell.read, cell.created)
    page.counter("agent_exporter_lines_accepted_total", s, cell.accepted, cell.created)
    page.counter("agent_exporter_lines_duplicate_total", s, cell.duplicate, cell.created)
    page.counter("agent_exporter_lines_ignored_total", s, cell.ignored, cell.created)
    page.counter("agent_exporter_file_truncations_total", s, cell.truncations, cell.created)
    page.counter("agent_exporter_file_lost_bytes_total", s, cell.lost_bytes, cell.created)
    page.counter("agent_exporter_nul_bytes_dropped_total", s, cell.nul_bytes, cell.created)
    page.counter("agent_exporter_lines_repeated_total", s, cell.repeated, cell.created)
    page.counter("agent_exporter_late_lines_total", s, cell.late, cell.created)
    rejected: dict[str, int] = {reason: cell.rejected.get(reason, 0) for reason in REASONS}
    page.counters("agent_exporter_lines_rejected_total", s, rejected, cell.created)
    if cell.source in live.unread:
        page.gauge("agent_exporter_unread_bytes", s, live.unread[cell.source])
    if cell.last_line:
        page.gauge("agent_exporter_last_line_timestamp_seconds", s, min(cell.last_line, live.now))


def _overflowed(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter("agent_exporter_series_overflow_total", (cell.label,), cell.count, cell.created)


def _evicted(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter("agent_exporter_table_evictions_total", (cell.label,), cell.count, cell.created)


def _spans(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter(_SPANS[cell.label], (), cell.count, cell.created)


def _line_warning(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter("agent_exporter_line_warnings_total", (cell.label,), cell.count, cell.created)


def _record_skipped(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    format_, type_ = cell.label.split("/", 1)
    page.counter("agent_exporter_records_skipped_total", (format_, type_), cell.count, cell.created)


def _ignored_field(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter("agent_exporter_fields_ignored_total", (cell.label,), cell.count, cell.created)


def _unreadable_row(page: Page, cell: CountCell, _: ScrapeContext) -> None:
    page.counter("agent_exporter_state_rows_unreadable_total", (cell.label,), cell.count, cell.created)


_SHOWN: dict[str, Callable[..., None]] = {
    "agent": _agent,
    "action": _action,
    "model": _model,
    "error": _error,
    "task": _task,
    "gen_ai": _gen_ai,
    "source": _source,
    "overflow": _overflowed,
    "eviction": _evicted,
    "spans": _spans,
    "ignored_field": _ignored_field,
    "line_warning": _line_warning,
    "record_skipped": _record_skipped,
    "unreadable_row": _unreadable_row,
}
