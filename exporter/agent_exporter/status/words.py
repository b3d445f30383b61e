"""Numbers, times and states in words. Pure: the same values give the same sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from agent_exporter.benchmark.run import FLOOR
from agent_exporter.detectors.kinds import TOPICS, Topic
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
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent_exporter.benchmark.history import Run
    from agent_exporter.breaker.intent import Intent
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.metrics.cells import AgentCell, Day
    from agent_exporter.metrics.families import AgentSettings
    from agent_exporter.probes.check import Result
    from agent_exporter.status.recent import ActionSummary

NOTHING = "—"
"""Where there is no value."""
LONG_QUIET = 3600.0
"""Seconds after which an agent without an expected interval is no longer called well: nobody said when to expect it."""


class Condition(NamedTuple):
    """One thing to say of an agent. `level`: bad (a person now), warn (worth a look), quiet (by plan), good."""

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


def ago(then: float, now: float) -> str:
    """How long ago, in the largest unit that is above one."""
    return f"{' '.join(duration(max(0.0, now - then)).split()[:2])} ago" if then else "never"


def duration(seconds: float) -> str:
    """In the largest unit that is above one, with a second unit where that helps."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 >= 0.05 else f"{seconds:.0f} s"
    whole = int(seconds)
    for unit, size, part, smaller in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest and whole < 10 * size else "")
    return f"{whole} s"


def count(number: float) -> str:
    """A number of things with its magnitude in a letter: 950, 12.4 k, 3.1 M."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            scale = {"k": 1e3}.get(letter, size)
            return f"{number / scale:.1f} {letter}"
    return f"{number:,.0f}"


def money(dollars: float) -> str:
    """US dollars; small amounts keep what tells them from nothing."""
    if 0 < dollars < 0.01:
        return f"${dollars:.4f}"
    return f"${dollars:,.2f}"


def percent(part: float, whole: float) -> str:
    """A share, or a dash where there is nothing to share."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"


def clock(at: float, now: float | None = None) -> str:
    """HH:MM:SS in UTC, with its date if that is not the one of `now`."""
    then = datetime.fromtimestamp(at, UTC)
    today = now is None or then.date() == datetime.fromtimestamp(now, UTC).date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def moment(at: float) -> str:
    """Date and time in UTC, for machines and tooltips."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    """What there is to say of an agent, the worst first; never empty.

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


def total(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """Of what was told; if nothing was, that is not zero."""
    known = [value for value in values if value is not None]
    return shown(sum(known)) if known else NOTHING


def outcome(check: Result) -> str:
    """How a health check went, without what the agent answered."""
    if check.why is None:
        return "passes"
    return "wrong answer" if check.why.startswith("the answer ") else check.why


# --- findings and actions ----------------------------------------------------------------------------------------


def level_of(topic: Topic) -> str:
    """How bad a finding of this kind is: what pages is bad, what goes into the digest worth a look."""
    return "bad" if topic.pages else "warn"


def kind_of(finding: Finding) -> str:
    """What it is, in two words at most."""
    loop = finding.evidence.get("loop")
    return f"loop: {loop}" if loop else finding.kind.replace("_", " ")


def evidence(finding: Finding) -> str:
    """What a finding rests on, in one line; of a kind that has no sentence here, its values as they are."""
    told = finding.evidence
    sentence = SENTENCES.get(told.get("loop", finding.kind))
    if sentence is not None:
        try:
            return sentence(told)
        except (KeyError, TypeError):  # written by another version, and kept in the state since
            pass
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in told.items())


def _over_budget(told: dict[str, Any]) -> str:
    said = []
    if told.get("tokens", 0) > told.get("max_tokens", float("inf")):
        said.append(f"{told['tokens']:,} tokens, where {told['max_tokens']:,} are the ceiling")
    if told.get("cost_usd", 0) > told.get("max_cost_usd", float("inf")):
        said.append(f"{money(told['cost_usd'])}, where {money(told['max_cost_usd'])} are the ceiling")
    return f"{' and '.join(said)} of task type {told['task_type']}"


SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "retries": lambda told: f"{told['action']} is at retry {told['retry_count']}",
    "repeat": lambda told: f"{told['action']} {told['times']} times in a row: same input, same outcome",
    "cycle": lambda told: (
        f"{' → '.join(told['actions'])}, {told['rounds']} times over with unchanged outcomes"
        + (f", between {' and '.join(told['agents'])}" if "agents" in told else "")
    ),
    "overtime": lambda told: f"still at work after {duration(told['max_seconds'])}, the most for {told['task_type']}",
    "failing": lambda told: f"{told['action']} failed {told['times']} times in a row in the same way",
    "stalled": lambda told: (
        f"{told['action']} {told['times']} times in a row: same input, and only numbers differ in the outcome"
    ),
    "session_budget": _over_budget,
    "action_anomaly": lambda told: (
        f"{told['action']} took {told['tokens']:,} tokens, "
        f"{told['tokens'] / told['rolling_average']:.1f} times its average of {told['rolling_average']:,.0f}"
    ),
    "cascade": lambda told: f"{' → '.join(told['agents'])} failed within {duration(told['seconds'])}",
}


STOPS = {
    "met": ("quiet", "being looked at"),
    "observed": ("quiet", "left alone"),
    "withdrawn": ("quiet", "may go on"),
    "intended": ("warn", "being stopped"),
    "called": ("warn", "told to stop"),
    "confirmed": ("good", "stopped"),
    "unconfirmed": ("bad", "told to stop, and still runs"),
    "failed": ("bad", "could not be stopped"),
}
"""What became of a session that was to be stopped, by the status of its intent."""


def stop_of(finding: Finding, stops: Mapping[tuple[str, str, str], Intent]) -> Condition | None:
    """What the breaker did about a finding, and why."""
    intent = stops.get((finding.agent_id, finding.session_id or "", finding.kind))
    if intent is None:
        return None
    level, said = STOPS[intent.status]
    return Condition(level, f"{said}: {intent.why}" if intent.why else said)


def notes(done: ActionSummary) -> str:
    """What else is worth knowing of an action: its model, its retries, its confidence, how it left the task."""
    said = [done.model or ""]
    if done.retries:
        said.append(f"retry {done.retries}")
    if done.confidence is not None:
        said.append(f"confidence {done.confidence:.2f}")
    if done.completed is not None:
        said.append("task completed" if done.completed else "task not completed")
    return ", ".join(word for word in said if word)


def rejected(reasons: Mapping[str, int]) -> str:
    """How many lines were rejected, and why most of them."""
    total = sum(reasons.values())
    if not total:
        return "0"
    return f"{total:,} ({max(reasons, key=lambda reason: reasons[reason])} most)"
