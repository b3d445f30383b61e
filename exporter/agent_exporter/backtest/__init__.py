"""Past logs, read as if everything had been switched on: findings, and alerts that would have fired.

    lines of all files by time -> detectors                                    -> findings
                               -> series, every 15 s -> database -> recordings -> alerts, by their `for`
                                                                                  report: both, by time

`rules` reads rule files and says which ones a log can judge, `series` makes samples of what was counted, `prometheus`
runs promtool and a server on them, `alerts` applies `for`, and `report` says it all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent_exporter.backtest.alerts import Alert, Watch
from agent_exporter.backtest.prometheus import Database, Programs
from agent_exporter.backtest.series import STEP, Series
from agent_exporter.config import OTLP
from agent_exporter.replay import in_steps, past

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_exporter.backtest.rules import Plan
    from agent_exporter.config import Config
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.sources import Source
    from agent_exporter.stages import Stages


class BacktestResult(NamedTuple):
    """What a backtest found in the logs."""

    stages: Stages
    """As they stand after the last line."""
    findings: list[Finding]
    """In order of their own time."""
    stretches: list[tuple[float, float]]
    """(from, to), seconds since 1970: what the log covers."""
    alerts: list[Alert] | None = None
    """In order of time; None if rules were not evaluated."""


class Progress(NamedTuple):
    """Reports progress."""

    read: Callable[[Source], None]
    """After each block of a source."""
    say: Callable[[str], None]
    """Before each step after that."""


def read(
    config: Config,
    paths: Sequence[str],
    progress: Progress,
    scrape: Callable[[Stages, float], None] = lambda _, __: None,
) -> BacktestResult:
    """Read logs to their end, without sending spans; `scrape` is called at every step of their time.

    Raises OSError for a file that is not there.
    """
    findings: list[Finding] = []
    stretches: list[tuple[float, float]] = []
    stages = past(msgspec.structs.replace(config, otlp=OTLP()), paths)
    stages.listeners.append(findings.append)
    for at in in_steps(stages, STEP, progress.read):
        scrape(stages, at)
        if stretches and at - stretches[-1][1] <= STEP:
            stretches[-1] = stretches[-1][0], at
        else:
            stretches.append((at, at))
    stages.pipeline.drain()
    findings.sort(key=lambda finding: (finding.at, finding.to_json()))
    return BacktestResult(stages, findings, stretches)


def evaluate(
    config: Config, paths: Sequence[str], progress: Progress, plan: Plan, programs: Programs
) -> BacktestResult:
    """The same, and the alerts that would have fired.

    What lies on disk meanwhile is in a folder of its own, which is removed whatever happens. Raises OSError, and Failed
    when promtool or Prometheus does not do what it is asked.
    """
    with tempfile.TemporaryDirectory(prefix="agent-exporter-backtest-") as folder:
        database = Database(programs, Path(folder))
        series = Series(plan.series, plan.stamped, plan.windows)
        try:
            result = read(
                config,
                paths,
                progress,
                lambda stages, at: database.add(series.at(stages.pipeline.store.committed, stages.live(at)), at),
            )
            database.finish()
            for number, level in enumerate(plan.levels, 1):
                progress.say(f"recording rules, {number} of {len(plan.levels)}")
                for start, end in result.stretches:
                    database.record(level, start, end)
            alerts = []
            with database.server() as server:
                for number, rule in enumerate(plan.alerts, 1):
                    progress.say(f"alert {number} of {len(plan.alerts)}: {rule.name}")
                    for start, end in result.stretches:
                        watch = Watch(rule)
                        for labels, at, value in server.query(rule, start, end):
                            watch.see(labels, at, value)
                        watch.end(end)
                        alerts += watch.alerts
        finally:
            database.close()
    alerts.sort(key=lambda alert: (alert.at, alert.rule.name, alert.labels))
    return result._replace(alerts=alerts)
