"""What there is to say of an agent, and how bad it is: the conditions of the alert rules, read off the same series."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.benchmark.run import FLOOR
from agent_exporter.detectors.kinds import TOPICS
from agent_exporter.formatting import NOTHING, ago, count, duration, money, percent
from agent_exporter.metrics.cells import DAY, DAYS, Mean
from agent_exporter.metrics.limits import label
from agent_exporter.probes.settings import CHECKS
from agent_exporter.thresholds import (
    CUT_OFF,
    DRIFT,
    FALLING_ERRORS,
    FLAT_ERRORS,
    FRESH,
    MIN_SAMPLES,
    OUTAGE,
    SILENT_CYCLES,
    STARTING,
    UNHEARD,
    UNSEEN,
    WARN_SHARE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_exporter.benchmark.history import Run
    from agent_exporter.detectors.kinds import Topic
    from agent_exporter.metrics.cells import AgentCell, Day
    from agent_exporter.metrics.samples import AgentSettings
    from agent_exporter.probes.check import Result

LONG_QUIET = 3600.0
"""Seconds after which an agent without an expected interval is no longer shown as well."""


class Condition(NamedTuple):
    """One condition of an agent. `level`: bad (a person now), warn (worth a look), quiet (by plan), good."""

    level: str
    words: str
    part: str = ""
    """Of the agent's page, that says more."""
    alert: str = ""
    """Name of the alert that fires for it, if one does."""


class Pipe(NamedTuple):
    """Whether the silence of agents is theirs or that of the way to the exporter, as silence.rules.yml judges."""

    dead: float | None = None
    """Seconds since the newest line of any agent, if no agent's lines arrive; AgentLogPipeDead fires then."""
    excused: frozenset[str] = frozenset()
    """Overdue agents that are not called silent: the pipe is dead, or it is too early to tell."""


LEVELS = ("bad", "warn", "quiet", "good")

MARKS = {"bad": "▲", "warn": "◆", "quiet": "○", "good": "●"}
"""Beside the words, so that colour never is the only sign."""


def conditions(
    cell: AgentCell,
    settings: AgentSettings,
    today: Day,
    now: float,
    since: float = 0.0,
    checks: Sequence[Result] = (),
    runs: Sequence[tuple[str, Run]] = (),
    pipe: Pipe = Pipe(),  # noqa: B008  (frozen)
) -> list[Condition]:
    """The conditions of an agent, the worst first; never empty.

    `since` is when the exporter began; `checks` are its latest health checks, `runs` its latest benchmarks by suite.

    Read off the series that the alert rules read, with the rules' own thresholds.
    """
    said = [*_budgets(settings, today), *_drift(cell, now), *_activity(cell, settings, now, since, pipe)]
    said += [*_health(checks, now), *_known(runs)]
    if cell.unconfirmed:
        sessions = "a session" if cell.unconfirmed == 1 else f"{cell.unconfirmed} sessions"
        said.append(
            Condition("bad", f"{sessions} that was to stop still runs", "findings", "AgentTerminatedStillLogging")
        )
    said += [
        Condition(level_of(topic), f"{topic.doing} ({ago(at, now)})", "findings", topic.alert)
        for topic in TOPICS.values()
        if now - (at := cell.findings.get(topic.name, 0.0)) < FRESH
    ]
    return sorted(said, key=lambda condition: LEVELS.index(condition.level))


def judge_pipe(agents: Sequence[tuple[AgentCell, AgentSettings]], newest_line: float, now: float, since: float) -> Pipe:
    """Whether agents are silent together. `newest_line` is when the newest line of any source was read, 0 for none.

    Times are seconds since 1970; `since` is when the exporter began. A Prometheus remembers besides that the pipe was
    dead in the last two minutes; this does not.
    """
    if now - since < STARTING or not newest_line:
        return Pipe()
    unheard = now - newest_line
    expected = [
        (cell, settings.expected_interval)
        for cell, settings in agents
        if settings.expected_interval and not settings.quiet
    ]
    beyond = {
        cell.agent: over
        for cell, cycle in expected
        if cell.last_seen and 0 < (over := now - cell.last_seen - SILENT_CYCLES * cycle) <= unheard
    }
    dead = unheard > UNHEARD and len(beyond) >= CUT_OFF
    wait = len(expected) >= CUT_OFF
    return Pipe(
        unheard if dead else None,
        frozenset(agent for agent, over in beyond.items() if dead or (wait and over <= UNHEARD)),
    )


def _activity(cell: AgentCell, settings: AgentSettings, now: float, since: float, pipe: Pipe) -> list[Condition]:
    if not cell.last_seen:
        if settings.expected_interval is None:
            return [Condition("quiet", "not seen yet")]
        waited = now - max(cell.created, since + STARTING)
        expected = f"not seen yet; expected every {duration(settings.expected_interval)}"
        if waited >= UNSEEN and not settings.quiet and pipe.dead is None:
            return [Condition("warn", expected, alert="AgentNeverSeen")]
        return [Condition("quiet", expected)]
    silence = now - cell.last_seen
    cycle = settings.expected_interval
    working, idle = cell.states.get("working", 0.0), cell.states.get("idle", 0.0)
    # Just started, it may not have read yet what the agent logged meanwhile.
    overdue = cycle is not None and silence > SILENT_CYCLES * cycle and now - since >= STARTING
    if cycle is not None and overdue and not settings.quiet and cell.agent not in pipe.excused:
        return [
            Condition("bad", f"silent for {duration(silence)}; expected every {duration(cycle)}", alert="AgentSilent")
        ]
    at_work = now if cycle is None else working  # without a cycle nothing says when the next heartbeat is due
    if working > idle and at_work - max(idle, cell.last_action) > settings.max_action_duration:
        said = f"stuck: says it works, no action for {duration(now - cell.last_action)}"
        return [Condition("bad", said, alert="AgentStuck")]
    if overdue and settings.quiet:
        return [Condition("quiet", "silent by plan (quiet hours)")]
    if overdue:
        return [Condition("quiet", f"not heard for {duration(silence)}, as others")]
    if cycle is None and silence > LONG_QUIET:
        return [Condition("quiet", f"nothing for {duration(silence)}; no cycle is configured")]
    if cell.active:
        return [Condition("good", "working")]
    if idle or working:
        return [Condition("good", "idle")]
    return [Condition("good", "between tasks")]


def _budgets(settings: AgentSettings, today: Day) -> list[Condition]:
    said = []
    for spent, cap, shown, unit in (
        (today.tokens, settings.daily_tokens, lambda number: f"{count(number)} tokens", "Tokens"),
        (today.cost_usd, settings.daily_cost_usd, money, "Cost"),
    ):
        if cap is None or spent < WARN_SHARE * cap:
            continue
        level, where = ("bad", "over") if spent > cap else ("warn", "near")
        alert = f"AgentDaily{unit}{where.title()}Budget"
        said.append(Condition(level, f"{where} its daily budget: {shown(spent)} of {shown(cap)}", alert=alert))
    return said


def _drift(cell: AgentCell, now: float) -> list[Condition]:
    return [
        Condition(
            "warn",
            f"{signal.metric} has drifted: {signal.since} these days, was {signal.before} in its first week",
            "quality",
            "AgentQualityDrifting",
        )
        for signal in quality(cell, now)
        if signal.drifted
    ]


def _health(checks: Sequence[Result], now: float) -> Iterator[Condition]:
    failing = [check for check in checks if not check.passed]
    outage = {check for check in failing if check.name in CHECKS and now - check.since >= OUTAGE}
    for level, some in (("bad", outage), ("warn", {*failing} - outage)):
        if some:
            names = ", ".join(label(name) for name in sorted(check.name for check in some))
            lasts = duration(max(0.0, now - min(check.since for check in some)))
            yield Condition(level, f"fails {names} for {lasts}", "checks")


def _known(runs: Sequence[tuple[str, Run]]) -> list[Condition]:
    return [
        Condition(
            "warn", f"passes {percent(run.passed, run.of)} of {label(suite)}", "benchmarks", "AgentBenchmarkRegressed"
        )
        for suite, run in runs
        if run.ratio < FLOOR
    ]


class Signal(NamedTuple):
    """One quality signal. `before` and `since` are means from 0 to 1, in words."""

    metric: str
    before: str
    since: str
    drifted: bool


def quality(cell: AgentCell, now: float) -> list[Signal]:
    """The signals that an agent has told: today and the three days before, against its first week.

    Drifted as the drift rules have it: by its effect size, and by two standard errors if the later half is below the
    earlier one, or by three. Only that it lasts for six hours is for a Prometheus to say.
    """
    today = int(now // DAY)
    days = [day for number, day in sorted(cell.days.items()) if today - DAYS < number <= today]
    signals = []
    for metric, baseline in cell.baselines.items():
        means = [day.quality.get(metric, Mean()) for day in days]
        latest = _together(means)
        before = baseline.total / baseline.count if baseline.count else None
        since = latest.total / latest.count if latest.count >= MIN_SAMPLES and baseline.frozen else None
        drifted = False
        if before is not None and since is not None:
            errors = sqrt(before * (1 - before) / latest.count)
            earlier, later = _together(means[: len(means) // 2]), _together(means[len(means) // 2 :])
            falling = later.total * earlier.count < earlier.total * later.count
            drop = before - since
            drifted = drop > DRIFT[metric] and drop > (FALLING_ERRORS if falling else FLAT_ERRORS) * errors
        was, now_is = (NOTHING if mean is None else f"{mean:.2f}" for mean in (before, since))
        signals.append(Signal(metric, was, now_is, drifted))
    return signals


def _together(means: Sequence[Mean]) -> Mean:
    return Mean(sum(mean.total for mean in means), sum(mean.count for mean in means))


def level_of(topic: Topic) -> str:
    """How bad a finding of this kind is: what pages is bad, what goes into the digest worth a look."""
    return "bad" if topic.pages else "warn"
