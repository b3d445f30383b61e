"""A run as a table for a person, and as JSON for a program."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent_exporter.benchmark.run import FLOOR
from agent_exporter.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_exporter.benchmark.history import Run
    from agent_exporter.benchmark.run import Report

MAX_NAME = 40
"""Characters of a case's name in a table."""


def table(report: Report, before: Run | None) -> str:
    """The run as a table, with the results of the run `before` it."""
    names = [_cut(outcome.name) for outcome in report.outcomes]
    width = max(len("CASE"), *map(len, names))
    former = "" if before is None else f"; before: {before.ratio:.0%}, {_moment(before.at)}"
    share = f"{report.passed:,} of {report.of:,} passed ({report.ratio:.0%})"
    rows = [f"{report.suite} on {report.agent}: {share}{former}", "", f"  {'CASE':{width}}  PASSED    TIME"]
    for name, outcome in zip(names, report.outcomes, strict=True):
        score = f"{outcome.passed}/{outcome.of}"
        rows.append(f"  {name:{width}}  {score:>6} {outcome.seconds:>5.1f} s  {outcome.why or ''}".rstrip())
    if report.regressed:
        rows += ["", f"REGRESSED: fewer than {FLOOR:.0%} passed{_lost(report, before)}"]
    return "\n".join(printable(row) for row in rows) + "\n"


def document(runs: Sequence[tuple[Report, Run | None]]) -> dict[str, Any]:
    """Runs, each with the one before it, as JSON."""
    return {
        "regressed": any(report.regressed for report, _ in runs),
        "runs": [
            {
                "timestamp": _moment(report.at),
                "agent_id": report.agent,
                "suite": report.suite,
                "passed": report.passed,
                "of": report.of,
                "passed_ratio": round(report.ratio, 4),
                "regressed": report.regressed,
                "before": None
                if before is None
                else {
                    "timestamp": _moment(before.at),
                    "passed": before.passed,
                    "of": before.of,
                    "failed": before.failed,
                },
                "cases": [
                    {
                        "name": outcome.name,
                        "passed": outcome.passed,
                        "of": outcome.of,
                        "duration_ms": round(outcome.seconds * 1000, 1),
                    }
                    | ({} if outcome.why is None else {"why": outcome.why})
                    for outcome in report.outcomes
                ],
            }
            for report, before in runs
        ],
    }


def _lost(report: Report, before: Run | None) -> str:
    if before is None:
        return ""
    lost = [_cut(o.name) for o in report.outcomes if o.passed < o.of and o.name not in before.failed]
    return f"; passed before: {', '.join(lost)}" if lost else "; the same failed before"


def _cut(name: str) -> str:
    name = printable(name)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..."


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
