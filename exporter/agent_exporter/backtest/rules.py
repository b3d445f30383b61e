"""Rule files, as a backtest needs them: which alerts a log can judge, what they read, what is recorded before what."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from agent_exporter.metrics.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INTERVAL = 60.0
"""Seconds between two evaluations where neither the group nor prometheus.yml says so: Prometheus' own default."""
OF_A_PROCESS = (
    "agent_benchmark_*", "agent_breaker_*", "agent_health_check_*", "agent_sessions_unconfirmed",
    "agent_exporter_checkpoint_*", "agent_exporter_config_*", "agent_exporter_series_samples", "agent_exporter_span*",
    "agent_exporter_state_*",
)  # fmt: skip
"""Families about a running exporter: a log does not hold their values."""
OUTAGES = frozenset(
    {
        "process_start_time_seconds", "up", "exporter:deaf:max", "agent_exporter:deaf:timestamp",
        "agent:exporter_deaf:timestamp", "agent:team_held:info", "agent:overdue_held:seconds",
        "collector:down:timestamp", "agent:collector_down:timestamp", "agents:not_read:count5m",
    }
)  # fmt: skip
"""Series of outages, scraped and recorded. Rules about agents read them to wait out a restart or an outage.

A finished log is read without either, so these are absent then, as they are in good health, and are not recorded. A
rule that reads nothing else is about the outage itself.
"""


class Rule(NamedTuple):
    """A recording or an alerting rule. Times are seconds."""

    name: str
    expr: str
    interval: float
    """Between two evaluations."""
    group: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    alert: bool = False
    hold: float = 0.0
    """`for`."""
    keep: float = 0.0
    """`keep_firing_for`."""


class Plan(NamedTuple):
    """What to evaluate, and in which order."""

    alerts: tuple[Rule, ...]
    levels: tuple[tuple[Rule, ...], ...]
    """Recording rules: those of a level read series of the log and of the levels before."""
    series: frozenset[str]
    """The series of the log that all these read."""
    stamped: frozenset[str]
    """Those of them of which the time of the sample is asked as well, by `timestamp`."""
    windows: Mapping[str, float]
    """The shortest range, in seconds, that is asked of them, of those of which one is."""
    left_out: Mapping[str, tuple[str, ...]]
    """Alerts that no log can judge, by the series they read that are in none; "" for those that read nothing."""


# --- files ---------------------------------------------------------------------------------------------------------


def read(folder: Path) -> tuple[list[Path], list[Rule]]:
    """The rule files of a folder, which are its YAML files with `groups`, and their rules.

    The interval of a group that states none is that of the prometheus.yml beside them. promtool checks whether
    Prometheus accepts them. Raises ValueError with a sentence for a file that is not one of rules, and OSError.
    """
    documents = {path: _document(path) for path in sorted(folder.iterdir()) if path.suffix in {".yml", ".yaml"}}
    files = [path for path, document in documents.items() if "groups" in document]
    if not files:
        raise ValueError(f"{folder}: no YAML file in it has `groups` of rules")
    settings = documents.get(folder / "prometheus.yml", {}).get("global", {})
    usual = seconds(settings["evaluation_interval"]) if "evaluation_interval" in settings else INTERVAL
    rules = []
    for path in files:
        try:
            for group in documents[path]["groups"]:
                interval = seconds(group["interval"]) if "interval" in group else usual
                rules += [_rule(rule, interval, f"{path.name} {group['name']}") for rule in group["rules"]]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: not a file of Prometheus rules ({error!r})") from error
    return files, rules


def shipped() -> Path:
    """The rules of this version: in the package once it is installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "alert_rules"
    return inside if inside.is_dir() else package.parents[1] / "alert_rules"


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    return document if isinstance(document, dict) else {}


def _rule(rule: dict[str, Any], interval: float, group: str) -> Rule:
    alert = "alert" in rule
    return Rule(
        rule["alert" if alert else "record"],
        str(rule["expr"]),
        interval,
        group,
        tuple(sorted(rule.get("labels", {}).items())),
        alert,
        seconds(rule.get("for", "0s")),
        seconds(rule.get("keep_firing_for", "0s")),
    )


def seconds(text: str) -> float:
    """A duration as Prometheus writes it, `90s` or `1h30m`. Raises ValueError."""
    if not re.fullmatch(r"0|([0-9]+(ms|[smhdwy]))+", text):
        raise ValueError(f"{text!r} is not a duration")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhdwy])", text))


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


# --- expressions ---------------------------------------------------------------------------------------------------

_STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`'
_MATCHERS = rf"\{{(?:{_STRING}|[^\"'`{{}}])*\}}"
_NO_SERIES = re.compile(
    rf"#[^\n]*|{_STRING}|{_MATCHERS}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*(?:\([^)]*\))?"
)
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
_WORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}


def reads(expr: str) -> frozenset[str]:
    """The names of the series that an expression reads."""
    names = _NAME.findall(_NO_SERIES.sub(" ", expr))
    return frozenset(name for name in names if name.lower() not in _WORDS)


def fresh(expr: str, intervals: Mapping[str, float]) -> str:
    """The expression, with each recorded series read no further back than one interval of its rule.

    What is backfilled ends without a mark that it has ended (a server's own recording writes one), so that it would
    be seen for five more minutes. `intervals` are seconds, by name.
    """
    for name, interval in intervals.items():
        # Longest parts first: the matchers, then no range behind them, then the offset, which belongs into the range.
        selector = rf"(?<![\w:])({re.escape(name)}(?![\w:])(?:\s*{_MATCHERS})?)(?!\s*[\[{{])(\s+offset\s+-?\w+)?"
        expr = re.sub(selector, rf"last_over_time(\1[{int(interval * 1000)}ms]\2)", expr)
    return expr


# --- the plan ------------------------------------------------------------------------------------------------------


def plan(rules: Sequence[Rule]) -> Plan:
    """Which of these rules a log can judge, and how."""
    recorded: dict[str, list[Rule]] = {}
    for rule in rules:
        if not rule.alert and rule.name not in OUTAGES:
            recorded.setdefault(rule.name, []).append(rule)
    judged, left_out = [], dict[str, tuple[str, ...]]()
    for rule in rules:
        if rule.alert:
            missing = _missing(rule, recorded)
            if reads(rule.expr) and not missing:
                judged.append(rule)
            else:
                names = ", ".join(sorted(missing))
                left_out[names] = (*left_out.get(names, ()), rule.name)
    needed = _all_read(judged, recorded)
    intervals = {name: max(rule.interval for rule in recorded[name]) for name in needed & recorded.keys()}

    def ready(rule: Rule) -> Rule:
        return rule._replace(expr=fresh(rule.expr, intervals))

    levels = []
    waiting = set(intervals)
    while waiting:
        level = {name for name in waiting if not any(reads(rule.expr) & waiting for rule in recorded[name])}
        levels.append(tuple(ready(rule) for rule in rules if not rule.alert and rule.name in level))
        waiting -= level
    series = frozenset(needed - recorded.keys() - OUTAGES)
    texts = [rule.expr for rule in (*judged, *(rule for name in intervals for rule in recorded[name]))]
    stamped = frozenset(name for text in texts for name in re.findall(r"\btimestamp\s*\(\s*([\w:]+)", text))
    windows: dict[str, float] = {}
    for text in texts:
        for name, window in re.findall(rf"([\w:]+)(?:\s*{_MATCHERS})?\s*\[\s*(\w+)", text):
            windows[name] = min(seconds(window), windows.get(name, float("inf")))
    return Plan(tuple(map(ready, judged)), tuple(levels), series, stamped, windows, left_out)


def _all_read(rules: Iterable[Rule], recorded: Mapping[str, Sequence[Rule]]) -> set[str]:
    """What they read, and what is read to record that, and so on."""
    names = set[str]()
    new = {name for rule in rules for name in reads(rule.expr)}
    while new:
        names |= new
        new = {name for old in new for rule in recorded.get(old, ()) for name in reads(rule.expr)} - names
    return names


def _missing(rule: Rule, recorded: Mapping[str, Sequence[Rule]]) -> set[str]:
    """Series that it reads and that no log contains. One recorded from itself has no beginning there."""
    names = _all_read([rule], recorded)
    circular = {name for name in names & recorded.keys() if name in _all_read(recorded[name], recorded)}
    outside = names - recorded.keys()
    missing = {name for name in outside if not is_backfilled(name)}
    return circular | (missing if missing == outside else missing - OUTAGES)


def is_backfilled(series: str) -> bool:
    """Whether a replayed log has this series."""
    family = series if series in FAMILIES else re.sub(r"_(bucket|sum|count)$", "", series)
    return family in FAMILIES and not any(fnmatchcase(family, glob) for glob in OF_A_PROCESS)
